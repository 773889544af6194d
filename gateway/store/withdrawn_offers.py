"""Texts of agreements that we offered and took back: our signature under them is in the world and counts no more (exchange.md §3).

Rules: a text is kept until a person here signs the very same one again. This room must not know who may take back an offer.
"""

import sqlalchemy as sa

from gateway.core.exchange.agreements import Agreement
from gateway.store.store import Source, Transaction
from gateway.store.tables import withdrawn_offers as rows


async def is_withdrawn(source: Source, agreement: Agreement) -> bool:
    """Whether this very text is one that we have taken back."""
    return await source.one(sa.select(rows.c.withdrawn_at).where(*_this(agreement))) is not None


async def put(tx: Transaction, agreement: Agreement) -> None:
    """Remember a text as taken back."""
    await sign_again(tx, agreement)
    await tx.execute(
        sa.insert(rows).values(agreement_id=agreement.id, version=agreement.version, digest=agreement.digest, withdrawn_at=tx.now_text)
    )


async def sign_again(tx: Transaction, agreement: Agreement) -> None:
    """A person here signs this text after all: it is taken back no longer."""
    await tx.execute(sa.delete(rows).where(*_this(agreement)))


def _this(agreement: Agreement) -> tuple[sa.ColumnElement[bool], ...]:
    return (rows.c.agreement_id == agreement.id, rows.c.version == agreement.version, rows.c.digest == agreement.digest)
