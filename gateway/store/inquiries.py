"""What we asked partners (exchange.md §12), a row for each agreement it was asked under; what came back, as long as its case lasts.

A row is written before anything leaves.

Rules: who asked about whom, why and for which case stands sealed; case and subject are keyed digests beside it. Records that a partner
told are sealed here and nowhere else, for their case alone: they go with it, when their time is over, or when they are erased before, and
what remains is that it was asked. This room must not ask anybody.
"""

from collections.abc import Collection
from datetime import date, datetime
from typing import Final

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.core.errors import StoreError
from gateway.core.exchange.questions import Status, SubjectAsked
from gateway.core.exchange.told_lines import Told
from gateway.store.questions import LABEL, Counts
from gateway.store.store import Row, Source, Transaction, moment, stamp
from gateway.store.subjects import Key, stored_value
from gateway.store.tables import inquiries
from gateway.store.vault import Vault, key_version_of

TABLE: Final = "inquiries"
_c = inquiries.c
_OF = sa.select(inquiries).where(_c.inquiry == sa.bindparam("of_inquiry"))
_LOG = sa.select(inquiries).where(_c.asked_at >= sa.bindparam("since")).order_by(_c.asked_at, _c.inquiry, _c.partner, _c.agreement)
_OF_DAY = sa.select(
    sa.func.count(),
    sa.func.sum(sa.case((_c.officer == sa.bindparam("of_officer"), 1), else_=0)),
    sa.func.sum(sa.case((_c.subject == sa.bindparam("of_subject"), 1), else_=0)),
).where(_c.agreement == sa.bindparam("of_agreement"), _c.day == sa.bindparam("of_day"), _c.question != "")
_KEPT = sa.select(inquiries).where(_c.lines.is_not(None)).order_by(_c.inquiry, _c.partner, _c.agreement)
_END = sa.update(inquiries).where(_c.case_key.in_(sa.bindparam("cases", expanding=True)), _c.lines.is_not(None)).values(lines=None)
_END_AGREEMENT = sa.update(inquiries).where(_c.agreement == sa.bindparam("under"), _c.lines.is_not(None)).values(lines=None)
_OVER = sa.update(inquiries).where(_c.lines.is_not(None), _c.lines_until < sa.bindparam("before")).values(lines=None)
_FORGET = sa.delete(inquiries).where(_c.asked_at < sa.bindparam("before"))


class Said(Struct, frozen=True, kw_only=True):
    """Who asked what, why: sealed as a whole."""

    actor: str
    app: str
    officer: str
    """As the department names its officer; it never leaves."""
    case: str
    basis: str
    purpose: str
    subject: SubjectAsked
    datasets: tuple[str, ...]
    body: bytes
    """The question as it was sent; empty when the partner was not asked."""


class OnePartner(Struct, frozen=True, kw_only=True):
    """One row of an inquiry: a partner, under one agreement with it."""

    inquiry: str
    partner: str
    agreement: str
    question: str
    day: date
    level: int
    org: str
    case_key: str
    officer: str
    subject: str
    status: Status
    code: str | None
    asked_at: datetime
    answered_at: datetime | None = None
    answer_digest: str | None = None
    lines_until: datetime | None = None
    row: Row = None
    """As stored, for what is sealed in it."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Said).decode
_decode_lines = msgspec.json.Decoder(tuple[Told, ...]).decode
_encode_lines = msgspec.json.Encoder().encode


def case_keys(vault: Vault, org: str, case: str) -> list[str]:
    """The digests under which an organisation's case may stand, the present one first."""
    return [each[:16].hex() for each in vault.digests(LABEL, f"case/{org}/{case}".encode())]


def officer_pseudonym(vault: Vault, agreement: str, org: str, officer: str) -> str:
    """How an officer is named to a partner: the same under one agreement, another under any other."""
    return vault.digest(LABEL, f"officer/{agreement}/{org}/{officer}".encode())[:16].hex()


async def counted(source: Source, agreement: str, day: date, *, officer: str, subject: str) -> Counts:
    """What we asked under an agreement on a legal day: all of us, this officer, about this subject."""
    asked = {"of_agreement": agreement, "of_day": day.isoformat(), "of_officer": officer, "of_subject": subject}
    (row,) = await source.all(_OF_DAY, asked)
    return Counts(all=row[0], officer=int(row[1] or 0), subject=int(row[2] or 0))


async def begin(tx: Transaction, row: OnePartner, said: Said) -> None:
    """Write down that a partner is being asked, or is not."""
    await tx.execute(
        sa.insert(inquiries).values(
            inquiry=row.inquiry,
            partner=row.partner,
            agreement=row.agreement,
            question=row.question,
            day=row.day.isoformat(),
            level=row.level,
            org=row.org,
            case_key=row.case_key,
            officer=row.officer,
            subject=row.subject,
            said=_seal(tx.vault, "said", row, _encode(said)),
            status=row.status,
            code=row.code,
            asked_at=stamp(row.asked_at),
        )
    )


async def finish(
    tx: Transaction,
    row: OnePartner,
    *,
    status: Status,
    code: str | None,
    answer: bytes | None = None,
    answer_digest: str | None = None,
    lines: tuple[Told, ...] | None = None,
    lines_until: datetime | None = None,
) -> None:
    """What came back of one question."""
    await tx.execute(
        sa.update(inquiries)
        .where(_is(row))
        .values(
            status=status,
            code=code,
            answered_at=tx.now_text,
            answer=None if answer is None else _seal(tx.vault, "answer", row, answer),
            answer_digest=answer_digest,
            lines=None if lines is None else _seal(tx.vault, "lines", row, _encode_lines(lines)),
            lines_until=None if lines_until is None else stamp(lines_until),
        )
    )


async def of_inquiry(source: Source, inquiry: str) -> list[OnePartner]:
    """Every row of an inquiry, by partner and agreement, whatever the database takes for their order."""
    found = [_row(row) for row in await source.all(_OF, {"of_inquiry": inquiry})]
    return sorted(found, key=lambda row: (row.partner, row.agreement))


async def asked_since(source: Source, start: datetime) -> list[OnePartner]:
    """Every row since a moment, oldest first."""
    return [_row(row) for row in await source.all(_LOG, {"since": stamp(start)})]


def said_of(vault: Vault, row: OnePartner) -> Said:
    """Who asked what, why."""
    return _decode(_open(vault, "said", row))


def answer_of(vault: Vault, row: OnePartner) -> bytes | None:
    """The signed answer of level 1, where one came."""
    return None if row.row.answer is None else _open(vault, "answer", row)


def lines_of(vault: Vault, row: OnePartner, now: datetime) -> tuple[Told, ...] | None:
    """The records that the partner told; None when there are none, or their case or time is over."""
    if row.row.lines is None or row.lines_until is None or row.lines_until <= now:
        return None
    return _told(vault, row)


async def end_case(tx: Transaction, cases: Collection[str]) -> int:
    """Delete what partners told for a case; of how many answers."""
    done = (await tx.execute(_END, {"cases": list(cases)})).rowcount
    tx.shredded = tx.shredded or bool(done)
    return done


async def end_agreement(tx: Transaction, agreement: str) -> int:
    """Delete the records that a partner told under an agreement; of how many answers."""
    done = (await tx.execute(_END_AGREEMENT, {"under": agreement})).rowcount
    tx.shredded = tx.shredded or bool(done)
    return done


async def telling(source: Source, record_ids: Collection[str]) -> list[OnePartner]:
    """What is kept for cases and says something of one of these records."""
    wanted = set(record_ids)
    rows = [_row(row) for row in await source.all(_KEPT)]
    return [row for row in rows if any(line.rid in wanted for line in _told(source.vault, row))]


async def erase_told(tx: Transaction, record_ids: Collection[str]) -> int:
    """Delete what partners told of these records, whatever their case; from how many answers."""
    gone = set(record_ids)
    found = await telling(tx, gone)
    for row in found:
        await _keep_told(tx, row, tuple(line for line in _told(tx.vault, row) if line.rid not in gone))
    return len(found)


async def erase_about(tx: Transaction, keys: Collection[Key]) -> int:
    """Delete every record that partners told about the subject with these stored keys; from how many answers."""
    found = [row for each in await tx.all(_KEPT) if _asked_about(tx.vault, said_of(tx.vault, row := _row(each)).subject) & set(keys)]
    for row in found:
        await _keep_told(tx, row, ())
    return len(found)


def _asked_about(vault: Vault, subject: SubjectAsked) -> set[Key]:
    """The keys of whom a question was about, as the subjects' table holds them."""
    known = {"uscc": subject.uscc, "id_no": subject.id_no}
    return {(key_type, stored_value(vault, key_type, value, subject.kind)) for key_type, value in known.items() if value is not None}


def _told(vault: Vault, row: OnePartner) -> tuple[Told, ...]:
    return _decode_lines(_open(vault, "lines", row))


async def _keep_told(tx: Transaction, row: OnePartner, told: tuple[Told, ...]) -> None:
    lines = _seal(tx.vault, "lines", row, _encode_lines(told)) if told else None
    await tx.execute(sa.update(inquiries).where(_is(row)).values(lines=lines))
    tx.shredded = True


async def forget(tx: Transaction, *, before: datetime, now: datetime) -> int:
    """Delete records whose time is over, and inquiries of before a moment; how many lost their records."""
    over = (await tx.execute(_OVER, {"before": stamp(now)})).rowcount
    tx.shredded = tx.shredded or bool(over)
    await tx.execute(_FORGET, {"before": stamp(before)})
    return over


def _is(row: OnePartner) -> sa.ColumnElement[bool]:
    return sa.and_(_c.inquiry == row.inquiry, _c.partner == row.partner, _c.agreement == row.agreement)


def _seal(vault: Vault, column: str, row: OnePartner, data: bytes) -> bytes:
    return vault.seal(vault.house_dek(LABEL), TABLE, column, f"{row.inquiry}/{row.partner}/{row.agreement}", data)


def _open(vault: Vault, column: str, row: OnePartner) -> bytes:
    sealed = bytes(getattr(row.row, column))
    dek, place = vault.house_dek(LABEL, key_version_of(sealed)), f"{row.inquiry}/{row.partner}"
    try:
        return vault.open(dek, TABLE, column, f"{place}/{row.agreement}", sealed)
    except StoreError:
        return vault.open(dek, TABLE, column, place, sealed)  # of before 0002, when a partner had one row


def _row(row: Row) -> OnePartner:
    return OnePartner(
        inquiry=row.inquiry,
        partner=row.partner,
        agreement=row.agreement,
        question=row.question,
        day=date.fromisoformat(row.day),
        level=row.level,
        org=row.org,
        case_key=row.case_key,
        officer=row.officer,
        subject=row.subject,
        status=row.status,
        code=row.code,
        asked_at=moment(row.asked_at),
        answered_at=None if row.answered_at is None else moment(row.answered_at),
        answer_digest=row.answer_digest,
        lines_until=None if row.lines_until is None else moment(row.lines_until),
        row=row,
    )
