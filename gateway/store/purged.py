"""Partners' records whose content was destroyed because the agreement ended (`purge`): their mark, and how it goes again (exchange.md §9).

Rules: a purge is no erasure. Nothing of the content is left, as after one; but the last word of the sender stays what it was, `purge` in
the place of what was in force, with its version, and whoever owns the id may say the record again. The mark goes with that, or with a true
erasure: by the sender's word, or of all that is kept about the subject. This room must not decide what is purged, or may come back.
"""

from collections.abc import Collection, Sequence
from datetime import date

import sqlalchemy as sa

from gateway.core.records.periods import legal_day
from gateway.store import erasures, kept_uploads, match_jobs
from gateway.store.dialects import among, one_of
from gateway.store.store import Source, Transaction, moment
from gateway.store.tables import in_records, record_versions, records

_PURGED = sa.select(in_records.c.record_id).where(
    among(in_records.c.record_id, "wanted"), in_records.c.purged_at.is_not(None), in_records.c.op != "erase"
)
_MARK = sa.update(in_records).where(among(in_records.c.record_id, "wanted")).values(payload=None, purged_at=sa.bindparam("now"))
_IN_FORCE = (
    sa.update(in_records).where(among(in_records.c.record_id, "wanted"), one_of(in_records.c.op, "assert", "amend")).values(op="purge")
)
_STALE = (
    sa.update(in_records)
    .where(
        in_records.c.sender == sa.bindparam("of_sender"), in_records.c.stream == sa.bindparam("of_stream"), in_records.c.op != "erase"
    )
    .values(op="purge", payload=None, purged_at=sa.func.coalesce(in_records.c.purged_at, sa.bindparam("now")))
)
_CLEAR = sa.update(in_records).where(among(in_records.c.record_id, "wanted")).values(purged_at=None)
_PUBLIC_SINCE = (
    sa.select(record_versions.c.record_id, sa.func.min(record_versions.c.at).label("at"))
    .where(among(record_versions.c.record_id, "wanted"), record_versions.c.state == "in_force")
    .group_by(record_versions.c.record_id)
)
_OF_SUBJECT = sa.select(records.c.record_id).where(records.c.subject_id == sa.bindparam("subject"), records.c.state == "erased")
_PURGED_OF_SUBJECT = sa.select(in_records.c.record_id).where(
    in_records.c.record_id.in_(_OF_SUBJECT), in_records.c.purged_at.is_not(None), in_records.c.op != "erase"
)
_FOR_GOOD = sa.update(in_records).where(among(in_records.c.record_id, "wanted")).values(op="erase", payload=None, purged_at=None)
_ERASED_BEFORE = (
    sa.update(in_records)
    .where(
        in_records.c.sender == sa.bindparam("of_sender"),
        in_records.c.stream == sa.bindparam("of_stream"),
        in_records.c.purged_at.is_(None),
        sa.exists().where(records.c.record_id == in_records.c.record_id, records.c.state == "erased"),
    )
    .values(op="erase", payload=None)
)


async def purged(source: Source, record_ids: Collection[str]) -> frozenset[str]:
    """Those of these records that are purged, and not erased."""
    wanted = sorted(set(record_ids))
    return frozenset(row.record_id for row in await source.all(_PURGED, {"wanted": wanted})) if wanted else frozenset()


async def mark(tx: Transaction, record_ids: Sequence[str]) -> None:
    """These records were purged in this transaction: what was said of them in clear goes, the word that was held and its version stay."""
    if record_ids:
        await tx.execute(_MARK, {"wanted": list(record_ids), "now": tx.now_text})
        await tx.execute(_IN_FORCE, {"wanted": list(record_ids)})


async def erased_before(tx: Transaction, sender: str, stream: str) -> None:
    """What of a stream was erased here before its end stays so for good, and nothing that was said of it in clear is kept either."""
    await tx.execute(_ERASED_BEFORE, {"of_sender": sender, "of_stream": stream})


async def forget_words(tx: Transaction, sender: str, stream: str) -> None:
    """What was last said of the purged records of a stream may be long overtaken, a repair too: only an erasure is for good."""
    await tx.execute(_STALE, {"of_sender": sender, "of_stream": stream, "now": tx.now_text})


async def come_back(tx: Transaction, record_ids: Sequence[str]) -> None:
    """These purged records are said again: their purge is over.

    Where it was still looked for remains of one, those that hang on no exit go at once: nobody could tell them from what is said now.
    """
    if not record_ids:
        return
    if await erasures.unfinished(tx, record_ids):
        await match_jobs.expire_before(tx, tx.now_text)
        await kept_uploads.drop_until(tx, tx.now)
        tx.shredded = True
    await erasures.take_back(tx, record_ids)
    await tx.execute(_CLEAR, {"wanted": list(record_ids)})


async def public_since(tx: Transaction, record_ids: Sequence[str]) -> dict[str, date]:
    """On which day each of these records was first public here, as its versions tell: no period begins again because of a purge."""
    rows = await tx.all(_PUBLIC_SINCE, {"wanted": list(record_ids)}) if record_ids else []
    return {row.record_id: legal_day(moment(row.at)) for row in rows}


async def erase_of_subject(tx: Transaction, subject_id: str) -> None:
    """What was purged of a subject is erased for good: nobody says it again, and what was told of it since goes too."""
    found = [row.record_id for row in await tx.all(_PURGED_OF_SUBJECT, {"subject": subject_id})]
    if found:
        await tx.execute(_FOR_GOOD, {"wanted": found})
        await erasures.enter_again(tx, found)
