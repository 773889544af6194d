"""A purge is no erasure: what went because an agreement ended comes back under the next one, what was erased stays away (decision 0071)."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from gateway.adapter_loading import Adapters
from gateway.core.errors import AdminError
from gateway.core.exchange.agreements import Agreement
from gateway.core.exchange.notes import SignedDocument
from gateway.core.records.model import RecordId
from gateway.operations import end_agreement
from gateway.operations.agree_wider import approve_wider
from gateway.operations.ask_partner import ask_partners
from gateway.operations.begin_anew import go_on_after_end
from gateway.operations.begin_epoch import asked_for, begin_epoch
from gateway.operations.build_lists import settle_lists
from gateway.operations.doctor import examine
from gateway.operations.end_agreement import end_agreements, show_end
from gateway.operations.erase import erase
from gateway.operations.finish_erasures import finish_erasures
from gateway.operations.handle_case import repair
from gateway.operations.hold_stream import hold_stream, release_stream
from gateway.operations.keep_exchange import Rounds
from gateway.operations.list_measures import list_measures
from gateway.operations.manage_agreements import Side, agreements, base_url, change_state, countersign, filled, offer, take, take_notice
from gateway.operations.receive_batch import receive_posted
from gateway.operations.send_batch import Sent, send_batch
from gateway.operations.verify_log import verify_store
from gateway.operations.watch_exchange import conditions
from gateway.operations.withdraw import withdraw
from gateway.services import Services
from gateway.store import audit, given_receipts, held_agreements, inbox, inquiries, outbox, purged, records
from gateway.store.subjects import subject_by_key
from gateway.store.tables import (
    agreement_inventories,
    changes,
    erasures,
    feed,
    in_parts,
    in_records,
    list_rows,
    names,
    out_records,
    range_rows,
    record_versions,
    rendered_records,
)
from gateway.store.tables import records as rows
from tests.administrators import enrolled, hand
from tests.asking import ASKER, asking, fined, with_terms
from tests.asking import take as fill
from tests.ledger import check_ledger
from tests.operations.publishing import HONOURS as HONOURS_DATASET
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import TAX, code, ids, penalty, put, violation
from tests.operations.test_agreements import edited, proposal
from tests.operations.test_exchange import honour, states
from tests.operations.test_questions_stored import with_a_short_way
from tests.region import (
    AGREEMENT,
    HONOURS,
    PENALTIES,
    TONGHUA,
    Cities,
    Direct,
    Forger,
    days,
    followed,
    held_batch,
    posted,
    rid,
    template,
    two_cities,
)
from tests.store.checks import check_store

NEXT = "tonghua-baishan-2027"
NEXT_PENALTIES, NEXT_HONOURS, NEXT_TAXES = (f"{NEXT}.{name}" for name in (DATASET, HONOURS_DATASET, TAX))
NAME, OTHER = "通化市澄泉示例商贸有限公司", "通化市拓岩示例建材有限公司"


@pytest.fixture
async def cities(tmp_path: Path, store_url: str) -> AsyncIterator[Cities]:
    """Two cities that have agreed; the one that receives on each kind of database."""
    async with two_cities(tmp_path, ("", store_url)) as both:
        yield both


async def agree_again(cities: Cities, name: str = NEXT, text: str | None = None) -> Agreement:
    """Both sign the same text once more, under another id."""
    sides = {
        one.signers.party: Side(base_url=base_url(one), agreement_keys=(one.signers.signing("agreement", one.clock()).vkey,))
        for one in (cities.tonghua, cities.baishan)
    }
    toml = filled((text or template()).replace(AGREEMENT, name), sides).encode()
    signed = await countersign(cities.baishan, await offer(cities.tonghua, toml, by="test"), toml, by="test")
    await take(cities.tonghua, signed, by="test")
    for services in (cities.tonghua, cities.baishan):
        assert {each.state for each in await agreements(services) if each.id == name} == {"active"}
    (held,) = (await held_agreements.held_agreements(cities.baishan.store.reads, name))[name]
    return held.agreement


async def end(cities: Cities, name: str = AGREEMENT) -> None:
    """Tonghua ends an agreement, and both hear and carry it out."""
    notice = await change_state(cities.tonghua, name, "terminated", reason="测试", by="test")
    await take_notice(cities.baishan, notice, by="test")
    for services in (cities.tonghua, cities.baishan):
        assert await end_agreements(services) == [name]
        await check_ledger(services)


async def sent(cities: Cities, stream: str) -> Sent:
    """Tonghua seals and delivers one stream; both ledgers hold."""
    (done,) = await send_batch(cities.tonghua, stream=stream, at_once=True)
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)
    return done


async def told(services: Services, record_id: str) -> Any:
    """What a city holds of a partner's record by its last line."""
    return await services.store.reads.one(sa.select(in_records).where(in_records.c.record_id == record_id))


async def exits(services: Services, record_id: str, name: str) -> set[str]:
    """Where the public still meets a listed record."""
    reads = services.store.reads
    (row,) = await reads.all(sa.select(rows.c.subject_id).where(rows.c.record_id == record_id))
    last = await reads.one(sa.select(feed.c.op).where(feed.c.record_id == record_id).order_by(feed.c.seq.desc()).limit(1))
    asked = {
        "rendered": sa.select(rendered_records.c.record_id).where(rendered_records.c.record_id == record_id),
        "list": sa.select(list_rows.c.record_id).where(list_rows.c.record_id == record_id, list_rows.c.line.is_not(None)),
        "search": sa.select(names.c.name_id).where(names.c.shown == name),
        "ranges": sa.select(range_rows.c.digest).where(range_rows.c.subject_id == row.subject_id),
    }
    found = {where for where, statement in asked.items() if await reads.all(statement)}
    return found | ({"feed"} if last is not None and last.op != "del" else set())


def able_to_ask(cities: Cities) -> Cities:
    """The same cities, whose lines can ask for a new epoch."""

    class Bound(Direct):
        capabilities = Direct.capabilities | {"resync"}

        def __init__(self, config: Any, tools: Any) -> None:
            super().__init__(cities.line, config.base_url)

        async def resync(self, stream: str, reason: str) -> None:
            asks = next(one for url, one in self.there.cities.items() if url != self.base_url)
            body = msgspec.json.encode({"reason": reason})
            await asked_for(self.there.cities[self.base_url], asks.signers.party, stream, body)

    both = [msgspec.structs.replace(one, adapters=Adapters({"https_partner": lambda: Bound})) for one in (cities.tonghua, cities.baishan)]
    cities.line.join(*both)
    return Cities(both[0], both[1], cities.line)


# --- under the next agreement ---------------------------------------------------------------------------------------------


async def test_a_purged_record_comes_back_under_the_next_agreement(cities: Cities):
    """A month after the end another agreement brings it back to every exit, with a next version and a new subject; then it can go."""
    (record_id,) = ids(await put(cities.tonghua, TAX, violation(code(1), NAME, "通示税〔2026〕1号")))
    await sent(cities, f"{AGREEMENT}.{TAX}")
    everywhere = {"rendered", "list", "search", "ranges", "feed"}
    for services in (cities.tonghua, cities.baishan):
        await followed(services)
        await settle_lists(services)
    assert await exits(cities.baishan, record_id, NAME) == everywhere
    before = await told(cities.baishan, record_id)
    await end(cities)
    await followed(cities.baishan)
    assert await exits(cities.baishan, record_id, NAME) == set()
    held = await told(cities.baishan, record_id)
    assert (held.op, held.v, held.leaf, held.payload) == ("purge", before.v, before.leaf, None)
    assert await cities.baishan.store.reads.all(sa.select(erasures.c.record_id).where(erasures.c.done_at.is_(None))) == []
    later = cities.at(cities.now + days(30))
    await agree_again(later)
    done = await sent(later, NEXT_TAXES)
    assert (done.state, done.lines) == ("acked", 1)
    for services in (later.tonghua, later.baishan):
        await followed(services)
        await settle_lists(services)
    assert await exits(later.baishan, record_id, NAME) == everywhere
    again = await told(later.baishan, record_id)
    assert (again.op, again.stream, again.v, again.purged_at) == ("assert", NEXT_TAXES, before.v + 1, None)
    (there,) = await records.load(later.baishan.store.reads, ids=[RecordId(record_id)])
    assert (there.state, there.issuer, there.raw.open()["document_number"]) == ("in_force", TONGHUA, "通示税〔2026〕1号")
    found = await subject_by_key(later.baishan.store.reads, "uscc", code(1), "legal")
    assert found is not None
    assert found.subject_id == there.subject_id
    ops = [row.op for row in await later.baishan.store.reads.all(sa.select(changes).where(changes.c.record_id == record_id))]
    assert ops == ["assert", "erase", "assert"]
    bare = await later.baishan.store.reads.all(sa.select(record_versions).where(record_versions.c.record_id == record_id))
    assert all(row.clear == b"{}" for row in bare), "of what was purged nothing has come back with it"
    await verify_store(later.baishan)
    (row,) = await audit.rows(later.baishan.store.reads, audit.Wanted(act="batch.receive", target=f"batch/{TONGHUA}/x/{NEXT_TAXES}/1/1"))
    assert (row.detail or {})["held_again"] == 1, "the trail says that it came back"
    for services in (later.tonghua, later.baishan):
        await check_store(services.store)
    await withdraw(later.tonghua, record_id, reason="revoked", actor="test")
    passes = await send_batch(later.tonghua, at_once=True)
    found = {each.stream: (each.lines, each.state) for each in passes if each.stream.endswith(TAX)}
    assert found == {f"{AGREEMENT}.{TAX}": (1, "acked"), NEXT_TAXES: (1, "acked")}, "within `freeze_days` under the old one too"
    assert await refusals(later.tonghua, f"{AGREEMENT}.{TAX}") == await refusals(later.tonghua, NEXT_TAXES) == []
    for services in (later.tonghua, later.baishan):
        await check_ledger(services)
    await followed(later.baishan)
    assert await states(later.baishan, record_id) == ["retracted"]
    assert await exits(later.baishan, record_id, NAME) == set()


async def test_no_period_begins_again_because_of_a_purge(cities: Cities):
    """Purged twice and back a month later each time, a record is public here since its first day, and no longer than if it had stayed."""
    (record_id,) = ids(await put(cities.tonghua, TAX, violation(code(1), NAME, "通示税〔2026〕1号")))
    await sent(cities, f"{AGREEMENT}.{TAX}")
    (before,) = await records.load(cities.baishan.store.reads, ids=[RecordId(record_id)])
    assert before.dates.first_publication_here is not None
    period = await periods_of(cities.baishan, record_id)
    for months, (name, next_) in enumerate(((AGREEMENT, NEXT), (NEXT, "tonghua-baishan-2028")), 1):
        await end(cities if months == 1 else cities.at(cities.now + days(30)), name)
        later = cities.at(cities.now + days(30 * months))
        await agree_again(later, next_)
        await sent(later, f"{next_}.{TAX}")
        (after,) = await records.load(later.baishan.store.reads, ids=[RecordId(record_id)])
        assert (after.state, after.dates, await periods_of(later.baishan, record_id)) == ("in_force", before.dates, period)


async def periods_of(services: Services, record_id: str) -> Any:
    """From when to when a record is public, and by which rule."""
    columns = sa.select(rows.c.publish_from, rows.c.publish_until, rows.c.period_rule)
    return await services.store.reads.one(columns.where(rows.c.record_id == record_id))


async def test_it_can_be_purged_and_erased_again(cities: Cities):
    """What has come back is purged with the next agreement too; what its sender then erases comes back under no third one."""
    kept, gone = ids(await put(cities.tonghua, DATASET, *(penalty(code(n), NAME, f"通示罚〔2026〕{n}号") for n in (1, 2))))
    await sent(cities, PENALTIES)
    await end(cities)
    await agree_again(cities)
    assert (await sent(cities, NEXT_PENALTIES)).lines == 2
    assert await states(cities.baishan, kept, gone) == ["in_force", "in_force"]
    await end(cities, NEXT)
    await followed(cities.baishan)
    assert await states(cities.baishan, kept, gone) == [None, None]
    admin = await enrolled(cities.tonghua, "kang", "key-custodian")
    await erase(cities.tonghua, gone, reason="request", by=await admin.acts("record.erase", target=gone, reason="request"))
    await sent(cities, NEXT_PENALTIES)
    await followed(cities.baishan)
    assert (await told(cities.baishan, gone)).op == "erase"
    third = "tonghua-baishan-2028"
    agreement = await agree_again(cities, third)
    await sent(cities, f"{third}.{DATASET}")
    assert await states(cities.baishan, kept, gone) == ["in_force", None]
    forger = Forger(cities, agreement=agreement)
    out = await outbox.out_stream(cities.tonghua.store.reads, f"{third}.{DATASET}")
    assert out is not None
    forger.head = out.head
    line = forger.raw(forger.penalty(2, v=99), rid=gone)
    assert await codes(cities, forger, line) == ["SEQ_ERASED"]


async def codes(cities: Cities, forger: Forger, *lines: Any) -> list[str]:
    """What Baishan says of these lines, posted as the next batch of Tonghua."""
    received = await forger.post(*lines)
    assert received.no is not None
    given = await given_receipts.receipt(cities.baishan.store.reads, TONGHUA, forger.rules.stream, received.no)
    assert given is not None
    return [msgspec.json.decode(line)["code"] for line in given.feedback.splitlines()]


async def test_effects_and_measures_begin_anew(cities: Cities):
    """An honour that comes back is recognised again, and the measure that rests on it is another one."""
    (record_id,) = ids(await put(cities.tonghua, HONOURS_DATASET, honour(2, NAME)))
    await sent(cities, HONOURS)
    (first,) = await list_measures(cities.baishan)
    await end(cities)
    assert await list_measures(cities.baishan) == []
    await agree_again(cities)
    await sent(cities, NEXT_HONOURS)
    (there,) = await records.load(cities.baishan.store.reads, ids=[RecordId(record_id)])
    assert there.recognised is not None
    (second,) = await list_measures(cities.baishan)
    assert (second.about, second.standing) == (record_id, "in_effect")
    assert second.record_id != first.record_id


async def test_what_is_told_of_a_purged_record_for_a_case_is_kept(tmp_path: Path):
    """Under the next agreement a question is answered with a purged record, and the answer stays with its case."""
    async with two_cities(tmp_path, change=lambda _: with_terms()) as cities:
        (record_id,) = await fill(cities.tonghua, fined(1))
        await sent(cities, PENALTIES)
        await end(cities)
        await agree_again(cities, text=with_terms())
        baishan = with_a_short_way(cities, cities.baishan, cities.tonghua)
        first = await ask_partners(baishan, ASKER, asking(1))
        second = await ask_partners(baishan, ASKER, asking(1, level=2, follows=first.id))
        assert [each.rid for each in second.partners[0].records] == [record_id]
        (row,) = await inquiries.of_inquiry(baishan.store.reads, second.id)
        assert row.row.lines is not None
        await followed(cities.baishan)
        (done,) = await cities.baishan.store.reads.all(sa.select(erasures.c.done_at).where(erasures.c.record_id == record_id))
        assert done.done_at is not None
        assert await inquiries.telling(baishan.store.reads, [record_id])
        admin = await enrolled(cities.tonghua, "kang", "key-custodian")
        await erase(cities.tonghua, record_id, reason="request", by=await admin.acts("record.erase", target=record_id, reason="request"))
        await sent(cities, PENALTIES)
        await followed(cities.baishan)
        assert not await inquiries.telling(baishan.store.reads, [record_id]), "what was told of it goes with a true erasure"


@pytest.mark.parametrize("by", ["sender", "custodian"])
async def test_a_batch_that_waits_is_turned_away_for_an_erasure_after_the_purge(cities: Cities, by: str):
    """What its sender erases, or a custodian with its subject, after the purge is looked for again: a waiting batch keeps nothing of it."""
    (record_id,) = ids(await put(cities.tonghua, DATASET, penalty(code(1), NAME, "通示罚〔2026〕1号")))
    await sent(cities, PENALTIES)
    await agree_again(cities)
    await end(cities)
    await followed(cities.baishan)
    (entry,) = await cities.baishan.store.reads.all(sa.select(erasures).where(erasures.c.record_id == record_id))
    assert entry.done_at is not None
    await hold_stream(cities.baishan, NEXT_PENALTIES, reason="测试", by=hand())
    await send_batch(cities.tonghua, stream=NEXT_PENALTIES, at_once=True)
    assert await held_batch(cities.baishan, NEXT_PENALTIES) == "1/1"
    house, act, target = cities.baishan, "subject.erase", entry.subject_id
    if by == "sender":
        house, act, target = cities.tonghua, "record.erase", record_id
    admin = await enrolled(house, "kang", "key-custodian")
    await erase(house, target, reason="request", by=await admin.acts(act, target=target, reason="request"))
    if by == "sender":
        await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
    await followed(cities.baishan)
    assert (await told(cities.baishan, record_id)).op == "erase"
    (waits,) = await cities.baishan.store.reads.all(sa.select(erasures).where(erasures.c.record_id == record_id))
    assert waits.done_at is None, "the batch may wait for a person as long as the agreement gives for erasing"
    later = cities.at(cities.now + days(5)).baishan
    await finish_erasures(later)
    await finish_erasures(later)
    assert await later.store.reads.all(sa.select(in_parts.c.name)) == []
    (again,) = await later.store.reads.all(sa.select(erasures).where(erasures.c.record_id == record_id))
    assert again.done_at is not None
    await check_ledger(later)


async def test_a_batch_that_waits_is_not_turned_away_for_a_purge(cities: Cities):
    """A batch under the next agreement that waits for a person speaks of purged records whose remains are still looked for, and may."""
    made = ids(await put(cities.tonghua, DATASET, penalty(code(1), NAME, "通示罚〔2026〕1号")))
    await sent(cities, PENALTIES)
    await agree_again(cities)
    await hold_stream(cities.baishan, NEXT_PENALTIES, reason="测试", by=hand())
    await send_batch(cities.tonghua, stream=NEXT_PENALTIES, at_once=True)
    await end(cities)
    later = cities.at(cities.now + days(5))
    await finish_erasures(later.baishan)
    assert await held_batch(later.baishan, NEXT_PENALTIES) == "1/1"
    await followed(later.baishan)
    assert await states(later.baishan, *made) == [None]
    await release_stream(later.baishan, NEXT_PENALTIES, what="hold", reason="测试", by=hand())
    assert await states(later.baishan, *made) == ["in_force"]


# --- what stays away --------------------------------------------------------------------------------------------------------


async def test_versions_that_a_purge_lets_in(cities: Cities):
    """After a purge the same version counts again, a lower one and an amendment do not; what was withdrawn before keeps its word."""
    forger = Forger(cities)
    await forger.post(*(forger.penalty(n, v=3) for n in range(1, 8)))
    erasing = forger.withdrawal(6, v=5, op="erase", reason="erased")
    await forger.post(forger.withdrawal(4, v=5, op="retract", reason="revoked"), forger.withdrawal(5, v=5), erasing)
    await end(cities)
    assert {each.op for each in [await told(cities.baishan, rid(n)) for n in (1, 2, 3, 7)]} == {"purge"}
    next_ = Forger(cities, agreement=await agree_again(cities))
    assert await codes(cities, next_, next_.penalty(1, v=2), next_.penalty(2, v=4, op="amend")) == ["SEQ_VERSION", "SEQ_STATE"]
    assert await codes(cities, next_, next_.penalty(1, v=3), next_.penalty(2, v=9)) == []
    assert await codes(cities, next_, next_.penalty(4, v=5), next_.penalty(5, v=6), next_.penalty(6, v=6)) == [
        "SEQ_VERSION",
        "SEQ_STATE",
        "SEQ_ERASED",
    ]
    assert await codes(cities, next_, next_.penalty(4, v=6), next_.penalty(5, v=6, reason="repair_revoked")) == []
    assert await codes(cities, next_, next_.withdrawal(7, v=4)) == ["SEQ_STATE"], "acknowledged later: it was held once"
    assert await codes(cities, next_, next_.penalty(7, v=4, reason="repair_revoked")) == ["SEQ_VERSION"]
    assert await codes(cities, next_, next_.penalty(7, v=5, reason="repair_revoked")) == [], "the mark outlives a withdrawal"
    alive = [n for n, state in enumerate(await states(cities.baishan, *(rid(n) for n in range(1, 8))), 1) if state == "in_force"]
    assert alive == [1, 2, 4, 5, 7]
    again_now = await told(cities.baishan, rid(1))
    assert (again_now.v, again_now.op) == (3, "assert")
    assert await codes(cities, next_, next_.penalty(1, v=3)) == ["SEQ_VERSION"], "once"
    await check_ledger(cities.baishan)


async def test_another_sender_and_old_batches_bring_nothing_back(cities: Cities):
    """A purged id is still its sender's: ours or another's word about it is refused, and old batches are answered as they were."""
    (record_id,) = ids(await put(cities.tonghua, DATASET, penalty(code(1), NAME, "通示罚〔2026〕1号")))
    await sent(cities, PENALTIES)
    (old,) = [each for each in cities.line.carried if each.batch.startswith(f"{TONGHUA}/x/{PENALTIES}/")]
    first = await receive_posted(cities.baishan, PENALTIES, posted(old))
    await end(cities)
    for moved in (cities, cities.at(cities.now + timedelta(hours=1))):
        assert (await receive_posted(moved.baishan, PENALTIES, posted(old))).body == first.body, "the stored receipt, and no effect"
    agreement = await agree_again(cities)
    assert (await receive_posted(cities.baishan, PENALTIES, posted(old))).body == first.body
    assert await states(cities.baishan, record_id) == [None]
    late = Forger(cities)
    out = await outbox.out_stream(cities.tonghua.store.reads, PENALTIES)
    assert out is not None
    late.head = out.head
    refused = await late.send(late.seal([late.raw(late.penalty(1, v=9), rid=record_id)], advance=False))
    assert (refused.result, refused.code) == ("rejected", "SCOPE_AGREEMENT"), "under the old agreement nothing is asserted any more"
    async with cities.baishan.store.transaction() as tx:  # as if another city had asserted it once
        await tx.execute(sa.update(in_records).where(in_records.c.record_id == record_id).values(sender="credit.elsewhere.example"))
    forger = Forger(cities, agreement=agreement)
    assert await codes(cities, forger, forger.raw(forger.penalty(1, v=9), rid=record_id)) == ["SCOPE_OWNER"]
    async with cities.baishan.store.transaction() as tx:  # nor does the store take it, whatever the ledger says
        await tx.execute(sa.update(in_records).where(in_records.c.record_id == record_id).values(sender=TONGHUA))
        await tx.execute(sa.update(rows).where(rows.c.record_id == record_id).values(issuer="credit.elsewhere.example"))
    assert await codes(cities, forger, forger.raw(forger.penalty(1, v=9), rid=record_id)) == ["SCOPE_OWNER"]
    async with cities.baishan.store.transaction() as tx:
        await tx.execute(sa.update(rows).where(rows.c.record_id == record_id).values(issuer=TONGHUA))
    assert await states(cities.baishan, record_id) == [None]


async def test_what_was_erased_here_stays_erased(cities: Cities):
    """Erased at the receiver before the end, or after the purge with all of its subject, a record is refused for good."""
    before, after, beside = ids(
        await put(
            cities.tonghua,
            DATASET,
            penalty(code(1), NAME, "通示罚〔2026〕1号"),
            penalty(code(2), OTHER, "通示罚〔2026〕2号"),
            penalty(code(3), "通化市旁邻示例商贸有限公司", "通示罚〔2026〕3号"),
        )
    )
    await sent(cities, PENALTIES)
    admin = await enrolled(cities.baishan, "kang", "key-custodian")

    async def erased(subject: str) -> None:
        await erase(cities.baishan, subject, reason="request", by=await admin.acts("subject.erase", target=subject, reason="request"))

    about = await cities.baishan.store.reads.all(sa.select(rows.c.record_id, rows.c.subject_id))
    subjects = {each.record_id: each.subject_id for each in about}
    await erased(subjects[before])
    await end(cities)
    assert {(await told(cities.baishan, each)).op for each in (after, beside)} == {"purge"}
    assert (await told(cities.baishan, before)).op == "erase"
    await erased(subjects[after])
    assert await purged.purged(cities.baishan.store.reads, [before, after, beside]) == {beside}
    await agree_again(cities)
    await sent(cities, NEXT_PENALTIES)
    assert await states(cities.baishan, before, after, beside) == [None, None, "in_force"]
    assert await refusals(cities.tonghua, NEXT_PENALTIES) == ["SEQ_ERASED"] * 2


async def refusals(services: Services, stream: str) -> list[str]:
    """With which codes the partner refused what a stream said."""
    found = await services.store.reads.all(sa.select(out_records.c.refused).where(out_records.c.stream == stream))
    return [row.refused for row in found if row.refused]


async def test_a_freeze_stays_as_it_is(tmp_path: Path):
    """What was frozen at an end is not purged: it is kept sealed, bears no mark, and is not said again under another agreement."""
    async with two_cities(tmp_path, change=lambda text: text.replace('"purge"', '"freeze"')) as cities:
        (record_id,) = ids(await put(cities.tonghua, DATASET, penalty(code(1), NAME, "通示罚〔2026〕1号")))
        await sent(cities, PENALTIES)
        notice = await change_state(cities.tonghua, AGREEMENT, "terminated", reason="测试", by="test")
        await take_notice(cities.baishan, notice, by="test")
        for services in (cities.tonghua, cities.baishan):
            await end_agreements(services)
        await agree_again(cities)
        await send_batch(cities.tonghua, stream=NEXT_PENALTIES, at_once=True)
        assert await states(cities.baishan, record_id) == ["retracted"]
        assert await refusals(cities.tonghua, NEXT_PENALTIES) == ["SEQ_STATE"]


# --- crash ------------------------------------------------------------------------------------------------------------------


async def test_a_purge_that_was_cut_off_goes_on(cities: Cities, monkeypatch: pytest.MonkeyPatch):
    """Cut off in a transaction, what was purged before bears its mark, the rest is as it was; the next round ends it, all comes back."""
    made = ids(await put(cities.tonghua, DATASET, *(penalty(code(n), NAME, f"通示罚〔2026〕{n}号") for n in range(1, 6))))
    await sent(cities, PENALTIES)
    notice = await change_state(cities.tonghua, AGREEMENT, "terminated", reason="测试", by="test")
    await take_notice(cities.baishan, notice, by="test")
    whole, steps = purged.mark, []

    async def cut(tx: Any, record_ids: Any) -> None:
        steps.append(len(record_ids))
        if len(steps) == 2:
            raise ZeroDivisionError
        await whole(tx, record_ids)

    with monkeypatch.context() as patch:
        patch.setattr(end_agreement, "CHUNK", 2)
        patch.setattr(purged, "mark", cut)
        with pytest.raises(ZeroDivisionError):
            await end_agreements(cities.baishan)
    found = [(await told(cities.baishan, each)).op for each in sorted(made)]
    assert found == ["purge"] * 2 + ["assert"] * 3
    assert await states(cities.baishan, *sorted(made)) == [None] * 2 + ["in_force"] * 3
    for services in (cities.tonghua, cities.baishan):
        assert await end_agreements(services) == [AGREEMENT]
        await check_ledger(services)
    assert {(await told(cities.baishan, each)).op for each in made} == {"purge"}
    await agree_again(cities)
    assert (await sent(cities, NEXT_PENALTIES)).lines == 5
    assert await states(cities.baishan, *made) == ["in_force"] * 5


async def test_it_comes_back_before_anybody_has_followed_its_purge(cities: Cities):
    """Purged and said again before a reader looked, it never left an exit, and a later erasure is entered and ended as any other."""
    (record_id,) = ids(await put(cities.tonghua, TAX, violation(code(1), NAME, "通示税〔2026〕1号")))
    await sent(cities, f"{AGREEMENT}.{TAX}")
    await followed(cities.baishan)
    await settle_lists(cities.baishan)
    await end(cities)
    await agree_again(cities)
    await sent(cities, NEXT_TAXES)
    await followed(cities.baishan)
    await settle_lists(cities.baishan)
    assert await exits(cities.baishan, record_id, NAME) == {"rendered", "list", "search", "ranges", "feed"}
    await verify_store(cities.baishan)
    admin = await enrolled(cities.tonghua, "kang", "key-custodian")
    await erase(cities.tonghua, record_id, reason="request", by=await admin.acts("record.erase", target=record_id, reason="request"))
    await sent(cities, NEXT_TAXES)
    await followed(cities.baishan)
    (row,) = await cities.baishan.store.reads.all(sa.select(erasures).where(erasures.c.record_id == record_id))
    assert row.done_at is not None
    assert await exits(cities.baishan, record_id, NAME) == set()


# --- two at once ------------------------------------------------------------------------------------------------------------


async def test_two_agreements_at_once(cities: Cities):
    """Held under the first, a record is unchanged by the second, for no rate; when the first ends the second is asked to begin anew."""
    cities = able_to_ask(cities)
    made = ids(await put(cities.tonghua, DATASET, *(penalty(code(n), NAME, f"通示罚〔2026〕{n}号") for n in range(1, 31))))
    await sent(cities, PENALTIES)
    await agree_again(cities)
    done = await sent(cities, NEXT_PENALTIES)
    assert (done.state, done.lines) == ("acked", 30), "thirty lines and none of them an error"
    assert {(await told(cities.baishan, each)).stream for each in made} == {PENALTIES}
    await repair(cities.tonghua, made[0], actor="test", document="示例")
    await sent(cities, PENALTIES)
    await sent(cities, NEXT_PENALTIES)
    assert await states(cities.baishan, made[0], made[1]) == ["repaired", "in_force"]
    await end(cities)
    found = [each for each in await examine(cities.baishan, lines=False) if each.code == "epoch-awaited"]
    assert [each.where for each in found] == [f"{TONGHUA}/{NEXT_PENALTIES}"]
    assert ("清除" in found[0].zh, "purged" in found[0].en) == (True, True)
    assert "exchange epoch" in (found[0].remedy_en or "")
    assert await alarmed(cities.baishan) == await alarmed(cities.at(cities.now + timedelta(minutes=59)).baishan) == []
    assert await alarmed(cities.at(cities.now + timedelta(hours=2)).baishan) == [f"{TONGHUA}/{NEXT_PENALTIES}"]
    assert await Rounds().run(cities.baishan) == {}
    out = await outbox.out_stream(cities.tonghua.store.reads, NEXT_PENALTIES)
    assert out is not None
    assert out.head.epoch == 2
    await Rounds().run(cities.baishan)
    assert (await sent(cities, NEXT_PENALTIES)).state == "acked"
    assert await states(cities.baishan, *made[:3]) == [None, "in_force", "in_force"], "the repaired one went with the first"
    await Rounds().run(cities.at(cities.now + timedelta(minutes=11)).baishan)
    again = await outbox.out_stream(cities.tonghua.store.reads, NEXT_PENALTIES)
    assert again is not None
    assert again.head.epoch == 2, "asked once"


@pytest.mark.parametrize("first", [PENALTIES, NEXT_PENALTIES])
async def test_what_one_of_two_agreements_takes_back_the_other_says_again(cities: Cities, first: str):
    """A record that no longer fits one agreement leaves the partner under both, and comes back by the other one alone, once."""
    fine = '"CF_NR_FK", type = "decimal(18,6)", required = '
    narrow = template().replace(f"{fine}false", f"{fine}true")
    (record_id,) = ids(await put(cities.tonghua, DATASET, penalty(code(1), NAME, "通示罚〔2026〕1号")))
    await sent(cities, PENALTIES)
    await agree_again(cities, text=narrow)
    await sent(cities, NEXT_PENALTIES)
    await put(cities.tonghua, DATASET, penalty(code(1), NAME, "通示罚〔2026〕1号", fine=""))
    second = next(each for each in (PENALTIES, NEXT_PENALTIES) if each != first)
    for stream in (first, second):
        await sent(cities, stream)
    assert await states(cities.baishan, record_id) == (["in_force"] if first == NEXT_PENALTIES else ["retracted"])
    for lines in (int(first == PENALTIES), 0):
        passes = [await send_batch(cities.tonghua, stream=stream, at_once=True) for stream in (PENALTIES, NEXT_PENALTIES)]
        assert [one.lines for (one,) in passes] == [lines, 0]
        assert await states(cities.baishan, record_id) == ["in_force"]
    await put(cities.tonghua, DATASET, penalty(code(1), NAME, "通示罚〔2026〕1号", fine="", 处罚内容="警告。"))
    assert (await sent(cities, PENALTIES)).state == "acked"
    assert await refusals(cities.tonghua, PENALTIES) == await refusals(cities.tonghua, NEXT_PENALTIES) == []
    (there,) = await records.load(cities.baishan.store.reads, ids=[RecordId(record_id)])
    assert there.state == "in_force"
    assert "警告。" in there.raw.open().values()


async def test_an_amendment_that_the_partner_could_not_take_is_said_anew(cities: Cities):
    """Whoever withdrew a record under another agreement by a make of its own has its next change taken, not refused for ever."""
    (record_id,) = ids(await put(cities.tonghua, DATASET, penalty(code(1), NAME, "通示罚〔2026〕1号")))
    await sent(cities, PENALTIES)
    other = Forger(cities, agreement=await agree_again(cities))
    await other.post(other.raw(other.withdrawal(1, op="retract", reason="no_longer_public"), rid=record_id))
    assert await states(cities.baishan, record_id) == ["retracted"]
    for fine, state, refused in (("2", "retracted", ["SEQ_VERSION"]), ("3", "retracted", ["SEQ_STATE"]), ("4", "in_force", [])):
        await put(cities.tonghua, DATASET, penalty(code(1), NAME, "通示罚〔2026〕1号", fine=fine))
        await sent(cities, PENALTIES)
        assert await states(cities.baishan, record_id) == [state]
        assert await refusals(cities.tonghua, PENALTIES) == refused


async def alarmed(services: Services) -> list[str]:
    """Streams of which it is told that nobody has begun to say again what was purged."""
    return [each.target for each in await conditions(services) if each.kind == "epoch-awaited" and each.bad]


# --- a second signature that comes late -------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", ["baishan", "tonghua"])
async def test_a_version_that_reaches_one_side_after_the_end(tmp_path: Path, late: str):
    """Whoever offered gets the second signature a day after the last version ended here: both directions begin anew by themselves."""
    async with two_cities(tmp_path, change=lambda text: text.replace("expires = 2028-12-31", "expires = 2026-06-30")) as cities:
        cities = able_to_ask(cities)
        penalties = ids(await put(cities.tonghua, DATASET, *(penalty(code(n), NAME, f"通示罚〔2026〕{n}号") for n in (1, 2))))
        (fame,) = ids(await put(cities.tonghua, HONOURS_DATASET, honour(2, NAME)))
        for stream in (PENALTIES, HONOURS):
            await sent(cities, stream)
        signed = await second_version(cities, late)
        (first, *_) = (await held_agreements.held_agreements(cities.baishan.store.reads))[AGREEMENT]
        day = cities.at(first.agreement.ends + timedelta(hours=10))
        offerer, other = (day.baishan, day.tonghua) if late == "baishan" else (day.tonghua, day.baishan)
        assert await end_agreements(offerer) == [AGREEMENT]
        assert await end_agreements(other) == [], "there the next version is signed by both"
        await take(offerer, signed, by="office:a")
        assert await go_on_after_end(offerer) == [AGREEMENT]
        assert await go_on_after_end(offerer) == await go_on_after_end(other) == []
        assert await offerer.store.reads.all(sa.select(agreement_inventories)) == []
        for _ in range(2):
            for services in (day.baishan, day.tonghua):
                assert await Rounds().run(services) == {}
        for services in (day.tonghua, day.baishan):
            await check_ledger(services)
        for stream in (PENALTIES, HONOURS):
            out = await outbox.out_stream(day.tonghua.store.reads, stream)
            assert out is not None
            assert out.head.epoch == 2
            held = await inbox.in_stream(day.baishan.store.reads, TONGHUA, stream)
            assert held is not None
            assert (held.head.epoch, held.head.tree.size, held.anew) == (2, out.head.tree.size, None)
        assert await states(day.baishan, *penalties, fame) == ["in_force"] * 3
        (there,) = await records.load(day.baishan.store.reads, ids=[RecordId(fame)])
        assert there.recognised is not None
        await withdraw(day.tonghua, penalties[0], reason="revoked", actor="test")
        assert (await sent(day, PENALTIES)).state == "acked"
        assert await states(day.baishan, *penalties) == ["retracted", "in_force"]
        notice = await change_state(offerer, AGREEMENT, "terminated", reason="测试", by="test")
        await take_notice(other, notice, by="test")
        for services in (day.tonghua, day.baishan):
            assert await end_agreements(services) == [AGREEMENT], "an end of its own"
            assert (await show_end(services, AGREEMENT)).version == 2
        assert await states(day.baishan, *penalties) == [None, None]


async def test_a_stream_that_has_stopped_is_left_to_a_person(tmp_path: Path):
    """Where an agreement goes on after its end, a stream that stopped because its partner tells two stories begins no epoch by itself."""
    async with two_cities(tmp_path, change=lambda text: text.replace("expires = 2028-12-31", "expires = 2026-06-30")) as cities:
        await put(cities.tonghua, DATASET, penalty(code(1), NAME, "通示罚〔2026〕1号"))
        await put(cities.tonghua, HONOURS_DATASET, honour(2, NAME))
        for stream in (PENALTIES, HONOURS):
            await sent(cities, stream)
        async with cities.tonghua.store.transaction() as tx:
            await outbox.stop_stream(tx, PENALTIES, 1, "SEQ_FORK")
        signed = await second_version(cities, "tonghua")
        (first, *_) = (await held_agreements.held_agreements(cities.tonghua.store.reads))[AGREEMENT]
        day = cities.at(first.agreement.ends + timedelta(hours=10))
        assert await end_agreements(day.tonghua) == [AGREEMENT]
        await take(day.tonghua, signed, by="office:a")
        assert await go_on_after_end(day.tonghua) == [AGREEMENT]
        found = {name: await outbox.out_stream(day.tonghua.store.reads, name) for name in (PENALTIES, HONOURS)}
        assert {name: out and (out.head.epoch, out.stopped) for name, out in found.items()} == {
            PENALTIES: (1, "SEQ_FORK"),
            HONOURS: (2, None),
        }
        assert await begin_epoch(day.tonghua, PENALTIES, by="test", reason="测试") == 2


async def test_an_epoch_that_was_on_its_way_at_the_end_is_begun_again(tmp_path: Path):
    """Half an epoch had come when one side ended the agreement, and went with it: asked for, the sender gives it up for the next one."""
    async with two_cities(tmp_path, change=lambda text: text.replace("expires = 2028-12-31", "expires = 2026-06-30")) as cities:
        cities = able_to_ask(cities)
        made = ids(await put(cities.tonghua, DATASET, *(penalty(code(n), NAME, f"通示罚〔2026〕{n}号") for n in (1, 2))))
        await sent(cities, PENALTIES)
        await hold_stream(cities.baishan, PENALTIES, reason="测试", by=hand())
        assert await begin_epoch(cities.tonghua, PENALTIES, by="test", reason="测试") == 2
        await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
        assert await held_batch(cities.baishan) == "2/1"
        signed = await second_version(cities, "baishan")
        (first, *_) = (await held_agreements.held_agreements(cities.baishan.store.reads))[AGREEMENT]
        day = cities.at(first.agreement.ends + timedelta(hours=10))
        assert await end_agreements(day.baishan) == [AGREEMENT]
        await take(day.baishan, signed, by="office:a")
        assert await go_on_after_end(day.baishan) == [AGREEMENT]
        await release_stream(day.baishan, PENALTIES, what="hold", reason="测试", by=hand())
        for _ in range(3):
            for services in (day.baishan, day.tonghua):
                assert await Rounds().run(services) == {}
        assert await states(day.baishan, *made) == ["in_force"] * 2
        held = await inbox.in_stream(day.baishan.store.reads, TONGHUA, PENALTIES)
        assert held is not None
        assert (held.head.epoch, held.anew) == (3, None)
        for services in (day.tonghua, day.baishan):
            await check_ledger(services)


async def second_version(cities: Cities, late: str) -> SignedDocument:
    """Version 2 as whoever countersigns it has it; whoever offered has not got it back."""
    digest = (await agreements(cities.tonghua))[0].digest
    toml = edited(proposal(cities.tonghua, cities.baishan), "version = 1", f'version = 2\nprevious = "{digest}"')
    toml = edited(toml, "effective = 2026-01-01", "effective = 2026-07-01")
    offers, signs = (cities.baishan, cities.tonghua) if late == "baishan" else (cities.tonghua, cities.baishan)

    async def both(services: Services, story: Any) -> Any:
        with pytest.raises(AdminError) as caught:
            await story()
        await approve_wider(services, AGREEMENT, 2, digest=str(caught.value.hint).rpartition(" ")[2], by="office:b")
        return await story()

    offered = await both(offers, lambda: offer(offers, toml, by="office:a"))
    return await both(signs, lambda: countersign(signs, offered, toml, by="office:a"))
