"""Build versions of lists and datasets, and issue them again without what leaves (api.md §7.8).

`follow` reads the change log behind the reader that renders: whatever a version holds and the public is shown no more leaves all
versions at once, in groups at full 30 seconds like every removal that is told. `build` makes a version where the public was
told of something since the last one.

Rules:
- a build is prepared without a lock and committed in one transaction, only if nothing was rendered or written here meanwhile: whole or
  not at all. So a kill leaves the old state or the new one; files are copies (`version_files`).
- from the commit of a withdrawal, or the end of a period, to the new issue the read path (`read_versions`) shows nothing of a version.
- another policy: first the rows of all versions are made as narrow as it is (cause `policy`, a new tree), then builds go on.
This story must not make a View: rows are what the reader has rendered.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct, structs

from gateway.core.disclosure.plans import Policies
from gateway.core.errors import ErrorItem, InvalidParameter, NotFound
from gateway.core.publication.changes import TELLING_S, removal_reason, telling
from gateway.core.publication.documents import instant
from gateway.core.publication.forms import Forms, forms_of, kind_of_form
from gateway.core.publication.versions import (
    SALT_BYTES,
    Kept,
    Version,
    commitment,
    document_of,
    narrowed,
    root_of,
    row_line,
    salt_of,
)
from gateway.core.records.model import SubjectKind
from gateway.operations.collected import Collection, collection_of, collections_of, columns_of, given, ground_of, left_out, row_of
from gateway.operations.feeding import PUBLIC
from gateway.operations.version_files import clear_unfinished, files_of, sweep
from gateway.services import Services
from gateway.store import audit, feed, lists, renderings
from gateway.store import changes as log
from gateway.store.lists import Built
from gateway.store.store import Row, Transaction

CHUNK = 2000
_DOCUMENT = msgspec.json.Decoder(dict[str, Any])


class Made(Struct, frozen=True, kw_only=True):
    """A version that was built."""

    collection: str
    version: str
    rows: int
    added: int
    changed: int
    removed: int


# --- removals ----------------------------------------------------------------------------------------------------------


async def follow(services: Services, *, at_once: bool = False) -> int:
    """Read the log up to where it is rendered, and take out of all versions what has left; how much was done, 0 = nothing is left.

    `at_once`: without waiting for the moment at which removals are told (test mode).
    """
    reads, now = services.store.reads, services.clock()
    position = await log.reader_position(reads, lists.READER)
    upto = (await renderings.reader_state(reads)).position
    changes = [change for change in await log.after(reads, position, CHUNK) if change.seq <= upto]
    moment = instant(telling(now) if at_once else now)
    ended = await lists.ended(reads, instant(now), 1)
    if not changes and not ended and not await lists.due(reads, moment):
        return 0
    async with services.store.transaction() as tx:
        if await log.reader_position(tx, lists.READER) != position:
            return 1  # another process was faster
        done = len(changes) + await _mark(tx, changes, now)
        if changes:
            await log.move_reader(tx, lists.READER, changes[-1].seq)
        due = await lists.due(tx, moment)
        if due:
            await lists.next_turn(tx)
            for collection in sorted({row.collection for row in due}):
                await _issue_without(tx, collection, [row for row in due if row.collection == collection], at=_told_at(now))
    if due:
        await sweep(services)
    return done + len(due)


def _told_at(now: datetime) -> str:
    """The last full 30 seconds."""
    seconds = int(now.timestamp())
    return instant(datetime.fromtimestamp(seconds - seconds % TELLING_S, UTC))


async def _mark(tx: Transaction, changes: Sequence[log.Change], now: datetime) -> int:
    """Mark what versions hold and the public is shown no more; what is to be asked again at another time keeps that time.

    How many rows were marked or moved.
    """
    last = {change.record_id: change for change in changes}
    held = await lists.held_among(tx, list(last)) if last else []
    held += [row for row in await lists.ended(tx, instant(now), CHUNK) if row.record_id not in last]
    if not held:
        return 0
    present = await lists.present(tx, sorted({row.record_id for row in held}))
    tell_at = instant(telling(now))
    leaving: set[tuple[str, str, str, str]] = set()
    ends: set[tuple[str, str, str]] = set()
    for row in held:
        shown = present.get(row.record_id)
        if shown is not None and _stands(row.collection, shown):
            if shown.valid_until != row.valid_until:
                ends.add((row.collection, row.record_id, shown.valid_until))
            continue  # one whose time has come and that is not rendered again yet is asked again in the next round
        change = last.get(row.record_id)
        reason = removal_reason(None, None) if change is None else removal_reason(change.op, change.reason)
        leaving.add((row.collection, row.record_id, tell_at if change is not None else min(tell_at, row.valid_until), reason))
    await lists.mark_leaving(tx, sorted(leaving))
    await lists.move_ends(tx, sorted(ends))
    return len(leaving) + len(ends)


def _stands(collection: str, shown: Row) -> bool:
    kind, _, what = collection.partition("/")
    return bool(shown.list == what) if kind == "lists" else bool(shown.dataset == what and shown.bulk)


async def _issue_without(tx: Transaction, collection: str, rows: Sequence[Row], *, at: str) -> None:
    """Take these rows out of every version that holds them; size and root stay."""
    newest = await lists.newest(tx, collection)
    if newest is None:
        return
    await lists.erase(tx, collection, sorted({row.record_id for row in rows}), after=newest.seq)
    for version in await lists.versions(tx, collection):
        gone = [row for row in rows if int(row.first) <= version.seq < int(row.until)]
        if not gone:
            continue
        end = version.valid_until
        if any(row.valid_until <= end for row in gone):
            end = await lists.first_end(tx, collection, version.seq)
        await lists.re_issue(
            tx, structs.replace(version, rows=version.rows - len(gone), valid_until=end), removed=len(gone), at=at, cause="removal"
        )


# --- builds ------------------------------------------------------------------------------------------------------------


class _Plan(Struct, kw_only=True):
    """What a build of one collection will write; its new rows lie ready in the store already."""

    collection: Collection
    turn: int
    generation: int
    head: feed.Head
    touched: Mapping[str, str]
    """What the public was told since the last build, by record."""
    new: int = 0
    closed: list[str] = []
    missing: list[str] = []
    """Stand in the last version and are shown no more, by another policy."""


class _Compared(Struct, frozen=True, kw_only=True):
    """What one piece of a collection has come to."""

    ready: Sequence[tuple[str, int, bytes, bytes, str]]
    closed: Sequence[str]
    missing: Sequence[str]


async def build(services: Services, *, only: str | None = None) -> list[Made]:
    """A version of every collection (or one) of which the public was told something since its last one.

    Raises NotFound for a collection that does not exist.
    """
    policies = await services.policies.fresh()
    forms = forms_of(policies, *PUBLIC)
    if only is not None:
        collection_of(policies, forms, only)
    state = await renderings.reader_state(services.store.reads)
    if state.again is not None or state.known.get(forms.name) != forms.tag:
        return []  # the reader is still rendering everything under this policy
    made: list[Made] = []
    for collection in collections_of(policies, forms):
        if only is None or collection.id == only:
            one = await _build(services, policies, forms, collection)
            if one is not None:
                made.append(one)
    return made


async def _build(services: Services, policies: Policies, forms: Forms, collection: Collection) -> Made | None:
    reads = services.store.reads
    state = await lists.built(reads, collection.id)
    ground = ground_of(forms, collection)
    if state is not None and state.ground != ground and not await _narrow(services, forms, collection, ground):
        return None
    if await lists.any_leaving(reads, collection.id):
        return None  # what leaves is told first
    plan = await _prepare(services, forms, collection, state)
    if plan is None:
        return None
    async with services.store.transaction() as tx:
        if await lists.turn(tx) != plan.turn or await lists.generation(tx) != plan.generation or await services.policies.overtaken(tx):
            return None  # something was rendered or written meanwhile: the next round tries again
        await lists.next_turn(tx)
        made = await _commit(services, tx, forms, plan, ground)
    if made is None:
        return None
    version = await lists.current(reads, collection.id)
    if version is not None:
        await files_of(services, collection, version)
    return made


async def _prepare(services: Services, forms: Forms, collection: Collection, state: Built | None) -> _Plan | None:
    """Compare what is rendered with what stands, piece by piece, and lay new rows ready; None: there is nothing to build, or not yet."""
    reads = services.store.reads
    plan = _Plan(
        collection=collection,
        turn=await lists.turn(reads),
        generation=await lists.generation(reads),
        head=await feed.head(reads, forms.name),
        touched={} if state is None else await lists.touched(reads, forms.name, collection.dataset, state.seq),
    )
    whole = state is None or state.tag != forms.tag
    if not plan.head.seq or not (whole or plan.touched):
        return None
    newest = await lists.newest(reads, collection.id)
    if newest is not None and (newest.seq >= plan.head.seq or newest.name[:14] >= plan.head.version[:14]):
        return None  # at most one version a second: the next change brings it
    listing = collection.listing is not None
    ids = set(plan.touched)
    if whole:
        ids |= {*await lists.standing_ids(reads, collection.id), *await lists.rendered_ids(reads, collection.what, listing=listing)}
    out, now = left_out(forms, collection.dataset), instant(services.clock())
    ordered = sorted(ids)
    await _clear(services, collection)
    for at in range(0, len(ordered), CHUNK):
        some = ordered[at : at + CHUNK]
        standing = await lists.standing(reads, collection.id, some)
        rendered = await lists.rendered(reads, collection.what, listing=listing, ids=some)
        if any(row.plan != forms.tag or row.valid_until <= now for row in rendered):
            return None  # the reader has to render it again first
        salts = services.random(SALT_BYTES * len(rendered))
        found = await asyncio.to_thread(_compare, rendered, standing, out, salts, plan.head.seq)
        plan.new += len(found.ready)
        plan.closed += found.closed
        plan.missing += found.missing if whole else ()
        if found.ready:
            async with services.store.transaction() as tx:
                await lists.lay_ready(tx, collection.id, found.ready)
    return plan


async def _clear(services: Services, collection: Collection) -> None:
    """What a killed build laid ready is nobody's."""
    async with services.store.transaction() as tx:
        await lists.clear_ready(tx, collection.id)


def _compare(
    rendered: Sequence[Row],
    standing: Mapping[str, lists.Standing],
    out: Mapping[SubjectKind, frozenset[str]],
    salts: bytes,
    seq: int,
) -> _Compared:
    """Which rendered rows are new or others than they stand, each with a salt; and which are not rendered any more."""
    ready: list[tuple[str, int, bytes, bytes, str]] = []
    closed: list[str] = []
    missing = set(standing)
    for place, row in enumerate(rendered):
        was = standing.get(row.record_id)
        missing.discard(row.record_id)
        document = row_of(_DOCUMENT.decode(row.body), out)
        if document is None:
            continue
        if was is not None and was.line is not None:
            if not was.rewritten and row_line(document, salt_of(document_of(was.line))) == was.line:
                continue
            closed.append(row.record_id)
        line = row_line(document, salts[place * SALT_BYTES : (place + 1) * SALT_BYTES])
        ready.append((row.record_id, seq, line, commitment(line), row.valid_until))
    return _Compared(ready=ready, closed=closed, missing=sorted(missing))


async def _commit(services: Services, tx: Transaction, forms: Forms, plan: _Plan, ground: str) -> Made | None:
    """Write a build; None when it made no version."""
    collection, head = plan.collection.id, plan.head
    newest = await lists.newest(tx, collection)
    done = Built(seq=head.seq, tag=forms.tag, ground=ground)
    if plan.missing and newest is not None:
        await lists.mark_leaving(tx, [(collection, record_id, instant(tx.now), "removed") for record_id in plan.missing])
        return None  # `follow` issues without them, then it is built
    if newest is not None and not plan.new and "del" not in plan.touched.values():
        await lists.put_built(tx, collection, done)
        return None
    if await lists.count_ready(tx, collection) != plan.new:
        return None  # another process is building it too
    await lists.close(tx, collection, plan.closed, head.seq)
    await lists.take_in(tx, collection, head.seq)
    leaves = await lists.leaves_of_in(tx, collection, head.seq)
    version = Version(
        collection=collection,
        seq=head.seq,
        name=head.version,
        built_at=instant(tx.now),
        issue=1,
        withdrawn=False,
        rows=len(leaves),
        size=len(leaves),
        root=root_of(leaf.commitment for leaf in leaves),
        policy_version=forms.version,
        ground=ground,
        columns=columns_of(forms, plan.collection),
        valid_until=await lists.first_end(tx, collection, head.seq),
    )
    await lists.add_version(tx, version)
    await lists.put_built(tx, collection, done)
    await _retire(services, tx, collection)
    changed = len(plan.closed)
    removed = sum(op == "del" for op in plan.touched.values())
    return Made(collection=collection, version=version.name, rows=version.rows, added=plan.new - changed, changed=changed, removed=removed)


async def _retire(services: Services, tx: Transaction, collection: str) -> None:
    """Keep the versions of the window, and the one that was the newest when it begins."""
    first = await lists.as_of(tx, collection, instant(tx.now - timedelta(days=services.settings.lists_keep_days)))
    oldest = await lists.oldest(tx, collection)
    if first is not None and oldest is not None and oldest.seq < first.seq:
        await lists.drop_before(tx, collection, first.seq)


# --- another policy ----------------------------------------------------------------------------------------------------


async def _narrow(services: Services, forms: Forms, collection: Collection, ground: str) -> bool:
    """Make every row of every version as narrow as the policy in force, and issue again what that changes; False: try again."""
    shown = given(forms, collection.dataset)
    columns = columns_of(forms, collection)
    async with services.store.transaction() as tx:
        if await services.policies.overtaken(tx):
            return False
        await lists.next_turn(tx)
        rewritten: list[tuple[Kept, bytes, bytes, Sequence[str]]] = []
        unseen: set[str] = set()
        for row in await lists.lines_left(tx, collection.id):
            line = row.line or b""
            kind = kind_of_form(document_of(line)["subject"]["kind"])
            fields = shown.get(kind)
            if fields is None or (collection.listing is not None and not collection.listing.takes(kind)):
                unseen.add(row.record_id)
                continue
            changed = narrowed(line, fields)
            if changed is not None:
                anew = row_line(document_of(changed[0]), services.random(SALT_BYTES))
                rewritten.append((row, anew, commitment(anew), changed[1]))
        newest = await lists.newest(tx, collection.id)
        if newest is not None and (rewritten or unseen):
            await lists.mark_leaving(tx, [(collection.id, record_id, instant(tx.now), "removed") for record_id in sorted(unseen)])
            await lists.erase(tx, collection.id, sorted(unseen), after=newest.seq)
            await lists.rewrite(tx, collection.id, rewritten, newest=newest.seq)
            await _plant_anew(tx, collection.id, forms, columns)
        await lists.stand_under(tx, collection.id, ground)
        state = await lists.built(tx, collection.id)
        if state is not None:
            await lists.put_built(tx, collection.id, structs.replace(state, ground=ground))
    await sweep(services)
    return True


async def _plant_anew(tx: Transaction, collection: str, forms: Forms, columns: tuple[str, ...]) -> None:
    """Issue every version again, with a tree of what is left: what had gone before is in none of the new ones."""
    for version in await lists.versions(tx, collection):
        leaves = await lists.leaves_of_in(tx, collection, version.seq)
        end = await lists.first_end(tx, collection, version.seq)
        anew = structs.replace(
            version, rows=len(leaves), size=len(leaves), root=root_of(leaf.commitment for leaf in leaves), policy_version=forms.version,
            columns=columns, valid_until=end,
        )  # fmt: skip
        await lists.re_issue(tx, anew, removed=version.rows - anew.rows, at=instant(tx.now), cause="policy")


# --- by hand -----------------------------------------------------------------------------------------------------------


async def withdraw_version(services: Services, collection_id: str, name: str, *, by: str) -> None:
    """Take a version back that was published in error; it answers 410 from then on.

    Raises NotFound.
    """
    policies = await services.policies.fresh()
    collection_of(policies, forms_of(policies, *PUBLIC), collection_id)
    async with services.store.transaction() as tx:
        version = await lists.version(tx, collection_id, name)
        if version is None:
            raise NotFound
        if version.withdrawn:
            raise InvalidParameter(errors=(ErrorItem("state", "此版本已撤回", parameter="version"),))
        await lists.withdraw(tx, version)
        await lists.next_turn(tx)
        await audit.write(tx, by, "list.withdraw", f"{collection_id}/{name}", {"issue": version.issue})
    await sweep(services)


class KeptVersion(Struct, frozen=True, kw_only=True):
    """A version as the office sees it."""

    collection: str
    version: str
    issue: int
    state: str
    rows: int
    removed: int
    built_at: str


async def kept_versions(services: Services, only: str | None) -> list[KeptVersion]:
    """The versions of every collection, or of one, newest first.

    Raises NotFound for a collection that has none.
    """
    reads = services.store.reads
    found: list[KeptVersion] = []
    for collection in await lists.collections(reads):
        if only is not None and collection != only:
            continue
        current = await lists.current(reads, collection)
        found += [
            KeptVersion(
                collection=collection,
                version=each.name,
                issue=each.issue,
                state=each.state(None if current is None else current.name),
                rows=each.rows,
                removed=each.size - each.rows,
                built_at=each.built_at,
            )
            for each in await lists.versions(reads, collection)
        ]
    if only is not None and not found:
        raise NotFound
    return found


async def settle_lists(services: Services) -> list[Made]:
    """Everything that follows from what is rendered, without waiting for any moment (test mode, and `chengxin lists build`)."""
    clear_unfinished(services)
    while await follow(services, at_once=True):
        pass
    made = await build(services)
    if await follow(services, at_once=True):  # what another policy shows no more was found by the build
        while await follow(services, at_once=True):
            pass
        made += await build(services)
    await sweep(services)
    return made
