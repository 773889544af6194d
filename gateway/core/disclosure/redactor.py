"""Which redactor stands in `redaction`, what a text is stamped with, and whose values it looks for: known without its hundred patterns.

Rules: the version is raised whenever the same text may come out differently. This room must not read a text.
"""

from collections.abc import Mapping
from typing import Final

from gateway.core.records.model import Dataset, Field, Text

REDACTOR: Final = "12"
"""Raised whenever the same text may come out differently; a text of another version is held until it is scored again."""

REVIEWED: Final = f"{REDACTOR}+review"
"""The same of a field all of whose texts wait for a reviewer: where a policy begins or ends to ask for that, they are scored again."""

PERSONAL_TYPES: Final = frozenset(
    {"person_name", "id_no", "uscc", "reg_no", "org_code", "mobile", "phone", "email", "plate", "account", "address"}
)
"""Types of fields whose values, where they are about a person, are looked for in the record's texts."""


def reviewed_of(dataset: Dataset) -> tuple[str, ...]:
    """Its texts that wait for a reviewer in any case."""
    return tuple(name for name, field in dataset.fields.items() if field.review)


def stamp_of(field: Field) -> str:
    """What a text of the field bears if it was scored by today's redactor and policy."""
    return REVIEWED if field.review else REDACTOR


def outdated(texts: Mapping[str, Text], dataset: Dataset) -> bool:
    """Whether a text of a record bears another stamp than its field asks for; what is no text field any more is nobody's."""
    fields = dataset.fields
    return any(text.redactor != stamp_of(field) for name, text in texts.items() if (field := fields.get(name)) is not None and field.text)
