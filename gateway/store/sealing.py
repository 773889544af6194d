"""How values that stand as ciphertext get there and back (policy.md §11).

Rules: `core/records/sealed` says which: P1, P2, P3, B2, unclassified fields, and the raw text of every kind of subject. A null is no
secret. The data key is the person's own, or the dataset's of this year for organisations.
This room must not decide who may see a value.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from gateway.core.errors import StoreError
from gateway.core.records.model import Dataset, SubjectId, SubjectKind, Value
from gateway.core.records.sealed import is_sealed
from gateway.store.reads import Reads, Row
from gateway.store.store import Transaction
from gateway.store.vault import Dek, dek_id_of, unpack

TABLE: Final = "records"
"""The associated data of a value name this table also when an older version stands in `record_versions`."""

encode_value = msgspec.json.Encoder().encode
decode_value = msgspec.json.Decoder(str | int | bool | None).decode
_decode_clear = msgspec.json.Decoder(dict[str, str | int | bool | None]).decode


def clear_fields(dataset: Dataset, kind: SubjectKind) -> frozenset[str]:
    """The fields that stand in clear."""
    return frozenset(name for name, field in dataset.fields.items() if not is_sealed(field, kind))


def subject_scope(subject_id: SubjectId) -> str:
    """The scope of the data key of a natural person or individual business."""
    return f"subject:{subject_id}"


def scope_of(kind: SubjectKind, subject_id: SubjectId, dataset: str, year: int) -> str:
    """Whose data key seals a record: the person's own, or the dataset's of the year for organisations."""
    return f"org:{dataset}:{year}" if kind == "legal" else subject_scope(subject_id)


def clear_values(row: Row, fields: frozenset[str] | None) -> dict[str, Value]:
    """The wanted values that stand in clear."""
    values: dict[str, Value] = _decode_clear(row.clear)
    if fields is None or fields.issuperset(values):
        return values
    return {name: value for name, value in values.items() if name in fields}


def wanted_secrets(rows: Iterable[Row], fields: frozenset[str] | None) -> list[dict[str, bytes]]:
    """For each row the ciphertexts of the wanted fields."""
    found = []
    for row in rows:
        secrets = {} if row.secret is None else unpack(row.secret)
        if fields is not None and not fields.issuperset(secrets):
            secrets = {name: sealed for name, sealed in secrets.items() if name in fields}
        found.append(secrets)
    return found


async def keys_of(source: Reads | Transaction, secrets: Iterable[Mapping[str, bytes]]) -> dict[int, Dek]:
    """The data keys that these ciphertexts name."""
    return await source.vault.deks_by_id(source, {dek_id_of(sealed) for each in secrets for sealed in each.values()})


def open_secrets(source: Reads | Transaction, deks: Mapping[int, Dek], record_id: str, secrets: Mapping[str, bytes]) -> dict[str, Value]:
    """The values behind ciphertexts.

    Raises StoreError `value-altered`, or `key-missing` when the data key was shredded but the record was not erased.
    """
    opened: dict[str, Value] = {}
    for name, sealed in secrets.items():
        dek = deks.get(dek_id_of(sealed))
        if dek is None:
            raise StoreError("the data key of a stored value is gone", code="key-missing", place=f"{TABLE}:{record_id}:{name}")
        opened[name] = decode_value(source.vault.open(dek, TABLE, name, record_id, sealed))
    return opened
