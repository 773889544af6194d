"""What was brought to partners of our signed agreements, notices and inventories, and when the next attempt is due.

Rules: a document with more signature lines is another letter. This room must not know what stands in it.
"""

from datetime import datetime

import sqlalchemy as sa

from gateway.store.reads import Row
from gateway.store.store import Source, Transaction, stamp
from gateway.store.tables import told_documents as rows

_ALL = sa.select(rows)


async def everything(source: Source) -> dict[tuple[str, str], Row]:
    """By party and document: digest, told_at, attempts, next_attempt_at, code."""
    return {(row.party, row.what): row for row in await source.all(_ALL)}


async def due_now(tx: Transaction, party: str) -> None:
    """What a partner has not taken yet waits no longer for its next attempt."""
    await tx.execute(sa.update(rows).where(rows.c.party == party, rows.c.told_at.is_(None)).values(next_attempt_at=None))


async def note(
    tx: Transaction, party: str, what: str, digest: str, *, told: bool, attempts: int, code: str | None, next_attempt_at: datetime | None
) -> None:
    """Write down what an attempt came to."""
    await tx.execute(sa.delete(rows).where(rows.c.party == party, rows.c.what == what))
    await tx.execute(
        sa.insert(rows).values(
            party=party,
            what=what,
            digest=digest,
            told_at=tx.now_text if told else None,
            attempts=attempts,
            next_attempt_at=stamp(next_attempt_at) if next_attempt_at is not None else None,
            code=code,
        )
    )
