"""Which treatment may stand on which field: the closed type domain of each, and the windows that policy.md §5 allows.

Rules: a citizen number shows its first four or six digits or nothing, a mobile at most three, a plate at most two; an account shows
nothing but that it is there; an address generalises to its division; a pseudonym stands on names and codes. This room must not look at
a value.
"""

import re
from decimal import Decimal
from itertools import pairwise
from typing import Final

from gateway.core.disclosure.shapes import KEEP_TYPES
from gateway.core.disclosure.treatments import Clear, Drop, Exists, Generalise, Keep, Pseudonym, Redact, Surname, Treatment, axis
from gateway.core.records.model import Field, SubjectKind

PSEUDONYM_TYPES: Final = frozenset({"subject_name", "person_name", "uscc", "id_no", "reg_no", "org_code", "mobile", "phone", "email"})
"""Types of which a value has one normal form, so that a pseudonym means one person."""
_EDGE: Final = re.compile(r"(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,6})?")
_WINDOWS: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "id_no": ((4, 0), (6, 0)),
    "mobile": ((3, 0), (2, 0), (1, 0), (0, 0)),
    "phone": ((3, 0), (2, 0), (1, 0), (0, 0)),
    "plate": ((2, 0), (1, 0), (0, 0)),
}


def misfit(treatment: Treatment, described: Field, subject: SubjectKind) -> str | None:
    """Why this treatment cannot stand on this field, for this kind of subject; None if it can."""
    base = described.type.partition("(")[0]
    if isinstance(treatment, Drop):
        return None
    if described.text:
        return None if isinstance(treatment, Redact | Clear) else "a text field takes drop, redact or clear"
    if isinstance(treatment, Exists):
        return None
    if base == "account":
        return "an account is dropped, or only said to exist"
    if isinstance(treatment, Clear):
        return None
    if isinstance(treatment, Redact):
        return "redact stands on text fields only"
    if isinstance(treatment, Surname):
        if base == "person_name" or (base == "subject_name" and subject != "legal"):
            return None
        return "surname stands on names of persons and of individual businesses only"
    if isinstance(treatment, Pseudonym):
        return None if base in PSEUDONYM_TYPES else f"pseudonym stands on names and codes, not on {base}"
    return _keep_misfit(treatment, base) if isinstance(treatment, Keep) else _generalise_misfit(treatment, base, described.bands)


def _keep_misfit(treatment: Keep, base: str) -> str | None:
    if base == "address":
        return "an address is generalised to its division, not cut"
    if base not in KEEP_TYPES:
        return f"keep does not stand on {base}"
    allowed = _WINDOWS.get(base)
    if allowed is not None and (treatment.first, treatment.last) not in allowed:
        windows = " or ".join(f"keep({first},{last})" for first, last in allowed if first)
        return f"a window of {base} is at most {windows}"
    return None


def _generalise_misfit(treatment: Generalise, base: str, bands: tuple[str, ...]) -> str | None:
    of = axis(treatment)
    if of == "amount":
        if base not in ("decimal", "int"):
            return f"bands stand on amounts, not on {base}"
        return None if bands_ascend(bands) else "the field names no ascending `bands`"
    if of == base or (of == "division" and base == "address"):
        return None
    return f"generalise(to = {treatment.to}) stands on a {of} field, not on {base}"


def bands_ascend(edges: tuple[str, ...]) -> bool:
    """Whether edges are numbers, each above the one before it."""
    if not edges or not all(_EDGE.fullmatch(edge) for edge in edges):
        return False
    numbers = [Decimal(edge) for edge in edges]
    return all(one < other for one, other in pairwise(numbers))
