"""Receipts of queries, each sealed under a key that follows from its id.

Rules: the id is nowhere in the store, only its digest; so whoever holds the store, its backups and all its keys reads nothing of a
receipt until the holder shows the id. Past its last day a receipt is not found, and soon is not there. This room must not know what
is sealed.
"""

from hashlib import sha256
from typing import Final

import sqlalchemy as sa

from gateway.core.errors import StoreError
from gateway.store.store import Reads, Transaction
from gateway.store.suites import NONCE, open_under, seal_under
from gateway.store.tables import query_receipts

COLUMNS = ("receipt", "until", "sealed")
_LABEL: Final = "query-receipt"
_c = query_receipts.c
_FIND = sa.select(_c.sealed).where(_c.receipt == sa.bindparam("receipt"), _c.until >= sa.bindparam("today"))
_FORGET = sa.delete(query_receipts).where(_c.until < sa.bindparam("today"))


def _digest(receipt_id: str) -> str:
    return sha256(f"{_LABEL}\0{receipt_id}".encode()).hexdigest()


def _place(receipt_id: str) -> bytes:
    return _digest(receipt_id).encode()


async def add(tx: Transaction, receipt_id: str, body: bytes, *, until: str, suite: int) -> None:
    """Keep a receipt until the end of a day. Its key serves once, so one nonce is enough."""
    sealed = seal_under(receipt_id.encode(), _LABEL, _place(receipt_id), body, nonce=bytes(NONCE), suite=suite)
    await tx.insert(query_receipts, COLUMNS, [(_digest(receipt_id), until, sealed)])


async def find(source: Reads, receipt_id: str, *, today: str) -> bytes | None:
    """What was kept under an id; None for one that never was, and for one whose time is over: one statement.

    Raises StoreError value-altered.
    """
    row = await source.one(_FIND, {"receipt": _digest(receipt_id), "today": today})
    if row is None:
        return None
    body = open_under(receipt_id.encode(), _LABEL, _place(receipt_id), bytes(row.sealed))
    if body is None:
        raise StoreError("a stored receipt was changed", code="value-altered")
    return body


async def forget(tx: Transaction, *, today: str) -> None:
    """Delete the receipts whose last day is over."""
    await tx.execute(_FORGET, {"today": today})
