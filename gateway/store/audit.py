"""The audit trail: who did what to which object, append-only, each row chained to the one before.

Rules: a row is written in the transaction of the act; `actor` is an account or a unit that acts for the gateway, `target` an id; details
are ids, counts and codes, never values, and stand as ciphertext: under the subject's data key when they are about a person, else
under the key of the label `audit-detail`. The chain runs over what is stored, so that shredding a key never breaks it.
This room must not read what it was given.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.core.records.model import SubjectId
from gateway.store.reads import Reads, Row
from gateway.store.sealing import subject_scope
from gateway.store.store import Transaction, moment
from gateway.store.tables import audit
from gateway.store.vault import Dek, Vault, dek_id_of

COUNTER = "audit"
LABEL = "audit-detail"
_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(dict[str, object])


class AuditRow(Struct, frozen=True, kw_only=True):
    """One act; `detail` is None when its key was shredded."""

    seq: int
    at: datetime
    actor: str
    act: str
    target: str
    detail: dict[str, object] | None


_LAST = sa.select(audit.c.chain).order_by(audit.c.seq.desc()).limit(1)
_AFTER = sa.select(audit).where(audit.c.seq > sa.bindparam("position")).order_by(audit.c.seq).limit(sa.bindparam("n", type_=sa.Integer))


async def write(
    tx: Transaction, actor: str, act: str, target: str, detail: Mapping[str, object], *, subject: SubjectId | None = None
) -> int:
    """Add a row to the trail; `subject` names the person whom the details concern, whose shredding takes them along. Its number."""
    vault = tx.vault
    dek = vault.house_dek(LABEL) if subject is None else await vault.dek(tx, subject_scope(subject), create=True)
    seq = await tx.number(COUNTER)
    sealed = vault.seal(dek, "audit", "detail", str(seq), _encoder.encode(detail))
    last = await tx.one(_LAST)
    row = (seq, tx.now_text, actor, act, target, sealed)
    await tx.insert(
        audit, ("seq", "at", "actor", "act", "target", "detail", "chain"), [(*row, _link(last.chain if last is not None else b"", row))]
    )
    return seq


async def after(source: Reads | Transaction, position: int, limit: int) -> list[AuditRow]:
    """The next rows after a position, with the details that still open."""
    vault = source.vault
    rows = await source.all(_AFTER, {"position": position, "n": limit})
    deks = {0: vault.house_dek(LABEL), **await vault.deks_by_id(source, {dek_id_of(row.detail) for row in rows} - {0})}
    return [
        AuditRow(seq=row.seq, at=moment(row.at), actor=row.actor, act=row.act, target=row.target, detail=_open(vault, deks, row))
        for row in rows
    ]


async def first_broken(source: Reads | Transaction, *, page: int = 1000) -> int | None:
    """The first number at which the chain does not hold: a row altered, missing or added; None when all is well."""
    position, chain = 0, b""
    while rows := await source.all(_AFTER, {"position": position, "n": page}):
        for row in rows:
            if row.seq != position + 1 or row.chain != _link(chain, (row.seq, row.at, row.actor, row.act, row.target, row.detail)):
                return position + 1
            position, chain = row.seq, row.chain
    return None


def _open(vault: Vault, deks: Mapping[int, Dek], row: Row) -> dict[str, object] | None:
    dek = deks.get(dek_id_of(row.detail))
    return None if dek is None else _decoder.decode(vault.open(dek, "audit", "detail", str(row.seq), row.detail))


def _link(before: bytes, row: tuple[int, str, str, str, str, bytes]) -> bytes:
    # lengths in front, so that no two rows are the same bytes
    parts = [before, *(part if isinstance(part, bytes) else str(part).encode() for part in row)]
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()
