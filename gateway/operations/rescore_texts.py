"""Redact every stored text again after the redactor changed; what rises above zero goes back to hold.

Rules: until a text is scored again every plan that holds shows its summary instead (`views`), so nothing waits for this story to be
safe. It goes record by record in order of id, a chunk a transaction, and remembers in the store where it stands: it may be stopped
anywhere, and another process goes on. A record that changed while it was read is read again. Every text that comes out otherwise, or
under another redactor, is a change of its record. This story must not decide what is shown.
"""

from typing import Final

from gateway.core.disclosure.redactor import REDACTOR
from gateway.core.disclosure.views import again_redacted
from gateway.core.records.model import RecordId
from gateway.services import Services
from gateway.store import records, reviews
from gateway.store.reviews import Held, Put

CHUNK: Final = 200
META: Final = "rescored"
ACTOR: Final = "redactor"


async def rescore_texts(services: Services, *, limit: int = 2000) -> int:
    """Look at most at `limit` records; how many were looked at, 0 = everything is scored by today's redactor."""
    looked = 0
    while looked < limit:
        done = await _chunk(services)
        if done == 0:
            break
        looked += done
    return looked


async def _chunk(services: Services) -> int:
    """One chunk: read, redact, write; how many records it looked at."""
    at = await _position(services)
    if at is None:
        return 0
    rows = await reviews.outdated(services.store.reads, at, CHUNK)
    old = [held for held in rows if any(text.redactor != REDACTOR for text in held.texts.values())]
    puts = await _again(services, old)
    async with services.store.transaction() as tx:
        done = await reviews.put_texts(tx, puts, reason="text-rescored", actor=ACTOR)
        moved = [put.held.record_id for put in puts if put.held.record_id not in done]
        if moved:  # changed meanwhile: the next chunk begins before the first of them
            before = [held.record_id for held in rows if held.record_id < min(moved)]
            word = before[-1] if before else at
        else:
            word = rows[-1].record_id if rows else "*"
        await reviews.say(tx, META, f"{REDACTOR} {word}")
    return len(rows)


async def _position(services: Services) -> str | None:
    """The last record that was looked at under this redactor; None: all were."""
    word = await reviews.said(services.store.reads, META)
    version, _, at = (word or "").partition(" ")
    if version != REDACTOR:
        return ""
    return None if at == "*" else at


async def _again(services: Services, old: list[Held]) -> list[Put]:
    """The texts of these records as today's redactor leaves them; a decision about the very same result holds no longer."""
    if not old:
        return []
    datasets = services.policies.current().catalogue.datasets
    loaded = await records.load(services.store.reads, ids=[RecordId(held.record_id) for held in old])
    puts: list[Put] = []
    by_id = {held.record_id: held for held in old}
    for record in loaded:
        held, dataset = by_id[record.record_id], datasets.get(record.dataset)
        if dataset is not None:
            puts.append(Put(held=held, texts=again_redacted(record, dataset)))
    return puts
