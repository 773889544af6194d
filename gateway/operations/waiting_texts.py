"""Texts that wait for a reviewer: the queue of an organisation, one text with its suspicious places, and how long the queue is.

Rules: who may look is who may decide (`review_text`); only texts wait that some plan shows on condition of hold; what is shown is the
redacted candidate, and that it was shown is written down first; of a queue no text is opened, and those that read alike are told by
their digests. No raw text is read here, and nothing is redacted.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from gateway.core.callers.caller import Caller
from gateway.core.disclosure.plans import Mode, Policies
from gateway.core.errors import InvalidParameter, NotFound, NotPermitted
from gateway.core.records.model import Text
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

    Raises NotPermitted, InvalidParameter, AuditUnavailable.
    """
    org = reviewer(caller)
    policies = await services.policies.fresh()
    kinds = kinds_of(policies)
    if dataset is not None:
        kinds = {dataset: kinds.get(dataset, frozenset())}
    now = services.clock()
    rows = await reviews.waiting(
        services.store.reads, kinds, org, before=stamp(now - OVERDUE) if overdue else None, after=_after(after), limit=limit + 1
    )
    items = tuple(item for held in rows[:limit] for item in _items(policies, held, now))
    await _accessed(services, caller, policies, "reviews", rows[:limit])
    last = rows[limit - 1] if len(rows) > limit else None
    return ReviewPage(items=items, next=None if last is None else f"{last.since}~{last.record_id}")


async def show(services: Services, caller: Caller, review: str) -> ReviewCandidate:
    """One text that waits, with its suspicious places.

    Raises NotPermitted, NotFound, AuditUnavailable.
    """
    org = reviewer(caller)
    policies = await services.policies.fresh()
    record_id, field = split(review)
    held, waits = waiting_text(policies, org, await reviews.one(services.store.reads, record_id), field)
    ((text,),) = [each.values() for each in await reviews.whole(services.store.reads, [(held, (field,))])]
    item = next(each for each in _items(policies, held, services.clock()) if each.field == field)
    same = await same_texts(services.store.reads, policies, org, held, field, waits)
    await _accessed(services, caller, policies, "review", [held])
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


_known: list[tuple[Policies, Mapping[tuple[str, str], frozenset[str]]]] = []
"""What was found for the policies that were asked about last."""


def fields_of(policies: Policies) -> Mapping[tuple[str, str], frozenset[str]]:
    """By dataset and kind of subject the texts that some plan shows once they are not held."""
    if not _known or _known[0][0] is not policies:
        found: dict[tuple[str, str], set[str]] = {}
        for (dataset, _, _), plan_set in policies.plan_sets.items():
            for kind, plan in plan_set.plans.items():
                names = {name for name, mode, _, _, hold in plan.steps if mode == Mode.TEXT and hold}
                if names:
                    found.setdefault((dataset, kind), set()).update(names)
        _known[:] = [(policies, {key: frozenset(names) for key, names in found.items()})]
    return _known[0][1]


def kinds_of(policies: Policies) -> dict[str, frozenset[str]]:
    """By dataset the kinds of subject whose texts wait for reviewers."""
    found: dict[str, set[str]] = {}
    for dataset, kind in fields_of(policies):
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


def waiting_text(policies: Policies, org: str, held: Held | None, field: str) -> tuple[Held, Text]:
    """The text of an item, if it waits for this organisation.

    Raises NotFound.
    """
    if held is None or org not in (held.authority, held.sender):
        raise NotFound
    text = held.texts.get(field)
    if text is None or not text.waiting or field not in fields_of(policies).get((held.dataset, held.kind), ()):
        raise NotFound
    return held, text


async def same_texts(
    source: Reads | Transaction, policies: Policies, org: str, held: Held, field: str, text: Text
) -> list[tuple[Held, list[str]]]:
    """Other waiting texts of this organisation that read exactly so, in the first records of its queue."""
    same: list[tuple[Held, list[str]]] = []
    for other in await reviews.waiting(source, kinds_of(policies), org, limit=MANY):
        fields = [
            name
            for name, each in other.texts.items()
            if each.waiting
            and each.alike == text.alike
            and (other.record_id, name) != (held.record_id, field)
            and name in fields_of(policies).get((other.dataset, other.kind), ())
        ]
        if fields:
            same.append((other, fields))
    return same


def _items(policies: Policies, held: Held, now: datetime) -> list[ReviewItem]:
    dataset = policies.catalogue.datasets.get(held.dataset)  # type: ignore[call-overload]
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
            overdue=bool(since) and since < stamp(now - OVERDUE),
        )
        for name, text in held.texts.items()
        if text.waiting and name in fields_of(policies).get((held.dataset, held.kind), ())
    ]


def _after(after: str | None) -> tuple[str, str] | None:
    if after is None:
        return None
    since, tilde, record_id = after.partition("~")
    if not tilde or len(after) > 100:
        raise InvalidParameter("after is what `next` gave", place="after")
    return since, record_id


async def _accessed(services: Services, caller: Caller, policies: Policies, shape: str, rows: Sequence[Held]) -> None:
    by_dataset: dict[str, list[Held]] = {}
    for held in rows:
        by_dataset.setdefault(held.dataset, []).append(held)
    for dataset, some in by_dataset.items():
        plan_set = policies.plan_sets.get((dataset, caller.tier, caller.purpose))
        if plan_set is not None:
            await record_access(services, policies, caller, [plan_set], shape, len(some), [held.subject_id for held in some])
