"""Render: read the change log, and make from the door what readers find ready.

For each record that changed: its public View → rendered record, listing, CSV line; its subject's document; the names index; and one
item in the feed of every plan set that was shown something new. The same for records whose time ran out, whose time came, and,
after another policy, for all of them again, piece by piece.

Rules:
- everything shown comes out of `core/disclosure/views.view`; nothing is rendered from a rendering but what it says of its subject.
- a pass is prepared without a lock, off the event loop, and committed in one transaction only if no other pass was committed since
  (`generation`): any number of processes may run this. The reader moves in that transaction.
- a subject is marked true only up to the change that this pass has read; what is committed meanwhile makes it stale, not wrong.
- a removal takes away rendering, names and earlier items at once; its tombstone is told at the next full 30 seconds, in order of id.
This story must not push anything to anybody.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct

from gateway.core.disclosure.plans import Policies
from gateway.core.disclosure.views import View, view
from gateway.core.publication import changes as telling_rules
from gateway.core.publication import flat
from gateway.core.publication.documents import (
    FOREVER,
    HOUSEHOLD,
    Head,
    Statement,
    SubjectPage,
    head_bytes,
    instant,
    record_bytes,
    record_head,
    statement_of,
    statement_of_body,
    subject_bytes,
    subject_page,
    until,
)
from gateway.core.publication.forms import Form, Forms, forms_of, without
from gateway.core.publication.listings import list_for, listing_head, measures_of
from gateway.core.publication.listings import listed_on as day_of_listing
from gateway.core.publication.names import index_tokens, split
from gateway.core.records.model import Record, RecordId
from gateway.core.records.periods import legal_day
from gateway.services import Services
from gateway.store import changes as log
from gateway.store import feed, renderings, search
from gateway.store.records import load
from gateway.store.store import Row, Transaction

PUBLIC = ("public", "open.read")
FED_TIERS = frozenset({"public", "department"})
"""Tiers that have a sequence of changes of their own; `developer` reads public's, partners have signed streams."""
CHUNK = 2000
"""Records a transaction: long enough to be cheap, short enough that no writer waits long."""
IN_LOOP = 32
"""So many records are rendered in the event loop; more go to a thread."""

_DOCUMENT = msgspec.json.Decoder(dict[str, Any])


class _Overtaken(Exception):
    """Another pass was committed, or another policy came into force: nothing of this one is written."""


class _Cause(Struct, frozen=True):
    """Why a record is looked at: the last change of it, or the clock (no op)."""

    op: str | None
    reason: str | None
    at: str | None


_POLICY = _Cause("policy", None, None)


class _Work(Struct, frozen=True, kw_only=True):
    """What one pass looks at."""

    causes: Mapping[str, _Cause]
    """Record → cause, in order of telling."""
    subject_of: Mapping[str, str]
    upto: int
    """Position of the reader after this pass."""
    again: int | None
    """Position of the walk after a policy change; None: none, or at its end."""
    read: int
    """Changes read, and records looked at for other causes."""


class _Shown(Struct, frozen=True, kw_only=True):
    """A record as the public sees it, ready but for its numbers."""

    head: Head
    body: bytes
    listing: bytes | None
    list: str | None
    listed_on: str | None
    digest: bytes
    settled: telling_rules.Settled
    flat: tuple[bytes, bytes]
    listing_flat: tuple[bytes, bytes] | None


class _Told(Struct, frozen=True, kw_only=True):
    """A record as a bound plan set is told of it."""

    digest: bytes
    settled: telling_rules.Settled
    valid_until: str
    list: str | None


class _Prepared(Struct, frozen=True, kw_only=True):
    """Everything of a pass but its numbers."""

    records: Mapping[str, Record]
    shown: Mapping[str, _Shown]
    told: Mapping[str, Mapping[str, _Told]]
    subjects: Mapping[str, SubjectPage | None]
    sibling_seq: Mapping[str, int]
    names_gone: Sequence[Row]
    names_new: Sequence[search.NameRow]


def fed(policies: Policies) -> tuple[Forms, ...]:
    """The plan sets that have a sequence of changes: the public's first."""
    pairs = {(tier, purpose) for _, tier, purpose in policies.plan_sets if tier in FED_TIERS}
    return tuple(forms_of(policies, tier, purpose) for tier, purpose in sorted(pairs | {PUBLIC}, key=lambda pair: (pair != PUBLIC, pair)))


def etag_of(services: Services, *parts: bytes) -> str:
    """The opaque part of an ETag: a keyed hash, bound to whatever parts are given."""
    hashed = blake2b(key=services.store.vault.key("etag"), digest_size=16)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big"))
        hashed.update(part)
    return hashed.hexdigest()


async def render_public(services: Services, *, limit: int = 5000) -> int:
    """Read at most `limit` changes and do what follows from them and from the clock; how much was done, 0 = nothing is left."""
    await services.policies.refresh()
    policies = services.policies.current()
    forms = fed(policies)
    if await _new_policy(services, forms):
        return 1
    done = await tell(services, forms, until=services.clock())
    done += await _new_day(services, policies, forms)
    left = limit
    while left > 0:
        step = await _one_pass(services, policies, forms, min(left, CHUNK))
        if step is None:  # another process was faster, or another policy came into force
            return done + 1
        done += step
        left -= max(step, 1)
        if step == 0:
            break
    return done


async def settle(services: Services) -> None:
    """Read everything to its end, with due period ends; removals are told at once, under the next full 30 seconds (test mode)."""
    while await render_public(services):
        pass
    forms = fed(services.policies.current())
    await tell(services, forms, until=telling_rules.telling(services.clock()))


async def lag(services: Services) -> int:
    """How many changes the reader has still to read."""
    state = await renderings.reader_state(services.store.reads)
    return await log.head(services.store.reads) - (state.position if state.again is None else state.again)


# --- policy, clock -----------------------------------------------------------------------------------------------------


def _plan_word(forms: Sequence[Forms]) -> str:
    return " ".join(f"{each.name}={each.tag}" for each in forms)


async def _new_policy(services: Services, forms: Sequence[Forms]) -> bool:
    """When another policy is in force: say so in the feeds it concerns, and begin to render everything again."""
    word = _plan_word(forms)
    if (await renderings.reader_state(services.store.reads)).plan == word:
        return False
    async with services.store.transaction() as tx:
        state = await renderings.reader_state(tx)
        if state.plan == word or await services.policies.refresh(tx):
            return True
        before = dict(pair.split("=") for pair in (state.plan or "").split())
        for each in forms:
            if before.get(each.name, "").partition("@")[0] != each.tag.partition("@")[0]:
                head = await feed.head(tx, each.name)
                seq = await tx.number(feed.counter(each.name))
                at = max(head.at, instant(tx.now))
                await feed.add(tx, each.name, [(seq, "policy", at, None, None, None, None, None, str(each.version))])
        await renderings.say(tx, renderings.PLAN_META, word)
        await renderings.put_reader(tx, renderings.RERENDER, 0 if state.position else None)
        await renderings.next_generation(tx, state.generation)
    return True


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
        work = _Work(
            causes={row.record_id: _Cause(None, None, None) for row in some},
            subject_of={row.record_id: row.subject_id for row in some},
            upto=state.position,
            again=state.again,
            read=len(some),
        )
        if not await _do(services, policies, forms, state, work):
            return 1  # begun anew at the next call: the day is not yet done
    async with services.store.transaction() as tx:
        before = instant(now - telling_rules.WINDOW)
        for each in forms:
            await feed.prune(tx, each.name, before)
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
            if not waiting:
                continue
            head = await feed.head(tx, each.name)
            seq = await tx.number(feed.counter(each.name), len(waiting))
            rows = []
            for place, row in enumerate(waiting):
                at = max(head.at, row.tell_at)
                rows.append((seq + place, "del", at, row.record_id, row.dataset, row.category, row.list, row.reason, None))
            gone = [row.record_id for row in waiting]
            await feed.forget(tx, each.name, gone)
            await feed.wait_no_more(tx, each.name, gone)
            await feed.add(tx, each.name, rows)
            told += len(rows)
    return told


# --- one pass ----------------------------------------------------------------------------------------------------------


async def _one_pass(services: Services, policies: Policies, forms: Sequence[Forms], limit: int) -> int | None:
    """One transaction's worth; None when it was overtaken and nothing was written."""
    state = await renderings.reader_state(services.store.reads)
    work = await _find_work(services, forms, state, limit)
    if work.read == 0:
        return 0
    return work.read if await _do(services, policies, forms, state, work) else None


async def _find_work(services: Services, forms: Sequence[Forms], state: renderings.ReaderState, limit: int) -> _Work:
    """New changes first; then what the clock ended; then the walk after a policy change."""
    reads = services.store.reads
    now = instant(services.clock())
    causes: dict[str, _Cause] = {}
    subject_of: dict[str, str] = {}
    upto, again, read = state.position, state.again, 0
    for change in await log.after(reads, state.position, limit):
        causes.pop(change.record_id, None)  # its last change decides when it is told
        causes[change.record_id] = _Cause(change.op, change.reason, instant(change.at))
        subject_of[change.record_id] = change.subject_id
        upto = change.seq
        read += 1
    if read < limit:
        ended = await renderings.due(reads, [each.name for each in forms[1:]], now=now, limit=limit - read)
        for record_id in ended:
            causes.setdefault(record_id, _Cause(None, None, None))
        read += len(ended)
    if read < limit and again is not None:
        walked = await log.after(reads, again, limit - read)
        for change in walked:
            causes.setdefault(change.record_id, _POLICY)
            subject_of[change.record_id] = change.subject_id
        again = walked[-1].seq if walked and walked[-1].seq < state.position else None
        read += max(len(walked), 1)
    return _Work(causes=causes, subject_of=subject_of, upto=upto, again=again, read=read)


async def _do(services: Services, policies: Policies, forms: Sequence[Forms], state: renderings.ReaderState, work: _Work) -> bool:
    """Prepare and commit one pass; False when it was overtaken."""
    source = renderings.OffLoop(services.store.reads) if len(work.causes) > IN_LOOP else services.store.reads
    now = services.clock()
    held = await renderings.held(source, list(work.causes))
    subject_of = {**{record_id: row.subject_id for record_id, row in held.items()}, **work.subject_of}
    subject_ids = sorted(set(subject_of.values()))
    subjects = {row.subject_id: row for row in await renderings.subjects_by_ids(source, subject_ids)}
    # what else is rendered of these subjects: as it stands where it is true, else it is made anew with the rest
    causes = dict(work.causes)
    siblings = []
    for row in await renderings.siblings(source, subject_ids, plan=forms[0].tag, now=instant(now)):
        if row.record_id not in causes:
            if row.fresh:
                siblings.append(row)
            else:
                causes[row.record_id] = _Cause(None, None, None) if row.plan == forms[0].tag else _POLICY
    if state.again is not None:  # another policy may show what was never rendered: a subject is walked as a whole
        for row in await renderings.records_of(source, subject_ids):
            causes.setdefault(row.record_id, _POLICY)
    ids = list(causes)
    if len(ids) > len(work.causes):
        held = await renderings.held(source, ids)
    work = msgspec.structs.replace(work, causes=causes)
    told = {each.name: await renderings.told(source, each.name, ids) for each in forms[1:]}
    indexed = await search.held(source, subject_ids)
    fields = frozenset(
        name for each in forms for plan_set in each.plan_sets.values() for plan in plan_set.plans.values() for name in plan.columns
    )
    records = await load(source, ids=[RecordId(record_id) for record_id in ids], fields=fields)
    arguments = (services, policies, forms, now, records, held, told, siblings, subject_ids, indexed)
    prepared = await asyncio.to_thread(_prepare, *arguments) if len(ids) > IN_LOOP else _prepare(*arguments)
    try:
        async with services.store.transaction() as tx:
            if not await renderings.next_generation(tx, state.generation) or await services.policies.refresh(tx):
                raise _Overtaken
            seqs = await _write_public(services, tx, forms[0], work, prepared, held)
            for each in forms[1:]:
                await _write_told(tx, each, work, prepared, told[each.name])
            await _write_subjects(services, tx, forms[0], work, prepared, subjects, seqs)
            await search.change(tx, prepared.names_gone, prepared.names_new)
            await renderings.put_reader(tx, renderings.READER, work.upto)
            if work.again != state.again:
                await renderings.put_reader(tx, renderings.RERENDER, work.again)
    except _Overtaken:
        return False
    return True


def _prepare(
    services: Services,
    policies: Policies,
    forms: Sequence[Forms],
    now: datetime,
    records: Sequence[Record],
    held: Mapping[str, Row],
    before: Mapping[str, Mapping[str, Row]],
    siblings: Sequence[Row],
    subject_ids: Sequence[str],
    indexed: Mapping[str, Sequence[Row]],
) -> _Prepared:
    """Views and documents of a pass: pure but for the keys of its digests."""
    origin = services.settings.public_origin.rstrip("/")
    digests = telling_rules.Digests(services.store.vault.key("feed-digest"))
    public = forms[0]
    shown: dict[str, _Shown] = {}
    told: dict[str, dict[str, _Told]] = {each.name: {} for each in forms[1:]}
    statements: dict[str, list[Statement]] = {subject_id: [] for subject_id in subject_ids}
    for record in records:
        plan = public.plan(record.dataset, record.kind)
        seen = view(record, plan, policies, now) if plan is not None else None
        if seen is not None:
            made = _show(seen, record, public.by_dataset[record.dataset], held.get(record.record_id), origin, policies, digests)
            shown[record.record_id] = made
            statements.setdefault(record.subject_id, []).append(statement_of(made.head))
        for each in forms[1:]:
            plan = each.plan(record.dataset, record.kind)
            seen = view(record, plan, policies, now) if plan is not None else None
            if seen is not None:
                listing = list_for(seen, policies.catalogue)
                silent = each.by_dataset[record.dataset].silent[record.kind]
                digest = digests.view(seen, silent)
                row = before[each.name].get(record.record_id)
                told[each.name][record.record_id] = _Told(
                    digest=digest,
                    settled=telling_rules.settled(seen, record.corrected_since, told_of(row), _known(digest)),
                    valid_until=until(seen.valid_until),
                    list=listing.id if listing is not None else None,
                )
    sibling_seq: dict[str, int] = {}
    for row in siblings:
        statements.setdefault(row.subject_id, []).append(statement_of_body(row.body, row.valid_until))
        sibling_seq[row.subject_id] = max(row.seq, sibling_seq.get(row.subject_id, 0))
    searched = frozenset(dataset for dataset, form in public.by_dataset.items() if "legal" in form.searched)
    pages: dict[str, SubjectPage | None] = {}
    gone: list[Row] = []
    new: list[search.NameRow] = []
    for subject_id, said in statements.items():
        page = subject_page(subject_id, said, categories=public.categories, searched=searched, origin=origin)
        pages[subject_id] = page
        wanted = dict.fromkeys(page.names) if page is not None else {}
        for row in indexed.get(subject_id, ()):
            if (row.role, row.shown) in wanted:
                del wanted[row.role, row.shown]
            else:
                gone.append(row)
        for role, name in wanted:
            parts = split(name)
            row = search.NameRow(
                subject_id=subject_id, role=role, shown=name, name_norm=parts.norm, core=parts.core, tokens=index_tokens(parts)
            )
            new.append(row)
    return _Prepared(
        records={record.record_id: record for record in records},
        shown=shown,
        told=told,
        subjects=pages,
        sibling_seq=sibling_seq,
        names_gone=gone,
        names_new=new,
    )


def _show(
    seen: View, record: Record, form: Form, row: Row | None, origin: str, policies: Policies, digests: telling_rules.Digests
) -> _Shown:
    silent = form.silent[record.kind]

    def digest_of(each: View) -> bytes:
        document = record_head(each, origin).document
        return digests.document(document, head_bytes(document), silent)

    settled = telling_rules.settled(seen, record.corrected_since, told_of(row), digest_of)
    seen = settled.view
    head = record_head(seen, origin)
    body = head_bytes(head.document)
    listing = list_for(seen, policies.catalogue)
    listing_document = listing_head(head, listing, measures_of(seen, policies.catalogue)) if listing is not None else None
    unfit = form.unfit[head.kind]
    return _Shown(
        head=head,
        body=body,
        listing=head_bytes(listing_document) if listing_document is not None else None,
        list=listing.id if listing is not None else None,
        listed_on=day_of_listing(head) if listing is not None else None,
        digest=digests.document(head.document, body, silent),
        settled=settled,
        flat=form.table.halves(without(head.document, unfit)),
        listing_flat=form.listing_table.halves(without(listing_document, unfit)) if listing_document is not None else None,
    )


def _known(digest: bytes) -> Callable[[View], bytes]:
    """A digest that is there already, where one would be computed."""

    def same(_: View) -> bytes:
        return digest

    return same


def told_of(row: Row | None) -> telling_rules.Told | None:
    """What was told of a record, from its row in the read model."""
    if row is None:
        return None
    return telling_rules.Told(digest=row.digest, amended=row.amended, corrected=row.corrected, received_at=row.received_at)


# --- writing -----------------------------------------------------------------------------------------------------------


class _Feeding:
    """Collects the items of one plan set in one pass."""

    def __init__(self, name: str, now: datetime) -> None:
        self.name = name
        self._now = now
        self.items: list[tuple[str, str, _Cause, str, str, str | None, str | None]] = []
        self.left: list[tuple[str, str, str, str, str | None, str]] = []

    def item(
        self, op: str, record_id: str, cause: _Cause, dataset: str, category: str, listed: str | None, changed: str | None = None
    ) -> None:
        """A record came or changed."""
        self.items.append((op, record_id, cause, dataset, category, listed, changed))

    def leave(self, record_id: str, cause: _Cause, row: Row) -> None:
        """A record that was shown is not any more."""
        tell_at = instant(telling_rules.telling(self._now))
        self.left.append((record_id, tell_at, row.dataset, row.category, row.list, telling_rules.removal_reason(cause.op, cause.reason)))

    async def write(self, tx: Transaction) -> dict[str, int]:
        """Put the items in; the sequence of each record."""
        left = [row[0] for row in self.left]
        await feed.forget(tx, self.name, left)
        await feed.wait_no_more(tx, self.name, left + [item[1] for item in self.items if item[0] == "add"])
        await feed.await_telling(tx, self.name, self.left)
        if not self.items:
            return {}
        at = (await feed.head(tx, self.name)).at
        seq = await tx.number(feed.counter(self.name), len(self.items))
        now = instant(self._now)
        rows = []
        seqs = {}
        for place, (op, record_id, cause, dataset, category, listed, changed) in enumerate(self.items):
            at = max(at, cause.at or now)
            rows.append((seq + place, op, at, record_id, dataset, category, listed, None, changed))
            seqs[record_id] = seq + place
        await feed.add(tx, self.name, rows)
        return seqs


async def _write_public(
    services: Services, tx: Transaction, form: Forms, work: _Work, prepared: _Prepared, held: Mapping[str, Row]
) -> dict[str, int]:
    """Rendered records and the public feed; the sequence of each record shown."""
    feeding = _Feeding(form.name, tx.now)
    for record_id, cause in work.causes.items():
        made, before = prepared.shown.get(record_id), held.get(record_id)
        if made is None:
            if before is not None:
                feeding.leave(record_id, cause, before)
        elif before is None:
            feeding.item("add", record_id, cause, made.head.dataset, made.head.category, made.list)
        elif before.digest != made.digest or before.list != made.list:
            silent = form.by_dataset[made.head.dataset].silent[made.head.kind]
            old = telling_rules.values_of_document(_DOCUMENT.decode(before.body), silent)
            changed = telling_rules.changed_values(old, telling_rules.values_of_document(made.head.document, silent))
            feeding.item("mod", record_id, cause, made.head.dataset, made.head.category, made.list, ",".join(changed) or None)
    new = await feeding.write(tx)
    origin = services.settings.public_origin.rstrip("/")
    rows = []
    seqs: dict[str, int] = {}
    for record_id, made in prepared.shown.items():
        before = held.get(record_id)
        record = prepared.records[record_id]
        seq = new[record_id] if record_id in new else int(before.seq)  # type: ignore[union-attr]  # without a new item it was shown before
        seqs[record_id] = seq
        head, version = made.head, form.version
        tail: dict[str, Any] = {
            "seq": seq,
            "policy_version": version,
            "origin": origin,
            "record_id": record_id,
        }
        rows.append(
            (
                record_id,
                head.subject_id,
                head.dataset,
                head.category,
                made.list,
                head.kind == "legal",
                record.changed_seq,
                form.tag,
                head.valid_from,
                head.valid_until,
                seq,
                seq if before is None else before.added_seq,
                made.digest,
                made.settled.amended,
                made.settled.corrected,
                made.settled.received_at,
                head.region,
                head.source,
                head.severity,
                head.decision_date or "",
                head.published_from or "",
                made.listed_on or "",
                "|".join(head.marks),
                record_bytes(made.body, **tail),
                None if made.listing is None else record_bytes(made.listing, **tail),
                flat.Table.joined(made.flat, seq, version),
                None if made.listing_flat is None else flat.Table.joined(made.listing_flat, seq, version),
            )
        )
    await renderings.replace_records(tx, list(held), rows)
    return seqs


async def _write_told(tx: Transaction, form: Forms, work: _Work, prepared: _Prepared, told: Mapping[str, Row]) -> None:
    """The feed of a bound plan set, and what it was told."""
    feeding = _Feeding(form.name, tx.now)
    now_told = prepared.told[form.name]
    rewritten: list[str] = []
    for record_id, cause in work.causes.items():
        made, before = now_told.get(record_id), told.get(record_id)
        if made is None:
            if before is not None:
                rewritten.append(record_id)
                feeding.leave(record_id, cause, before)
            continue
        record = prepared.records[record_id]
        if before is None:
            feeding.item("add", record_id, cause, record.dataset, record.category, made.list)
        elif before.digest != made.digest or before.list != made.list:
            changed = telling_rules.changed_parts(before.digest, made.digest)
            if before.corrected != made.settled.corrected:
                changed = sorted({*changed, "marks"})
            feeding.item("mod", record_id, cause, record.dataset, record.category, made.list, ",".join(changed) or None)
        elif before.valid_until == made.valid_until and before.amended == made.settled.amended:
            continue
        if before is not None:
            rewritten.append(record_id)
    seqs = await feeding.write(tx)
    rows = []
    gone = set(rewritten)
    for record_id, made in now_told.items():
        before = told.get(record_id)
        if before is None or record_id in gone:
            record = prepared.records[record_id]
            added = seqs[record_id] if before is None else before.added_seq
            settled = made.settled
            rows.append(
                (
                    form.name,
                    record_id,
                    record.dataset,
                    record.category,
                    made.list,
                    made.digest,
                    made.valid_until,
                    added,
                    settled.amended,
                    settled.corrected,
                    settled.received_at,
                )
            )
    await renderings.replace_told(tx, form.name, rewritten, rows)


async def _write_subjects(
    services: Services, tx: Transaction, form: Forms, work: _Work, prepared: _Prepared, subjects: Mapping[str, Row], seqs: Mapping[str, int]
) -> None:
    """Subject documents; one with nothing public left keeps an empty row, so that asking for it costs what asking for nobody costs."""
    newest: dict[str, int] = {}
    for record_id, made in prepared.shown.items():
        subject_id = made.head.subject_id
        newest[subject_id] = max(seqs[record_id], newest.get(subject_id, 0))
    rows: list[tuple[Any, ...]] = []
    for subject_id, page in prepared.subjects.items():
        before = subjects.get(subject_id)
        if before is None:
            continue  # erased meanwhile
        head_seq = before.head_seq if before.head_seq <= work.upto else 0
        if page is None:
            rows.append((subject_id, head_seq, form.tag, FOREVER, "", 0, 0, HOUSEHOLD, None, None, None, None))
            continue
        alive = before.body is not None
        latest = max(newest.get(subject_id, 0), prepared.sibling_seq.get(subject_id, 0))
        seq = max(latest, int(before.seq)) if alive else latest
        body = subject_bytes(head_bytes(page.document), seq=seq, policy_version=form.version, uri=page.uri)
        rows.append(
            (
                subject_id,
                head_seq,
                form.tag,
                page.valid_until,
                etag_of(services, form.tag.encode(), body),
                seq,
                int(before.added_seq) if alive else latest,
                page.form,
                page.region,
                page.industry,
                page.status,
                body,
            )
        )
    await renderings.replace_subjects(tx, [subject_id for subject_id in prepared.subjects if subjects.get(subject_id) is not None], rows)


def next_moment(now: datetime) -> datetime:
    """When a reader at rest should look at the clock again: the next telling."""
    return telling_rules.telling(now) + timedelta(milliseconds=1)
