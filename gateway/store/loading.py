"""Records as they stand, with those of their values that somebody needs.

Rules: only the fields asked for are decrypted, and nothing at all when none is; a caller's plan says which. Order is by record id, so
that a page can go on after the last. What leaves here is a Record with Unpublished values: no exit takes it.
This room must not judge states or periods: the View does.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec
import sqlalchemy as sa

from gateway.core.records.model import (
    DatasetId,
    LifeDates,
    Recognised,
    Record,
    RecordId,
    RecordState,
    SubjectId,
    Text,
    Unpublished,
    Value,
)
from gateway.store.dialects import among
from gateway.store.reads import Reads, Row
from gateway.store.row_gates import Reach, reached
from gateway.store.sealing import clear_values, keys_of, open_secrets, wanted_secrets
from gateway.store.store import Transaction, moment
from gateway.store.tables import recognitions, records
from gateway.store.texts import opened, seals_in, texts_in

_decode_dates = lru_cache(4096)(msgspec.json.Decoder(LifeDates).decode)
"""Many records have the same dates, and what follows from them is remembered by them."""

_ENVELOPE = (
    records.c.record_id,
    records.c.subject_id,
    records.c.dataset,
    records.c.category,
    records.c.kind,
    records.c.version,
    records.c.state,
    records.c.hold_code,
    records.c.trust,
    records.c.issuer,
    records.c.region,
    records.c.authority_code,
    records.c.authority_name,
    records.c.sender,
    records.c.dates,
    records.c.severity,
    records.c.minor,
    records.c.sealed_flag,
    records.c.dispute_since,
    records.c.corrected_since,
    records.c.received_at,
    records.c.changed_seq,
    recognitions.c.agreement,
    recognitions.c.issuer.label("recognised_issuer"),
    recognitions.c.effect,
    recognitions.c.until.label("recognised_until"),
    recognitions.c.decided_at,
    recognitions.c.as_of,
)
_VALUES = (records.c.clear, records.c.secret, records.c.texts)
_SEALS = (records.c.sealed_texts,)
_JOINED = records.outerjoin(recognitions, recognitions.c.record_id == records.c.record_id)


@lru_cache(maxsize=512)
def _select(conditions: frozenset[str], values: bool, seals: bool, erased: bool, gates: tuple[Reach, ...] | None) -> sa.Select[Any]:
    """The statement for these conditions; one object for each combination, so that it is compiled once."""
    statement = sa.select(*_ENVELOPE, *(_VALUES if values else ()), *(_SEALS if seals else ())).select_from(_JOINED)
    if gates is not None:
        statement = statement.where(reached(gates))
    for name, condition in _CONDITIONS.items():
        if name in conditions:
            statement = statement.where(condition)
    if not erased:
        statement = statement.where(records.c.state != "erased")
    if not conditions.isdisjoint(_MANY):
        return statement  # sorted afterwards: asked to order, SQLite walks the whole index instead of looking the ids up
    statement = statement.order_by(records.c.record_id)
    return statement.limit(sa.bindparam("n", type_=sa.Integer)) if "limit" in conditions else statement


_MANY = frozenset({"ids", "subjects"})
_CONDITIONS: dict[str, sa.ColumnElement[bool]] = {
    "ids": among(records.c.record_id, "ids"),
    "subject": records.c.subject_id == sa.bindparam("subject"),
    "subjects": among(records.c.subject_id, "subjects"),
    "dataset": records.c.dataset == sa.bindparam("of_dataset"),
    "state": records.c.state == sa.bindparam("of_state"),
    "states": among(records.c.state, "states"),
    "after": records.c.record_id > sa.bindparam("after"),
    "over_on": sa.and_(records.c.publish_until.is_not(None), records.c.publish_until < sa.bindparam("over_on")),
}


async def load(
    source: Reads | Transaction,
    *,
    ids: Sequence[RecordId] | None = None,
    subject: SubjectId | None = None,
    subjects: Sequence[SubjectId] | None = None,
    dataset: DatasetId | None = None,
    fields: frozenset[str] | None = None,
    texts: frozenset[str] = frozenset(),
    after: RecordId | None = None,
    limit: int | None = None,
    states: Collection[RecordState] | None = None,
    gates: tuple[Reach, ...] | None = None,
) -> list[Record]:
    """Records by id, subject, subjects or dataset, in order of record id, with the values of `fields` alone (None: all of them).

    Texts come as far as they stand in clear wherever any value is wanted; those of `texts` are opened, all of them without `fields`.
    `states` None is every state but erased. `gates` are what one caller reaches, asked in the same statement; None: nobody is named,
    for nothing is shown to anybody yet, or the View alone decides. Raises StoreError, also when a stored value was altered.
    """
    parameters: dict[str, object] = {}
    if ids is not None:
        parameters["ids"] = list(ids)
    if subject is not None:
        parameters["subject"] = subject
    if subjects is not None:
        parameters["subjects"] = list(subjects)
    if dataset is not None:
        parameters["of_dataset"] = dataset
    if states is not None and len(states) == 1:
        parameters["of_state"] = next(iter(states))
    elif states is not None:
        parameters["states"] = sorted(states)
    if after is not None:
        parameters["after"] = after
    erased = states is not None and "erased" in states
    return await _read(source, parameters, fields, limit, texts=None if fields is None else texts, erased=erased, gates=gates)


async def period_candidates(
    source: Reads | Transaction, over_on: date | None, *, after: RecordId | None = None, limit: int | None = None
) -> list[Record]:
    """Records in force, without values, whose stored publication period ended before a day; None: all in force."""
    parameters: dict[str, object] = {"of_state": "in_force"}
    if over_on is not None:
        parameters["over_on"] = over_on.isoformat()
    if after is not None:
        parameters["after"] = after
    return await _read(source, parameters, frozenset(), limit, texts=frozenset(), erased=False)


async def _read(
    source: Reads | Transaction,
    parameters: dict[str, object],
    fields: frozenset[str] | None,
    limit: int | None,
    *,
    texts: frozenset[str] | None,
    erased: bool,
    gates: tuple[Reach, ...] | None = None,
) -> list[Record]:
    conditions = {_CONDITION_OF.get(name, name) for name in parameters}
    if limit is not None:
        conditions.add("limit")
        parameters["n"] = limit
    seals = texts is None or bool(texts)
    values = fields is None or bool(fields) or seals
    rows = await source.all(_select(frozenset(conditions), values, seals, erased, gates), parameters)
    if not conditions.isdisjoint(_MANY):
        rows.sort(key=_record_id)
        rows = rows[:limit]
    if not values:
        return [_record(row, {}, {}) for row in rows]
    secrets = wanted_secrets(rows, fields)
    if not seals:
        deks = await keys_of(source, secrets)
        return [
            _record(row, clear_values(row, fields) | open_secrets(source, deks, row.record_id, sealed), texts_in(row.texts))
            for row, sealed in zip(rows, secrets, strict=True)
        ]
    kept = [seals_in(row.sealed_texts, texts) for row in rows]
    deks = await keys_of(source, [*secrets, *kept])
    return [
        _record(
            row,
            clear_values(row, fields) | open_secrets(source, deks, row.record_id, sealed),
            opened(source.vault, deks, row.record_id, texts_in(row.texts), each, texts),
        )
        for row, sealed, each in zip(rows, secrets, kept, strict=True)
    ]


_record_id = attrgetter("record_id")
_CONDITION_OF = {"of_dataset": "dataset", "of_state": "state"}


def _record(row: Row, values: dict[str, Value], texts: Mapping[str, Text]) -> Record:
    return Record(
        record_id=row.record_id,
        subject_id=row.subject_id,
        dataset=row.dataset,
        category=row.category,
        kind=row.kind,
        version=row.version,
        state=row.state,
        hold_code=row.hold_code,
        trust=row.trust,
        issuer=row.issuer or None,
        region=row.region,
        authority_code=row.authority_code,
        authority_name=row.authority_name,
        sender=row.sender,
        dates=_decode_dates(row.dates),
        severity=row.severity,
        minor=row.minor,
        sealed=row.sealed_flag,
        dispute_since=None if row.dispute_since is None else moment(row.dispute_since),
        corrected_since=None if row.corrected_since is None else moment(row.corrected_since),
        recognised=_recognised(row),
        received_at=moment(row.received_at),
        changed_seq=row.changed_seq,
        raw=Unpublished(values),
        texts=texts,
    )


def _recognised(row: Row) -> Recognised | None:
    """Only a decision with an effect is a recognition."""
    if row.effect is None:
        return None
    return Recognised(
        agreement=row.agreement,
        issuer=row.recognised_issuer,
        effect=row.effect,
        since=moment(row.decided_at),
        as_of=None if row.as_of is None else moment(row.as_of),
        until=None if row.recognised_until is None else date.fromisoformat(row.recognised_until),
    )
