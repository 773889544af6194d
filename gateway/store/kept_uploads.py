"""Files that came in with nobody's word for them, as they came: sealed, each with our note that we received it (exchange.md §14).

Rules: they stand beside what lines that sign nothing brought, under a name that no line can have. A file is kept once for its ingest. Its
bytes go when their time is over and with any erasure (nobody knows whom they name); of some files they are not kept at all; digest and note
stay. This room must not read a file.
"""

from datetime import datetime
from typing import Final

import sqlalchemy as sa

from gateway.core.exchange.notes import SignedDocument
from gateway.store import lines
from gateway.store.store import Source, Transaction, stamp
from gateway.store.tables import line_replies

PREFIX: Final = "upload."
"""No line has a full stop in its name."""
_c = line_replies.c
_KEPT = sa.select(_c.no).where(_c.line_id == sa.bindparam("line"), _c.about == sa.bindparam("of_ingest"))
_UPLOADS = (_c.line_id.like(f"{PREFIX}%"), _c.data.is_not(None))
_OLD = sa.select(_c.no).where(*_UPLOADS, _c.received_at <= sa.bindparam("before")).limit(1)


def name_of(dataset: str) -> str:
    """Under what name the files of a dataset stand."""
    return f"{PREFIX}{dataset}"[:63]


async def is_kept(source: Source, dataset: str, ingest: str) -> bool:
    """Whether the file of an ingest was kept once, its bytes or its note alone."""
    return await source.one(_KEPT, {"line": name_of(dataset), "of_ingest": ingest}) is not None


async def keep(tx: Transaction, dataset: str, ingest: str, no: int, data: bytes | None, received: SignedDocument, digest: str) -> None:
    """Keep a file as it came, with our note about it; without bytes the note alone."""
    await lines.keep_reply(tx, name_of(dataset), no, data, received, digest, about=ingest)


async def any_until(source: Source, before: datetime) -> bool:
    """Whether bytes are kept that came until a moment."""
    return await source.one(_OLD, {"before": stamp(before)}) is not None


async def drop_until(tx: Transaction, before: datetime) -> int:
    """Forget the bytes of every file that came until a moment; how many."""
    return await _drop(tx, _c.received_at <= stamp(before))


async def drop_of(tx: Transaction, dataset: str, ingest: str) -> int:
    """Forget the bytes of one file."""
    return await _drop(tx, _c.line_id == name_of(dataset), _c.about == ingest)


async def _drop(tx: Transaction, *which: sa.ColumnElement[bool]) -> int:
    result = await tx.execute(sa.update(line_replies).where(*_UPLOADS, *which).values(data=None))
    tx.shredded = tx.shredded or bool(result.rowcount)
    return int(result.rowcount)
