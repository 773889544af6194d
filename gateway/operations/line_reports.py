"""How lines stand, for the office: beside the streams of agreements in status, send, doctor and alarms, in the same shapes.

Rules: numbers and codes only, no value; a partner is named with count and age when its answers or its acknowledgements of withdrawals are
overdue. Nothing is asked of a line but what its check asks. This story must not send or mend anything.
"""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from msgspec import Struct

from gateway.adapter_contract import AdapterError
from gateway.core.errors import AdminError, ExchangeError, GatewayError
from gateway.core.exchange.lines import Line
from gateway.core.exchange.wire import SHA256, b64
from gateway.core.records.periods import legal_day
from gateway.operations.alarms import Condition
from gateway.operations.compare_counts import LOOK_BACK, Comparison, compare_counts, comparisons
from gateway.operations.findings import Finding, checked, finding, stream_held
from gateway.operations.held_back import line_sender
from gateway.operations.keep_lines import LineRun
from gateway.operations.lines import FAILING, approved_lines, carrier_of, told_by
from gateway.operations.list_overdue import ESCALATED, KINDS
from gateway.operations.report_exchange import StreamReport
from gateway.operations.send_batch import Sent
from gateway.services import Services
from gateway.store import changes, debts, holds, ledger, line_rows, lines, outbox

MOST_ROWS = 1000


async def line_streams(services: Services) -> list[StreamReport]:
    """Every stream of every line, as `exchange status` shows streams."""
    reads, now = services.store.reads, services.clock()
    head = await changes.head(reads)
    found: list[StreamReport] = []
    for line in await approved_lines(services):
        state = await lines.state_of(reads, line.id)
        for stream, _ in line.streams():
            out = await outbox.out_stream(reads, stream)
            hold = await holds.hold_on(reads, line_sender(line, services.signers.party), stream)
            late = await ledger.overdue(reads, stream, now=now, hours=line.terms.sla.withdraw_h)
            outward = line.terms.direction == "out"
            found.append(
                StreamReport(
                    stream=stream,
                    direction=line.terms.direction,
                    partner=line.terms.partner,
                    epoch=out.head.epoch if out else 0,
                    seq=out.head.seq if out else 0,
                    size=out.head.tree.size if out else 0,
                    root=b64(out.head.tree.root()) if out else b64(SHA256.hash(b"")),
                    state=(out.stopped if out else None) or state.code or ("open" if line.standing(now) != "nothing" else "over"),
                    unread=head - (out.cursor if out else 0) if outward else 0,
                    waiting=len(await outbox.waiting_batches(reads, stream)),
                    overdue=late.lines if late else 0,
                    overdue_since=late.since if late else None,
                    held_since=hold.since if hold is not None else None,
                )
            )
    return found


async def as_sent(services: Services, run: LineRun) -> Sent:
    """What a pass over a line's stream came to, as `exchange send` tells it."""
    out = await outbox.out_stream(services.store.reads, run.stream)
    return Sent(
        stream=run.stream,
        partner=run.partner,
        sealed=run.sealed,
        lines=run.rows,
        not_sent=run.not_sent,
        delivered=run.delivered,
        waiting=run.waiting,
        state="acked" if run.state == "delivered" else run.state,
        code=run.code,
        seq=out.head.seq if out else 0,
        size=out.head.tree.size if out else 0,
        root=b64(out.head.tree.root()) if out else "",
    )


class RowReport(Struct, frozen=True, kw_only=True):
    """One row that the partner holds or has rejected."""

    stream: str
    record: str
    version: int
    batch: int
    result: str
    code: str | None
    field: str | None
    at: datetime | None


class LineReport(Struct, frozen=True, kw_only=True):
    """How one stream of a line fares: rows by what became of them, and those that were not taken."""

    stream: str
    partner: str
    rows: dict[str, int]
    not_taken: tuple[RowReport, ...]


async def line_report(services: Services, line: str | None = None) -> list[LineReport]:
    """Every stream of every line outward, or of one."""
    reads = services.store.reads
    found: list[LineReport] = []
    for each in await approved_lines(services, "out"):
        if line not in (None, each.id):
            continue
        for stream, _ in each.streams():
            rows = await line_rows.not_taken(reads, stream, MOST_ROWS)
            found.append(
                LineReport(
                    stream=stream,
                    partner=each.terms.partner,
                    rows=await line_rows.tally(reads, stream),
                    not_taken=tuple(
                        RowReport(
                            stream=stream,
                            record=row.record_id,
                            version=row.v,
                            batch=row.seq,
                            result=row.result,
                            code=row.code,
                            field=row.field,
                            at=datetime.fromisoformat(row.answered_at) if row.answered_at else None,
                        )
                        for row in rows
                    ),
                )
            )
    return found


async def reconcile_line(services: Services, line: str) -> list[Comparison]:
    """Compare the last days of a line with its partner's counts now; what does not agree, and what was compared.

    Raises AdminError line-unknown, line-state for a line whose adapter tells no counts, ExchangeError for one that fails, SettingsError.
    """
    found = next((each for each in await approved_lines(services, "out") if each.id == line), None)
    if found is None:
        raise AdminError("there is no such line", code="line-unknown", place="line", hint="chengxin line list")
    try:
        async with carrier_of(services, found) as carrier:
            if "counts" not in carrier.capabilities:
                raise AdminError("this line tells no counts: nothing can be compared", code="line-state", place=line)
            await compare_counts(services, found, carrier, at_once=True)
    except AdapterError as error:
        raise ExchangeError(error.message, code=error.code, place=line) from error
    since = (legal_day(services.clock()) - timedelta(days=LOOK_BACK)).isoformat()
    streams = {stream for stream, _ in found.streams()}
    return [each for each in await comparisons(services, since=since) if each.stream in streams]


async def line_conditions(services: Services) -> list[Condition]:
    """Everything of the lines that may have to be told as an alarm, as it stands now."""
    return [each async for each in _conditions(services)]


async def _conditions(services: Services) -> AsyncIterator[Condition]:
    reads, now = services.store.reads, services.clock()
    since = (legal_day(now) - timedelta(days=LOOK_BACK)).isoformat()
    compared = await comparisons(services, since=since)
    for line in await approved_lines(services):
        state = await lines.state_of(reads, line.id)
        partner = line.terms.partner
        failing = state.failures >= FAILING
        yield Condition(kind="line-failing", target=f"{partner}/{line.id}", bad=failing, detail={"code": state.code or ""})
        for stream, _ in line.streams() if line.terms.direction == "out" else ():
            target = f"{partner}/{stream}"
            out = await outbox.out_stream(reads, stream)
            stopped = out.stopped if out is not None else None
            yield Condition(kind="stream-stopped", target=target, bad=stopped is not None, detail={"code": stopped or ""})
            late = [
                batch
                for batch in await outbox.waiting_batches(reads, stream)
                if now - batch.created >= timedelta(hours=line.terms.sla.feedback_h)
            ]
            yield Condition(kind="receipt-overdue", target=target, bad=bool(late), detail={"batches": len(late)})
            silent = await line_rows.unanswered(reads, stream, now - timedelta(hours=line.terms.sla.feedback_h))
            yield Condition(kind="feedback-overdue", target=target, bad=silent is not None, detail={"rows": silent.rows if silent else 0})
            for what in KINDS:
                for kind, times in ((f"{what}-overdue", 1), (f"{what}-overdue-twice", ESCALATED)):
                    owed = await debts.debt(reads, stream, what, now - timedelta(hours=line.terms.sla.hours(what) * times))
                    detail = {"lines": owed.lines, "since": owed.since.isoformat()} if owed is not None else {}
                    yield Condition(kind=kind, target=target, bad=owed is not None, detail=detail)
            differ = [each.day for each in compared if each.stream == stream and not each.agrees]
            yield Condition(kind="counts-differ", target=target, bad=bool(differ), detail={"days": differ})


async def line_findings(services: Services, *, ask: bool) -> list[Finding]:
    """What `exchange doctor` says of the lines; `ask`: each line's own check too."""
    return [each async for each in _findings(services, ask)]


_FOUND = {
    "line-failing": ("line-failing", "线路失败", "the line fails"),
    "stream-stopped": ("OUTCOME_UNKNOWN", "去流已停", "the stream from us has stopped"),
    "receipt-overdue": ("receipt-overdue", "批次没有送达", "batches are not delivered"),
    "feedback-overdue": ("feedback-overdue", "逐行反馈超时", "answers about rows are overdue"),
    "withdrawals-overdue": ("withdrawal-overdue", "撤下未确认", "withdrawals are not acknowledged"),
    "erasures-overdue": ("erasure-overdue", "删除未确认", "erasures are not acknowledged"),
    "counts-differ": ("counts-differ", "对账有差异", "the counts of a day differ"),
}


async def _findings(services: Services, ask: bool) -> AsyncIterator[Finding]:
    bad = [each for each in await line_conditions(services) if each.bad and each.kind in _FOUND]
    for each in bad:
        code, zh, en = _FOUND[each.kind]
        detail = ", ".join(f"{name} {value}" for name, value in each.detail.items())
        yield finding(code, each.target, f"{zh}（{detail}）", f"{en} ({detail})")
    for line in await approved_lines(services):
        where = f"{line.terms.partner}/{line.id}"
        for stream, _ in line.streams():
            hold = await holds.hold_on(services.store.reads, line_sender(line, services.signers.party), stream)
            if hold is not None:
                yield stream_held(hold, f"{line.terms.partner}/{stream}")
        if not any(each.target.startswith(f"{where}.") or each.target == where for each in bad):
            yield Finding(code="line", ok=True, where=where, zh="线路正常", en="the line is in order")
        if ask and line.standing(services.clock()) != "nothing":
            for told in await _checked(services, line, where):
                yield told


async def _checked(services: Services, line: Line, where: str) -> list[Finding]:
    try:
        async with carrier_of(services, line) as carrier:
            told = await told_by(carrier)
            missing = line.terms.direction == "out" and "withdrawals" not in carrier.capabilities
    except GatewayError as error:
        return [finding(error.code, where, "线路无法打开", "the line cannot be opened")]
    except AdapterError as error:
        return [finding("line-failing", where, f"线路检查出错：{error.code}", f"the line's check failed: {error.code}")]
    found = [checked(each, where) for each in told]
    if missing:
        found.append(finding("NO_WITHDRAWALS", where, "线路不能撤下，什么都不发", "the line cannot withdraw: nothing is sent"))
    return found
