"""Texts that wait for a reviewer: the queue of an organisation, one text with its suspicious places, and how long the queue is.

Rules: who may look is who may decide (`review_text`), for records and fields that its grants of today reach, and whoever does pays
what any look at those records owes; only texts wait that some plan shows on condition of hold; what is shown is the redacted
candidate, and that it was shown is written down first; of a queue no text is opened, and those that read alike are told by their
digests. No raw text is read here, and nothing is redacted.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from gateway.core.callers.caller import Caller
from gateway.core.disclosure.plans import Mode, Policies
from gateway.core.errors import InvalidParameter, NotFound, NotPermitted
from gateway.core.records.model import Text
from gateway.operations import owing
from gateway.operations.answering import Scene, begin, refuse_ended
from gateway.operations.reaching import owed_of
from gateway.operations.record_access import record_access
from gateway.services import Services
from gateway.store import reviews
from gateway.store.reads import Reads
from gateway.store.reviews import Held
from gateway.store.store import Transaction, stamp

PURPOSE: Final = "dept.supervision"
OVERDUE: Final = timedelta(days=7)
"""A text that waits longer is overdue."""
PAGE: Final = 100
MANY: Final = 5000
"""As many records are looked through for texts that read the same."""


class Doubt(Struct, frozen=True, kw_only=True):
    """A place of the redacted text that seems personal."""

    start: int
    end: int
    text: str


class ReviewItem(Struct, frozen=True, kw_only=True):
    """One text that waits."""

    id: str
    """Record and field."""
    record: str
    dataset: str
    field: str
    label: str
    residual: int
    since: str
    overdue: bool


class ReviewPage(Struct, frozen=True, kw_only=True):
    """Texts that wait, the oldest first."""

    items: tuple[ReviewItem, ...]
    next: str | None = None
    """Where the next page begins: give it as `after`."""


class ReviewCandidate(Struct, frozen=True, kw_only=True):
    """One text that waits, as the redactor left it."""

    id: str
    record: str
    dataset: str
    field: str
    label: str
    residual: int
    since: str
    overdue: bool
    text: str
    doubts: tuple[Doubt, ...]
    same_text: int
    """How many more texts of this organisation wait that read exactly so."""


class Waiting(Struct, frozen=True, kw_only=True):
    """The queue of one dataset, for the metrics."""

    dataset: str
    records: int
    oldest_s: float
    overdue: int


# --- reading ----------------------------------------------------------------------------------------------------------


async def waiting(
    services: Services, caller: Caller, *, dataset: str | None = None, overdue: bool = False, after: str | None = None, limit: int = PAGE
) -> ReviewPage:
    """Texts that wait for this organisation, the oldest first.

    Raises NotPermitted, CaseRefMissing, InvalidParameter, RowBudgetSpent, ObligationFailed, AuditUnavailable.
    """
    scene = await desk(services, caller)
    kinds = reached_kinds(scene)
    if dataset is not None:
        kinds = {dataset: kinds.get(dataset, frozenset())}
    refuse_ended(scene, kinds)
    limit = owing.most_of_a_page(owed_of(scene.forms, tuple(sorted(kinds))), limit)
    rows = await reviews.waiting(
        services.store.reads,
        kinds,
        reviewer(caller),
        before=stamp(scene.now - OVERDUE) if overdue else None,
        after=_after(after),
        limit=limit + 1,
        gates=scene.gates,
    )
    items = tuple(item for held in rows[:limit] for item in _items(scene, held))
    await pay(scene, "reviews", rows[:limit])
    last = rows[limit - 1] if len(rows) > limit else None
    return ReviewPage(items=items, next=None if last is None else f"{last.since}~{last.record_id}")


async def show(services: Services, caller: Caller, review: str) -> ReviewCandidate:
    """One text that waits, with its suspicious places.

    Raises NotPermitted, CaseRefMissing, NotFound, RowBudgetSpent, ObligationFailed, AuditUnavailable.
    """
    scene = await desk(services, caller)
    record_id, field = split(review)
    held, waits = waiting_text(scene, await reviews.one(services.store.reads, record_id, gates=scene.gates), field)
    refuse_ended(scene, (held.dataset,))
    item = next(each for each in _items(scene, held) if each.field == field)
    same = await same_texts(services.store.reads, scene, held, field, waits)
    await pay(scene, "review", [held])
    ((text,),) = [each.values() for each in await reviews.whole(services.store.reads, [(held, (field,))])]
    return ReviewCandidate(
        id=item.id,
        record=item.record,
        dataset=item.dataset,
        field=field,
        label=item.label,
        residual=item.residual,
        since=item.since,
        overdue=item.overdue,
        text=text.strict,
        doubts=tuple(Doubt(start=start, end=end, text=text.strict[start:end]) for start, end in text.doubts),
        same_text=sum(len(fields) for _, fields in same),
    )


async def measure(services: Services) -> tuple[Waiting, ...]:
    """Count, age and overdue of every dataset's queue."""
    kinds = kinds_of(await services.policies.fresh())
    now = services.clock()
    found = await reviews.counts(services.store.reads, kinds, stamp(now - OVERDUE))
    return tuple(
        Waiting(dataset=dataset, records=count, oldest_s=(now - datetime.fromisoformat(oldest)).total_seconds(), overdue=late)
        for dataset, (count, oldest, late) in sorted(found.items())
    )


# --- parts, for `review_text` too -------------------------------------------------------------------------------------


def reviewer(caller: Caller) -> str:
    """The organisation for which a caller reviews.

    Raises NotPermitted.
    """
    if caller.tier != "department" or caller.purpose != PURPOSE or caller.org is None:
        raise NotPermitted
    return caller.org


async def desk(services: Services, caller: Caller) -> Scene:
    """What a reviewer reaches today, and under which plans: what any answer about those records stands under.

    Raises NotPermitted, NoActivePolicy, CaseRefMissing.
    """
    reviewer(caller)
    return await begin(services, caller, "zh-CN")


def fields_of(policies: Policies) -> Mapping[tuple[str, str], frozenset[str]]:
    """By dataset and kind of subject the texts that some plan shows once they are not held."""
    known: dict[tuple[str, str], frozenset[str]] | None = policies.memo.get("held-texts")
    if known is None:
        found: dict[tuple[str, str], set[str]] = {}
        for (dataset, _, _), plan_set in policies.plan_sets.items():
            for kind, plan in plan_set.plans.items():
                names = {name for name, mode, _, _, hold in plan.steps if mode == Mode.TEXT and hold}
                if names:
                    found.setdefault((dataset, kind), set()).update(names)
        known = policies.memo["held-texts"] = {key: frozenset(names) for key, names in found.items()}
    return known


def reached_fields(scene: Scene) -> Mapping[tuple[str, str], frozenset[str]]:
    """The same, as far as the reviewer's plans show those fields under all its grants' ceilings together."""
    known: dict[tuple[str, str], frozenset[str]] | None = scene.forms.remembered.get("held-texts")
    if known is None:
        known = {}
        for (dataset, kind), names in fields_of(scene.policies).items():
            held = scene.forms.plan_sets.get(dataset)
            plan = None if held is None else held.plans.get(kind)  # type: ignore[call-overload]  # a SubjectKind is a str
            shown = frozenset() if plan is None else names & {step.field for step in plan.steps}
            if shown:
                known[dataset, kind] = shown
        scene.forms.remembered["held-texts"] = known
    return known


def reached_kinds(scene: Scene) -> dict[str, frozenset[str]]:
    """By dataset the kinds of subject whose texts the reviewer may look at."""
    return _by_dataset(reached_fields(scene))


def kinds_of(policies: Policies) -> dict[str, frozenset[str]]:
    """By dataset the kinds of subject whose texts wait for reviewers."""
    return _by_dataset(fields_of(policies))


def _by_dataset(fields: Mapping[tuple[str, str], frozenset[str]]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for dataset, kind in fields:
        found.setdefault(dataset, set()).add(kind)
    return {dataset: frozenset(kinds) for dataset, kinds in found.items()}


def split(review: str) -> tuple[str, str]:
    """Record and field of an item.

    Raises NotFound.
    """
    record_id, tilde, field = review.partition("~")
    if not tilde or not record_id.startswith("rec_") or len(review) > 100:
        raise NotFound
    return record_id, field


def waiting_text(scene: Scene, held: Held | None, field: str) -> tuple[Held, Text]:
    """The text of an item, if it waits for this reviewer: its organisation's, and within reach.

    Raises NotFound.
    """
    if held is None or reviewer(scene.caller) not in (held.authority, held.sender):
        raise NotFound
    text = held.texts.get(field)
    if text is None or not text.waiting or field not in reached_fields(scene).get((held.dataset, held.kind), ()):
        raise NotFound
    return held, text


async def same_texts(source: Reads | Transaction, scene: Scene, held: Held, field: str, text: Text) -> list[tuple[Held, list[str]]]:
    """Other waiting texts within reach that read exactly so, in the first records of the organisation's queue."""
    org, kinds = reviewer(scene.caller), reached_kinds(scene)
    same: list[tuple[Held, list[str]]] = []
    for other in await reviews.waiting(source, kinds, org, limit=MANY, gates=scene.gates):
        fields = [
            name
            for name, each in other.texts.items()
            if each.waiting
            and each.alike == text.alike
            and (other.record_id, name) != (held.record_id, field)
            and name in reached_fields(scene).get((other.dataset, other.kind), ())
        ]
        if fields:
            same.append((other, fields))
    return same


def _items(scene: Scene, held: Held) -> list[ReviewItem]:
    dataset = scene.policies.catalogue.datasets.get(held.dataset)  # type: ignore[call-overload]  # a DatasetId is a str
    since = held.since or ""
    return [
        ReviewItem(
            id=f"{held.record_id}~{name}",
            record=held.record_id,
            dataset=held.dataset,
            field=name,
            label=dataset.fields[name].label if dataset is not None and name in dataset.fields else name,
            residual=text.residual,
            since=since,
            overdue=bool(since) and since < stamp(scene.now - OVERDUE),
        )
        for name, text in held.texts.items()
        if text.waiting and name in reached_fields(scene).get((held.dataset, held.kind), ())
    ]


def _after(after: str | None) -> tuple[str, str] | None:
    if after is None:
        return None
    since, tilde, record_id = after.partition("~")
    if not tilde or len(after) > 100:
        raise InvalidParameter("after is what `next` gave", place="after")
    return since, record_id


async def pay(scene: Scene, shape: str, rows: Sequence[Held]) -> None:
    """What a look at these records owes, before the first byte: rows of the organisation's day, and the audit trail.

    Raises RowBudgetSpent, ObligationFailed, AuditUnavailable.
    """
    by_dataset: dict[str, list[Held]] = {}
    for held in rows:
        by_dataset.setdefault(held.dataset, []).append(held)
    await owing.spend_rows(scene, owed_of(scene.forms, tuple(sorted(by_dataset))), len(rows))
    for dataset, some in by_dataset.items():
        subjects = [held.subject_id for held in some]
        await record_access(scene.services, scene.policies, scene.caller, [scene.forms.plan_sets[dataset]], shape, len(some), subjects)
