"""Build versions of lists and datasets (api.md §7.8): a version where the public was told of something since the last one.

Rules:
- a build is prepared without a lock and committed in one transaction, only if nothing was rendered or written here meanwhile: whole or
  not at all. So a kill leaves the old state or the new one; files are copies (`version_files`).
- what leaves is told first, and what stands is held against another policy first: both by `reissue_lists`.
This story must not make a View: rows are what the reader has rendered.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from gateway.core.disclosure.plans import Policies
from gateway.core.errors import VersionReissuing
from gateway.core.publication.documents import instant
from gateway.core.publication.forms import Forms, forms_of
from gateway.core.publication.versions import (
    SALT_BYTES,
    Version,
    commitment,
    document_of,
    root_of,
    row_line,
    salt_of,
)
from gateway.core.records.model import SubjectKind
from gateway.operations.collected import Collection, collection_of, collections_of, columns_of, ground_of, left_out, row_of
from gateway.operations.feeding import PUBLIC
from gateway.operations.keep_log import enter, settle_log
from gateway.operations.reissue_lists import follow
from gateway.operations.version_files import clear_unfinished, files_of, sweep
from gateway.services import Services
from gateway.store import feed, list_issues, lists, renderings, transparency
from gateway.store.lists import Built
from gateway.store.store import Row, Transaction

CHUNK = 2000
_DOCUMENT = msgspec.json.Decoder(dict[str, Any])
_SECOND = "%Y%m%d%H%M%S"


class Made(Struct, frozen=True, kw_only=True):
    """A version that was built."""

    collection: str
    version: str
    rows: int
    added: int
    changed: int
    removed: int


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
            await _finish_files(services, collection)
    return made


async def _build(services: Services, policies: Policies, forms: Forms, collection: Collection) -> Made | None:
    reads = services.store.reads
    state = await lists.built(reads, collection.id)
    ground = ground_of(forms, collection)
    if state is not None and state.ground != ground:
        return None  # what stands is held against another policy first
    if await lists.any_leaving(reads, collection.id):
        return None  # what leaves is told first
    plan = await _prepare(services, forms, collection, state)
    if plan is None:
        return None
    async with services.store.transaction() as tx:
        if await lists.turn(tx) != plan.turn or await lists.generation(tx) != plan.generation or await services.policies.overtaken(tx):
            return None  # something was rendered or written meanwhile: the next round tries again
        await lists.next_turn(tx)
        return await _commit(services, tx, forms, plan, ground)


async def _finish_files(services: Services, collection: Collection) -> None:
    """Make and note what files the newest version has, also of a build that was killed before it came to them."""
    version = await lists.current(services.store.reads, collection.id)
    if version is not None and version.pending is None:
        with suppress(VersionReissuing):  # then its next issue has files of its own, in the next round
            await files_of(services, collection, version, at_hand=True)


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
    # where what was told since is not kept to its beginning, everything is looked at
    whole = state is None or state.tag != forms.tag or state.seq < await feed.floor(reads, forms.name)
    if not plan.head.seq or not (whole or plan.touched):
        return None
    if collection.listing is not None and await transparency.pending(reads, instant(services.clock()), 1):
        await enter(services)  # a row stands in a version under the commitment that was entered
    newest = await lists.newest(reads, collection.id)
    if newest is not None and newest.seq >= plan.head.seq:
        return None
    listing = collection.listing is not None
    ids = set(plan.touched)
    if whole:
        ids |= {*await lists.standing_ids(reads, collection.id), *await lists.rendered_ids(reads, collection.what, listing=listing)}
    out, now = left_out(forms, collection.dataset), instant(services.clock())
    ordered = sorted(ids)
    if not await _clear(services, plan):
        return None
    for at in range(0, len(ordered), CHUNK):
        some = ordered[at : at + CHUNK]
        standing = await lists.standing(reads, collection.id, some)
        rendered = await lists.rendered(reads, collection.what, listing=listing, ids=some)
        if any(row.plan != forms.tag or row.valid_until <= now for row in rendered):
            return None  # the reader has to render it again first
        drawn = None if listing else services.random(SALT_BYTES * len(rendered))
        salts = drawn if drawn is not None else b"".join(bytes(row.salt) for row in rendered)  # those of the transparency log
        found = await asyncio.to_thread(_compare, rendered, standing, out, salts, plan.head.seq)
        plan.new += len(found.ready)
        plan.closed += found.closed
        plan.missing += found.missing if whole else ()
        if found.ready:
            async with services.store.transaction() as tx:
                if await lists.turn(tx) != plan.turn:
                    return None  # another process builds it, or something was taken out: the next round tries again
                await lists.lay_ready(tx, collection.id, found.ready)
    return plan


async def _clear(services: Services, plan: _Plan) -> bool:
    """Take away what lies ready, of a build that was killed or of one under way, which gives up; False: something was written meanwhile."""
    async with services.store.transaction() as tx:
        if await lists.turn(tx) != plan.turn:
            return False
        await lists.clear_ready(tx, plan.collection.id)
        plan.turn = await lists.next_turn(tx)
    return True


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
        salt = salts[place * SALT_BYTES : (place + 1) * SALT_BYTES]
        if was is not None and was.line is not None:
            if not was.rewritten and row_line(document, salt_of(document_of(was.line))) == was.line:
                continue
            closed.append(row.record_id)
        line = row_line(document, salt)
        ready.append((row.record_id, seq, line, commitment(line), row.valid_until))
    return _Compared(ready=ready, closed=closed, missing=sorted(missing))


async def _commit(services: Services, tx: Transaction, forms: Forms, plan: _Plan, ground: str) -> Made | None:
    """Write a build; None when it made no version."""
    collection, head = plan.collection.id, plan.head
    newest = await lists.newest(tx, collection)
    done = Built(seq=head.seq, tag=forms.tag, ground=ground)
    if plan.missing and newest is not None:
        await list_issues.mark_leaving(tx, [(collection, record_id, instant(tx.now), "removed") for record_id in plan.missing])
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
        name=_named(head, newest),
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


def _named(head: feed.Head, newest: Version | None) -> str:
    """The name of the next version: after the last change that it holds, and later as text than the one before.

    Where changes of one second came before and after a build, the second of them is named after the next second.
    """
    if newest is None or newest.name[:14] < head.version[:14]:
        return head.version
    second = datetime.strptime(newest.name[:14], _SECOND).replace(tzinfo=UTC) + timedelta(seconds=1)
    return f"{second.strftime(_SECOND)}-{head.seq}"


async def _retire(services: Services, tx: Transaction, collection: str) -> None:
    """Keep the versions of the window, and the one that was the newest when it begins."""
    first = await lists.as_of(tx, collection, instant(tx.now - timedelta(days=services.settings.lists_keep_days)))
    oldest = await lists.oldest(tx, collection)
    if first is not None and oldest is not None and oldest.seq < first.seq:
        await lists.drop_before(tx, collection, first.seq)


async def settle_lists(services: Services) -> list[Made]:
    """Everything that follows from what is rendered, without waiting for any moment (test mode, and `chengxin lists build`)."""
    clear_unfinished(services)
    await settle_log(services)
    while await follow(services, at_once=True):
        pass
    made = await build(services)
    if await follow(services, at_once=True):  # what another policy shows no more was found by the build
        while await follow(services, at_once=True):
            pass
        made += await build(services)
    await sweep(services)
    return made
