"""What became of each file that was ingested: where to go on after a crash, and the receipt so far.

Rules: the same file under the same statement is one ingest; its cursor and receipt move in the transaction that stored the chunk, so
they never say more or less than what is stored. File name and officer may name a person: they stand as ciphertext.
This room must not know what a receipt says.
"""

from datetime import datetime

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import replace

from gateway.core.errors import StoreError
from gateway.store.reads import Reads, Row
from gateway.store.store import Transaction, moment, new_id
from gateway.store.tables import ingests
from gateway.store.vault import Vault, dek_id_of

SCOPE = "house:ingests"
VOUCHED = "vouched"


class Ingest(Struct, frozen=True, kw_only=True):
    """One file's way into the store."""

    ingest_id: str
    dataset: str
    file_sha256: str
    authority: str | None
    cursor: str | None
    """Of the adapter: everything up to it is stored. None: nothing yet."""
    receipt: bytes
    done: bool
    started_at: datetime
    finished_at: datetime | None


class About(Struct, frozen=True, kw_only=True):
    """What may name a person."""

    file_name: str
    officer: str | None = None


_FIND = sa.select(ingests).where(
    ingests.c.dataset == sa.bindparam("of_dataset"),
    ingests.c.file_sha256 == sa.bindparam("sha256"),
    ingests.c.statement == sa.bindparam("stated"),
)
_BY_ID = sa.select(ingests).where(ingests.c.ingest_id == sa.bindparam("of_ingest"))
_LATEST = sa.select(ingests).order_by(ingests.c.started_at.desc(), ingests.c.ingest_id).limit(sa.bindparam("n", type_=sa.Integer))
_encoder = msgspec.json.Encoder()
_about = msgspec.json.Decoder(About)


def statement_of(vault: Vault, authority: str | None, officer: str | None) -> str:
    """Under whose word a file comes in: a keyed digest of authority and officer (none where nobody confirmed it), or `vouched`."""
    if authority is None:
        return VOUCHED
    return vault.digest("ingest-statement", f"{authority}\x1f{officer or ''}".encode()).hex()


async def find(source: Reads | Transaction, *, dataset: str, file_sha256: str, statement: str) -> Ingest | None:
    """The ingest of this file under this statement, running or done."""
    row = await source.one(_FIND, {"of_dataset": dataset, "sha256": file_sha256, "stated": statement})
    return None if row is None else ingest_of(row)


async def latest(source: Reads | Transaction, limit: int = 50) -> list[Ingest]:
    """The newest ingests first."""
    return [ingest_of(row) for row in await source.all(_LATEST, {"n": limit})]


async def start(
    tx: Transaction, *, dataset: str, file_sha256: str, file_name: str, authority: str | None, officer: str | None, receipt: bytes = b"{}"
) -> Ingest:
    """Begin the ingest of a file, or find the one there is."""
    vault = tx.vault
    statement = statement_of(vault, authority, officer)
    known = await find(tx, dataset=dataset, file_sha256=file_sha256, statement=statement)
    if known is not None:
        return known
    ingest_id = new_id("ing_", tx.store.random)
    dek = await vault.dek(tx, SCOPE, create=True)
    about = vault.seal(dek, "ingests", "about", ingest_id, _encoder.encode(About(file_name=file_name, officer=officer)))
    await tx.execute(
        sa.insert(ingests).values(
            ingest_id=ingest_id,
            dataset=dataset,
            file_sha256=file_sha256,
            statement=statement,
            authority=authority,
            about=about,
            cursor=None,
            receipt=receipt,
            state="running",
            started_at=tx.now_text,
            finished_at=None,
        )
    )
    return Ingest(
        ingest_id=ingest_id,
        dataset=dataset,
        file_sha256=file_sha256,
        authority=authority,
        cursor=None,
        receipt=receipt,
        done=False,
        started_at=tx.now,
        finished_at=None,
    )


async def advance(tx: Transaction, ingest_id: str, *, cursor: str, receipt: bytes, expected: str | None) -> None:
    """Move on after a chunk, in the chunk's transaction; `expected` is the cursor before it.

    Raises StoreError `ingest-moved` when another process works on the same file.
    """
    await _put(tx, ingest_id, expected, cursor=cursor, receipt=receipt)


async def finish(tx: Transaction, ingest_id: str, *, receipt: bytes, expected: str | None) -> None:
    """The file is through: its receipt is final.

    Raises StoreError `ingest-moved` when another process works on the same file.
    """
    await _put(tx, ingest_id, expected, receipt=receipt, state="done", finished_at=tx.now_text)


async def reopen(tx: Transaction, ingest_id: str, *, receipt: bytes) -> Ingest:
    """Begin a finished ingest anew, for when its rows must be judged again under other rules.

    Raises StoreError `ingest-moved` when it is not finished.
    """
    row = await tx.one(_BY_ID, {"of_ingest": ingest_id})
    if row is None or row.state != "done":
        raise StoreError(
            "this file is being ingested by another process", code="ingest-moved", place=ingest_id, hint="start the command again"
        )
    values = {"cursor": None, "receipt": receipt, "state": "running", "started_at": tx.now_text, "finished_at": None}
    await tx.execute(sa.update(ingests).where(ingests.c.ingest_id == ingest_id).values(**values))
    return replace(ingest_of(row), cursor=None, receipt=receipt, done=False, started_at=tx.now, finished_at=None)


async def about(source: Reads | Transaction, ingest_id: str) -> About:
    """File name and officer of an ingest, for whoever may see them.

    Raises StoreError `ingest-unknown`.
    """
    row = await source.one(_BY_ID, {"of_ingest": ingest_id})
    if row is None:
        raise StoreError("there is no such ingest", code="ingest-unknown", place=ingest_id)
    vault = source.vault
    dek_id = dek_id_of(row.about)
    dek = (await vault.deks_by_id(source, (dek_id,))).get(dek_id)
    if dek is None:
        raise StoreError("the key of the ingest log is missing", code="key-missing", place=ingest_id)
    return _about.decode(vault.open(dek, "ingests", "about", ingest_id, row.about))


async def _put(tx: Transaction, ingest_id: str, expected: str | None, **values: object) -> None:
    row = await tx.one(_BY_ID, {"of_ingest": ingest_id})
    if row is None or row.state != "running" or row.cursor != expected:
        raise StoreError(
            "this file is being ingested by another process, or is through already",
            code="ingest-moved",
            place=ingest_id,
            hint="start the command again: it goes on where the other one stands",
        )
    await tx.execute(sa.update(ingests).where(ingests.c.ingest_id == ingest_id).values(**values))


def ingest_of(row: Row) -> Ingest:
    """A row of the table as an ingest."""
    return Ingest(
        ingest_id=row.ingest_id,
        dataset=row.dataset,
        file_sha256=row.file_sha256,
        authority=row.authority,
        cursor=row.cursor,
        receipt=row.receipt,
        done=row.state == "done",
        started_at=moment(row.started_at),
        finished_at=None if row.finished_at is None else moment(row.finished_at),
    )
