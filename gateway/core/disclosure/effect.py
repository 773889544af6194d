"""What a policy version changes against another, over every cell: the thing that a second person approves (policy.md §9).

Rules: the domain is finite, so every cell is compared; a cell that is absent on one side counts as `drop` without rights. Whatever is
not provably narrower is a widening: a treatment not below the old one, a right more, a plan more, any member of a plan that is not the
old one or provably less of it (`surroundings`). What changed a plan's hash and is named by nothing else is told as `other`
and widens. The digest binds an approval to exactly this effect. This room must not read the store: how many records are concerned is
counted elsewhere.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from gateway.core.disclosure.alterations import Alteration, altered
from gateway.core.disclosure.directions import Direction, when
from gateway.core.disclosure.personal import least_class
from gateway.core.disclosure.plans import PERSONAL_CLASSES, Plan, Policies, Reasons, digest
from gateway.core.disclosure.surroundings import surroundings
from gateway.core.disclosure.treatments import DROP, Exists, describe, leq
from gateway.core.records.model import Capability, DatasetId, FieldClass, SubjectKind

Key = tuple[str, str, str, SubjectKind]
"""Of a plan: dataset, tier, purpose, kind."""


class CellChange(Struct, frozen=True, kw_only=True, rename={"class_": "class"}):
    """A cell that is treated otherwise than before."""

    dataset: str
    tier: str
    purpose: str
    kind: SubjectKind
    field: str
    class_: FieldClass
    was_class: FieldClass | None
    """Where the field was of another class; None: it was the same, or there was no such field."""
    before: str
    after: str
    widens: bool
    identifies: bool = False
    """By its type the field is, or was, about persons, whatever its class says."""

    @property
    def personal(self) -> bool:
        """Whether the field is, or was, about persons; an unclassified one may be."""
        return self.identifies or bool({self.class_, self.was_class} & _PERSONAL)


class RightChange(Struct, frozen=True, kw_only=True, rename={"class_": "class"}):
    """A capability that a cell has gained or lost."""

    dataset: str
    tier: str
    purpose: str
    kind: SubjectKind
    field: str
    class_: FieldClass
    capability: Capability
    gained: bool
    identifies: bool = False
    """By its type the field is, or was, about persons, whatever its class says."""

    @property
    def personal(self) -> bool:
        """Whether the field is about persons."""
        return self.identifies or self.class_ in _PERSONAL


_PERSONAL: Final[frozenset[FieldClass | None]] = frozenset({*PERSONAL_CLASSES, "U"})


class Effect(Struct, frozen=True, kw_only=True):
    """Everything that one version shows, allows or asks for otherwise than another."""

    cells: tuple[CellChange, ...] = ()
    rights: tuple[RightChange, ...] = ()
    others: tuple[Alteration, ...] = ()
    """Plans, gates, rows, obligations, grounds, and what the texts say outside the cells."""
    public_fields: tuple[str, ...] = ()
    """`dataset.field` that the public newly sees of some kind of subject: the approver types them by hand."""

    @property
    def empty(self) -> bool:
        """Whether nothing at all changes."""
        return not (self.cells or self.rights or self.others)

    @property
    def widens(self) -> bool:
        """Whether anything is not provably narrower: then it takes a second person."""
        return (
            any(cell.widens for cell in self.cells)
            or any(right.gained for right in self.rights)
            or any(other.direction == "widens" for other in self.others)
        )

    @property
    def personal(self) -> bool:
        """Whether more is shown or allowed of persons: then the privacy officer is asked too."""
        return (
            any(cell.widens and cell.personal for cell in self.cells)
            or any(right.gained and right.personal for right in self.rights)
            or any(other.direction == "widens" and other.personal for other in self.others)
        )

    @property
    def redlines(self) -> bool:
        """Whether red lines or their exceptions are touched, in whichever direction."""
        return any(other.area in ("redline", "exception") for other in self.others)

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets of which a cell, right or plan is concerned."""
        named = {cell.dataset for cell in self.cells} | {right.dataset for right in self.rights}
        return tuple(sorted(named | {other.place.partition("/")[0] for other in self.others if other.area in PLAN_AREAS}))

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON of the whole effect: what an approval signs."""
        return digest(msgspec.to_builtins(self))

    def by_class(self) -> dict[str, dict[str, int]]:
        """How many cells are widened and narrowed, by class of field."""
        counted = Counter((cell.class_, "widened" if cell.widens else "narrowed") for cell in self.cells)
        return {
            class_: {way: counted[class_, way] for way in ("widened", "narrowed")} for class_ in sorted({class_ for class_, _ in counted})
        }


PLAN_AREAS: Final = frozenset({"plan", "gate", "envelope", "summary", "shape", "rows", "obligation", "budget", "basis", "end", "other"})


def effect(old: Policies | None, new: Policies) -> Effect:
    """What `new` changes against `old`; without an old version everything is new."""
    before, after = plans_of(old), plans_of(new)
    texts = tuple(altered(old, new))
    cells: list[CellChange] = []
    rights: list[RightChange] = []
    others: list[Alteration] = []
    for key in sorted({*before, *after}):
        was, now = before.get(key), after.get(key)
        if was is not None and now is not None and was.plan_hash == now.plan_hash and was.reasons.keys() == now.reasons.keys():
            others += _around(key, was, now)
            continue
        about = _about(key, old, new)
        found, changed = list(_cells(key, was, now, about)), list(_rights(key, was, now, about))
        around = list(_around(key, was, now))
        if not (found or changed or around or any(_concerns(text, key[0]) for text in texts)):
            around.append(_other(key, "other", "compiled otherwise", None, None, "widens", personal=True))
        cells += found
        rights += changed
        others += around
    public = {f"{cell.dataset}.{cell.field}" for cell in cells if cell.tier == "public" and cell.widens and cell.before in _UNSEEN}
    return Effect(cells=tuple(cells), rights=tuple(rights), others=(*others, *texts), public_fields=tuple(sorted(public)))


def _concerns(text: Alteration, dataset: str) -> bool:
    """Whether an alteration of the texts explains why a plan of this dataset has another name."""
    return text.area in _LAW or text.place.partition(".")[0] == dataset


_LAW: Final = frozenset({"period", "ceiling", "retention", "edition", "item", "measure", "list", "redline", "exception"})
_UNSEEN: Final = frozenset({describe(DROP), describe(Exists())})


def plans_of(policies: Policies | None) -> dict[Key, Plan]:
    """Every plan of a version by dataset, tier, purpose and kind."""
    if policies is None:
        return {}
    return {(*name, kind): plan for name, held in policies.plan_sets.items() for kind, plan in held.plans.items()}


def _about(key: Key, *versions: Policies | None) -> frozenset[str]:
    """The fields of a plan that are about persons by their type, in one of two versions."""
    held = [version.catalogue.datasets.get(DatasetId(key[0])) for version in versions if version is not None]
    return frozenset(
        name for one in held if one is not None for name, field in one.fields.items() if least_class(field, key[3]) is not None
    )


def _cells(key: Key, was: Plan | None, now: Plan | None, about: frozenset[str]) -> Iterator[CellChange]:
    dataset, tier, purpose, kind = key
    for name, one, other in _both(was, now):
        before, after = (cell.treatment if cell is not None else DROP for cell in (one, other))
        if before != after:
            yield CellChange(
                dataset=dataset,
                tier=tier,
                purpose=purpose,
                kind=kind,
                field=name,
                class_=_class(one, other),
                was_class=one.class_ if one is not None and other is not None and one.class_ != other.class_ else None,
                before=describe(before),
                after=describe(after),
                widens=not leq(after, before),
                identifies=name in about,
            )


def _rights(key: Key, was: Plan | None, now: Plan | None, about: frozenset[str]) -> Iterator[RightChange]:
    dataset, tier, purpose, kind = key
    for name, one, other in _both(was, now):
        before, after = (frozenset(cell.capabilities) if cell is not None else frozenset() for cell in (one, other))
        for capability in sorted(before ^ after):
            yield RightChange(
                dataset=dataset,
                tier=tier,
                purpose=purpose,
                kind=kind,
                field=name,
                class_=_class(one, other),
                capability=capability,
                gained=capability in after,
                identifies=name in about,
            )


def _both(was: Plan | None, now: Plan | None) -> Iterator[tuple[str, Reasons | None, Reasons | None]]:
    old: Mapping[str, Reasons] = was.reasons if was is not None else {}
    new: Mapping[str, Reasons] = now.reasons if now is not None else {}
    for name in dict.fromkeys((*new, *old)):
        yield name, old.get(name), new.get(name)


def _class(one: Reasons | None, other: Reasons | None) -> FieldClass:
    if other is not None:
        return other.class_
    return one.class_ if one is not None else "U"


# --- around the cells -------------------------------------------------------------------------------------------------


def _around(key: Key, was: Plan | None, now: Plan | None) -> Iterator[Alteration]:
    """A plan more or less, or how its members differ."""
    if was is None or now is None:
        held = now if now is not None else was
        personal = held is not None and held.personal
        yield _other(key, "plan", "removed" if now is None else "added", None, None, when(now is None), personal=personal)
        return
    personal = was.personal or now.personal
    for found in surroundings(was, now):
        yield _other(key, *found, personal=personal)


def _other(key: Key, area: str, what: str, before: str | None, after: str | None, direction: Direction, *, personal: bool) -> Alteration:
    return Alteration(area=area, place="/".join(key), what=what, before=before, after=after, direction=direction, personal=personal)
