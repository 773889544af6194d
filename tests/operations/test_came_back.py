"""A receiver that came back, without a network: what its sender may show, who is let off nothing by forgetting, and other lines."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from gateway.adapter_loading import Adapters
from gateway.cli import cli
from gateway.core.errors import ExchangeError, NotFound
from gateway.core.exchange import feedback, notes
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.wire import digest_text
from gateway.operations.answer_batch import BatchRefused
from gateway.operations.begin_epoch import asked_for, begin_epoch
from gateway.operations.believe_receipt import believed
from gateway.operations.collect_batches import collect_batches
from gateway.operations.come_back import came_back_from_copy, find_all_places, go_on_from, mark_streams
from gateway.operations.doctor import examine
from gateway.operations.end_agreement import purge_stream
from gateway.operations.erase import erase
from gateway.operations.export_evidence import export_evidence
from gateway.operations.handle_case import repair
from gateway.operations.keep_exchange import Rounds
from gateway.operations.list_measures import list_measures
from gateway.operations.manage_agreements import agreements, countersign, take
from gateway.operations.partners import streams_from
from gateway.operations.send_batch import Sent, send_batch
from gateway.operations.show_exchange import kept_receipt, receipt
from gateway.services import Services
from gateway.store import audit, debts, forked_receipts, given_receipts, held_agreements, inbox, known_records, ledger, outbox
from gateway.store.store import moment
from gateway.store.tables import in_batches, in_streams, out_batches, out_receipts, receipts
from tests.administrators import enrolled
from tests.ledger import check_ledger
from tests.operations.publishing import HONOURS as HONOURS_DATASET
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.operations.test_agreements import proposal
from tests.operations.test_exchange import honour, states
from tests.operations.test_exchange_drop import dropped, root_of, share
from tests.region import AGREEMENT, BAISHAN, HONOURS, NOW, PENALTIES, TONGHUA, Cities, Direct, Forger, days, followed, rid, two_cities

Shows = Callable[[int | None], Awaitable[bytes | None]]


def able(cities: Cities, shows: Shows | None = None) -> Cities:
    """The same cities, whose lines can ask for a new epoch and for receipts; `shows`: what is shown instead of what is kept."""

    class Bound(Direct):
        capabilities = Direct.capabilities | {"resync", "kept"}

        def __init__(self, config: Any, tools: Any) -> None:
            super().__init__(cities.line, config.base_url)

        async def resync(self, stream: str, reason: str) -> None:
            asks = next(one for url, one in self.there.cities.items() if url != self.base_url)
            body = msgspec.json.encode({"reason": reason})
            await asked_for(self.there.cities[self.base_url], asks.signers.party, stream, body)

        async def kept(self, stream: str, no: int | None, near: int) -> bytes | None:
            if shows is not None and stream == PENALTIES:
                return await shows(no)
            asks = next(one for url, one in self.there.cities.items() if url != self.base_url)
            shown = await kept_receipt(self.there.cities[self.base_url], asks.signers.party, stream, no)
            return shown.body if shown is not None else None

    both = [msgspec.structs.replace(one, adapters=Adapters({"https_partner": lambda: Bound})) for one in (cities.tonghua, cities.baishan)]
    cities.line.join(*both)
    return Cities(both[0], both[1], cities.line)


async def fined(cities: Cities, *numbers: int) -> list[str]:
    """Penalties of Tonghua's that Baishan has taken."""
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in numbers]
    made = ids(await put(cities.tonghua, DATASET, *rows))
    await sent(cities)
    return made


async def sent(cities: Cities, stream: str = PENALTIES) -> Sent:
    """Seal and deliver what there is."""
    (done,) = await send_batch(cities.tonghua, stream=stream, at_once=True)
    return done


async def erased(services: Services, record_id: str) -> None:
    """A custodian erases a record."""
    admin = await enrolled(services, "kang", "key-custodian")
    await erase(services, record_id, reason="request", by=await admin.acts("record.erase", target=record_id, reason="request"))


async def debt(cities: Cities, what: Any, since: Any = "committed") -> tuple[int, datetime | None]:
    """Lines that Baishan has not acknowledged, and since when."""
    found = await debts.debt(cities.tonghua.store.reads, PENALTIES, what, cities.now + days(365), since=since)
    return (found.lines, found.since) if found is not None else (0, None)


async def as_of(services: Services, stream: str = PENALTIES) -> Callable[[], Awaitable[None]]:
    """What puts the stream's place and receipts back to what they are now, as a copy does."""
    reads = services.store.reads
    row = await reads.one(sa.select(in_streams).where(in_streams.c.stream == stream))
    assert row is not None
    place = {column.name: getattr(row, column.name) for column in in_streams.c}
    known = {each.manifest_digest for each in await reads.all(sa.select(in_batches.c.manifest_digest))}

    async def forget() -> None:
        async with services.store.transaction() as tx:
            await tx.execute(sa.update(in_streams).where(in_streams.c.stream == stream).values(**place))
            await tx.execute(sa.delete(receipts).where(receipts.c.stream == stream, receipts.c.no > place["receipt_no"]))
            for each in await tx.all(sa.select(in_batches.c.manifest_digest).where(in_batches.c.stream == stream)):
                if each.manifest_digest not in known:
                    await tx.execute(sa.delete(in_batches).where(in_batches.c.manifest_digest == each.manifest_digest))

    return forget


async def until_still(cities: Cities) -> None:
    """Both keep their exchange until nothing moves."""
    for _ in range(3):
        for services in (cities.tonghua, cities.baishan):
            services.paces.forget()
            await Rounds().run(services)
        await sent(cities)
        await followed(cities.baishan)
        await sent(cities)


async def holding(cities: Cities) -> None:
    """Both ledgers hold."""
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)


async def place_of(cities: Cities) -> Any:
    """Where Tonghua's penalties stand at Baishan."""
    return await inbox.in_stream(cities.baishan.store.reads, TONGHUA, PENALTIES)


async def test_a_receiver_that_lost_receipts_goes_on(cities: Cities):
    """Asked for, the last number is known again; the chain goes on behind it, everything is told anew, and what was lost is not served."""
    cities = able(cities)
    kept, repaired, gone = await fined(cities, 1, 2, 3)
    forget = await as_of(cities.baishan)
    await repair(cities.tonghua, repaired, actor="test", document="示例")
    await erased(cities.tonghua, gone)
    await until_still(cities)
    lost = await ledger.last_receipt_no(cities.tonghua.store.reads, PENALTIES)
    assert (lost or 0) >= 3
    await forget()
    assert PENALTIES in await came_back_from_copy(cities.baishan, by="test", reason="恢复")
    assert await states(cities.baishan, kept, repaired, gone) == [None] * 3
    assert "receipt-awaited" in {each.code for each in await examine(cities.baishan, lines=False)}
    again = await sent(cities)
    assert again.code in (None, "UNAVAILABLE")
    await until_still(cities)
    assert await states(cities.baishan, kept, repaired, gone) == ["in_force", None, None]
    place = await place_of(cities)
    assert (place.head.epoch, place.asks, place.anew) == (2, None, None)
    assert await ledger.last_receipt_no(cities.tonghua.store.reads, PENALTIES) == place.receipt_no > (lost or 0)
    (found,) = await audit.rows(cities.baishan.store.reads, audit.Wanted(act="stream.found-place", target=f"stream/{TONGHUA}/{PENALTIES}"))
    assert (found.detail or {})["shown"] == lost
    await repair(cities.tonghua, kept, actor="test", document="示例")
    await until_still(cities)
    assert await states(cities.baishan, kept) == ["repaired"]
    assert (await debt(cities, "withdrawals"), await debt(cities, "erasures")) == ((0, None), (0, None))
    await holding(cities)


async def test_nothing_was_lost_after_all(cities: Cities):
    """Where the sender shows the receipt that is held, the chain goes on as it was; what was purged comes back all the same, once."""
    cities = able(cities)
    made = await fined(cities, 1, 2)
    (praised,) = ids(await put(cities.tonghua, HONOURS_DATASET, honour(3, "通化市澄泉示例商贸有限公司")))
    await sent(cities, HONOURS)
    (before,) = await list_measures(cities.baishan)
    place = await place_of(cities)
    assert set(await came_back_from_copy(cities.baishan, by="test", reason="恢复")) > {PENALTIES, HONOURS}
    assert await states(cities.baishan, *made, praised) == [None] * 3
    assert await list_measures(cities.baishan) == [], "what rested on them is over"
    assert await find_all_places(cities.baishan) == {}
    after = await place_of(cities)
    assert (after.receipt_no, after.receipt_digest) == (place.receipt_no, place.receipt_digest)
    await until_still(cities)
    await sent(cities, HONOURS)
    assert await states(cities.baishan, *made, praised) == ["in_force"] * 3
    (again,) = await list_measures(cities.baishan)
    assert again.record_id != before.record_id
    epochs = {(await outbox.out_stream(cities.tonghua.store.reads, name)).head.epoch for name in (PENALTIES, HONOURS)}  # type: ignore[union-attr]  # both were sent
    assert epochs == {2}
    await holding(cities)


async def test_a_repair_that_was_revoked_in_the_lost_time(pair: Cities):
    """The copy knows a repair that its sender has taken back since: what is told anew is taken without the word that was lost."""
    forger = Forger(pair)
    await forger.post(forger.penalty(1), forger.penalty(2))
    await forger.post(forger.withdrawal(1), forger.withdrawal(2, op="erase", reason="erased"))
    forget = await as_of(pair.baishan)
    last = (await forger.post(forger.penalty(1, v=3, reason="repair_revoked"))).receipt
    assert last is not None
    await forget()
    await came_back_from_copy(pair.baishan, by="test", reason="恢复")

    async def shows(_: int | None) -> bytes:
        return notes.envelope(last)

    assert await find_all_places(able(pair, shows).baishan) == {}
    with pytest.raises(BatchRefused, match="came back from a copy"):
        await forger.send(forger.seal([forger.penalty(3)], advance=False))
    forger.seal([])
    lines = [forger.penalty(1, v=4), forger.penalty(2, v=4)]
    received = await forger.send(forger.seal(lines, replaces=forger.anew(), snapshot="last"))
    assert received.no == feedback.read_receipt(last.body).no + 1
    assert feedback.read_receipt(received.receipt.body).previous == digest_text(last.body)  # type: ignore[union-attr]  # it has one
    assert await states(pair.baishan, rid(1)) == ["in_force"]
    assert b"SEQ_ERASED" in received.feedback, "an erasure is for good"


# --- who pretends --------------------------------------------------------------------------------------------------------


async def test_who_pretends_to_have_lost_its_state_owes_what_it_owed(cities: Cities):
    """A receiver asks for everything anew and takes it, again and again: its debts stand since their first day until it acknowledges."""
    cities = able(cities)
    kept, repaired, gone = await fined(cities, 1, 2, 3)
    await repair(cities.tonghua, repaired, actor="test", document="示例")
    await erased(cities.tonghua, gone)
    await sent(cities)
    owed = {what: await debt(cities, what, "published") for what in ("withdrawals", "erasures")}
    assert {lines for lines, _ in owed.values()} == {1}
    late = await ledger.overdue(cities.tonghua.store.reads, PENALTIES, now=cities.now, hours=-1)
    for turn in (1, 2):
        cities = cities.at(cities.now + days(1))
        body = msgspec.json.encode({"reason": "lost_state"})
        assert await asked_for(cities.tonghua, BAISHAN, PENALTIES, body) == turn + 1
        assert (await sent(cities)).state == "acked"
        for what, (lines, since) in owed.items():
            found = await debt(cities, what, "published")
            assert found[0] >= lines
            assert found[1] == since, "the first word counts"
        overdue = await ledger.overdue(cities.tonghua.store.reads, PENALTIES, now=cities.now, hours=-1)
        assert late is not None
        assert overdue is not None
        assert overdue.since == late.since
    assert await states(cities.baishan, kept) == ["in_force"]
    await until_still(cities)
    assert (await debt(cities, "withdrawals"), await debt(cities, "erasures")) == ((0, None), (0, None)), "said once, all of it is paid"
    await holding(cities)


async def test_who_asks_again_for_another_reason_is_let_off_no_more(pair: Cities):
    """After `lost_state` the next epoch, for whatever reason, pays no debt either that is not acknowledged."""
    cities = able(pair)
    _, repaired = await fined(cities, 1, 2)
    await repair(cities.tonghua, repaired, actor="test", document="示例")
    await sent(cities)
    owed = await debt(cities, "withdrawals", "published")
    assert owed[0] == 1
    for reason in ("lost_state", "too_late"):
        cities = cities.at(cities.now + days(1))
        await asked_for(cities.tonghua, BAISHAN, PENALTIES, msgspec.json.encode({"reason": reason}))
        assert (await sent(cities)).state == "acked"
        lines, since = await debt(cities, "withdrawals", "published")
        assert lines >= 1
        assert since == owed[1]
    await until_still(cities)
    assert await debt(cities, "withdrawals") == (0, None)
    await holding(cities)


async def test_an_erasure_that_never_arrived_is_said_in_the_epoch_that_follows(pair: Cities):
    """Sealed behind a stop, it went with its epoch: what the partner only withdrew would be kept there. It is owed, and acknowledged."""
    kept, gone = await fined(pair, 1, 2)
    pair.line.lose_before = 1
    await erased(pair.tonghua, gone)
    assert (await sent(pair)).state == "waiting"
    async with pair.tonghua.store.transaction() as tx:
        await outbox.stop_stream(tx, PENALTIES, 1, "SEQ_FORK")
    await asked_for(pair.tonghua, BAISHAN, PENALTIES, msgspec.json.encode({"reason": "fork_released"}))
    assert (await sent(pair)).state == "acked"
    assert (await debt(pair, "erasures"))[0] == 1
    await followed(pair.baishan)
    await sent(pair)
    assert (await debt(pair, "erasures"))[0] == 0
    known = await known_records.known(pair.baishan.store.reads, [kept, gone])
    assert {rid: each.op for rid, each in known.items()} == {kept: "assert", gone: "erase"}
    await holding(pair)


async def test_an_erasure_that_is_owed_holds_no_epoch(pair: Cities):
    """Said again to a partner that is still at it, it counts for no rate, and is owed until the first word is acknowledged."""
    kept, *gone = await fined(pair, *range(1, 26))
    admin = await enrolled(pair.tonghua, "kang", "key-custodian")
    for each in gone:
        await erase(pair.tonghua, each, reason="request", by=await admin.acts("record.erase", target=each, reason="request"))
    await sent(pair)
    assert (await debt(pair, "erasures"))[0] == len(gone)
    await begin_epoch(pair.tonghua, PENALTIES, by="test", reason="too_late")
    assert (await sent(pair)).state == "acked", "24 of 25 lines say what is known, and no person has to look"
    assert (await debt(pair, "erasures"))[0] == len(gone)
    await followed(pair.baishan)
    await sent(pair)
    assert await debt(pair, "erasures") == (0, None)
    assert await states(pair.baishan, kept) == ["in_force"]
    await holding(pair)


async def test_what_a_sender_may_show(pair: Cities):
    """Altered, of another key, of another number, or nothing at all for want of the call: nothing moves, and no receipt is given."""
    await fined(pair, 1)
    forget = await as_of(pair.baishan)
    await fined(pair, 2)
    await fined(pair, 3)
    reads = pair.tonghua.store.reads
    row = await ledger.received_receipt(reads, PENALTIES, 3)
    first = await ledger.received_receipt(reads, PENALTIES, 1)
    assert row is not None
    assert first is not None
    signer = pair.tonghua.signers.signing("exchange", pair.now)
    text = notes.parse(row.note).text
    shown = {
        "SIG_INVALID": SignedDocument(row.body.replace(b'"no":3', b'"no":9'), row.note),
        "SIG_UNKNOWN_KEY": SignedDocument(row.body, notes.sign(text, [signer])),
        "SIG_CONTEXT": SignedDocument(row.body, first.note),
    }
    await forget()
    await came_back_from_copy(pair.baishan, by="test", reason="恢复")
    place = await place_of(pair)
    for expected, document in shown.items():

        async def shows(_: int | None, document: SignedDocument = document) -> bytes:
            return notes.envelope(document)

        told = await find_all_places(able(pair, shows).baishan)
        assert told[PENALTIES] in (expected, "SIG_INVALID", "SIG_CONTEXT")
        assert (await place_of(pair)).asks == place.asks is not None
    without = Cities(
        *(msgspec.structs.replace(each, adapters=pair.line.adapters()) for each in (pair.tonghua, pair.baishan)), pair.line
    )
    without.line.join(without.tonghua, without.baishan)
    assert (await find_all_places(without.baishan))[PENALTIES] == "UNAVAILABLE", "a line of before goes on as before, and is told of"
    with pytest.raises(ExchangeError, match="SEQ_FORK"):
        await go_on_from(without.baishan, PENALTIES, 3, by="test", reason="电话核实")
    await sent(without)
    assert (await place_of(pair)).receipt_no == place.receipt_no
    assert await outbox.out_stream(reads, PENALTIES) is not None
    assert (await outbox.out_stream(reads, PENALTIES)).stopped is None  # type: ignore[union-attr]  # it is there
    with pytest.raises(NotFound):
        await kept_receipt(pair.tonghua, "credit.elsewhere.example", PENALTIES, None)


async def test_who_shows_an_older_receipt_stops_its_own_stream(pair: Cities):
    """The next receipt has a number that the sender holds: it sees a fork that it made itself. Once it shows the last one all goes on."""
    await fined(pair, 1)
    forget = await as_of(pair.baishan)
    await fined(pair, 2)
    (later,) = await fined(pair, 3)
    await forget()
    await came_back_from_copy(pair.baishan, by="test", reason="恢复")

    async def shows(_: int | None) -> bytes | None:
        shown = await kept_receipt(pair.tonghua, BAISHAN, PENALTIES, 2)
        return shown.body if shown is not None else None

    lying = able(pair, shows)
    assert await find_all_places(lying.baishan) == {}
    await until_still(lying)
    out = await outbox.out_stream(pair.tonghua.store.reads, PENALTIES)
    assert out is not None
    assert out.stopped == "SEQ_FORK"
    evidence = json.loads(await export_evidence(pair.tonghua, PENALTIES))
    assert evidence["type"] == "chengxin-exchange/receipt-fork/1"
    said = [SignedDocument(evidence[side]["body"].encode(), evidence[side]["note"]) for side in "ab"]
    for each in said:
        (stream,) = [one for one in await streams_from(pair.tonghua.store.reads, TONGHUA, pair.now) if one.name == PENALTIES]
        assert (await believed(pair.tonghua, stream, each, pair.now)).no == 3, "both are signed, and have one number"
    assert said[0].body != said[1].body
    assert (await forked_receipts.latest(pair.tonghua.store.reads, PENALTIES))[0].no == 3
    with pytest.raises(ExchangeError, match="NOT_FOUND"):
        await export_evidence(pair.baishan, PENALTIES)
    honest = able(pair)
    await came_back_from_copy(honest.baishan, by="test", reason="恢复", stream=PENALTIES)
    assert await find_all_places(honest.baishan) == {}
    (found, *_) = await audit.rows(
        honest.baishan.store.reads, audit.Wanted(act="stream.found-place", target=f"stream/{TONGHUA}/{PENALTIES}")
    )
    aside = [each for each in (found.detail or {}, (_[-1].detail or {}) if _ else {}) if "set_aside" in each]
    assert aside, "what nobody believed stands in the trail"
    await until_still(honest)
    assert await states(honest.baishan, later) == ["in_force"]
    await holding(honest)


async def test_a_partner_of_before_that_has_no_later_receipt(pair: Cities):
    """Where its office says so, a stream goes on without being shown anything; it begins anew all the same."""
    pair = able(pair)
    (record_id,) = await fined(pair, 1)
    await came_back_from_copy(pair.baishan, by="test", reason="恢复")
    await go_on_from(pair.baishan, PENALTIES, 1, by="test", reason="电话核实")
    with pytest.raises(NotFound):
        await go_on_from(pair.baishan, PENALTIES, 1, by="test", reason="电话核实")
    await until_still(pair)
    assert await states(pair.baishan, record_id) == ["in_force"]
    await holding(pair)


async def test_a_receipt_that_is_lost_for_good_is_not_waited_for(pair: Cities):
    """Given in the lost time and never fetched: it is closed, what follows it is taken, and nothing stays owed."""
    pair = able(pair)
    first, second = await fined(pair, 1, 2)
    forget = await as_of(pair.baishan)
    await repair(pair.tonghua, first, actor="test", document="示例")
    await sent(pair)
    await followed(pair.baishan)
    await fined(pair, 3)
    async with pair.tonghua.store.transaction() as tx:  # as if it had never been fetched
        await tx.execute(sa.delete(out_receipts).where(out_receipts.c.stream == PENALTIES, out_receipts.c.no == 3))
    assert await ledger.receipts_held(pair.tonghua.store.reads, PENALTIES) == {1, 2, 4}
    await forget()
    await came_back_from_copy(pair.baishan, by="test", reason="恢复")
    await until_still(pair)
    with pytest.raises(ExchangeError, match="lost"):
        await receipt(pair.baishan, TONGHUA, PENALTIES, 3)
    await repair(pair.tonghua, second, actor="test", document="示例")
    await until_still(pair)
    assert await debt(pair, "withdrawals") == (0, None)
    await holding(pair)


async def test_news_is_not_behind_numbers_that_are_lost(pair: Cities):
    """More numbers are lost for good than are asked for in one round: what was given behind them is fetched, and nothing stays owed."""
    pair = able(pair)
    (first,) = await fined(pair, 1)
    async with pair.baishan.store.transaction() as tx:  # as if all of these had been given, and lost by both
        await tx.execute(sa.update(in_streams).where(in_streams.c.stream == PENALTIES).values(receipt_no=300))
    await fined(pair, 2)
    assert await ledger.receipts_held(pair.tonghua.store.reads, PENALTIES) == {1, 301}
    await repair(pair.tonghua, first, actor="test", document="示例")
    await until_still(pair)
    assert await debt(pair, "withdrawals") == (0, None)


# --- two processes, and forks ---------------------------------------------------------------------------------------------


async def test_a_place_is_not_found_before_all_is_purged(cities: Cities):
    """Marked by another process when this one has looked for what to purge already: nothing goes on while anything of the past is shown."""
    cities = able(cities)
    (record_id,) = await fined(cities, 1)
    async with cities.baishan.store.transaction() as tx:
        await mark_streams(cities.baishan, tx)
    await find_all_places(cities.baishan)
    assert (await place_of(cities)).asks is not None
    await until_still(cities)
    place = await place_of(cities)
    assert (place.head.epoch, place.asks, place.anew) == (2, None, None)
    assert await states(cities.baishan, record_id) == ["in_force"]


async def test_what_was_told_anew_meanwhile_is_not_purged(cities: Cities):
    """A process that is slow to purge finds that another one has done it, and that the mark is gone: it leaves what is there."""
    cities = able(cities)
    (record_id,) = await fined(cities, 1)
    await came_back_from_copy(cities.baishan, by="test", reason="恢复")
    await until_still(cities)
    await purge_stream(cities.baishan, TONGHUA, PENALTIES, decide_anew=True)
    assert await states(cities.baishan, record_id) == ["in_force"]


async def test_a_stream_that_was_frozen_in_the_lost_time_is_frozen_again(pair: Cities):
    """A copy forgets that its sender had two tongues; our own receipt says so, also where one about no batch came behind it."""
    forger = Forger(pair)
    await forger.post(forger.penalty(1), forger.penalty(2))
    forget = await as_of(pair.baishan)
    await forger.post(forger.withdrawal(1))
    fork = Forger(pair)
    received = await fork.send(fork.seal([fork.penalty(66)]))
    assert received.result == "frozen"
    await followed(pair.baishan)
    head = await place_of(pair)
    given = {
        no: found.document
        for no in range(1, head.receipt_no + 1)
        if (found := await given_receipts.receipt(pair.baishan.store.reads, TONGHUA, PENALTIES, no)) is not None
    }
    assert feedback.read_receipt(given[head.receipt_no].body).kind == "later"
    await forget()
    assert (await place_of(pair)).frozen is None
    await came_back_from_copy(pair.baishan, by="test", reason="恢复")

    async def shows(no: int | None) -> bytes:
        return notes.envelope(given[no or head.receipt_no])

    assert await find_all_places(able(pair, shows).baishan) == {}
    place = await place_of(pair)
    assert (place.asks, place.frozen, place.receipt_no) == (None, "SEQ_FORK", head.receipt_no)
    forger.seal([])
    again = await forger.send(forger.seal([forger.penalty(2, v=2)], replaces=forger.anew(), snapshot="last"))
    assert again.result == "frozen", "two persons have not released it"


# --- a folder -----------------------------------------------------------------------------------------------------------


async def test_in_a_folder_our_receipts_lie_where_we_put_them(tmp_path: Path):
    """Whatever program the partner has: the last receipt is found in the folder; its sender's operator begins the epoch."""
    async with two_cities(tmp_path / "cities", change=dropped) as cities:
        share(cities, tmp_path / "drop")

        async def turn() -> None:
            for _ in range(2):
                await sent(cities)
                await collect_batches(cities.baishan)
                await followed(cities.baishan)
                await collect_batches(cities.baishan)
                await collect_batches(cities.tonghua)

        rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in (1, 2)]
        kept, repaired = ids(await put(cities.tonghua, DATASET, *rows))
        await turn()
        forget = await as_of(cities.baishan)
        await repair(cities.tonghua, repaired, actor="test", document="示例")
        await turn()
        assert await debt(cities, "withdrawals") == (0, None)
        lie = len(list((root_of(cities) / PENALTIES / TONGHUA / "receipts").glob("*.note")))
        await forget()
        await came_back_from_copy(cities.baishan, by="test", reason="恢复")
        assert await find_all_places(cities.baishan) == {}
        assert (await place_of(cities)).receipt_no == lie
        await collect_batches(cities.baishan)
        assert (await place_of(cities)).receipt_no == lie, "what was answered in the lost time is not answered again"
        assert await states(cities.baishan, kept, repaired) == [None, None]
        assert "epoch-awaited" in {each.code for each in await examine(cities.baishan, lines=False)}
        await begin_epoch(cities.tonghua, PENALTIES, by="test", reason="lost_state")
        await turn()
        assert await states(cities.baishan, kept, repaired) == ["in_force", None]
        published = await cities.tonghua.store.reads.all(sa.select(out_batches.c.published_at).where(out_batches.c.epoch == 2))
        assert all(moment(each.published_at) for each in published)
        await holding(cities)


# --- agreements ---------------------------------------------------------------------------------------------------------


async def test_an_agreement_that_was_lost_is_signed_again(tmp_path: Path):
    """The partner's copy alone is not taken, for who we talk to stands in our own file; countersigned with that it is in force again."""
    async with two_cities(tmp_path) as cities:
        (held,) = (await held_agreements.held_agreements(cities.tonghua.store.reads, AGREEMENT))[AGREEMENT]
        copy = SignedDocument(held.agreement.body, held.note)
        async with cities.baishan.store.transaction() as tx:
            await held_agreements.drop_version(tx, AGREEMENT, 1)
        with pytest.raises(ExchangeError) as refused:
            await take(cities.baishan, copy, by="test")
        assert refused.value.code == "SCOPE_DIGEST"
        assert "countersign" in (refused.value.hint or "")
        await countersign(cities.baishan, copy, proposal(cities.tonghua, cities.baishan), by="test")
        (known,) = await agreements(cities.baishan)
        assert (known.state, known.digest) == ("active", held.agreement.digest)


# --- the command --------------------------------------------------------------------------------------------------------


def test_the_command_says_what_is_awaited(tmp_path: Path):
    """Marked and purged, with what keeps each sender from showing its receipt; of one of them a person says which it is."""

    async def agreed() -> None:
        async with two_cities(tmp_path) as cities:
            await fined(cities, 1)

    asyncio.run(agreed())

    def run(*words: str) -> Result:
        command = ["--settings", str(tmp_path / "bs" / "chengxin.toml"), "exchange", "came-back", "--reason", "恢复"]
        return CliRunner(env={"CHENGXIN_NOW": NOW}).invoke(cli, [*command, *words])

    assert run("--last", "1").exit_code == 2
    told = run("--json")
    assert told.exit_code == 1, told.output
    assert set(json.loads(told.stdout)) > {PENALTIES, HONOURS}
    assert json.loads(told.stdout)[PENALTIES] != "purged", "nobody answers there"
    assert run(PENALTIES, "--last", "7").exit_code == 1
    gone_on = run(PENALTIES, "--last", "1")
    assert (gone_on.exit_code, gone_on.output) == (0, f"{PENALTIES}: purged\n")
    assert run("nothing.honours").exit_code == 1
