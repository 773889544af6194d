"""Measures taken here on account of partners' records (联合奖惩), and what goes back to whose records they are.

Rules: a measure begins with a recognition that has an effect, or by a named officer's word on top of one; it is suspended and lifted with
that effect, in the same transaction, and erased with the record that it rests on. Each is one record of dataset `measures`: begun it is
asserted, suspended or lifted it is amended, and the sender carries it to the partner of that agreement and to nobody else. Nothing is told
where the agreement has no such stream, and nothing of persons and households: the dataset holds organisations. A row that cannot be
written is told in the trail, and stops nothing.
This story must not decide whether there is an effect.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.adapter_contract import SourceRecord
from gateway.core.disclosure.plans import Policies
from gateway.core.disclosure.views import View, view
from gateway.core.errors import RowFault, StoreError
from gateway.core.exchange.recognition import Inputs
from gateway.core.records.basis import in_force
from gateway.core.records.intake import AuthorityInfo, IntakeContext, intake
from gateway.core.records.model import Admitted, Dataset, RecordId, Value
from gateway.core.records.periods import legal_day
from gateway.operations.accept_records import accept_records
from gateway.operations.partners import Stream, stream_at
from gateway.operations.reaching import gated_by
from gateway.services import Services
from gateway.store import audit, measures, recognitions, records
from gateway.store.measures import Standing, Taken
from gateway.store.store import Source, Transaction

ACTOR = "gateway/recognition"
_PLAN = ("department", "dept.supervision")
"""Through this view the office looks at a record whose subject it names."""


class Effect(Struct, frozen=True, kw_only=True):
    """How the effect of one partner's record stands after a decision."""

    about: str
    v: int
    stream: Stream
    """The one in which the record came."""
    effect: str | None
    suspended: bool
    """Without an effect: suspended, not lifted."""
    basis: str


class _Row(Struct, frozen=True, kw_only=True):
    """One measure that is to be written."""

    taken: Taken
    values: dict[str, Value]
    """Under wire names."""
    officer: str


def dataset_of(policies: Policies) -> Dataset | None:
    """The dataset of measures, if the policy has one."""
    return next((each for each in policies.catalogue.datasets.values() if each.category == "measure"), None)


async def follow_effects(services: Services, tx: Transaction, effects: Sequence[Effect]) -> int:
    """Begin, suspend, resume and lift what rests on these records, as their effects now stand; how many rows were written."""
    if not effects:
        return 0
    policies = services.policies.current()
    dataset = dataset_of(policies)
    if dataset is None:
        return 0
    known: dict[str, list[Taken]] = {}
    for each in await measures.measures_about(tx, [effect.about for effect in effects]):
        if each.ours:
            known.setdefault(each.about, []).append(each)
    begun, turned = list[Effect](), list[tuple[Taken, Effect, Standing]]()
    for effect in effects:
        for taken in known.get(effect.about, ()):
            standing: Standing = "in_effect" if effect.effect is not None else "suspended" if effect.suspended else "lifted"
            if effect.effect is not None and taken.code != effect.effect and taken.authority == services.settings.org:
                standing = "lifted"  # the catalogue has another measure for it now
            if standing == "in_effect" and taken.standing == "lifted" and taken.authority != services.settings.org:
                continue  # an officer took it, and an officer takes it again
            if standing == "suspended" and taken.standing == "lifted":
                continue
            if taken.standing != standing or (standing == "in_effect" and taken.v != effect.v):
                turned.append((taken, effect, standing))
        own = {taken.code for taken in known.get(effect.about, ()) if taken.authority == services.settings.org}
        if effect.effect is not None and effect.effect not in own and _goes_back(services, effect.stream, dataset):
            begun.append(effect)
    if not begun and not turned:
        return 0
    rows = await _begin(services, tx, policies, dataset, begun) + await _turn(tx, policies, dataset, turned)
    return await _write(services, tx, dataset, rows, actor=ACTOR)


async def erase_measures(tx: Transaction, about: Collection[str]) -> int:
    """Erase our measures that rested on these records, which are erased: they name whom the records named; how many.

    The row that says which measure rested on which record stays until nothing is left of either: ids alone.
    """
    ours = [each for each in await measures.measures_about(tx, about) if each.ours] if about else []
    ids = [RecordId(each.record_id) for each in ours]
    held = {str(record.record_id) for record in await records.load(tx, ids=ids, fields=frozenset())} if ids else set()
    gone = [each for each in ours if each.record_id in held]
    for each in gone:
        await records.erase(tx, RecordId(each.record_id), actor=ACTOR)
    await measures.put_measures(tx, [msgspec.structs.replace(each, standing="lifted", since=tx.now_text) for each in gone])
    if gone:
        await audit.write(tx, ACTOR, "measure.erase", "records", {"records": len(gone)})
    return len(gone)


def _goes_back(services: Services, stream: Stream, dataset: Dataset) -> bool:
    """Whether the agreement lets us tell its other side of measures."""
    return stream.governing.agreement.stream(dataset.id, services.signers.party) is not None


async def _begin(services: Services, tx: Transaction, policies: Policies, dataset: Dataset, begun: Sequence[Effect]) -> list[_Row]:
    operator, today = operator_of(services), legal_day(tx.now)
    seen = await _seen(tx, policies, [each.about for each in begun], tx.now)
    rows = []
    for each in begun:
        subject = seen.get(each.about)
        if subject is not None and subject.kind == "legal":
            said = _said(dataset, subject, each, code=str(each.effect), basis=each.basis, by=operator, on=today)
            rows.append(_Row(taken=_taken(each, str(each.effect), operator, tx), values=said, officer=ACTOR))
    return rows


async def _seen(source: Source, policies: Policies, record_ids: Collection[str], now: datetime) -> dict[str, View]:
    """These records as the office sees them."""
    found: dict[str, View] = {}
    ids = [RecordId(each) for each in record_ids]
    kinds = {record.record_id: record for record in await records.load(source, ids=ids, fields=frozenset())} if ids else {}
    for dataset in sorted({record.dataset for record in kinds.values()}):
        plans = policies.plan_set(dataset, *_PLAN)
        if plans is None:
            continue
        some = [record.record_id for record in kinds.values() if record.dataset == dataset]
        columns = plans.columns.union(*map(gated_by, plans.plans.values()))
        for record in await records.load(source, ids=some, fields=columns, texts=plans.whole_texts):
            plan = plans.plans.get(record.kind)
            shown = view(record, plan, policies, now, None) if plan is not None else None
            if shown is not None:
                found[record.record_id] = shown
    return found


def operator_of(services: Services) -> AuthorityInfo:
    """Our own operating body, in whose name an effect follows from an agreement."""
    settings = services.settings
    named = next((each for each in settings.authorities if each.uscc == settings.org), None)
    return AuthorityInfo(uscc=settings.org, name=named.name if named is not None else settings.portal, region=settings.region)


def _said(
    dataset: Dataset, subject: View, effect: Effect, *, code: str, basis: str, by: AuthorityInfo, on: date
) -> dict[str, Value]:
    agreement = effect.stream.governing.agreement
    return _wired(
        dataset,
        {
            "name": subject.fields.get("name"),
            "category": subject.kind,
            "uscc": subject.fields.get("uscc"),
            "about_rid": effect.about,
            "about_v": str(effect.v),
            "about_org": agreement.party(effect.stream.sender).identity.org,
            "measure_code": code,
            "measure_basis": basis[:500],
            "decision_date": on.isoformat(),
            "outcome": "in_effect",
            "authority": by.name,
            "authority_code": by.uscc,
        },
    )


def _wired(dataset: Dataset, values: Mapping[str, Value]) -> dict[str, Value]:
    return {dataset.fields[name].wire_name: value for name, value in values.items() if value is not None and name in dataset.fields}


def _taken(effect: Effect, code: str, by: AuthorityInfo, tx: Transaction) -> Taken:
    return Taken(
        record_id="",  # known once it is written
        about=effect.about,
        v=effect.v,
        partner=effect.stream.sender,
        ours=True,
        code=code,
        authority=by.uscc,
        standing="in_effect",
        since=tx.now_text,
    )


async def _turn(
    tx: Transaction, policies: Policies, dataset: Dataset, turned: Sequence[tuple[Taken, Effect, Standing]]
) -> list[_Row]:
    """The rows of measures that stand otherwise now: as they were said, but for how they stand."""
    seen = await _seen(tx, policies, [taken.record_id for taken, _, _ in turned], tx.now)
    today = legal_day(tx.now).isoformat()
    rows = []
    for taken, effect, standing in turned:
        shown = seen.get(taken.record_id)
        if shown is None:
            continue
        values = dict(shown.fields) | {"category": shown.kind, "about_v": str(effect.v), "outcome": standing}
        values["lifted_on"] = today if standing == "lifted" else None
        if standing == "in_effect":
            values["measure_basis"] = effect.basis[:500] or values["measure_basis"]
            values["decision_date"] = today if taken.standing == "lifted" else values["decision_date"]
        now = msgspec.structs.replace(taken, v=effect.v, standing=standing, since=tx.now_text)
        rows.append(_Row(taken=now, values=_wired(dataset, values), officer=ACTOR))
    return rows


async def _write(services: Services, tx: Transaction, dataset: Dataset, rows: Sequence[_Row], *, actor: str) -> int:
    """Store the rows as records of ours, through the one door in, and remember how each measure stands."""
    settings = services.settings
    register = {each.uscc: AuthorityInfo(uscc=each.uscc, name=each.name, region=each.region) for each in settings.authorities}
    register.setdefault(settings.org, operator_of(services))
    admitted: list[tuple[_Row, Admitted]] = []
    failed: Counter[str] = Counter()
    for row in rows:
        context = IntakeContext(
            dataset=dataset, authorities=register, sender=row.taken.authority, officer=row.officer,
            demo=settings.demo, now=tx.now, region=settings.region,
        )  # fmt: skip
        try:
            source = SourceRecord(dataset=dataset.id, record_id=None, as_of=tx.now, fields=row.values, place=row.taken.about)
            admitted.append((row, intake(source, context)))
        except RowFault as fault:
            failed[fault.code] += 1
    outcomes = await accept_records(services, tx, [each for _, each in admitted], dataset, actor=actor) if admitted else []
    kept: list[Taken] = []
    for (row, _), outcome in zip(admitted, outcomes, strict=True):
        if outcome.record_id is None or outcome.result == "rejected":
            failed[outcome.code or outcome.result] += 1
        else:
            kept.append(msgspec.structs.replace(row.taken, record_id=str(outcome.record_id)))
    await measures.put_measures(tx, kept)
    told: dict[str, object] = dict(Counter(each.standing for each in kept))
    await audit.write(tx, actor, "measure.take", "records", told | ({"failed": dict(failed)} if failed else {}))
    return len(kept)


# --- by a named officer -----------------------------------------------------------------------------------------------


async def record_measure(
    services: Services,
    record_id: str,
    code: str,
    *,
    authority: str,
    by: str,
    standing: Literal["in_effect", "lifted"] = "in_effect",
    actor: str | None = None,
) -> Taken:
    """An officer writes down, perhaps by an app (`actor`), that an authority takes or lifts a measure on account of a partner's record.

    Raises StoreError record-unknown, measure-refused (no effect here, for one because nobody has confirmed a negative record; a measure
    that the catalogue has not, or not now, for such a record; an authority that is none of ours).
    """
    if not by.strip():
        raise StoreError("a measure names the officer who writes it down", code="measure-refused", place="--actor")
    policies = await services.policies.fresh()
    dataset = dataset_of(policies)
    named = next((each for each in services.settings.authorities if each.uscc == authority), None)
    if dataset is None or named is None:
        raise StoreError("no authority of ours, or no dataset of measures", code="measure-refused", place=authority)
    by_whom = AuthorityInfo(uscc=named.uscc, name=named.name, region=named.region)
    async with services.store.transaction() as tx:
        row = (await recognitions.told_records(tx, [record_id])).get(record_id)
        stream = await stream_at(tx, row.stream, row.sender, tx.now) if row is not None else None
        if row is None or stream is None:
            raise StoreError("no partner has told us of such a record", code="record-unknown", place=record_id)
        decided = (await recognitions.decisions(tx, [record_id])).get(record_id)
        known = [each for each in await measures.measures_about(tx, [record_id]) if each.ours]
        before = next((each for each in known if (each.code, each.authority) == (code, authority)), None)
        effect = Effect(about=record_id, v=row.v, stream=stream, effect=code, suspended=False, basis="")
        if standing == "lifted":
            if before is None or before.standing == "lifted":
                raise StoreError("no such measure is in effect", code="measure-refused", place=record_id)
            rows = await _turn(tx, policies, dataset, [(before, effect, "lifted")])
        else:
            if decided is None or decided.effect is None:
                raise StoreError(
                    "the record has no effect here, so nothing may rest on it", code="measure-refused", place=record_id,
                    hint="a record that burdens needs a named person's confirmation first: `chengxin exchange confirm`",
                )  # fmt: skip
            inputs = msgspec.json.decode(decided.inputs, type=Inputs)
            basis = _grounds(policies, code, inputs.record.category, legal_day(tx.now))
            subject = (await _seen(tx, policies, [record_id], tx.now)).get(record_id)
            if basis is None or subject is None or subject.kind != "legal":
                raise StoreError("the catalogue has no such measure in force for this record", code="measure-refused", place=code)
            said = _said(dataset, subject, effect, code=code, basis=basis, by=by_whom, on=legal_day(tx.now))
            rows = [_Row(taken=_taken(effect, code, by_whom, tx), values=said, officer=by)]
        rows = [msgspec.structs.replace(each, officer=by) for each in rows]
        if await _write(services, tx, dataset, rows, actor=actor or by) != 1:
            raise StoreError("the measure could not be written", code="measure-refused", place=record_id)
        found = [each for each in await measures.measures_about(tx, [record_id]) if (each.code, each.authority) == (code, authority)]
    return next(each for each in found if each.ours)


def _grounds(policies: Policies, code: str, category: str, today: date) -> str | None:
    """The grounds in force today of a measure of the catalogue for such records; None where there is none."""
    for measure in policies.catalogue.measures.values():
        edition = policies.catalogue.editions.get(measure.edition)
        grounds = in_force(measure.basis, today)
        lasts = measure.until is None or today <= measure.until
        if measure.id == code and measure.takes(category) and edition is not None and edition.in_force(today) and grounds and lasts:
            return "；".join(ground.text for ground in grounds)
    return None
