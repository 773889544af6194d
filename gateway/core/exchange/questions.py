"""Mutual query 互查: one exact question to a partner about one subject, its signed answer, and what many answers come to (exchange.md §12).

Rules: a question names one whole subject, a purpose, a case, a basis and an officer's pseudonym, and nothing that it says may be ignored.
What cannot be read as a question is a problem; a question that was read is answered and signed, refusals too. An answer is bound to the
bytes of its question; whatever does not fit is `invalid`, never "no record". Silence, too, is never "no record": only when every partner
was asked and each has said so, there is none. This room must not look at a record.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from gateway.core.errors import ExchangeError, RowFault
from gateway.core.exchange import notes
from gateway.core.exchange.agreements import Agreement
from gateway.core.exchange.notes import KeyRing, SignedDocument
from gateway.core.exchange.wire import (
    AgreementId,
    CodeText,
    Count,
    DatasetName,
    Digest,
    InstantText,
    Number,
    PartyName,
    digest_text,
    encode,
    instant,
    parse_instant,
    strict_json,
    unb64u,
)
from gateway.core.records.identifiers import normalise_code, parse_citizen_id, uscc_is_valid
from gateway.core.records.model import SubjectKind
from gateway.core.signing import Algorithm

QUESTION_TYPE: Final = "chengxin-exchange/question/1"
ANSWER_TYPE: Final = "chengxin-exchange/answer/1"
PURPOSE: Final = "mutual.query"
MAX_QUESTION: Final = 16 * 1024
MAX_DATASETS: Final = 64
MAX_RECORDS: Final = 4096
ASKED_WITHIN: Final = timedelta(seconds=120)
ASKED_AHEAD: Final = timedelta(seconds=60)
FOLLOWED_WITHIN: Final = timedelta(hours=24)
LEVEL_1: Final = 1
LEVEL_2: Final = 2

Level = Literal[1, 2]
Result = Literal["hit", "no_hit", "need_more", "refused", "not_available_until"]
Status = Literal["hit", "no_hit", "need_more", "refused", "not_available_until", "unanswered", "unreachable", "invalid", "not_asked"]
Total = Literal["hit", "no_hit", "incomplete"]
STATUSES: Final[tuple[Status, ...]] = get_args(Status)

_PATTERN_SIGNS: Final = frozenset("*?%_^$[]{}\\|<>＊？％＿…")
"""Signs that stand for others: no whole name has them."""
LONGEST_NAME: Final = 200
_LONGEST: Final = len("no_hit") + len("false")


class SubjectAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """About whom: an organisation by its code, a household by code and name, a person by number and name."""

    kind: SubjectKind
    uscc: Annotated[str, Meta(max_length=18)] | None = None
    id_no: Annotated[str, Meta(max_length=18)] | None = None
    name: Annotated[str, Meta(max_length=LONGEST_NAME)] | None = None

    def __repr__(self) -> str:
        return f"<SubjectAsked {self.kind}>"


def number_of(subject: SubjectAsked) -> str:
    """The code or number of whom it is about, as everybody else writes it; a question that is refused may have it otherwise."""
    return normalise_code(subject.uscc or subject.id_no or "")


class Under(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The agreement under which somebody asks."""

    id: AgreementId
    version: Number


class Question(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"type_": "type", "from_": "from"}):
    """The body of POST `/query`."""

    type_: Literal["chengxin-exchange/question/1"] = "chengxin-exchange/question/1"
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{22}\Z")]
    agreement: Under
    from_: PartyName
    to: PartyName
    level: Level
    purpose: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.-]{0,62}\Z")]
    case: Annotated[str, Meta(max_length=64)]
    basis: Annotated[str, Meta(max_length=400)]
    officer: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{16,64}\Z")]
    subject: SubjectAsked
    datasets: Annotated[tuple[DatasetName, ...], Meta(max_length=MAX_DATASETS)]
    follows: Digest | None
    asked_at: InstantText
    deadline: InstantText


class Evidence(Struct, frozen=True, kw_only=True):
    """A question as it came: its bytes, the address under which they were signed, and the header fields that sign them."""

    body: bytes
    url: str
    headers: dict[str, str]


class LineSent(Struct, frozen=True, kw_only=True):
    """A record line, of which disclosures may have been left out."""

    p: str
    d: tuple[str, ...]


class RecordSent(Struct, frozen=True, kw_only=True):
    """One record of a level-2 answer; without origin and proof it is covered by the answer's note alone."""

    line: LineSent
    origin: str | None
    proof: str | None


class Answer(Struct, frozen=True, kw_only=True, rename={"type_": "type"}):
    """The body of an answer; a member that we do not know is ignored."""

    type_: Literal["chengxin-exchange/answer/1"] = "chengxin-exchange/answer/1"
    question: str
    request_digest: Digest
    level: Level
    result: Result
    need: Annotated[tuple[Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,62}\Z")], ...], Meta(max_length=16)]
    code: CodeText | None
    until: InstantText | None
    details: bool
    """Level 1: whether the agreement lets level 2 be asked. Level 2: whether these are all records that it lets be told."""
    as_of: InstantText
    records: Annotated[tuple[RecordSent, ...], Meta(max_length=MAX_RECORDS)]
    answered_at: InstantText
    expires_at: InstantText
    policy_version: Count
    pad: str = ""
    """Full stops that make a hit of level 1 as long as a miss: who sees the length of what is encrypted learns nothing."""


# --- the question -----------------------------------------------------------------------------------------------------


def read_question(body: bytes) -> Question:
    """The question that these bytes say; well formed, and nothing of it is judged yet.

    Raises ExchangeError SCHEMA_JSON, SCHEMA_UNKNOWN, SCHEMA_MISSING or SCHEMA_TYPE.
    """
    value = strict_json(body)
    try:
        asked = msgspec.convert(value, Question)
    except msgspec.ValidationError as error:
        text = str(error)
        code = "SCHEMA_UNKNOWN" if "unknown field" in text else "SCHEMA_MISSING" if "missing required" in text else "SCHEMA_TYPE"
        raise ExchangeError("this is no question", code=code, place="question") from error
    for text in (asked.asked_at, asked.deadline):
        parse_instant(text, "SCHEMA_TYPE")
    unb64u(asked.id, "SCHEMA_TYPE")
    if any(not text.isprintable() for text in (asked.case, asked.basis, asked.subject.name or "")):
        raise ExchangeError("a control character", code="SCHEMA_TYPE", place="question")
    return asked


def question_body(asked: Question) -> bytes:
    """The bytes that are sent and digested."""
    return encode(asked)


def terms_fault(asked: Question, agreement: Agreement) -> str | None:
    """Code of the first thing that this agreement does not let be asked; None: it does."""
    terms = agreement.terms
    query = terms.query
    if query is None or asked.purpose != PURPOSE or PURPOSE not in terms.purposes:
        return "QUERY_SCOPE"
    if asked.level not in query.levels:
        return "QUERY_LEVEL"
    if not asked.datasets or len(set(asked.datasets)) != len(asked.datasets) or not set(asked.datasets) <= set(query.datasets):
        return "QUERY_SCOPE"
    if not asked.basis.strip() or not asked.case.strip():
        return "QUERY_BASIS"
    if (asked.level == LEVEL_1) != (asked.follows is None):
        return "QUERY_FOLLOWS"
    return None


def subject_fault(subject: SubjectAsked, *, demo: bool, today: date) -> str | None:
    """QUERY_SUBJECT for anything but whole values that fit the kind; a name that is not there yet is no fault (`missing`)."""
    if subject.kind == "natural":
        whole = subject.uscc is None and _is_number(subject.id_no, demo, today) and _is_name(subject.name)
    else:
        household = subject.kind == "individual_business"
        code = subject.uscc or ""
        whole = uscc_is_valid(code) and code.startswith("92") == household and subject.id_no is None
        whole = whole and (_is_name(subject.name) if household else subject.name is None)
    return None if whole else "QUERY_SUBJECT"


def missing(subject: SubjectAsked) -> tuple[str, ...]:
    """What else is needed to know who is meant: of households and persons the name."""
    return ("name",) if subject.kind != "legal" and subject.name is None else ()


def _is_number(text: str | None, demo: bool, today: date) -> bool:
    try:
        return text is not None and parse_citizen_id(text, demo=demo, today=today).number == text
    except RowFault:
        return False


def _is_name(text: str | None) -> bool:
    if text is None:
        return True
    return text == text.strip() and len(text) > 1 and _PATTERN_SIGNS.isdisjoint(text)


def persons_fault(subject: SubjectAsked, datasets: Collection[str], agreement: Agreement) -> str | None:
    """LAW_PERSON for a person or household without a ground in the agreement for each of these datasets (§14)."""
    persons = agreement.terms.natural_persons
    if subject.kind == "legal" or (persons.allowed and set(datasets) <= set(persons.datasets)):
        return None
    return "LAW_PERSON"


def time_fault(asked: Question, now: datetime) -> str | None:
    """TIME_EXPIRED or TIME_FUTURE for a question that is not of now: what is older could have been forgotten."""
    at = parse_instant(asked.asked_at, "SCHEMA_TYPE")
    if at > now + ASKED_AHEAD:
        return "TIME_FUTURE"
    return "TIME_EXPIRED" if at < now - ASKED_WITHIN or parse_instant(asked.deadline, "SCHEMA_TYPE") < now - ASKED_AHEAD else None


def follows_fault(asked: Question, first: Question | None, answered_at: datetime | None, now: datetime) -> str | None:
    """QUERY_FOLLOWS unless `first` is a level-1 question of the last day about the same, by the same officer, for the same case.

    `first` is the question whose answer, a hit, has the digest that is followed; None: there is none.
    """
    same = (
        first is not None
        and answered_at is not None
        and now - answered_at <= FOLLOWED_WITHIN
        and first.level == LEVEL_1
        and (first.agreement.id, first.subject, first.case, first.officer) == (asked.agreement.id, asked.subject, asked.case, asked.officer)
        and set(asked.datasets) <= set(first.datasets)
    )
    return None if same else "QUERY_FOLLOWS"


# --- the answer -------------------------------------------------------------------------------------------------------


def answer_body(
    asked: Question,
    request_digest: str,
    *,
    result: Result,
    at: datetime,
    life: timedelta,
    policy_version: int,
    need: Sequence[str] = (),
    code: str | None = None,
    until: datetime | None = None,
    details: bool = False,
    records: Sequence[RecordSent] = (),
) -> bytes:
    """The bytes of an answer."""
    return encode(
        Answer(
            question=asked.id,
            request_digest=request_digest,
            level=asked.level,
            result=result,
            need=tuple(need),
            code=code,
            until=instant(until) if until is not None else None,
            details=details,
            as_of=instant(at),
            records=tuple(records),
            answered_at=instant(at),
            expires_at=instant(at + life),
            policy_version=policy_version,
            pad="." * (_LONGEST - len(result) - len(str(details))) if asked.level == LEVEL_1 and result in ("hit", "no_hit") else "",
        )
    )


def read_answer(
    document: SignedDocument,
    asked: Question,
    body: bytes,
    ring: KeyRing,
    *,
    now: datetime,
    skew: timedelta,
    required: frozenset[Algorithm] = frozenset({"ed25519"}),
) -> Answer:
    """The answer to this very question, signed by the partner that was asked; its lines are not looked at yet.

    Raises ExchangeError: SIG_* when it is not signed so, SCHEMA_* when it is no answer or contradicts itself, SIG_CONTEXT when it answers
    something else, TIME_* when it is not of now.
    """
    try:
        said = msgspec.convert(strict_json(document.body), Answer)
    except msgspec.ValidationError as error:
        raise ExchangeError("this is no answer", code="SCHEMA_TYPE", place="answer") from error
    answered = parse_instant(said.answered_at, "SCHEMA_TYPE")
    notes.verify_document(
        document,
        ring,
        artefact="answer",
        context=asked.id,
        use="exchange",
        required=required,
        first_seen=now,
        own_time=answered,
        skew=skew,
    )
    if (said.question, said.request_digest, said.level) != (asked.id, digest_text(body), asked.level):
        raise ExchangeError("this answers something else", code="SIG_CONTEXT", place="answer")
    if answered > now + skew:
        raise ExchangeError("answered in the future", code="TIME_FUTURE", place="answer")
    if not max(answered, now - skew) <= parse_instant(said.expires_at, "SCHEMA_TYPE"):
        raise ExchangeError("the answer is over", code="TIME_EXPIRED", place="answer")
    parse_instant(said.as_of, "SCHEMA_TYPE")
    if said.until is not None:
        parse_instant(said.until, "SCHEMA_TYPE")
    if not _consistent(said):
        raise ExchangeError("the answer contradicts itself", code="SCHEMA_STATUS", place="answer")
    return said


def answer_of(body: bytes) -> Answer:
    """An answer that was believed when it came."""
    return msgspec.json.decode(body, type=Answer)


def _consistent(said: Answer) -> bool:
    return (
        (bool(said.need) == (said.result == "need_more"))
        and ((said.code is not None) == (said.result == "refused"))
        and ((said.until is not None) == (said.result == "not_available_until"))
        and (bool(said.records) == (said.result == "hit" and said.level == LEVEL_2))
    )


# --- many answers -----------------------------------------------------------------------------------------------------


def total(statuses: Iterable[Status]) -> Total:
    """What a fan-out comes to: a hit anywhere is one; no record is only what every partner has said; all else is incomplete."""
    found = list(statuses)
    if "hit" in found:
        return "hit"
    return "no_hit" if found and all(status == "no_hit" for status in found) else "incomplete"
