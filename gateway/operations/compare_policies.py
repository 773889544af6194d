"""Compare two policy versions: the effect cell by cell, rows and apps of the store concerned, the twin before and after.

Rules: each side is a folder (here, or as it was sent), the number of a version, or `active`; the effect alone decides what widens
(`core/disclosure/effect`); rows are counted, never shown; what is shown of records is synthetic. Without a store the effect stands by
itself. This story must not change anything.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Final

from msgspec import Struct

from gateway.core.disclosure.alterations import Alteration
from gateway.core.disclosure.effect import CellChange, Effect, RightChange, effect
from gateway.core.disclosure.plans import Plan, PlanSet, Policies
from gateway.core.disclosure.policy import compile_policies
from gateway.core.disclosure.residual import DEFAULT_K
from gateway.core.disclosure.twin import twins
from gateway.core.disclosure.views import closed_gate
from gateway.core.errors import PolicyError
from gateway.core.records.model import DatasetId, Record, RecordId, RecordState, SubjectKind, Value
from gateway.operations.apps_concerned import AppConcerned, SetKey, apps_concerned
from gateway.operations.change_policy import read_folder
from gateway.operations.preview_policy import Previewed, seen_by
from gateway.services import Services
from gateway.store import policies as policy_rows
from gateway.store import records

ACTIVE: Final = "active"
SENT: Final = "files"
PAGE: Final = 2000
_STATES: Final[tuple[RecordState, ...]] = ("in_force", "expired")


Named = str | Mapping[str, bytes]
"""How a side is given: its name, or the files of a folder."""


class Side(Struct, frozen=True, kw_only=True):
    """One of the two versions."""

    name: str
    version: int | None
    digest: str | None
    """None: nothing is in force."""


class RowCount(Struct, frozen=True, kw_only=True):
    """Records of the store whose gate opens or closes for a plan set; a territory is not asked, for it depends on who asks."""

    dataset: str
    tier: str
    purpose: str
    visible_before: int
    visible_after: int
    newly_visible: int
    newly_hidden: int


class Sample(Struct, frozen=True, kw_only=True):
    """A synthetic record before and after: the fields that differ, without those that are absent."""

    dataset: str
    tier: str
    purpose: str
    kind: SubjectKind
    case: str
    before: Mapping[str, Value]
    after: Mapping[str, Value]
    closed_before: str | None
    closed_after: str | None


class Compared(Struct, frozen=True, kw_only=True):
    """The whole answer of `policy diff`."""

    a: Side
    b: Side
    effect_digest: str
    empty: bool
    widens: bool
    personal: bool
    redlines: bool
    by_class: Mapping[str, Mapping[str, int]]
    public_fields: tuple[str, ...]
    cells: tuple[CellChange, ...]
    capabilities: tuple[RightChange, ...]
    others: tuple[Alteration, ...]
    rows: tuple[RowCount, ...] | None
    """None: there was no store to count in."""
    apps: tuple[AppConcerned, ...] | None
    """Apps that read a plan set concerned; None: there was no store to look into."""
    samples: tuple[Sample, ...]


async def compare(services: Services | None, a: Named, b: Named, *, today: date) -> Compared:
    """What changes from `a` to `b`.

    Raises PolicyError for a folder that does not compile, a version that is not there, or a version named without a store.
    """
    (side, old), (other, new) = [await _resolve(services, name, today) for name in (a, b)]
    if new is None:
        raise PolicyError("nothing is in force to compare with", code="policy-S10", field=other.name, hint="name a folder or a version")
    found = effect(old, new)
    return Compared(
        a=side,
        b=other,
        effect_digest=found.digest,
        empty=found.empty,
        widens=found.widens,
        personal=found.personal,
        redlines=found.redlines,
        by_class=found.by_class(),
        public_fields=found.public_fields,
        cells=found.cells,
        capabilities=found.rights,
        others=found.others,
        rows=None if services is None else await count_rows(services, old, new, found),
        apps=None if services is None else await apps_concerned(services, {key for key, _, _ in concerned(old, new, found)}),
        samples=tuple(samples(old, new, found, today)),
    )


async def _resolve(services: Services | None, name: Named, today: date) -> tuple[Side, Policies | None]:
    """A side by its name: `active`, a number, else a folder; or the files of a folder that was sent."""
    if not isinstance(name, str) or (name != ACTIVE and not name.isdecimal()):
        few = DEFAULT_K if services is None else services.settings.residual_k
        files = read_folder(Path(name)) if isinstance(name, str) else name
        policies = compile_policies(files, version=0, today=today, residual_k=few)
        return Side(name=name if isinstance(name, str) else SENT, version=None, digest=policies.digest), policies
    if services is None:
        raise PolicyError("versions stand in the store, and no settings are given", field=name, hint="give --settings, or two folders")
    if name == ACTIVE:
        held = await policy_rows.active(services.store.reads)
        if held is None:
            return Side(name=name, version=None, digest=None), None
        version, files = held
    else:
        version, files = int(name), await policy_rows.files_of(services.store.reads, int(name))
    policies = compile_policies(files, version=version, today=today, in_force=True)
    return Side(name=name, version=version, digest=policies.digest), policies


# --- rows of the store ------------------------------------------------------------------------------------------------


def concerned(old: Policies | None, new: Policies, found: Effect) -> Iterator[tuple[SetKey, PlanSet | None, PlanSet | None]]:
    """Plan sets that either version has and the effect touches; what the texts say of law touches all."""
    named = {key: key[0] in found.datasets for key in {*(old.plan_sets if old is not None else {}), *new.plan_sets}}
    everywhere = any("/" not in other.place or other.area in ("item", "measure") for other in found.others)
    for key in sorted(named):
        before, after = old.plan_sets.get(key) if old is not None else None, new.plan_sets.get(key)
        if (named[key] or everywhere) and (before is None or after is None or before.hash != after.hash):
            yield key, before, after


async def count_rows(services: Services, old: Policies | None, new: Policies, found: Effect) -> tuple[RowCount, ...]:
    """Records of the store that a plan set begins or ceases to show, one walk over each dataset concerned."""
    sets: dict[str, list[tuple[SetKey, PlanSet | None, PlanSet | None]]] = {}
    for key, before, after in concerned(old, new, found):
        sets.setdefault(key[0], []).append((key, before, after))
    counted: list[RowCount] = []
    for dataset, held in sets.items():
        tally = {key: [0, 0, 0, 0] for key, _, _ in held}
        fields = frozenset(
            name for _, *both in held for one in both if one is not None for plan in one.plans.values() for name in plan.gate.requires
        )
        async for record in _walk(services, DatasetId(dataset), fields):
            for key, before, after in held:
                was = _open(services, record, before, old)
                now = _open(services, record, after, new)
                for place, true in enumerate((was, now, now and not was, was and not now)):
                    tally[key][place] += true
        counted += [
            RowCount(
                dataset=dataset,
                tier=tier,
                purpose=purpose,
                visible_before=was,
                visible_after=now,
                newly_visible=more,
                newly_hidden=fewer,
            )
            for (_, tier, purpose), (was, now, more, fewer) in tally.items()
        ]
    return tuple(counted)


def _open(services: Services, record: Record, plan_set: PlanSet | None, policies: Policies | None) -> bool:
    plan = plan_set.plans.get(record.kind) if plan_set is not None else None
    return plan is not None and policies is not None and closed_gate(record, plan, policies, services.clock()) is None


async def _walk(services: Services, dataset: DatasetId, fields: frozenset[str]) -> AsyncIterator[Record]:
    after: RecordId | None = None
    while True:
        page = await records.load(services.store.reads, dataset=dataset, fields=fields, after=after, limit=PAGE, states=_STATES)
        for record in page:
            yield record
        if len(page) < PAGE:
            return
        after = page[-1].record_id


# --- synthetic rows before and after ----------------------------------------------------------------------------------


def samples(old: Policies | None, new: Policies, found: Effect, at: date) -> Iterator[Sample]:
    """Of each plan that shows a synthetic record otherwise, the first such record with the fields that differ."""
    for _, before, after in concerned(old, new, found):
        was: Mapping[SubjectKind, Plan] = before.plans if before is not None else {}
        now: Mapping[SubjectKind, Plan] = after.plans if after is not None else {}
        for kind in sorted({*was, *now}):
            sample = _sample(old, new, was.get(kind), now.get(kind), kind, at)
            if sample is not None:
                yield sample


def _sample(old: Policies | None, new: Policies, was: Plan | None, now: Plan | None, kind: SubjectKind, at: date) -> Sample | None:
    plan, made_by = (now, new) if now is not None else (was, old)
    if plan is None or made_by is None:
        return None
    for twin in twins(made_by, plan.dataset, kind, at, "sharing" if plan.gate.period == "sharing" else "publication"):
        before = seen_by(old, twin, was, at) if was is not None and old is not None else None
        after = seen_by(new, twin, now, at) if now is not None else None
        one, other = _values(before), _values(after)
        differ = [name for name in dict.fromkeys((*one, *other)) if name not in one or name not in other or one[name] != other[name]]
        if differ:
            return Sample(
                dataset=plan.dataset,
                tier=plan.tier,
                purpose=plan.purpose,
                kind=kind,
                case=twin.case,
                before={name: one[name] for name in differ if name in one},
                after={name: other[name] for name in differ if name in other},
                closed_before="no plan" if before is None else before.closed,
                closed_after="no plan" if after is None else after.closed,
            )
    return None


def _values(shown: Previewed | None) -> Mapping[str, Value]:
    return shown.fields if shown is not None else {}
