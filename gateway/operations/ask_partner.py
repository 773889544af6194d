"""Ask other cities about one subject (exchange.md §12): every partner at once, under one deadline, and each with a status of its own.

In this order: whom it is about is whole, and there are a case, a ground and an officer; each partner is asked under every agreement in
force with it that covers the question, or not asked, with the reason (decision 0063); what an agreement lets be asked a day is counted on
our side too. All of it is written down before a byte leaves. Then all are asked at once; what is not answered in time is `unanswered`, and
an answer counts only when it is signed by that partner, about this very question. What partners tell of records is kept for the case alone,
never among the records.

Rules: silence, an error or an answer that does not fit is never "no record", and what one agreement lets be told is not what another does.
An officer is a pseudonym to a partner, the same under one agreement. What a guest does wrong costs its own row alone. This story must not
decide who may ask.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct, structs

from gateway.adapter_contract import AdapterError
from gateway.core.callers.caller import Caller
from gateway.core.errors import CaseRefMissing, ExchangeError, GatewayError, NotPermitted, SettingsError
from gateway.core.exchange import notes, questions, told_lines
from gateway.core.exchange.agreements import Held, in_force
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.questions import LEVEL_1, LEVEL_2, PURPOSE, Answer, Level, Question, Status, SubjectAsked, Total
from gateway.core.exchange.told_lines import Told
from gateway.core.exchange.wire import b64u, digest_text, instant
from gateway.core.records.periods import legal_day
from gateway.operations.fetch_keys import with_newer_keys
from gateway.operations.partners import line_to, trusted_keys
from gateway.operations.record_access import question_said, record_question
from gateway.services import Services
from gateway.settings import Clock
from gateway.store import agreement_ends, erasures, held_agreements, inquiries, purged
from gateway.store.inquiries import OnePartner, Said
from gateway.store.questions import subject_key
from gateway.store.store import Transaction, new_id

DEADLINE_S: Final = 5.0
LONGEST_S: Final = 30.0
MAX_ANSWER: Final = 2**20
_LETTING_GO_S: Final = 0.5
"""How long a guest may take to let go of its line when the deadline is over."""
_ID_BYTES: Final = 16
CASE: Final = range(4, 65)
LONGEST_BASIS: Final = 400


class Asker(Struct, frozen=True, kw_only=True):
    """On whose behalf it is asked, and who does it."""

    actor: str
    org: str
    app: str = ""
    datasets: frozenset[str] | None = None
    """What may be asked about; None: whatever an agreement names."""


class Asking(Struct, frozen=True, kw_only=True):
    """What somebody wants to know, and why."""

    subject: SubjectAsked
    case: str
    basis: str
    officer: str
    """As the department names its officer; partners see a pseudonym."""
    level: Level = 1
    datasets: tuple[str, ...] = ()
    """None named: all that may be asked about, partner by partner."""
    partners: tuple[str, ...] = ()
    """None named: every partner with an agreement in force."""
    follows: str | None = None
    """Level 2: the inquiry of level 1 whose hits are followed."""
    deadline_s: float = DEADLINE_S


class PartnerSaid(Struct, frozen=True, kw_only=True):
    """What became of the question at one partner, under one agreement with it."""

    partner: str
    agreement: str
    datasets: tuple[str, ...]
    """What it was asked about."""
    status: Status
    code: str | None = None
    need: tuple[str, ...] = ()
    until: str | None = None
    details: bool = False
    """Level 1: that level 2 may be asked. Level 2: that these are all records that it may tell."""
    as_of: str | None = None
    answered_at: datetime | None = None
    expires_at: str | None = None
    records: tuple[Told, ...] = ()


class Inquiry(Struct, frozen=True, kw_only=True):
    """One question to many partners, and what they come to together."""

    id: str
    level: Level
    total: Total
    asked_at: datetime
    partners: tuple[PartnerSaid, ...]


_Key = tuple[str, str]
"""Partner and agreement: whom a question goes to, and under what."""


class _Way(Struct, kw_only=True):
    """One partner on the way, under one agreement: what it is asked, or why it is not."""

    partner: str
    held: Held
    question: Question
    row: OnePartner
    covered: bool
    """The terms let this be asked, whether or not it can be just now."""
    code: str | None = None

    @property
    def key(self) -> _Key:
        """Whom it goes to, and under what."""
        return self.partner, self.row.agreement

    @property
    def body(self) -> bytes:
        """The bytes that are sent."""
        return questions.question_body(self.question)


class Back(Struct, frozen=True, kw_only=True):
    """What came back of one question."""

    status: Status
    code: str | None = None
    answer: Answer | None = None
    document: SignedDocument | None = None
    told: tuple[Told, ...] = ()


def may_ask_partners(caller: Caller) -> bool:
    """Whether a caller is a department that is granted the purpose of asking other cities."""
    return caller.plan_tier == "department" and caller.purpose == PURPOSE and bool(caller.grants)


def asker_of(caller: Caller) -> tuple[Asker, str]:
    """The department that asks, within what it is granted for `mutual.query`, and its case.

    Raises NotPermitted, CaseRefMissing.
    """
    if not may_ask_partners(caller) or caller.org is None:
        raise NotPermitted
    if caller.case_ref is None:
        raise CaseRefMissing
    datasets = frozenset(grant.dataset for grant in caller.grants)
    return Asker(actor=f"app/{caller.app}", org=caller.org, app=caller.app, datasets=datasets), caller.case_ref


async def ask_partners(services: Services, asker: Asker, asking: Asking) -> Inquiry:
    """Ask every partner under every agreement that lets it, at once.

    Raises ExchangeError QUERY_SUBJECT, QUERY_BASIS, QUERY_FOLLOWS or QUERY_SCOPE for what no partner could be asked; AuditUnavailable,
    StoreError: then nobody was asked.
    """
    now = services.clock()
    # as it is ended, read and followed: under a case with a blank before it nothing would ever be found again
    asking = structs.replace(asking, case=asking.case.strip(), basis=asking.basis.strip(), officer=asking.officer.strip())
    _check(services, asking, now)
    first = await _followed(services, asker, asking) if asking.level == LEVEL_2 else {}
    ways = await _ways(services, asker, asking, first, now)
    async with services.store.transaction() as tx:
        for way in ways:
            await _begin(tx, way, asker, asking)
    going = [way for way in ways if way.code is None]
    access = question_said(
        services,
        actor=asker.actor,
        act="data.ask",
        target=f"inquiry/{ways[0].row.inquiry}" if ways else "inquiry",
        org=asker.org,
        app=asker.app,
        purpose=PURPOSE,
        datasets=sorted({name for way in going for name in way.question.datasets}),
        rows=len(going),
        subjects=[questions.number_of(asking.subject)],
        case_ref=asking.case,
    )
    await record_question(services, access)
    backs = await _all(services, going, asking.deadline_s)
    await _finish(services, going, backs)
    said = tuple(_said(way, backs.get(way.key) or Back(status="not_asked", code=way.code)) for way in sorted(ways, key=lambda way: way.key))
    return Inquiry(
        id=ways[0].row.inquiry if ways else "",
        level=asking.level,
        total=questions.total(each.status for each in said),
        asked_at=now,
        partners=said,
    )


def _check(services: Services, asking: Asking, now: datetime) -> None:
    subject = asking.subject
    fault = questions.subject_fault(subject, demo=services.settings.demo, today=legal_day(now))
    if fault is not None:
        raise ExchangeError("a whole and valid code or number, and the name where one is needed", code=fault, place="subject")
    case, basis, officer = asking.case, asking.basis, asking.officer
    plain = all(text.isprintable() for text in (case, basis, officer))
    if not plain or len(case) not in CASE or not 0 < len(basis) <= LONGEST_BASIS or not 0 < len(officer) <= CASE.stop:
        raise ExchangeError("a case of 4 to 64 characters, a ground and an officer", code="QUERY_BASIS", place="basis")
    if not 0 < asking.deadline_s <= LONGEST_S:
        raise ExchangeError("a deadline of at most 30 seconds", code="QUERY_SCOPE", place="deadline_s")
    if (asking.level == LEVEL_2) != (asking.follows is not None):
        raise ExchangeError("level 2 follows an inquiry of level 1", code="QUERY_FOLLOWS", place="follows")


async def _followed(services: Services, asker: Asker, asking: Asking) -> dict[_Key, OnePartner]:
    """The hits of the inquiry that is followed, each under the agreement that it was told under.

    Raises ExchangeError QUERY_FOLLOWS where it was about another subject, case or officer, or is not of the last day.
    """
    vault = services.store.vault
    rows = await inquiries.of_inquiry(services.store.reads, asking.follows or "")
    hits = {(row.partner, row.agreement): row for row in rows if row.status == "hit" and row.level == LEVEL_1}
    for row in hits.values():
        said = inquiries.said_of(vault, row)
        same = (row.org, said.subject, said.case, said.officer) == (asker.org, asking.subject, asking.case, asking.officer)
        if not same or services.clock() - row.asked_at > questions.FOLLOWED_WITHIN:
            raise ExchangeError("it follows a hit of the last day: same subject, case and officer", code="QUERY_FOLLOWS", place="follows")
    if not hits:
        raise ExchangeError("there is no hit to follow", code="QUERY_FOLLOWS", place="follows")
    return hits


# --- whom to ask ------------------------------------------------------------------------------------------------------


async def _ways(services: Services, asker: Asker, asking: Asking, first: dict[_Key, OnePartner], now: datetime) -> list[_Way]:
    """Every partner, with its questions or the reason why it is not asked."""
    ours = services.signers.party
    inquiry = new_id("inq_", services.random)
    held_with: dict[str, list[Held]] = {}
    for versions in (await held_agreements.held_agreements(services.store.reads)).values():
        held = in_force(versions, now)
        if held is None or ours not in held.agreement.parties or held.standing(now).ended:
            continue
        held_with.setdefault(held.agreement.other(ours), []).append(held)
    if set(asking.partners) - set(held_with):
        raise ExchangeError("there is no agreement with a partner that was named", code="QUERY_SCOPE", place="partners")
    found = []
    for partner, agreements in held_with.items():
        if not asking.partners or partner in asking.partners:
            found += _of_partner(services, asker, asking, agreements, first, inquiry, now)
    return found


def _of_partner(
    services: Services,
    asker: Asker,
    asking: Asking,
    agreements: Sequence[Held],
    first: dict[_Key, OnePartner],
    inquiry: str,
    now: datetime,
) -> list[_Way]:
    """One partner, under each agreement that covers something of the question.

    What is named is asked as a whole, shared among the agreements, or not at all. An agreement that could not be used is passed over where
    the partner is asked the same under another; else its row says why.
    """
    named = [(held, _names(services, asker, asking, held, first)) for held in agreements]
    may = {name for _, names in named for name in names}
    if asker.datasets is not None:
        may &= asker.datasets
    whole = set(asking.datasets) <= may
    about = [(held, names if whole else asking.datasets) for held, names in named if names] or [(agreements[0], asking.datasets)]
    ways = [_way(services, asker, asking, held, names, first, inquiry, now) for held, names in about]
    asked = {name for way in ways if way.code is None for name in way.question.datasets}
    return [way for way in ways if way.covered or not asked.issuperset(way.question.datasets)] or ways[:1]


def _names(services: Services, asker: Asker, asking: Asking, held: Held, first: dict[_Key, OnePartner]) -> tuple[str, ...]:
    """What of the question an agreement names; of a hit that is followed, what was asked."""
    agreement = held.agreement
    query = agreement.terms.query
    before = first.get((agreement.other(services.signers.party), agreement.id))
    if query is None or PURPOSE not in agreement.terms.purposes:
        return ()
    if asking.datasets:
        return tuple(name for name in asking.datasets if name in query.datasets)
    if before is not None:
        return inquiries.said_of(services.store.vault, before).datasets
    return tuple(name for name in query.datasets if asker.datasets is None or name in asker.datasets)


def _way(
    services: Services,
    asker: Asker,
    asking: Asking,
    held: Held,
    names: tuple[str, ...],
    first: dict[_Key, OnePartner],
    inquiry: str,
    now: datetime,
) -> _Way:
    vault, agreement = services.store.vault, held.agreement
    partner = agreement.other(services.signers.party)
    before = first.get((partner, agreement.id))
    officer = inquiries.officer_pseudonym(vault, agreement.id, asker.org, asking.officer)
    question = Question(
        id=b64u(services.random(_ID_BYTES)),
        agreement=questions.Under(id=agreement.id, version=agreement.version),
        from_=services.signers.party,
        to=partner,
        level=asking.level,
        purpose=PURPOSE,
        case=asking.case,
        basis=asking.basis,
        officer=officer,
        subject=asking.subject,
        datasets=names,
        follows=before.answer_digest if before is not None else None,
        asked_at=instant(now),
        deadline=instant(now + timedelta(seconds=max(1, round(asking.deadline_s)))),
    )
    fault = questions.terms_fault(question, agreement) or questions.persons_fault(asking.subject, names, agreement)
    code = fault if held.standing(now).active else "SCOPE_AGREEMENT"
    if asker.datasets is not None and not asker.datasets.issuperset(names):
        fault = code = "QUERY_SCOPE"
    row = OnePartner(
        inquiry=inquiry,
        partner=partner,
        agreement=agreement.id,
        question=question.id,
        day=legal_day(now),
        level=asking.level,
        org=asker.org,
        case_key=inquiries.case_keys(vault, asker.org, asking.case)[0],
        officer=officer,
        subject=subject_key(vault, asking.subject),
        status="unanswered",
        code=None,
        asked_at=now,
    )
    return _Way(partner=partner, held=held, question=question, row=row, covered=fault is None, code=code)


async def _begin(tx: Transaction, way: _Way, asker: Asker, asking: Asking) -> None:
    """Write down that a partner is being asked, or why it is not: also when under this agreement it was asked too often today."""
    query = way.held.agreement.terms.query
    if way.code is None and query is not None:
        counts = await inquiries.counted(tx, way.row.agreement, way.row.day, officer=way.row.officer, subject=way.row.subject)
        if counts.all >= query.per_day or counts.officer >= query.per_officer_day or counts.subject >= query.per_subject_day:
            way.code = "QUERY_RATE"
    said = Said(
        actor=asker.actor,
        app=asker.app,
        officer=asking.officer,
        case=asking.case,
        basis=asking.basis,
        purpose=PURPOSE,
        subject=asking.subject,
        datasets=way.question.datasets,
        body=b"" if way.code is not None else way.body,
    )
    if way.code is not None:
        way.row = OnePartner(**{name: getattr(way.row, name) for name in way.row.__struct_fields__} | _UNASKED | {"code": way.code})
    await inquiries.begin(tx, way.row, said)


_UNASKED: Final = {"status": "not_asked", "question": ""}


# --- asking -----------------------------------------------------------------------------------------------------------


async def _all(services: Services, ways: Sequence[_Way], deadline_s: float) -> dict[_Key, Back]:
    """What was said in time to each question."""
    if not ways:
        return {}
    until = Clock()() + timedelta(seconds=deadline_s)  # by the wall's clock: a guest knows no other
    tasks = {asyncio.create_task(_ask(services, way, until)): way.key for way in ways}
    done, late = await asyncio.wait(tasks, timeout=deadline_s)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=_LETTING_GO_S)
    backs = {tasks[task]: Back(status="unanswered", code="SIZE_TIME") for task in late}
    return backs | {tasks[task]: task.result() for task in done}


async def _ask(services: Services, way: _Way, until: datetime) -> Back:
    try:
        async with line_to(services, way.held, way.partner) as line:
            if "ask" not in line.capabilities:
                return Back(status="not_asked", code="UNAVAILABLE")  # nobody can be asked on this line
            data = await line.ask(way.body, until)
        return await believe(services, way.held, way.question, way.body, data)
    except AdapterError as error:
        return _trouble(error)
    except SettingsError as error:
        return Back(status="not_asked", code=error.code)
    except Exception:  # noqa: BLE001  # a guest may raise anything; the other partners' answers count all the same
        return Back(status="invalid", code="UNAVAILABLE")


def _trouble(error: AdapterError) -> Back:
    """What a line that brought no answer means: a partner that may have heard the question has not answered it."""
    if error.code == "SIZE_BYTES":
        return Back(status="invalid", code=error.code)
    heard = error.outcome_unknown or error.code != "UNAVAILABLE"  # with a code of its own it has refused, unsigned
    return Back(status="unanswered" if heard else "unreachable", code=error.code)


async def believe(services: Services, held: Held, question: Question, body: bytes, data: object) -> Back:
    """An answer's bytes, believed or `invalid`."""
    if not isinstance(data, bytes) or len(data) > MAX_ANSWER:
        return Back(status="invalid", code="SIZE_BYTES")

    async def attempt() -> Back:
        document = notes.read_envelope(data)
        ring, _ = await trusted_keys(services.store.reads, held, question.to)
        now, skew = services.clock(), held.agreement.skew
        answer = questions.read_answer(document, question, body, ring, now=now, skew=skew, required=held.agreement.algorithms)
        told = told_lines.read_told(answer, question, held.agreement, ring, first_seen=now, skew=skew)
        return Back(status=answer.result, code=answer.code, answer=answer, document=document, told=told)

    try:
        return await with_newer_keys(services, question.to, attempt)
    except GatewayError as error:
        return Back(status="invalid", code=error.code)


# --- what came back ---------------------------------------------------------------------------------------------------


async def _finish(services: Services, ways: Sequence[_Way], backs: dict[_Key, Back]) -> None:
    """Write down what came back; records for as long as a case may last."""
    if not ways:
        return
    async with services.store.transaction() as tx:
        for way in ways:
            await keep(services, tx, way.row, backs[way.key])


async def keep(services: Services, tx: Transaction, row: OnePartner, back: Back) -> None:
    """What one partner said, in the log; of level 2 its records alone, under seal."""
    document = back.document
    gone = await _gone(services, tx, row.agreement, [each.rid for each in back.told]) if back.told else frozenset()
    told = tuple(each for each in back.told if each.rid not in gone)  # erased while the answer was on its way
    await inquiries.finish(
        tx,
        row,
        status=back.status,
        code=back.code,
        answer=notes.envelope(document) if document is not None and not back.told else None,
        answer_digest=digest_text(document.body) if document is not None else None,
        lines=told or None,
        lines_until=tx.now + timedelta(days=services.settings.case_days) if told else None,
    )


async def _gone(services: Services, tx: Transaction, agreement: str, rids: Sequence[str]) -> frozenset[str]:
    """Records that are erased here; what another agreement's end has purged may be told under one that goes on."""
    over = await agreement_ends.inventory(tx, agreement, services.signers.party) is not None
    return await erasures.entered(tx, rids) - (frozenset() if over else await purged.purged(tx, rids))


def _said(way: _Way, back: Back) -> PartnerSaid:
    return told_of(way.partner, way.row.agreement, way.question.datasets, back)


def told_of(partner: str, agreement: str, datasets: tuple[str, ...], back: Back) -> PartnerSaid:
    """One partner's row as whoever asked sees it."""
    answer = back.answer
    if answer is None:
        return PartnerSaid(partner=partner, agreement=agreement, datasets=datasets, status=back.status, code=back.code)
    return PartnerSaid(
        partner=partner,
        agreement=agreement,
        datasets=datasets,
        status=back.status,
        code=back.code,
        need=answer.need,
        until=answer.until,
        details=answer.details,
        as_of=answer.as_of,
        answered_at=datetime.fromisoformat(answer.answered_at),
        expires_at=answer.expires_at,
        records=back.told,
    )
