"""Who may ask, and why: tiers with their rate classes and costs, classes of fields, purposes.

Rules: the tiers and their order are fixed by the law of the house and written in `tiers.toml` only so that they can be read; costs are
counted in fifths, as the buckets do; a purpose names its ground, the weakest credential that may use it, and how long its use is
remembered. This room must not know rules or fields.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_args

from msgspec import Meta, Struct

from gateway.core.records.model import BasisRef, FieldClass
from gateway.core.records.policy_file import PolicyFile

TIERS: Final = ("public", "developer", "subject", "department", "partner", "supervisor", "pboc")
TIER_ORDER: Final = frozenset({("public", "subject"), ("public", "department"), ("public", "partner"), ("department", "supervisor")})
"""policy.md §3: the first shows no more than the second; `pboc` stands alone."""
RULED_TIERS: Final = frozenset(TIERS) - {"developer"}
"""Tiers that a rule may name: `developer` reads the public plans."""
OPEN_PURPOSE: Final = "open.read"

NAME: Final = re.compile("[a-z][a-z0-9_.-]{0,62}")
Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_.-]{0,62}\\Z", max_length=63)]
Said = Annotated[str, Meta(min_length=1, max_length=200)]
Grounds = Annotated[tuple[BasisRef, ...], Meta(min_length=1, max_length=8)]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]


class TierInfo(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tier as people read it, and the rate class of its callers where a rule names none."""

    label: Said
    rate_class: Name


class ClassInfo(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A class of fields as people read it: what it is, and why and by which law it may be withheld."""

    label: Said
    reason: Said
    basis: tuple[BasisRef, ...] = ()


class Burst(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bucket of `q` units that fills in `w` seconds."""

    q: Annotated[int, Meta(ge=1, le=1_000_000)]
    w: Annotated[int, Meta(ge=1, le=86_400)]


class RateClass(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much callers of one kind may ask: in a burst, and in a day."""

    burst: Burst
    day: Count


class Costs(Struct, frozen=True, kw_only=True):
    """What a request costs, in fifths of a unit (policy.md §16); `export_rows` and `stream_s` say how far one unit goes."""

    request: int
    head: int
    not_modified: int
    range: int
    match_item: int
    export: int
    lookup: int
    export_rows: int
    """Rows of an export for one unit."""
    stream_s: int
    """Seconds of an open stream for one unit."""


Units = Annotated[int, Meta(ge=1, le=1_000_000)] | Annotated[float, Meta(ge=0.2, le=1_000_000)]


class CostsText(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`costs` of `tiers.toml`: in units, multiples of 0.2."""

    request: Units
    head: Units
    not_modified: Units
    range: Units
    match_item: Units
    export: Units
    lookup: Units
    export_rows: Count
    stream_s: Count


class TiersText(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`tiers.toml`."""

    order: tuple[tuple[str, str], ...]
    tiers: dict[str, TierInfo]
    classes: dict[FieldClass, ClassInfo]
    rate_classes: dict[Name, RateClass]
    costs: CostsText


class PurposeInfo(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why somebody may ask, on which ground, under which tiers, and how it is accounted for."""

    label: Said
    subject_label: Said
    """What the person concerned reads of it where it is shown who looked."""
    basis: Grounds
    tiers: Annotated[tuple[str, ...], Meta(min_length=1)]
    case_ref: Literal["none", "required"]
    assurance: Literal["none", "key", "bound", "session"]
    """The weakest credential that may use it."""
    retention: Name
    """How long its use is remembered: a key of `periods.toml` [retention]."""
    told_after: Annotated[str, Meta(pattern=r"^P[1-9][0-9]{0,3}[DMY]\Z")] | None = None
    """Where a law keeps it from the person concerned for a while: how long after it was used; else at once."""


class PurposesText(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`purposes.toml`."""

    purposes: dict[str, Any]


class Tiers(Struct, frozen=True, kw_only=True):
    """`tiers.toml`, read."""

    tiers: Mapping[str, TierInfo]
    classes: Mapping[FieldClass, ClassInfo]
    rate_classes: Mapping[str, RateClass]
    costs: Costs


def read_tiers(file: PolicyFile) -> Tiers:
    """Tiers, classes, rate classes and costs.

    Raises PolicyError policy-parse, or policy-S10 for a rate class that stands nowhere, with file and line.
    """
    text = file.convert(file.values, TiersText)
    if set(text.tiers) != set(TIERS):
        raise file.error(f"the tiers are exactly {', '.join(TIERS)}", "tiers", hint="policies/README.md says what each is")
    if frozenset(text.order) != TIER_ORDER or len(text.order) != len(TIER_ORDER):
        pairs = ", ".join(f"{below} ⊑ {above}" for below, above in sorted(TIER_ORDER))
        raise file.error(f"the order of tiers is fixed: {pairs}", "order", hint="write exactly these pairs")
    missing = [name for name in get_args(FieldClass) if name not in text.classes]
    if missing:
        raise file.error(
            f"classes without a label: {', '.join(missing)}", "classes", hint="every class says what it is and why it is withheld"
        )
    for tier, info in text.tiers.items():
        if info.rate_class not in text.rate_classes:
            known = ", ".join(sorted(text.rate_classes))
            raise file.error(
                f"tier {tier}: there is no rate class {info.rate_class}", "tiers", tier, code="policy-S10", hint=f"one of {known}"
            )
    return Tiers(tiers=text.tiers, classes=text.classes, rate_classes=text.rate_classes, costs=_costs(file, text.costs))


def _costs(file: PolicyFile, text: CostsText) -> Costs:
    found: dict[str, int] = {}
    for name in Costs.__struct_fields__:
        said = getattr(text, name)
        if name in ("export_rows", "stream_s"):
            found[name] = said
            continue
        found[name] = round(said * 5)
        if abs(found[name] - said * 5) > 1e-9:
            raise file.error(f"the cost of `{name}` is no multiple of 0.2", "costs", name, hint="buckets count in fifths")
    return Costs(**found)


def read_purposes(file: PolicyFile) -> dict[str, PurposeInfo]:
    """The purposes by name.

    Raises PolicyError policy-parse with file and line.
    """
    purposes: dict[str, PurposeInfo] = {}
    for name, said in file.convert(file.values, PurposesText).purposes.items():
        if NAME.fullmatch(name) is None:
            raise file.error(f"purpose `{name}` has no plain name", "purposes", name, hint="small letters, digits, dots and dashes")
        purposes[name] = file.convert(said, PurposeInfo, "purposes", name)
    return purposes
