"""Render: read the change log, and make from the door what readers find ready.

For each record that changed: its public View → rendered record, listing, CSV line; its subject's document; the names index; and one
item in the feed of every plan set that was shown something new. The same for records whose time ran out, whose time came, and,
after another policy or when somebody new may read a feed (`feeding`), for all of them again, piece by piece.

Rules:
- a pass is prepared without a lock, off the event loop, and committed in one transaction only if no other pass was committed since
  (`generation`): any number of processes may run this. The reader moves in that transaction.
- a subject is marked true only up to the change that its pass has read; what is committed meanwhile makes it stale, not wrong.
- a removal takes away rendering, names and earlier items at once; its tombstone is told at the next full 30 seconds, in order of id;
  so is, to who reached it before, that a record moved.
What is made stands in `core/publication/rendering`, how it is kept in `keep_renderings`. This story must not push anything to anybody.
"""

import asyncio
import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from msgspec import Struct

from gateway.core.disclosure.plans import Policies
from gateway.core.disclosure.seats import moved, unpacked
from gateway.core.publication.changes import WINDOW, telling
from gateway.core.publication.documents import instant
from gateway.core.publication.forms import Forms
from gateway.core.publication.names import is_cancelled
from gateway.core.publication.rendering import Made, Maker, Name, name_of
from gateway.core.publication.subjects import Statement, SubjectPage, speaking, statement_of_body, unspoken
from gateway.core.records.model import Record, RecordId
from gateway.core.records.periods import legal_day
from gateway.operations.feeding import fed, in_use
from gateway.operations.keep_renderings import CLOCK, POLICY, Before, Cause, keep
from gateway.operations.reaching import gated_by
from gateway.operations.rescore_texts import behind, go_back
from gateway.services import Services
from gateway.store import changes as log
from gateway.store import feed, renderings, search
from gateway.store.reads import Reads
from gateway.store.records import load
from gateway.store.renderings import ReaderState
from gateway.store.store import Row, Transaction

CHUNK = 2000
"""Records a transaction: long enough to be cheap, short enough that no writer waits long."""
IN_LOOP = 32
"""So many records are rendered in the event loop; more go to a thread."""


class _Overtaken(Exception):
    """Another pass was committed, or another policy came into force: nothing of this one is written."""


class _Work(Struct, frozen=True, kw_only=True):
    """What one pass looks at."""

    causes: Mapping[str, Cause]
    """Record → cause, in order of telling."""
    subject_of: Mapping[str, str]
    upto: int
    """Position of the reader after this pass."""
    again: int | None
    """Position of the walk after a policy change; None: none, or at its end."""
    read: int
    """Changes read, and records looked at for other causes."""


class _Found(Struct, frozen=True, kw_only=True):
    """What the store held for a pass: everything that it is prepared from."""

    causes: Mapping[str, Cause]
    """With what else has to be made anew of the same subjects."""
    records: Sequence[Record]
    before: Before
    siblings: Sequence[Row]
    indexed: Mapping[str, Sequence[Row]]
    """Names in the index, by subject."""


async def render_public(services: Services, *, limit: int = 5000) -> int:
    """Read at most `limit` changes and do what follows from them and from the clock; how much was done, 0 = nothing is left."""
    policies = await services.policies.fresh()
    forms = await fed(services, policies)
    if await _new_policy(services, policies, forms):
        return 1
    done = await tell(services, forms, until=services.clock())
    done += await _new_day(services, policies, forms)
    left = limit
    while left > 0:
        state = await renderings.reader_state(services.store.reads)
        work = await _find_work(services, forms, state, min(left, CHUNK))
        if work.read == 0:
            break
        if not await _pass(services, policies, forms, state, work):
            return done + 1  # another process was faster, or another policy came into force
        done += work.read
        left -= work.read
    return done


async def dates(services: Services) -> list[str | None]:
    """The moments from which `render_public` finds something to do though nothing was committed; beside those of the day."""
    forms = await fed(services, services.policies.current())
    reads = services.store.reads
    return [await feed.next_telling(reads), *await renderings.next_ends(reads, [each.name for each in forms[1:]])]


async def settle(services: Services) -> None:
    """Read everything to its end, with due period ends; removals are told at once, under the next full 30 seconds (test mode)."""
    while await render_public(services):
        pass
    await tell(services, await fed(services, services.policies.current()), until=telling(services.clock()))


async def lag(services: Services) -> int:
    """How many changes the reader has still to read."""
    state = await renderings.reader_state(services.store.reads)
    return await log.head(services.store.reads) - (state.position if state.again is None else state.again)


# --- policy, day, removals ---------------------------------------------------------------------------------------------


async def _new_policy(services: Services, policies: Policies, forms: Sequence[Forms]) -> bool:
    """When another policy is in force, or feeds begin or end: say so in those it concerns, and begin to render everything again."""
    word = " ".join(f"{each.name}={each.tag}" for each in forms)
    if (await renderings.reader_state(services.store.reads)).plan == word:
        return False
    using = await in_use(services, policies)
    async with services.store.transaction() as tx:
        state = await renderings.reader_state(tx)
        if state.plan == word or await services.policies.overtaken(tx):
            return True
        before = state.known
        for each in forms:
            if before.get(each.name, "").partition("@")[0] != each.tag.partition("@")[0]:
                at = max((await feed.head(tx, each.name)).at, instant(tx.now))
                seq = await tx.number(feed.counter(each.name))
                await feed.add(tx, each.name, [(seq, "policy", at, None, None, None, None, None, str(each.version))])
        names = {each.name for each in forms}
        for name in sorted(before.keys() - names):
            at = max((await feed.head(tx, name)).at, instant(tx.now))
            await feed.close(tx, name, at, str(policies.version))
        await renderings.say(tx, renderings.PLAN_META, word)
        await _say_used(tx, state, using)
        again = 0 if state.position else None
        new = names - before.keys() if again is not None else set()
        await renderings.say(tx, renderings.BEGUN_META, " ".join(sorted(new | (state.begun & names))))
        await renderings.put_reader(tx, renderings.RERENDER, again)
        await renderings.next_generation(tx, state.generation)
    return True


async def _say_used(tx: Transaction, state: ReaderState, using: Iterable[tuple[str, str]]) -> None:
    """Remember today as the last day of every feed that somebody may read."""
    used = {**state.used, **dict.fromkeys(("/".join(pair) for pair in using), legal_day(tx.now).isoformat())}
    await renderings.say(tx, renderings.USED_META, " ".join(f"{name}={day}" for name, day in sorted(used.items())))


async def _new_day(services: Services, policies: Policies, forms: Sequence[Forms]) -> int:
    """Once a legal day: records whose first day this is, and the end of the feeds' window."""
    now = services.clock()
    today = legal_day(now).isoformat()
    state = await renderings.reader_state(services.store.reads)
    if state.day is not None and state.day >= today:
        return 0
    rows = await renderings.opening(services.store.reads, from_day=state.day, to_day=today) if state.day is not None else []
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        state = await renderings.reader_state(services.store.reads)
        causes = dict.fromkeys([row.record_id for row in some], CLOCK)
        subject_of = {row.record_id: row.subject_id for row in some}
        work = _Work(causes=causes, subject_of=subject_of, upto=state.position, again=state.again, read=len(some))
        if not await _pass(services, policies, forms, state, work):
            return 1  # begun anew at the next call: the day is not yet done
    using = await in_use(services, policies)
    async with services.store.transaction() as tx:
        for each in forms:
            await feed.prune(tx, each.name, instant(now - WINDOW))
        await _say_used(tx, await renderings.reader_state(tx), using)
        await renderings.say(tx, renderings.DAY_META, today)
    return len(rows)


async def tell(services: Services, forms: Sequence[Forms], *, until: datetime) -> int:
    """Tell the removals whose moment has come, each group with its moment, in order of id."""
    first = await feed.next_telling(services.store.reads)
    if first is None or first > instant(until):
        return 0
    told = 0
    async with services.store.transaction() as tx:
        for each in forms:
            waiting = await feed.pending(tx, each.name, instant(until))
            if waiting:
                told += len(waiting)
                await _tell(tx, each.name, waiting)
    return told


async def _tell(tx: Transaction, plan_set: str, waiting: Sequence[Row]) -> None:
    """Tell these removals of one plan set; that a record moved only if it lies elsewhere than who reached it knows."""
    moves = [row.record_id for row in waiting if row.op == "left"]
    seats = await feed.waiting_seats(tx, plan_set, moves)
    now = {record_id: unpacked(row.seat) for record_id, row in (await renderings.told(tx, plan_set, moves)).items()} if moves else {}
    nobody = [each for each in moves if each not in now or not any(moved(seat, now[each]) for seat in seats.get(each, ()))]
    telling_now = [row for row in waiting if row.record_id not in set(nobody)]
    await feed.forget(tx, plan_set, [row.record_id for row in telling_now if row.op == "del"])
    await feed.wait_no_more(tx, plan_set, [row.record_id for row in waiting])
    numbers: dict[str, int] = {}
    if telling_now:
        at = (await feed.head(tx, plan_set)).at
        seq = await tx.number(feed.counter(plan_set), len(telling_now))
        numbers = {row.record_id: number for number, row in enumerate(telling_now, seq)}
        await feed.add(
            tx,
            plan_set,
            [
                (numbers[row.record_id], row.op, max(at, row.tell_at), row.record_id, row.dataset, row.category, row.list, row.reason, None)
                for row in telling_now
            ],
        )
    await feed.tell_left(tx, plan_set, list(numbers.items()), nobody)


# --- one pass ----------------------------------------------------------------------------------------------------------


async def _find_work(services: Services, forms: Sequence[Forms], state: ReaderState, limit: int) -> _Work:
    """New changes first; then what the clock ended; then the walk after a policy change."""
    reads = services.store.reads
    causes: dict[str, Cause] = {}
    subject_of: dict[str, str] = {}
    upto, again, read = state.position, state.again, 0
    for change in await log.lines_after(reads, state.position, limit):
        causes.pop(change.record_id, None)  # its last change decides when it is told
        causes[change.record_id] = Cause(change.op, change.reason, change.at)
        subject_of[change.record_id] = change.subject_id
        upto = change.seq
        read += 1
    if read < limit:
        ended = await renderings.due(reads, [each.name for each in forms[1:]], now=instant(services.clock()), limit=limit - read)
        for record_id in ended:
            causes.setdefault(record_id, CLOCK)
        read += len(ended)
    if read < limit and again is not None:
        walked = await log.lines_after(reads, again, limit - read)
        for change in walked:
            causes.setdefault(change.record_id, POLICY)
            subject_of[change.record_id] = change.subject_id
        again = walked[-1].seq if walked and walked[-1].seq < state.position else None
        read += max(len(walked), 1)
    return _Work(causes=causes, subject_of=subject_of, upto=upto, again=again, read=read)


@contextmanager
def uncollected(big: bool) -> Iterator[None]:
    """No search for reference cycles during a big pass: it makes none, and looking at all it holds is an eighth of its time."""
    if not big or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _pass(services: Services, policies: Policies, forms: Sequence[Forms], state: ReaderState, work: _Work) -> bool:
    """Prepare and commit one pass; False when it was overtaken."""
    big = len(work.causes) > IN_LOOP
    with uncollected(big):
        return await _prepare_and_commit(services, policies, forms, state, work, big=big)


async def _prepare_and_commit(
    services: Services, policies: Policies, forms: Sequence[Forms], state: ReaderState, work: _Work, *, big: bool
) -> bool:
    source: Reads = renderings.OffLoop(services.store.reads) if big else services.store.reads
    now = services.clock()
    found = await _find(source, forms, state, work, instant(now))
    maker = Maker(policies, forms, now=now, key=services.store.vault.key("feed-digest"), origin=services.settings.public_origin.rstrip("/"))
    made, gone, new = await asyncio.to_thread(_make, maker, found) if big else _make(maker, found)
    left = behind(policies, found.records)
    try:
        async with services.store.transaction() as tx:
            if not await renderings.next_generation(tx, state.generation) or await services.policies.overtaken(tx):
                raise _Overtaken
            if left is not None:
                await go_back(tx, policies, left)
            await keep(services, tx, forms, found.causes, made, found.before, upto=work.upto)
            await search.change(tx, gone, new)
            await renderings.put_reader(tx, renderings.READER, work.upto)
            if work.again != state.again:
                await renderings.put_reader(tx, renderings.RERENDER, work.again)
                if work.again is None and state.begun:
                    await renderings.say(tx, renderings.BEGUN_META, "")
    except _Overtaken:
        return False
    return True


async def _find(source: Reads, forms: Sequence[Forms], state: ReaderState, work: _Work, now: str) -> _Found:
    """Everything that the store holds for this pass. Heads of subjects are read first: what comes after makes them stale."""
    held = await renderings.held(source, list(work.causes))
    subject_ids = sorted({row.subject_id for row in held.values()} | set(work.subject_of.values()))
    subjects = await renderings.standing(source, subject_ids)
    # what else is rendered of these subjects: as it stands where it is true, else it is made anew with the rest
    causes = dict(work.causes)
    siblings: list[Row] = []
    for row in await renderings.siblings(source, subject_ids, plan=forms[0].tag, now=now):
        if row.record_id in causes:
            continue
        if row.fresh:
            siblings.append(row)
        else:
            causes[row.record_id] = CLOCK if row.plan == forms[0].tag else POLICY
    if state.again is not None:  # another policy may show what was never rendered: a subject is walked as a whole
        for row in await renderings.records_of(source, subject_ids):
            causes.setdefault(row.record_id, POLICY)
        siblings = [row for row in siblings if row.record_id not in causes]  # what is made anew is no sibling: it would count twice
    sibling_seq = dict.fromkeys(subject_ids, 0)
    for row in siblings:
        sibling_seq[row.subject_id] = max(row.seq, sibling_seq[row.subject_id])
    ids = list(causes)
    if len(ids) > len(work.causes):
        held = await renderings.held(source, ids)
    told = {each.name: await renderings.told(source, each.name, ids) for each in forms[1:]}
    plans = [plan for each in forms for plan_set in each.plan_sets.values() for plan in plan_set.plans.values()]
    asked = frozenset(name for each in forms[1:] for form in each.by_dataset.values() for name in form.asked)
    columns = asked.union(name for plan in plans for name in (*plan.columns, *gated_by(plan)))
    texts = frozenset(name for plan in plans for name in plan.whole_texts)
    return _Found(
        causes=causes,
        indexed=await search.held(source, subject_ids),
        records=await load(source, ids=[RecordId(record_id) for record_id in ids], fields=columns, texts=texts),
        before=Before(held=held, told=told, subjects=subjects, sibling_seq=sibling_seq),
        siblings=siblings,
    )


def _make(maker: Maker, found: _Found) -> tuple[Made, list[Row], list[Name]]:
    """What the pass makes, and which names leave and enter the index."""
    before = found.before
    said: dict[str, list[Statement]] = {subject_id: [] for subject_id in before.sibling_seq}
    speakers: dict[str, Row] = {}
    for row in found.siblings:
        known = speakers.get(row.subject_id)
        if known is None or _speaks(row) > _speaks(known):
            speakers[row.subject_id] = row
    for row in found.siblings:
        said[row.subject_id].append(
            statement_of_body(row.body, row.valid_until, row.list) if speakers[row.subject_id] is row else unspoken(row)
        )
    made = maker.make(
        found.records,
        held=renderings.told_of(before.held),
        told={name: renderings.told_of(rows) for name, rows in before.told.items()},
        siblings=said,
    )
    gone, new = _names(made.subjects.items(), found.indexed)
    return made, gone, new


def _speaks(row: Row) -> tuple[bool, str, str]:
    return speaking(row.category, row.decision_date, row.record_id)


def _names(pages: Iterable[tuple[str, SubjectPage | None]], indexed: Mapping[str, Sequence[Row]]) -> tuple[list[Row], list[Name]]:
    gone: list[Row] = []
    new: list[Name] = []
    for subject_id, page in pages:
        wanted = dict.fromkeys(page.names) if page is not None else {}
        cancelled = page is not None and page.status == "cancelled"
        for row in indexed.get(subject_id, ()):
            if (row.role, row.shown) in wanted and is_cancelled(row.name_id) is cancelled:
                del wanted[row.role, row.shown]
            else:
                gone.append(row)
        new += [name_of(subject_id, role, shown, cancelled=cancelled) for role, shown in wanted]
    return gone, new
