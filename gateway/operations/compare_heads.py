"""Whether a partner holds more of a stream of ours than we know of: then this house is an older copy of itself (exchange.md §5, A26).

Rules: each process asks once for each stream, before it seals anything in it, over a line that gives receipts; until somebody has answered
nothing leaves. Only a receipt that the partner signed about this stream counts, and what does not verify moves nothing. Where it shows more
than we have, the stream stops before a second head of a size is signed, and where one was sealed while nobody answered, before it leaves;
the receipt is kept, so that the epoch which a person begins names the head that the partner holds. Of a line without receipts the folder
or the partner tells. This story must not seal or deliver.
"""

import asyncio
from datetime import timedelta
from typing import Final

from gateway.adapter_contract import AdapterError, PartnerAdapter
from gateway.core.errors import ExchangeError, SettingsError, StoreError
from gateway.core.exchange import feedback, notes
from gateway.core.exchange.feedback import ReceiptTree
from gateway.core.exchange.manifests import read_manifest
from gateway.core.exchange.wire import b64
from gateway.operations.believe_receipt import keep_receipt
from gateway.operations.partners import Stream, code_of, line_to
from gateway.services import Services
from gateway.store import audit, ledger, outbox
from gateway.store.store import Source

BEHIND: Final = "SEQ_ROOT"
MOST: Final = 10_000
"""Receipts that are looked through in one round: months of them, and no partner keeps us busy for ever."""
LONGEST_ANSWER: Final = timedelta(minutes=5)
"""Of one round: what was told before is kept, and the next asks for the rest."""


def awaits_answer(services: Services, stream: Stream) -> bool:
    """Whether the partner has not told this process yet where a stream of ours stands."""
    return stream.name not in services.compared and stream.rules.terms.wire.delivery == "push"


async def compare_heads(services: Services, stream: Stream) -> str | None:
    """None: go on. Else why nothing may leave now: SEQ_ROOT, the stream has stopped; or the code of a line that gave no answer.

    Raises StoreError.
    """
    if not awaits_answer(services, stream):
        return None
    try:
        async with asyncio.timeout(LONGEST_ANSWER.total_seconds()), line_to(services, stream.governing, stream.receiver) as line:
            code = await _asked(services, stream, line)
    except SettingsError:
        return None  # nothing can be delivered either, and whoever tries says so
    except TimeoutError:
        code = "UNAVAILABLE"
    stopped = await _stopped(services, stream)  # what it has told so far may be enough
    if code is None:
        services.compared.add(stream.name)
    return stopped or code


async def _asked(services: Services, stream: Stream, line: PartnerAdapter) -> str | None:
    """Take the receipts that we have not got; the code of what kept the partner from answering."""
    ask = getattr(line, "receipts", None) if "receipts" in line.capabilities else None
    if ask is None:
        return None
    known = await ledger.last_receipt_no(services.store.reads, stream.name) or 0
    taken = 0
    try:
        async for _, receipt, told in ask(stream.name, known):
            await keep_receipt(services, stream, notes.read_envelope(receipt), told)
            taken += 1
            if taken == MOST:
                return "UNAVAILABLE"  # the next round asks for the rest
    except AdapterError as error:
        return code_of(error) if error.transient else None
    except ExchangeError:
        return None  # it proves nothing
    except StoreError:
        raise
    except TimeoutError:
        return "UNAVAILABLE"
    except (Exception, SystemExit):  # noqa: BLE001 - a guest may raise anything, or mean to leave; the stream must go on without it
        return None
    return None


async def _stopped(services: Services, stream: Stream) -> str | None:
    reads = services.store.reads
    head = await partners_head(reads, stream.name)
    if head is None or not await _ahead(reads, stream, head):
        return None
    async with services.store.transaction() as tx:
        out = await outbox.out_stream(tx, stream.name, stream.suite)
        if out is not None and out.stopped is not None:
            return out.stopped
        await outbox.stop_behind(tx, stream.name, head.epoch, stream.suite, BEHIND)
        detail = {"code": BEHIND, "epoch": head.epoch, "size": head.size}
        await audit.write(tx, "gateway", "stream.stop", f"stream/{stream.name}", detail)
    return BEHIND


async def _ahead(source: Source, stream: Stream, head: ReceiptTree) -> bool:
    """Whether a head that the partner holds is none of ours: longer, or of other lines, where this house has sealed since it came back."""
    out = await outbox.out_stream(source, stream.name, stream.suite)
    if out is None or head.epoch != out.head.epoch:
        return out is None or head.epoch > out.head.epoch
    if head.size >= out.head.tree.size:
        return head.size > out.head.tree.size or head.root != b64(out.head.tree.root())
    for seq in range(out.head.seq, 0, -1):  # from the newest on: behind it stand the few that wait
        batch = await outbox.out_batch(source, stream.name, head.epoch, seq)
        ours = read_manifest(batch.document.body).tree if batch is not None else None
        if ours is None or ours.size <= head.size:
            return ours is None or (ours.size, ours.root) != (head.size, head.root)
    return head.size > 0


async def partners_head(source: Source, stream: str) -> ReceiptTree | None:
    """The head that the partner holds, by the latest receipt that we have of it."""
    no = await ledger.last_receipt_no(source, stream)
    row = await ledger.received_receipt(source, stream, no) if no is not None else None
    return feedback.read_receipt(row.body).tree if row is not None else None
