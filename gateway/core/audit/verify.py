"""Whether the audit trail is whole: every row, every entry of the log, every checkpoint, and nothing cut off (policy.md §15).

Rules:
- a checkpoint counts if its number is the next, its note is signed by a key of this gateway good for `audit`, its size is not smaller
  than the one before, and its root is that of the entries before it. Checkpoints that somebody kept elsewhere must fit too.
- a partition counts if its rows are numbered from 1 without a gap, each has the link that follows from the one before, and every
  seal has the size, root and last link of the rows. A retired partition has no rows left.
- rows after the last seal are young: written a minute before the last checkpoint at most. An older one was put in later.
- a partition ends where it is said to end (`Standing`): no row is missing there, none stands beyond, and the last has the link said.
Both checks read their rows once, in order, and stop at the first fault, which names place and index. This room must not read anything.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from msgspec import Struct

from gateway.core.audit import chain
from gateway.core.audit.chain import Partition
from gateway.core.audit.log import Entry, origin_of, read_entry
from gateway.core.errors import ExchangeError
from gateway.core.exchange.merkle import CompactRange, leaf_hash
from gateway.core.exchange.notes import Checkpoint, KeyRing, KnownKey, read_checkpoint, verify
from gateway.core.exchange.wire import b64
from gateway.core.signing import Signers, parse_vkey

YOUNG: Final = timedelta(minutes=1)
"""How long before a checkpoint a row may have been begun that it does not cover yet."""


class Fault(Struct, frozen=True, kw_only=True):
    """The first thing that is wrong."""

    place: str
    """`checkpoints`, `log`, or a partition as day/writer."""
    index: int
    """The number of the checkpoint, entry (from 0) or row at which the trail stops being whole."""
    what: str

    def __str__(self) -> str:
        return f"{self.place}#{self.index}: {self.what}"


class Standing(Struct, frozen=True):
    """Where a partition is said to end."""

    size: int
    link: bytes
    ours: bool
    """Whether its MAC shows that a process of ours wrote so."""


class SignedHead(Struct, frozen=True, kw_only=True):
    """A checkpoint as kept: its number, when it was made, its note."""

    number: int
    at: str
    note: str


def key_ring(signers: Signers) -> KeyRing:
    """Our own public keys: what the checkpoints of this gateway are verified with."""
    return KeyRing.of(
        signers.party,
        [
            KnownKey(
                verifier=parse_vkey(key.signer.vkey),
                use=key.use,
                not_before=key.not_before,
                not_after=key.not_after,
                revoked_at=key.revoked_at,
            )
            for key in signers.keys
            if key.use == "audit"
        ],
    )


def read_head(head: SignedHead, ring: KeyRing) -> Checkpoint:
    """What a checkpoint of this gateway says, if the key was good when it was made.

    Raises ExchangeError SIG_*, ValueError for a time that is none.
    """
    at = datetime.fromisoformat(head.at)
    return _of_this_log(verify(head.note, ring, use="audit", required=frozenset({"ed25519"}), first_seen=at, own_time=at), ring)


def read_kept(note: str, ring: KeyRing) -> Checkpoint:
    """What a note says that somebody kept elsewhere; its time is not known, so any key counts that was ever ours.

    Raises ExchangeError SIG_*.
    """
    ever = KeyRing.of(ring.party, [KnownKey(verifier=key.verifier, use=key.use) for key in ring.keys.values()])
    return _of_this_log(verify(note, ever, use="audit", required=frozenset({"ed25519"}), first_seen=datetime.max.replace(tzinfo=UTC)), ring)


def _of_this_log(text: str, ring: KeyRing) -> Checkpoint:
    found = read_checkpoint(text)
    if found.origin != origin_of(ring.party):
        raise ExchangeError("the checkpoint is of another log", code="SIG_CONTEXT")
    return found


class LogCheck:
    """Checks the log: give it every checkpoint in order, and when asked (`wanted`) the entries before it."""

    def __init__(self, ring: KeyRing, known: Sequence[Checkpoint] = ()) -> None:
        self._ring = ring
        self._known = sorted(known, key=lambda each: each.size)
        self._tree = CompactRange()
        self._number = 0
        self.last_at = ""

    @property
    def size(self) -> int:
        """Entries so far."""
        return self._tree.size

    def entry(self, index: int, body: bytes) -> Entry | Fault:
        """The next entry."""
        if index != self._tree.size:
            return Fault(place="log", index=self._tree.size, what="an entry is missing")
        found = read_entry(body)
        if found is None:
            return Fault(place="log", index=index, what="the entry is not as one is written")
        return self.leaf(leaf_hash(body)) or found

    def leaf(self, leaf: bytes) -> Fault | None:
        """The next entry, of which only the hash is at hand."""
        self._tree.append(leaf)
        while self._known and self._known[0].size <= self._tree.size:
            known = self._known.pop(0)
            if known.size < self._tree.size or known.root != self._tree.root():
                return Fault(place="log", index=self._tree.size - 1, what="the log does not lead to a checkpoint that was kept elsewhere")
        return None

    def head(self, head: SignedHead) -> Checkpoint | Fault:
        """What the next checkpoint says; the entries up to its size are to follow, then `fits`."""
        if head.number != self._number + 1:
            return Fault(place="checkpoints", index=self._number + 1, what="the checkpoint is missing")
        self._number = head.number
        try:
            found = read_head(head, self._ring)
        except (ExchangeError, ValueError):
            return Fault(place="checkpoints", index=head.number, what="the note is not ours, or altered")
        if found.size < self._tree.size or head.at < self.last_at:
            return Fault(place="checkpoints", index=head.number, what="the checkpoint goes back")
        self.last_at = head.at
        return found

    def fits(self, found: Checkpoint) -> Fault | None:
        """Whether the entries lead to this checkpoint."""
        if found.size != self._tree.size:
            return Fault(place="log", index=self._tree.size, what="an entry is missing: the checkpoint is longer than the log")
        if found.root != self._tree.root():
            return Fault(place="log", index=max(0, found.size - 1), what="an entry up to here was altered: the root differs")
        return None

    def end(self) -> Fault | None:
        """After the last checkpoint: whether something was cut off."""
        if self._known:
            return Fault(place="log", index=self._tree.size, what="cut off: a checkpoint kept elsewhere is longer")
        return None


class PartitionCheck:
    """Checks one partition: its entries of the log first, then its rows in order, then `end`.

    `said` is where it was said to end before its rows were read: a process may write on meanwhile.
    """

    def __init__(self, partition: Partition, entries: Sequence[Entry], last_at: str, said: Standing | None = None) -> None:
        self.partition = partition
        self._said = said
        self._seals = [entry for entry in entries if entry.op == "seal"]
        self._retired = any(entry.op == "retire" for entry in entries)
        self._sealed = self._seals[-1].size if self._seals else 0
        self._tree = CompactRange()
        self._link = chain.first_link(partition)
        self._young = (datetime.fromisoformat(last_at) - YOUNG) if last_at else None

    def _fault(self, index: int, what: str) -> Fault:
        return Fault(place=str(self.partition), index=index, what=what)

    def row(self, row: Sequence[Any], link: bytes) -> Fault | None:
        """The next row, as the values of COLUMNS, and the link beside it."""
        number = self._tree.size + 1
        if self._retired:
            return self._fault(number, "the partition was deleted, yet here is a row")
        if row[0] != self.partition.day or row[1] != self.partition.writer or row[2] != number:
            return self._fault(number, "the row is missing, or another stands in its place")
        self._link = chain.link(self._link, row)
        if self._link != link:
            return self._fault(number, "the row was altered: its link does not follow")
        if number > self._sealed and self._young is not None and datetime.fromisoformat(row[3]) < self._young:
            return self._fault(number, "the row is older than the last checkpoint, which does not cover it")
        if self._said is not None and number == self._said.size and link != self._said.link:
            return self._fault(number, "the row is not the one with which the partition is said to end")
        self._tree.append(leaf_hash(link))
        while self._seals and self._seals[0].size == number:
            sealed = self._seals.pop(0)
            if sealed.root != b64(self._tree.root()) or sealed.link != b64(link):
                return self._fault(number, "a row up to here was exchanged: the sealed root differs")
        return None

    def end(self, said: Standing | None = None) -> Fault | None:
        """After the last row; `said` is where the partition is said to end now."""
        if self._retired:
            return None
        count = self._tree.size
        if self._seals:
            return self._fault(count + 1, "rows are missing that were sealed")
        for each in (self._said, said):
            if each is not None and not each.ours:
                return self._fault(each.size, "who moved the end of the partition here had no key of ours")
        if self._said is not None and count < self._said.size:
            return self._fault(count + 1, "the row is missing: the partition is said to go on")
        if said is not None and (count > said.size or (count == said.size and self._link != said.link)):
            return self._fault(min(count, said.size + 1), "the partition is said to end otherwise")
        return None

    def unsaid(self) -> Fault | None:
        """Rows of a partition of which nobody says where it ends."""
        return self._fault(1, "nothing says where the partition ends") if self._tree.size and not self._retired else None
