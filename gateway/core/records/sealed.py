"""Which values of a record stand as ciphertext in the store (policy.md §11); a gate cannot ask for them, nor can the database.

Rules: in clear stands only what is open by law or a business contact (classes O and B1), is no free text, and is not of a type that
always concerns a person; everything else, known or unknown, is sealed. This room must not encrypt anything.
"""

from typing import Final

from gateway.core.records.model import Field, SubjectKind

PERSONAL_TYPES: Final = frozenset({"person_name", "id_no", "mobile", "plate", "account"})


def is_sealed(field: Field | None, kind: SubjectKind) -> bool:
    """Whether this field of a record about this kind of subject stands as ciphertext; an unknown field does."""
    if field is None or field.text or field.type.partition("(")[0] in PERSONAL_TYPES:
        return True
    return field.classes.get(kind, "U") not in ("O", "B1")
