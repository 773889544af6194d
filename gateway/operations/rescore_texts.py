"""Redact every stored text again after the redactor changed, or which texts wait for reviewers in any case; what rises above zero is held.

Rules: until a text is scored again every plan that holds shows its summary instead (`views`), so nothing waits for this story to be
safe. It goes record by record in order of id, a chunk a transaction, and remembers in the store where it stands: it may be stopped
anywhere, and another process goes on. A record that changed while it was read is read again; one that somebody wrote behind its back, under
the policy of before, is found by whoever renders it (`behind`, `go_back`). Every text that comes out otherwise, or under another redactor,
is a change of its record. This story must not decide what is shown.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final

from gateway.core.disclosure.plans import Policies
from gateway.core.disclosure.redactor import REDACTOR, outdated, reviewed_of
from gateway.core.disclosure.views import again_redacted
from gateway.core.records.model import Dataset, DatasetId, Record, RecordId, Text
from gateway.services import Services
from gateway.store import places, records, reviews
from gateway.store.reads import Reads
from gateway.store.reviews import Held, Put
from gateway.store.store import Transaction

CHUNK: Final = 200
META: Final = "rescored"
ACTOR: Final = "redactor"


async def rescore_texts(services: Services, *, limit: int = 2000) -> int:
    """Look at most at `limit` records; how many were looked at, 0 = everything is scored by today's redactor and policy.

    Raises NoActivePolicy.
    """
    looked = 0
    while looked < limit:
        done = await _chunk(services, services.policies.current())
        if done == 0:
            break
        looked += done
    return looked


def behind(policies: Policies, found: Iterable[Record]) -> str | None:
    """The first of these records of which a text was scored otherwise than it should be; None: there is none."""
    datasets = policies.catalogue.datasets
    return min((record.record_id for record in found if _is_old(record.texts, datasets.get(record.dataset))), default=None)


async def go_back(tx: Transaction, policies: Policies, record_id: str) -> None:
    """See to it that this record is looked at again, if all up to it were looked at already."""
    at = await _position(tx, policies)
    if at is None or at >= record_id:
        await places.keep_place(tx, META, f"{_word(policies)} {record_id[:-1]}")


def _is_old(texts: Mapping[str, Text], dataset: Dataset | None) -> bool:
    return dataset is not None and bool(texts) and outdated(texts, dataset)


async def _chunk(services: Services, policies: Policies) -> int:
    """One chunk: read, redact, write; how many records it looked at."""
    at = await _position(services.store.reads, policies)
    if at is None:
        return 0
    datasets = policies.catalogue.datasets
    rows = await reviews.with_texts(services.store.reads, at, CHUNK)
    old = [held for held in rows if _is_old(held.texts, datasets.get(DatasetId(held.dataset)))]
    puts = await _again(services, datasets, old)
    async with services.store.transaction() as tx:
        done = await reviews.put_texts(tx, puts, reason="text-rescored", actor=ACTOR)
        moved = [put.held.record_id for put in puts if put.held.record_id not in done]
        if moved:  # changed meanwhile: the next chunk begins before the first of them
            before = [held.record_id for held in rows if held.record_id < min(moved)]
            word = before[-1] if before else at
        else:
            word = rows[-1].record_id if rows else "*"
        await places.keep_place(tx, META, f"{_word(policies)} {word}")
    return len(rows)


def _word(policies: Policies) -> str:
    """By what texts are scored now: the redactor, and which fields wait for reviewers."""
    known: str | None = policies.memo.get(META)
    if known is None:
        reviewed = sorted(f"{dataset.id}.{name}" for dataset in policies.catalogue.datasets.values() for name in reviewed_of(dataset))
        known = policies.memo[META] = REDACTOR + (f"+{sha256(' '.join(reviewed).encode()).hexdigest()[:16]}" if reviewed else "")
    return known


async def _position(source: Reads | Transaction, policies: Policies) -> str | None:
    """The last record that was looked at under this redactor and policy; None: all were."""
    word = await places.place(source, META)
    scored, _, at = (word or "").partition(" ")
    if scored != _word(policies):
        return ""
    return None if at == "*" else at


async def _again(services: Services, datasets: Mapping[DatasetId, Dataset], old: list[Held]) -> list[Put]:
    """The texts of these records as today's redactor leaves them; a decision about the very same result holds no longer."""
    if not old:
        return []
    loaded = await records.load(services.store.reads, ids=[RecordId(held.record_id) for held in old])
    by_id = {held.record_id: held for held in old}
    return [Put(held=by_id[record.record_id], texts=again_redacted(record, datasets[record.dataset])) for record in loaded]
