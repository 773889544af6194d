"""Agreements and keys documents: propose, offer, countersign, take back; suspend, resume, end; say which keys are ours.

Rules: the file in `policies/agreements/` is a proposal; what counts is the JSON that both sides have signed, byte for byte. We sign only
what parses to the same value as our own file and what our compiled policies allow: no field above what the plan of (tier, purpose)
shows. A partner's keys are believed only under the keys that the agreement pins, and those were read out over another channel. Every act
is audited. This story must not send or fetch anything by itself.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from gateway.core.disclosure.plans import Policies
from gateway.core.errors import ExchangeError
from gateway.core.exchange import agreements as terms
from gateway.core.exchange import documents, notes
from gateway.core.exchange.agreements import Agreement, Fault, Held, Local
from gateway.core.exchange.documents import Maintenance, PartnerKeys
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.wire import instant, parse_instant
from gateway.core.signing import OwnKey
from gateway.operations.alarms import clear, raise_alarm, sound
from gateway.operations.recognise import decide_under
from gateway.services import Services, load_signers
from gateway.store import audit, held_agreements, inbox
from gateway.store.reads import Row
from gateway.store.store import Source, Transaction

RENEW_BEFORE = timedelta(days=30)
"""Our keys document is made anew this long before it ends."""


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


# --- what our policies allow ------------------------------------------------------------------------------------------


def plan_faults(agreement: Agreement, local: Local, policies: Policies, ours: str) -> tuple[Fault, ...]:
    """Everything in an agreement that our own compiled policies do not allow us to send, or could not take in."""
    return tuple(_plan_faults(agreement, local, policies, ours))


def _plan_faults(agreement: Agreement, local: Local, policies: Policies, ours: str) -> Iterable[Fault]:
    for stream in agreement.terms.streams:
        place = f"{agreement.id}.{stream.dataset}"
        dataset = policies.catalogue.datasets.get(stream.dataset)  # type: ignore[call-overload]  # a DatasetId is a str
        if dataset is None:
            yield Fault(code="SCOPE_AGREEMENT", message="our policies know no such dataset", place=place)
            continue
        wires = {field.wire_name: name for name, field in dataset.fields.items()}
        for field in stream.fields:
            if field.name not in wires:
                yield Fault(code="SCOPE_FIELD", message=f"the dataset has no field {field.name}", place=place)
        if stream.from_ != ours:
            continue
        plans = policies.plan_set(stream.dataset, local.tier, stream.purpose)
        if plans is None:
            yield Fault(code="SCOPE_FIELD", message=f"no plan of tier {local.tier} and purpose {stream.purpose}", place=place)
            continue
        for kind in stream.subject_kinds:
            plan = plans.plans.get(kind)
            shown = {step.field for step in plan.steps} if plan is not None else set()
            hidden = [field.name for field in stream.fields if field.name in wires and wires[field.name] not in shown]
            if hidden:
                yield Fault(code="SCOPE_FIELD", message=f"the plan for {kind} does not show {', '.join(hidden)}", place=place)


def _refuse(faults: Iterable[Fault]) -> None:
    found = tuple(faults)
    if found:
        raise ExchangeError("; ".join(f"{fault.place}: {fault.message}" for fault in found), code=found[0].code, place=found[0].place)


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
    effective: datetime
    ends: datetime


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
    )


async def agreements(services: Services) -> list[AgreementStatus]:
    """Every version of every agreement that we hold."""
    now = services.clock()
    held = await held_agreements.held_agreements(services.store.reads)
    return [_status(version, services.signers.party, now) for versions in held.values() for version in versions]


async def offer(services: Services, toml: bytes, *, by: str) -> SignedDocument:
    """Make the signed form of our file and put our signature under it: the first of the two.

    Raises ExchangeError when the file, or our policies, do not allow it; StoreError agreement-differs when the version is taken.
    """
    body, local = terms.signed_form(toml)
    agreement = terms.read_agreement(body)
    await _must_fit(services, agreement, local)
    await own_keys(services)
    return await _sign(services, agreement, "", local, by=by, act="agreement.offer")


async def countersign(services: Services, document: SignedDocument, toml: bytes, *, by: str) -> SignedDocument:
    """Put our signature under the bytes that the other side has signed, if they say the same as our own file.

    Raises ExchangeError SCOPE_DIGEST when they say something else, SIG_* when the other side's signature is not good.
    """
    if not terms.same_terms(document.body, toml):
        raise ExchangeError(
            "the offered agreement says something else than our file",
            code="SCOPE_DIGEST",
            hint="compare the two texts with the other office",
        )
    agreement = terms.read_agreement(document.body)
    _, local = terms.signed_form(toml)
    await _must_fit(services, agreement, local)
    await own_keys(services)
    other = agreement.other(services.signers.party)
    if other not in await _signed_by(services, services.store.reads, agreement, document.note):
        raise ExchangeError("the other side has not signed this", code="SIG_UNKNOWN_KEY", place=other)
    return await _sign(services, agreement, document.note, local, by=by, act="agreement.countersign")


async def take(services: Services, document: SignedDocument, *, by: str) -> AgreementStatus:
    """Keep a version with the other side's signature lines: what we offered, coming back countersigned.

    Raises ExchangeError SCOPE_DIGEST when we hold no such version, SIG_* when a signature is not good.
    """
    agreement = terms.read_agreement(document.body)
    async with services.store.transaction() as tx:
        held = await _held(tx, agreement.id, agreement.version)
        if held is None or held.agreement.body != agreement.body:
            raise ExchangeError("we hold no such version with this text", code="SCOPE_DIGEST", place=f"{agreement.id}/{agreement.version}")
        signed = await _signed_by(services, tx, agreement, document.note)
        if not held.signed < signed:
            signed, note = held.signed, held.note
        else:
            note = document.note
        await held_agreements.put_agreement(tx, agreement, note, held.local, state="agreed" if len(signed) == 2 else "offered")
        await audit.write(tx, by, "agreement.take", f"agreement/{agreement.id}/{agreement.version}", {"signed_by": sorted(signed)})
        held = await _held(tx, agreement.id, agreement.version)
    assert held is not None  # noqa: S101  # it was written in this transaction
    return _status(held, services.signers.party, services.clock())


async def _must_fit(services: Services, agreement: Agreement, local: Local) -> None:
    ours = services.signers.party
    agreement.other(ours)
    mine = services.signers.signing("agreement", services.clock())
    if mine.vkey not in agreement.party(ours).agreement_keys:
        raise ExchangeError(
            "our own agreement key is not the one that the agreement pins", code="SIG_KEY_USE", place=ours, hint=f"put in {mine.vkey}"
        )
    if local.adapter not in services.adapters:
        raise ExchangeError("no such adapter is installed", code="SCOPE_AGREEMENT", place=local.adapter)
    _refuse(plan_faults(agreement, local, await services.policies.fresh(), ours))


async def _sign(services: Services, agreement: Agreement, note: str, local: Local, *, by: str, act: str) -> SignedDocument:
    now = services.clock()
    signer = services.signers.signing("agreement", now)
    async with services.store.transaction() as tx:
        previous = await _held(tx, agreement.id, agreement.version - 1) if agreement.version > 1 else None
        if agreement.version > 1 and (previous is None or previous.agreement.digest != agreement.terms.previous):
            raise ExchangeError("this version does not follow the one held", code="SCOPE_DIGEST", place=agreement.id)
        present = await _held(tx, agreement.id, agreement.version)
        if present is not None and not present.signed:
            await held_agreements.drop_unsigned(tx, agreement.id, agreement.version)
            present = None
        if present is not None and present.agreement.body == agreement.body and services.signers.party in present.signed:
            return SignedDocument(agreement.body, present.note)
        signed = notes.add_line(note, signer) if note else notes.sign(terms.signing_text(agreement), [signer])
        parties = await _signed_by(services, tx, agreement, signed)
        await held_agreements.put_agreement(tx, agreement, signed, local, state="agreed" if len(parties) == 2 else "offered")
        await audit.write(
            tx, by, act, f"agreement/{agreement.id}/{agreement.version}", {"digest": agreement.digest, "signed_by": sorted(parties)}
        )
    return SignedDocument(agreement.body, signed)


async def _held(source: Source, agreement_id: str, version: int) -> Held | None:
    versions = (await held_agreements.held_agreements(source, agreement_id)).get(agreement_id, [])
    return next((held for held in versions if held.agreement.version == version), None)


async def _signed_by(services: Services, source: Source, agreement: Agreement, note: str) -> frozenset[str]:
    previous = await _held(source, agreement.id, agreement.version - 1) if agreement.version > 1 else None
    return terms.signed_by(agreement, note, previous=previous.agreement if previous else None, first_seen=services.clock())


# --- suspend, resume, end ---------------------------------------------------------------------------------------------


async def change_state(
    services: Services, agreement_id: str, state: Literal["suspended", "active", "terminated"], *, reason: str, by: str
) -> SignedDocument:
    """Say that we suspend, resume or end an agreement, from now on; the signed notice, for the other side.

    Raises ExchangeError SCOPE_AGREEMENT when there is no such agreement, or it has ended already.
    """
    await services.policies.fresh()
    async with services.store.transaction() as tx:
        held = await _latest(tx, agreement_id)
        ours = services.signers.party
        standing = held.standing(tx.now)
        if standing.ended or not held.complete:
            raise ExchangeError(f"the agreement is {standing.state}", code="SCOPE_AGREEMENT", place=agreement_id)
        serial = 1 + max((notice.serial for notice in held.notices if notice.by == ours), default=0)
        body = terms.state_body(held.agreement, by=ours, serial=serial, state=state, from_at=tx.now, reason=reason)
        document = notes.sign_document(
            "agreement-state", f"{agreement_id}/{ours}/{serial}", body, [services.signers.signing("agreement", tx.now)]
        )
        notice = terms.read_state(document, held.agreement, first_seen=tx.now)
        await held_agreements.put_notice(tx, held.agreement, notice, document)
        await decide_under(services, tx, agreement_id)
        await audit.write(tx, by, f"agreement.{state}", f"agreement/{agreement_id}", {"serial": serial})
    services.doors.credentials.forget()  # grants of the other side's apps are worth what this agreement says
    return document


async def take_notice(services: Services, document: SignedDocument, *, by: str) -> AgreementStatus:
    """Take the other side's suspension, resumption or end; it counts from the moment it is known.

    Raises ExchangeError when it is not signed by a party of an agreement that we hold.
    """
    agreement_id = notes.context_of(document.note).partition("/")[0]
    await services.policies.fresh()
    async with services.store.transaction() as tx:
        held = await _latest(tx, agreement_id)
        notice = terms.read_state(document, held.agreement, first_seen=tx.now)
        if await held_agreements.put_notice(tx, held.agreement, notice, document):
            await decide_under(services, tx, agreement_id)
            await audit.write(tx, by, f"agreement.{notice.state}", f"agreement/{agreement_id}", {"by": notice.by, "serial": notice.serial})
        held = await _latest(tx, agreement_id)
    services.doors.credentials.forget()
    return _status(held, services.signers.party, services.clock())


async def _latest(source: Source, agreement_id: str) -> Held:
    versions = (await held_agreements.held_agreements(source, agreement_id)).get(agreement_id, [])
    complete = [held for held in versions if held.complete] or versions
    if not complete:
        raise ExchangeError("there is no such agreement", code="SCOPE_AGREEMENT", place=agreement_id)
    return complete[-1]


# --- keys documents ---------------------------------------------------------------------------------------------------


async def own_keys(services: Services) -> SignedDocument:
    """Our keys document: the one held while it still says what is true and is fresh, else a new one with the next serial."""
    row = await held_agreements.latest_keys(services.store.reads, services.signers.party)
    if row is not None and _still_true(services, row.body):
        return SignedDocument(row.body, row.note)
    async with services.store.transaction() as tx:
        row = await held_agreements.latest_keys(tx, services.signers.party)
        if row is not None and _still_true(services, row.body):
            return SignedDocument(row.body, row.note)
        return await _publish(services, tx, row, _announced(row.body, tx.now) if row is not None else None)


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


async def _publish(services: Services, tx: Transaction, row: Row | None, maintenance: Maintenance | None) -> SignedDocument:
    body = _body(services, tx.now, 1 + (row.serial if row is not None else 0), maintenance)
    signer = services.signers.signing("agreement", tx.now)
    document = documents.sign_keys(body, signer)
    keys = documents.read_keys(document, documents.pinned(services.signers.party, [signer.vkey]), first_seen=tx.now)
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


def _still_true(services: Services, body: bytes) -> bool:
    said = documents.decode_keys(body)
    now = services.clock()
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
        held = await agreement_with(tx, services.signers.party, party)
        if held is None:
            raise ExchangeError("there is no agreement with this party", code="SCOPE_AGREEMENT", place=party)
        row = await held_agreements.latest_keys(tx, party)
        keys = documents.read_keys(
            document,
            held.agreement.pins(party),
            first_seen=tx.now,
            held=(row.serial, row.digest) if row is not None else None,
            skew=held.agreement.skew,
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


async def agreement_with(source: Source, ours: str, party: str) -> Held | None:
    """The newest agreement version that both have signed, or else the newest at all, between us and a party."""
    found = [
        held
        for versions in (await held_agreements.held_agreements(source)).values()
        for held in versions
        if party in held.agreement.parties and party != ours
    ]
    return max(found, key=lambda held: (held.complete, held.agreement.effective, held.agreement.version), default=None)
