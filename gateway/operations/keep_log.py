"""Keep the transparency log: enter what happened to public listings, sign the head, have it witnessed (exchange.md §15).

Rules:
- an entry follows what the reader has rendered: `list` and `amend` with the commitment of what the public is shown, `remove`, `hide` or
  `erase` with none. Of what leaves nothing is entered before the feed tells of it.
- entries, tiles and head are one transaction, under the writer's turn; a head is signed in one of its own and stands in the store
  before anybody is given it.
- a head smaller than one that was signed is never signed: neither than the store's own nor than the one beside the database, in
  `<data_dir>/log-checkpoint`. Then the alarm `log-broken` stands until somebody has looked.
- without a witness quorum the head is published all the same, and after an hour told: `log-unwitnessed`.
This story must not choose what is shown.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.core.errors import ExchangeError, SettingsError, StoreError
from gateway.core.exchange import notes
from gateway.core.exchange.merkle import CompactRange, leaf_hash
from gateway.core.exchange.notes import Checkpoint
from gateway.core.exchange.wire import SHA256, b64, unb64
from gateway.core.publication.documents import instant
from gateway.core.publication.forms import Forms, forms_of
from gateway.core.publication.versions import commitment_of
from gateway.core.signing import Signer
from gateway.core.transparency import tiles
from gateway.core.transparency.entries import Entry, Op, Place, Reason, entry_bytes, origin_of, year_of
from gateway.core.transparency.witnessing import LogPolicy, Witness, cosigned, read_policy, write_ask
from gateway.operations import alarms
from gateway.operations.collected import left_out, row_of
from gateway.operations.feeding import PUBLIC
from gateway.services import Services
from gateway.store import transparency
from gateway.store.store import Source, Transaction
from gateway.store.transparency import Head, Listed, Pending, State

HEAD_FILE: Final = "log-checkpoint"
BROKEN: Final = "log-broken"
UNSIGNED: Final = "log-unsigned"
UNWITNESSED: Final = "log-unwitnessed"
STEP: Final = 2000
"""Listings looked at in one transaction."""
AT_LEAST: Final = timedelta(days=1)
"""So often a head is signed, whether it grew or not."""
PATIENCE: Final = timedelta(hours=1)
"""So long a head may wait for its witnesses before somebody is told."""

_DOCUMENT = msgspec.json.Decoder(dict[str, Any])
AskWitness = Callable[[str, bytes], Awaitable[tuple[int, bytes]]]
"""Sends a body to a witness's address; status and body of what it answers. Raises OSError when there is none."""


class Entered(Struct, frozen=True, kw_only=True):
    """What one step came to."""

    looked_at: int
    entries: int


class SignedLog(Struct, frozen=True, kw_only=True):
    """A head that was signed."""

    origin: str
    size: int
    witnesses: tuple[str, ...] = ()


# --- entries ----------------------------------------------------------------------------------------------------------


async def enter(services: Services, *, limit: int = STEP, at_once: bool = False) -> Entered | None:
    """Look at some listings that were rendered otherwise, and enter what happened; None when none waits, or not yet.

    `at_once`: without waiting for the moment at which removals are told (test mode).
    Raises NoActivePolicy, StoreError.
    """
    reads = services.store.reads
    now = "9999" if at_once else instant(services.clock())
    waiting = await transparency.pending(reads, now, limit)
    if not waiting:
        return None
    policies = await services.policies.fresh()
    forms = forms_of(policies, *PUBLIC)
    async with services.store.transaction() as tx:
        if await services.policies.overtaken(tx):
            return None
        waiting = await transparency.pending(tx, now, limit)
        ids = [each.record_id for each in waiting]
        shown = await transparency.listed(tx, ids)
        known = await transparency.states(tx, ids)
        if any(each.plan != forms.tag for each in shown.values()):
            return None  # the reader renders it again first
        made = [
            entry
            for each in waiting
            if (entry := _entry(forms, each, shown.get(each.record_id), known.get(each.record_id), tx.now_text)) is not None
        ]
        await append(tx, made)
        await transparency.looked_at(tx, waiting)
    return Entered(looked_at=len(waiting), entries=len(made))


def _entry(forms: Forms, pending: Pending, shown: Listed | None, known: State | None, at: str) -> Entry | None:
    """What is to be entered about a record; None when nothing happened that the public sees."""
    now = None if shown is None else _said(forms, shown)
    was = known is not None and known.commitment is not None
    op: Op
    if now is not None:
        commitment, authority = now
        if known is not None and known.commitment == commitment:
            return None
        op = "amend" if was else "unhide" if known is not None and known.op == "hide" else "list"
        reason: Reason | None = "policy" if pending.op == "policy" and op != "list" else None
        return _about(pending.record_id, known, op, b64(commitment), at, authority, reason)
    if known is None or known.op == "erase" or not (was or pending.op == "erase"):
        return None
    if pending.op == "erase":
        op, reason = "erase", "removed"
    elif pending.op == "policy":
        op, reason = "hide", "policy"
    else:
        op, reason = "remove", _REASONS.get(pending.reason or "", "removed")
    return _about(pending.record_id, known, op, None, at, known.authority, reason)


_REASONS: Mapping[str, Reason] = {"expired": "expired", "corrected": "corrected", "removed": "removed"}


def _about(rid: str, known: State | None, op: Op, c: str | None, at: str, authority: str | None, reason: Reason | None) -> Entry:
    return Entry(
        op=op, rid=rid, v=1 if known is None else known.v + 1, c=c, at=at, authority=authority, reason=reason,
        prev=None if known is None else str(known.place),
    )  # fmt: skip


def _said(forms: Forms, shown: Listed) -> tuple[bytes, str | None] | None:
    """Commitment and authority of a listing as its versions have it; None: it stands in none."""
    row = row_of(_DOCUMENT.decode(shown.listing), left_out(forms, shown.dataset))
    if row is None:
        return None
    authority = row["fields"].get("authority_code") or row["source"].get("uscc")  # who decided; else who sent it
    return commitment_of(row), authority if isinstance(authority, str) else None


async def append(tx: Transaction, made: Sequence[Entry]) -> None:
    """Enter these behind what there is: entries, tiles, head and the records' states."""
    if not made:
        return
    year = year_of(tx.now)
    head = await transparency.head(tx, year) or Head(year=year, size=0, tree=b"")
    tree = CompactRange.load(SHA256, head.size, head.tree)
    bodies = [entry_bytes(entry) for entry in made]
    leaves = [leaf_hash(body) for body in bodies]
    changed = tiles.grow(head.size, await transparency.edges(tx, year), leaves)
    tree.extend(leaves)
    commitments = [None if entry.c is None else unb64(entry.c, "SCHEMA_LINE") for entry in made]
    added = [(entry.rid, leaf, body) for entry, leaf, body in zip(made, commitments, bodies, strict=True)]
    await transparency.append(tx, replace(head, size=tree.size, tree=tree.dump()), added, changed)
    await transparency.put_states(
        tx,
        [
            State(
                record_id=entry.rid, place=Place(year, head.size + place), v=entry.v, op=entry.op,
                commitment=commitments[place], authority=entry.authority,
            )
            for place, entry in enumerate(made)
        ],
    )  # fmt: skip


# --- heads ------------------------------------------------------------------------------------------------------------


async def sign_heads(services: Services) -> list[SignedLog]:
    """Sign the head of every log that has grown, was not signed for a day, or by other keys; of past years what is not signed whole.

    Raises StoreError `log-broken` when a larger head was signed before, SettingsError when no key may sign; an alarm stands then.
    """
    try:
        due = [head.year for head in await transparency.heads(services.store.reads) if _due(services, head)]
        done = [await _sign(services, year) for year in due]
    except StoreError as error:
        if error.code == BROKEN:
            await alarms.raise_alarm(services, BROKEN, "log", {"place": error.place or ""})
        raise
    except SettingsError as error:
        await alarms.raise_alarm(services, UNSIGNED, "log", {"code": error.code})
        raise
    if done:
        for kind in (BROKEN, UNSIGNED):
            await alarms.clear_alarm(services, kind, "log", "gateway")
    return done


def _due(services: Services, head: Head) -> bool:
    if head.size != head.signed_size or head.signed_at is None or head.note is None:
        return True
    now = services.clock()
    origin = origin_of(services.settings.party, head.year)
    good = {signer.key_id for signer in signers_of(services, head.year)}
    if good and good != {line.key_id for line in notes.parse(head.note).lines if line.name == origin}:
        return True
    return head.year == year_of(now) and head.signed_at <= instant(now - AT_LEAST)


async def _sign(services: Services, year: int) -> SignedLog:
    origin, signers = origin_of(services.settings.party, year), signers_of(services, year)
    if not signers:
        raise SettingsError(f"there is no key of the log of {year} that is good now", code="key-missing", hint="chengxin key new log")
    async with services.store.transaction() as tx:
        head = await transparency.head(tx, year)
        if head is None:
            raise broken(origin)
        _check_beside(services, head)
        if head.size < head.signed_size:
            raise broken(f"{origin}#{head.size}")
        tree = CompactRange.load(SHA256, head.size, head.tree)
        note = notes.sign(Checkpoint(origin=origin, size=head.size, root=tree.root()).text, signers)
        since = None if policy_of(services).quorum is None else instant(tx.now)
        await transparency.sign(tx, year, head.size, note, unwitnessed_since=since)
    _keep_beside(services, year, note)
    return SignedLog(origin=origin, size=head.size)


def signers_of(services: Services, year: int) -> list[Signer]:
    """The keys of a year's log that may sign now, all of which do: whoever reads it may know of one of them only."""
    now, name = services.clock(), origin_of(services.settings.party, year)
    return [key.signer for key in services.signers.keys if key.use == "log" and key.signer.name == name and key.good(now)]


def vkeys_of(services: Services) -> list[str]:
    """The keys by which readers may believe our logs; a revoked one for as long only as its log has no other."""
    now = services.clock()
    ours = [key for key in services.signers.keys if key.use == "log"]
    kept = {key.signer.name for key in ours if not key.revoked(now)}
    return [key.signer.vkey for key in ours if not key.revoked(now) or key.signer.name not in kept]


def broken(place: str) -> StoreError:
    """What is stored is not what was signed."""
    return StoreError(
        "the transparency log is shorter than, or another than, the head that was signed",
        code=BROKEN,
        place=place,
        hint="was a backup restored? `chengxin verify log` names the difference; see gateway/README.md",
    )


def head_file(services: Services, year: int) -> Path:
    """Where the newest signed head of a year stands beside the database."""
    return services.settings.data_path / f"{HEAD_FILE}-{year}"


def _check_beside(services: Services, head: Head) -> None:
    """The head beside the database must be a beginning of the log.

    Raises StoreError `log-broken`.
    """
    try:
        note = head_file(services, head.year).read_text(encoding="utf-8")
        kept = notes.read_checkpoint(notes.parse(note).text)
    except FileNotFoundError:
        return
    except (OSError, ExchangeError, UnicodeDecodeError) as error:
        raise broken(str(head_file(services, head.year).name)) from error
    origin = origin_of(services.settings.party, head.year)
    signed = None if head.note is None else notes.read_checkpoint(notes.parse(head.note).text)
    if kept.size > head.signed_size or (signed is not None and kept.size == signed.size and kept.root != signed.root):
        raise broken(f"{origin}#{kept.size}")


def _keep_beside(services: Services, year: int, note: str) -> None:
    path = head_file(services, year)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    with suppress(OSError):  # the log itself stands; a full disk is told by everything else
        draft.write_text(note, encoding="utf-8")
        draft.replace(path)


# --- witnesses --------------------------------------------------------------------------------------------------------


def policy_of(services: Services) -> LogPolicy:
    """The witnesses of our log; none without a file.

    Raises SettingsError `log-policy` for a file that is none.
    """
    path = services.settings.log_policy_path
    try:
        return read_policy(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return LogPolicy()
    except (OSError, UnicodeDecodeError, ExchangeError) as error:
        place = getattr(error, "place", None)
        raise SettingsError(
            "the log policy cannot be read", code="log-policy", place=f"{path}: {place}" if place else str(path),
            hint="see c2sp.org/tlog-policy: log, witness, group and one quorum line",
        ) from error  # fmt: skip


async def have_witnessed(services: Services, ask: AskWitness) -> list[SignedLog]:
    """Ask every witness that has not signed the newest heads; alarm where a quorum is missing for an hour.

    Raises SettingsError `log-policy`, StoreError.
    """
    policy = policy_of(services)
    done: list[SignedLog] = []
    for head in await transparency.heads(services.store.reads):
        if head.note is None or not policy.witnesses:
            continue
        since = head.unwitnessed_since
        if since is None:
            if policy.witnessed(head.note) or head.year != year_of(services.clock()):
                continue
            since = instant(services.clock())  # the policy asks for more than when this head was signed; another may come tomorrow only
        names = await _ask_all(services, policy, replace(head, unwitnessed_since=since), ask)
        done.append(SignedLog(origin=origin_of(services.settings.party, head.year), size=head.signed_size, witnesses=tuple(sorted(names))))
        late = not policy.met(names) and since <= instant(services.clock() - PATIENCE)
        target = str(head.year)
        if late:
            await alarms.raise_alarm(services, UNWITNESSED, target, {"size": head.signed_size, "signed": sorted(names)})
        elif policy.met(names):
            await alarms.clear_alarm(services, UNWITNESSED, target, "gateway")
    return done


async def _ask_all(services: Services, policy: LogPolicy, head: Head, ask: AskWitness) -> frozenset[str]:
    note = head.note or ""
    signed = cosigned(note, policy.witnesses)
    waiting = [witness for witness in policy.witnesses if witness.name not in signed and witness.url is not None]
    for line in await asyncio.gather(*(_ask(services, witness, head, ask) for witness in waiting)):
        note += line or ""
    names = frozenset(cosigned(note, policy.witnesses))
    async with services.store.transaction() as tx:
        now = await transparency.head(tx, head.year)
        if now is not None and now.note == head.note:  # a newer head is asked for next time
            since = None if policy.met(names) else head.unwitnessed_since
            await transparency.put_note(tx, now, note, unwitnessed_since=since)
    return names


async def _ask(services: Services, witness: Witness, head: Head, ask: AskWitness) -> str | None:
    """The cosignature line of one witness; None when it gives none now."""
    url = f"{(witness.url or '').rstrip('/')}/add-checkpoint"
    old = 0
    text = notes.parse(head.note or "").text
    for _ in range(2):  # it tells the size that it holds when we guess wrongly
        proof = await consistency_proof(services.store.reads, head.year, old, head.signed_size)
        bare = (
            text
            + "\n"
            + "".join(
                f"— {line.name} {b64(line.key_id + line.signature)}\n"
                for line in notes.parse(head.note or "").lines
                if line.name == origin_of(services.settings.party, head.year)
            )
        )
        try:
            status, body = await ask(url, write_ask(old, proof, bare))
        except OSError:
            return None
        if status == 409 and body.strip().isdigit() and int(body) <= head.signed_size and int(body) != old:
            old = int(body)
            continue
        return _line_of(witness, text, body) if status == 200 else None
    return None


def _line_of(witness: Witness, text: str, body: bytes) -> str | None:
    """The good line of this witness among what it answered."""
    try:
        parsed = notes.parse(text + "\n" + body.decode())
    except (ExchangeError, UnicodeDecodeError):
        return None
    for line in parsed.lines:
        mine = (line.name, line.key_id) == (witness.verifier.name, witness.verifier.key_id)
        if mine and witness.verifier.verify(text.encode(), line.signature):
            return f"— {line.name} {b64(line.key_id + line.signature)}\n"
    return None


async def consistency_proof(source: Source, year: int, old: int, new: int) -> list[bytes]:
    """What shows that our log of `new` entries begins with the one of `old`.

    Raises ExchangeError SEQ_ROOT.
    """
    plan = tiles.plan_consistency(old, new)
    found = await transparency.tiles(source, year, tiles.needed(plan, new))
    return tiles.follow(plan, new, lambda name: found.get(name, b""))


async def inclusion_proof(source: Source, place: Place, size: int) -> list[bytes]:
    """What leads from an entry to the root of a head.

    Raises ExchangeError SEQ_ROOT.
    """
    plan = tiles.plan_inclusion(place.index, size)
    found = await transparency.tiles(source, place.year, tiles.needed(plan, size))
    return tiles.follow(plan, size, lambda name: found.get(name, b""))


class LogLine(Struct, frozen=True, kw_only=True):
    """The log of a year, as the office sees it."""

    origin: str
    size: int
    signed_size: int
    signed_at: str | None
    witnesses: tuple[str, ...]
    witnessed: bool
    """A quorum is asked for, and they make it."""


async def show_logs(services: Services) -> list[LogLine]:
    """The logs of all years.

    Raises SettingsError `log-policy`.
    """
    policy = policy_of(services)
    return [
        LogLine(
            origin=origin_of(services.settings.party, head.year), size=head.size, signed_size=head.signed_size, signed_at=head.signed_at,
            witnesses=() if head.note is None else tuple(sorted(cosigned(head.note, policy.witnesses))),
            witnessed=head.note is not None and policy.witnessed(head.note),
        )
        for head in await transparency.heads(services.store.reads)
    ]  # fmt: skip


async def settle_log(services: Services) -> int:
    """Enter everything without waiting for any moment, and sign where there is a key for the year (test mode). How many entries."""
    count = 0
    while (done := await enter(services, at_once=True)) is not None:
        count += done.entries
    year = origin_of(services.settings.party, year_of(services.clock()))
    if any(key.signer.name == year for key in services.signers.keys):
        await sign_heads(services)
    return count
