"""Keep what a pass made: in one transaction the rendered rows, the names, and an item for every plan set that is shown something new.

Rules: `seq` is given here, once for each plan set and in order of the changes; a row whose told parts did not change keeps its number.
A removal takes rendering and earlier items away at once and waits for its moment. A subject is true only up to the change that the
pass has read. This room must not make a View.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from gateway.core.disclosure.seats import Seat, moved, unpacked
from gateway.core.exchange.wire import b64u
from gateway.core.publication import changes as telling
from gateway.core.publication.documents import FOREVER, HOUSEHOLD, instant, record_bytes, with_salt
from gateway.core.publication.flat import Table
from gateway.core.publication.forms import Forms
from gateway.core.publication.rendering import Made, Shown, ToBeTold
from gateway.core.publication.subjects import subject_bytes
from gateway.core.publication.versions import SALT_BYTES
from gateway.operations.answering import stored_validator
from gateway.services import Services
from gateway.store import feed, ranges, renderings, transparency
from gateway.store.store import Row, Transaction
from gateway.store.transparency import Pending

_DOCUMENT = msgspec.json.Decoder(dict[str, Any])
_NO_SUBJECT = (FOREVER, "", 0, 0, HOUSEHOLD, None, None, None, None)


class Cause(Struct, frozen=True, gc=False):
    """Why a record is looked at: the last change of it, or the clock (no op)."""

    op: str | None = None
    reason: str | None = None
    at: str | None = None


CLOCK = Cause()
POLICY = Cause("policy")
_NO_ACT = frozenset({CLOCK.op, POLICY.op})
ERASED = "erase"
_REMOVED = "removed"
"""What is told of a record that left a caller's reach alone."""


class Before(Struct, frozen=True, kw_only=True):
    """What the read model held when the pass was prepared."""

    held: Mapping[str, Row]
    """Rendered records of the pass."""
    told: Mapping[str, Mapping[str, Row]]
    """By bound plan set."""
    subjects: Mapping[str, Row]
    sibling_seq: Mapping[str, int]
    """By subject: the latest number among its other rendered records."""


async def keep(
    services: Services, tx: Transaction, forms: Sequence[Forms], causes: Mapping[str, Cause], made: Made, before: Before, *, upto: int
) -> None:
    """Write what a pass made; `causes` are its records in order of telling, `upto` the change that it has read."""
    public = forms[0]
    seqs = await _keep_public(services, tx, public, causes, made.shown, before.held)
    for bound in forms[1:]:
        await _keep_told(tx, bound, causes, made.told[bound.name], before.told[bound.name])
    await _keep_subjects(services, tx, public, made, before, seqs, upto)


class _Feeding:
    """Collects the items of one plan set in one pass."""

    def __init__(self, plan_set: str, now: datetime) -> None:
        self._plan_set = plan_set
        self._now = instant(now)
        self._tell_at = instant(telling.telling(now))
        self._items: list[tuple[str, str, Cause, Shown | ToBeTold, str | None]] = []
        self._left: list[tuple[str, str, str, str, str, str | None, str]] = []
        self._silent: list[str] = []
        self._moved: dict[str, Row] = {}
        self._seats: list[tuple[str, Seat, int]] = []
        self.told_at: dict[str, str] = {}
        """When each record was told of, as its item says."""

    def come(self, record_id: str, cause: Cause, made: Shown | ToBeTold) -> None:
        """A record is shown for the first time."""
        self._items.append(("add", record_id, cause, made, None))

    def change(self, record_id: str, cause: Cause, made: Shown | ToBeTold, paths: Sequence[str]) -> None:
        """Parts of a record are shown otherwise."""
        self._items.append(("mod", record_id, cause, made, ",".join(paths) or None))

    def move(self, record_id: str, cause: Cause, made: ToBeTold, before: Row, *, told: bool) -> None:
        """A record lies elsewhere: who reached it there and does not here is told that it left; `told`: others hear of a change."""
        self._moved[record_id] = before
        if not told:
            self._items.append(("move", record_id, cause, made, None))

    def keep_silent(self, record_id: str) -> None:
        """A record that this plan set shows to whoever asks for it, and tells nobody of: it has the number of the latest item."""
        self._silent.append(record_id)

    def leave(self, record_id: str, cause: Cause, row: Row) -> None:
        """A record that was shown is not any more."""
        reason = telling.removal_reason(cause.op, cause.reason)
        self._left.append((record_id, "del", self._tell_at, row.dataset, row.category, row.list, reason))
        if "seat" in row._fields:
            self._seats.append((record_id, unpacked(row.seat), 0))

    async def write(self, tx: Transaction) -> dict[str, int]:
        """Put the items in; the number that each record has now."""
        left = [row[0] for row in self._left]
        await feed.forget(tx, self._plan_set, left)
        await feed.tell_again(tx, self._plan_set, left)
        await feed.wait_no_more(tx, self._plan_set, left)
        await feed.come_back(tx, self._plan_set, [record_id for op, record_id, _, _, _ in self._items if op == "add"])
        await feed.await_telling(tx, self._plan_set, self._left)
        numbers = await self._write_items(tx)
        moved = [(record_id, unpacked(row.seat), numbers[record_id]) for record_id, row in self._moved.items()]
        await feed.leave(tx, self._plan_set, self._seats + moved)
        await feed.await_leaving(
            tx,
            self._plan_set,
            [(record_id, "left", self._tell_at, row.dataset, row.category, row.list, _REMOVED) for record_id, row in self._moved.items()],
        )
        return numbers

    async def _write_items(self, tx: Transaction) -> dict[str, int]:
        if not self._items and not self._silent:
            return {}
        head = await feed.head(tx, self._plan_set)
        seqs = dict.fromkeys(self._silent, head.seq)
        self.told_at = dict.fromkeys(self._silent, head.at)
        if not self._items:
            return seqs
        at = head.at
        first = await tx.number(feed.counter(self._plan_set), len(self._items))
        rows: list[tuple[Any, ...]] = []
        for seq, (op, record_id, cause, made, changed) in enumerate(self._items, first):
            at = max(at, cause.at or self._now)  # a later number never has an earlier time
            rows.append((seq, op, at, record_id, made.dataset, made.category, made.list, None, changed))
            seqs[record_id] = seq
            self.told_at[record_id] = at
        await feed.add(tx, self._plan_set, rows)
        return seqs


async def _keep_public(
    services: Services, tx: Transaction, form: Forms, causes: Mapping[str, Cause], shown: Mapping[str, Shown], held: Mapping[str, Row]
) -> dict[str, int]:
    """Rendered records and the public feed; the number of each record shown."""
    feeding = _Feeding(form.name, tx.now)
    for record_id, cause in causes.items():
        made, before = shown.get(record_id), held.get(record_id)
        known = before is not None and (bool(before.bulk) or before.list is not None)
        if made is None or not (made.kind == "legal" or made.list is not None):
            # a household is reached by its whole code or name only, unless a list's basis demands it (api.md §3.5): nobody is told
            if before is not None and known:
                feeding.leave(record_id, cause, before)
            if made is not None and (before is None or before.digest != made.digest):
                feeding.keep_silent(record_id)
        elif before is None or not known:
            feeding.come(record_id, cause, made)
        elif before.digest != made.digest or before.list != made.list:
            silent = form.by_dataset[made.dataset].silent[made.kind]
            old, new = (telling.values_of_document(_DOCUMENT.decode(body), silent) for body in (before.body, made.body))
            feeding.change(record_id, cause, made, telling.changed_values(old, new))
    numbers = await feeding.write(tx)
    origin = services.settings.public_origin.rstrip("/")
    rows: list[tuple[Any, ...]] = []
    salts = _salts(services, shown, held)
    for record_id, made in shown.items():
        before = held.get(record_id)
        seq = numbers.get(record_id) or int(before.seq if before is not None else 0)
        numbers[record_id] = seq
        told_at = feeding.told_at.get(record_id) or (before.told_at if before is not None else "")
        added = seq if before is None else before.added_seq
        rows.append(_rendered(record_id, made, form, origin, seq, added, told_at, salts.get(record_id)))
    await renderings.replace_records(tx, held, rows)
    waiting = list(_to_be_entered(causes, shown, held, tx.now))
    await transparency.await_entries(tx, waiting)
    if any(each.record_id not in shown for each in waiting) or any(
        causes[record_id].op not in _NO_ACT for record_id in held if record_id not in shown
    ):
        tx.shredded = True  # the salt went, or what somebody withdrew: no old page may keep it
    return numbers


def _salts(services: Services, shown: Mapping[str, Shown], held: Mapping[str, Row]) -> dict[str, bytes]:
    """The salt of every listing: the one it had while nothing of it was told otherwise, else another."""
    salts: dict[str, bytes] = {}
    for record_id, made in shown.items():
        if made.listing is None:
            continue
        before = held.get(record_id)
        kept = before is not None and before.salt is not None and (before.digest, before.list) == (made.digest, made.list)
        salts[record_id] = bytes(before.salt) if before is not None and kept else services.random(SALT_BYTES)
    return salts


def _to_be_entered(causes: Mapping[str, Cause], shown: Mapping[str, Shown], held: Mapping[str, Row], now: datetime) -> Iterator[Pending]:
    """Listings that are shown otherwise than before, or no more, for the transparency log: what leaves when the feed tells of it."""
    for record_id, cause in causes.items():
        made, before = shown.get(record_id), held.get(record_id)
        if made is not None and made.list is not None:
            yield Pending(record_id=record_id, since=instant(now), op=cause.op, reason=None)
        elif before is not None and before.list is not None:
            reason = telling.removal_reason(cause.op, cause.reason)
            yield Pending(record_id=record_id, since=instant(telling.telling(now)), op=cause.op, reason=reason)
        elif made is None and cause.op == ERASED:  # what was withdrawn before may have entries too
            yield Pending(record_id=record_id, since=instant(telling.telling(now)), op=ERASED, reason=None)


def _rendered(
    record_id: str, made: Shown, form: Forms, origin: str, seq: int, added_seq: int, told_at: str, salt: bytes | None
) -> tuple[Any, ...]:
    """A row of RECORD_COLUMNS."""

    def whole(head: bytes) -> bytes:
        return record_bytes(head, seq=seq, policy_version=version, origin=origin, record_id=record_id)

    version = form.version
    listed = None
    if made.listing is not None and salt is not None:
        listed = with_salt(whole(made.listing), salt, origin=origin, record_id=record_id)
    return (
        record_id, made.subject_id, made.dataset, made.category, made.list, made.kind == "legal", made.version_seq, form.tag,
        made.valid_from, made.valid_until, seq, added_seq, told_at, made.digest, made.amended, made.corrected, made.received_at,
        made.region, made.source, made.severity, made.decision_date or "", made.published_from or "", made.listed_on or "", made.marks,
        whole(made.body), listed,
        Table.joined(made.flat, seq, version),
        None if made.listing_flat is None or salt is None else Table.joined(made.listing_flat, seq, version, b64u(salt).encode()),
        salt,
    )  # fmt: skip


async def _keep_told(
    tx: Transaction, form: Forms, causes: Mapping[str, Cause], now_told: Mapping[str, ToBeTold], known: Mapping[str, Row]
) -> None:
    """The feed of a bound plan set, and what it was told."""
    plan_set = form.name
    feeding = _Feeding(plan_set, tx.now)
    gone: list[str] = []
    kept: dict[str, ToBeTold] = {}
    for record_id, cause in causes.items():
        made, before = now_told.get(record_id), known.get(record_id)
        if made is None:
            if before is not None:
                gone.append(record_id)
                feeding.leave(record_id, cause, before)
            continue
        if before is None:
            feeding.come(record_id, cause, made)
        else:
            told = before.digest != made.digest or before.list != made.list
            if told:
                paths = telling.changed_parts(before.digest, made.digest)
                feeding.change(record_id, cause, made, sorted({*paths, "marks"}) if before.corrected != made.corrected else paths)
            elif (before.valid_until, before.amended, before.seat) == (made.valid_until, made.amended, made.seat):
                continue
            if before.seat != made.seat and moved(unpacked(before.seat), unpacked(made.seat)):
                feeding.move(record_id, cause, made, before, told=told)
            gone.append(record_id)
        kept[record_id] = made
    numbers = await feeding.write(tx)
    rows = [
        (
            plan_set, record_id, made.dataset, made.category, made.list, made.digest, made.valid_until,
            known[record_id].added_seq if record_id in known else numbers[record_id], made.amended, made.corrected, made.received_at,
            made.seat,
        )
        for record_id, made in kept.items()
    ]  # fmt: skip
    await renderings.replace_told(tx, plan_set, gone, rows)


async def _keep_subjects(
    services: Services, tx: Transaction, form: Forms, made: Made, before: Before, seqs: Mapping[str, int], upto: int
) -> None:
    """Subject documents; one with nothing public left keeps an empty row, so that asking for it costs what asking for nobody costs."""
    newest = dict(before.sibling_seq)
    for record_id, shown in made.shown.items():
        newest[shown.subject_id] = max(seqs[record_id], newest.get(shown.subject_id, 0))
    rows: list[tuple[Any, ...]] = []
    for subject_id, page in made.subjects.items():
        row = before.subjects.get(subject_id)
        if row is None:
            continue  # erased meanwhile
        head_seq = row.head_seq if row.head_seq <= upto else 0
        if page is None:
            rows.append((subject_id, head_seq, form.tag, *_NO_SUBJECT))
            continue
        latest = newest.get(subject_id, 0)
        seq = max(latest, int(row.seq)) if row.alive else latest  # a removal does not move the number of its subject
        body = subject_bytes(page.head, seq=seq, policy_version=form.version, uri=page.uri)
        added = int(row.added_seq) if row.alive else latest
        rows.append((
            subject_id, head_seq, form.tag, page.valid_until, stored_validator(services, form, body), seq, added, page.form, page.region,
            page.industry, page.status, body,
        ))  # fmt: skip
    known = [subject_id for subject_id in made.subjects if subject_id in before.subjects]
    await renderings.put_subjects(tx, rows)
    await ranges.replace(tx, known, [row for row in made.ranges if row[2] in before.subjects])
