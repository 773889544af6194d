"""Where a record lies, as row gates ask it: dataset, kind, region, owner, and the fields that rules ask for; kept beside what was told.

Rules: a gate is asked of a record as it stands; to tell a caller that a record left or entered what it reaches, it must be asked of
how the record stood, too. So what was told is remembered with its seat, and a seat that a record has left is kept as long as the feed
may tell of it. It holds nothing that is stored as ciphertext: a rule cannot ask for that (`row_rules`). This room must not decide
who reaches what.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from gateway.core.disclosure.narrowing import territory
from gateway.core.disclosure.plans import PlanSet
from gateway.core.disclosure.row_language import Attributes, fields_of_rule
from gateway.core.records.model import SubjectKind, Value

BESIDE: Final = frozenset({"region", "owner_org", "subject"})
"""Names of the gate language that are no fields."""
_WHOEVER: Final = Attributes(grant_themes=("any",))
"""A caller of whose grants everything is asked that may be."""


class Seat(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """Of one record under one plan set."""

    dataset: str
    kind: SubjectKind
    region: str
    owner: str | None
    values: bytes
    """JSON object of the fields that the plan set's rules ask for, null where there is none."""


_VALUES: Final = msgspec.json.Encoder(order="sorted")
_PLAIN: Final = msgspec.json.Decoder(dict[str, str | int | bool | None])
_PACK: Final = msgspec.msgpack.Encoder()
_UNPACK: Final = msgspec.msgpack.Decoder(Seat)


def asked_of(ways: Iterable[PlanSet]) -> frozenset[str]:
    """The fields that the territories of some plan sets ask for, whoever the caller is."""
    rules = [rule for each in ways for plan in each.plans.values() if (rule := territory(plan, _WHOEVER)) is not None]
    return frozenset(name for rule in rules for name in fields_of_rule(rule)) - BESIDE


def values_of(values: Mapping[str, Value], names: Iterable[str]) -> bytes:
    """The part of a record's values that a seat holds."""
    return _VALUES.encode({name: values.get(name) for name in names})


def packed(seat: Seat) -> bytes:
    """A seat as it is kept."""
    return _PACK.encode(seat)


def unpacked(kept: bytes) -> Seat:
    """A seat that was kept."""
    return _UNPACK.decode(kept)


def moved(before: Seat, after: Seat) -> bool:
    """Whether a gate may answer otherwise; where another policy asks for other fields, only those that both know count."""
    if (before.kind, before.region, before.owner) != (after.kind, after.region, after.owner):
        return True
    if before.values == after.values:
        return False
    old, new = _PLAIN.decode(before.values), _PLAIN.decode(after.values)
    return any(old[name] != new[name] for name in old.keys() & new.keys())
