"""What we asked partners, afterwards: read again, asked again, listed, and ended with its case (exchange.md §12).

Rules: what was asked for a case is shown for that case alone, to the organisation that asked; records that a partner told are shown as they
were told, without those that have left our own store meanwhile, and are deleted when the case ends or their time is over. That it was asked
stays as long as the purpose says. This story must not ask a new question.
"""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from gateway.adapter_contract import AdapterError
from gateway.core.errors import NotFound, SettingsError
from gateway.core.exchange import notes, questions
from gateway.core.exchange.agreements import Held, in_force
from gateway.core.exchange.questions import PURPOSE, Answer
from gateway.core.exchange.told_lines import Told
from gateway.core.records.model import RecordId
from gateway.operations.answer_partner import forget_questions
from gateway.operations.ask_partner import Asker, Back, Inquiry, PartnerSaid, believe, keep, told_of
from gateway.operations.partners import line_to
from gateway.operations.record_access import question_said, record_question
from gateway.services import Services
from gateway.store import audit, held_agreements, inquiries
from gateway.store import records as rows
from gateway.store.inquiries import OnePartner, Said


class InquiryLine(Struct, frozen=True, kw_only=True):
    """One row of the log of what we asked: a partner, under one agreement with it."""

    inquiry: str
    asked_at: datetime
    actor: str
    org: str
    officer: str
    purpose: str
    case: str
    basis: str
    level: int
    partner: str
    agreement: str
    datasets: tuple[str, ...]
    status: str
    code: str | None
    records_kept: bool


async def show_inquiry(services: Services, asker: Asker, inquiry: str, *, case: str | None = None) -> Inquiry:
    """An inquiry as it stands: what each partner said, and the records as long as the case lasts.

    `case` is the one in which it is read; None: the office looks. Raises NotFound for another organisation's, or another case's;
    AuditUnavailable.
    """
    found = await _own(services, asker, inquiry, case)
    now, vault = services.clock(), services.store.vault
    said = []
    rids: list[str] = []
    for row in found:
        asked = inquiries.said_of(vault, row)
        told = await _still(services, row, inquiries.lines_of(vault, row, now) or ())
        rids += [each.rid for each in told]
        said.append(_as_kept(services, row, asked, told))
    first = inquiries.said_of(vault, found[0])
    if rids:
        access = question_said(
            services,
            actor=asker.actor,
            act="data.read",
            target=f"inquiry/{inquiry}",
            org=asker.org,
            app=asker.app,
            purpose=PURPOSE,
            datasets=first.datasets,
            rows=len(rids),
            subjects=[questions.number_of(first.subject)],
            case_ref=first.case,
        )
        await record_question(services, access)
    return Inquiry(
        id=inquiry,
        level=questions.LEVEL_1 if found[0].level == questions.LEVEL_1 else questions.LEVEL_2,
        total=questions.total(each.status for each in said),
        asked_at=found[0].asked_at,
        partners=tuple(said),
    )


async def _own(services: Services, asker: Asker, inquiry: str, case: str | None) -> list[OnePartner]:
    found = await inquiries.of_inquiry(services.store.reads, inquiry)
    keys = None if case is None else inquiries.case_keys(services.store.vault, asker.org, case)
    if not found or (keys is not None and (found[0].case_key not in keys or found[0].org != asker.org)):
        raise NotFound
    return found


async def _still(services: Services, row: OnePartner, told: tuple[Told, ...]) -> tuple[Told, ...]:
    """Without those that we know to have been withdrawn by the partner since."""
    if not told:
        return told
    ids = [RecordId(each.rid) for each in told]
    states = ("in_force", "retracted", "repaired", "expired", "erased")
    held = await rows.load(services.store.reads, ids=ids, fields=frozenset(), states=states)  # type: ignore[arg-type]  # the five states
    gone = {record.record_id for record in held if record.issuer == row.partner and record.state != "in_force"}
    return tuple(each for each in told if each.rid not in gone)


def _as_kept(services: Services, row: OnePartner, asked: Said, told: tuple[Told, ...]) -> PartnerSaid:
    data = inquiries.answer_of(services.store.vault, row)
    answer = None
    if data is not None:
        answer = questions.answer_of(notes.read_envelope(data).body)
    made = told_of(row.partner, row.agreement, asked.datasets, Back(status=row.status, code=row.code, answer=answer, told=told))
    if answer is not None:
        return made
    return PartnerSaid(
        partner=row.partner,
        agreement=row.agreement,
        datasets=asked.datasets,
        status=row.status,
        code=row.code,
        answered_at=row.answered_at,
        records=told,
    )


# --- answers that come later ------------------------------------------------------------------------------------------


async def ask_again(services: Services, asker: Asker, inquiry: str, *, case: str | None = None) -> Inquiry:
    """Fetch the answers that partners could not give at once, where their time has come.

    Raises NotFound, AuditUnavailable.
    """
    now = services.clock()
    for row in await _own(services, asker, inquiry, case):
        answer = _kept_answer(services, row)
        if row.status != "not_available_until" or answer is None or answer.until is None:
            continue
        if datetime.fromisoformat(answer.until) <= now:
            back = await _fetch(services, row)
            if back is not None:
                async with services.store.transaction() as tx:
                    await keep(services, tx, row, back)
    return await show_inquiry(services, asker, inquiry, case=case)


def _kept_answer(services: Services, row: OnePartner) -> Answer | None:
    data = inquiries.answer_of(services.store.vault, row)
    return None if data is None else questions.answer_of(notes.read_envelope(data).body)


async def _fetch(services: Services, row: OnePartner) -> Back | None:
    """The later answer of one partner, believed; None: there is none yet, and what stands, stands."""
    body = inquiries.said_of(services.store.vault, row).body
    held = await _agreement(services, row)
    if held is None:
        return None
    try:
        async with line_to(services, held, row.partner) as line:
            later = getattr(line, "later", None) if "later" in line.capabilities else None
            data = await later(row.question) if later is not None else None
    except (AdapterError, SettingsError):
        return None
    except Exception:  # noqa: BLE001  # a guest may raise anything
        return None
    return None if data is None else await believe(services, held, questions.read_question(body), body, data)


async def _agreement(services: Services, row: OnePartner) -> Held | None:
    versions: Mapping[str, list[Held]] = await held_agreements.held_agreements(services.store.reads, row.agreement)
    return in_force(versions.get(row.agreement, []), services.clock())


# --- the log, and the end ---------------------------------------------------------------------------------------------


async def inquiry_log(services: Services, start: datetime) -> list[InquiryLine]:
    """Who of us asked which partner for which case since a moment, and what became of it; never whom it was about."""
    found = []
    for row in await inquiries.asked_since(services.store.reads, start):
        said = inquiries.said_of(services.store.vault, row)
        found.append(
            InquiryLine(
                inquiry=row.inquiry,
                asked_at=row.asked_at,
                actor=said.actor,
                org=row.org,
                officer=said.officer,
                purpose=said.purpose,
                case=said.case,
                basis=said.basis,
                level=row.level,
                partner=row.partner,
                agreement=row.agreement,
                datasets=said.datasets,
                status=row.status,
                code=row.code,
                records_kept=row.row.lines is not None,
            )
        )
    return found


async def end_case(services: Services, org: str, case: str, *, by: str) -> int:
    """A case is over: everything that partners told for it is deleted; of how many answers."""
    keys = inquiries.case_keys(services.store.vault, org, case.strip())
    async with services.store.transaction() as tx:
        ended = await inquiries.end_case(tx, keys)
        await audit.write(tx, by, "query.case-ended", f"case/{keys[0]}", {"answers": ended})
    return ended


async def keep_questions(services: Services) -> None:
    """Let go of what both logs have held long enough; records told for a case when their time is over.

    Raises StoreError.
    """
    before = await forget_questions(services, services.policies.current())
    async with services.store.transaction() as tx:
        ended = await inquiries.forget(tx, before=before, now=tx.now)
        if ended:
            await audit.write(tx, "gateway", "query.lines-over", "inquiries", {"answers": ended})
