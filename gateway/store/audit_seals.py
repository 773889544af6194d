"""Seals and checkpoints: what was written to the trail, put under a signed head of its log (policy.md §15).

Rules:
- a checkpoint goes on only from what was signed, and only over what this process knows to have been written: a head that it signed or
  found beside the database, and each end of a partition that it committed, must still be there. A shortened trail is never signed.
- an act of an administrator is sealed in its own transaction: it is never there without the checkpoint that covers it. If the trail is not
  what was signed, the act stands (an emergency closure must be possible), unsealed, and an alarm with it.
- entries, seals and the checkpoint are one transaction, under the writer's turn: two processes never sign two heads of one size.
- the newest head also stands as a file in the data directory: who can only change the database cannot cut the log unseen.
This room must not read what the rows say.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from gateway.core.audit import log
from gateway.core.audit.chain import Partition
from gateway.core.audit.verify import SignedHead, key_ring, read_head, read_kept
from gateway.core.errors import ExchangeError, GatewayError, StoreError
from gateway.core.exchange.merkle import CompactRange, leaf_hash
from gateway.core.exchange.notes import Checkpoint
from gateway.core.exchange.wire import b64
from gateway.core.signing import Signer, Signers
from gateway.store import alarms, audit_log
from gateway.store.audit_log import HeadRow, Standing
from gateway.store.reads import Reads
from gateway.store.store import Store, Transaction

BROKEN = "audit-broken"
UNSEALED = "audit-unsealed"
TRAIL = "audit"
"""Target of both alarms."""

End = tuple[int, bytes]
"""Number and link of the row at which a transaction left a partition."""


class Sealed(Struct, frozen=True, kw_only=True):
    """What a round came to."""

    partitions: int
    rows: int
    size: int
    number: int


class Sealer:
    """Seals for one process, and remembers what it knows to have been written."""

    def __init__(self, signers: Signers, head_file: Path) -> None:
        self.head_file = head_file
        self._signers = signers
        self._note = ""
        self._known: Checkpoint | None = None
        """The newest head that this process signed or found to go on from."""
        self._ends: dict[Partition, set[End]] = {}
        """Ends that this process committed and no checkpoint covers yet, as far as it knows."""

    # --- when a transaction ends ----------------------------------------------------------------------------------------

    async def before_commit(self, tx: Transaction) -> None:
        """Seal the acts of an administrator, and everything before them: a checkpoint covers all that is older."""
        if not tx.at_once:
            return
        ends = self._written()
        try:
            await self._seal(tx, await audit_log.standings(tx, unsealed=True), ends)
        except StoreError as error:
            if error.code != BROKEN:
                raise
            await alarms.sound(tx, BROKEN, TRAIL, {"place": error.place or ""})
        except GatewayError as error:  # no key of ours is good today
            await alarms.sound(tx, UNSEALED, TRAIL, {"code": error.code})

    def after_commit(self, tx: Transaction) -> None:
        """Remember what now stands."""
        for partition, (before, after) in tx.audited.items():
            ends = self._ends.setdefault(partition, set())
            ends.discard(before)
            ends.add(after)
        if tx.head is not None:
            self._committed(tx.head, tx.sealed)

    def _committed(self, head: HeadRow, sealed: Mapping[Partition, int]) -> None:
        for partition, size in sealed.items():
            left = {end for end in self._ends.get(partition, ()) if end[0] > size}
            if left:
                self._ends[partition] = left
            else:
                self._ends.pop(partition, None)
        self._note, self._known = head.head.note, read_head(head.head, key_ring(self._signers))
        self._keep()

    def _keep(self) -> None:
        """The newest head beside the database; whole or not at all."""
        draft = self.head_file.with_name(f"{self.head_file.name}.{os.getpid()}.part")
        with suppress(OSError):  # the log itself stands; a full disk is told by everything else
            there = self._beside()
            if there is not None and self._known is not None and there.size > self._known.size:
                return  # another process was faster
            draft.write_text(self._note, encoding="utf-8")
            draft.replace(self.head_file)

    def _beside(self) -> Checkpoint | None:
        """What the head says that stands beside the database; None for none, or one that no key of ours vouches for."""
        try:
            note = self.head_file.read_text(encoding="utf-8")
            return self._known if note == self._note else read_kept(note, key_ring(self._signers))
        except (OSError, ExchangeError, UnicodeDecodeError):
            return None

    @property
    def owes(self) -> bool:
        """Whether this process wrote something that no checkpoint covers yet."""
        return bool(self._ends)

    # --- a round ----------------------------------------------------------------------------------------------------------

    async def idle(self, reads: Reads) -> bool:
        """Whether nothing was written since the last checkpoint, and the newest is the one that this process knows."""
        if self._ends or await audit_log.standings(reads, unsealed=True):
            return False
        newest = await audit_log.newest(reads)
        return (newest[0].head.note if newest else "") == self._note

    async def seal(self, tx: Transaction) -> Sealed | None:
        """Seal every partition that has grown, under a new head; None when none has.

        Raises StoreError `audit-broken` when what is stored is not what was signed, or lacks what this process wrote.
        """
        ends = self._written()
        grown = await audit_log.standings(tx, unsealed=True)
        for partition in sorted(ends.keys() - {each.partition for each in grown}):
            await self._check_sealed(tx, partition, ends[partition])
        done = await self._seal(tx, grown, ends)
        await alarms.clear(tx, BROKEN, TRAIL, "gateway")
        await alarms.clear(tx, UNSEALED, TRAIL, "gateway")
        return done

    def _written(self) -> dict[Partition, frozenset[End]]:
        """What must be there in whatever is read from now on; beside a round this process writes on."""
        return {partition: frozenset(ends) for partition, ends in self._ends.items()}

    async def _check_sealed(self, tx: Transaction, partition: Partition, ends: frozenset[End]) -> None:
        """What this process wrote was sealed by another."""
        standing = await audit_log.standing_of(tx, partition)
        if standing is None or max(ends)[0] > standing.sealed:
            raise broken(f"{partition}#{1 if standing is None else standing.size + 1}")
        if not standing.retired:
            await self._check_ends(tx, standing, ends, {})
        self._ends[partition] -= ends
        if not self._ends[partition]:
            del self._ends[partition]

    async def _check_ends(self, tx: Transaction, standing: Standing, ends: frozenset[End], links: Mapping[int, bytes]) -> None:
        for number, link in sorted(ends):
            if number > standing.size:
                raise broken(f"{standing.partition}#{standing.size + 1}")
            found = links.get(number)
            if found is None and number <= standing.sealed:
                found = await audit_log.link_at(tx, standing.partition, number)
            if found != link:
                raise broken(f"{standing.partition}#{number}")

    async def _seal(self, tx: Transaction, grown: Sequence[Standing], ends: Mapping[Partition, frozenset[End]]) -> Sealed | None:
        last = await self.last(tx)
        if not grown:
            return None
        signer = self._signers.signing("audit", tx.now)  # before anything is written: without a key nothing is
        made: list[tuple[Partition, bytes]] = []
        sealed: dict[Partition, int] = {}
        rows = 0
        for standing in grown:
            entry, count = await self._seal_partition(tx, standing, ends.get(standing.partition, frozenset()))
            made.append((standing.partition, log.entry_bytes(entry)))
            sealed[standing.partition] = entry.size
            rows += count
        head = await self.sign(tx, made, last, signer)
        tx.sealed = sealed
        return Sealed(partitions=len(made), rows=rows, size=head.size, number=head.head.number)

    async def last(self, tx: Transaction) -> HeadRow | None:
        """The checkpoint to go on from, once it was found to be ours, and to follow from every one that this process knows.

        Raises StoreError `audit-broken`.
        """
        found = await audit_log.newest(tx)
        last = found[0] if found else None
        said = None if last is None else self._said(last)
        for kept in (self._known, self._beside()):
            if kept is None:
                continue
            if said is None or kept.size > said.size:
                raise broken(f"log#{0 if said is None else said.size}")
            note = await audit_log.note_of_size(tx, kept.size) if kept.size < said.size else None
            there = said if kept.size == said.size else None if note is None else self._read(note)
            if there is None or there.root != kept.root:
                raise broken(f"log#{kept.size - 1}")
        if last is not None and tx.head is None:  # one that this transaction made may yet be undone
            self._note, self._known = last.head.note, said
        return last

    def _said(self, last: HeadRow) -> Checkpoint:
        try:
            said = read_head(last.head, key_ring(self._signers))
            whole = said.size == last.size and said.root == log.tree_of(last.size, last.tree).root()
        except (ExchangeError, ValueError):
            whole = False
        if not whole:
            raise broken(f"checkpoint#{last.head.number}")
        return said

    def _read(self, note: str) -> Checkpoint | None:
        try:
            return read_kept(note, key_ring(self._signers))
        except ExchangeError:
            return None

    async def _seal_partition(self, tx: Transaction, standing: Standing, ends: frozenset[End]) -> tuple[log.Entry, int]:
        """How far a partition has come, once its sealed part was found to be what the log says, and its end to be written by us."""
        partition = standing.partition
        body = await audit_log.last_entry(tx, partition)
        before = None if body is None else log.read_entry(body)
        try:
            tree = log.tree_of(standing.sealed, standing.tree)
        except ExchangeError:
            raise broken(f"{partition}#{standing.sealed}") from None
        if (before is None) != (standing.sealed == 0) or standing.retired:
            raise broken(f"{partition}#{standing.sealed}")
        if before is not None and (before.size, before.root) != (tree.size, b64(tree.root())):
            raise broken(f"{partition}#{standing.sealed}")
        found = await audit_log.links_after(tx, partition, standing.sealed, standing.size)
        expected = range(standing.sealed + 1, standing.size + 1)
        if [number for number, _ in found] != list(expected):
            there = {number for number, _ in found}
            raise broken(f"{partition}#{next((each for each in expected if each not in there), standing.sealed + 1)}")
        if found[-1][1] != standing.link or not standing.ours(tx.vault):
            raise broken(f"{partition}#{standing.size}")
        await self._check_ends(tx, standing, ends, dict(found))
        log.append(tree, [link for _, link in found])
        await audit_log.mark_sealed(tx, partition, tree.size, tree.dump())
        return log.seal(tree, partition, found[-1][1], tx.now_text), len(found)

    async def sign(
        self, tx: Transaction, made: Sequence[tuple[Partition, bytes]], last: HeadRow | None, signer: Signer | None = None
    ) -> HeadRow:
        """Entries of the log, and the head over all of them."""
        signer = signer or self._signers.signing("audit", tx.now)
        tree = log.tree_of(last.size, last.tree) if last is not None else CompactRange()
        first = tree.size
        tree.extend(leaf_hash(body) for _, body in made)
        number = 1 if last is None else last.head.number + 1
        note = log.signed_head(self._signers.party, tree, signer)
        at = tx.now_text if last is None else max(tx.now_text, last.head.at)  # clocks of several machines are not one
        head = HeadRow(head=SignedHead(number=number, at=at, note=note), size=tree.size, tree=tree.dump())
        await audit_log.add(tx, first, made, head)
        tx.head = head
        return head


def watch(store: Store, signers: Signers, head_file: Path) -> Sealer:
    """From now on the transactions of this store are sealed as they need it."""
    sealer = Sealer(signers, head_file)
    store.watch = sealer
    return sealer


def broken(place: str) -> StoreError:
    """The trail is not what was signed, or written."""
    return StoreError(
        "the audit trail is not what was signed; no checkpoint is made over it",
        code=BROKEN,
        place=place,
        hint="`chengxin verify audit` names the first bad row; keep a copy of the database before anything else",
    )
