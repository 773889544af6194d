"""How two texts of a policy differ outside the cells: datasets, purposes, tiers, periods, catalogue, lists and red lines.

Rules: an alteration `narrows` only where that can be proven from the two texts alone (a ground that begins later or ends earlier, a
shorter clock, a red line more, an exception less); it is `neutral` where nothing is shown or decided by it (a label); everything
else `widens`, also what nobody thought of, for the default of every comparison is `widens`. A field is more than its cells: intake reads
clocks, kinds of subject and persons' names out of it, so one that intake looks at is not simply less when it goes, and a header that it
gains may be another field's column. This room must not look at a cell.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.core.disclosure import directions
from gateway.core.disclosure.directions import (
    Compare,
    Direction,
    always,
    any_ground,
    at_least,
    at_most,
    every_ground,
    fewer,
    more,
    scale,
    when,
)
from gateway.core.disclosure.personal import least_class
from gateway.core.disclosure.plans import Policies
from gateway.core.disclosure.rules import ExceptionText
from gateway.core.disclosure.tiers import Costs
from gateway.core.disclosure.treatments import leq, treatment_of
from gateway.core.disclosure.wording import said
from gateway.core.records.catalogue import COUNTED, Catalogue
from gateway.core.records.columns import CLOCKS, ORGANISATION_KEYS
from gateway.core.records.headers import normalise_header
from gateway.core.records.model import SUBJECT_KINDS, BasisRef, Field


class Alteration(Struct, frozen=True, kw_only=True):
    """One thing that is otherwise: what it is, where it stands, how it was and is, and which way it goes."""

    area: str
    """Of plans: those of `surroundings`; of texts: the names of the tables below, `retention`, `ground`, and `other`."""
    place: str
    what: str
    before: str | None
    after: str | None
    direction: Direction
    personal: bool = False
    """Of a plan that shows persons more than a surname, or of a field about persons."""


class _Table(Struct, frozen=True, kw_only=True):
    """How the entries of one area are compared: what one more or one less of them means, and each member."""

    area: str
    added: Direction
    removed: Direction
    members: Mapping[str, Compare] = {}
    """Members not named here widen when they change."""


_NEUTRAL: Final = always("neutral")
_TABLES: Final = {
    table.area: table
    for table in (
        _Table(
            area="purpose",
            added="widens",
            removed="narrows",
            members={"label": _NEUTRAL, "basis": every_ground, "tiers": fewer, "case_ref": scale("required", "none")}
            | {"assurance": scale("session", "bound", "key", "none"), "subject_label": _NEUTRAL},
        ),
        _Table(area="tier", added="widens", removed="narrows", members={"label": _NEUTRAL}),
        _Table(
            area="rate class",
            added="neutral",
            removed="neutral",
            members={"burst": directions.burst, "day": at_most},
        ),
        _Table(area="class", added="widens", removed="widens", members={"label": _NEUTRAL}),
        _Table(
            area="period",
            added="widens",
            removed="widens",
            members={"note": _NEUTRAL, "publication": directions.clock, "sharing": directions.clock, "early_stop": more}
            | {"retention": always("widens")},  # shorter: what is erased by it never comes back; longer: people are remembered longer
        ),
        _Table(
            area="cost",
            added="neutral",
            removed="neutral",
            members=dict.fromkeys(Costs.__struct_fields__, at_least) | {"export_rows": at_most, "stream_s": at_most},
        ),
        _Table(area="ceiling", added="narrows", removed="widens", members={"max": directions.shorter}),
        _Table(area="edition", added="widens", removed="narrows", members={"title": _NEUTRAL}),
        _Table(area="item", added="widens", removed="narrows", members={"basis": any_ground}),
        _Table(
            area="licence",
            added="neutral",
            removed="neutral",
            members={"title": _NEUTRAL, "attribution": _NEUTRAL, "carve_out": _NEUTRAL},
        ),
        _Table(area="measure", added="widens", removed="narrows", members={"basis": any_ground}),
        _Table(
            area="list",
            added="widens",
            removed="widens",  # its legal basis was asked for; without it nobody asks
            members={
                "label": _NEUTRAL,
                "label_en": _NEUTRAL,
                "legal_basis": any_ground,
                "households": directions.allowed,
                "persons": directions.allowed,
            },
        ),
        _Table(area="redline", added="narrows", removed="widens", members={"except_": fewer}),
        _Table(area="exception", added="widens", removed="narrows", members={"basis": every_ground, "until": at_most}),
        _Table(
            area="dataset",
            added="neutral",
            removed="narrows",
            members={
                "label": _NEUTRAL,
                "label_en": _NEUTRAL,
                "about": _NEUTRAL,
                "subject_kinds": fewer,
                "publish": directions.published,
                "share": scale("none", "conditional", "unconditional"),
                "open": scale("closed", "conditional", "unconditional"),
            },
        ),
        _Table(
            area="field",
            added="neutral",
            removed="narrows",
            members={
                "label_en": _NEUTRAL,
                "values_en": _NEUTRAL,
                "query": _NEUTRAL,
                "length": at_most,
                "required": scale(True, False),
                "review": scale(True, False),
                "synonyms": fewer,
                "standard_element": _NEUTRAL,
            },
        ),
    )
}
"""`bases` and `query` are compared where they count: in the plans and the capabilities of the cells. What becomes of whole fields, and of
their labels, `_fields` says."""


def altered(old: Policies | None, new: Policies) -> Iterator[Alteration]:
    """Everything outside the cells and plans that is otherwise in the second text; an old one that is None holds nothing."""
    yield from _entries("purpose", old.purposes if old else {}, new.purposes)
    yield from _entries("tier", old.tiers if old else {}, new.tiers)
    yield from _entries("rate class", old.rate_classes if old else {}, new.rate_classes)
    if old is not None and old.costs != new.costs:
        yield from _members(_TABLES["cost"], "costs", old.costs, new.costs)
    yield from _entries("class", old.classes if old else {}, new.classes)
    was, now = old.catalogue if old else None, new.catalogue
    yield from _entries("period", _by_id(was.periods.rules) if was else {}, _by_id(now.periods.rules))
    yield from _entries("ceiling", _by_id(was.periods.ceilings) if was else {}, _by_id(now.periods.ceilings))
    yield from _retention(was.retention if was else {}, now.retention)
    yield from _entries("edition", was.editions if was else {}, now.editions)
    yield from _entries("item", _joined(was.items) if was else {}, _joined(now.items))
    yield from _entries("measure", _joined(was.measures) if was else {}, _joined(now.measures))
    yield from _entries("licence", was.licences if was else {}, now.licences)
    for found in _entries("list", was.lists if was else {}, now.lists):
        yield msgspec.structs.replace(found, personal=found.direction == "widens" and _names_persons(found.place, was, now))
    yield from _redlines(old, new)
    datasets = was.datasets if was else {}
    yield from _entries("dataset", datasets, now.datasets)
    for name, held in now.datasets.items():
        yield from _bases(name, datasets[name].bases if name in datasets else {}, held.bases)
        yield from _fields(name, datasets[name].fields if name in datasets else {}, held.fields)
    if old is not None:
        yield from _unforeseen(old, new)


def _unforeseen(old: Policies, new: Policies) -> Iterator[Alteration]:
    """What a version holds that nothing above compares: a member that somebody adds some day."""
    pairs = ((old, new), (old.catalogue, new.catalogue), (old.catalogue.periods, new.catalogue.periods), (old.redlines, new.redlines))
    for was, now in pairs:
        for member in was.__struct_fields__:
            if member not in _COMPARED and getattr(was, member) != getattr(now, member):
                yield Alteration(area="other", place=member, what=member, before=None, after=None, direction="widens", personal=True)


_COMPARED: Final = frozenset(
    {"purposes", "tiers", "rate_classes", "costs", "classes", "catalogue", "redlines", "exceptions"}
    | {"datasets", "lists", "editions", "items", "measures", "licences", "periods", "rules", "ceilings", "retention"}
    | {"plan_sets"}  # compared cell by cell
    | {"version", "digest", "warnings", "memo", "failures"}  # nothing is shown by them
)


def _names_persons(name: str, was: Catalogue | None, now: Catalogue) -> bool:
    """Whether a list takes, or took, persons or households."""
    held = (was.lists.get(name) if was is not None else None, now.lists.get(name))
    return any(bool(each.persons or each.households) for each in held if each is not None)


def _fields(dataset: str, before: Mapping[str, Field], after: Mapping[str, Field]) -> Iterator[Alteration]:
    for found in _entries("field", before, after, f"{dataset}."):
        name, direction = found.place.removeprefix(f"{dataset}."), found.direction
        if found.what == "added" and name in _READ:
            direction = "widens"
        elif found.what == "removed":
            direction = when(name not in _READ and not _about_persons(before, after, name))
        elif found.what == "label":
            direction = "neutral" if _headers(after[name]) <= _headers(before[name]) else "widens"
        yield msgspec.structs.replace(found, direction=direction, personal=_about_persons(before, after, name))


_READ: Final = frozenset(
    {*CLOCKS, *ORGANISATION_KEYS, "name", "category", "id_type", "id_no", "penalty_type", "authority", "authority_code"}
)
"""Fields that intake looks at beside taking them in: clocks, whom a record is about, who decided, how grave it is."""


def _headers(described: Field) -> frozenset[str]:
    """The headers under which departments may send a field."""
    named = (described.label, described.name, described.wire_name, *described.synonyms)
    return frozenset(normalise_header(text) for text in named)


def _by_id(entries: Iterable[Any]) -> dict[str, Any]:
    return {entry.id: entry for entry in entries}


def _bases(dataset: str, before: Mapping[str, BasisRef], after: Mapping[str, BasisRef]) -> Iterator[Alteration]:
    """Grounds that a dataset declares; one more is nothing until a rule names it."""
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was != now:
            direction = "neutral" if was is None else directions.when(now is None or directions.no_wider(was, now))
            told = [said(ground) if ground is not None else None for ground in (was, now)]
            yield Alteration(area="ground", place=f"{dataset}.{name}", what="ground", before=told[0], after=told[1], direction=direction)


def _joined(entries: Mapping[tuple[str, str], Any]) -> dict[str, Any]:
    return {"/".join(key): value for key, value in entries.items()}


def _about_persons(before: Mapping[str, Field], after: Mapping[str, Field], name: str) -> bool:
    """Whether a field is, or was, about persons for some kind of subject, by its class or by its type; an unclassified one may be."""
    held = [fields[name] for fields in (before, after) if name in fields]
    classes = {class_ for field in held for class_ in field.classes.values()}
    return any(class_ == "U" or class_.startswith("P") for class_ in classes) or any(
        least_class(field, kind) is not None for field in held for kind in SUBJECT_KINDS
    )


def _retention(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Alteration]:
    """Who asked about persons is kept neither shorter nor longer by one person alone; counters may be kept longer."""
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was != now:
            counted = name in COUNTED
            direction = directions.longer_kept(was, now) if counted and was is not None and now is not None else "widens"
            yield Alteration(area="retention", place=name, what="kept", before=was, after=now, direction=direction, personal=not counted)


def _redlines(old: Policies | None, new: Policies) -> Iterator[Alteration]:
    lines, now = _by_id(old.redlines.redlines) if old else {}, _by_id(new.redlines.redlines)
    for found in _entries("redline", lines, now):
        direction = directions.ceiling(lines[found.place], now[found.place]) if found.what == "max" else found.direction
        yield msgspec.structs.replace(found, direction=direction, personal=direction == "widens")
    ways = _ways(old.redlines.exceptions) if old else {}
    ways_now = _ways(new.redlines.exceptions)
    for found in _entries("exception", ways, ways_now):
        direction = found.direction
        if found.what == "max":
            direction = directions.when(leq(treatment_of(ways_now[found.place].max), treatment_of(ways[found.place].max)))
        yield msgspec.structs.replace(found, direction=direction, personal=direction == "widens")


def _ways(exceptions: Iterable[ExceptionText]) -> dict[str, ExceptionText]:
    return {f"{found.field} ({', '.join(sorted(found.kinds))})": found for found in exceptions}


def _entries(area: str, before: Mapping[Any, Any], after: Mapping[Any, Any], prefix: str = "") -> Iterator[Alteration]:
    """The entries that are only on one side, and the members that differ of those on both."""
    table = _TABLES[area]
    for name in sorted({*before, *after}):
        place = f"{prefix}{name}"
        if name not in before:
            yield Alteration(area=area, place=place, what="added", before=None, after=None, direction=table.added)
        elif name not in after:
            yield Alteration(area=area, place=place, what="removed", before=None, after=None, direction=table.removed)
        elif before[name] != after[name]:
            yield from _members(table, place, before[name], after[name])


def _members(table: _Table, place: str, before: Any, after: Any) -> Iterator[Alteration]:
    for member in before.__struct_fields__:
        was, now = getattr(before, member), getattr(after, member)
        if was != now and not (table.area == "dataset" and member in ("bases", "fields")):
            direction = table.members.get(member, always("widens"))(was, now)
            yield Alteration(area=table.area, place=place, what=member.rstrip("_"), before=said(was), after=said(now), direction=direction)
