"""One round of the lines: seal what changed, deliver, read what was written back, pull, compare counts. One line's trouble is its own.

Rules: a line whose breaker is open is not tried before its time, but by a person (`at_once`). This story must not decide anything that
the stories it calls do not decide.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

import msgspec
from msgspec import Struct

from gateway.adapter_contract import AdapterError
from gateway.core.errors import ExchangeError, GatewayError, StoreError
from gateway.core.exchange.lines import Line, LineDataset
from gateway.operations.apart import side_by_side
from gateway.operations.compare_counts import compare_counts
from gateway.operations.deliver_rows import deliver_rows, take_feedback
from gateway.operations.held_back import HELD, line_held
from gateway.operations.lines import ADAPTER_FAILED, approved_lines, carrier_of, failed, is_closed, went_well
from gateway.operations.pull_rows import pull_rows
from gateway.operations.send_rows import NO_WITHDRAWALS, seal_rows
from gateway.services import Services
from gateway.store import ledger, lines, outbox


class LineRun(Struct, frozen=True, kw_only=True):
    """What one pass over one stream of a line came to."""

    line: str
    stream: str
    partner: str
    direction: Literal["out", "in"]
    sealed: int = 0
    """Batches sealed now; of a line inward pages taken."""
    rows: int = 0
    not_sent: Mapping[str, int] = {}
    """Records of which nothing could be said, or rows that were not taken, by code."""
    delivered: int = 0
    """Batches that the partner took now."""
    waiting: int = 0
    state: Literal["idle", "delivered", "waiting", "stopped"] = "idle"
    code: str | None = None


async def keep_lines(
    services: Services,
    *,
    line: str | None = None,
    direction: Literal["out", "in"] | None = None,
    deliver: bool = True,
    at_once: bool = False,
) -> list[LineRun]:
    """One round over every line (or one); what a partner or its adapter does wrong is told, not raised.

    Lines are gone over side by side, and told of in their order. Raises NoActivePolicy, StoreError.
    """
    await services.policies.fresh()
    meant = [
        each
        for each in await approved_lines(services, direction)
        if line in (None, each.id) and each.standing(services.clock()) != "nothing" and (deliver or each.terms.direction == "out")
    ]
    runs = await side_by_side(_keep(services, each, deliver=deliver, at_once=at_once) for each in meant)
    return [run for of_line in runs for run in of_line]


async def _keep(services: Services, line: Line, *, deliver: bool, at_once: bool) -> list[LineRun]:
    state = await lines.state_of(services.store.reads, line.id)
    closed = is_closed(state, services.clock(), at_once=at_once)
    if closed and (state.code == ADAPTER_FAILED or line.terms.direction == "in"):
        return [await _told(services, line, stream, code=state.code) for stream, _ in line.streams()]
    deliver = deliver and not closed  # what changes is sealed all the same: a withdrawal waits for nobody
    done: dict[str, LineRun] = {}
    try:
        async with carrier_of(services, line) as carrier:
            refused: AdapterError | None = None
            for stream, terms in line.streams() if line.terms.direction == "out" else ():
                try:
                    await _out(services, line, stream, terms, carrier, done, deliver=deliver, at_once=at_once)
                except AdapterError as error:
                    if error.code == ADAPTER_FAILED:
                        raise
                    refused = refused or error  # what is wrong with one table or service keeps no other stream's withdrawals back
                    done[stream] = await _refused(services, line, stream, done.get(stream), error.code)
            if line.terms.direction == "in":
                done |= {run.stream: run for run in await _in(services, line, carrier)}
            if deliver:
                await take_feedback(services, line, carrier)
                await compare_counts(services, line, carrier)
            await _purge(services, line)
            if refused is not None:
                await failed(services, line, refused)
                return list(done.values())
        if closed:
            return [msgspec.structs.replace(run, code=run.code or state.code, state="waiting") for run in done.values()]
        if deliver and not any(run.code for run in done.values()):
            await went_well(services, line)
    except StoreError as error:
        if error.code != "stream-moved":
            raise
    except (AdapterError, ExchangeError, GatewayError, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        # the last of these: what a guest gave was not what its type says, and the other lines' round goes on
        code = await failed(services, line, error if isinstance(error, AdapterError) else _permanent(error))
        for stream, _ in line.streams():
            before = done.get(stream)
            if before is None or before.code is None:
                done[stream] = await _refused(services, line, stream, before, code)
    return list(done.values())


async def _refused(services: Services, line: Line, stream: str, before: LineRun | None, code: str) -> LineRun:
    """How a stream stands after a failure; what went well until then stays told."""
    now = await _told(services, line, stream, code=code)
    return now if before is None else msgspec.structs.replace(before, code=now.code, state=now.state, waiting=now.waiting)


def _permanent(error: Exception) -> AdapterError:
    if isinstance(error, GatewayError):
        return AdapterError(error.code, error.detail, transient=False)
    return AdapterError(ADAPTER_FAILED, f"适配器异常: {type(error).__name__}", transient=False)


async def _out(
    services: Services,
    line: Line,
    stream: str,
    terms: LineDataset,
    carrier: Any,
    told: dict[str, LineRun],
    *,
    deliver: bool,
    at_once: bool,
) -> None:
    """Seal, and tell it before anything can go wrong on the line; then deliver."""
    sealed = rows = 0
    not_sent: dict[str, int] = {}
    stops = line.terms.sla.stop_after_h
    late = await ledger.overdue(services.store.reads, stream, now=services.clock(), hours=stops) if stops else None
    held = await line_held(services.store.reads, line, stream, services.signers.party)
    while True:
        done = await seal_rows(services, line, stream, terms, carrier, only_withdrawals=late is not None or held)
        for why, count in done.not_sent.items():
            not_sent[why] = not_sent.get(why, 0) + count
        sealed += done.batches
        rows += done.rows
        if not done.more:
            break
    sealing = await _told(services, line, stream, code=None)
    told[stream] = msgspec.structs.replace(sealing, sealed=sealed, rows=rows, not_sent=not_sent)
    delivered, code = await deliver_rows(services, line, stream, carrier, at_once=at_once) if deliver else (0, None)
    if code is None and "withdrawals" not in carrier.capabilities:
        code = NO_WITHDRAWALS
    now = await _told(services, line, stream, code=code)
    state: Any = "delivered" if delivered and now.state == "idle" else now.state
    told[stream] = msgspec.structs.replace(now, sealed=sealed, rows=rows, not_sent=not_sent, delivered=delivered, state=state)


async def _in(services: Services, line: Line, carrier: Any) -> list[LineRun]:
    reads, ours = services.store.reads, services.signers.party
    held = any([await line_held(reads, line, stream, ours) for stream, _ in line.streams()])
    pulled = await pull_rows(services, line, carrier, only_withdrawals=held)
    unread = pulled.not_taken.get("", {})  # of no dataset that is known: told beside the first
    return [
        LineRun(
            line=line.id,
            stream=stream,
            partner=line.terms.partner,
            direction="in",
            sealed=pulled.pages,
            rows=pulled.taken.get(terms.dataset, 0),
            not_sent=dict(Counter(pulled.not_taken.get(terms.dataset, {})) + Counter({} if number else unread)),
            state="delivered" if pulled.taken.get(terms.dataset) else "waiting" if held else "idle",
            code=HELD if held else None,
        )
        for number, (stream, terms) in enumerate(line.streams())
    ]


async def _told(services: Services, line: Line, stream: str, *, code: str | None) -> LineRun:
    reads = services.store.reads
    out = await outbox.out_stream(reads, stream)
    waiting = len(await outbox.waiting_batches(reads, stream))
    stopped = out.stopped if out is not None else None
    return LineRun(
        line=line.id,
        stream=stream,
        partner=line.terms.partner,
        direction=line.terms.direction,
        waiting=waiting,
        state="stopped" if stopped else "waiting" if waiting or code else "idle",
        code=stopped or code,
    )


async def _purge(services: Services, line: Line) -> None:
    """What was sent and received longer ago than the line says is not kept."""
    before = services.clock() - timedelta(days=line.terms.retention_days)
    if line.terms.direction == "in":  # what came before an erasure may hold what was erased
        erased = await lines.erased_at(services.store.reads, line.id)
        before = max(before, erased + timedelta(seconds=1)) if erased is not None else before
    old = [stream for stream, _ in line.streams() if await outbox.has_old_parts(services.store.reads, stream, before)]
    replies = await lines.has_old_replies(services.store.reads, line.id, before)
    if not (old or replies):
        return
    async with services.store.transaction() as tx:
        for stream in old:
            await outbox.purge_parts(tx, stream, acked_before=before)
        await lines.drop_replies(tx, line.id, before=before)
