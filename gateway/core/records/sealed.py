"""Which values of a record stand as ciphertext in the store (policy.md §11); a gate cannot ask for them, nor can the database.

Rules: in clear stands only what is open by law or a business contact (classes O and B1), is no free text, and is not of a type that
always concerns a person; everything else, known or unknown, is sealed. Of a record that is shown to nobody any more everything is
(exchange.md §9). This room must not encrypt anything.
"""

from typing import Final

from gateway.core.records.model import Field, RecordState, SubjectKind

PERSONAL_TYPES: Final = frozenset({"person_name", "id_no", "mobile", "plate", "account"})


def is_sealed(field: Field | None, kind: SubjectKind) -> bool:
    """Whether this field of a record about this kind of subject stands as ciphertext; an unknown field does."""
    if field is None or field.text or field.type.partition("(")[0] in PERSONAL_TYPES:
        return True
    return field.classes.get(kind, "U") not in ("O", "B1")


def is_for_nobody(state: RecordState, issuer: str | None) -> bool:
    """Whether no plan of any policy shows a record in this state: it was withdrawn. `issuer` is the partner that asserted it.

    Ours that expired is not withdrawn: offices are shown it as long as it may be shared, whom it is about without an end (`gates`). Nor
    is one that is held: it waits. An erased one has nothing left.
    """
    return state in ("retracted", "repaired") or (state == "expired" and bool(issuer))
