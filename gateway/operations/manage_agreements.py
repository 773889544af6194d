"""Agreements and keys documents: propose, offer, countersign, take back; suspend, resume, end; say which keys are ours.

Rules: the file in `policies/agreements/` is a proposal; what counts is the JSON that both sides have signed, byte for byte. We sign only
what parses to the same value as our own file and what our compiled policies allow: no field above what the plan of (tier, purpose)
shows. A partner's keys are believed only under the keys that the agreement pins, and those were read out over another channel. Every act
is audited. This story must not send or fetch anything by itself.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

from msgspec import Struct

from gateway.core.callers.administrators import Administrator, Role
from gateway.core.errors import ExchangeError
from gateway.core.exchange import agreements as terms
from gateway.core.exchange import documents, notes
from gateway.core.exchange.agreements import Agreement, Held, Local
from gateway.core.exchange.documents import Maintenance, PartnerKeys
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.wire import instant, parse_instant
from gateway.core.signing import OwnKey
from gateway.operations.agree_wider import ASK, must_be_agreed
from gateway.operations.agreement_fit import agreement_signers, must_fit, must_go_on
from gateway.operations.alarms import clear, raise_alarm, sound
from gateway.operations.four_eyes import actor, must_sign, proof
from gateway.operations.recognise import decide_under
from gateway.services import Services, load_signers
from gateway.store import agreement_approvals, audit, held_agreements, inbox, withdrawn_offers
from gateway.store.agreement_approvals import Approval
from gateway.store.reads import Row
from gateway.store.store import Source, Transaction

RENEW_BEFORE = timedelta(days=30)
"""Our keys document is made anew this long before it ends."""
LOST_AT_MOST: Final = 1_000
"""So many keys documents nobody publishes between a copy and a loss."""
SUSPEND: Final[tuple[Role, ...]] = ("operator", "approver", "privacy-officer", "legal-officer")
GO_ON_OR_END: Final[tuple[Role, ...]] = ("operator", "approver")


class Side(Struct, frozen=True, kw_only=True):
    """What a template leaves open of one party: its address and its agreement keys, read out between the two offices."""

    base_url: str
    agreement_keys: tuple[str, ...]


def filled(template: str, sides: Mapping[str, Side]) -> str:
    """A template with the addresses and agreement keys of both parties put in.

    Raises ExchangeError SCHEMA_MISSING when the template has no block of a party.
    """
    for party, side in sides.items():
        block = re.compile(
            rf'(\[\[parties\]\]\nparty = "{re.escape(party)}"\n)'
            r'identity = \{([^\n]*)base_url = "[^"\n]*"([^\n]*)\}\nagreement_keys = \[[^\]]*\]'
        )
        keys = ", ".join(f'"{key}"' for key in side.agreement_keys)
        template, count = block.subn(rf'\1identity = {{\2base_url = "{side.base_url}"\3}}\nagreement_keys = [{keys}]', template)
        if count != 1:
            raise ExchangeError("the template has no block of this party", code="SCHEMA_MISSING", place=party)
    return template


# --- offer, countersign, take -----------------------------------------------------------------------------------------


class AgreementStatus(Struct, frozen=True, kw_only=True):
    """One version of an agreement, as it stands."""

    id: str
    version: int
    digest: str
    partner: str
    state: str
    since: datetime
    signed_by: tuple[str, ...]
    effective: datetime | None
    ends: datetime | None
    """None of a version that nobody here has signed: its digest alone is known."""
    waits_for: str = ""
    """What has to happen before it is in force, and whose turn it is; empty when nothing has."""


def _status(held: Held, ours: str, now: datetime) -> AgreementStatus:
    standing = held.standing(now)
    agreement = held.agreement
    return AgreementStatus(
        id=agreement.id,
        version=agreement.version,
        digest=agreement.digest,
        partner=agreement.other(ours),
        state=standing.state,
        since=standing.since,
        signed_by=tuple(sorted(held.signed)),
        effective=agreement.effective,
        ends=agreement.ends,
        waits_for=_waits_for(held, ours, now),
    )


def _waits_for(held: Held, ours: str, now: datetime) -> str:
    standing, other = held.standing(now), held.agreement.other(ours)
    if standing.state == "offered":
        return f"{other}: countersign" if ours in held.signed else "us: countersign"
    if standing.state == "suspended":
        return ", ".join(f"{'us' if party == ours else party}: resume" for party in standing.suspended_by)
    if standing.state == "agreed":
        return "keys documents of both" if not held.keys_held else f"its first day, {held.agreement.terms.effective}"
    return ""


async def agreements(services: Services) -> list[AgreementStatus]:
    """Every version of every agreement that we hold, and those that wait for a second person here."""
    now, ours = services.clock(), services.signers.party
    held = await held_agreements.held_agreements(services.store.reads)
    found = [_status(version, ours, now) for versions in held.values() for version in versions]
    signed = {(each.id, each.version) for each in found if ours in each.signed_by}
    found += [
        _asked(asked, held.get(asked.agreement_id, []), ours)
        for asked in await agreement_approvals.everything(services.store.reads)
        if (asked.agreement_id, asked.version) not in signed
    ]
    return sorted(found, key=lambda each: (each.id, each.version))


def _asked(asked: Approval, versions: Sequence[Held], ours: str) -> AgreementStatus:
    """A version that nobody here has signed yet: who wants it, and what it takes."""
    wants = f"a second person here, beside {asked.asked_by}: approve --digest {asked.digest}"
    return AgreementStatus(
        id=asked.agreement_id,
        version=asked.version,
        digest=asked.digest,
        partner=versions[-1].agreement.other(ours) if versions else "",
        state="draft",
        since=asked.asked_at,
        signed_by=(),
        effective=None,
        ends=None,
        waits_for=wants if asked.approved_by is None else "us: offer, or countersign",
    )


async def offer(services: Services, toml: bytes, *, by: Administrator | str) -> SignedDocument:
    """Make the signed form of our file and put our signature under it: the first of the two. Signed already, its `[local]` counts anew.

    Raises ExchangeError when the file, or our policies, do not allow it; StoreError agreement-differs when the version is taken;
    AdminError approval-missing when it is wider than before and no second person has agreed; RoleMissing.
    """
    _may_want(by)
    body, local = terms.signed_form(toml)
    agreement = terms.read_agreement(body)
    await must_fit(services, agreement, local)
    await must_be_agreed(services, agreement, local, by=by)
    await own_keys(services)
    return await _sign(services, agreement, "", local, by=by, act="agreement.offer")


async def countersign(services: Services, document: SignedDocument | None, toml: bytes, *, by: Administrator | str) -> SignedDocument:
    """Put our signature under the bytes that the other side has signed, if they say the same as our own file.

    Without a document it is the version that the other side has offered over the line.

    Raises ExchangeError SCOPE_DIGEST when they say something else or nothing is offered, SIG_* when the other side's signature is not
    good; AdminError approval-missing when it is wider than before and no second person has agreed; RoleMissing.
    """
    _may_want(by)
    document = document or await _offered(services, toml)
    if not terms.same_terms(document.body, toml):
        raise ExchangeError(
            "the offered agreement says something else than our file",
            code="SCOPE_DIGEST",
            hint="compare the two texts with the other office",
        )
    agreement = terms.read_agreement(document.body)
    _, local = terms.signed_form(toml)
    await must_fit(services, agreement, local)
    await must_be_agreed(services, agreement, local, by=by)
    await own_keys(services)
    other = agreement.other(services.signers.party)
    if other not in await _signed_by(services, services.store.reads, agreement, document.note):
        raise ExchangeError("the other side has not signed this", code="SIG_UNKNOWN_KEY", place=other)
    return await _sign(services, agreement, document.note, local, by=by, act="agreement.countersign")


def _may_want(by: Administrator | str) -> None:
    if isinstance(by, Administrator):
        by.require(*ASK)


async def _offered(services: Services, toml: bytes) -> SignedDocument:
    """The version of our file that the other side has offered over the line."""
    mine = terms.read_agreement(terms.signed_form(toml)[0])
    held = await _held(services.store.reads, mine.id, mine.version)
    if held is None or mine.other(services.signers.party) not in held.signed:
        raise ExchangeError("the other side has offered no such version", code="SCOPE_DIGEST", place=f"{mine.id}/{mine.version}")
    return SignedDocument(held.agreement.body, held.note)


async def take(services: Services, document: SignedDocument, *, by: Administrator | str) -> AgreementStatus:
    """Keep a version with the other side's signature lines: what we offered, coming back countersigned.

    Raises ExchangeError SCOPE_DIGEST when we hold no such version or have taken it back, SIG_* when a signature is not good.
    """
    agreement = terms.read_agreement(document.body)
    async with services.store.transaction() as tx:
        await refuse_withdrawn(tx, agreement)
        held = await _held(tx, agreement.id, agreement.version)
        if held is None or held.agreement.body != agreement.body:
            place, hint = f"{agreement.id}/{agreement.version}", "one that was lost with a copy: `agreement countersign` with our own file"
            raise ExchangeError("we hold no such version with this text", code="SCOPE_DIGEST", place=place, hint=hint)
        await _signed_by(services, tx, agreement, document.note)
        note = notes.joined(held.note, document.note)
        signed = await _signed_by(services, tx, agreement, note)
        if not held.signed < signed:
            signed, note = held.signed, held.note
        await held_agreements.put_agreement(tx, agreement, note, held.local, state="agreed" if len(signed) == 2 else "offered")
        said = {"signed_by": sorted(signed), **proof(by)}
        await audit.write(tx, actor(by), "agreement.take", f"agreement/{agreement.id}/{agreement.version}", said)
        held = await _held(tx, agreement.id, agreement.version)
    assert held is not None  # noqa: S101  # it was written in this transaction
    return _status(held, services.signers.party, services.clock())


async def refuse_withdrawn(source: Source, agreement: Agreement) -> None:
    """Raises ExchangeError SCOPE_DIGEST for a text that we offered and took back."""
    if await withdrawn_offers.is_withdrawn(source, agreement):
        raise ExchangeError(
            "our offer of this text was taken back",
            code="SCOPE_DIGEST",
            place=f"{agreement.id}/{agreement.version}",
            hint="agree on a text with the other office; whoever wants this one after all signs it again",
        )


async def _sign(services: Services, agreement: Agreement, note: str, local: Local, *, by: Administrator | str, act: str) -> SignedDocument:
    signers = agreement_signers(services, services.clock())
    async with services.store.transaction() as tx:
        previous = await _held(tx, agreement.id, agreement.version - 1) if agreement.version > 1 else None
        if agreement.version > 1 and (previous is None or previous.agreement.digest != agreement.terms.previous):
            raise ExchangeError("this version does not follow the one held", code="SCOPE_DIGEST", place=agreement.id)
        if previous is not None:
            must_go_on(previous, tx.now)
        present = await _held(tx, agreement.id, agreement.version)
        if present is not None and not present.signed:
            await held_agreements.drop_unsigned(tx, agreement.id, agreement.version)
            present = None
        if present is not None and present.agreement.body == agreement.body and services.signers.party in present.signed:
            if present.local != local:  # the same text over another line: nothing to be signed, and nothing of it leaves us
                await held_agreements.put_local(tx, agreement, local)
                changed = [name for name in Local.__struct_fields__ if getattr(local, name) != getattr(present.local, name)]
                await audit.write(
                    tx, actor(by), "agreement.local", f"agreement/{agreement.id}/{agreement.version}", {"changed": changed, **proof(by)}
                )
            return SignedDocument(agreement.body, present.note)
        signed = notes.joined(note, notes.sign(terms.signing_text(agreement), signers))
        parties = await _signed_by(services, tx, agreement, signed)
        await withdrawn_offers.sign_again(tx, agreement)
        await held_agreements.put_agreement(tx, agreement, signed, local, state="agreed" if len(parties) == 2 else "offered")
        detail = {"digest": agreement.digest, "signed_by": sorted(parties), **proof(by)}
        await audit.write(tx, actor(by), act, f"agreement/{agreement.id}/{agreement.version}", detail)
    return SignedDocument(agreement.body, signed)


async def _held(source: Source, agreement_id: str, version: int) -> Held | None:
    versions = (await held_agreements.held_agreements(source, agreement_id)).get(agreement_id, [])
    return next((held for held in versions if held.agreement.version == version), None)


async def _signed_by(services: Services, source: Source, agreement: Agreement, note: str) -> frozenset[str]:
    previous = await _held(source, agreement.id, agreement.version - 1) if agreement.version > 1 else None
    return terms.signed_by(agreement, note, previous=previous.agreement if previous else None, first_seen=services.clock())


# --- suspend, resume, end ---------------------------------------------------------------------------------------------


async def change_state(
    services: Services, agreement_id: str, state: Literal["suspended", "active", "terminated"], *, reason: str, by: Administrator | str
) -> SignedDocument:
    """Say that we suspend, resume or end an agreement, from now on; the signed notice, for the other side.

    Whoever holds the data directory may always suspend; to resume or to end is signed as soon as somebody is enrolled who can.

    Raises ExchangeError SCOPE_AGREEMENT when there is no such agreement, or it has ended already; SCHEMA_LENGTH for a long reason;
    RATE_LIMIT for more notices in a day than the other side takes. RoleMissing, AdminError operator-needed.
    """
    if state != "suspended":
        await must_sign(services, by, *GO_ON_OR_END)
    elif isinstance(by, Administrator):
        by.require(*SUSPEND)
    await services.policies.fresh()
    async with services.store.transaction() as tx:
        held = await _current(tx, agreement_id, tx.now)
        ours = services.signers.party
        standing = held.standing(tx.now)
        if standing.ended or not held.complete:
            raise ExchangeError(f"the agreement is {standing.state}", code="SCOPE_AGREEMENT", place=agreement_id)
        serial = 1 + max((notice.serial for notice in held.notices if notice.by == ours), default=0)
        terms.must_be_few(held.notices, ours, serial, state, tx.now)
        body = terms.state_body(held.agreement, by=ours, serial=serial, state=state, from_at=tx.now, reason=reason)
        document = notes.sign_document("agreement-state", f"{agreement_id}/{ours}/{serial}", body, agreement_signers(services, tx.now))
        notice = terms.read_state(document, held.agreement, first_seen=tx.now)
        await held_agreements.put_notice(tx, held.agreement, notice, document)
        await decide_under(services, tx, agreement_id)
        await audit.write(tx, actor(by), f"agreement.{state}", f"agreement/{agreement_id}", {"serial": serial, **proof(by)})
    services.doors.credentials.forget()  # grants of the other side's apps are worth what this agreement says
    return document


async def take_notice(services: Services, document: SignedDocument, *, by: Administrator | str) -> AgreementStatus:
    """Take the other side's suspension, resumption or end; it counts from the moment it is known.

    Raises ExchangeError when it is not signed by a party of an agreement that we hold; SCOPE_DIGEST for another text under its number;
    RATE_LIMIT for too many in a day.
    """
    agreement_id = notes.context_of(document.note).partition("/")[0]
    await services.policies.fresh()
    async with services.store.transaction() as tx:
        held = await _held(tx, agreement_id, terms.named_version(document.body)) or await _current(tx, agreement_id, tx.now)
        if not held.complete:
            raise ExchangeError("there is no such agreement", code="SCOPE_AGREEMENT", place=agreement_id)
        notice = terms.read_state(document, held.agreement, first_seen=tx.now)
        if await held_agreements.put_notice(tx, held.agreement, notice, document):
            terms.must_be_few(held.notices, notice.by, notice.serial, notice.state, tx.now)  # those held before; one held already is taken
            await decide_under(services, tx, agreement_id)
            detail = {"by": notice.by, "serial": notice.serial, "from": instant(notice.from_at), **proof(by)}
            await audit.write(tx, actor(by), f"agreement.{notice.state}", f"agreement/{agreement_id}", detail)
        held = await _current(tx, agreement_id, tx.now)
    services.doors.credentials.forget()
    return _status(held, services.signers.party, services.clock())


async def _current(source: Source, agreement_id: str, at: datetime) -> Held:
    """The version of an agreement that governs a moment, else the first to come, else what is only offered."""
    versions = (await held_agreements.held_agreements(source, agreement_id)).get(agreement_id, [])
    found = terms.in_force(versions, at) or next((held for held in versions if held.complete), None) or (versions[-1] if versions else None)
    if found is None:
        raise ExchangeError("there is no such agreement", code="SCOPE_AGREEMENT", place=agreement_id)
    return found


# --- keys documents ---------------------------------------------------------------------------------------------------


async def own_keys(services: Services) -> SignedDocument:
    """Our keys document: the one held while it still says what is true and is fresh, else a new one with the next serial."""
    row = await held_agreements.latest_keys(services.store.reads, services.signers.party)
    if row is not None and _still_true(services, row):
        return SignedDocument(row.body, row.note)
    async with services.store.transaction() as tx:
        row = await held_agreements.latest_keys(tx, services.signers.party)
        if row is not None and _still_true(services, row):
            return SignedDocument(row.body, row.note)
        return await _publish(services, tx, row, _announced(row.body, tx.now) if row is not None else None)


async def publish_ahead(services: Services) -> SignedDocument:
    """A new keys document, numbered beyond all that we may have published in a time that is lost here: partners refuse a lower one.

    Raises SettingsError key-missing.
    """
    async with services.store.transaction() as tx:
        row = await held_agreements.latest_keys(tx, services.signers.party)
        return await _publish(services, tx, row, _announced(row.body, tx.now) if row is not None else None, skipped=LOST_AT_MOST)


async def announce_maintenance(services: Services, maintenance: Maintenance | None, *, by: str) -> SignedDocument:
    """Our keys document with the time in which we take nothing, or without one; partners learn of it within ten minutes.

    Raises ExchangeError SCHEMA_TYPE when it ends before it begins, or has ended.
    """
    if maintenance is not None and not maintenance.end > max(services.clock(), parse_instant(maintenance.from_, "SCHEMA_TYPE")):
        raise ExchangeError("a maintenance ends after it begins, and in the future", code="SCHEMA_TYPE")
    async with services.store.transaction() as tx:
        row = await held_agreements.latest_keys(tx, services.signers.party)
        said = {"until": maintenance.until} if maintenance is not None else {}
        await audit.write(tx, by, "keys.maintenance", f"keys/{services.signers.party}", said)
        return await _publish(services, tx, row, maintenance)


async def own_maintenance(services: Services) -> Maintenance | None:
    """What we have announced, as long as it is not over."""
    row = await held_agreements.latest_keys(services.store.reads, services.signers.party)
    return _announced(row.body, services.clock()) if row is not None else None


async def _publish(
    services: Services, tx: Transaction, row: Row | None, maintenance: Maintenance | None, *, skipped: int = 0
) -> SignedDocument:
    body = _body(services, tx.now, 1 + skipped + (row.serial if row is not None else 0), maintenance)
    signers = agreement_signers(services, tx.now)
    document = documents.sign_keys(body, *signers)
    keys = documents.read_keys(document, documents.pinned(services.signers.party, [one.vkey for one in signers]), first_seen=tx.now)
    await held_agreements.put_keys(tx, keys, document)
    await audit.write(tx, "gateway", "keys.publish", f"keys/{keys.party}", {"serial": keys.serial})
    return document


def _body(services: Services, now: datetime, serial: int, maintenance: Maintenance | None) -> bytes:
    return documents.keys_body(
        party=services.signers.party,
        org=services.settings.org,
        region=services.settings.region,
        serial=serial,
        issued_at=now,
        base_url=base_url(services),
        keys=_listed(services, now),
        maintenance=maintenance,
    )


def _announced(body: bytes, now: datetime) -> Maintenance | None:
    said = documents.decode_keys(body).maintenance
    return said if said is not None and now < said.end else None


def base_url(services: Services) -> str:
    """Where partners reach us."""
    return services.settings.public_origin.rstrip("/") + "/x/v1"


def _listed(services: Services, now: datetime) -> list[OwnKey]:
    """Everything in the folder of keys but what has long ended; `agreement` keys are never listed.

    The folder is read each time: a successor is published when it is made, not when the house is opened next.
    """
    keys = load_signers(services.settings).keys
    return [key for key in keys if key.use != "agreement" and key.not_after + documents.MAX_KEYS_LIFETIME > now]


def _still_true(services: Services, row: Row) -> bool:
    body: bytes = row.body
    said = documents.decode_keys(body)
    now = services.clock()
    if {signer.key_id for signer in agreement_signers(services, now)} - {line.key_id for line in notes.parse(row.note).lines}:
        return False  # a new agreement key vouches for our keys too: where it alone is pinned, they are believed by it
    fresh = documents.decode_keys(_body(services, now, said.serial, _announced(body, now)))
    unchanged = (said.org, said.region, said.base_url, said.keys, said.maintenance) == (
        fresh.org,
        fresh.region,
        fresh.base_url,
        fresh.keys,
        fresh.maintenance,
    )
    return unchanged and now < documents.valid_until(said) - RENEW_BEFORE


async def take_keys(services: Services, document: SignedDocument, *, by: str) -> PartnerKeys:
    """Believe a partner's keys document under the keys that an agreement with it pins.

    One that goes back, or a second one of a serial, is an alarm until a newer one comes. A key whose revocation we learn of after
    artefacts that it signed is an alarm for a person, with their number.

    Raises ExchangeError SCOPE_AGREEMENT when no agreement names that party, SIG_* or SEQ_* when the document is not to be believed.
    """
    party = notes.context_of(document.note).partition("/")[0]
    try:
        return await _take_keys(services, document, party, by)
    except ExchangeError as error:
        if error.code in ("SEQ_REPLAY", "SEQ_FORK"):
            await raise_alarm(services, "partner-keys", party, {"code": error.code})
        raise


async def _take_keys(services: Services, document: SignedDocument, party: str, by: str) -> PartnerKeys:
    async with services.store.transaction() as tx:
        held = await agreement_with(tx, services.signers.party, party, tx.now)
        if held is None:
            raise ExchangeError("there is no agreement with this party", code="SCOPE_AGREEMENT", place=party)
        row = await held_agreements.latest_keys(tx, party)
        keys = documents.read_keys(
            document,
            held.agreement.pins(party),
            first_seen=tx.now,
            held=(row.serial, row.digest) if row is not None else None,
            skew=held.agreement.skew,
            required=held.agreement.algorithms,
        )
        if await held_agreements.put_keys(tx, keys, document):
            await audit.write(tx, by, "keys.take", f"keys/{party}", {"serial": keys.serial})
            await clear(tx, "partner-keys", party, "gateway")
            await _tell_of_late_revocations(tx, keys)
    return keys


async def _tell_of_late_revocations(tx: Transaction, keys: PartnerKeys) -> None:
    """An alarm for each revoked key that had signed what we first saw only after the revocation, and believed."""
    for key in keys.keys:
        if key.revoked_at is None:
            continue
        seen = await inbox.batches_seen_since(tx, keys.party, key.revoked_at)
        signed = [batch for batch in seen if any(line.key_id == key.verifier.key_id for line in notes.parse(batch.document.note).lines)]
        if signed:
            detail = {"revoked_at": instant(key.revoked_at), "batches": len(signed), "first": f"{signed[0].stream}/{signed[0].seq}"}
            await sound(tx, "partner-key-revoked", f"{key.verifier.name}+{key.verifier.key_id.hex()}", detail)


async def agreement_with(source: Source, ours: str, party: str, at: datetime) -> Held | None:
    """The agreement version between us and a party that counts at a moment: in force, else over, else to come, else not signed by both."""
    found = [
        held
        for versions in (await held_agreements.held_agreements(source)).values()
        for held in versions
        if party in held.agreement.parties and party != ours
    ]

    def rank(held: Held) -> tuple[bool, bool, bool, datetime, int]:
        agreement = held.agreement
        return held.complete, agreement.effective <= at, not held.standing(at).ended, agreement.effective, agreement.version

    return max(found, key=rank, default=None)
