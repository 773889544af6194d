"""Holds on lines to partners that sign nothing: what waits, what goes all the same, what a person tries again."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.core.errors import ExchangeError, RoleMissing
from gateway.operations.handle_case import repair
from gateway.operations.hold_stream import hold_stream, release_stream, retry
from gateway.operations.line_reports import line_findings, line_streams
from gateway.services import Services
from gateway.store import audit, line_rows, lines, outbox
from tests.administrators import hand
from tests.operations.publishing import PENALTIES, code, penalty, put
from tests.operations.test_lines import STREAM, Office, an_office
from tests.operations.test_lines_inward import Town, a_town


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """An office with a line to the province."""
    async with an_office(tmp_path, "") as found:
        yield found


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    """A town with a line from the province."""
    async with a_town(tmp_path, "") as found:
        yield found


async def held_since(services: Services) -> list[bool]:
    """Of each stream of each line, whether the office sees it as held."""
    return [each.held_since is not None for each in await line_streams(services)]


@pytest.mark.parametrize("named", [STREAM, "province"])
async def test_a_held_line_tells_nothing_but_withdrawals(office: Office, named: str) -> None:
    """By its stream or its id: nothing new is sealed or leaves, what has to be taken back goes; afterwards the rest follows."""
    await office.round()
    held = await hold_stream(office.services, named, reason="数据核查", by="office:one")
    assert (held.stream, held.direction, held.waiting) == (STREAM, "out", 0)
    assert await held_since(office.services) == [True]
    (found,) = [each for each in await line_findings(office.services, ask=False) if not each.ok]
    assert (found.code, found.where) == ("stream-held", "credit.jl.example/" + STREAM)
    await put(office.services, PENALTIES, penalty(code(2), "通化市澄泉商贸有限公司", "通示罚〔2026〕9号"))
    run = await office.round()
    assert (run.sealed, run.delivered) == (0, 0)
    await repair(office.services, office.made["罚单"], actor="test", document="示例")
    run = await office.round()
    assert (run.sealed, run.rows, run.delivered) == (1, 1, 1)
    assert [row["op"] for row in office.said("罚单")] == ["assert", "repair"]
    assert (await release_stream(office.services, named, what="hold", reason="完成", by=hand())).what == "lifted"
    assert await held_since(office.services) == [False]
    assert ((await office.round()).rows, len(office.desk.rows)) == (1, 3)


async def test_what_was_sealed_before_the_hold_stays_here(office: Office) -> None:
    """A sealed batch of a line does not leave, asked at once either, unless a withdrawal stands behind it."""
    await office.round(deliver=False)
    assert (await hold_stream(office.services, STREAM, reason="x", by="office:one")).waiting == 1
    run = await office.round(at_once=True)
    assert (run.delivered, run.waiting, run.code, run.state) == (0, 1, "HELD", "waiting")
    assert not office.desk.rows
    await repair(office.services, office.made["罚单"], actor="test", document="示例")
    assert (await office.round()).delivered == 2


async def test_of_a_held_line_inward_only_withdrawals_are_taken(town: Town) -> None:
    """Its pages wait and its cursor stays; a row that takes back what this line brought does so, once; then all is read in order."""
    town.put("a")
    town.put("b", minute=1)
    await town.pull()
    before = (await lines.state_of(town.services.store.reads, "province-down")).pull_cursor
    held = await hold_stream(town.services, f"province-down.{PENALTIES}", reason="核对", by="office:one")
    assert (held.stream, held.direction) == (f"province-down.{PENALTIES}", "in")
    town.put("c", minute=2)
    town.put("b", 2, minute=3, CF_NR_FK="2.000000")
    town.put("a", 2, "withdraw", minute=4)
    for _ in range(2):
        run = await town.pull()
        assert (run.code, run.sealed) == ("HELD", 0)
    states = [(await town.record(name)).state for name in "ab"]
    assert states == ["retracted", "in_force"]
    assert (await town.record("b")).version == 1
    rows = [row for row in await audit.after(town.services.store.reads, 0, 10_000) if row.act == "line.take-back"]
    assert len(rows) == 1, "what is gone is not taken back again"
    assert (await lines.state_of(town.services.store.reads, "province-down")).pull_cursor == before
    await release_stream(town.services, "province-down", what="hold", reason="已核对", by=hand())
    run = await town.pull()
    assert (run.code, [(await town.record(name)).state for name in "abc"]) == (None, ["retracted", "in_force", "in_force"])
    assert (await town.record("b")).version == 2


async def test_a_signed_record_is_not_taken_back_by_a_held_line(town: Town) -> None:
    """Held or not, a source takes back what it brought itself, and nothing that an authority has put in its place."""
    town.put("a", CF_WSH="通示罚〔2026〕9号")
    await town.pull()
    await put(town.services, PENALTIES, penalty(code(2), "通化市澄泉商贸有限公司", "通示罚〔2026〕9号"))
    assert (await town.record("a")).trust == "signed"
    await hold_stream(town.services, "province-down", reason="核对", by="office:one")
    town.put("a", 2, "withdraw", minute=4)
    await town.pull()
    assert (await town.record("a")).state == "in_force"


async def test_trying_a_line_again(office: Office) -> None:
    """By its id or its stream what waits is due now; a delivery under way is left to end, and a decision stays a person's."""
    office.desk.mood = "down"
    assert (await office.round()).code == "UNAVAILABLE"
    office.desk.mood = ""
    assert (await office.round()).delivered == 0, "not before its time"
    done = await retry(office.services, stream="province", by="office:one")
    assert (done.batches, done.partners) == (1, ("credit.jl.example",))
    assert (await office.round()).delivered == 1
    await put(office.services, PENALTIES, penalty(code(2), "通化市澄泉商贸有限公司", "通示罚〔2026〕9号"))
    await office.round(deliver=False)
    (batch,) = await outbox.waiting_batches(office.services.store.reads, STREAM)
    async with office.services.store.transaction() as tx:
        await outbox.begin_delivery(tx, batch, next_attempt_at=tx.now)
    for which in ({"stream": STREAM}, {"every": True}):
        assert (await retry(office.services, by=hand("wang", "operator"), **which)).batches == 0
    async with office.services.store.transaction() as tx:
        await line_rows.release(tx, batch, state="waiting", code=None)
    with pytest.raises(ExchangeError) as caught:
        await retry(office.services, stream="province.honours", by="office:one")
    assert caught.value.code == "NOT_FOUND"


async def test_who_may_hold_and_release(office: Office) -> None:
    """An administrator of another role may neither; what was done stands in the audit with key and signature, and nothing else is there."""
    with pytest.raises(RoleMissing):
        await hold_stream(office.services, STREAM, reason="x", by=hand("sun", "author"))
    with pytest.raises(RoleMissing):
        await release_stream(office.services, STREAM, what="hold", reason="x", by=hand("sun", "author"))
    with pytest.raises(ExchangeError) as caught:
        await hold_stream(office.services, "province.honours", reason="x", by="office:one")
    assert caught.value.code == "NOT_FOUND"
    await hold_stream(office.services, STREAM, reason="核对", by=await office.zhang.acts("exchange.hold"))
    await release_stream(office.services, STREAM, what="hold", reason="完成", by=await office.li.acts("exchange.release"))
    with pytest.raises(ExchangeError) as caught:
        await release_stream(office.services, STREAM, what="hold", reason="再次", by=hand())
    assert caught.value.code == "NOT_FOUND"
    rows = [row for row in await audit.after(office.services.store.reads, 0, 10_000) if row.act.startswith("stream.")]
    assert [(row.act, row.actor) for row in rows] == [("stream.hold", "admin:zhang"), ("stream.lift", "admin:li")]
    keys = {office.zhang.signer.key_id.hex(), office.li.signer.key_id.hex()}
    assert {str((row.detail or {})["key"]).rpartition("+")[2] for row in rows} == keys
    assert all(len(str((row.detail or {})["signature"])) == 128 for row in rows)
