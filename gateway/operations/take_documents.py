"""Take what a partner has signed about agreements: a later version offered or countersigned, a notice, an inventory (exchange.md §3, §10).

Rules: each is believed by its signatures alone, whoever brings it. A first version travels as a file; a later one is kept when it follows
the newest that both have signed, names both parties and bears the other side's signature with old and new keys; nothing is signed here: a
person compares it with our own file. One offer of a number is kept, another text under it is refused, and so is one with our own
signature: what we have signed we hold, or have taken back. This story must not fetch anything.
"""

from typing import Final

from msgspec import Struct

from gateway.core.callers.administrators import Administrator, Role
from gateway.core.errors import ExchangeError
from gateway.core.exchange import agreements as terms
from gateway.core.exchange import notes
from gateway.core.exchange.agreements import Agreement, Held
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.wire import instant
from gateway.operations.agreement_fit import must_go_on
from gateway.operations.end_agreement import take_inventory
from gateway.operations.four_eyes import actor, proof
from gateway.operations.manage_agreements import refuse_withdrawn, take, take_notice
from gateway.services import Services
from gateway.store import audit, held_agreements
from gateway.store.store import Source, Transaction

TAKE: Final[tuple[Role, ...]] = ("operator", "author", "approver")


class Taken(Struct, frozen=True, kw_only=True):
    """How the agreement stands that a document was about."""

    id: str
    version: int
    digest: str
    state: str
    since: str


async def take_document(services: Services, document: SignedDocument, *, by: Administrator | str) -> Taken:
    """Keep a signed document about an agreement.

    Raises ExchangeError SIG_*, SCHEMA_*, SCOPE_*; SCHEMA_MANIFEST for any other document; RoleMissing.
    """
    if isinstance(by, Administrator):
        by.require(*TAKE)
    artefact = notes.parse(document.note).text.partition("\n")[0]
    if artefact == "chengxin-exchange/agreement/1":
        return await _take_version(services, document, by)
    if artefact == "chengxin-exchange/agreement-state/1":
        status = await take_notice(services, document, by=by)
        return Taken(id=status.id, version=status.version, digest=status.digest, state=status.state, since=instant(status.since))
    if artefact == "chengxin-exchange/inventory/1":
        ended = await take_inventory(services, document, by=by)
        held = await _version(services.store.reads, ended.agreement, ended.version)
        assert held is not None  # noqa: S101  # it was just read
        return _taken(services, held)
    raise ExchangeError("only agreements, their states and inventories are taken here", code="SCHEMA_MANIFEST")


async def _take_version(services: Services, document: SignedDocument, by: Administrator | str) -> Taken:
    agreement = terms.read_agreement(document.body)
    held = await _version(services.store.reads, agreement.id, agreement.version)
    if held is None:
        async with services.store.transaction() as tx:
            await _keep_offer(services, tx, agreement, document, by)
    else:
        await take(services, document, by=by)
    held = await _version(services.store.reads, agreement.id, agreement.version)
    assert held is not None  # noqa: S101  # it was just written
    return _taken(services, held)


async def _keep_offer(services: Services, tx: Transaction, agreement: Agreement, document: SignedDocument, by: Administrator | str) -> None:
    place = f"{agreement.id}/{agreement.version}"
    await refuse_withdrawn(tx, agreement)
    versions = (await held_agreements.held_agreements(tx, agreement.id)).get(agreement.id, [])
    previous = next((one for one in versions if one.complete and one.agreement.version == agreement.version - 1), None)
    if previous is None or previous.agreement.digest != agreement.terms.previous:
        raise ExchangeError("it does not follow the newest version that both have signed", code="SCOPE_DIGEST", place=place)
    if set(agreement.parties) != set(previous.agreement.parties):
        raise ExchangeError("an offer between other parties", code="SCOPE_AGREEMENT", place=place)
    must_go_on(previous, tx.now)
    signed = terms.signed_by(agreement, document.note, previous=previous.agreement, first_seen=tx.now)
    other = agreement.other(services.signers.party)
    if other not in signed:
        raise ExchangeError(
            "the other side has not signed this, with its keys of this version and of the one before", code="SIG_UNKNOWN_KEY", place=other
        )
    if services.signers.party in signed:
        raise ExchangeError("it bears a signature of ours, and we offer no such text", code="SCOPE_DIGEST", place=place)
    await held_agreements.put_agreement(tx, agreement, document.note, previous.local, state="offered")
    said = {"digest": agreement.digest, "signed_by": sorted(signed), **proof(by)}
    await audit.write(tx, actor(by), "agreement.offered", f"agreement/{place}", said)


async def _version(source: Source, agreement_id: str, version: int) -> Held | None:
    versions = (await held_agreements.held_agreements(source, agreement_id)).get(agreement_id, [])
    return next((held for held in versions if held.agreement.version == version), None)


def _taken(services: Services, held: Held) -> Taken:
    standing = held.standing(services.clock())
    agreement = held.agreement
    return Taken(id=agreement.id, version=agreement.version, digest=agreement.digest, state=standing.state, since=instant(standing.since))
