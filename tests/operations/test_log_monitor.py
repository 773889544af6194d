"""The monitor of the transparency log goes on from where it was: it reads what is new, misses nothing, and reads all when it is time."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from gateway.core.errors import ExchangeError
from gateway.core.transparency.entries import Entry, entry_bytes
from gateway.core.transparency.monitoring import WHOLE_EVERY, Memory, Reading, State, read_state, state_bytes
from gateway.operations import alarms, keep_log, verify_log
from gateway.operations.render_public import settle
from gateway.operations.withdraw import withdraw
from gateway.services import Services
from gateway.settings import Clock
from gateway.store.tables import log_entries, log_heads, log_tiles, rendered_records
from tests.operations.publishing import TAX, a_house, code, ids, put, violation

ORIGIN = "credit.tonghua.example/log/2026"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Services]:
    """A gateway with nothing in it."""
    async with a_house(tmp_path, "") as services:
        yield services


async def listed(services: Services, *numbers: int) -> list[str]:
    """Firms on the black list, entered and signed."""
    rows = [violation(code(number), f"通化市测试{number}商贸有限公司", f"通示税〔2026〕{number}号") for number in numbers]
    made = ids(await put(services, TAX, *rows))
    await settle(services)
    await keep_log.settle_log(services)
    return made


async def test_it_reads_on_from_where_it_was(house: Services) -> None:
    """The first run reads all, the next only what was entered since, to the same end as one that reads all; the memory can be kept."""
    made = await listed(house, 2, 3, 4)
    memory = Memory()
    first = await verify_log.verify_store(house, memory)
    assert (first.read, first.entries, first.differences) == (3, 3, ())
    assert (await verify_log.verify_store(house, memory)).read == 0
    await withdraw(house, made[0], reason="revoked", actor="test")
    await listed(house, 5)
    assert memory.kept is not None
    written = state_bytes(State(heads={}, reading=memory.kept))
    again = Memory(read_state(written).reading)
    for each in (memory, again):
        found = await verify_log.verify_store(house, each)
        assert (found.read, found.entries, found.listings, found.differences) == (2, 5, 3, ())
    assert msgspec.structs.replace(found, read=5) == await verify_log.verify_store(house, Memory())
    assert (await verify_log.verify_store(house, memory, whole=True)).read == 5


async def test_what_differs_is_named_however_long_ago_it_was_entered(house: Services) -> None:
    """A25: a public row that is edited or dropped is named by a run that reads no entry, and an alarm stands."""
    made = await listed(house, 2, 3)
    memory = Memory()
    assert (await verify_log.watch(house, memory)).differences == ()
    async with house.store.transaction() as tx:
        await tx.execute(sa.delete(rendered_records).where(rendered_records.c.record_id == made[0]))
    found = await verify_log.watch(house, memory)
    assert (found.read, [(each.kind, each.rid) for each in found.differences]) == (0, [("missing", made[0])])
    assert [each.kind for each in await alarms.standing(house)] == ["log-differs"]


@pytest.mark.parametrize("form", ["listing", "body", "flat", "listing_flat"])
async def test_no_form_of_a_listed_record_is_changed_behind_the_logs_back(house: Services, form: str) -> None:
    """A25: the listing, the record's page and the CSV line of either follow from what was entered; one edited, or no document, names it."""
    made = await listed(house, 2, 3)
    column = rendered_records.c[form]
    ((kept,),) = await house.store.reads.slow(sa.select(column).where(rendered_records.c.record_id == made[1]))
    for edited in (bytes(kept).replace("通化".encode(), "吉林".encode(), 1), b"{"):
        assert edited != kept
        async with house.store.transaction() as tx:
            await tx.execute(sa.update(rendered_records).where(rendered_records.c.record_id == made[1]).values({column: edited}))
        assert [(each.kind, each.rid) for each in (await verify_log.verify_store(house)).differences] == [("changed", made[1])]
    by_hand = f"UPDATE rendered_records SET {form} = replace(CAST(:kept AS TEXT), '通化', '吉林') WHERE record_id = :rid"
    async with house.store.transaction() as tx:
        await tx.execute(sa.text(by_hand).bindparams(kept=bytes(kept), rid=made[1]))  # leaves a text where bytes stand
    assert [(each.kind, each.rid) for each in (await verify_log.watch(house)).differences] == [("changed", made[1])]


async def test_an_entry_that_is_none_is_named_by_its_place(house: Services) -> None:
    """A25: whoever looks for what was done to the log reads where."""
    await listed(house, 2, 3)
    async with house.store.transaction() as tx:
        await tx.execute(sa.update(log_entries).where(log_entries.c.idx == 1).values(entry=b"{}"))
    with pytest.raises(ExchangeError) as caught:
        await verify_log.verify_store(house)
    assert (caught.value.code, caught.value.place) == ("SCHEMA_LINE", "2026/1")


@pytest.mark.parametrize("what", ["shorter", "other", "tile", "root"])
async def test_a_log_that_does_not_continue_is_broken(house: Services, what: str) -> None:
    """A26: cut off, or rewritten where it goes on, the log is no continuation of what was read; the next run reads all of it."""
    await listed(house, 2, 3)
    memory = Memory()
    await verify_log.watch(house, memory)
    if what != "shorter":
        await listed(house, 4)
    async with house.store.transaction() as tx:
        if what == "shorter":
            await tx.execute(sa.update(log_heads).values(size=1))
        elif what == "other":
            body = bytes((await tx.all(sa.select(log_entries.c.entry).where(log_entries.c.idx == 2)))[0].entry)
            await tx.execute(sa.update(log_entries).where(log_entries.c.idx == 2).values(entry=body.replace(b'"at":"2026', b'"at":"2025')))
        elif what == "tile":
            await tx.execute(sa.update(log_tiles).values(hashes=bytes(96)))
        else:
            await tx.execute(sa.update(log_heads).values(tree=bytes(64)))
    await verify_log.watch(house, memory)
    assert [each.kind for each in await alarms.standing(house)] == ["log-broken"]
    assert memory.kept is None, "nothing to go on from"


async def test_a_log_that_is_gone_is_broken(house: Services) -> None:
    """Head, entries and tiles deleted: an alarm at the next run and at every whole one after it, though nothing that is left is wrong."""
    await listed(house, 2, 3)
    memory = Memory()
    await verify_log.watch(house, memory)
    async with house.store.transaction() as tx:
        for table in (log_heads, log_entries, log_tiles):
            await tx.execute(sa.delete(table))
    await verify_log.watch(house, memory)
    assert [each.kind for each in await alarms.standing(house)] == ["log-broken"]
    with pytest.raises(ExchangeError) as caught:
        await verify_log.verify_store(house, memory)
    assert (caught.value.code, caught.value.place) == ("SEQ_FORK", "2026")


def read_again(before: Reading, *bodies: bytes) -> Reading:
    """The log of 2026, of these entries, from its beginning, after another reading."""
    kept = Memory()
    kept.keep(before)
    reading, new = kept.begin(Clock()(), whole=True)
    assert new
    reading.begin(2026, len(bodies))
    reading.take(2026, bodies)
    return reading


def test_no_log_may_be_missing_and_none_may_begin_anew() -> None:
    """A year that was read before must be there, over or not; one that is read whole again must come by its old size and root."""
    at = "2026-06-02T02:30:00Z"
    said = (Entry(op="remove", rid="rec_" + letter * 26, v=1, c=None, at=at, authority=None, reason=None, prev=None) for letter in "aei")
    one, other, third = map(entry_bytes, said)
    reading = Reading()
    reading.begin(2025, 0)
    reading.begin(2026, 1)
    reading.take(2026, [one])
    reading.complete([2025, 2026])
    for years, gone in (([2026], "2025"), ([2025], "2026"), ([], "2025"), ([2027], "2025")):
        with pytest.raises(ExchangeError) as caught:
            reading.complete(years)
        assert (caught.value.code, caught.value.place) == ("SEQ_FORK", gone)
    read_again(reading, one, other).complete([2025, 2026])
    for bodies, years in (((other, third), [2025, 2026]), ((), [2025, 2026]), ((one, other), [2026])):
        with pytest.raises(ExchangeError) as caught:
            read_again(reading, *bodies).complete(years)
        assert caught.value.code == "SEQ_FORK"


def test_a_state_is_of_one_log_and_one_policy() -> None:
    """Another party's log or another policy is refused; a further key of the log is not, nor a state that names neither."""
    lines = ("log a", "witness w k", "quorum w")
    state = State(heads={}).of("a.example", lines)
    assert read_state(state_bytes(state)).of("a.example", (*lines, "log b")).policy == (*lines, "log b")
    assert State(heads={"a.example/log/2026": "note"}).of("a.example", ()).policy == ()
    refused = [
        (state, "b.example", lines),
        (State(heads={"a.example/log/2026": "note"}), "b.example", lines),
        (state, "a.example", ()),
        (state, "a.example", lines[1:]),
        (state, "a.example", ("log a", "quorum none")),
        (state, "a.example", (*lines, "witness x k")),
        (state.of("a.example", lines), "", lines),
    ]
    for each, party, policy in refused:
        with pytest.raises(ExchangeError) as caught:
            each.of(party, policy)
        assert caught.value.code == "SIG_CONTEXT"


async def test_an_old_entry_that_was_changed_is_found_by_the_daily_run(house: Services) -> None:
    """What was read before and changed afterwards is not read again at once, and is found when a day is over."""
    await listed(house, 2, 3)
    memory = Memory()
    await verify_log.verify_store(house, memory)
    async with house.store.transaction() as tx:
        body = bytes((await tx.all(sa.select(log_entries.c.entry).where(log_entries.c.idx == 0)))[0].entry)
        await tx.execute(sa.update(log_entries).where(log_entries.c.idx == 0).values(entry=body.replace(b'"at":"2026', b'"at":"2025')))
    assert (await verify_log.verify_store(house, memory)).read == 0
    later = msgspec.structs.replace(house, clock=Clock(fixed=house.clock() + WHOLE_EVERY))
    with pytest.raises(ExchangeError) as caught:
        await verify_log.verify_store(later, memory)
    assert caught.value.code == "SEQ_ROOT"


def test_a_log_that_is_over_stays_what_it_was() -> None:
    """Of a year that is over size and root are kept; grown or cut it is a fork, and a state that is not of one piece is no state."""
    reading = Reading()
    assert reading.begin(2025, 1) == 0
    rid, at = "rec_" + "a" * 26, "2025-06-02T02:30:00Z"
    reading.take(2025, [entry_bytes(Entry(op="remove", rid=rid, v=1, c=None, at=at, authority=None, reason=None, prev=None))])
    root = reading.tree.root()
    assert reading.begin(2026, 0) == 0
    assert reading.begin(2025, 1) is None
    assert reading.leads_to(2025, 1, root)
    for size in (0, 2):
        with pytest.raises(ExchangeError) as caught:
            reading.begin(2025, size)
        assert caught.value.code == "SEQ_FORK"
    kept = Memory()
    now = Clock()()
    kept.begin(now)
    kept.keep(reading)
    assert kept.kept is not None
    assert read_state(state_bytes(State(heads={"a": "b"}, reading=kept.kept))).reading == kept.kept
    assert read_state(b'{"a.example/log/2026":"note"}') == State(heads={"a.example/log/2026": "note"}), "as it once was written"
    with pytest.raises(ExchangeError):
        Reading.of(msgspec.structs.replace(kept.kept, rows=(bytes(32),)))
    with pytest.raises(ExchangeError):
        read_state(b"[]")
    assert kept.begin(now - timedelta(hours=1))[1], "a clock that went back is no reason to read less"
