"""Lines: proposed from a file, approved by a second person, ended by one; and what a person decides about a batch that waits for one.

Rules: a line names what exists: datasets, divisions, fields that its plans show for each of its kinds, and of the bank what everybody sees
in clear. An approval names the digest of the very file. A new version takes the place of the one before only when it is approved; ending
one takes one person, after which only withdrawals go. Every act is audited with who signed it. This story must not send anything.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from gateway.core.callers.administrators import Administrator
from gateway.core.disclosure.plans import Plan, Policies
from gateway.core.errors import AdminError, ExchangeError, SettingsError
from gateway.core.exchange.lines import Line, LineDataset, LineTerms, faults, read_terms
from gateway.core.records.divisions import division
from gateway.core.records.identifiers import uscc_is_valid
from gateway.core.records.model import DatasetId
from gateway.core.records.periods import legal_day
from gateway.operations.deliver_rows import OUTCOME_UNKNOWN, count_as_lost, count_as_taken
from gateway.operations.four_eyes import actor, proof, refuse_dependent
from gateway.operations.identify_caller import purpose_open
from gateway.operations.lines import approved_lines, carrier_of
from gateway.operations.manage_apps import APPROVE, REGISTER, STOP
from gateway.operations.send_rows import AWAITS_PERSON
from gateway.services import Services
from gateway.store import audit, held_agreements, line_rows, lines, outbox
from gateway.store.lines import LineRow
from gateway.store.store import Transaction


class LineFile(Struct, frozen=True, kw_only=True):
    """One version of a line as the office lists it."""

    id: str
    version: int
    partner: str
    title: str
    direction: str
    tier: str
    purpose: str
    datasets: tuple[str, ...]
    since: str
    until: str
    owner: str
    digest: str
    """What an approval names."""
    state: str
    """proposed (a second person must approve), active, over (its last day has passed), superseded, ended, refused."""
    proposed_by: str
    approved_by: str | None
    ended_at: datetime | None


class Decided(Struct, frozen=True, kw_only=True):
    """What a person has decided of a batch."""

    stream: str
    seq: int
    """Its batch; of rows that were never answered the last one that has such."""
    decided: str
    rows: int = 0
    """Rows that were never answered, and about which this was decided; 0: the batch as a whole."""


async def propose_line(services: Services, text: bytes, *, by: Administrator) -> LineFile:
    """Take a line in from its file; nothing goes over it before a second person has approved it.

    Raises RoleMissing, AdminError line-invalid.
    """
    by.require(*REGISTER)
    terms = _read(text)
    policies = await services.policies.fresh()
    _check(services, policies, terms)
    if terms.until < legal_day(services.clock()):
        raise _invalid("its last day has passed", "until")
    async with services.store.transaction() as tx:
        if await held_agreements.held_agreements(tx, terms.id):
            raise _invalid("an agreement has this id", "id")
        version, digest = await lines.propose(tx, text, terms, by=by.name)
        said = {"version": version, "digest": digest, "partner": terms.partner, **proof(by)}
        await audit.write(tx, actor(by), "line.propose", f"line/{terms.id}", said)
    return await _shown(services, terms.id, version)


async def approve_line(services: Services, line: str, *, digest: str, by: Administrator) -> LineFile:
    """The second person's yes to this very file.

    Raises RoleMissing, AdminError line-unknown, line-state, line-invalid, approval-stale, approval-conflict.
    """
    by.require(*APPROVE)
    found = next((each for each in reversed(await _known(services, line)) if each.state == "proposed"), None)
    if found is None:
        raise AdminError("no version of this line waits for an approval", code="line-state", place="line")
    await refuse_dependent(services, by, found.proposed_by)
    if digest != found.digest:
        raise AdminError("the approval is about another text", code="approval-stale", place="digest", hint="chengxin line list")
    _check(services, await services.policies.fresh(), found.terms)  # the policies may have changed since
    async with services.store.transaction() as tx:
        again = (await lines.versions(tx, line))[-1]
        if (again.version, again.state) != (found.version, "proposed"):
            raise AdminError("another version was proposed meanwhile", code="line-state", place="line")
        await lines.approve(tx, line, found.version, by.name)
        await audit.write(tx, actor(by), "line.approve", f"line/{line}", {"version": found.version, "digest": digest, **proof(by)})
    return await _shown(services, line, found.version)


async def end_line(services: Services, line: str, *, by: Administrator) -> LineFile:
    """End a line; one person is enough. Withdrawals of what it has told still go, for a time.

    Raises RoleMissing, AdminError line-unknown.
    """
    by.require(*STOP)
    found = await _known(services, line)
    async with services.store.transaction() as tx:
        await lines.end(tx, line, by.name)
        await audit.write(tx, actor(by), "line.end", f"line/{line}", proof(by))
    return await _shown(services, line, found[-1].version)


async def list_lines(services: Services) -> list[LineFile]:
    """Every version of every line."""
    return [_line(services, row) for row in await lines.everything(services.store.reads)]


async def decide_batch(
    services: Services, stream: str, verdict: Literal["go", "arrived", "again"], *, reason: str, by: Administrator
) -> Decided:
    """A person's word about the first batch of a stream that waits for one: it may go, it has arrived over there, it goes again.

    A batch that the partner refuses as it is, as where a value is longer than a column over there, is given up by `again`: what it said is
    sealed anew under the settings of now, and what its format cannot carry then is taken back, whether it ever arrived or not.

    What has arrived is answered by later feedback where the line has such; else the person's word stands for the partner's. Where no batch
    waits for such a word, it is about the rows that the partner has left out of its answers for longer than agreed: they count as taken, or
    are told anew.

    Raises RoleMissing, AdminError line-unknown, line-state, reason-missing; SettingsError for a line whose adapter cannot be opened.
    """
    by.require("operator", "approver")
    if not reason.strip():
        raise AdminError("a decision stands with its reason", code="reason-missing", place="--reason")
    await _known(services, stream.partition(".")[0])
    line = next((each for each in await approved_lines(services, "out") if stream in dict(each.streams())), None)
    if line is None:
        raise AdminError("no batch of this stream waits", code="line-state", place="stream", hint="chengxin exchange status")
    answers_later = verdict != "arrived" or await _answers_later(services, line)
    async with services.store.transaction() as tx:
        out = await outbox.out_stream(tx, stream)
        waiting = await outbox.waiting_batches(tx, stream)
        if verdict == "again" and out is not None and out.stopped is None and waiting and _was_refused(waiting[0]):
            return await _seal_anew(tx, waiting[0], reason, by)
        if verdict != "go" and out is not None and out.stopped is None:
            return await _decide_rows(tx, line, stream, verdict, reason, by)
        if out is None or not waiting:
            raise AdminError("no batch of this stream waits", code="line-state", place="stream", hint="chengxin exchange status")
        batch = waiting[0]
        if (batch.code == AWAITS_PERSON) != (verdict == "go") or (verdict != "go" and out.stopped != OUTCOME_UNKNOWN):
            raise AdminError("this batch does not wait for this decision", code="line-state", place="stream")
        if verdict == "arrived":
            await outbox.end_delivery(tx, batch, state="acked", code=None)
            if not answers_later:
                await count_as_taken(tx, line, stream, await line_rows.rows_of(tx, stream, batch.seq))
        else:
            await line_rows.release(tx, batch, state="sealed" if verdict == "go" else "waiting", code=None)
        if out.stopped:
            await outbox.stop_stream(tx, stream, batch.epoch, None)
        said = {"seq": batch.seq, "verdict": verdict, "reason": reason, **proof(by)}
        await audit.write(tx, actor(by), "line.decide", f"stream/{stream}", said)
    return Decided(stream=stream, seq=batch.seq, decided=verdict)


def _was_refused(batch: outbox.OutBatch) -> bool:
    """Whether an attempt was made and ended with a code; one that nobody knows the end of has stopped its stream."""
    return batch.state == "waiting" and batch.attempts > 0 and batch.code not in (None, AWAITS_PERSON)


async def _seal_anew(tx: Transaction, batch: outbox.OutBatch, reason: str, by: Administrator) -> Decided:
    """Nothing of a batch that stands in the way of all others is sent any more."""
    rows = await line_rows.rows_of(tx, batch.stream, batch.seq)
    await outbox.end_delivery(tx, batch, state="nacked", code=batch.code)
    await count_as_lost(tx, batch.stream, rows)
    said = {"seq": batch.seq, "verdict": "again", "code": batch.code, "rows": len(rows), "reason": reason, **proof(by)}
    await audit.write(tx, actor(by), "line.decide", f"stream/{batch.stream}", said)
    return Decided(stream=batch.stream, seq=batch.seq, decided="again")


async def _decide_rows(
    tx: Transaction, line: Line, stream: str, verdict: Literal["arrived", "again"], reason: str, by: Administrator
) -> Decided:
    """About rows of delivered batches of which nothing was said within `feedback_h`."""
    rows = await line_rows.silent_rows(tx, stream, tx.now - timedelta(hours=line.terms.sla.feedback_h))
    if not rows:
        raise AdminError(
            "no batch of this stream waits, and no row is without an answer for longer than agreed",
            code="line-state",
            place="stream",
            hint="chengxin exchange overdue",
        )
    if verdict == "arrived":
        await count_as_taken(tx, line, stream, rows)
    else:
        await count_as_lost(tx, stream, rows)
    said = {"seq": rows[-1].seq, "verdict": verdict, "rows": len(rows), "reason": reason, **proof(by)}
    await audit.write(tx, actor(by), "line.decide", f"stream/{stream}", said)
    return Decided(stream=stream, seq=rows[-1].seq, decided=verdict, rows=len(rows))


async def _answers_later(services: Services, line: Line) -> bool:
    async with carrier_of(services, line) as carrier:
        return "feedback" in carrier.capabilities


# --- what may stand in one --------------------------------------------------------------------------------------------


def _read(text: bytes) -> LineTerms:
    try:
        return read_terms(text)
    except ExchangeError as error:
        raise _invalid(error.detail, error.place or "line") from None


def _check(services: Services, policies: Policies, terms: LineTerms) -> None:
    for code, place, what in (*faults(terms), *_faults(services, policies, terms)):
        raise _invalid(f"{what} ({code})", place)


def _faults(services: Services, policies: Policies, terms: LineTerms) -> Iterable[tuple[str, str, str]]:
    """(code, place, what) of everything that is not there, or that our policies do not show."""
    if not uscc_is_valid(terms.org):
        yield "SUBJ_USCC", "org", "the organisation's code is wrong"
    if terms.partner == services.settings.party:
        yield "SCOPE_AGREEMENT", "partner", "that is this gateway"
    setting = next((each for each in services.settings.partners if each.party == terms.partner), None)
    if setting is not None and setting.adapter is not None:
        try:
            services.adapters.load(setting.adapter)
        except SettingsError as error:
            yield error.code, f"partners.{terms.partner}", error.detail
    if terms.direction == "out" and not purpose_open(policies, terms.tier, terms.purpose):
        yield "SCOPE_AGREEMENT", "purpose", "the policies do not open this purpose to the tier"
    for each in terms.datasets:
        place = f"datasets.{each.dataset}"
        dataset = policies.catalogue.datasets.get(DatasetId(each.dataset))
        if dataset is None:
            yield "SCOPE_AGREEMENT", place, "there is no such dataset"
            continue
        for region in (*each.regions, *each.except_):
            if division(region) is None:
                yield "SCOPE_REGION", f"{place}.regions", "there is no such division"
        wires = {field.wire_name: name for name, field in dataset.fields.items()}
        unknown = [name for name in each.fields if name not in wires]
        if unknown:
            yield "SCOPE_FIELD", f"{place}.fields", f"the dataset has no field {', '.join(unknown)}"
        elif terms.direction == "out":
            yield from _hidden(policies, terms, each, {wires[name]: name for name in each.fields}, place)


def _hidden(
    policies: Policies, terms: LineTerms, each: LineDataset, names: dict[str, str], place: str
) -> Iterable[tuple[str, str, str]]:
    plans = policies.plan_set(each.dataset, terms.tier, terms.purpose)
    public = policies.plan_set(each.dataset, "public", "open.read")
    for kind in each.subject_kinds:
        plan = plans.plans.get(kind) if plans is not None else None
        hidden = [wire for name, wire in names.items() if name not in _shows(plan)]
        if hidden:
            yield "SCOPE_FIELD", f"{place}.fields", f"the plan for {kind} does not show {', '.join(hidden)}"
        if terms.tier == "pboc":
            open_to_all = public.plans.get(kind) if public is not None else None
            narrower = [wire for name, wire in names.items() if name not in _shows(open_to_all, clear=True)]
            if narrower:
                yield "SCOPE_FIELD", f"{place}.fields", f"not everybody sees {', '.join(narrower)} in clear"


def _shows(plan: Plan | None, *, clear: bool = False) -> frozenset[str]:
    if plan is None:
        return frozenset()
    return frozenset(step.field for step in plan.steps if not clear or step.field not in plan.treatments)


def _invalid(what: str, place: str) -> AdminError:
    return AdminError(what, code="line-invalid", place=place, hint="gateway/README.md shows a line")


async def _known(services: Services, line: str) -> list[LineRow]:
    found = await lines.versions(services.store.reads, line)
    if not found:
        raise AdminError("there is no such line", code="line-unknown", place="line", hint="chengxin line list")
    return found


async def _shown(services: Services, line: str, version: int) -> LineFile:
    return next(_line(services, row) for row in await _known(services, line) if row.version == version)


def _line(services: Services, row: LineRow) -> LineFile:
    terms = row.terms
    over = row.state == "active" and terms.until < legal_day(services.clock())
    return LineFile(
        id=terms.id,
        version=row.version,
        partner=terms.partner,
        title=terms.title,
        direction=terms.direction,
        tier=terms.tier,
        purpose=terms.purpose,
        datasets=tuple(each.dataset for each in terms.datasets),
        since=terms.from_.isoformat(),
        until=terms.until.isoformat(),
        owner=terms.owner,
        digest=row.digest,
        state="over" if over else row.state,
        proposed_by=row.proposed_by,
        approved_by=row.approved_by,
        ended_at=row.ended_at,
    )
