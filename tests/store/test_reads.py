"""Reading: rows, one snapshot a call, off the loop where it is long, flat memory; on both databases."""

import asyncio
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.core.errors import StoreError
from gateway.store import accepting, changes, loading, records, reviews, states, subjects, vault
from gateway.store import reads as reading
from gateway.store.dialects import among
from gateway.store.reads import Moment, SqliteReads, compiled, lately, moment_of
from gateway.store.store import Store
from gateway.store.tables import meta, readers
from gateway.store.tables import records as record_rows
from tests.store.samples import PENALTIES, forever, no_texts, penalty

NUMBERS = sa.select(readers.c.name, readers.c.position).order_by(readers.c.position)


async def fill(store: Store, count: int) -> None:
    async with store.transaction() as tx:
        await tx.insert(readers, ("name", "position"), [(f"reader {number:06d}", number) for number in range(count)])


async def test_rows_are_tuples_with_attributes(store: Store) -> None:
    """A row unpacks and has names; in a transaction too."""
    await fill(store, 2)
    for source in (store.reads,):
        name, position = (await source.all(NUMBERS))[1]
        assert (name, position) == ("reader 000001", 1)
        assert (await source.one(NUMBERS)).name == "reader 000000"
        assert await source.one(NUMBERS.where(readers.c.position > 5)) is None
    async with store.transaction() as tx:
        assert (await tx.one(NUMBERS)).position == 0
        assert [row.position for row in await tx.all(NUMBERS)] == [0, 1]


async def test_booleans_are_booleans(store: Store) -> None:
    """SQLite has none; a reader gets one all the same."""
    async with store.transaction() as tx:
        await records.accept(tx, [penalty(1, minor=True)], no_texts(1), PENALTIES, actor="test", period_of=forever)
    row = await store.reads.one(sa.select(record_rows.c.minor, record_rows.c.sealed_flag, record_rows.c.hold_code))
    assert row.minor is True
    assert row.sealed_flag is False
    assert row.hold_code is None


@pytest.mark.parametrize("count", [0, 1, 3, 40_000])
async def test_list_of_any_length_is_one_parameter(store: Store, count: int) -> None:
    """`among` takes no element, one or more than any database has parameters, texts and integers, by reads and in a transaction."""
    await fill(store, 10)
    by_name = sa.select(readers.c.position).where(among(readers.c.name, "wanted")).order_by(readers.c.position)
    by_position = sa.select(readers.c.position).where(among(readers.c.position, "wanted")).order_by(readers.c.position)
    async with store.transaction() as tx:
        for source in (store.reads, tx):
            names = await source.all(by_name, {"wanted": [f"reader {number:06d}" for number in range(count)]})
            positions = await source.all(by_position, {"wanted": list(range(count))})
            assert [row.position for row in names] == [row.position for row in positions] == list(range(min(count, 10)))


async def test_list_elements_are_values_not_syntax(store: Store) -> None:
    """Quotes, brackets and Chinese inside a list are only text."""
    async with store.transaction() as tx:
        await tx.insert(meta, ("name", "value"), [('a"],["b', "1"), ("通化'", "2"), ("{x}", "3")])
    rows = await store.reads.all(sa.select(meta.c.value).where(among(meta.c.name, "wanted")), {"wanted": ['a"],["b', "通化'", "{x}", "]"]})
    assert sorted(row.value for row in rows) == ["1", "2", "3"]


async def test_reads_cannot_write(store: Store) -> None:
    """The reading side has no right to write."""
    with pytest.raises(StoreError) as refused:
        await store.reads.all(sa.insert(meta).values(name="x", value="y").returning(meta.c.name))
    assert refused.value.code == "store-readonly"


async def test_stream_gives_all_of_one_snapshot(store: Store) -> None:
    """A stream sees what stood when it began, whatever is written meanwhile, and does not stop the writer."""
    await fill(store, 2500)
    sizes, positions = [], []
    async for rows in store.reads.stream(NUMBERS, size=1000):
        sizes.append(len(rows))
        positions += [row.position for row in rows]
        async with store.transaction() as tx:
            await tx.execute(sa.insert(readers).values(name=f"late {len(sizes)}", position=10_000 + len(sizes)))
            await tx.execute(sa.delete(readers).where(readers.c.position == 2400))
    assert sizes == [1000, 1000, 500]
    assert positions == list(range(2500))


async def test_what_is_asked_ahead_is_of_the_same_snapshot(store: Store) -> None:
    """What a stream is asked ahead counts the very rows that it gives before and after, whatever is written between them."""
    await fill(store, 25)
    count = sa.select(sa.func.count().label("n")).select_from(readers)
    for n in range(2):  # whoever leaves early gives the snapshot back too
        stream = store.reads.stream(NUMBERS, size=10, ahead=count)
        first = await anext(stream)
        async with store.transaction() as tx:
            await tx.execute(sa.insert(readers).values(name=f"late {n}", position=10_000 + n))
        (told,) = await anext(stream)
        if n:
            assert len(first) + sum([len(rows) async for rows in stream]) == told.n == 26
        else:
            await stream.aclose()
    assert len(await store.reads.slow(NUMBERS)) == 27
    none = store.reads.stream(NUMBERS.where(readers.c.position < 0), ahead=count)
    assert [len(rows) async for rows in none] == [0, 1], "where there are no rows it is asked too"


async def test_stream_may_be_left_early(store: Store) -> None:
    """Whoever stops reading gives the connection back; twenty abandoned streams leave room for more."""
    await fill(store, 5000)
    for _ in range(20):
        stream = store.reads.stream(NUMBERS, size=10)
        assert len(await anext(stream)) == 10
        await stream.aclose()
    if isinstance(store.reads, SqliteReads):
        assert store.reads._idle.qsize() == 1, "one connection served them all"
    assert len(await store.reads.slow(NUMBERS)) == 5000
    with pytest.raises(StoreError):
        async for _rows in store.reads.stream(sa.text("SELECT * FROM no_such_table")):
            pass
    assert len(await store.reads.slow(NUMBERS)) == 5000


async def test_a_stream_that_an_error_left_may_be_closed_after_the_house(store: Store) -> None:
    """The loop closes what nobody closed at its very end, when the threads are gone: no trace of ours is printed then."""
    if not isinstance(store.reads, SqliteReads):
        pytest.skip("there the server's own driver closes it")
    await fill(store, 50)
    stream = store.reads.stream(NUMBERS, size=10)
    await anext(stream)
    await store.reads.close()
    await stream.aclose()


async def test_stream_needs_memory_for_a_batch_only(store: Store) -> None:
    """Memory does not grow with the number of rows."""
    await fill(store, 60_000)

    async def peak(limit: int) -> int:
        tracemalloc.start()
        count = 0
        async for rows in store.reads.stream(NUMBERS.limit(limit), size=500):
            count += len(rows)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert count == limit
        return most

    await peak(1000)
    small, large = await peak(2000), await peak(60_000)
    assert large < small + 1_000_000


async def test_slow_reads_leave_the_loop_free(sqlite_url: str, open_store: Callable[..., Any]) -> None:
    """A long statement runs on a thread: the loop ticks on meanwhile."""
    store = await open_store(sqlite_url)
    threads = {threading.get_ident()}
    endless = sa.text("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000000) SELECT count(*) AS c FROM n")
    ticks = 0
    running = asyncio.create_task(store.reads.slow(endless))
    while not running.done():
        ticks += 1
        await asyncio.sleep(0.001)
    assert (await running)[0].c == 3_000_000
    assert ticks > 10
    assert threads == {threading.get_ident()}


async def test_cancelled_reader_stops_its_statement(sqlite_url: str, open_store: Callable[..., Any]) -> None:
    """Who goes away takes a long statement along: its thread and connection are free for the next one at once."""
    store = await open_store(sqlite_url)
    endless = sa.text("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n WHERE x < 0")

    async def streamed() -> None:
        async for _rows in store.reads.stream(endless):
            pass

    for moment in (0.05, *(number / 4000 for number in range(12))):  # also while the statement is only about to begin
        running = [asyncio.create_task(store.reads.slow(endless)) for _ in range(2)] + [asyncio.create_task(streamed()) for _ in range(2)]
        await asyncio.sleep(moment)
        for task in running:
            task.cancel()
        assert all(isinstance(each, asyncio.CancelledError) for each in await asyncio.gather(*running, return_exceptions=True))
    await fill(store, 3)
    assert len(await asyncio.wait_for(store.reads.slow(NUMBERS), 60)) == 3


async def test_readers_do_not_wait_for_a_writer(store: Store) -> None:
    """While somebody writes, readers see what was committed before."""
    await fill(store, 1)
    async with store.transaction() as tx:
        await tx.insert(readers, ("name", "position"), [("new", 9)])
        assert len(await store.reads.all(NUMBERS)) == 1
    assert len(await store.reads.all(NUMBERS)) == 2


async def test_statement_is_compiled_once() -> None:
    """The same statement object gives the same text object, without compiling again."""
    statement = sa.select(meta.c.value).where(meta.c.name == sa.bindparam("n"))
    assert compiled(statement) is compiled(statement)
    assert compiled(statement).arguments({"n": "x"}) == ("x",)


async def test_literal_parameters_of_a_statement_count_too(store: Store) -> None:
    """A value that stands in the statement is bound as well as one that is given."""
    await fill(store, 5)
    statement = sa.select(readers.c.name).where(readers.c.position > 1, readers.c.position < sa.bindparam("below")).limit(1)
    assert (await store.reads.one(statement, {"below": 4})).name == "reader 000002"


@pytest.mark.parametrize(
    "statement",
    [
        accepting.BY_BUSINESS_KEY,
        accepting.BY_BUSINESS_KEY_SAID_BY,
        states.BY_RECORD_ID,
        states.KEEP_VERSIONS,
        states._ALL_LEFT,
        subjects._OF_KEYS,
        subjects._KEYS_OF,
        subjects._BY_KEY,
        subjects._BY_NAME,
        subjects._BY_ID,
        vault._DEKS_BY_SCOPE,
        vault._DEKS_BY_ID,
        changes._AFTER,
        changes._OF_RECORD,
        *(
            loading._select(frozenset(conditions), True, True, False, None)
            for conditions in (
                {"ids"},
                {"subject"},
                {"subject", "dataset"},
                {"dataset", "limit"},
                {"dataset", "after", "limit"},
                {"dataset", "state", "after", "limit"},
                {"over_on", "state", "limit"},
            )
        ),
    ],
    ids=[f"statement {number}" for number in range(21)],
)
async def test_statements_of_the_hot_path_use_an_index(sqlite_url: str, open_store: Callable[..., Any], statement: Any) -> None:
    """No look-up scans a table, and a page of a dataset is not sorted: 10 × the records must not cost 10 × the time."""
    store = await open_store(sqlite_url)
    plan = await store.reads.all(sa.text(f"EXPLAIN QUERY PLAN {compiled(statement).sql.replace('?', 'NULL')}"))
    steps = [row.detail for row in plan]
    assert not [step for step in steps if step.startswith("SCAN ") and "json_each" not in step], steps
    if "LIMIT" in compiled(statement).sql and "publish_until" not in compiled(statement).sql.split("WHERE")[1]:
        assert not [step for step in steps if "TEMP B-TREE" in step], steps


@pytest.mark.parametrize("statement", [reviews._COUNTS, reviews._WAITING], ids=["counted", "asked for"])
async def test_texts_that_wait_are_found_among_those_that_wait(sqlite_url: str, open_store: Callable[..., Any], statement: Any) -> None:
    """The queue of reviewers is read by the index of what waits, however many records there are: every process counts it each minute."""
    store = await open_store(sqlite_url)
    plan = await store.reads.all(sa.text(f"EXPLAIN QUERY PLAN {compiled(statement).sql.replace('?', 'NULL')}"))
    assert [row.detail for row in plan if "records" in row.detail] == ["SCAN records USING INDEX ix_records_authority_code_held_since"]


ONE = sa.select(readers.c.position, sa.null().label("body")).where(readers.c.name == sa.bindparam("name"))


async def _position(source: Any, name: str) -> Any:
    return await lately(source, "position", name, ONE, {"name": name})


async def test_what_was_read_lately_ends_with_the_next_commit(store: Store) -> None:
    """A row is read again as soon as anybody has committed anything, a transaction each time; what is not there is asked for again."""
    await fill(store, 2)
    found = await _position(store.reads, "reader 000001")
    again = await _position(store.reads, "reader 000001")
    assert found.position == again.position == 1
    assert (again is found) == isinstance(store.reads, SqliteReads)
    assert await _position(store.reads, "reader 000002") is None
    async with store.transaction() as tx:
        await tx.insert(readers, ("name", "position"), [("reader 000002", 2)])
        await tx.execute(sa.update(readers).where(readers.c.name == "reader 000001").values(position=7))
        assert (await _position(tx, "reader 000001")).position == 7
        assert (await _position(store.reads, "reader 000001")).position == 1
    assert (await _position(store.reads, "reader 000001")).position == 7
    assert (await _position(store.reads, "reader 000002")).position == 2


async def test_what_was_read_lately_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes when there is no more room."""
    if not isinstance(store.reads, SqliteReads):
        return
    await fill(store, 3)
    monkeypatch.setattr(reading, "KEPT_BYTES", 2000)
    for number in range(3):
        await _position(store.reads, f"reader {number:06d}")
    moment = moment_of(store.reads)
    assert moment is not None
    assert [moment.kept(("position", f"reader {number:06d}")) is not None for number in range(3)] == [False, True, True]


def test_what_is_kept_under_two_keys_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes stand once, and go with its last key."""

    class Page:
        body = b"x" * 3000

    monkeypatch.setattr(reading, "KEPT_BYTES", 9000)
    moment, pages = Moment(1), [Page() for _ in range(4)]
    keys = [(way, number) for number in range(4) for way in ("read", "as before")]
    for key in keys[:4]:
        moment.keep(key, pages[key[1]])
    assert all(moment.kept(key) is not None for key in keys[:4])
    for key in keys[4:]:
        moment.keep(key, pages[key[1]])
    assert [moment.kept(key) is not None for key in keys] == [False] * 4 + [True] * 4
    for key in keys[4:]:
        moment._let_go(key)
    assert (moment._size, moment._keys) == (0, {})


COUNTED = sa.text(
    "WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < :most) SELECT max(n) AS n FROM counted"
)


async def test_what_took_long_once_leaves_the_loop(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement is read in the loop until it takes long with the same parameters; with others it stays; the rows are the same."""
    away: list[Any] = []
    slow = store.reads.slow

    async def counted(statement: Any, params: Any = None) -> list[Any]:
        away.append(params["most"])
        return await slow(statement, params)

    monkeypatch.setattr(store.reads, "slow", counted)
    for most in (3, 400_000, 3, 400_000, 3):
        assert [row.n for row in await store.reads.brief(COUNTED, {"most": most})] == [most]
    assert away == ([400_000] if store.dialect == "sqlite" else [])
