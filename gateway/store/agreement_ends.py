"""The end of an agreement in the store: whose records are to go, what was kept for them, and both sides' inventories (exchange.md §3).

Rules: leaf hashes, versions and numbers stay, for the log must verify on; what says something about anybody goes. What only withdraws
is kept on its way for the days in which withdrawals still travel. This room must not decide that an agreement has ended.
"""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from gateway.core.exchange.manifests import read_manifest
from gateway.core.exchange.notes import SignedDocument
from gateway.store.batch_parts import scope_of
from gateway.store.dialects import among, one_of
from gateway.store.reads import Row
from gateway.store.store import Source, Transaction
from gateway.store.tables import (
    agreement_inventories,
    deks,
    in_batches,
    in_parts,
    in_records,
    in_streams,
    out_batches,
    out_feedback,
    out_parts,
    out_records,
    records,
)

_MINE = (in_records.c.sender == sa.bindparam("sender"), in_records.c.stream == sa.bindparam("stream"))
_STREAMS = sa.select(in_streams).where(in_streams.c.sender == sa.bindparam("sender")).order_by(in_streams.c.stream)
_IN_FORCE = (
    sa.select(sa.func.count().label("n"))
    .select_from(in_records.join(records, records.c.record_id == in_records.c.record_id))
    .where(*_MINE, one_of(records.c.state, "in_force", "held"))
)
_PRESENT = (
    sa.select(in_records.c.record_id)
    .select_from(in_records.join(records, records.c.record_id == in_records.c.record_id))
    .where(*_MINE, records.c.state != "erased", in_records.c.record_id > sa.bindparam("after"))
    .order_by(in_records.c.record_id)
    .limit(sa.bindparam("n", type_=sa.Integer))
)
_LIVE = (
    sa.select(in_records.c.record_id)
    .select_from(in_records.join(records, records.c.record_id == in_records.c.record_id))
    .where(*_MINE, one_of(records.c.state, "in_force", "held"), in_records.c.record_id > sa.bindparam("after"))
    .order_by(in_records.c.record_id)
    .limit(sa.bindparam("n", type_=sa.Integer))
)
_NOT_ERASED = sa.select(records.c.record_id).where(among(records.c.record_id, "wanted"), records.c.state != "erased")
_OUT_BATCHES = sa.select(out_batches.c.epoch, out_batches.c.seq, out_batches.c.manifest).where(
    out_batches.c.stream == sa.bindparam("stream"), one_of(out_batches.c.state, "sealed", "published", "waiting")
)
_INVENTORY = sa.select(agreement_inventories).where(
    agreement_inventories.c.agreement_id == sa.bindparam("id"), agreement_inventories.c.by_party == sa.bindparam("party")
)


async def received_streams(source: Source, agreement_id: str, sender: str) -> list[Row]:
    """The streams of a partner that we have received under an agreement."""
    return [row for row in await source.all(_STREAMS, {"sender": sender}) if row.stream.partition(".")[0] == agreement_id]


async def in_force(source: Source, sender: str, stream: str) -> int:
    """How many records of a partner's stream are in force or held here."""
    row = await source.one(_IN_FORCE, {"sender": sender, "stream": stream})
    return int(row.n) if row is not None else 0


async def to_purge(source: Source, sender: str, stream: str, *, after: str, limit: int) -> list[str]:
    """Records of a partner's stream of which anything is kept, in order of id."""
    rows = await source.all(_PRESENT, {"sender": sender, "stream": stream, "after": after, "n": limit})
    return [row.record_id for row in rows]


async def not_erased(source: Source, record_ids: Sequence[str]) -> list[str]:
    """Those of some records of which anything is kept."""
    return [row.record_id for row in await source.all(_NOT_ERASED, {"wanted": list(record_ids)})] if record_ids else []


async def to_freeze(source: Source, sender: str, stream: str, *, after: str, limit: int) -> list[str]:
    """Records of a partner's stream that are in force or held, in order of id."""
    rows = await source.all(_LIVE, {"sender": sender, "stream": stream, "after": after, "n": limit})
    return [row.record_id for row in rows]


async def drop_received(tx: Transaction, sender: str, stream: str) -> None:
    """Parts of a partner's batches, and the clear payloads of what it withdrew; what waited does not wait any more."""
    mine = (in_batches.c.sender == sender, in_batches.c.stream == stream)
    waiting = (*mine, in_batches.c.state.in_(("fetching", "quarantined", "held", "staged")))
    await tx.execute(sa.update(in_batches).where(*waiting, in_batches.c.receipt_no.is_not(None)).values(state="superseded", verified=None))
    await tx.execute(sa.delete(in_batches).where(*waiting, in_batches.c.receipt_no.is_(None)))
    await tx.execute(sa.delete(in_parts).where(in_parts.c.sender == sender, in_parts.c.stream == stream))
    await tx.execute(
        sa.update(in_records)
        .where(in_records.c.sender == sender, in_records.c.stream == stream, in_records.c.op.not_in(("assert", "amend")))
        .values(payload=None)
    )
    tx.shredded = True


async def drop_sent(tx: Transaction, stream: str) -> None:
    """Parts of our own batches but those that only withdraw and are still on their way, and every salt."""
    on_their_way = [
        (row.epoch, row.seq) for row in await tx.all(_OUT_BATCHES, {"stream": stream}) if read_manifest(row.manifest).only_withdrawals
    ]
    kept = [sa.and_(out_parts.c.epoch == epoch, out_parts.c.seq == seq) for epoch, seq in on_their_way]
    await tx.execute(sa.delete(out_parts).where(out_parts.c.stream == stream, *([sa.not_(sa.or_(*kept))] if kept else [])))
    await tx.execute(sa.delete(out_feedback).where(out_feedback.c.stream == stream))
    await tx.execute(sa.update(out_records).where(out_records.c.stream == stream).values(seed=None))
    if not kept and await tx.one(sa.select(in_parts.c.name).where(in_parts.c.stream == stream).limit(1)) is None:
        await tx.execute(sa.delete(deks).where(deks.c.scope == scope_of(stream)))
    tx.shredded = True


async def inventory(source: Source, agreement_id: str, party: str) -> Row | None:
    """What a side has said; an empty note: ours, still being made."""
    return await source.one(_INVENTORY, {"id": agreement_id, "party": party})


async def put_inventory(tx: Transaction, agreement_id: str, party: str, version: int, document: SignedDocument) -> None:
    """Keep an inventory in the place of one that is still being made, or of an earlier end after which the agreement went on."""
    mine = (agreement_inventories.c.agreement_id == agreement_id, agreement_inventories.c.by_party == party)
    over = sa.or_(agreement_inventories.c.note == "", agreement_inventories.c.version < version)
    await tx.execute(sa.delete(agreement_inventories).where(*mine, over))
    await tx.execute(
        sa.insert(agreement_inventories).values(
            agreement_id=agreement_id, by_party=party, version=version, body=document.body, note=document.note, first_seen=tx.now_text
        )
    )


async def drop_inventory(tx: Transaction, agreement_id: str, party: str) -> None:
    """The agreement goes on after all: what was said at its end is about nothing any more, finished or not."""
    await tx.execute(
        sa.delete(agreement_inventories).where(
            agreement_inventories.c.agreement_id == agreement_id, agreement_inventories.c.by_party == party
        )
    )


def decode_counts(body: bytes) -> dict[str, int]:
    """How many records were in force in each stream when the making of an inventory began."""
    return msgspec.json.decode(body, type=dict[str, int])
