"""One record and its states: what follows from what, the change log written with it, disputes, erasure.

Rules: every change keeps the version that was, makes the next one, and writes one row of the log, in one transaction. A state that
does not follow from the present one is refused. What is shown to nobody from now on goes under a key (`withdrawn`). Erasing leaves id,
dataset, versions, ops and times; when nothing else is kept about the subject its keys go too, and for a person the data key: then every
copy of what it encrypted is unreadable.
This room must not know why somebody decided so: it is told.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Final

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from gateway.core.errors import StoreError
from gateway.core.records.model import LifeDates, Period, RecordId, RecordState, SubjectId
from gateway.core.records.periods import legal_day
from gateway.core.records.sealed import is_for_nobody
from gateway.store import erasures, purged, withdrawn
from gateway.store.changes import COUNTER
from gateway.store.dialects import among
from gateway.store.reads import Row
from gateway.store.sealing import subject_scope
from gateway.store.store import Transaction, stamp
from gateway.store.subjects import forget_keys, subject_by_id
from gateway.store.tables import changes, confirmations, deks, recognitions, record_versions, records, retention_due, text_decisions
from gateway.store.vault import Vault

TRANSITIONS: Final[Mapping[RecordState, Mapping[RecordState, str]]] = {
    "in_force": {"held": "hold", "retracted": "retract", "repaired": "repair", "expired": "expire"},
    "held": {"in_force": "release", "retracted": "retract", "repaired": "repair", "expired": "expire"},
    "retracted": {"in_force": "assert", "held": "hold"},
    "expired": {"in_force": "assert", "held": "hold", "retracted": "retract"},
    "repaired": {"in_force": "assert"},
    "erased": {},
}
"""From which state to which, and the op that does it."""

LIVE: Final = frozenset({"in_force", "held"})

# fmt: off
FOUND = (
    records.c.record_id, records.c.subject_id, records.c.dataset, records.c.kind, records.c.business_key, records.c.issuer,
    records.c.version, records.c.state, records.c.hold_code, records.c.dates, records.c.sealed_flag, records.c.dispute_since,
    records.c.corrected_since, records.c.content_digest, records.c.trust,
    records.c.authority_code, records.c.sender,
)
CHANGE_COLUMNS = ("seq", "at", "record_id", "subject_id", "dataset", "version", "op", "reason", "actor")
_ERASED_COLUMNS = (
    "hold_code", "authority_code", "authority_name", "sender", "officer", "decided_on", "severity", "publish_from", "publish_until",
    "period_rule", "dispute_since", "corrected_since", "secret", "texts",
    "sealed_texts",
)
_ERASED_HERE = ("held_since",)
# fmt: on
_FOLLOW = ("version", "changed_at", "changed_seq")

BY_RECORD_ID = sa.select(*FOUND).where(among(records.c.record_id, "wanted"))
_KEPT = tuple(column.name for column in record_versions.columns if column.name not in ("op", "reason", "actor", "at", "seq"))
KEEP_VERSIONS = sa.insert(record_versions).from_select(
    [*_KEPT, "op", "reason", "actor", "at", "seq"],
    sa.select(*(records.c[name] for name in _KEPT), changes.c.op, changes.c.reason, changes.c.actor, changes.c.at, changes.c.seq)
    .join(changes, changes.c.seq == records.c.changed_seq)
    .where(among(records.c.record_id, "wanted")),
)
"""Copies the present versions of records, with the change that made each so, before they are replaced."""

_HEAD_OF_SUBJECT = sa.text("UPDATE subjects SET head_seq = :seq WHERE subject_id = :subject")
_NOTHING = {**dict.fromkeys(_ERASED_COLUMNS), "dates": b"{}", "clear": b"{}", "minor": False, "sealed_flag": False, "trust": "vouched"}
_BARE_VERSIONS = sa.update(record_versions).where(record_versions.c.record_id == sa.bindparam("record")).values(_NOTHING)
_BARE_RECORD = sa.update(records).where(records.c.record_id == sa.bindparam("record")).values(_NOTHING | dict.fromkeys(_ERASED_HERE))
_DROP_DECISIONS = sa.delete(text_decisions).where(text_decisions.c.record_id == sa.bindparam("record"))
_DROP_RECOGNITION = sa.delete(recognitions).where(recognitions.c.record_id == sa.bindparam("record"))
_DROP_CONFIRMATIONS = sa.delete(confirmations).where(confirmations.c.record_id == sa.bindparam("record"))
_DROP_DUE = sa.delete(retention_due).where(
    retention_due.c.dataset == sa.bindparam("of_dataset"), retention_due.c.record_id == sa.bindparam("record")
)
_ALL_LEFT = sa.select(records.c.record_id).where(records.c.subject_id == sa.bindparam("subject"), records.c.state != "erased")
_WHAT_IS_LEFT = _ALL_LEFT.limit(1)

_encode = msgspec.json.Encoder().encode
decode_dates = msgspec.json.Decoder(LifeDates).decode


def period_columns(period: Period) -> tuple[str | None, str | None, str | None]:
    """First day, last day and rule as the tables hold them."""
    return _day(period.first_day), _day(period.last_day), period.rule


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def retired_key(vault: Vault, business_key: str, record_id: str) -> str:
    """The business key of a record that must not be found by it any more, or not yet."""
    return vault.digest("business-key", f"{business_key}|{record_id}".encode())[:16].hex()


async def _one(tx: Transaction, record_id: RecordId) -> Row:
    row = await tx.one(BY_RECORD_ID, {"wanted": [record_id]})
    if row is None:
        raise StoreError("there is no such record", code="record-unknown", place=record_id, hint="record ids begin with rec_")
    return row


async def _change(tx: Transaction, row: Row, values: Mapping[str, object], *, op: str, reason: str | None, actor: str) -> int:
    """One change of one record: its present version is kept, the new one stands, the log says so."""
    await tx.execute(KEEP_VERSIONS, {"wanted": [row.record_id]})
    seq = await tx.number(COUNTER)
    version = row.version + 1
    await tx.execute(
        sa.update(records)
        .where(records.c.record_id == row.record_id)
        .values(version=version, changed_at=tx.now_text, changed_seq=seq, **values)
    )
    await tx.execute(_HEAD_OF_SUBJECT, {"seq": seq, "subject": row.subject_id})
    await tx.insert(changes, CHANGE_COLUMNS, [(seq, tx.now_text, row.record_id, row.subject_id, row.dataset, version, op, reason, actor)])
    return seq


async def set_state(
    tx: Transaction,
    record_id: RecordId,
    *,
    state: RecordState,
    op: str,
    reason: str | None,
    actor: str,
    dates: LifeDates | None = None,
    period: Period | None = None,
    hold_code: str | None = None,
) -> int:
    """Put a record into another state by a decision made here; the number of the change.

    `dates` replace the stored ones, `period` the stored period, `hold_code` says why a record is held. Raises StoreError
    `record-unknown`, or `record-state` when this state does not follow from the present one by this op.
    """
    row = await _one(tx, record_id)
    was: RecordState = row.state
    if TRANSITIONS[was].get(state) != op or (was == "repaired" and reason != "repair_revoked"):
        raise StoreError(f"a record that is {was} does not become {state} by {op}", code="record-state", place=record_id)
    values: dict[str, object] = {"state": state, "hold_code": hold_code if state == "held" else None}
    kept = decode_dates(row.dates) if dates is None else dates
    if state == "in_force" and kept.first_publication_here is None:
        kept = replace(kept, first_publication_here=legal_day(tx.now))
    values["dates"] = _encode(kept)
    if period is not None:
        values["publish_from"], values["publish_until"], values["period_rule"] = period_columns(period)
    gone, was_gone = is_for_nobody(state, row.issuer), is_for_nobody(was, row.issuer)
    if gone and not was_gone:
        await withdrawn.seal(tx, [record_id])
    seq = await _change(tx, row, values, op=op, reason=reason, actor=actor)
    if was_gone and not gone:
        await withdrawn.open_again(tx, record_id)
    return seq


async def mark_dispute(tx: Transaction, record_id: RecordId, since: datetime | None, actor: str) -> int:
    """Mark a record as disputed since an instant, or (None) take the mark away; the number of the change.

    An objection that was open when the record's period ended, or when it was withdrawn, may end all the same. Raises StoreError
    `record-unknown`, or `record-state` when the mark is there (or gone) already, or the record in no state to be objected to.
    """
    row = await _one(tx, record_id)
    if row.state not in LIVE and (since is not None or row.state == "erased"):
        raise StoreError(f"a record that is {row.state} is not disputed", code="record-state", place=record_id)
    if (row.dispute_since is None) == (since is None):
        raise StoreError("the mark is there already, or gone already", code="record-state", place=record_id)
    op = "undispute" if since is None else "dispute"
    return await _change(tx, row, {"dispute_since": None if since is None else stamp(since)}, op=op, reason=None, actor=actor)


async def mark_recognised(tx: Transaction, record_ids: Sequence[RecordId], *, lifted: bool, reason: str, actor: str) -> None:
    """Log that the effect of partners' records began here, or was lifted; the decisions themselves stand in `recognitions`."""
    rows = await tx.all(BY_RECORD_ID, {"wanted": list(record_ids)})
    if not rows:
        return
    await tx.execute(KEEP_VERSIONS, {"wanted": [row.record_id for row in rows]})
    first = await tx.number(COUNTER, len(rows))
    op = "lift" if lifted else "recognise"
    await tx.update(
        records, _FOLLOW, "record_id", [(row.version + 1, tx.now_text, seq, row.record_id) for seq, row in enumerate(rows, first)]
    )
    heads = {row.subject_id: seq for seq, row in enumerate(rows, first)}
    await tx.execute(_HEAD_OF_SUBJECT, [{"seq": seq, "subject": subject_id} for subject_id, seq in heads.items()])
    await tx.insert(
        changes,
        CHANGE_COLUMNS,
        [
            (seq, tx.now_text, row.record_id, row.subject_id, row.dataset, row.version + 1, op, reason, actor)
            for seq, row in enumerate(rows, first)
        ],
    )


async def erase(tx: Transaction, record_id: RecordId, *, actor: str) -> int:
    """Delete all that a record says, in every version; the number of the change.

    There remain id, dataset, versions, ops and times. When nothing else is kept about the subject its keys go too, and for a person
    the data key. Raises StoreError `record-unknown`, or `record-state` when it is erased already.
    """
    row = await _one(tx, record_id)
    if row.state == "erased":
        raise StoreError("the record is erased already", code="record-state", place=record_id)
    await tx.execute(_DROP_RECOGNITION, {"record": record_id})  # its inputs may repeat what the record said
    await tx.execute(_DROP_DECISIONS, {"record": record_id})
    await tx.execute(_DROP_CONFIRMATIONS, {"record": record_id})  # the basis of one may name whom it was about
    await tx.execute(_DROP_DUE, {"record": record_id, "of_dataset": row.dataset})
    await tx.execute(_BARE_VERSIONS, {"record": record_id})
    await tx.execute(_BARE_RECORD, {"record": record_id})  # before its present version is kept
    values = {"state": "erased", "business_key": retired_key(tx.vault, row.business_key, record_id), "content_digest": b""}
    seq = await _change(tx, row, values, op="erase", reason="erased", actor=actor)
    tx.shredded = True
    await erasures.enter(tx, record_id, row.subject_id)
    if await tx.one(_WHAT_IS_LEFT, {"subject": row.subject_id}) is None:
        await _shred(tx, SubjectId(row.subject_id))
    return seq


async def erase_subject(tx: Transaction, subject_id: SubjectId, *, actor: str) -> int:
    """Erase every record of a subject, and destroy its data key: every copy of what it encrypted is unreadable. How many records.

    What was purged of it before, because an agreement had ended, does not come back either. Raises StoreError `subject-unknown`.
    """
    if await subject_by_id(tx, subject_id) is None:
        raise StoreError("there is no such subject", code="subject-unknown", place=subject_id)
    kept = await tx.all(_ALL_LEFT, {"subject": subject_id})
    for row in kept:
        await erase(tx, RecordId(row.record_id), actor=actor)
    await purged.erase_of_subject(tx, subject_id)
    await _shred(tx, subject_id)
    return len(kept)


async def _shred(tx: Transaction, subject_id: SubjectId) -> None:
    tx.shredded = True
    await forget_keys(tx, subject_id)
    await tx.execute(sa.delete(deks).where(deks.c.scope == subject_scope(subject_id)))
