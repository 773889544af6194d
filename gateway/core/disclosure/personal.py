"""How personal a field is by its type, whatever class somebody gave it.

Rules: a name, number or address of a person is personal for everybody; what names a subject is personal where the subject is a person or
a household, which is its operator; the telephone of an organisation may be a business contact. A field may be classed higher than that,
or be unclassified, which hides it; never lower. This room must not look at a value.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from gateway.core.records.model import Field, FieldClass, SubjectKind

_EVERYBODY: Final[Mapping[str, FieldClass]] = {
    "person_name": "P1",
    "id_no": "P2",
    "mobile": "P2",
    "email": "P2",
    "account": "P2",
    "plate": "P2",
}
_PERSONS: Final[Mapping[str, FieldClass]] = {"subject_name": "P1", "address": "P2", "phone": "P2"}
"""Of natural persons and households."""
_CODES: Final = frozenset({"uscc", "reg_no", "org_code", "tax_no", "institution_no", "society_no"})
"""Fields that hold a code of the subject; the code of an authority stands in a field of another name."""
_RANK: Final[tuple[FieldClass, ...]] = ("P1", "P2", "P3")


def least_class(described: Field, kind: SubjectKind) -> FieldClass | None:
    """The lowest class that a field may have for a kind of subject by its type; None: any."""
    if described.type in _EVERYBODY:
        return _EVERYBODY[described.type]
    if described.link_key == "person":
        return "P2"
    if kind == "legal":
        return None
    if described.name in _CODES or described.link_key == "org":
        return "P2"
    return _PERSONS.get(described.type)


def misclassed(described: Field, kinds: Iterable[SubjectKind]) -> str | None:
    """What is wrong with the class of a field for these kinds of subject; None if nothing is."""
    for kind in kinds:
        class_, least = described.classes.get(kind, "U"), least_class(described, kind)
        if least is None or class_ == "U" or (class_ in _RANK and _RANK.index(class_) >= _RANK.index(least)):
            continue
        what = described.type if described.link_key is None else f"{described.type} linking {described.link_key}"
        return f"class {class_} for {kind}, but {what} is at least {least}"
    return None
