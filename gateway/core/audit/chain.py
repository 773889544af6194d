"""The chain of the audit trail: rows of one writer and one legal day, each hashed with the one before (policy.md §15).

Rules: a *partition* is what one writer wrote on one day, numbered from 1; the link of a row is SHA-256 over the link before and the
row as it is stored, ciphertext and all, so that shredding a key never breaks it; the first row follows a link that names its
partition, so that rows cannot move to another. The encoding is MessagePack of the columns in order: no two rows have the same bytes.
This room must not know what a row says.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

COLUMNS: Final = (
    "day", "writer", "n", "at", "kind", "actor", "act", "target", "org", "unit", "app", "credential", "purpose", "dataset", "plan_hash",
    "policy_version", "treatments", "row_count", "shape", "subjects", "case_ref", "detail",
)  # fmt: skip
"""What is hashed, in this order; a column that does not apply is null."""

_encode = msgspec.msgpack.Encoder().encode


class Partition(Struct, frozen=True, order=True):
    """What one writer wrote on one legal day."""

    day: str
    writer: str

    def __str__(self) -> str:
        return f"{self.day}/{self.writer}"


def first_link(partition: Partition) -> bytes:
    """What the first row of a partition is linked to."""
    return hashlib.sha256(f"chengxin-audit/1\n{partition.day}\n{partition.writer}\n".encode()).digest()


def link(before: bytes, row: Sequence[Any]) -> bytes:
    """The link of a row, given as the values of COLUMNS."""
    return hashlib.sha256(before + _encode(row)).digest()
