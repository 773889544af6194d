"""The small rooms of the store: readers of the log, policies, tokens, audit, ingests; on both databases."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.core.errors import StoreError
from gateway.settings import Clock
from gateway.store import audit, changes, clients, ingests, policies, records
from gateway.store.store import Store
from gateway.store.tables import tokens
from tests.store.samples import PENALTIES, forever, no_texts, penalty

# --- the log and its readers ------------------------------------------------------------------------------------------


async def fill(store: Store, count: int) -> None:
    async with store.transaction() as tx:
        await records.accept(tx, [penalty(number) for number in range(count)], no_texts(count), PENALTIES, actor="a", period_of=forever)


async def test_log_is_read_in_pages(store: Store) -> None:
    """Pages follow each other without gap or repeat, and end at the head."""
    assert await changes.after(store.reads, 0, 10) == []
    assert await changes.head(store.reads) == 0
    await fill(store, 25)
    position, seen = 0, []
    while page := await changes.after(store.reads, position, 10):
        seen += [change.seq for change in page]
        position = page[-1].seq
    assert seen == list(range(1, 26))
    assert await changes.head(store.reads) == position


async def test_reader_moves_with_its_work(store: Store) -> None:
    """A cursor moves in the transaction of the work, only within the log, and not when somebody else did the work."""
    await fill(store, 5)
    assert await changes.reader_position(store.reads, "render") == 0
    async with store.transaction() as tx:
        await changes.move_reader(tx, "render", 3, expected=0)
    with pytest.raises(ZeroDivisionError):
        async with store.transaction() as tx:
            await changes.move_reader(tx, "render", 5)
            raise ZeroDivisionError
    for to, expected, code in ((5, 0, "reader-moved"), (6, 3, "reader-position"), (-1, None, "reader-position")):
        with pytest.raises(StoreError) as refused:
            async with store.transaction() as tx:
                await changes.move_reader(tx, "render", to, expected=expected)
        assert refused.value.code == code
    assert await changes.reader_positions(store.reads) == {"render": 3}
    async with store.transaction() as tx:
        await changes.move_reader(tx, "render", 0)
    assert await changes.reader_position(store.reads, "render") == 0


async def test_two_processes_share_a_reader_without_doing_work_twice(store_url: str, open_store: Callable[..., Any]) -> None:
    """Of two that read from one position, one does the work; the other finds the cursor moved, and goes on from there."""
    stores = [await open_store(store_url, wait_s=30.0) for _ in range(2)]
    await fill(stores[0], 40)
    done: list[int] = []

    async def work(store: Store) -> None:
        while (position := await changes.reader_position(store.reads, "render")) < 40:
            page = await changes.after(store.reads, position, 3)
            try:
                async with store.transaction() as tx:
                    await changes.move_reader(tx, "render", page[-1].seq, expected=position)
                    done.extend(change.seq for change in page)
            except StoreError as error:
                assert error.code == "reader-moved"  # noqa: PT017 - the loop goes on

    await asyncio.gather(*(work(store) for store in stores))
    assert sorted(done) == list(range(1, 41))


# --- policies ---------------------------------------------------------------------------------------------------------


async def test_policy_comes_into_force(store: Store) -> None:
    """A version is proposed once, activated by name, and the newest activation is in force."""
    assert await policies.active(store.reads) is None
    assert await policies.latest_activation(store.reads) == 0
    async with store.transaction() as tx:
        one = await policies.propose(tx, {"tiers.toml": b"a", "datasets/x.toml": b"\xff"}, "d1", "ann")
        assert await policies.propose(tx, {"tiers.toml": b"a", "datasets/x.toml": b"\xff"}, "d1", "bob") == one == 1
        await policies.activate(tx, one, "ann", "initial")
        two = await policies.propose(tx, {"tiers.toml": b"b"}, "d2", "ann")
        assert await policies.active(tx) == (1, {"tiers.toml": b"a", "datasets/x.toml": b"\xff"})
        await policies.activate(tx, two, "bob", "approved")
    assert await policies.active(store.reads) == (2, {"tiers.toml": b"b"})
    async with store.transaction() as tx:
        await policies.activate(tx, one, "bob", "rollback")
    assert (await policies.active(store.reads) or (0,))[0] == 1
    assert await policies.latest_activation(store.reads) == 3
    history = await policies.activations(store.reads)
    assert [(each.version, each.by, each.reason, each.digest) for each in history] == [
        (1, "ann", "initial", "d1"),
        (2, "bob", "approved", "d2"),
        (1, "bob", "rollback", "d1"),
    ]
    assert await policies.files_of(store.reads, 2) == {"tiers.toml": b"b"}
    with pytest.raises(StoreError, match="policy-unknown"):
        async with store.transaction() as tx:
            await policies.activate(tx, 9, "ann", "initial")
    with pytest.raises(StoreError, match="policy-unknown"):
        await policies.files_of(store.reads, 9)


# --- tokens -----------------------------------------------------------------------------------------------------------


async def _issued(tx: Any, app: str, lifetime: timedelta, **words: Any) -> str:
    token = clients.draw(tx.store.random)
    await clients.keep(
        tx, token, app=app, org="11220502XXT0000001", tier="department", access=[("d", "dept.supervision")], lifetime=lifetime, **words
    )
    return token


async def test_token_lives_ten_minutes_at_most_and_is_kept_as_a_hash(store: Store, fixed_clock: Clock) -> None:
    """A token is found until it ends, an unknown one never; the table does not hold it; dead ones go with the next issue."""
    now = fixed_clock()
    async with store.transaction() as tx:
        token = await _issued(tx, "app", timedelta(minutes=10), jkt="k" * 43, credential="c" * 43)
        short = await _issued(tx, "app2", timedelta(seconds=1))
    found = await clients.find(store.reads, token, now)
    assert found is not None
    assert (found.app, found.org, found.tier, found.purposes) == ("app", "11220502XXT0000001", "department", ("dept.supervision",))
    assert (found.jkt, found.credential, found.access) == ("k" * 43, "c" * 43, (("d", "dept.supervision"),))
    assert found.expires_at - found.issued_at == timedelta(minutes=10)
    assert len(token) == 4 + 43
    assert await clients.find(store.reads, token, now + timedelta(minutes=9, seconds=59)) is not None
    assert await clients.find(store.reads, token, now + timedelta(minutes=10)) is None
    assert await clients.find(store.reads, short, now + timedelta(seconds=1)) is None
    for wrong in ("", token[:-1], token + "x", "\ud800"):
        assert await clients.find(store.reads, wrong, now) is None
    assert token not in str(await store.reads.all(sa.select(tokens)))
    for lifetime in (timedelta(0), timedelta(minutes=10, seconds=1), timedelta(days=-1)):
        with pytest.raises(StoreError, match="token-lifetime"):
            async with store.transaction() as tx:
                await _issued(tx, "app", lifetime)
    async with store.transaction() as tx:
        assert await clients.revoke(tx, token, "app2") == 0
        assert await clients.revoke(tx, short, "app2") == 1
        assert await clients.revoke_key(tx, "c" * 43) == 1
        assert await clients.revoke_app(tx, "app") == 0
    assert await clients.find(store.reads, token, now) is None


async def test_dead_tokens_are_cleared(store_url: str, open_store: Callable[..., Any]) -> None:
    """Issuing clears what has ended."""
    times = iter([datetime(2026, 6, 1, 0, 0, tzinfo=UTC), datetime(2026, 6, 1, 1, 0, tzinfo=UTC)])
    store = await open_store(store_url, clock=lambda: next(times))
    for app in ("a", "b"):
        async with store.transaction() as tx:
            await _issued(tx, app, timedelta(minutes=1))
    assert [row.app for row in await store.reads.all(sa.select(tokens))] == ["b"]


# --- audit ------------------------------------------------------------------------------------------------------------


async def test_audit_goes_with_the_act(store: Store) -> None:
    """An act that is undone leaves no audit row, and the next one has its number."""
    with pytest.raises(ZeroDivisionError):
        async with store.transaction() as tx:
            await audit.write(tx, "clerk", "x", "y", {})
            raise ZeroDivisionError
    async with store.transaction() as tx:
        assert await audit.write(tx, "clerk", "x", "y", {}) == 1


# --- ingests ----------------------------------------------------------------------------------------------------------

FILE = {"dataset": "administrative-penalties", "file_sha256": "a" * 64, "file_name": "六月.csv"}


async def test_ingest_goes_on_where_it_stood(store: Store) -> None:
    """The same file under the same statement is one ingest; its cursor moves with the chunk, once for each chunk."""
    async with store.transaction() as tx:
        begun = await ingests.start(tx, **FILE, authority="11220502XXT0000001", officer="吴某己")
    async with store.transaction() as tx:
        await ingests.advance(tx, begun.ingest_id, cursor="2000", receipt=b'{"accepted":2000}', expected=None)
    async with store.transaction() as tx:
        again = await ingests.start(tx, **FILE, authority="11220502XXT0000001", officer="吴某己")
        other = await ingests.start(tx, **FILE, authority=None, officer=None)
    assert (again.ingest_id, again.cursor, again.receipt, again.done) == (begun.ingest_id, "2000", b'{"accepted":2000}', False)
    assert other.ingest_id != begun.ingest_id
    for wrong in (None, "1000"):
        with pytest.raises(StoreError, match="ingest-moved"):
            async with store.transaction() as tx:
                await ingests.advance(tx, begun.ingest_id, cursor="4000", receipt=b"{}", expected=wrong)
    async with store.transaction() as tx:
        await ingests.finish(tx, begun.ingest_id, receipt=b'{"accepted":2001}', expected="2000")
    with pytest.raises(StoreError, match="ingest-moved"):
        async with store.transaction() as tx:
            await ingests.finish(tx, begun.ingest_id, receipt=b"{}", expected="2000")
    statement = ingests.statement_of(store.vault, "11220502XXT0000001", "吴某己")
    found = await ingests.find(store.reads, dataset=FILE["dataset"], file_sha256=FILE["file_sha256"], statement=statement)
    assert found is not None
    assert (found.done, found.receipt) == (True, b'{"accepted":2001}')
    assert found.finished_at is not None
    assert await ingests.find(store.reads, dataset="other", file_sha256=FILE["file_sha256"], statement=statement) is None
    assert {each.ingest_id for each in await ingests.latest(store.reads)} == {begun.ingest_id, other.ingest_id}


async def test_finished_ingest_may_be_judged_again(store: Store) -> None:
    """A finished ingest is reopened as a whole, a running one is not."""
    async with store.transaction() as tx:
        begun = await ingests.start(tx, **FILE, authority=None, officer=None)
        with pytest.raises(StoreError, match="ingest-moved"):
            await ingests.reopen(tx, begun.ingest_id, receipt=b"{}")
        await ingests.finish(tx, begun.ingest_id, receipt=b'{"x":1}', expected=None)
        again = await ingests.reopen(tx, begun.ingest_id, receipt=b"{}")
    assert (again.ingest_id, again.cursor, again.done, again.receipt) == (begun.ingest_id, None, False, b"{}")


async def test_officer_and_file_name_are_sealed(store: Store) -> None:
    """Who may see them, gets them; an unknown ingest is told."""
    async with store.transaction() as tx:
        begun = await ingests.start(tx, **FILE, authority="11220502XXT0000001", officer="吴某己")
    assert await ingests.about(store.reads, begun.ingest_id) == ingests.About(file_name="六月.csv", officer="吴某己")
    with pytest.raises(StoreError, match="ingest-unknown"):
        await ingests.about(store.reads, "ing_none")
