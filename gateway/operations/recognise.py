"""Decide what a record issued elsewhere means here (互认), and write it down with all that the decision rests on.

Rules: the decision is the table of `core/exchange/recognition`; it is made again in the transaction that changes what the partner says,
when a change here touches its subject (`follow`), when our policy or the agreement's text is another (`review_stream`), and when time alone
may have changed it (`review`). An effect that begins or ends is one row of the change log, so every exit follows, and the measures that
rest on it turn with it (`take_measures`). A negative effect needs a named person's confirmation of that very version as it read then, and
nothing else makes one: an administrator's own key signs it. What was recognised does not travel on. This story must not change what the
issuing city said.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Final

import msgspec
from msgspec import Struct

from gateway.core.callers.administrators import Administrator, Role
from gateway.core.disclosure.plans import Policies
from gateway.core.errors import ExchangeError, StoreError
from gateway.core.exchange.agreements import WITHDRAWALS
from gateway.core.exchange.judging import scope_fault
from gateway.core.exchange.recognition import (
    Confirmation,
    Inputs,
    LocalMeasure,
    RecognisedRecord,
    Recognition,
    Terms,
    next_review,
    recognise,
)
from gateway.core.exchange.records import Statement, clear_content, read_statement
from gateway.core.records.basis import in_force as grounds_in_force
from gateway.core.records.catalogue import Edition, Measure
from gateway.core.records.model import Period, Record, RecordId
from gateway.core.records.periods import end_instant, first_instant, legal_day
from gateway.operations.expire import period_of
from gateway.operations.four_eyes import actor, proof
from gateway.operations.partners import Stream, stream_at
from gateway.operations.take_measures import Effect, erase_measures, follow_effects
from gateway.services import Services
from gateway.store import audit, changes, inbox, recognitions, records
from gateway.store.reads import Row
from gateway.store.store import Transaction, moment, stamp
from gateway.store.vault import Vault

CHUNK = 1000
ACTOR = "gateway/recognition"
READER = "recognition"
CONFIRM: Final[tuple[Role, ...]] = ("approver", "legal-officer")
CONFIRMED = "confirmed"
"""Label of the keyed digests of what was confirmed."""


class Decided(Struct, frozen=True, kw_only=True):
    """One decision, as the office sees it."""

    record_id: str
    dataset: str
    category: str
    agreement: str
    issuer: str
    effect: str | None
    consequence: str
    reason: str
    until: date | None
    changed: bool


class _Held(Struct, frozen=True, kw_only=True):
    """What is known of one chunk of records."""

    before: Mapping[str, Row]
    records: Mapping[RecordId, Record]
    confirmations: Mapping[str, Row]
    """By record, of what it says now."""
    listed: frozenset[str]
    """Subjects on a list of serious violations of our own; what nobody signed lists nobody."""
    turns: Mapping[str, datetime]
    """When a listing of a subject next begins or ends by itself."""


async def decide(services: Services, tx: Transaction, record_ids: Collection[str], *, actor: str = ACTOR) -> list[Decided]:
    """Decide anew about these records of partners, in the caller's transaction; ids of others are passed over.

    Raises NoActivePolicy, StoreError.
    """
    policies = services.policies.current()
    streams: dict[tuple[str, str], _Said | None] = {}
    ids = sorted(set(record_ids))
    decided: list[Decided] = []
    for at in range(0, len(ids), CHUNK):
        told = await recognitions.told_records(tx, ids[at : at + CHUNK])
        before = await recognitions.decisions(tx, list(told))
        concerned: dict[str, tuple[Row, _Said]] = {}
        for record_id, row in told.items():
            key = (row.stream, row.sender)
            if key not in streams:
                streams[key] = await _said(tx, row)
            said = streams[key]
            if said is not None and (said.recognises or record_id in before):
                concerned[record_id] = (row, said)
        turned: list[Effect] = []
        if concerned:
            held = await _gather(tx, policies, {record_id: row for record_id, (row, _) in concerned.items()}, before)
            decisions = [
                (row, said.stream, recognise(_inputs(policies, said, held, row, tx.now)))
                for record_id, (row, said) in concerned.items()
                if _concerns(said.stream, held, record_id)
            ]
            decided += await _keep(tx, held, decisions, actor)
            turned += [_effect(*each) for each in decisions]
        erased = [record_id for record_id, row in told.items() if row.op == "erase"]
        await erase_measures(tx, erased)
        seen = {effect.about for effect in turned} | set(erased)
        gone = [(row, streams[row.stream, row.sender]) for row in told.values() if row.op in WITHDRAWALS and row.record_id not in seen]
        turned += [_gone(row, said.stream) for row, said in gone if said is not None]
        await follow_effects(services, tx, [effect for effect in turned if effect.about not in erased])
    return decided


def _effect(row: Row, stream: Stream, decision: Recognition) -> Effect:
    measure = decision.inputs.measure
    return Effect(
        about=row.record_id,
        v=row.v,
        stream=stream,
        effect=decision.effect,
        suspended=decision.consequence in ("suspend", "task"),
        basis=measure.basis if measure is not None else "",
    )


def _gone(row: Row, stream: Stream) -> Effect:
    """Of a record of which not even a decision is left: it was erased."""
    return Effect(about=row.record_id, v=row.v, stream=stream, effect=None, suspended=False, basis="")


class _Said(Struct, frozen=True, kw_only=True):
    """One stream of a partner: what governs it, and as of when we know."""

    stream: Stream
    as_of: datetime | None
    recognises: bool
    """The agreement names its dataset for recognition."""


async def _said(tx: Transaction, row: Row) -> _Said | None:
    stream = await stream_at(tx, row.stream, row.sender, tx.now)
    if stream is None:
        return None
    head = await inbox.in_stream(tx, row.sender, row.stream)
    dataset = stream.rules.terms.dataset
    return _Said(
        stream=stream,
        as_of=head.created if head is not None else None,
        recognises=any(entry.dataset == dataset for entry in stream.governing.agreement.terms.recognition),
    )


async def _gather(tx: Transaction, policies: Policies, told: Mapping[str, Row], before: Mapping[str, Row]) -> _Held:
    held = {record.record_id: record for record in await records.load(tx, ids=[RecordId(each) for each in told], fields=frozenset())}
    subjects = {record.subject_id for record in held.values()}
    black = [each.dataset for each in policies.catalogue.lists.values() if each.polarity == "black"]
    listed = await recognitions.listings_of(tx, subjects, black)
    listings = [
        (record.subject_id, period)
        for record in await records.load(tx, ids=[RecordId(each) for each in listed], fields=frozenset())
        if record.trust == "signed" and (period := period_of(record, policies, tx.now)) is not None
    ]
    turns: dict[str, datetime] = {}
    for subject, period in listings:
        turn = _turn(period)
        if turn is not None:
            turns[subject] = min(turn, turns.get(subject, turn))
    return _Held(
        before=before,
        records=held,
        confirmations=await _confirmed(tx, told),
        listed=frozenset(subject for subject, period in listings if period.state == "open"),
        turns=turns,
    )


async def _confirmed(tx: Transaction, told: Mapping[str, Row]) -> dict[str, Row]:
    """Confirmations of what is said now: none holds for another version, nor for other content under the same number."""
    found: dict[str, Row] = {}
    for yes in await recognitions.confirmed(tx, list(told)):
        row = told[yes.record_id]
        if yes.version == row.v and bytes(yes.content) in tx.vault.digests(CONFIRMED, told_content(row)):
            found[yes.record_id] = yes
    return found


def told_content(row: Row) -> bytes:
    """What a partner says of a record: its clear part, and the digest of its values and of what we made of them."""
    clear = clear_content(read_statement(row.payload)) if row.payload is not None and row.op in ("assert", "amend") else b""
    return bytes(row.content_digest or b"") + b"\n" + clear


def shown_digests(vault: Vault, row: Row) -> list[str]:
    """What a person names the content of a record by, the present one first; keyed, so that it tells nothing of the content."""
    return [f"hmac-sha256:{digest.hex()}" for digest in vault.digests(CONFIRMED, told_content(row))]


def _turn(period: Period | None) -> datetime | None:
    """When a period next opens or ends by itself."""
    if period is None:
        return None
    if period.state == "not_yet" and period.first_day is not None:
        return first_instant(period.first_day)
    return end_instant(period.last_day) if period.state == "open" and period.last_day is not None else None


def _concerns(stream: Stream, held: _Held, record_id: str) -> bool:
    """Whether there is a decision: the agreement names dataset and category, or something was decided before."""
    record = held.records.get(RecordId(record_id))
    if record_id in held.before:
        return True
    return record is not None and stream.governing.agreement.recognises(stream.rules.terms.dataset, record.category) is not None


def _inputs(policies: Policies, told: _Said, held: _Held, row: Row, now: datetime) -> Inputs:
    stream = told.stream
    record = held.records.get(RecordId(row.record_id))
    said = read_statement(row.payload) if row.payload is not None and row.op in ("assert", "amend") else None
    period = period_of(record, policies, now) if record is not None else None
    agreement = stream.governing.agreement
    category = record.category if record is not None else stream.rules.terms.scope.categories[0]
    entry = agreement.recognises(stream.rules.terms.dataset, category)
    yes = held.confirmations.get(row.record_id)
    measure, begins = _measure(policies, category, legal_day(now))
    turns = [begins, _turn(period), held.turns.get(record.subject_id) if record is not None else None, _agreement_turns(stream, now)]
    return Inputs(
        record=RecognisedRecord(
            rid=row.record_id,
            v=row.v,
            op=row.op,
            in_force=record is not None and record.state == "in_force" and said is not None and said.status == "in_force",
            dataset=stream.rules.terms.dataset,
            category=category,
            kind=record.kind if record is not None else "natural",
            trust=record.trust if record is not None else "vouched",
            dispute=(record is not None and record.dispute_since is not None) or (said is not None and said.dispute),
            publish_until=_last_day(said, period, record),
            period_known=period is not None and period.state in ("open", "over"),
        ),
        terms=Terms(
            agreement=agreement.id,
            version=agreement.version,
            state=stream.governing.standing(now).state,
            in_scope=said is not None and scope_fault(said, stream.rules) is None,
            covered=entry is not None and "mutual.recognition" in agreement.terms.purposes,
            freshness_h=entry.freshness_h if entry is not None else 1,
            persons=stream.rules.persons,
            ends=agreement.ends,
            as_of=told.as_of,
        ),
        measure=measure,
        serious_here=record is not None and record.subject_id in held.listed,
        confirmation=Confirmation(rid=row.record_id, v=row.v, by=yes.by_person, basis=yes.basis, at=moment(yes.at))
        if yes is not None
        else None,
        now=now,
        turns_at=min((turn for turn in turns if turn is not None and turn > now), default=None),
    )


def _agreement_turns(stream: Stream, now: datetime) -> datetime | None:
    """When another version, or a notice that is known already, takes effect."""
    moments = [held.agreement.effective for held in stream.versions if held.complete]
    moments += [notice.counts_from for held in stream.versions for notice in held.notices]
    return min((moment for moment in moments if moment > now), default=None)


def _last_day(said: Statement | None, period: Period | None, record: Record | None) -> date | None:
    """The last day on which it may have an effect: shown there, shown here, and valid by its own words, whichever ends first."""
    days = [date.fromisoformat(said.publish_until)] if said is not None and said.publish_until is not None else []
    if period is not None and period.last_day is not None:
        days.append(period.last_day)
    if record is not None and record.dates.valid_until is not None:
        days.append(record.dates.valid_until)
    return min(days, default=None)


def _measure(policies: Policies, category: str, today: date) -> tuple[LocalMeasure | None, datetime | None]:
    """The first measure of the catalogue for this category that is in force, and when one comes into force that is not yet."""
    editions = policies.catalogue.editions
    candidates = [measure for measure in policies.catalogue.measures.values() if measure.takes(category) and measure.edition in editions]
    begins = [day for measure in candidates for day in _first_days(measure, editions[measure.edition]) if day > today]
    turn = first_instant(min(begins)) if begins else None
    for measure in candidates:
        grounds = grounds_in_force(measure.basis, today)
        if editions[measure.edition].in_force(today) and grounds and (measure.until is None or today <= measure.until):
            cited = "；".join(ground.text for ground in grounds)
            return LocalMeasure(id=measure.id, live=True, cap=measure.last_day(editions[measure.edition]), basis=cited), turn
    return (LocalMeasure(id=candidates[0].id, live=False) if candidates else None), turn


def _first_days(measure: Measure, edition: Edition) -> Iterator[date]:
    yield edition.from_
    for ground in measure.basis:
        if ground.from_ is not None:
            yield ground.from_


async def _keep(tx: Transaction, held: _Held, decisions: Sequence[tuple[Row, Stream, Recognition]], actor: str) -> list[Decided]:
    rows: list[tuple[object, ...]] = []
    begun: list[RecordId] = []
    lifted: dict[str, list[RecordId]] = {}
    told: list[Decided] = []
    for row, stream, decision in decisions:
        before = held.before.get(row.record_id)
        until = decision.until.isoformat() if decision.until else None
        same = before is not None and (before.effect, before.consequence, before.reason, before.until) == (
            decision.effect,
            decision.consequence,
            decision.reason,
            until,
        )
        review_at = next_review(decision)
        rows.append(
            (
                row.record_id,
                stream.governing.agreement.id,
                row.sender,
                decision.effect,
                decision.consequence,
                decision.reason,
                until,
                msgspec.json.encode(decision.inputs),
                before.decided_at if before is not None and same else tx.now_text,
                before.as_of if before is not None and same else stamp(as_of) if (as_of := decision.inputs.terms.as_of) else None,
                stamp(review_at) if review_at else None,
            )
        )
        had = before is not None and before.effect is not None
        if RecordId(row.record_id) in held.records and not same:
            if decision.effect is not None:
                begun.append(RecordId(row.record_id))
            elif had:
                lifted.setdefault(decision.reason, []).append(RecordId(row.record_id))
        told.append(
            Decided(
                record_id=row.record_id,
                dataset=decision.inputs.record.dataset,
                category=decision.inputs.record.category,
                agreement=stream.governing.agreement.id,
                issuer=row.sender,
                effect=decision.effect,
                consequence=decision.consequence,
                reason=decision.reason,
                until=decision.until,
                changed=not same,
            )
        )
    await recognitions.put_decisions(tx, rows)
    if begun:
        await records.mark_recognised(tx, begun, lifted=False, reason="recognised", actor=actor)
    for reason, ids in lifted.items():
        await records.mark_recognised(tx, ids, lifted=True, reason=reason, actor=actor)
    news = Counter(each.reason for each in told if each.changed)
    if news:
        await audit.write(tx, actor, "record.recognise", "records", dict(news))
    return told


# --- when to decide again ---------------------------------------------------------------------------------------------


async def review(services: Services, *, limit: int = 5000) -> int:
    """Decide anew wherever time alone may have changed the answer; how many records were looked at."""
    await services.policies.fresh()
    due = await recognitions.decisions_due(services.store.reads, services.clock(), limit)
    for at in range(0, len(due), CHUNK):
        async with services.store.transaction() as tx:
            await decide(services, tx, due[at : at + CHUNK])
    return len(due)


async def follow(services: Services, *, limit: int = 5000) -> int:
    """Decide anew about subjects that something changed for: a listing, a dispute, a correction. How many changes were read."""
    await services.policies.fresh()
    position = await changes.reader_position(services.store.reads, READER)
    found = await changes.after(services.store.reads, position, limit)
    if not found:
        return 0
    subjects = {change.subject_id for change in found if change.op not in ("recognise", "lift")}
    async with services.store.transaction() as tx:
        touched = await recognitions.decided_of(tx, subjects) if subjects else []
        if touched:
            await decide(services, tx, touched)
        await changes.move_reader(tx, READER, found[-1].seq, expected=position)
    return len(found)


async def decide_under(services: Services, tx: Transaction, agreement_id: str) -> int:
    """Decide anew about everything under an agreement, in the transaction that changes how it stands; how many records."""
    after, looked = "", 0
    while found := await recognitions.decided_under(tx, agreement_id, after=after, limit=CHUNK):
        await decide(services, tx, found)
        looked += len(found)
        after = found[-1]
    return looked


async def review_stream(services: Services, stream: str, sender: str) -> int:
    """Decide anew about everything a stream has told us, after our policies or the agreement's text changed; how many records."""
    await services.policies.fresh()
    after, looked = "", 0
    while True:
        found = await recognitions.told_by(services.store.reads, sender, stream, after=after, limit=CHUNK)
        if not found:
            return looked
        async with services.store.transaction() as tx:
            await decide(services, tx, found)
        looked += len(found)
        after = found[-1]


async def confirm(services: Services, record_id: str, *, version: int, digest: str, by: Administrator, basis: str) -> Decided:
    """A named person confirms the effect of this version and content of a negative record from elsewhere, on a legal basis.

    Raises RoleMissing; StoreError record-unknown, confirmation-needs when the basis is empty, confirmation-stale when the partner says
    something else of it now, confirmed-already.
    """
    by.require(*CONFIRM)
    if not basis.strip():
        raise StoreError("a confirmation names a legal basis", code="confirmation-needs", place="--basis")
    await services.policies.fresh()
    async with services.store.transaction() as tx:
        row = (await recognitions.told_records(tx, [record_id])).get(record_id)
        if row is None:
            raise StoreError("no partner has told us of such a record", code="record-unknown", place=record_id)
        if row.v != version or digest not in shown_digests(tx.vault, row):
            raise StoreError(
                f"the partner says something else of it now, in version {row.v}: read it again",
                code="confirmation-stale",
                place=record_id,
                hint="chengxin exchange awaiting",
            )
        if await _confirmed(tx, {record_id: row}):
            raise StoreError("this version is confirmed already", code="confirmed-already", place=record_id)
        content = tx.vault.digest(CONFIRMED, told_content(row))
        await recognitions.put_confirmation(tx, record_id, row.v, content, by=by.name, basis=basis)
        await audit.write(tx, actor(by), "record.confirm", f"record/{record_id}", {"v": row.v, "basis": basis, **proof(by)})
        decided = await decide(services, tx, [record_id], actor=actor(by))
        if not decided:
            raise ExchangeError("no agreement recognises this record", code="SCOPE_AGREEMENT", place=record_id)
    return decided[0]
