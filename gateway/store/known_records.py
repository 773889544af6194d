"""What is held of partners' records: of each the line that took effect last, with its clear payload.

Our own records are known here only as ours. This room must not judge a line: it keeps what was decided.
"""

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from gateway.core.exchange.judging import KnownRecord
from gateway.core.exchange.wire import split_stream
from gateway.store.dialects import among, one_of
from gateway.store.store import Source, Transaction
from gateway.store.tables import in_records, records

_IN_SAID = sa.select(in_records).where(
    in_records.c.sender == sa.bindparam("sender"),
    in_records.c.stream == sa.bindparam("stream"),
    one_of(in_records.c.op, "assert", "amend"),
)
_IN_RECORDS = sa.select(in_records).where(among(in_records.c.record_id, "wanted"))
_OURS = sa.select(records.c.record_id, records.c.dataset).where(among(records.c.record_id, "wanted"), records.c.issuer == "")


async def known(source: Source, rids: Collection[str]) -> dict[str, KnownRecord]:
    """What we hold of these record ids: partners' by their last line, our own as ours."""
    wanted = {"wanted": list(rids)}
    known = {
        row.record_id: KnownRecord(sender=None, dataset=row.dataset, v=0, op="assert", leaf=b"") for row in await source.all(_OURS, wanted)
    }
    for row in await source.all(_IN_RECORDS, wanted):
        dataset = split_stream(row.stream)[1]
        known[row.record_id] = KnownRecord(sender=row.sender, dataset=dataset, v=row.v, op=row.op, leaf=row.leaf, stream=row.stream)
    return known


async def put(tx: Transaction, rows: Mapping[str, tuple[KnownRecord, bytes | None, str]]) -> None:
    """What we hold of records now: by id, the line that took effect, its clear payload (none after an erasure) and its time."""
    if not rows:
        return
    written = [(rid, one.sender, one.stream, one.v, one.op, one.leaf, payload, at) for rid, (one, payload, at) in sorted(rows.items())]
    await tx.put(in_records, ("record_id", "sender", "stream", "v", "op", "leaf", "payload", "at"), ("record_id",), written)


async def said_by(source: Source, sender: str, stream: str) -> dict[str, KnownRecord]:
    """Every record of a partner's stream that is in force here by its last line."""
    rows, dataset = await source.all(_IN_SAID, {"sender": sender, "stream": stream}), split_stream(stream)[1]
    return {row.record_id: KnownRecord(sender=sender, dataset=dataset, v=row.v, op=row.op, leaf=row.leaf, stream=stream) for row in rows}
