"""What partners asked us (exchange.md §12): each question once, with its evidence, and what it was answered.

Rules: a question's id is held by its party for as long as the row is, at least ninety days; what was asked, and with which signature,
stands sealed: of a person whom we know under that person's data key. Whom it is about is a keyed digest, and so is what neighbouring
codes have in common. An answer is kept only of level 1 and only while it may be asked for again. This room must not judge a question.
"""

from datetime import date, datetime
from typing import Final

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.core.exchange.questions import Evidence, SubjectAsked
from gateway.core.records.model import SubjectId
from gateway.store.dialects import among
from gateway.store.sealing import subject_scope
from gateway.store.store import Row, Source, Transaction, moment, stamp
from gateway.store.tables import questions
from gateway.store.vault import Dek, Vault, dek_id_of, key_version_of

LABEL: Final = "mutual-query"
TABLE: Final = "questions"
_c = questions.c
_ONE = sa.select(questions).where(_c.party == sa.bindparam("of_party"), _c.question == sa.bindparam("of_question"))
_ANSWERED = sa.select(questions).where(_c.party == sa.bindparam("of_party"), _c.answer_digest == sa.bindparam("digest"))
_OF_DAY = sa.select(
    sa.func.count(),
    sa.func.sum(sa.case((_c.officer == sa.bindparam("of_officer"), 1), else_=0)),
    sa.func.sum(sa.case((_c.subject == sa.bindparam("of_subject"), 1), else_=0)),
).where(_c.agreement == sa.bindparam("of_agreement"), _c.day == sa.bindparam("of_day"))
_LATELY = sa.select(sa.func.count(), sa.func.sum(sa.case((_c.result == "no_hit", 1), else_=0))).where(
    _c.agreement == sa.bindparam("of_agreement"), _c.day == sa.bindparam("of_day"), _c.at >= sa.bindparam("since")
)
_NEAR = sa.select(sa.func.count(sa.distinct(_c.subject))).where(
    _c.agreement == sa.bindparam("of_agreement"),
    _c.day == sa.bindparam("of_day"),
    _c.near == sa.bindparam("of_near"),
    _c.subject != sa.bindparam("of_subject"),
)
_ABOUT = sa.select(questions).where(among(_c.subject, "subjects")).order_by(_c.at, _c.question)
_LOG = sa.select(questions).where(_c.at >= sa.bindparam("since")).order_by(_c.at, _c.question)
_FORGET = sa.delete(questions).where(_c.at < sa.bindparam("before"))
_UNTELL = (
    sa.update(questions).where(_c.told.is_not(None), _c.at < sa.bindparam("before"), _c.result != "not_available_until").values(told=None)
)


_COLUMNS: Final = tuple(column.name for column in questions.columns)


class Asked(Struct, frozen=True, kw_only=True):
    """One question of a partner, as it stands in the log."""

    party: str
    question: str
    agreement: str
    day: date
    level: int
    officer: str
    subject: str
    near: str
    request_digest: str
    result: str
    code: str | None
    answer_digest: str
    at: datetime
    until: datetime | None
    row: Row = None
    """As stored, for what is sealed in it."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Evidence).decode


def subject_key(vault: Vault, subject: SubjectAsked) -> str:
    """A keyed digest of whom a question is about."""
    return vault.digest(LABEL, f"subject/{subject.uscc or subject.id_no}".encode())[:16].hex()


def subject_keys(vault: Vault, number: str) -> list[str]:
    """The digests under which a code or number may stand."""
    return [each[:16].hex() for each in vault.digests(LABEL, f"subject/{number}".encode())]


def near_key(vault: Vault, subject: SubjectAsked) -> str:
    """A keyed digest of what codes have in common that follow one another: all but the last sign of the body and the checks."""
    number = subject.uscc or subject.id_no or ""
    return vault.digest(LABEL, f"near/{number[:15]}".encode())[:16].hex()


async def one(source: Source, party: str, question: str) -> Asked | None:
    """A question by its id."""
    row = await source.one(_ONE, {"of_party": party, "of_question": question})
    return None if row is None else _asked(row)


async def answered_with(source: Source, party: str, digest: str) -> Asked | None:
    """The question whose answer has this digest."""
    row = await source.one(_ANSWERED, {"of_party": party, "digest": digest})
    return None if row is None else _asked(row)


class Counts(Struct, frozen=True, kw_only=True):
    """How much was asked on a day."""

    all: int
    officer: int
    subject: int


async def counted(source: Source, agreement: str, day: date, *, officer: str, subject: str) -> Counts:
    """What was asked under an agreement on a legal day: by everybody, by this officer, about this subject."""
    asked = {"of_agreement": agreement, "of_day": day.isoformat(), "of_officer": officer, "of_subject": subject}
    (row,) = await source.all(_OF_DAY, asked)
    return Counts(all=row[0], officer=int(row[1] or 0), subject=int(row[2] or 0))


class Lately(Struct, frozen=True, kw_only=True):
    """What tells a search for whoever may be there."""

    asked: int
    missed: int
    neighbours: int
    """Subjects of the day whose codes follow one another."""


async def lately(source: Source, asked: Asked, *, since: datetime) -> Lately:
    """How it was asked under an agreement since a moment of this day, with this question, which is not committed yet."""
    of = {"of_agreement": asked.agreement, "of_day": asked.day.isoformat()}
    (row,) = await source.all(_LATELY, {**of, "since": stamp(since)})
    (many,) = await source.all(_NEAR, {**of, "of_near": asked.near, "of_subject": asked.subject})
    return Lately(asked=row[0] + 1, missed=int(row[1] or 0) + (asked.result == "no_hit"), neighbours=many[0] + 1)


async def put(tx: Transaction, asked: Asked, evidence: Evidence, *, told: bytes | None, subject: SubjectId | None) -> None:
    """Write a question down with its answer; `subject` is the person whom we know as the one that it is about."""
    dek = await _dek(tx, subject)
    place = f"{asked.party}/{asked.question}"
    row = (
        asked.party,
        asked.question,
        asked.agreement,
        asked.day.isoformat(),
        asked.level,
        asked.officer,
        asked.subject,
        asked.near,
        asked.request_digest,
        tx.vault.seal(dek, TABLE, "evidence", place, _encode(evidence)),
        asked.result,
        asked.code,
        asked.answer_digest,
        None if told is None else tx.vault.seal(dek, TABLE, "told", place, told),
        stamp(asked.at),
        None if asked.until is None else stamp(asked.until),
    )
    await tx.insert(questions, _COLUMNS, [row])


async def answer_again(
    tx: Transaction,
    asked: Asked,
    *,
    result: str,
    code: str | None,
    answer_digest: str,
    until: datetime | None,
    told: bytes | None,
    subject: SubjectId | None,
) -> None:
    """What a question came to that could not be answered at once."""
    sealed = None if told is None else tx.vault.seal(await _dek(tx, subject), TABLE, "told", f"{asked.party}/{asked.question}", told)
    await tx.execute(
        sa.update(questions)
        .where(_c.party == asked.party, _c.question == asked.question)
        .values(result=result, code=code, answer_digest=answer_digest, until=None if until is None else stamp(until), told=sealed)
    )


async def _dek(tx: Transaction, subject: SubjectId | None) -> Dek:
    if subject is not None:
        held = await tx.vault.deks(tx, [subject_scope(subject)])
        if held:
            return next(iter(held.values()))
    return tx.vault.house_dek(LABEL)


async def evidence_of(source: Source, asked: Asked) -> Evidence | None:
    """The bytes of a question and their signature; None when the key of its subject was shredded."""
    data = await _open(source, asked, "evidence")
    return None if data is None else _decode(data)


async def told_of(source: Source, asked: Asked) -> bytes | None:
    """The answer as it was sent; None when it is not kept."""
    return None if asked.row.told is None else await _open(source, asked, "told")


async def _open(source: Source, asked: Asked, column: str) -> bytes | None:
    sealed = bytes(getattr(asked.row, column))
    vault, number = source.vault, dek_id_of(sealed)
    dek = (await vault.deks_by_id(source, [number])).get(number) if number else vault.house_dek(LABEL, key_version_of(sealed))
    return None if dek is None else vault.open(dek, TABLE, column, f"{asked.party}/{asked.question}", sealed)


async def about(source: Source, number: str) -> list[Asked]:
    """Every question about a code or number, oldest first."""
    return [_asked(row) for row in await source.all(_ABOUT, {"subjects": subject_keys(source.vault, number)})]


async def asked_since(source: Source, start: datetime) -> list[Asked]:
    """Every question since a moment, oldest first."""
    return [_asked(row) for row in await source.all(_LOG, {"since": stamp(start)})]


async def forget(tx: Transaction, *, before: datetime, untold: datetime) -> int:
    """Drop questions of before a moment, and the answers that were kept of before another."""
    await tx.execute(_UNTELL, {"before": stamp(untold)})
    return (await tx.execute(_FORGET, {"before": stamp(before)})).rowcount


def _asked(row: Row) -> Asked:
    return Asked(
        party=row.party,
        question=row.question,
        agreement=row.agreement,
        day=date.fromisoformat(row.day),
        level=row.level,
        officer=row.officer,
        subject=row.subject,
        near=row.near,
        request_digest=row.request_digest,
        result=row.result,
        code=row.code,
        answer_digest=row.answer_digest,
        at=moment(row.at),
        until=None if row.until is None else moment(row.until),
        row=row,
    )
