"""The sender's side: what is said, when it is said again, what stops a stream; a line that loses things, and a receiver that misbehaves."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from gateway.adapter_contract import AdapterError
from gateway.core.disclosure.policy import files_digest
from gateway.core.exchange import feedback, notes
from gateway.core.records.model import RecordId
from gateway.operations.accept_records import accept_records
from gateway.operations.change_policy import read_folder
from gateway.operations.expire import expire
from gateway.operations.handle_case import close_dispute, open_dispute, repair
from gateway.operations.keep_exchange import Rounds
from gateway.operations.manage_agreements import change_state, own_keys, take_keys, take_notice
from gateway.operations.receive_batch import receive_posted
from gateway.operations.recognise import follow, review
from gateway.operations.send_batch import Sent, send_batch
from gateway.operations.set_up import shipped_policies
from gateway.operations.withdraw import withdraw
from gateway.settings import Clock
from gateway.store import given_receipts, ledger, outbox, recognitions, records
from gateway.store import policies as policy_rows
from gateway.store.tables import in_records, out_batches, out_parts
from tests.administrators import hand
from tests.ledger import check_ledger
from tests.operations.confirming import confirm
from tests.operations.publishing import HONOURS as HONOURS_DATASET
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import TAX, code, household_code, ids, penalty, person_number, person_penalty, put, violation
from tests.operations.test_exchange import honour, states
from tests.region import AGREEMENT, HONOURS, PENALTIES, TONGHUA, Cities, days, news, posted, recognising, two_cities


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities with an agreement in force."""
    async with two_cities(tmp_path) as made:
        yield made


async def told(cities: Cities, stream: str = PENALTIES, *, at_once: bool = True) -> Sent:
    """One pass; what it came to for one stream. Both ledgers hold afterwards."""
    report = {sent.stream: sent for sent in await send_batch(cities.tonghua, stream=stream, at_once=at_once)}
    await check_ledger(cities.tonghua)
    await check_ledger(cities.baishan)
    return report[stream]


async def penalise(cities: Cities, number: int, **more: str) -> str:
    """A penalty at Tonghua."""
    row = penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号", **more)
    (record_id,) = ids(await put(cities.tonghua, DATASET, row))
    return record_id


# --- a line that loses things -----------------------------------------------------------------------------------------


async def test_a_batch_that_never_arrives_goes_again(cities: Cities):
    """Lost on the way, the same bytes go again, not before their time unless somebody asks for it."""
    record_id = await penalise(cities, 1)
    cities.line.lose_before = 1
    assert (await told(cities)).state == "waiting"
    assert await states(cities.baishan, record_id) == [None]
    waiting = await told(cities, at_once=False)
    assert (waiting.state, waiting.code, len(cities.line.carried)) == ("waiting", "UNAVAILABLE", 1)
    assert (await told(cities)).state == "acked"
    first, second = (each for each in cities.line.carried)
    assert (first.manifest, first.manifest_note, first.checkpoint) == (second.manifest, second.manifest_note, second.checkpoint)
    assert await states(cities.baishan, record_id) == ["in_force"]


async def test_a_clock_that_was_ahead_stops_no_stream(cities: Cities):
    """What was sealed while our clock was ahead is taken when its time has come; what was sealed after it was set right follows."""
    now, clock = cities.now, Clock(fixed=cities.now + timedelta(minutes=20))
    cities.tonghua.store.clock = clock
    fast = Cities(msgspec.structs.replace(cities.tonghua, clock=clock), cities.baishan, cities.line)
    fast.line.join(fast.tonghua, fast.baishan)
    first = await penalise(fast, 1)
    assert (await told(fast)).code == "TIME_FUTURE"
    right = cities.at(now)
    second = await penalise(right, 2)
    assert ((await told(right)).state, await states(right.baishan, first, second)) == ("waiting", [None, None])
    later = cities.at(now + timedelta(minutes=16))
    sent = await told(later)
    assert (sent.state, sent.code, await states(later.baishan, first, second)) == ("acked", None, ["in_force", "in_force"])


async def test_a_stream_without_a_good_key_keeps_no_other_back(cities: Cities):
    """What no key may sign now is told by its code and not sealed; what was sealed before is delivered all the same."""
    record_id = await penalise(cities, 1)
    await send_batch(cities.tonghua, deliver=False)
    await penalise(cities, 2)
    keys = cities.tonghua.signers.keys
    cities.tonghua.signers.keys = tuple(key for key in keys if key.use != "exchange")
    sent = await told(cities)
    assert (sent.sealed, sent.delivered, sent.state, sent.code) == (0, 1, "waiting", "key-missing")
    assert await states(cities.baishan, record_id) == ["in_force"]
    cities.tonghua.signers.keys = keys
    assert (await told(cities)).state == "acked"


async def test_the_retry_schedule_grows(cities: Cities):
    """1, 2, 4 … 60 minutes, give or take a fifth, for ever."""
    await penalise(cities, 1)
    cities.line.lose_before = 99
    pauses = []
    for _ in range(9):
        assert (await told(cities)).state == "waiting"
        (batch,) = await outbox.waiting_batches(cities.tonghua.store.reads, PENALTIES)
        assert batch.next_attempt_at is not None
        pauses.append((batch.next_attempt_at - cities.now) / timedelta(minutes=1))
    for pause, minutes in zip(pauses, (1, 2, 4, 8, 16, 32, 60, 60, 60), strict=True):
        assert 0.75 * minutes <= pause <= 1.25 * minutes


async def test_a_lost_receipt_comes_again(cities: Cities):
    """Applied there and the receipt lost, the repetition has no second effect and brings the same receipt."""
    record_id = await penalise(cities, 1)
    cities.line.lose_after = 1
    assert (await told(cities)).state == "waiting"
    assert await states(cities.baishan, record_id) == ["in_force"]
    assert (await told(cities)).state == "acked"
    assert len(await given_receipts.receipts_of(cities.baishan.store.reads, TONGHUA, PENALTIES)) == 1


async def test_order_is_kept_behind_a_batch_that_waits(cities: Cities):
    """Later batches wait behind one that was not acknowledged; then all go, in order."""
    cities.line.lose_before = 2
    first = await penalise(cities, 1)
    await told(cities)
    second = await penalise(cities, 2)
    sent = await told(cities)
    assert (sent.waiting, sent.seq) == (2, 2)
    assert (await told(cities)).waiting == 0
    assert await states(cities.baishan, first, second) == ["in_force", "in_force"]


async def test_two_processes_at_one_stream(cities: Cities):
    """Two passes at once seal nothing twice."""
    for number in range(1, 6):
        await penalise(cities, number)
    await asyncio.gather(*(send_batch(cities.tonghua, stream=PENALTIES, at_once=True) for _ in range(4)))
    sent = await told(cities)
    assert (sent.size, sent.waiting) == (5, 0)


async def test_a_receiver_that_lost_what_it_had_acknowledged(cities: Cities):
    """A receiver restored from an older backup numbers its receipts anew: that is a fork, and a person has to look."""
    await penalise(cities, 1)
    await told(cities)
    await _forget(cities)
    await penalise(cities, 2)
    sent = await told(cities)
    assert (sent.state, sent.code) == ("stopped", "SEQ_FORK")


async def _forget(cities: Cities) -> None:
    """Everything that the exchange ever brought to Baishan, as an old backup would not know it."""
    from gateway.store.tables import (
        changes,
        counters,
        in_batches,
        in_parts,
        in_records,
        in_streams,
        receipts,
        recognitions,
        record_versions,
        subject_keys,
        subjects,
    )
    from gateway.store.tables import records as record_table

    async with cities.baishan.store.transaction() as tx:
        for table in (
            in_parts,
            in_batches,
            in_records,
            in_streams,
            receipts,
            recognitions,
            record_versions,
            record_table,
            subject_keys,
            subjects,
            changes,
        ):
            await tx.execute(sa.delete(table))
        await tx.execute(sa.delete(counters).where(counters.c.name == "changes"))


# --- receipts that are not what they should be ------------------------------------------------------------------------


class Forged:
    """Changes the receipts on their way back."""

    def __init__(self, cities: Cities, change) -> None:
        self.cities = cities
        self.change = change
        cities.line.carry = self.carry  # type: ignore[method-assign]  # this line brings other receipts

    async def carry(self, sealed):
        """Deliver, and give back something else."""
        stream = sealed.batch.partition("/x/")[2].rsplit("/", 2)[0]
        answered = await receive_posted(self.cities.baishan, stream, posted(sealed))
        return self.change(json.loads(answered.body))


def signed_anew(cities: Cities, edit):
    """A change of the receipt's body, signed by the receiver itself."""

    def change(said):
        body = json.loads(said["body"])
        edit(body)
        data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        document = feedback.sign_receipt(data, feedback.read_receipt(data), [cities.baishan.signers.signing("exchange", cities.now)])
        return notes.envelope(document)

    return change


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (
            lambda said: json.dumps(
                said | {"body": said["body"].replace('"accepted":1', '"accepted":0').replace('"rejected":0', '"rejected":1')}
            ).encode(),
            "SIG_INVALID",
        ),
        (lambda said: json.dumps(said | {"note": said["note"].rsplit("\n\n", 1)[0] + "\n\n"}).encode(), "SIG_FORMAT"),
        (lambda said: b"{}", "SCHEMA_JSON"),
        (lambda said: b"<html>", "SCHEMA_JSON"),
        (lambda said: json.dumps({"receipt": said, "feedback": "{}\n"}).encode(), "SIG_PART_DIGEST"),
    ],
)
async def test_receipts_that_are_not_believed_move_nothing(cities: Cities, change, code: str):
    """An unsigned, altered or malformed receipt, or feedback of another, acknowledges nothing; the batch goes again."""
    await penalise(cities, 1)
    Forged(cities, change)
    sent = await told(cities)
    assert (sent.state, sent.code, sent.delivered) == ("waiting", code, 0)


@pytest.mark.parametrize(
    "edit",
    [
        lambda body: body.update(sender="credit.elsewhere.example"),
        lambda body: body["batch"].update(seq=9),
        lambda body: body["batch"].update(manifest="sha-256:" + "A" * 43 + "="),
    ],
)
async def test_receipts_about_something_else(cities: Cities, edit):
    """A receipt that is well signed, about another batch or sender, acknowledges nothing."""
    await penalise(cities, 1)
    Forged(cities, signed_anew(cities, edit))
    sent = await told(cities)
    assert (sent.state, sent.delivered) == ("waiting", 0)
    assert sent.code in ("SIG_CONTEXT", "SIG_INVALID")


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda body: body["tree"].update(root="A" * 43 + "="), "SEQ_FORK"),
        (lambda body: body["tree"].update(size=99), "SEQ_ROOT"),
        (lambda body: body["tree"].update(size=0), "SEQ_FORK"),
    ],
)
async def test_a_receiver_with_another_tree_stops_the_stream(cities: Cities, edit, code: str):
    """A receipt with another root for our size, or a larger size than ours, stops the stream until a person has looked."""
    await penalise(cities, 1)
    Forged(cities, signed_anew(cities, edit))
    sent = await told(cities)
    assert (sent.state, sent.code) == ("stopped", code)
    await penalise(cities, 2)
    again = await told(cities)
    assert (again.sealed, again.state) == (0, "stopped")


async def test_two_receipts_of_one_number_stop_the_stream(cities: Cities):
    """A receiver that gives one number to two receipts has forked."""
    await penalise(cities, 1)
    assert (await told(cities)).state == "acked"
    await penalise(cities, 2)

    def same_number(body):
        body["no"], body["previous"] = 1, None

    Forged(cities, signed_anew(cities, same_number))
    sent = await told(cities)
    assert (sent.state, sent.code) == ("stopped", "SEQ_FORK")


async def test_a_rejected_batch_stops_the_stream(cities: Cities):
    """A rejection is final: nothing goes on in this epoch, and the code is told."""
    await penalise(cities, 1)

    def reject(body):
        body.update(result="rejected", code="TIME_EXPIRED", counts=dict.fromkeys(body["counts"], 0))
        body["tree"].update(size=0)
        body["feedback"] = msgspec.to_builtins(feedback.empty_feedback())

    Forged(cities, signed_anew(cities, reject))
    sent = await told(cities)
    assert (sent.state, sent.code) == ("stopped", "TIME_EXPIRED")


async def test_a_line_that_raises_what_it_may_not(cities: Cities):
    """A guest that raises its own exceptions is a permanent failure of that line; the other streams go on."""
    await penalise(cities, 1)
    (honour_id,) = ids(await put(cities.tonghua, HONOURS_DATASET, honour(2, "通化市澄泉商贸有限公司")))
    carry = cities.line.carry

    async def careless(sealed):
        if "administrative" in sealed.batch:
            raise ZeroDivisionError
        return await carry(sealed)

    cities.line.carry = careless  # type: ignore[method-assign]  # a guest may do anything
    report = {sent.stream: sent for sent in await send_batch(cities.tonghua, at_once=True)}
    assert (report[PENALTIES].state, report[PENALTIES].code) == ("waiting", "UNAVAILABLE")
    assert report[HONOURS].state == "acked"
    assert await states(cities.baishan, honour_id) == ["in_force"]


async def test_outcome_unknown_on_a_line_that_repeats_effects(cities: Cities):
    """Where a repetition may have a second effect, an unknown outcome stops the stream until a person has looked."""
    from tests.region import Direct

    await penalise(cities, 1)

    async def unknown(_):
        raise AdapterError("UNAVAILABLE", "?", transient=True, outcome_unknown=True)

    cities.line.carry = unknown  # type: ignore[method-assign]  # nobody knows
    before = Direct.capabilities
    Direct.capabilities = before - {"idempotent"}
    try:
        assert (await told(cities)).state == "stopped"
    finally:
        Direct.capabilities = before


# --- what is said -----------------------------------------------------------------------------------------------------


async def test_an_amendment_a_dispute_and_a_return(cities: Cities):
    """What changes is amended, a dispute travels, and what was taken back and said anew is asserted again."""
    record_id = await penalise(cities, 1)
    await told(cities)
    await penalise(cities, 1, fine="2.5")
    assert (await told(cities)).lines == 1
    (there,) = await records.load(cities.baishan.store.reads, ids=[RecordId(record_id)])
    assert there.raw.open()["fine_amount"] == "2.500000"
    await open_dispute(cities.tonghua, record_id, actor="test")
    await told(cities)
    (there,) = await records.load(cities.baishan.store.reads, ids=[RecordId(record_id)])
    assert there.dispute_since is not None
    await close_dispute(cities.tonghua, record_id, upheld=False, actor="test")
    await told(cities)
    (there,) = await records.load(cities.baishan.store.reads, ids=[RecordId(record_id)])
    assert there.dispute_since is None
    await withdraw(cities.tonghua, record_id, reason="corrected", actor="test")
    await told(cities)
    assert await states(cities.baishan, record_id) == ["retracted"]
    await penalise(cities, 1, fine="3.5")
    await told(cities)
    assert await states(cities.baishan, record_id) == ["in_force"]


async def test_an_erasure_reaches_the_partner(cities: Cities):
    """What is erased here is erased there; its salts and the parts that held it go."""
    record_id, other = await penalise(cities, 1), await penalise(cities, 2)
    await told(cities)
    async with cities.tonghua.store.transaction() as tx:
        await records.erase(tx, RecordId(record_id), actor="test")
    sent = await told(cities)
    assert (sent.lines, sent.state) == (1, "acked")
    assert await states(cities.baishan, record_id, other) == [None, "in_force"]
    row = (await recognitions.told_records(cities.baishan.store.reads, [record_id]))[record_id]
    assert (row.op, row.payload) == ("erase", None)
    assert await news(cities) == ["ACK_ERASED"]
    await told(cities)
    kept = await cities.tonghua.store.reads.all(sa.select(out_parts.c.seq).where(out_parts.c.stream == PENALTIES))
    assert 1 not in {part.seq for part in kept}, "the part with the erased record is gone"


async def test_nobody_is_sent_who_may_not_be(cities: Cities):
    """Persons and households are not sealed under an agreement without a basis for them; they are not even counted by name."""
    await put(
        cities.tonghua,
        DATASET,
        person_penalty("测试甲", person_number(1), "通示罚〔2026〕901号"),
        penalty(household_code(7), "东昌区甲某某小吃店", "通示罚〔2026〕902号", kind="个体工商户"),
    )
    sent = await told(cities)
    assert (sent.lines, sent.size) == (0, 0)
    assert cities.line.carried, "a sign of life went out"
    assert all(not batch.parts for batch in cities.line.carried)


async def test_vouched_rows_are_marked(cities: Cities):
    """A vouched penalty travels as vouched, or not at all; it never has an effect there."""
    row = penalty(code(5), "通化市测试5商贸有限公司", "通示罚〔2026〕5号")
    (outcome,) = await put(cities.tonghua, DATASET, row, signed=False)
    await told(cities)
    found = await records.load(cities.baishan.store.reads, ids=[RecordId(str(outcome.record_id))])
    assert all(record.trust == "vouched" for record in found)


async def test_what_comes_in_does_not_travel_on(cities: Cities):
    """A record of another city is never sealed for a third, nor sent back."""
    from gateway.core.records.intake import IntakeContext, intake

    described = cities.tonghua.policies.current().catalogue.datasets[DATASET]  # type: ignore[index]  # a DatasetId is a str
    from gateway.adapter_contract import SourceRecord

    admitted = intake(
        SourceRecord(
            dataset=DATASET,
            record_id="rec_aaaqeayeaudaocajbifqydiob4",
            as_of=cities.now,
            place="x",
            fields=penalty(code(8), "白山市测试商贸有限公司", "白示罚〔2026〕1号"),
        ),
        IntakeContext(dataset=described, authorities={}, demo=True, now=cities.now, region="220600", issuer="credit.baishan.example"),
    )
    admitted = msgspec.structs.replace(admitted, record_id=RecordId("rec_aaaqeayeaudaocajbifqydiob4"), trust="signed")
    async with cities.tonghua.store.transaction() as tx:
        await accept_records(cities.tonghua, tx, [admitted], described, actor="test")
    assert (await told(cities)).size == 0


async def test_records_outside_the_territory_of_the_agreement_are_not_sent(cities: Cities):
    """What lies in none of the agreement's regions is closed by the rows of the partner's rule: no line tells of it."""
    await penalise(cities, 1)
    async with cities.tonghua.store.transaction() as tx:
        await tx.execute(sa.text("UPDATE records SET region = '220600'"))
    sent = await told(cities)
    assert (sent.lines, sent.size) == (0, 0)


async def test_signs_of_life(cities: Cities):
    """Without news an empty batch goes out before the interval is over, so that what is known does not look stale."""
    await penalise(cities, 1)
    await told(cities)
    assert (await told(cities)).sealed == 0
    later = cities.at(cities.now + timedelta(hours=19))
    sent = await told(later)
    assert (sent.sealed, sent.lines, sent.state) == (1, 0, "acked")


@pytest.mark.parametrize("written_down", [True, False])
async def test_periods_that_end_are_told(cities: Cities, written_down):
    """When the period is over the partner is told, whether the office has written it down or time alone has ended the view."""
    record_id = await penalise(cities, 1)
    await told(cities)
    later = cities.at(cities.now + days(400))
    for one, other in ((later.tonghua, later.baishan), (later.baishan, later.tonghua)):
        await take_keys(one, await own_keys(other), by="test")
    if written_down:
        await expire(later.tonghua, actor="test")
        assert await states(later.tonghua, record_id) == ["expired"]
    sent = await told(later)
    assert (sent.lines, sent.state) == (1, "acked")
    assert await states(later.baishan, record_id) == ["expired"]


async def test_more_lines_than_a_batch_may_have(tmp_path: Path):
    """Above the agreed number of lines the rest comes with the next batch."""
    async with two_cities(tmp_path, change=lambda text: text.replace("lines = 100000", "lines = 2")) as cities:
        made = [await penalise(cities, number) for number in range(1, 6)]
        sent = await told(cities)
        assert (sent.sealed, sent.lines, sent.seq, sent.size) == (3, 5, 3, 5)
        assert await states(cities.baishan, *made) == ["in_force"] * 5


async def test_a_suspended_agreement_sends_withdrawals_only(cities: Cities):
    """While it is suspended only withdrawals go out; afterwards everything that had waited."""
    first = await penalise(cities, 1)
    await told(cities)
    notice = await change_state(cities.tonghua, AGREEMENT, "suspended", reason="测试", by="test")
    await take_notice(cities.baishan, notice, by="test")
    second = await penalise(cities, 2)
    await repair(cities.tonghua, first, actor="test")
    sent = await told(cities)
    assert (sent.lines, sent.state) == (1, "acked")
    assert await states(cities.baishan, first, second) == ["repaired", None]
    assert (await told(cities)).sealed == 0
    notice = await change_state(cities.tonghua, AGREEMENT, "active", reason="测试", by="test")
    await take_notice(cities.baishan, notice, by="test")
    assert (await told(cities)).lines == 1
    assert await states(cities.baishan, first, second) == ["repaired", "in_force"]


async def test_only_the_side_that_suspended_resumes(cities: Cities):
    """The other side's word does not lift a suspension."""
    notice = await change_state(cities.baishan, AGREEMENT, "suspended", reason="测试", by="test")
    status = await take_notice(cities.tonghua, notice, by="test")
    assert status.state == "suspended"
    await change_state(cities.tonghua, AGREEMENT, "active", reason="测试", by="test")
    await penalise(cities, 1)
    assert (await told(cities)).sealed == 0


async def test_late_acknowledgements_stop_new_records(tmp_path: Path):
    """With `stop_after_h`, nothing new goes to a partner that does not acknowledge withdrawals; withdrawals still do."""
    async with two_cities(tmp_path, change=lambda text: text.replace("stop_after_h = 0", "stop_after_h = 1")) as cities:
        first, second = await penalise(cities, 1), await penalise(cities, 2)
        await told(cities)
        await repair(cities.tonghua, first, actor="test")
        cities.line.with_feedback = False
        await told(cities)
        later = cities.at(cities.now + timedelta(hours=2))
        third = await penalise(later, 3)
        await repair(later.tonghua, second, actor="test")
        sent = await told(later)
        assert sent.lines == 1
        assert await states(later.baishan, first, second, third) == ["repaired", "repaired", None]


async def test_parts_are_dropped_after_their_time(cities: Cities):
    """Acknowledged parts are kept as long as agreed, and no longer."""
    await penalise(cities, 1)
    await told(cities)
    later = cities.at(cities.now + days(31))
    await told(later)
    kept = await later.tonghua.store.reads.all(sa.select(out_parts.c.seq).where(out_parts.c.stream == PENALTIES))
    assert 1 not in {part.seq for part in kept}


async def test_parts_are_no_plain_text_in_the_store(cities: Cities):
    """What waits in the outbox stands there encrypted."""
    await penalise(cities, 1)
    cities.line.lose_before = 1
    await told(cities)
    (row,) = await cities.tonghua.store.reads.all(sa.select(out_parts.c.data).where(out_parts.c.stream == PENALTIES))
    assert b"\x1f\x8b" not in row.data[:40]
    assert b'"p":"' not in row.data


# --- recognition ------------------------------------------------------------------------------------------------------


async def decision(cities: Cities, record_id: str):
    """What Baishan has decided about a record."""
    return (await recognitions.decisions(cities.baishan.store.reads, [record_id])).get(record_id)


async def test_a_local_listing_suspends_an_honour(cities: Cities):
    """An honour has no effect for a subject on a local list of serious violations; the effect goes when the listing comes."""
    (record_id,) = ids(await put(cities.tonghua, HONOURS_DATASET, honour(2, "通化市澄泉商贸有限公司")))
    await told(cities, HONOURS)
    assert (await decision(cities, record_id)).reason == "recognised"
    await put(cities.baishan, TAX, violation(code(2), "通化市澄泉商贸有限公司", "白示税〔2026〕1号"))
    while await follow(cities.baishan):
        pass
    found = await decision(cities, record_id)
    assert (found.reason, found.consequence, found.effect) == ("local_negative", "suspend", None)
    await check_ledger(cities.baishan)


async def test_silence_suspends_and_news_restore(cities: Cities):
    """When nothing came for too long the effect is suspended; the next sign of life restores it."""
    (record_id,) = ids(await put(cities.tonghua, HONOURS_DATASET, honour(2, "通化市澄泉商贸有限公司")))
    await told(cities, HONOURS)
    later = cities.at(cities.now + timedelta(hours=49))
    assert await review(later.baishan) == 1
    found = await decision(later, record_id)
    assert (found.reason, found.effect) == ("stale", None)
    await told(later, HONOURS)
    assert (await decision(later, record_id)).reason == "recognised"


async def test_a_penalty_has_no_effect_without_a_person(tmp_path: Path):
    """A negative record raises a task; a named person confirms that version with a basis; an amendment asks again."""
    async with two_cities(tmp_path, change=lambda text: recognising(text, (DATASET, "penalty"))) as cities:
        record_id = await penalise(cities, 1)
        await told(cities)
        found = await decision(cities, record_id)
        assert (found.reason, found.consequence, found.effect) == ("awaiting_confirmation", "task", None)
        decided = await confirm(cities.baishan, record_id, by=hand(), basis="《示例条例》第一条")
        assert (decided.reason, decided.effect) == ("recognised", "procurement-limit")
        await penalise(cities, 1, fine="9.9")
        await told(cities)
        assert (await decision(cities, record_id)).reason == "awaiting_confirmation"


@pytest.mark.parametrize("state", ["suspended", "terminated"])
async def test_an_agreement_that_stops_lifts_the_effect(cities: Cities, state):
    """Suspension and end lift what was recognised in the same transaction; a suspension that ends restores it."""
    (record_id,) = ids(await put(cities.tonghua, HONOURS_DATASET, honour(2, "通化市澄泉商贸有限公司")))
    await told(cities, HONOURS)
    await change_state(cities.baishan, AGREEMENT, state, reason="测试", by="test")
    found = await decision(cities, record_id)
    assert (found.reason, found.consequence) == ("no_agreement", "lift")
    if state == "suspended":
        await change_state(cities.baishan, AGREEMENT, "active", reason="测试", by="test")
        assert (await decision(cities, record_id)).reason == "recognised"


async def test_a_round_keeps_everything_alive(cities: Cities):
    """One round seals, delivers, follows and reviews; another round has nothing to do. What did not go well is named."""
    record_id = await penalise(cities, 1)
    rounds = Rounds()
    cities.line.lose_before = 1
    assert await rounds.run(cities.tonghua) == {PENALTIES: "UNAVAILABLE"}
    later = cities.at(cities.now + timedelta(minutes=2))
    assert await rounds.run(later.tonghua) == {}
    assert await rounds.run(later.baishan) == {}
    assert await states(later.baishan, record_id) == ["in_force"]
    await check_ledger(later.tonghua)
    await check_ledger(later.baishan)


async def test_feedback_that_did_not_come_is_asked_for_again(cities: Cities):
    """An acknowledged batch whose feedback was lost is shown again until the acknowledgements in it have come."""
    record_id = await penalise(cities, 1)
    await told(cities)
    async with cities.baishan.store.transaction() as tx:  # whoever holds nothing of a record acknowledges at once
        await tx.execute(sa.delete(in_records).where(in_records.c.record_id == record_id))
    await repair(cities.tonghua, record_id, actor="test")
    cities.line.with_feedback = False
    assert (await told(cities)).state == "acked"
    reads = cities.tonghua.store.reads
    assert await ledger.overdue(reads, PENALTIES, now=cities.now + timedelta(seconds=1), hours=0) is not None
    await told(cities)
    cities.line.with_feedback = True
    await told(cities)
    assert await ledger.overdue(reads, PENALTIES, now=cities.now + timedelta(seconds=1), hours=0) is None
    carried = len(cities.line.carried)
    await told(cities)
    assert len(cities.line.carried) == carried


async def test_a_dataset_that_nobody_may_see_any_more(cities: Cities, tmp_path: Path):
    """When a policy shows a dataset to partners no longer, what they have is withdrawn."""
    record_id = await penalise(cities, 1)
    await told(cities)
    folder = tmp_path / "policies"
    shutil.copytree(shipped_policies(), folder, ignore=shutil.ignore_patterns("tests", "agreements"))
    file = folder / "datasets" / f"{DATASET}.toml"
    text = file.read_text(encoding="utf-8")
    start = text.index('[[rules]]\nid = "penalties-exchange"')
    end = text.find("[[rules]]", start + 5)
    file.write_text(text[:start] + (text[end:] if end > 0 else ""), encoding="utf-8")
    files = read_folder(folder)
    async with cities.tonghua.store.transaction() as tx:
        version = await policy_rows.propose(tx, files, files_digest(files), "test")
        await policy_rows.activate(tx, version, "test", "narrower")
    sent = await told(cities)
    assert (sent.lines, sent.state) == (1, "acked")
    assert await states(cities.baishan, record_id) == ["retracted"]
    assert await states(cities.tonghua, record_id) == ["in_force"]


async def test_a_batch_names_the_licence_of_its_records(cities: Cities, tmp_path: Path):
    """Where the plan for partners has a licence, the signed manifest names it, and the partner takes it in as before."""
    folder = tmp_path / "policies"
    shutil.copytree(shipped_policies(), folder, ignore=shutil.ignore_patterns("tests", "agreements"))
    file = folder / "datasets" / f"{DATASET}.toml"
    text = file.read_text(encoding="utf-8")
    start = text.index('[[rules]]\nid = "penalties-exchange"')
    ruled = text[start:].replace('rate_class = "partner"', 'rate_class = "partner", license = "by"', 1)
    file.write_text(text[:start] + ruled, encoding="utf-8")
    with (folder / "catalogue.toml").open("a", encoding="utf-8") as catalogue:
        catalogue.write('\n[licences.by]\ntitle = "A"\nurl = "https://example.cn/by"\nstrictness = 1\n')
    files = read_folder(folder)
    async with cities.tonghua.store.transaction() as tx:
        version = await policy_rows.propose(tx, files, files_digest(files), "test")
        await policy_rows.activate(tx, version, "test", "licence")
    record_id = await penalise(cities, 1)
    assert (await told(cities)).state == "acked"
    assert await states(cities.baishan, record_id) == ["in_force"]
    rows = await cities.tonghua.store.reads.all(sa.select(out_batches.c.manifest))
    assert {json.loads(row.manifest).get("license") for row in rows} == {"https://example.cn/by"}
    plans = (await cities.tonghua.policies.fresh()).plan_set(DATASET, "partner", "exchange.batch")
    assert {json.loads(row.manifest)["policy_plan"] for row in rows} == {plans.hash}


async def test_what_fits_into_no_line(tmp_path: Path):
    """A text too long for a line is left out by code; what the partner had of that record is withdrawn, for it is not true any more."""
    async with two_cities(tmp_path) as cities:
        record_id = await penalise(cities, 1)
        await told(cities)
        await penalise(cities, 1, 违法事实="𠀀" * 4500)
        sent = await told(cities)
        assert sent.state == "acked"
        assert sum(sent.not_sent.values()) == 1
        assert await states(cities.baishan, record_id) == ["retracted"]
