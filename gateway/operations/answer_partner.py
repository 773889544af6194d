"""Answer a partner's question about one subject (exchange.md §12): signed, whatever is answered, and bound to the bytes of the question.

An answer, in this order: the question is read; it is of whoever signed the request, and for us; the agreement between us is in force and
lets this be asked, of now, about a whole subject, on a ground; what follows a level-1 hit follows it within a day. Then it is looked for,
and in one transaction: asked before is refused, too often is refused, else the question stands there for years with its evidence and what
it was answered, and so does the access in the trail. Only then the answer leaves, a hit no sooner than a miss.

Rules: what is refused, and why, follows from the question and the agreement alone, never from what is stored. Nothing is told in a
maintenance or under a plan whose grounds have ended: then it is said until when. Somebody who searches instead of asking is an alarm.
This story must not decide what a view shows.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from gateway.core.disclosure.plans import Policies
from gateway.core.disclosure.tiers import PurposeInfo
from gateway.core.errors import ExchangeError, NotFound
from gateway.core.exchange import notes, questions
from gateway.core.exchange.agreements import Agreement, Held, in_force
from gateway.core.exchange.questions import LEVEL_1, LEVEL_2, PURPOSE, Evidence, Question, RecordSent, Result
from gateway.core.exchange.wire import digest_text
from gateway.core.records.periods import add_duration, legal_day
from gateway.operations.manage_agreements import own_maintenance
from gateway.operations.partners import ED25519, exchange_signers
from gateway.operations.record_access import question_said
from gateway.operations.tell_records import Found, GroundsEnded, find, lines
from gateway.services import Services
from gateway.store import audit, held_agreements
from gateway.store import questions as log
from gateway.store.alarms import clear, sound, standing
from gateway.store.audit import Said
from gateway.store.questions import Asked
from gateway.store.store import Source, Transaction

LIFE: Final = timedelta(hours=1)
"""How long an answer may be gone by."""
AGAIN: Final = timedelta(hours=1)
"""When to ask again where nobody can say how long it will take."""
KEPT: Final = timedelta(days=90)
"""How long a question's id is remembered at least."""
FLOOR_S: Final = 0.012
"""A hit and a miss are answered after the same time: no sooner than this."""
LATELY: Final = timedelta(minutes=10)
MISSES: Final = 20
"""So many misses within that time, and three of four, are a search."""
SEARCHED: Final = "query-scraping"
STANDS: Final = timedelta(days=1)
"""How long that alarm stands."""
NEIGHBOURS: Final = 5
"""So many subjects of a day whose codes follow one another are a search."""


async def answer_partner(services: Services, partner: str, evidence: Evidence) -> bytes:
    """The signed answer to a believed request of a partner, as it travels.

    Raises ExchangeError SCHEMA_* for what is no question, SCOPE_ISSUER for somebody else's, SCOPE_RECEIVER for one to somebody else;
    NoActivePolicy, StoreError: then nothing is told.
    """
    started = asyncio.get_running_loop().time()
    asked = questions.read_question(evidence.body)
    if asked.from_ != partner:
        raise ExchangeError("a partner asks for itself", code="SCOPE_ISSUER")
    if asked.to != services.signers.party:
        raise ExchangeError("the question is for somebody else", code="SCOPE_RECEIVER")
    policies = await services.policies.fresh()
    told = await _Answering(services, policies, asked, evidence).run()
    await asyncio.sleep(max(0.0, FLOOR_S - (asyncio.get_running_loop().time() - started)))
    return told


async def later_answer(services: Services, partner: str, question: str) -> bytes:
    """The answer to a question that could not be answered at once, or was answered a while ago and whose answer was lost on its way.

    Raises NotFound for a question that this partner never asked, where nothing is kept that could be told again, and of a hit that would be
    none now: the agreement stands still, or the records have left since.
    """
    before = await log.one(services.store.reads, partner, question)
    if before is None:
        raise NotFound
    waits = before.result == "not_available_until"
    told = None
    if not waits or before.until is None or services.clock() < before.until:
        over = not waits and services.clock() - before.at > LIFE
        told = None if over else await log.told_of(services.store.reads, before)
        if told is None:
            raise NotFound
        if before.result != "hit":
            return told
    evidence = await log.evidence_of(services.store.reads, before)
    if evidence is None:
        raise NotFound
    answering = _Answering(services, await services.policies.fresh(), questions.read_question(evidence.body), evidence, before)
    if told is None:
        return await answering.run()
    if not await answering.hits():
        raise NotFound
    return told


class _Outcome(Struct, frozen=True, kw_only=True):
    """What a question comes to, before it is signed."""

    result: Result
    code: str | None = None
    need: tuple[str, ...] = ()
    until: datetime | None = None
    found: Found | None = None


class _Answering:
    """One question on its way to its answer; `before`: it is in the log already and could not be answered then."""

    def __init__(self, services: Services, policies: Policies, asked: Question, evidence: Evidence, before: Asked | None = None) -> None:
        self.services = services
        self.policies = policies
        self.asked = asked
        self.evidence = evidence
        self.before = before
        self.now = services.clock() if before is None else max(services.clock(), before.at)
        self.vault = services.store.vault
        self.subject = log.subject_key(self.vault, asked.subject)

    async def run(self) -> bytes:
        """The signed answer, written down before it is given."""
        held, outcome = await self._outcome()
        made: list[RecordSent] = []
        details, rows = False, 0
        if outcome.result == "hit" and held is not None and outcome.found is not None:
            rows, details = len(outcome.found.told), LEVEL_2 in _levels(held.agreement)
            if self.asked.level == LEVEL_2:
                made, details = await lines(self.services, held, outcome.found)
        async with self.services.store.transaction() as tx:
            outcome = await self._last_look(held, outcome)
            if outcome.result != "hit":
                made, details, rows = [], False, 0
            body = questions.answer_body(
                self.asked,
                digest_text(self.evidence.body),
                result=outcome.result,
                at=self.now,
                life=LIFE,
                policy_version=self.policies.version,
                need=outcome.need,
                code=outcome.code,
                until=outcome.until,
                details=details,
                records=made,
            )
            signers = exchange_signers(self.services, self.now, held.agreement.algorithms if held is not None else ED25519)
            told = notes.envelope(notes.sign_document("answer", self.asked.id, body, signers))
            if outcome.code != "TIME_REPLAY":
                await self._keep(tx, outcome, digest_text(body), told)
            await audit.write_access(tx, self._access(held, rows))
        return told

    # --- what it comes to ---------------------------------------------------------------------------------------------

    async def hits(self) -> bool:
        """Whether the question would be answered with a hit now."""
        return (await self._outcome())[1].result == "hit"

    async def _outcome(self) -> tuple[Held | None, _Outcome]:
        held = await self._governing(self.services.store.reads)
        code = self._fault(held)
        if code is not None or held is None:
            return held, _Outcome(result="refused", code=code or "SCOPE_AGREEMENT")
        need = questions.missing(self.asked.subject)
        if need:
            return held, _Outcome(result="need_more", need=need)
        if self.asked.level == LEVEL_2 and (code := await self._follows()) is not None:
            return held, _Outcome(result="refused", code=code)
        maintenance = await own_maintenance(self.services)
        if maintenance is not None and maintenance.now(self.now):
            return held, _Outcome(result="not_available_until", until=maintenance.end)
        try:
            found = await find(self.services, self.policies, held, self.asked, self.now)
        except GroundsEnded:
            return held, _Outcome(result="not_available_until", until=self.now + AGAIN)
        return held, _Outcome(result="hit" if found.told else "no_hit", found=found)

    async def _governing(self, source: Source) -> Held | None:
        """The agreement under which it is asked, if it is in force between us; None: it is not."""
        versions = (await held_agreements.held_agreements(source, self.asked.agreement.id)).get(self.asked.agreement.id, [])
        held = in_force(versions, self.now)
        if held is None or {self.asked.from_, self.asked.to} != set(held.agreement.parties):
            return None
        return held if held.agreement.version == self.asked.agreement.version and held.standing(self.now).active else None

    def _fault(self, held: Held | None) -> str | None:
        asked = self.asked
        if held is None:
            return "SCOPE_AGREEMENT"
        demo, today = self.services.settings.demo, legal_day(self.now)
        return (
            questions.terms_fault(asked, held.agreement)
            or (questions.time_fault(asked, self.now) if self.before is None else None)
            or questions.subject_fault(asked.subject, demo=demo, today=today)
            or questions.persons_fault(asked.subject, asked.datasets, held.agreement)
        )

    async def _follows(self) -> str | None:
        reads = self.services.store.reads
        first = await log.answered_with(reads, self.asked.from_, self.asked.follows or "")
        kept = await log.evidence_of(reads, first) if first is not None and first.result == "hit" else None
        question = questions.read_question(kept.body) if kept is not None else None
        return questions.follows_fault(self.asked, question, first.at if first is not None else None, self.now)

    # --- in one transaction ---------------------------------------------------------------------------------------------

    async def _last_look(self, held: Held | None, outcome: _Outcome) -> _Outcome:
        """The same, unless it was asked before, or too often, or the agreement has changed meanwhile.

        Whoever has a transaction is the only writer, so what is read beside it stands until it ends; and costs a tenth.
        """
        reads = self.services.store.reads
        if self.before is not None:
            return outcome
        if await log.one(reads, self.asked.from_, self.asked.id) is not None:
            return _Outcome(result="refused", code="TIME_REPLAY")
        if held is None:
            return outcome
        again = await self._governing(reads)
        if again is None or again.agreement.digest != held.agreement.digest:
            return _Outcome(result="refused", code="SCOPE_AGREEMENT")
        query = held.agreement.terms.query
        if query is None:
            return outcome
        day = legal_day(self.now)
        counts = await log.counted(reads, held.agreement.id, day, officer=self.asked.officer, subject=self.subject)
        if counts.all >= query.per_day or counts.officer >= query.per_officer_day or counts.subject >= query.per_subject_day:
            return _Outcome(result="refused", code="QUERY_RATE", found=outcome.found)
        return outcome

    async def _keep(self, tx: Transaction, outcome: _Outcome, answer_digest: str, told: bytes) -> None:
        day = legal_day(self.now)
        near = log.near_key(self.vault, self.asked.subject)
        person = outcome.found.subject if outcome.found is not None and self.asked.subject.kind != "legal" else None
        again = told if self.asked.level == LEVEL_1 or outcome.result != "hit" else None  # records are told once, and kept nowhere
        if self.before is not None:
            said = {"result": outcome.result, "code": outcome.code, "answer_digest": answer_digest, "until": outcome.until}
            await log.answer_again(tx, self.before, **said, told=again, subject=person)  # type: ignore[arg-type]  # as named above
            return
        asked = Asked(
            party=self.asked.from_,
            question=self.asked.id,
            agreement=self.asked.agreement.id,
            day=day,
            level=self.asked.level,
            officer=self.asked.officer,
            subject=self.subject,
            near=near,
            request_digest=digest_text(self.evidence.body),
            result=outcome.result,
            code=outcome.code,
            answer_digest=answer_digest,
            at=self.now,
            until=outcome.until,
        )
        await log.put(tx, asked, self.evidence, told=again, subject=person)
        seen = await log.lately(self.services.store.reads, asked, since=self.now - LATELY)
        if (seen.missed >= MISSES and seen.missed * 4 >= seen.asked * 3) or seen.neighbours >= NEIGHBOURS:
            detail = {"asked": seen.asked, "missed": seen.missed, "neighbours": seen.neighbours}
            await sound(tx, SEARCHED, f"{asked.party}/{asked.agreement}", detail)

    def _access(self, held: Held | None, rows: int) -> Said:
        """Whose question it was, about whom and for which case, for the trail: it is there before the answer leaves."""
        asked = self.asked
        sets = []
        if held is not None:
            named = (self.policies.plan_set(name, held.local.tier, PURPOSE) for name in asked.datasets)
            sets = [each for each in named if each is not None]
        return question_said(
            self.services,
            actor=f"partner/{asked.from_}",
            act="data.asked",
            target=f"query/{asked.id}",
            org=held.agreement.party(asked.from_).identity.org if held is not None else "",
            purpose=asked.purpose,
            datasets=asked.datasets,
            rows=rows,
            subjects=[questions.number_of(asked.subject)],
            case_ref=asked.case,
            plan_sets=sets,
            policy_version=self.policies.version,
        )


def _levels(agreement: Agreement) -> tuple[int, ...]:
    return agreement.terms.query.levels if agreement.terms.query is not None else ()


# --- the log ----------------------------------------------------------------------------------------------------------


class WhoAsked(Struct, frozen=True, kw_only=True):
    """One question about a subject, as the subject may read it."""

    at: datetime
    by: str
    """The city's party."""
    purpose: str
    """In the words for the subject."""
    case: str | None
    basis: str | None
    level: int
    result: str
    policy_version: int | None
    """Under which version and plans it was answered; None where the trail does not reach so far back, or we let nothing be asked."""
    policy_plan: str | None


class AskedLine(Struct, frozen=True, kw_only=True):
    """One question of a partner in the log of what we were asked."""

    at: datetime
    partner: str
    agreement: str
    officer: str
    """The partner's pseudonym."""
    purpose: str | None
    case: str | None
    basis: str | None
    level: int
    datasets: tuple[str, ...]
    result: str
    code: str | None


async def asked_log(services: Services, start: datetime) -> list[AskedLine]:
    """Which partner asked us for which case since a moment, and what it was answered, oldest first; never whom it was about."""
    found = []
    for each in await log.asked_since(services.store.reads, start):
        said = await question_said_in(services, each)
        found.append(
            AskedLine(
                at=each.at,
                partner=each.party,
                agreement=each.agreement,
                officer=each.officer,
                purpose=said.purpose if said is not None else None,
                case=said.case if said is not None else None,
                basis=said.basis if said is not None else None,
                level=each.level,
                datasets=said.datasets if said is not None else (),
                result=each.result,
                code=each.code,
            )
        )
    return found


def still_kept(purpose: PurposeInfo | None, at: datetime, now: datetime) -> bool:
    """Whether what was done for a purpose is kept from the person concerned for now, as a law says."""
    return purpose is not None and purpose.told_after is not None and add_duration(legal_day(at), purpose.told_after) > legal_day(now)


async def question_said_in(services: Services, each: log.Asked) -> questions.Question | None:
    """The question itself, while it is kept as evidence."""
    kept = await log.evidence_of(services.store.reads, each)
    return questions.read_question(kept.body) if kept is not None else None


async def who_asked(services: Services, number: str, *, by: str) -> list[WhoAsked]:
    """Who asked about a code or number, why, and what was answered, oldest first: what the subject may read (PIPL 45).

    What the purpose keeps from the subject for a while, as a law says, is not there before. Raises NoActivePolicy, AuditUnavailable.
    """
    policies = await services.policies.fresh()
    info = policies.purposes.get(PURPOSE)
    label = info.subject_label if info is not None else PURPOSE
    found = []
    for each in await log.about(services.store.reads, number):
        if still_kept(info, each.at, services.clock()):
            continue
        said = await question_said_in(services, each)
        version, plan = await _under(services, each)
        found.append(
            WhoAsked(
                at=each.at,
                by=each.party,
                purpose=label,
                case=said.case if said is not None else None,
                basis=said.basis if said is not None else None,
                level=each.level,
                result=each.result,
                policy_version=version,
                policy_plan=plan,
            )
        )
    async with services.store.transaction() as tx:
        await audit.write(tx, by, "query.told-subject", "questions", {"questions": len(found)}, subjects=[number])
    return found


async def _under(services: Services, each: log.Asked) -> tuple[int | None, str | None]:
    """Policy version and plans under which a question was answered, as the trail has them."""
    day = each.day.isoformat()
    wanted = audit.Wanted(from_day=day, to_day=day, actor=f"partner/{each.party}", act="data.asked", target=f"query/{each.question}")
    rows = await audit.rows(services.store.reads, wanted, limit=1)
    return (rows[0].policy_version, rows[0].plan_hash) if rows else (None, None)


async def forget_questions(services: Services, policies: Policies) -> datetime:
    """Drop questions whose time is over, as the purpose's retention says, and never before ninety days; before when they were asked.

    An alarm about a search is over after a day.
    """
    now = services.clock()
    info = policies.purposes.get(PURPOSE)
    period = policies.catalogue.retention.get(info.retention, "P90D") if info is not None else "P90D"
    days = (add_duration(legal_day(now), period) - legal_day(now)).days
    before = now - max(KEPT, timedelta(days=days))
    async with services.store.transaction() as tx:
        await log.forget(tx, before=before, untold=now - LIFE)
        for alarm in await standing(tx):
            if alarm.kind == SEARCHED and alarm.raised_at <= now - STANDS:
                await clear(tx, alarm.kind, alarm.target, "gateway")  # whoever goes on searching raises it anew
    return before
