"""The names index on both databases: the same tokens find the same names, and a withdrawn name is nowhere."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.core.publication.names import pairs, split
from gateway.core.publication.rendering import Name, name_of
from gateway.core.publication.searching import PHRASE, PREFIX, Step, read_query
from gateway.operations import tidy_names as tidy
from gateway.operations.tidy_names import EVERY, FEW, merge_tokens, tidy_names
from gateway.store import search
from gateway.store.store import Store

SHOWN = (
    "通化市示例药业有限公司",
    "通化市示例商贸有限公司",
    "ＡＢＣ示例〔通化〕有限公司",
    "𠮷田示例药业",
    "吉林省宝药药材有限公司",
    "3M示例(通化)有限公司",
    "é示例有限公司",
)


def row(number: int, shown: str) -> Name:
    """A name as the reader of the change log puts it in."""
    return name_of(f"sub_{number}", "name", shown)


@pytest.fixture
async def stocked(store: Store) -> Store:
    """A store with some names in its index."""
    async with store.transaction() as tx:
        await search.change(tx, [], [row(number, shown) for number, shown in enumerate(SHOWN)])
    return store


async def found(store: Store, *tokens: str, every: bool = True, limit: int = 100) -> list[str]:
    """Names that hold the tokens."""
    return [each.shown for each in await search.candidates(store.reads, store.dialect, tokens, every=every, limit=limit)]


async def test_tokens_find_names(stocked: Store) -> None:
    """All of them, or any of them, short cores first; both databases give these very answers."""
    assert await found(stocked, "示例", "药业") == [SHOWN[0], SHOWN[3]]
    assert await found(stocked, "商贸", "宝药", every=False) == [SHOWN[1], SHOWN[4]]
    assert await found(stocked, "示例", limit=4) == [SHOWN[6], SHOWN[5], SHOWN[0], SHOWN[1]]
    assert await found(stocked, "例示") == []
    assert await found(stocked) == []


async def test_every_pair_of_every_name_finds_it(stocked: Store) -> None:
    """Characters beyond the basic plane, Latin runs and accents included."""
    for shown in SHOWN:
        for token in pairs(split(shown).norm):
            assert shown in await found(stocked, token), token


@pytest.mark.parametrize(
    "token", ['示例" OR "商贸', "示例*", "NEAR", "a AND b", "^示例", "tokens:示例", "{示例}", '"', "示例 药业", "e\u0301\u0327x"]
)
async def test_what_is_typed_is_never_an_operator(stocked: Store, token: str) -> None:
    """A token is a string to both engines: it finds nothing, and breaks nothing."""
    assert await found(stocked, token) == []
    assert await found(stocked, token, every=False) == []


async def test_a_name_that_many_groups_find_comes_once(stocked: Store) -> None:
    """The names are those of the groups; a group with a token that no index holds finds none."""
    groups = [("示例",), ("示例", "药业"), ("商贸",), ("示例*",), ()]
    held = await search.gathered(stocked.reads, stocked.dialect, groups, limit=4)
    once = await search.gathered_once(stocked.reads, stocked.dialect, groups, limit=4)
    assert sorted(row.shown for row in once) == sorted({row.shown for rows in held for row in rows})


async def test_what_holds_the_text_comes_without_tokens(stocked: Store) -> None:
    """If they are not asked for; any other name has them, and so have all where they are."""
    asked = {"text": "示例药业", "core": "示例药业", "steps": [Step(PHRASE, ("示例",))], "most": 9, "counted": 9}
    rows = (await search.walked(stocked.reads, stocked.dialect, **asked, untold=True)).rows
    assert {row.shown for row in rows if not row.tokens} == {SHOWN[0], SHOWN[3]}
    assert all(row.tokens for row in (await search.walked(stocked.reads, stocked.dialect, **asked)).rows)


async def test_pieces_of_the_index_are_put_together(store: Store) -> None:
    """Each transaction begins a piece; one that is left of them gives the same names, and one that is alone is left as it is."""
    for number, shown in enumerate(SHOWN):
        async with store.transaction() as tx:
            await search.change(tx, [], [row(number, shown)])
    answers = [await found(store, token) for shown in SHOWN for token in pairs(split(shown).norm)]
    many = await search.pieces(store.reads, store.dialect)
    services = SimpleNamespace(store=store)
    assert await tidy_names(services) == (many > FEW) == (store.dialect == "sqlite")  # type: ignore[arg-type]  # all that it uses
    assert await search.pieces(store.reads, store.dialect) == (store.dialect == "sqlite")
    assert not await tidy_names(services)  # type: ignore[arg-type]
    assert [await found(store, token) for shown in SHOWN for token in pairs(split(shown).norm)] == answers


async def test_whoever_merges_and_wherever_that_ends_answers_stay(
    store_url: str, open_store: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes at once, after one that was broken off; only one of them begins within half an hour, until an instant has passed."""
    monkeypatch.setattr(search, "MERGE_PAGES", 1)
    monkeypatch.setattr(tidy, "PAUSE_S", 0.0)
    stores: list[Store] = [await open_store(store_url) for _ in range(2)]
    one, two = (SimpleNamespace(store=each) for each in stores)
    every = [f"{shown}{number}" for number in range(60) for shown in SHOWN]
    for start in range(0, len(every), 70):
        async with stores[0].transaction() as tx:
            await search.change(tx, [], [row(number, every[number]) for number in range(start, start + 70)])
    asked = ["示例", "药业", "商贸", "宝药", "通化", "59"]
    answers = [await found(stores[0], token, limit=999) for token in asked]
    sqlite = stores[0].dialect == "sqlite"
    async with stores[0].transaction() as tx:
        assert await search.merge_away(tx, True) == sqlite  # and its process is gone
    many = await search.pieces(stores[1].reads, stores[1].dialect)
    assert (many > FEW) == sqlite
    assert await found(stores[1], asked[0], limit=999) == answers[0]
    assert [await asyncio.gather(tidy_names(one), tidy_names(two))] in ([[sqlite, False]], [[False, sqlite]])  # type: ignore[arg-type]  # all that they use
    await asyncio.gather(merge_tokens(one), merge_tokens(two))  # type: ignore[arg-type]
    assert await search.pieces(stores[0].reads, stores[0].dialect) == sqlite
    for each in stores:
        assert [await found(each, token, limit=999) for token in asked] == answers
    if sqlite:
        async with stores[0].transaction() as tx:
            await tx.execute(sa.text("INSERT INTO names_fts (names_fts) VALUES ('integrity-check')"))


async def test_half_an_hour_lies_between_two_beginnings(store_url: str, open_store: Callable[..., Any]) -> None:
    """Of all processes, restarts included; a clock that was set back keeps nobody from it."""
    now = [datetime(2026, 6, 2, 2, 30, tzinfo=UTC)]
    store: Store = await open_store(store_url, clock=lambda: now[0])
    for minutes, begins in ((0, True), (29, False), (30, True), (59, False), (-60, True)):
        now[0] = datetime(2026, 6, 2, 2, 30, tzinfo=UTC) + timedelta(minutes=minutes)
        async with store.transaction() as tx:
            assert await search.begin_tidying(tx, EVERY) == begins, minutes


async def test_a_changed_name_leaves_the_index(stocked: Store) -> None:
    """The old tokens are gone with the transaction that brings the new ones."""
    held = await search.held(stocked.reads, ["sub_0"])
    async with stocked.transaction() as tx:
        await search.change(tx, held["sub_0"], [row(0, "通化市更名药材有限公司")])
    assert await found(stocked, "示例", "药业") == [SHOWN[3]]
    assert await found(stocked, "更名") == ["通化市更名药材有限公司"]
    async with stocked.transaction() as tx:
        await search.change(tx, [each for rows in (await search.held(tx, [f"sub_{n}" for n in range(9)])).values() for each in rows], [])
    for token in ("示例", "更名", "通化"):
        assert await found(stocked, token) == []
    if stocked.dialect == "sqlite":
        async with stocked.transaction() as tx:  # nothing stays behind in the index itself
            await tx.execute(sa.text("INSERT INTO names_fts(names_fts) VALUES ('integrity-check')"))


async def walked(store: Store, text: str, *, most: int, counted: int = 100) -> tuple[list[str], list[tuple[int, int]], int]:
    """Names on the first way of a text, where more would follow, and how many there are."""
    query = read_query(text)
    way = await search.walked(store.reads, store.dialect, query.text, query.core, query.asked[0], most=most, counted=counted)
    return [row.shown for row in way.rows], list(way.edges), way.many


async def test_steps_are_walked_by_place(stocked: Store) -> None:
    """The first names of a step, short cores first; where it has more also those that begin so, how far each was read, and how many."""
    ids = [f"sub_{number}" for number in range(len(SHOWN))]
    place = {row.shown: row.name_id for rows in (await search.held(stocked.reads, ids)).values() for row in rows}
    every = [SHOWN[6], SHOWN[5], SHOWN[0], SHOWN[1], SHOWN[2], SHOWN[3]]
    for text in ("示例", "示"):
        assert await walked(stocked, text, most=9) == (every, [], 6)
        assert await walked(stocked, text, most=3) == ([*every[:3], SHOWN[0], SHOWN[1]], [(PHRASE, place[SHOWN[0]])], 6)
        assert await walked(stocked, text, most=1) == ([SHOWN[6], SHOWN[0]], [(PHRASE, place[SHOWN[6]]), (PREFIX, place[SHOWN[0]])], 6)
        assert (await walked(stocked, text, most=1, counted=4))[2] == 4, "counted up to a bound"


async def test_whole_names_and_cores_need_no_token(stocked: Store) -> None:
    """They are found beside what the steps bring; what is no token finds nothing, and breaks nothing."""
    assert (await walked(stocked, "通化市示例药业有限公司", most=9))[0] == [SHOWN[0]] * 3, "as a name, as a core, by its tokens"
    assert (await walked(stocked, "示例药业", most=9))[0] == [SHOWN[0], SHOWN[0], SHOWN[3]]
    for text in ("e\u0301\u0327x", '示例" OR "商贸', "示例 AND 商贸"):
        assert await walked(stocked, text, most=9) == ([], [], 0), text


async def test_names_of_one_place_stand_beside_one_another(store: Store) -> None:
    """Twenty subjects whose ids begin alike: each is found, in order of entry, and leaves by itself."""
    alike = [name_of(f"sub_aaaaaa{number}", "name", SHOWN[0]) for number in range(20)]
    async with store.transaction() as tx:
        await search.change(tx, [], alike[:10])
        await search.change(tx, [], alike[10:])
    assert [each.subject_id for each in await search.candidates(store.reads, store.dialect, ["示例"], every=True, limit=99)] == [
        each.subject_id for each in alike
    ]
    held = await search.held(store.reads, [alike[3].subject_id])
    async with store.transaction() as tx:
        await search.change(tx, held[alike[3].subject_id], [])
    assert len(await found(store, "示例")) == 19


async def test_many_groups_are_asked_at_once(stocked: Store) -> None:
    """Each group's names by themselves, with a limit of its own; what is no token finds nothing and moves no other group."""
    groups = [("示例",), ("示例", "药业"), (), ('示例" OR "商贸',), ("宝药",), ("示例", "无此")]
    held = await search.gathered(stocked.reads, stocked.dialect, groups, limit=2)
    assert [[row.shown for row in rows] for rows in held] == [[SHOWN[6], SHOWN[5]], [SHOWN[0], SHOWN[3]], [], [], [SHOWN[4]], []]
    assert await search.gathered(stocked.reads, stocked.dialect, [], limit=2) == []
    whole = await search.exact_of(stocked.reads, [split(SHOWN[0]).norm, split(SHOWN[5]).norm, "无此"])
    assert [row.shown for row in whole] == [SHOWN[5], SHOWN[0]]
