"""Verify the audit trail, of the store or of an exported folder: every row is there as it was written, and nothing else is.

Rules: the log is checked first, from its first entry to every signed head, then each partition of the days asked for against what the log
says of it. The first fault ends the work: its place and index are the answer. A folder is checked with what it holds and the keys of
the caller's choice: those of this gateway, or verifier keys that were given. This story must not mend anything.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from msgspec import Struct

from gateway.core.audit.chain import Partition
from gateway.core.audit.log import Entry, read_entry
from gateway.core.audit.verify import Fault, LogCheck, PartitionCheck, Standing, key_ring, read_kept
from gateway.core.errors import ExchangeError, SettingsError
from gateway.core.exchange.notes import Checkpoint, KeyRing, KnownKey
from gateway.core.signing import parse_vkey
from gateway.operations.audit_folder import Folder
from gateway.operations.keep_audit import head_path
from gateway.services import Services
from gateway.store import audit_log
from gateway.store.store import Source

NEVER = ""
ALWAYS = "9999-99-99"


class Verified(Struct, frozen=True, kw_only=True):
    """What was found."""

    ok: bool
    partitions: int
    rows: int
    entries: int
    checkpoints: int
    unsealed: int
    """Rows after the last checkpoint: nothing vouches for them yet."""
    fault: Fault | None = None


class _Work:
    """One verification as it goes."""

    def __init__(self, ring: KeyRing, known: Sequence[Checkpoint]) -> None:
        self.log = LogCheck(ring, known)
        self.partitions = self.rows = self.checkpoints = self.unsealed = 0

    def result(self, fault: Fault | None) -> Verified:
        return Verified(
            ok=fault is None,
            partitions=self.partitions,
            rows=self.rows,
            entries=self.log.size,
            checkpoints=self.checkpoints,
            unsealed=self.unsealed,
            fault=fault,
        )


def ring_of(party: str, vkeys: Sequence[str]) -> KeyRing:
    """The keys that a checkpoint may be signed with, from their verifier keys. Raises ExchangeError SIG_FORMAT."""
    return KeyRing.of(party, [KnownKey(verifier=parse_vkey(each), use="audit") for each in vkeys])


async def verify_store(
    services: Services,
    *,
    from_day: str = NEVER,
    to_day: str = ALWAYS,
    known_notes: Sequence[str] = (),
    source: Source | None = None,
) -> Verified:
    """The trail of this gateway's store.

    `known_notes` are checkpoints that somebody kept elsewhere, beside the one in the data directory.
    Raises SettingsError `audit-checkpoint` for one that is not of this gateway.
    """
    ring = key_ring(services.signers)
    notes = list(known_notes)
    if head_path(services).is_file():
        notes.append(head_path(services).read_text(encoding="utf-8"))
    work = _Work(ring, _known(notes, ring))
    source = services.store.reads if source is None else source
    fault = await _log(work, source)
    if fault is not None:
        return work.result(fault)
    for partition in await audit_log.partitions(source, from_day, to_day):
        entries = [entry for body in await audit_log.entries_of(source, partition) if (entry := read_entry(body)) is not None]
        check = PartitionCheck(partition, entries, work.log.last_at, await _said(services, source, partition))
        fault = await _partition(work, check, entries, audit_log.lines(source, partition))
        if fault is None:
            said = await _said(services, source, partition)
            fault = check.unsaid() if said is None else check.end(said)
        if fault is not None:
            break
    return work.result(fault)


async def _said(services: Services, source: Source, partition: Partition) -> Standing | None:
    """Where a partition is said to end at this moment."""
    found = await audit_log.standing_of(source, partition)
    return None if found is None else Standing(found.size, found.link, found.ours(services.store.vault))


def _known(notes: Sequence[str], ring: KeyRing) -> list[Checkpoint]:
    found = []
    for note in notes:
        try:
            found.append(read_kept(note, ring))
        except ExchangeError as error:
            raise SettingsError(
                "a checkpoint that was kept is none of this gateway's", code="audit-checkpoint", hint="give the note as it was published"
            ) from error
    return found


async def _log(work: _Work, source: Source) -> Fault | None:
    entries = audit_log.entries(source)
    async for row in audit_log.heads(source):
        found = work.log.head(row.head)
        if isinstance(found, Fault):
            return found
        work.checkpoints += 1
        while work.log.size < found.size and (item := await anext(entries, None)) is not None:
            index, filed, body = item
            entry = work.log.entry(index, body)
            if isinstance(entry, Fault):
                return entry
            if entry.partition != filed:
                return Fault(place="log", index=index, what="the entry is filed under another partition")
        if (fault := work.log.fits(found)) is not None:
            return fault
    if await anext(entries, None) is not None:
        return Fault(place="log", index=work.log.size, what="no checkpoint covers the entry")
    return work.log.end()


async def _partition(work: _Work, check: PartitionCheck, entries: Sequence[Entry], lines: "AsyncIterator[audit_log.Line]") -> Fault | None:
    work.partitions += 1
    count = 0
    async for row, link in lines:
        if (fault := check.row(row, link)) is not None:
            return fault
        count += 1
    work.rows += count
    work.unsealed += max(0, count - max((entry.size for entry in entries), default=0))
    return check.end()


async def verify_folder(
    path: Path, *, vkeys: Sequence[str] = (), from_day: str = NEVER, to_day: str = ALWAYS, known_notes: Sequence[str] = ()
) -> Verified:
    """An exported folder. Without verifier keys those are believed that stand in the folder itself.

    Raises SettingsError `audit-folder` when it is none.
    """
    folder = Folder.open(path)
    ring = ring_of(folder.about.party, vkeys or folder.about.keys)
    work = _Work(ring, _known(known_notes, ring))
    entries: dict[str, list[Entry]] = {}
    leaves = folder.leaves()
    for head in folder.heads():
        found = work.log.head(head)
        if isinstance(found, Fault):
            return work.result(found)
        work.checkpoints += 1
        while work.log.size < found.size and (item := next(leaves, None)) is not None:
            fault = _leaf(work, item, entries)
            if fault is not None:
                return work.result(fault)
        if (fault := work.log.fits(found)) is not None:
            return work.result(fault)
    if next(leaves, None) is not None:
        return work.result(Fault(place="log", index=work.log.size, what="no checkpoint covers the entry"))
    if (cut := work.log.end()) is not None:
        return work.result(cut)
    first, last = max(from_day, folder.about.from_day), min(to_day, folder.about.to_day)
    by_partition = folder.rows()
    for partition in sorted({*by_partition, *(each.partition for some in entries.values() for each in some)}):
        if not first <= partition.day <= last:
            continue
        own = entries.get(str(partition), [])
        fault = await _partition(work, PartitionCheck(partition, own, work.log.last_at), own, _as_async(by_partition.get(partition, ())))
        if fault is not None:
            return work.result(fault)
    return work.result(None)


def _leaf(work: _Work, item: bytes | tuple[int, bytes], entries: dict[str, list[Entry]]) -> Fault | None:
    if isinstance(item, bytes):
        return work.log.leaf(item)
    entry = work.log.entry(*item)
    if isinstance(entry, Fault):
        return entry
    entries.setdefault(str(entry.partition), []).append(entry)
    return None


async def _as_async(lines: Sequence[audit_log.Line]) -> "AsyncIterator[audit_log.Line]":
    for line in lines:
        yield line
