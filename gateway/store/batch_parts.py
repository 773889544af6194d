"""What inbox and outbox have in common: parts of batches, encrypted under a data key of their stream.

This room must not know which way a batch goes.
"""

from gateway.core.errors import StoreError
from gateway.store.reads import Row
from gateway.store.store import Source
from gateway.store.vault import dek_id_of


def scope_of(stream: str) -> str:
    """The scope of a stream's data key."""
    return f"exchange:{stream}"


async def open_part(source: Source, table: str, stream: str, row: Row) -> bytes:
    """The bytes of a stored part.

    Raises StoreError `key-missing` once its data key is destroyed.
    """
    dek_id = dek_id_of(row.data)
    dek = (await source.vault.deks_by_id(source, (dek_id,))).get(dek_id)
    if dek is None:
        raise StoreError("the data key of a part is gone", code="key-missing", place=f"{table}:{stream}/{row.name}")
    return source.vault.open(dek, table, "data", f"{stream}/{row.name}", row.data)
