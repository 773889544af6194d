"""Agreements and partners' keys, as signed (exchange.md §3, §2.5).

Rules: signed bytes are kept as they came and never made again; a version, a notice or a keys document is added, never changed.
This room must not verify a signature: `core/exchange` does; it keeps what was decided.
"""

from datetime import datetime

import msgspec
import sqlalchemy as sa

from gateway.core.errors import ExchangeError, StoreError
from gateway.core.exchange import agreements as terms
from gateway.core.exchange import documents
from gateway.core.exchange.agreements import Agreement, Held, Local, Notice
from gateway.core.exchange.documents import PartnerKeys
from gateway.core.exchange.notes import SignedDocument
from gateway.store.reads import Row
from gateway.store.store import Source, Transaction, moment, stamp
from gateway.store.tables import (
    agreement_states,
    agreements,
    partner_keys,
)

_encode = msgspec.json.Encoder().encode
_decode_local = msgspec.json.Decoder(Local).decode

_AGREEMENTS = sa.select(agreements).order_by(agreements.c.agreement_id, agreements.c.version)
_AGREEMENT = sa.select(agreements).where(agreements.c.agreement_id == sa.bindparam("id")).order_by(agreements.c.version)
_NOTICES = sa.select(
    agreement_states.c.agreement_id,
    agreement_states.c.by_party,
    agreement_states.c.serial,
    agreement_states.c.state,
    agreement_states.c.from_at,
    agreement_states.c.first_seen,
).order_by(agreement_states.c.agreement_id, agreement_states.c.by_party, agreement_states.c.serial)
"""Without the signed bytes: this is read with nearly every request."""
_NOTICES_ABOUT = _NOTICES.where(agreement_states.c.agreement_id == sa.bindparam("id"))
_NOTICES_OF = (
    sa.select(agreement_states)
    .where(agreement_states.c.agreement_id == sa.bindparam("id"), agreement_states.c.by_party == sa.bindparam("party"))
    .order_by(agreement_states.c.serial)
)
_PARTIES = sa.select(partner_keys.c.party).distinct()
_KEYS = sa.select(partner_keys).where(partner_keys.c.party == sa.bindparam("party")).order_by(partner_keys.c.serial)
_LATEST_KEYS = sa.select(partner_keys).where(partner_keys.c.party == sa.bindparam("party")).order_by(partner_keys.c.serial.desc()).limit(1)

_read: dict[bytes, Agreement] = {}
"""Agreements already read, by their bytes: they never change."""


def _agreement(body: bytes) -> Agreement:
    found = _read.get(body)
    if found is None:
        if len(_read) > 256:
            _read.clear()
        found = _read[body] = terms.read_agreement(body)
    return found


async def held_agreements(source: Source, agreement_id: str | None = None) -> dict[str, list[Held]]:
    """Every agreement, or one, with all its versions in order: signatures, notices and keys as they stand.

    Raises ExchangeError when stored bytes no longer verify: then somebody has changed them.
    """
    rows = await source.all(_AGREEMENT, {"id": agreement_id}) if agreement_id else await source.all(_AGREEMENTS)
    if not rows:
        return {}
    notices: dict[str, list[Notice]] = {}  # whatever version they name: what was suspended stays so under the next
    for row in await source.all(_NOTICES_ABOUT, {"id": agreement_id}) if agreement_id else await source.all(_NOTICES):
        notices.setdefault(row.agreement_id, []).append(
            Notice(by=row.by_party, serial=row.serial, state=row.state, from_at=moment(row.from_at), first_seen=moment(row.first_seen))
        )
    with_keys = {row.party for row in await source.all(_PARTIES)}
    held: dict[str, list[Held]] = {}
    for row in rows:
        versions = held.setdefault(row.agreement_id, [])
        agreement = _agreement(row.body)
        previous = versions[-1].agreement if versions and versions[-1].agreement.version == agreement.version - 1 else None
        versions.append(
            Held(
                agreement=agreement,
                note=row.note,
                signed=terms.signed_by(agreement, row.note, previous=previous, first_seen=moment(row.since)) if row.note else frozenset(),
                recorded=moment(row.since),
                notices=tuple(notices.get(row.agreement_id, ())),
                keys_held=with_keys.issuperset(agreement.parties),
                local=_decode_local(row.local),
            )
        )
    return {name: _with_successors(versions) for name, versions in held.items()}


def _with_successors(versions: list[Held]) -> list[Held]:
    linked: list[Held] = []
    successor: datetime | None = None
    for held in reversed(versions):
        linked.append(msgspec.structs.replace(held, successor=successor))
        if held.complete:
            successor = held.agreement.effective
    return linked[::-1]


async def put_agreement(tx: Transaction, agreement: Agreement, note: str, local: Local, *, state: str) -> None:
    """Keep a version of an agreement with the signature lines collected so far. Signed bytes of a version are never replaced.

    Raises StoreError agreement-differs when this version is held with other bytes.
    """
    rows = [row for row in await tx.all(_AGREEMENT, {"id": agreement.id}) if row.version == agreement.version]
    values = {"note": note, "local": _encode(local), "state": state, "since": tx.now_text}
    if not rows:
        await tx.execute(
            sa.insert(agreements).values(
                agreement_id=agreement.id, version=agreement.version, digest=agreement.digest, body=agreement.body, **values
            )
        )
        return
    if rows[0].body != agreement.body:
        raise StoreError(
            "this version is held with another text",
            code="agreement-differs",
            place=f"{agreement.id}/{agreement.version}",
            hint="both sides sign the same bytes: take the file that was offered, or make a new version",
        )
    values["since"] = rows[0].since
    await tx.execute(
        sa.update(agreements).where(agreements.c.agreement_id == agreement.id, agreements.c.version == agreement.version).values(**values)
    )


async def put_local(tx: Transaction, agreement: Agreement, local: Local) -> None:
    """Another part of our own beside a version that is held."""
    this = (agreements.c.agreement_id == agreement.id, agreements.c.version == agreement.version)
    await tx.execute(sa.update(agreements).where(*this).values(local=_encode(local)))


async def drop_unsigned(tx: Transaction, agreement_id: str, version: int) -> None:
    """Forget a version that nobody has signed yet: a draft may be changed."""
    await tx.execute(
        sa.delete(agreements).where(agreements.c.agreement_id == agreement_id, agreements.c.version == version, agreements.c.note == "")
    )


async def drop_version(tx: Transaction, agreement_id: str, version: int) -> None:
    """Hold a version no longer that only we have signed."""
    await tx.execute(sa.delete(agreements).where(agreements.c.agreement_id == agreement_id, agreements.c.version == version))


async def put_notice(tx: Transaction, agreement: Agreement, notice: Notice, document: SignedDocument) -> bool:
    """Keep a suspension, resumption or termination; False when it is held already.

    Raises ExchangeError SCOPE_DIGEST when the same number is held with other bytes.
    """
    row = await tx.one(
        sa.select(agreement_states).where(
            agreement_states.c.agreement_id == agreement.id,
            agreement_states.c.by_party == notice.by,
            agreement_states.c.serial == notice.serial,
        )
    )
    if row is not None:
        if row.body != document.body:
            place = f"{agreement.id}/{notice.by}/{notice.serial}"
            raise ExchangeError("a notice of this number is held with another text", code="SCOPE_DIGEST", place=place)
        return False
    await tx.execute(
        sa.insert(agreement_states).values(
            agreement_id=agreement.id,
            by_party=notice.by,
            serial=notice.serial,
            version=agreement.version,
            state=notice.state,
            from_at=stamp(notice.from_at),
            first_seen=stamp(notice.first_seen),
            body=document.body,
            note=document.note,
        )
    )
    return True


async def notices_of(source: Source, agreement_id: str, party: str) -> list[Row]:
    """What one side has said of an agreement, as signed, in order: serial, version, state, body, note."""
    return await source.all(_NOTICES_OF, {"id": agreement_id, "party": party})


async def latest_keys(source: Source, party: str) -> Row | None:
    """The keys document of the highest serial held of a party: serial, digest, body, note, first_seen."""
    return await source.one(_LATEST_KEYS, {"party": party})


async def all_keys(source: Source, party: str) -> list[Row]:
    """Every keys document held of a party, oldest first."""
    return await source.all(_KEYS, {"party": party})


async def put_keys(tx: Transaction, keys: PartnerKeys, document: SignedDocument) -> bool:
    """Keep a believed keys document; False when this serial is held already."""
    row = await latest_keys(tx, keys.party)
    if row is not None and row.serial >= keys.serial:
        return False
    await tx.execute(
        sa.insert(partner_keys).values(
            party=keys.party, serial=keys.serial, digest=keys.digest, body=document.body, note=document.note, first_seen=tx.now_text
        )
    )
    return True


async def partner_keys_of(source: Source, agreement: Agreement, party: str) -> PartnerKeys | None:
    """The latest keys document of a party, verified again under the pins of an agreement; None when none is held that these pins signed.

    Raises ExchangeError when the stored bytes were altered.
    """
    row = await latest_keys(source, party)
    if row is None:
        return None
    try:
        return documents.read_keys(
            SignedDocument(row.body, row.note), agreement.pins(party), first_seen=moment(row.first_seen), skew=agreement.skew
        )
    except ExchangeError as error:
        if error.code == "SIG_UNKNOWN_KEY":
            return None  # another version of the agreement pins other keys: a document signed by those has to come first
        raise
