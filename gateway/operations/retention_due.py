"""Records that were kept long enough: looked for once a day, listed, told to people.

Rules:
- a look goes through the records of every dataset of which a rule in force says how long they are kept, a stretch of ids at a time, and
  remembers in the store where it stands: it may be stopped anywhere, and another process goes on. With another day or another policy it
  begins anew. It reads states and dates, no value.
- the list is what the latest look found; each record of a page is reckoned again when it is shown. What stays in spite of its day is named
  with the reason: an objection is open, or a person has still to decide whether it may be shown at all.
This story must not erase anything.
"""

import asyncio
import re
from datetime import date, datetime
from typing import Final, Literal

from msgspec import Struct

from gateway.core.disclosure.plans import Policies
from gateway.core.errors import InvalidParameter
from gateway.core.records.model import DatasetId
from gateway.core.records.periods import legal_day
from gateway.core.records.retention import Keeping, retention, speaks
from gateway.services import Services
from gateway.store import places
from gateway.store import retention as rows
from gateway.store.retention import Due, DueDataset, Standing

CHUNK: Final = 1000
AT_ONCE: Final = 200
"""So many are reckoned before others have their turn."""
PAGE: Final = 100
META: Final = "retention-looked"
_DONE: Final = "*"
_ELSEWHERE_S: Final = 0.1
_RECORD: Final = re.compile(r"rec_[a-z2-7]{26}")

Stays = Literal["objection", "held"]
"""Why a record stays whose day is over: an objection is open · nobody has decided whether it may be shown."""


class DueRecord(Struct, frozen=True, kw_only=True):
    """One record of the list, by its id; no value of it."""

    record: str
    last_day: date
    """The last day on which it was to be kept."""
    rule: str
    """Row of `periods.toml`."""
    state: str
    stays: Stays | None = None


class DueList(Struct, frozen=True, kw_only=True):
    """What was kept long enough: by dataset and, of one of them, a page of its records, the longest over first."""

    looked_on: date | None
    """Day of the latest look that was finished; None: there was none under this policy."""
    datasets: tuple[DueDataset, ...]
    items: tuple[DueRecord, ...] = ()
    next: str | None = None
    """Where the next page begins: give it as `after`."""


def keeping_of(record: Standing, policies: Policies, now: datetime) -> Keeping:
    """How long a stored record is kept under the rules in force; one of a dataset that the policies do not know has no rule."""
    dataset = policies.catalogue.datasets.get(DatasetId(record.dataset))
    if dataset is None:
        return Keeping(state="open", why="no_rule")
    try:
        return retention(
            act=dataset.publish.act, severity=record.severity, kind=record.kind, category=record.category, state=record.state,
            foreign=bool(record.issuer), minor=record.minor, dates=record.dates, changed=record.changed, corrected=record.corrected,
            table=policies.catalogue.periods, now=now,
        )  # fmt: skip
    except Exception:  # noqa: BLE001  # what cannot be computed is kept, whatever broke, and keeps no look from those behind it
        return Keeping(state="open", why="unknown")


def must_be_known(policies: Policies, dataset: str) -> None:
    """Nothing is ever due of a dataset of nobody's: that is no answer to a slip of the pen.

    Raises InvalidParameter.
    """
    if DatasetId(dataset) not in policies.catalogue.datasets:
        raise InvalidParameter("dataset is none of the policy in force")


def stays(record: Standing) -> Stays | None:
    """Why a record stays whose day is over."""
    if record.disputed:
        return "objection"
    return "held" if record.state == "held" else None


def due_record(record: Standing, keeping: Keeping) -> DueRecord | None:
    """A record as the list names it; None for one whose day is not over."""
    if keeping.state != "over" or keeping.last_day is None or keeping.rule is None:
        return None
    return DueRecord(
        record=record.record_id, last_day=keeping.last_day, rule=keeping.rule, state=record.state, stays=stays(record)
    )


# --- the look ---------------------------------------------------------------------------------------------------------


async def look(services: Services) -> bool | None:
    """One stretch of today's look; false when it is finished, None when another process was faster, which goes on.

    Raises NoActivePolicy, StoreError.
    """
    policies = await services.policies.fresh()
    now = services.clock()
    today = legal_day(now)
    spoken = sorted(
        name for name, each in policies.catalogue.datasets.items() if speaks(policies.catalogue.periods, each.publish.act, today)
    )
    begun = f"{today} {policies.version}"
    word = await places.place(services.store.reads, META)
    day_and_version, _, place = (word or "").rpartition(" ")
    if day_and_version == begun and place == _DONE:
        return False
    dataset, _, after = place.partition("/") if day_and_version == begun else ("", "", "")
    if dataset not in spoken:
        dataset, after = next((name for name in spoken if name > dataset), ""), ""
    found, to = None, _DONE
    if dataset:
        read = await rows.stretch(services.store.reads, dataset, after, CHUNK)
        last = read[-1].record_id if len(read) == CHUNK else None
        found = await rows.compare(services.store.reads, dataset, after, last, await _due_of(read, policies, now))
        behind = next((name for name in spoken if name > dataset), "")
        to = f"{dataset}/{last}" if last is not None else f"{behind}/" if behind else _DONE
    async with services.store.transaction() as tx:
        if await places.place(tx, META) != word:
            return None
        if day_and_version != begun:
            await rows.drop_others(tx, spoken)
        if found:
            await rows.note(tx, found)
        await places.keep_place(tx, META, f"{begun} {to}")
    return to != _DONE


async def look_through(services: Services, *, anew: bool = False) -> DueList:
    """The whole of today's look, or what is left of it, and what it found; `anew` begins it again. Raises NoActivePolicy, StoreError."""
    if anew:
        async with services.store.transaction() as tx:
            await places.keep_place(tx, META, "")
    while True:
        more = await look(services)
        if more is False:
            return await list_due(services)
        await asyncio.sleep(0 if more else _ELSEWHERE_S)


async def _due_of(read: list[Standing], policies: Policies, now: datetime) -> dict[str, tuple[Due, int]]:
    """Those records of one dataset that are due; many say the same of what is asked, and are reckoned once."""
    found: dict[str, tuple[Due, int]] = {}
    known: dict[tuple[object, ...], Keeping] = {}
    for record in read:
        said = (
            record.category, record.kind, record.state, record.issuer, record.severity, record.minor, record.dates, record.changed,
            record.corrected,
        )  # fmt: skip
        keeping = known.get(said)
        if keeping is None:
            keeping = known[said] = keeping_of(record, policies, now)
            if len(known) % AT_ONCE == 0:
                await asyncio.sleep(0)
        due = due_record(record, keeping)
        if due is not None:
            found[due.record] = Due(record_id=due.record, last_day=due.last_day.isoformat(), rule=due.rule), record.changed_seq
    return found


async def looked_on(services: Services) -> date | None:
    """The day of the latest look that was finished under the policy in force. Raises NoActivePolicy, StoreError."""
    policies = await services.policies.fresh()
    day, _, rest = (await places.place(services.store.reads, META) or "").partition(" ")
    return date.fromisoformat(day) if rest == f"{policies.version} {_DONE}" else None


# --- the list ---------------------------------------------------------------------------------------------------------


async def counted(services: Services) -> tuple[DueDataset, ...]:
    """How many records of each dataset stand in the list. Raises StoreError."""
    return await rows.counts(services.store.reads)


async def list_due(services: Services, *, dataset: str | None = None, after: str | None = None, limit: int = PAGE) -> DueList:
    """What was kept long enough, and a page of one dataset's records.

    Raises InvalidParameter for a place that no page gave and a dataset of nobody's, NoActivePolicy, StoreError.
    """
    policies = await services.policies.fresh()
    numbers, looked = await counted(services), await looked_on(services)
    if dataset is None:
        if after is not None:
            raise InvalidParameter("after goes with a dataset")
        return DueList(looked_on=looked, datasets=numbers)
    must_be_known(policies, dataset)
    found = await rows.page(services.store.reads, dataset, after=_place(after), limit=limit + 1)
    standing = await rows.standing(services.store.reads, [each.record_id for each in found[:limit]])
    now = services.clock()
    known = [record for each in found[:limit] if (record := standing.get(each.record_id)) is not None]
    items = [due for record in known if (due := due_record(record, keeping_of(record, policies, now))) is not None]
    last = found[limit - 1] if len(found) > limit else None
    return DueList(
        looked_on=looked,
        datasets=tuple(each for each in numbers if each.dataset == dataset),
        items=tuple(items),
        next=None if last is None else f"{last.last_day}~{last.record_id}",
    )


def _place(after: str | None) -> tuple[str, str]:
    if after is None:
        return "", ""
    day, _, record_id = after.partition("~")
    try:
        written = date.fromisoformat(day).isoformat()
    except ValueError:
        written = ""
    if written != day or not _RECORD.fullmatch(record_id):
        raise InvalidParameter("after is what the page before gave as its next")
    return day, record_id
