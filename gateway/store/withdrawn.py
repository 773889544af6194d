"""What withdrawn records said, put under a key: the values and texts that stood in clear, of the present version and of all before it.

Rules:
- `core/records/sealed` says which states these are. What it takes to go on stays as it is: ids, keyed digests, state, dates, authority,
  and the names of the fields (null in `clear`, the value in `secret`), so that a record that comes back is as before.
- the data key is that of the record's other secrets, and each value is bound to field and record like those: reading, rotation and
  erasing know no difference.
- of what stood in clear nothing stays in a free page or in the write-ahead log.
This room must not decide that a record is withdrawn.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.core.records.sealed import is_for_nobody
from gateway.store.dialects import among
from gateway.store.reads import Row
from gateway.store.sealing import TABLE, clear_values, encode_value, keys_of, open_secrets, scope_of
from gateway.store.store import Source, Transaction
from gateway.store.tables import record_versions, records
from gateway.store.texts import all_opened, all_sealed, clear_column, seal_column, seals_in, texts_in
from gateway.store.vault import Dek, Vault, pack, unpack

_COLUMNS: Final = ("clear", "secret", "texts", "sealed_texts")
_PRESENT = sa.select(
    records.c.record_id, records.c.subject_id, records.c.dataset, records.c.kind, *(records.c[name] for name in _COLUMNS)
).where(among(records.c.record_id, "wanted"))
_PAST = sa.select(record_versions.c.record_id, record_versions.c.version, *(record_versions.c[name] for name in _COLUMNS)).where(
    among(record_versions.c.record_id, "wanted")
)
_PUT_PAST = (
    sa.update(record_versions)
    .where(record_versions.c.record_id == sa.bindparam("of_record"), record_versions.c.version == sa.bindparam("of_version"))
    .values({name: sa.bindparam(f"put_{name}") for name in _COLUMNS})
)
_STATES = (
    sa.select(records.c.record_id, records.c.state, records.c.issuer)
    .where(records.c.record_id > sa.bindparam("after"))
    .order_by(records.c.record_id)
    .limit(sa.bindparam("n", type_=sa.Integer))
)
_encode = msgspec.json.Encoder().encode
_AT_A_TIME: Final = 200
"""Records of which all versions are in memory together."""


async def seal(tx: Transaction, record_ids: Sequence[str]) -> int:
    """Put everything under a key that these records say in clear, now and in past versions; how many versions said something.

    To be called before the change that withdraws them keeps the present version. Raises StoreError.
    """
    return sum([await _seal(tx, record_ids[start : start + _AT_A_TIME]) for start in range(0, len(record_ids), _AT_A_TIME)])


async def _seal(tx: Transaction, record_ids: Sequence[str]) -> int:
    wanted = {"wanted": list(record_ids)}
    rows = await tx.all(_PRESENT, wanted)
    scopes = {row.record_id: scope_of(row.kind, row.subject_id, row.dataset, tx.now.year) for row in rows}
    present = [row for row in rows if _speaks(row)]
    past = [row for row in await tx.all(_PAST, wanted) if _speaks(row)]
    if not present and not past:
        return 0
    deks = await tx.vault.deks(tx, {scopes[row.record_id] for row in (*present, *past)}, create=True)
    known = await keys_of(tx, [seals_in(row.sealed_texts, None) for row in (*present, *past)])

    def silent(row: Row) -> tuple[bytes | None, ...]:
        return _silent(tx.vault, deks[scopes[row.record_id]], known, row)

    await tx.update(records, _COLUMNS, "record_id", [(*silent(row), row.record_id) for row in present])
    if past:
        await tx.execute(_PUT_PAST, [{"of_record": row.record_id, "of_version": row.version, **_puts(silent(row))} for row in past])
    tx.shredded = True
    return len(present) + len(past)


def _silent(vault: Vault, dek: Dek, known: Mapping[int, Dek], row: Row) -> tuple[bytes | None, ...]:
    """The `_COLUMNS` of a version of which nothing stands in clear."""
    values = clear_values(row, None)
    said = [(dek, name, row.record_id, encode_value(value)) for name, value in values.items() if value is not None]
    secret = dict(zip((name for _, name, _, _ in said), vault.seal_many(TABLE, said), strict=True))
    secret |= {} if row.secret is None else unpack(row.secret)
    texts, sealed_texts = row.texts, row.sealed_texts
    if texts is not None:
        texts, sealed_texts = all_sealed(vault, dek, row.record_id, all_opened(vault, known, row.record_id, texts, sealed_texts))
    return _encode(dict.fromkeys(values)), pack(secret) if secret else None, texts, sealed_texts


def _puts(columns: Sequence[bytes | None]) -> dict[str, bytes | None]:
    return {f"put_{name}": column for name, column in zip(_COLUMNS, columns, strict=True)}


async def open_again(tx: Transaction, record_id: str) -> None:
    """Let what the present version of a record said in clear stand in clear again: it came back with the words that it had.

    Raises StoreError.
    """
    (row,) = await tx.all(_PRESENT, {"wanted": [record_id]})
    values, secret = clear_values(row, None), {} if row.secret is None else unpack(row.secret)
    shown = {name: secret.pop(name) for name in values if name in secret}
    known = await keys_of(tx, [shown, seals_in(row.sealed_texts, None)])
    values |= open_secrets(tx, known, record_id, shown)
    texts, sealed_texts = row.texts, row.sealed_texts
    if texts is not None:
        scope = scope_of(row.kind, row.subject_id, row.dataset, tx.now.year)
        dek = (await tx.vault.deks(tx, (scope,), create=True))[scope]
        whole = all_opened(tx.vault, known, record_id, texts, sealed_texts)
        texts, sealed_texts = clear_column(tx.vault, whole), seal_column(tx.vault, dek, record_id, whole)
    await tx.update(records, _COLUMNS, "record_id", [(_encode(values), pack(secret) if secret else None, texts, sealed_texts, record_id)])


def _speaks(row: Row) -> bool:
    """Whether a version says anything in clear."""
    return any(value is not None for value in clear_values(row, None).values()) or any(
        text.strict is not None for text in texts_in(row.texts).values()
    )


class Stretch(Struct, frozen=True, kw_only=True):
    """Some records in order of id."""

    looked_at: int
    last: str | None
    """Id of the last of them; None: there are none left."""
    withdrawn: tuple[str, ...]


async def stretch(source: Source, after: str, limit: int) -> Stretch:
    """The records behind an id, and which of them are shown to nobody."""
    rows = await source.all(_STATES, {"after": after, "n": limit})
    return Stretch(
        looked_at=len(rows),
        last=rows[-1].record_id if rows else None,
        withdrawn=tuple(row.record_id for row in rows if is_for_nobody(row.state, row.issuer)),
    )
