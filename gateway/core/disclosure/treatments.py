"""Treatments and their order: the closed list of what may happen to a field on its way out (policy.md §5).

Rules: `leq` is a partial order and `meet` its greatest lower bound; drop ⊏ exists ⊏ {generalise, surname, keep, pseudonym} ⊏ clear, for
text drop ⊏ redact(strict) ⊏ redact(third_parties) ⊏ clear, and `hold` is below no hold. `token` is not in the list: a policy that names it
does not parse. This room must not touch a value.
"""

from functools import lru_cache
from typing import Final, Literal

from msgspec import Struct


class Drop(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="drop"):
    """The key is absent, whatever the value."""


class Exists(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="exists"):
    """Whether there is a value, as a boolean."""


class Generalise(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="generalise"):
    """A coarser value: of a date its month, year or decade; of a division its first 6, 4 or 2 digits; of an amount its band."""

    to: Literal["month", "year", "decade", 6, 4, 2, "band"]


class Surname(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="surname"):
    """Of a person 姓 and `某某`; of an individual business its county, four stars and 个体工商户."""


class Keep(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="keep"):
    """So many graphemes at either end and a fixed number of stars between them."""

    first: int = 0
    last: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.first <= 64 and 0 <= self.last <= 64):
            raise ValueError("keep takes 0 to 64 graphemes at either end")


class Pseudonym(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="pseudonym"):
    """The recipient's own name for a value, by a key that nobody else has."""


class Redact(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="redact"):
    """The stored redacted text; with `hold` nothing at all while its residual score is not zero."""

    profile: Literal["strict", "third_parties"]
    hold: bool = False


class Clear(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="clear"):
    """The value."""


Treatment = Drop | Exists | Generalise | Surname | Keep | Pseudonym | Redact | Clear
TreatmentSpec = Literal["drop", "exists", "surname", "pseudonym", "clear"] | Treatment
"""As a policy file writes it: the bare word where there is no parameter."""

DROP: Final = Drop()
EXISTS: Final = Exists()
SURNAME: Final = Surname()
PSEUDONYM: Final = Pseudonym()
CLEAR: Final = Clear()

WORDS: Final[dict[str, Treatment]] = {"drop": DROP, "exists": EXISTS, "surname": SURNAME, "pseudonym": PSEUDONYM, "clear": CLEAR}


def treatment_of(spec: TreatmentSpec) -> Treatment:
    """The treatment that a policy file wrote as a word or as a table."""
    return WORDS[spec] if isinstance(spec, str) else spec


def word(treatment: Treatment) -> str:
    """The bare name, as `treatments` of a View says it."""
    return str(treatment.__struct_config__.tag)


@lru_cache(maxsize=4096)
def describe(treatment: Treatment) -> str:
    """Name and parameters, as twins and `explain` write them: `keep(4,0)`, `generalise(month)`."""
    if isinstance(treatment, Keep):
        return f"keep({treatment.first},{treatment.last})"
    if isinstance(treatment, Generalise):
        return f"generalise({treatment.to})"
    if isinstance(treatment, Redact):
        return f"redact({treatment.profile}{',hold' if treatment.hold else ''})"
    return word(treatment)


COARSENESS: Final[dict[object, tuple[str, int]]] = {
    "decade": ("date", 1),
    "year": ("date", 2),
    "month": ("date", 3),
    2: ("division", 1),
    4: ("division", 2),
    6: ("division", 3),
    "band": ("amount", 1),
}


def axis(treatment: Generalise) -> str:
    """What a coarser value is coarser along: date, division, amount."""
    return COARSENESS[treatment.to][0]


_PROFILES: Final = ("strict", "third_parties")


def leq(narrow: Treatment, wide: Treatment) -> bool:
    """Whether the first shows no more than the second, of any value (⊑)."""
    if narrow == wide or isinstance(narrow, Drop) or isinstance(wide, Clear):
        return True
    if isinstance(narrow, Clear) or isinstance(wide, Drop):
        return False
    if isinstance(narrow, Exists):
        return not isinstance(wide, Redact)
    if isinstance(narrow, Keep) and isinstance(wide, Keep):
        return narrow.first <= wide.first and narrow.last <= wide.last
    if isinstance(narrow, Generalise) and isinstance(wide, Generalise):
        (along, fine), (other, finer) = COARSENESS[narrow.to], COARSENESS[wide.to]
        return along == other and fine <= finer
    if isinstance(narrow, Redact) and isinstance(wide, Redact):
        return _PROFILES.index(narrow.profile) <= _PROFILES.index(wide.profile) and (narrow.hold or not wide.hold)
    return False


def meet(one: Treatment, other: Treatment) -> Treatment:
    """The most that both allow: the greatest lower bound. Of different families `exists`, for text `drop`."""
    if leq(one, other):
        return one
    if leq(other, one):
        return other
    if isinstance(one, Keep) and isinstance(other, Keep):
        return Keep(first=min(one.first, other.first), last=min(one.last, other.last))
    if isinstance(one, Redact) and isinstance(other, Redact):
        return Redact(profile="strict", hold=True)
    if isinstance(one, Redact) or isinstance(other, Redact):
        return DROP
    return EXISTS


def rank(treatment: Treatment) -> int:
    """Drop 0, exists 1, partial 2, clear 3: the scale of check S7."""
    if isinstance(treatment, Drop):
        return 0
    if isinstance(treatment, Exists):
        return 1
    return 3 if isinstance(treatment, Clear) else 2
