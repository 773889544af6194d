"""Words that outlive the process: how far a story has come that looks at everything once, a stretch at a time.

Rules: a word is kept in the transaction of what it tells of. This room must not know what the words mean.
"""

from typing import Final

import sqlalchemy as sa

from gateway.store.reads import Reads
from gateway.store.store import Transaction
from gateway.store.tables import meta

_KEPT: Final = sa.select(meta.c.value).where(meta.c.name == sa.bindparam("name"))
_KEEP: Final = sa.text("INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value")


async def place(source: Reads | Transaction, name: str) -> str | None:
    """The word that is kept under a name. Raises StoreError."""
    row = await source.one(_KEPT, {"name": name})
    return None if row is None else str(row.value)


async def keep_place(tx: Transaction, name: str, word: str) -> None:
    """Keep a word under a name in place of the one before. Raises StoreError."""
    await tx.execute(_KEEP, {"name": name, "value": word})
