"""The JSON Schema of what a plan shows: only its shown fields stand in it, each as it leaves under its treatment.

Rules: nothing of a dropped or unclassified field, neither name nor type; a masked value is described by its mask; a value may be null,
for whether it is there is part of what is shown. This room must not see a record.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from gateway.core.disclosure.treatments import Clear, Exists, Generalise, Keep, Pseudonym, Treatment, axis
from gateway.core.records.model import Field

JsonSchema = Mapping[str, Any]
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_NULL: Final = ["string", "null"]
_CLEAR: Final[dict[str, dict[str, Any]]] = {
    "bool": {"type": ["boolean", "null"]},
    "int": {"type": ["integer", "null"]},
    "date": {"type": _NULL, "format": "date"},
    "instant": {"type": _NULL, "format": "date-time"},
    "division": {"type": _NULL, "pattern": "^[1-9][0-9]{5}$"},
}
_COARSE: Final[dict[object, str]] = {
    "month": "^[0-9]{4}-[0-9]{2}$",
    "year": "^[0-9]{4}$",
    "decade": "^[0-9]{3}X$",
    6: "^[1-9][0-9]{5}$",
    4: "^[1-9][0-9]{3}$",
    2: "^[1-9][0-9]$",
}
SUMMARY: Final[JsonSchema] = MappingProxyType({"type": _NULL, "title": "摘要"})


def field_schema(described: Field, treatment: Treatment) -> dict[str, Any]:
    """How one field leaves under a treatment."""
    base = described.type.partition("(")[0]
    shape: dict[str, Any]
    if isinstance(treatment, Exists):
        shape = {"type": "boolean"}
    elif isinstance(treatment, Clear):
        shape = _clear(described, base)
    elif isinstance(treatment, Generalise) and axis(treatment) != "amount" and base != "address":
        shape = {"type": _NULL, "pattern": _COARSE[treatment.to]}
    elif isinstance(treatment, Keep):
        shape = {"type": _NULL, "pattern": r"\*{10}" if base == "uscc" else r"\*{4}"}
    elif isinstance(treatment, Pseudonym):
        shape = {"type": _NULL, "pattern": "^[a-z2-7]{26}$"}
    else:
        shape = {"type": _NULL}
    return {"title": described.label, **shape}


def _clear(described: Field, base: str) -> dict[str, Any]:
    if described.values and not described.multiple:
        return {"type": _NULL, "enum": [*described.values, None]}
    known = _CLEAR.get(base)
    if known is not None:
        return known
    return {"type": _NULL} if described.length is None or described.values else {"type": _NULL, "maxLength": described.length}


def plan_schema(shown: Mapping[str, Mapping[str, Any]], *, summary: bool) -> JsonSchema:
    """The schema of the fields of a view, from those of its fields; `summary` stands for held texts.

    Nothing is required: an odd shape, a held text, a broken treatment leaves its field out.
    """
    properties = {**shown, **({"summary": SUMMARY} if summary else {})}
    return MappingProxyType(
        {"$schema": DIALECT, "type": "object", "properties": MappingProxyType(properties), "additionalProperties": False}
    )
