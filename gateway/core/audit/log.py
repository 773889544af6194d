"""The log above the chains: what was sealed when, in one append-only tree with signed heads (policy.md §15).

Rules: the leaves of a partition's tree are the links of its rows (RFC 6962); an *entry* of the log says how far a partition had come
(`seal`) or that it was deleted whole when its time was over (`retire`), with size, root and last link. The log itself is a tree over
its entries; its head is a checkpoint signed with the key use `audit` under the origin party/audit. So one note of some 200 bytes
vouches for every row before it, and a copy of it kept elsewhere shows whether anything was cut off or exchanged.
This room must not read or write anything.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from gateway.core.audit.chain import Partition
from gateway.core.exchange.merkle import CompactRange, leaf_hash
from gateway.core.exchange.notes import Checkpoint, sign
from gateway.core.exchange.wire import b64
from gateway.core.signing import Signer

ROWS_A_CHECKPOINT: Final = 1000
"""So many rows make a checkpoint before its time."""

Root = Annotated[str, Meta(pattern="^[A-Za-z0-9+/]{43}=$")]


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the log: how far a partition had come."""

    op: Literal["seal", "retire"]
    at: str
    day: str
    writer: str
    size: Annotated[int, Meta(ge=1)]
    root: Root
    link: Root
    """The link of its last row."""

    @property
    def partition(self) -> Partition:
        """What it is about."""
        return Partition(self.day, self.writer)


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(Entry).decode


def entry_bytes(entry: Entry) -> bytes:
    """An entry as it is hashed and kept."""
    return _encode(entry)


def read_entry(body: bytes) -> Entry | None:
    """An entry out of its bytes; None when they are not exactly what one is written as."""
    try:
        entry = _decode(body)
    except msgspec.MsgspecError:
        return None
    return entry if _encode(entry) == body else None


def origin_of(party: str) -> str:
    """The name of a gateway's audit log."""
    return f"{party}/audit"


def tree_of(size: int, data: bytes) -> CompactRange:
    """A tree as kept: its size and right edge."""
    return CompactRange.load(CompactRange().suite, size, data)


def append(tree: CompactRange, links: list[bytes]) -> None:
    """The rows with these links, at the right of their partition's tree."""
    tree.extend(map(leaf_hash, links))


def seal(tree: CompactRange, partition: Partition, link: bytes, at: str) -> Entry:
    """How far a partition has come."""
    return Entry(op="seal", at=at, day=partition.day, writer=partition.writer, size=tree.size, root=b64(tree.root()), link=b64(link))


def retired(last: Entry, at: str) -> Entry:
    """That a partition was deleted whole; its last seal says what it was."""
    return replace(last, op="retire", at=at)


def signed_head(party: str, tree: CompactRange, signer: Signer) -> str:
    """The checkpoint of the log, as a signed note."""
    return sign(Checkpoint(origin=origin_of(party), size=tree.size, root=tree.root()).text, [signer])
