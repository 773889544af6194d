"""Exchanging keys, step by step, each step one transaction, so that whatever is cut off goes on where it stood (policy.md §11).

Rules:
- the key-encryption key: the old one is wrapped under the new one, then data keys are wrapped anew, a page at a time; from the first step
  on the new file alone reads everything.
- a data key that was renewed reads on and writes no more; values are sealed anew, a page at a time, and a retired key goes when nothing
  names it. Rows of the audit trail are never sealed anew: the chain runs over them.
This room must not decide when.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.core.errors import StoreError
from gateway.store.dialects import among
from gateway.store.sealing import TABLE
from gateway.store.store import KEYS_CHANGED, Row, Transaction
from gateway.store.tables import (
    audit,
    deks,
    in_parts,
    ingests,
    key_roots,
    line_replies,
    line_rows,
    meta,
    out_parts,
    record_versions,
    records,
    text_decisions,
)
from gateway.store.texts import TEXTS
from gateway.store.vault import dek_id_of, pack, suite_of, unpack

_JOB: Final = "reencrypt"


class Place(Struct, frozen=True, kw_only=True):
    """A column that holds ciphertexts."""

    table: sa.Table
    keys: tuple[str, ...]
    column: str
    bound: Callable[[Row], tuple[str, str, str]]
    """(table, field, id) to which a value is bound; the field of a packed column is its name in the pack."""
    packed: bool = False


PLACES: Final = (
    Place(table=records, keys=("record_id",), column="secret", packed=True, bound=lambda row: (TABLE, "", row.record_id)),
    Place(table=record_versions, keys=("record_id", "version"), column="secret", packed=True, bound=lambda row: (TABLE, "", row.record_id)),
    Place(table=ingests, keys=("ingest_id",), column="about", bound=lambda row: ("ingests", "about", row.ingest_id)),
    Place(
        table=out_parts,
        keys=("stream", "epoch", "name"),
        column="data",
        bound=lambda row: ("out_parts", "data", f"{row.stream}/{row.name}"),
    ),
    Place(
        table=text_decisions,
        keys=("record_id", "field", "candidate"),
        column="reason",
        bound=lambda row: ("text_decisions", "reason", f"{row.record_id}/{row.field}/{row.candidate}"),
    ),
    Place(
        table=in_parts,
        keys=("sender", "stream", "epoch", "name"),
        column="data",
        bound=lambda row: ("in_parts", "data", f"{row.stream}/{row.name}"),
    ),
    Place(
        table=line_rows,
        keys=("stream", "record_id", "v"),
        column="said",
        bound=lambda row: ("line_rows", "said", f"{row.stream}/{row.record_id}/{row.v}"),
    ),
    Place(table=line_replies, keys=("line_id", "no"), column="data", bound=lambda row: ("line_replies", "data", f"{row.line_id}/{row.no}")),
    Place(table=records, keys=("record_id",), column="sealed_texts", packed=True, bound=lambda row: (TEXTS, "", row.record_id)),
    Place(
        table=record_versions,
        keys=("record_id", "version"),
        column="sealed_texts",
        packed=True,
        bound=lambda row: (TEXTS, "", row.record_id),
    ),
    Place(
        table=text_decisions,
        keys=("record_id", "field", "candidate"),
        column="result",
        bound=lambda row: ("text_decisions", "result", f"{row.record_id}/{row.field}/{row.candidate}"),
    ),
)


async def changed(tx: Transaction) -> None:
    """Every process reads the key tables again."""
    await tx.number(KEYS_CHANGED)


async def _put_meta(tx: Transaction, name: str, value: str | None) -> None:
    await tx.execute(sa.delete(meta).where(meta.c.name == name))
    if value is not None:
        await tx.execute(sa.insert(meta).values(name=name, value=value))


# --- the key-encryption key -------------------------------------------------------------------------------------------


async def begin_kek(tx: Transaction, new_kek: bytes) -> int:
    """The store is from now on under a new key-encryption key; its version. Its file must be on the disk already."""
    ring = tx.vault.ring
    roots = ring.wrap_roots(new_kek, os.urandom)
    await tx.execute(sa.delete(key_roots))
    await tx.insert(key_roots, ("version", "kek_version", "wrapped"), [(each.version, each.kek_version, each.wrapped) for each in roots])
    await _put_meta(tx, "key_check", ring.check_of(new_kek))
    await _put_meta(tx, "kek_version", str(ring.version + 1))
    await changed(tx)
    return ring.version + 1


async def left_to_rewrap(tx: Transaction) -> int:
    """How many data keys are still wrapped under an older key-encryption key."""
    row = await tx.one(sa.select(sa.func.count().label("n")).select_from(deks).where(deks.c.key_version < tx.vault.version))
    return 0 if row is None else int(row.n)


async def rewrap(tx: Transaction, limit: int) -> int:
    """Wrap some data keys anew; how many."""
    rows = await tx.all(sa.select(deks).where(deks.c.key_version < tx.vault.version).order_by(deks.c.dek_id).limit(limit))
    vault = tx.vault
    await tx.update(deks, ("key_version", "wrapped"), "dek_id", [(vault.version, vault.rewrap(row), row.dek_id) for row in rows])
    return len(rows)


# --- data keys --------------------------------------------------------------------------------------------------------


async def retire_deks(tx: Transaction, prefix: str) -> int:
    """Data keys of these scopes write no more; how many."""
    done = await tx.execute(
        sa.update(deks).where(deks.c.scope.startswith(prefix, autoescape=True), deks.c.retired.is_(False)).values(retired=True)
    )
    await changed(tx)
    return int(done.rowcount)


async def reencrypt(tx: Transaction, limit: int) -> tuple[int, bool]:
    """Seal some values anew that stand under a retired key or another suite: (values, whether everything was looked at)."""
    row = await tx.one(sa.select(meta.c.value).where(meta.c.name == _JOB))
    at, after = (0, None) if row is None else msgspec.json.decode(row.value, type=tuple[int, list[Any] | None])
    if at >= len(PLACES):
        await _put_meta(tx, _JOB, None)
        return 0, True
    place = PLACES[at]
    found = await _page(tx, place, after, limit)
    count = await _seal_anew(tx, place, found)
    next_at: tuple[int, list[Any] | None] = (at, [getattr(found[-1], key) for key in place.keys]) if len(found) == limit else (at + 1, None)
    await _put_meta(tx, _JOB, msgspec.json.encode(next_at).decode())
    return count, False


async def _page(tx: Transaction, place: Place, after: Sequence[Any] | None, limit: int) -> list[Row]:
    columns = [place.table.c[key] for key in place.keys]
    statement = (
        sa.select(*columns, place.table.c[place.column]).where(place.table.c[place.column].is_not(None)).order_by(*columns).limit(limit)
    )
    if after is not None:
        statement = statement.where(sa.tuple_(*columns) > sa.tuple_(*map(sa.literal, after)))
    return await tx.all(statement)


async def _seal_anew(tx: Transaction, place: Place, rows: Sequence[Row]) -> int:
    vault = tx.vault
    held = [(row, unpack(bytes(getattr(row, place.column))) if place.packed else {"": bytes(getattr(row, place.column))}) for row in rows]
    ids = {dek_id_of(sealed) for _, each in held for sealed in each.values()}
    standing = {row.dek_id: row for row in await tx.all(sa.select(deks).where(among(deks.c.dek_id, "ids")), {"ids": list(ids)})}
    old = await vault.deks_by_id(tx, ids)
    stale = {dek_id for dek_id, row in standing.items() if row.retired}
    wanted = {
        standing[dek_id].scope
        for _, each in held
        for sealed in each.values()
        if (dek_id := dek_id_of(sealed)) in standing and (dek_id in stale or suite_of(sealed) != vault.suite)
    }
    present = await vault.deks(tx, sorted(wanted), create=True)
    count = 0
    for row, each in held:
        table, field, bound_to = place.bound(row)
        made: dict[str, bytes] = {}
        for name, sealed in each.items():
            dek_id = dek_id_of(sealed)
            if dek_id not in standing:
                raise StoreError("the data key of a stored value is gone", code="key-missing", place=f"{table}:{bound_to}:{field or name}")
            if dek_id not in stale and suite_of(sealed) == vault.suite:
                made[name] = sealed
                continue
            value = vault.open(old[dek_id], table, field or name, bound_to, sealed)
            made[name] = vault.seal(present[standing[dek_id].scope], table, field or name, bound_to, value)
            count += 1
        if made != each:
            where = [place.table.c[key] == getattr(row, key) for key in place.keys]
            value_of = pack(made) if place.packed else made[""]
            await tx.execute(sa.update(place.table).where(*where).values({place.column: value_of}))
    if count:
        tx.shredded = True  # the old ciphertexts leave the write-ahead log too
    return count


async def drop_unused(tx: Transaction) -> int:
    """Retired data keys that nothing names any more go; the audit trail keeps those of its details. How many went."""
    named: set[int] = set()
    number = 0
    statement = sa.select(audit.c.detail).where(audit.c.detail.is_not(None)).order_by(audit.c.day, audit.c.writer, audit.c.n).limit(1000)
    while rows := await tx.all(statement.offset(number)):
        named |= {dek_id_of(bytes(row.detail)) for row in rows}
        number += len(rows)
    gone = [row.dek_id for row in await tx.all(sa.select(deks.c.dek_id).where(deks.c.retired.is_(True))) if row.dek_id not in named]
    if gone:
        await tx.execute(sa.delete(deks).where(among(deks.c.dek_id, "gone")), {"gone": gone})
        await changed(tx)
        tx.shredded = True
    return len(gone)
