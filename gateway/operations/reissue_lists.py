"""Take out of all versions what the public is shown no more, and issue them again (api.md §7.8).

`follow` reads the change log behind the reader that renders. A record that left goes in groups at full 30 seconds, like every removal
that is told; one of which less is shown than before (a text that is held again, a value that is not known any more) is made as narrow in
every version at once; so is every row under another policy.

Rules:
- what may not be read is erased in the transaction that reads its change or that takes the policy up, and the versions that held it are
  `pending` from there on; they are issued again in portions of one transaction each. A kill between two leaves them refused.
- from the commit of a change, or the end of a period, to that transaction the read path (`read_versions`) shows nothing of a version.
This story must not make a View: rows are what the reader has rendered.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct, structs

from gateway.core.disclosure.plans import Policies
from gateway.core.exchange.merkle import CompactRange, leaf_hash
from gateway.core.publication.changes import TELLING_S, removal_reason, telling
from gateway.core.publication.documents import instant
from gateway.core.publication.forms import Forms, forms_of
from gateway.core.publication.narrowing import narrowed
from gateway.core.publication.versions import SALT_BYTES, Cause, Kept, Version, commitment, document_of, row_line
from gateway.core.records.model import SubjectKind
from gateway.operations.collected import Collection, collections_of, columns_of, ground_of, left_out, row_of
from gateway.operations.feeding import PUBLIC
from gateway.operations.version_files import sweep_behind
from gateway.services import Services
from gateway.store import changes as log
from gateway.store import list_issues, lists, renderings
from gateway.store.list_issues import Ends, Span
from gateway.store.store import Row, Transaction

CHUNK = 2000
PORTION = 500
"""Versions a transaction issues again."""
PLANTED = 50
"""The same where each needs a tree of its own."""
_DOCUMENT = msgspec.json.Decoder(dict[str, Any])


class _Ground(Struct, frozen=True, kw_only=True):
    """The policies that a round goes by."""

    policies: Policies
    forms: Forms
    collections: Mapping[str, Collection]


async def follow(services: Services, *, at_once: bool = False) -> int:
    """One round: read the log as far as it is rendered, hold rows against another policy, issue again; how much was done, 0 = all.

    `at_once`: without waiting for the moment at which removals are told (test mode).
    """
    policies = await services.policies.fresh()
    forms = forms_of(policies, *PUBLIC)
    ground = _Ground(policies=policies, forms=forms, collections={each.id: each for each in collections_of(policies, forms)})
    taken = await _take_out(services, ground, at_once=at_once)
    taken += await _hold_to_policy(services, ground)
    await sweep_behind(services)
    return taken + await _issue_again(services, ground)


async def dates(services: Services) -> list[str | None]:
    """The moments from which `follow` finds something to do though nothing was committed."""
    return await list_issues.next_dates(services.store.reads)


# --- changes and ends --------------------------------------------------------------------------------------------------


async def _take_out(services: Services, ground: _Ground, *, at_once: bool) -> int:
    """What follows from the log and the clock; how much that was."""
    reads, now = services.store.reads, services.clock()
    position = await log.reader_position(reads, lists.READER)
    upto = (await renderings.reader_state(reads)).position
    changes = [change for change in await log.after(reads, position, CHUNK) if change.seq <= upto]
    moment = instant(telling(now) if at_once else now)
    if not changes and not await list_issues.ended(reads, instant(now), 1) and not await list_issues.due(reads, moment, 1):
        return 0
    async with services.store.transaction() as tx:
        if await log.reader_position(tx, lists.READER) != position:
            return 1  # another process was faster
        done = len(changes) + await _mark(services, tx, ground, changes, now)
        if changes:
            await log.move_reader(tx, lists.READER, changes[-1].seq)
        due = await list_issues.due(tx, moment, CHUNK)
        if due:
            await lists.next_turn(tx)
            for collection in sorted({row.collection for row in due}):
                gone = sorted({row.record_id for row in due if row.collection == collection})
                # every row of theirs goes, so every version that holds one is issued again, also where only some of the rows were found
                await list_issues.pend(tx, collection, "removal", await list_issues.held_of(tx, collection, gone))
                await list_issues.erase(tx, collection, gone)
    return done + len(due)


async def _mark(services: Services, tx: Transaction, ground: _Ground, changes: Sequence[log.Change], now: datetime) -> int:
    """Mark what versions hold and the public is shown no more, and narrow what it is shown less of; how many records that concerns.

    What is to be asked again at another time keeps that time.
    """
    last: dict[str, log.Change] = {change.record_id: change for change in changes}
    held = await list_issues.held_among(tx, list(last)) if last else []
    held += [row for row in await list_issues.ended(tx, instant(now), CHUNK) if row.record_id not in last]
    tell_at = instant(telling(now))
    leaving: set[tuple[str, str, str, str]] = set()
    ends: set[tuple[str, str, str]] = set()
    narrower = 0
    for collection_id in sorted({row.collection for row in held}):
        rows = [row for row in held if row.collection == collection_id]
        found = await _held_against(services, tx, ground, collection_id, sorted({row.record_id for row in rows}), other_policy=False)
        narrower += len(found.anew)
        await _write_narrower(tx, collection_id, found.anew, "redacted")
        for row in rows:
            until = found.shown_until.get(row.record_id)
            if until is not None:
                if until != row.valid_until or row.ending:
                    ends.add((collection_id, row.record_id, until))
                continue  # one whose time has come and that is not rendered again yet is asked again in the next round
            change = last.get(row.record_id)
            reason = removal_reason(None, None) if change is None else removal_reason(change.op, change.reason)
            leaving.add((collection_id, row.record_id, tell_at if change is not None else min(tell_at, row.valid_until), reason))
    await list_issues.mark_leaving(tx, sorted(leaving))
    await list_issues.move_ends(tx, sorted(ends))
    return len(leaving) + len(ends) + narrower


class _Found(Struct, frozen=True, kw_only=True):
    """What versions hold of some records, held against what is shown of them."""

    shown_until: Mapping[str, str]
    """Until when each is shown; who is not in here is shown no more."""
    anew: Sequence[tuple[Kept, bytes, bytes, Sequence[str]]]
    """Rows with the line and commitment that take their place, and the paths that changed."""
    stale: bool
    """Something was not rendered under this policy yet."""


async def _held_against(
    services: Services, tx: Transaction, ground: _Ground, collection_id: str, ids: Sequence[str], *, other_policy: bool
) -> _Found:
    """Hold the rows of these records in all versions against what is rendered of them as this transaction sees it."""
    collection = ground.collections.get(collection_id)
    if collection is None:  # no policy knows it any more: nobody can read it, and nothing of it may come back with a later one
        return _Found(shown_until={}, anew=(), stale=False)
    kept = await list_issues.lines_among(tx, collection_id, ids)
    rendered = await list_issues.rendered_now(tx, collection.what, listing=collection.listing is not None, ids=ids)
    out = left_out(ground.forms, collection.dataset)
    salts = services.random(SALT_BYTES * len(kept))
    shown, anew = await asyncio.to_thread(_narrow, kept, rendered, out, salts, other_policy=other_policy)
    return _Found(
        shown_until={record_id: rendered[record_id].valid_until for record_id in shown},
        anew=anew,
        stale=any(row.plan != ground.forms.tag for row in rendered.values()),
    )


def _narrow(
    kept: Sequence[Kept], rendered: Mapping[str, Row], out: Mapping[SubjectKind, frozenset[str]], salts: bytes, *, other_policy: bool
) -> tuple[set[str], list[tuple[Kept, bytes, bytes, Sequence[str]]]]:
    """Which records are shown, and the rows that say more than is shown today, each as it shall be."""
    documents = {record_id: row_of(_DOCUMENT.decode(row.body), out) for record_id, row in rendered.items()}
    shown = {record_id for record_id, document in documents.items() if document is not None}
    anew: list[tuple[Kept, bytes, bytes, Sequence[str]]] = []
    for place, row in enumerate(kept):
        document = documents.get(row.record_id)
        if document is None or row.line is None:
            continue
        changed = narrowed(row.line, document, other_policy=other_policy)
        if changed is not None:
            line = row_line(document_of(changed[0]), salts[place * SALT_BYTES : (place + 1) * SALT_BYTES])
            anew.append((row, line, commitment(line), changed[1]))
    return shown, anew


async def _write_narrower(
    tx: Transaction, collection: str, anew: Sequence[tuple[Kept, bytes, bytes, Sequence[str]]], cause: Cause
) -> None:
    if anew:
        await lists.next_turn(tx)
        await list_issues.pend(tx, collection, cause, [row for row, *_ in anew])
        await list_issues.rewrite(tx, collection, anew)


# --- another policy ----------------------------------------------------------------------------------------------------


async def _hold_to_policy(services: Services, ground: _Ground) -> int:
    """Make every row of every version as narrow as the policy in force, collection by collection; how many collections that concerned."""
    reads, forms = services.store.reads, ground.forms
    states = await list_issues.states(reads)
    other = [each for each in ground.collections.values() if each.id in states and states[each.id].ground != ground_of(forms, each)]
    if not other:
        return 0
    reader = await renderings.reader_state(reads)
    if reader.again is not None or reader.known.get(forms.name) != forms.tag:
        return 0  # the reader is still rendering everything under this policy; meanwhile nothing of a version is given
    done = 0
    for collection in other:
        done += await _hold(services, ground, collection)
    return done


async def _hold(services: Services, ground: _Ground, collection: Collection) -> bool:
    """One collection: piece by piece, and only then it stands under the policy; False: begin again in the next round."""
    after = ""
    while ids := await list_issues.next_ids(services.store.reads, collection.id, after, CHUNK):
        async with services.store.transaction() as tx:
            if await services.policies.overtaken(tx):
                return False
            found = await _held_against(services, tx, ground, collection.id, ids, other_policy=True)
            if found.stale:
                return False  # the reader has to render it again first
            gone = [each for each in ids if each not in found.shown_until]
            if gone or found.anew:
                await lists.next_turn(tx)
                await list_issues.pend(tx, collection.id, "policy")
                await list_issues.rewrite(tx, collection.id, found.anew)
                await list_issues.erase(tx, collection.id, gone)
        after = ids[-1]
    async with services.store.transaction() as tx:
        state = await lists.built(tx, collection.id)
        if state is None or await services.policies.overtaken(tx):
            return False
        await lists.next_turn(tx)
        if any(each.pending == "policy" for each in await lists.versions(tx, collection.id)):
            await list_issues.pend(tx, collection.id, "policy")  # of the one before too: each tree is planted anew
            await list_issues.unplant(tx, collection.id)
        await list_issues.stand_under(tx, collection.id, ground_of(ground.forms, collection), state)
    return True


# --- issues ------------------------------------------------------------------------------------------------------------


async def _issue_again(services: Services, ground: _Ground) -> int:
    """Give some of the pending versions of one collection their next issue, the newest first; how many."""
    reads = services.store.reads
    turn = await lists.turn(reads)
    waiting = [each for each in await list_issues.pending(reads) if _ready(ground, each)]
    some = [each for each in waiting if each.collection == waiting[0].collection]
    some = some[: PORTION if all(each.pending == "removal" for each in some[:PORTION]) else PLANTED]
    if not some:
        return 0
    tally = _Tally(some)
    async for rows in list_issues.spans(reads, some[0].collection):
        await asyncio.to_thread(tally.add, rows)
    collection = ground.collections.get(some[0].collection)
    anew = [_anew(each, tally, ground.forms, collection) for each in some]
    async with services.store.transaction() as tx:
        if await lists.turn(tx) != turn or await services.policies.overtaken(tx):
            return 1  # something was written meanwhile: the next round counts again
        await lists.next_turn(tx)
        at = _told_at(tx.now) if all(each.pending == "removal" for each in some) else instant(tx.now)
        await list_issues.re_issue(tx, anew, at=at, causes=[each.pending or "removal" for each in some])
    return len(some)


def _ready(ground: _Ground, version: Version) -> bool:
    """Whether it can be issued again: under another policy not before all of its rows were held against it."""
    collection = ground.collections.get(version.collection)
    return collection is None or version.pending != "policy" or version.ground == ground_of(ground.forms, collection)


def _told_at(now: datetime) -> str:
    """The last full 30 seconds."""
    seconds = int(now.timestamp())
    return instant(datetime.fromtimestamp(seconds - seconds % TELLING_S, UTC))


def _anew(version: Version, tally: "_Tally", forms: Forms, collection: Collection | None) -> tuple[Version, int]:
    """The version as its next issue says it, and how many rows it has lost."""
    rows, end = tally.rows(version.seq), tally.ends.of(version.seq)
    anew = structs.replace(version, rows=rows, valid_until=end)
    tree = tally.trees.get(version.seq)
    if tree is not None:  # where rows only left, size and root stay
        anew = structs.replace(anew, size=tree.size, root=tree.root())
    if version.pending == "policy" and collection is not None:
        anew = structs.replace(anew, policy_version=forms.version, columns=columns_of(forms, collection))
    return anew, version.rows - rows


class _Tally:
    """Rows, first end and tree of several versions of a collection, in one pass over its rows."""

    def __init__(self, versions: Sequence[Version]) -> None:
        self._seqs = sorted(each.seq for each in versions)
        self._steps = [0] * (len(self._seqs) + 1)
        self.trees = {each.seq: CompactRange() for each in sorted(versions, key=lambda each: each.seq) if each.pending != "removal"}
        self._planted = list(self.trees)
        self.ends = Ends(self._seqs)

    def add(self, rows: Sequence[Span]) -> None:
        """The next rows in order of id."""
        trees = list(self.trees.values())
        for row in rows:
            if not row.gone:
                self.ends.add(row.first, row.until, row.valid_until)
                self._steps[bisect_left(self._seqs, row.first)] += 1
                self._steps[bisect_left(self._seqs, row.until)] -= 1
            if trees and row.commitment is not None:
                leaf = leaf_hash(row.commitment)
                for tree in trees[bisect_left(self._planted, row.first) : bisect_left(self._planted, row.until)]:
                    tree.append(leaf)

    def rows(self, seq: int) -> int:
        """How many rows a version has."""
        return sum(self._steps[: bisect_left(self._seqs, seq) + 1])
