"""Deliver what is sealed for a line, read what the partner says of each row, now or later, and write it down.

Rules: batches go in order, one at a time, and the row says so before a byte leaves. An answer is kept as it came, signed as received, and
only then read. A partner that signs nothing is believed about its own side only: that it took a row, or why not. What the adapter does
not know is held and shown. When nobody knows whether a delivery took effect, and doing it again could do it twice, the stream stops until
a person has found out. This story must not change a part.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from gateway.adapter_contract import AdapterError, LateReply, Part, RowResult, SealedBatch
from gateway.core.exchange.lines import Line
from gateway.core.exchange.manifests import read_manifest
from gateway.core.exchange.parts import Delivered, matched
from gateway.operations.backing_off import due, pause
from gateway.operations.held_back import HELD, held_back
from gateway.operations.lines import (
    LARGEST_REPLY,
    LONGEST_CURSOR,
    LONGEST_DELIVERY,
    as_bytes,
    as_results,
    guarded,
    is_sound,
    keep_received,
    thought,
)
from gateway.operations.partners import LONGEST_CALL
from gateway.operations.send_rows import AWAITS_PERSON
from gateway.services import Services
from gateway.store import audit, ledger, line_numbers, line_rows, lines, outbox
from gateway.store.line_rows import Answer
from gateway.store.outbox import OutBatch
from gateway.store.reads import Row
from gateway.store.store import Transaction

OUTCOME_UNKNOWN: Final = "OUTCOME_UNKNOWN"
LATE_REPLIES_A_ROUND: Final = 200
UNTOLD: Final = "untold"
"""Result of a row of which the partner says nothing, and will not."""


async def deliver_rows(services: Services, line: Line, stream: str, carrier: Any, *, at_once: bool) -> tuple[int, str | None]:
    """Deliver the batches of a stream that are due, in order, until one is not taken: (delivered now, code).

    Raises AdapterError for a permanent failure, which concerns the whole line; StoreError.
    """
    reads = services.store.reads
    out = await outbox.out_stream(reads, stream)
    if out is None or out.stopped:
        return 0, out.stopped if out is not None else None
    delivered = 0
    for batch in await outbox.waiting_batches(reads, stream):
        if batch.code == AWAITS_PERSON:
            return delivered, AWAITS_PERSON
        if not (at_once or due(batch.next_attempt_at, services.clock())):
            return delivered, batch.code or "WAITING"
        if await held_back(reads, services.signers.party, batch):
            return delivered, HELD
        code = await _deliver(services, line, batch, carrier)
        if code is not None:
            return delivered, code
        delivered += 1
    return delivered, None


async def _deliver(services: Services, line: Line, batch: OutBatch, carrier: Any) -> str | None:
    """One attempt; None when the partner has the batch, else why not."""
    idempotent = "idempotent" in carrier.capabilities
    if batch.state == "published" and not idempotent:
        return await _stop(services, batch)  # an attempt was begun, and nobody says how it ended
    manifest = read_manifest(batch.document.body)
    parts = dict(await outbox.out_parts_of(services.store.reads, batch.stream, batch.epoch, batch.seq))
    if len(parts) != len(manifest.parts):
        return await _stop(services, batch, "SEQ_CLOSED")
    patience = pause(batch.attempts) if idempotent else LONGEST_DELIVERY * 1.1
    async with services.store.transaction() as tx:
        if await held_back(tx, services.signers.party, batch):
            return HELD
        mine = await outbox.begin_delivery(tx, batch, next_attempt_at=tx.now + patience)
    if not mine:
        return batch.code or "WAITING"
    sealed = SealedBatch(
        batch=manifest.id,
        manifest=batch.document.body,
        manifest_note=batch.document.note.encode(),
        checkpoint=batch.checkpoint.encode(),
        parts=tuple(_part(entry.name, parts[entry.name], entry.digest) for entry in manifest.parts),
        numbers=await line_numbers.numbers_of(services.store.reads, batch.stream, batch.seq),
    )
    try:
        given = await guarded(carrier.deliver(sealed), LONGEST_DELIVERY, sent=True)
        reply = None if given is None else as_bytes(given, LARGEST_REPLY)
    except AdapterError as error:
        if error.outcome_unknown and not idempotent:
            return await _stop(services, batch)
        async with services.store.transaction() as tx:
            again = tx.now + pause(batch.attempts)
            await outbox.end_delivery(tx, batch, state="waiting", code=error.code[:32], next_attempt_at=again)
        if not error.transient:
            raise
        return error.code
    await _delivered(services, line, batch, carrier, manifest.id, reply)
    return None


async def _delivered(services: Services, line: Line, batch: OutBatch, carrier: Any, batch_id: str, reply: bytes | None) -> None:
    """The partner has it: write down what it says of the rows, if it says anything. An answer that cannot be read holds every row."""
    tells = bool({"reply", "feedback"} & carrier.capabilities)
    results: Sequence[RowResult] = ()
    unread: AdapterError | None = None
    if reply is not None and "reply" in carrier.capabilities:
        try:
            results = await thought(_read, carrier, reply)
        except AdapterError as error:
            unread = error
            results = (RowResult(place="0", record_id=None, result="held", code=error.code),)
    async with services.store.transaction() as tx:
        rows = await line_rows.rows_of(tx, batch.stream, batch.seq)
        if reply is not None:
            await keep_received(services, tx, line, reply, about=batch_id)
        await outbox.end_delivery(tx, batch, state="acked", code=None)
        pairs, strange = matched(results, [_delivered_row(row) for row in rows], one_batch=True)
        answers = [_answer(row, result) for row, result in pairs]
        if not tells:
            answers = [Answer(record_id=row.record_id, v=row.v, op=row.op, result=UNTOLD) for row in rows]
        await line_rows.answer(tx, batch.stream, answers)
        await _forget_erased(tx, line, batch.stream, answers)
        await audit.write(
            tx,
            "gateway",
            "line.deliver",
            f"batch/{batch_id}",
            {"rows": len(rows), "answered": len(answers), "refused": _refused(answers), "strange": len(strange)},
        )
    if unread is not None:
        raise unread


async def count_as_taken(tx: Transaction, line: Line, stream: str, rows: Sequence[Row]) -> None:
    """A person has found out that rows arrived of which the partner says nothing: it holds what it was told."""
    answers = [Answer(record_id=row.record_id, v=row.v, op=row.op, result=UNTOLD) for row in rows if row.result is None]
    await line_rows.answer(tx, stream, answers)
    await _forget_erased(tx, line, stream, answers)


async def count_as_lost(tx: Transaction, stream: str, rows: Sequence[Row]) -> None:
    """A person has found out that rows did not arrive: the partner has what it was told before, and is told these anew."""
    answers = [Answer(record_id=row.record_id, v=row.v, op=row.op, result="rejected", code=ledger.NOT_ARRIVED) for row in rows]
    await line_rows.answer(tx, stream, answers)
    await ledger.mark_not_arrived(tx, stream, [(row.record_id, row.v, row.op) for row in rows])


async def take_feedback(services: Services, line: Line, carrier: Any) -> int:
    """What the partner has written back since; how many rows it answers.

    Raises AdapterError, StoreError.
    """
    if line.terms.direction != "out" or "feedback" not in carrier.capabilities:
        return 0
    answered = 0
    state = await lines.state_of(services.store.reads, line.id)
    found: list[LateReply] = []
    failed: AdapterError | None = None
    try:
        await guarded(_late(carrier, state.feedback_cursor, found), LONGEST_CALL)
    except AdapterError as error:
        failed = error  # what came before it is taken all the same
    for late in found:
        results = await thought(_read, carrier, as_bytes(late.data, LARGEST_REPLY))
        async with services.store.transaction() as tx:
            if (await lines.state_of(tx, line.id)).feedback_cursor != state.feedback_cursor:
                return answered  # another process reads along
            await keep_received(services, tx, line, late.data, about=late.batch)
            count, refused, strange = await _take(tx, line, late, results)
            await lines.put_state(tx, line.id, feedback_cursor=late.cursor)
            counted = {"answered": count, "refused": refused, "strange": strange}
            await audit.write(tx, "gateway", "line.feedback", f"line/{line.id}", counted)
        state = await lines.state_of(services.store.reads, line.id)
        answered += count
    if failed is not None:
        raise failed
    return answered


def _read(carrier: Any, reply: bytes) -> tuple[RowResult, ...]:
    """What a reply says of rows, looked at one by one; long work of a thread's."""
    return as_results(carrier.read_reply(reply))


async def _late(carrier: Any, after: str | None, found: list[LateReply]) -> None:
    async for late in carrier.feedback(after):
        if not is_sound(late, LateReply) or len(late.cursor) > LONGEST_CURSOR:
            raise AdapterError("ADAPTER_FAILED", "适配器给出的不是反馈", transient=False)
        found.append(late)
        if len(found) == LATE_REPLIES_A_ROUND:
            break


async def _take(tx: Transaction, line: Line, late: LateReply, results: Sequence[RowResult]) -> tuple[int, int, int]:
    """Give each result to its row, in whichever stream of the line it is: (answered, refused, about no row of ours)."""
    about: list[Row] = []
    for stream, _ in line.streams():
        if late.batch is not None:
            of_stream = late.batch.split("/x/")[-1].split("/")
            if len(of_stream) == 3 and of_stream[0] == stream and of_stream[2].isdigit():
                about += await line_rows.rows_of(tx, stream, int(of_stream[2]))
        else:
            about += await line_rows.rows_about(tx, stream, sorted({each.record_id for each in results if each.record_id}))
    pairs, strange = matched(results, [_delivered_row(row) for row in about], one_batch=late.batch is not None)
    refused = 0
    for stream, _ in line.streams():
        answers = [_answer(row, result) for row, result in pairs if row.stream == stream]
        await line_rows.answer(tx, stream, answers)
        await _forget_erased(tx, line, stream, answers)
        refused += _refused(answers)
    return len(pairs), refused, len(strange)


async def _forget_erased(tx: Transaction, line: Line, stream: str, answers: Sequence[Answer]) -> None:
    done = [each.record_id for each in answers if each.op == "erase" and each.result not in ("held", "rejected")]
    if done:
        await line_rows.forget(tx, stream, done)
        await lines.drop_replies(tx, line.id)


def _delivered_row(row: Row) -> Delivered:
    return Delivered(stream=row.stream, record_id=row.record_id, v=row.v, row=row.row, op=row.op)


def _answer(row: Delivered, result: RowResult) -> Answer:
    """What is written down of a result: codes and names, no text, for a partner's words may hold a value."""
    return Answer(
        record_id=row.record_id,
        v=row.v,
        op=row.op,
        result=result.result,
        code=result.code[:64] if result.code else None,
        field=result.field[:64] if result.field else None,
        partner_id=result.partner_id[:64] if result.partner_id else None,
        at=_seconds(result.at),
    )


def _seconds(at: datetime | None) -> datetime | None:
    return at.replace(microsecond=0) if at is not None and at.tzinfo is not None else None


def _refused(answers: Sequence[Answer]) -> int:
    return sum(each.result in ("held", "rejected") for each in answers)


async def _stop(services: Services, batch: OutBatch, code: str = OUTCOME_UNKNOWN) -> str:
    """Nothing more goes over this stream until a person has decided."""
    async with services.store.transaction() as tx:
        await outbox.end_delivery(tx, batch, state="waiting", code=code)
        await outbox.stop_stream(tx, batch.stream, batch.epoch, code)
        await audit.write(tx, "gateway", "line.stop", f"stream/{batch.stream}", {"code": code, "seq": batch.seq})
    return code


def _part(name: str, data: bytes, digest: str) -> Part:
    def read() -> Iterator[bytes]:
        for at in range(0, len(data), 65536):
            yield data[at : at + 65536]

    return Part(name=name, size=len(data), digest=digest, read=read)
