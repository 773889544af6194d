"""What a process keeps for searches is true in the turn after anybody's commit, and never depends on what was asked for."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import pytest

from gateway.store import search_memory
from gateway.store.search_memory import SearchMemory
from tests.web.city import City
from tests.web.test_lane import _store_of

Turns = Callable[[SearchMemory, list[str], sqlite3.Connection], Awaitable[None]]


@pytest.fixture(autouse=True)
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may be kept is read from the first turn on, also just after a change."""
    monkeypatch.setattr(search_memory, "_REST_S", 0.0)


def run(city: City, turns: Turns, kept_bytes: int = 2**22) -> None:
    """Run turns of the loop with a memory over the store of a city, the statements that it asks, and somebody else's connection."""
    with (
        closing(SearchMemory(asyncio.run(_store_of(city)), kept_bytes=kept_bytes)) as memory,
        closing(sqlite3.connect(city.folder / "data" / "gateway.db")) as database,
    ):
        asked: list[str] = []
        memory._connection.set_trace_callback(asked.append)

        async def all_of_them() -> None:
            await turns(memory, asked, database)

        asyncio.run(all_of_them())


async def some_turns(memory: SearchMemory) -> None:
    """As many turns in which somebody asks as take everything in."""
    for _ in range(300):
        memory.names()
        await asyncio.sleep(0)


def of(database: sqlite3.Connection, statement: str) -> list[Any]:
    """The first column."""
    return [row[0] for row in database.execute(statement).fetchall()]


CHANGED = (
    "UPDATE names SET shown = 'another'",
    "DELETE FROM names WHERE name_id = (SELECT max(name_id) FROM names)",
    "INSERT INTO names_fts (rowid, tokens) VALUES (1, 'XX')",
    "CREATE TABLE another (x)",
)


@pytest.mark.parametrize("change", CHANGED)
def test_names_are_kept_until_one_of_them_changes(fresh_city: City, change: str) -> None:
    """Changed, gone, come in, tables changed: from the next turn on none is kept. A commit about documents takes these alone."""

    async def turns(memory: SearchMemory, _: list[str], database: sqlite3.Connection) -> None:
        await some_turns(memory)
        held, ids = memory.names(), sorted(set(of(database, "SELECT subject_id FROM names")))
        assert held is not None
        assert len(held) == of(database, "SELECT count(*) FROM names")[0]
        assert [subject_id for subject_id, _ in memory.documents(ids)] == ids
        database.execute("UPDATE rendered_subjects SET etag = 'another'")
        database.commit()
        await asyncio.sleep(0)
        assert memory.documents(ids) == []
        assert memory.names() is held
        database.execute(change)
        database.commit()
        await asyncio.sleep(0)
        assert memory.names() is None

    run(fresh_city, turns)


@pytest.mark.parametrize("change", ["UPDATE subjects SET head_seq = head_seq + 1", "UPDATE rendered_subjects SET body = NULL"])
def test_documents_that_are_not_true_are_not_kept(fresh_city: City, change: str) -> None:
    """A change stands after the rendering, or nothing public is left: not after the commit, and not when all is read again."""

    async def turns(memory: SearchMemory, _: list[str], database: sqlite3.Connection) -> None:
        await some_turns(memory)
        ids = of(database, "SELECT subject_id FROM names")
        database.execute(change)
        database.commit()
        await asyncio.sleep(0)
        assert memory.documents(ids) == []
        await some_turns(memory)
        assert memory.names() is not None
        assert memory.documents(ids) == []

    run(fresh_city, turns)


def test_of_names_that_are_too_many_none_is_kept(fresh_city: City) -> None:
    """A part of them would find less; and nobody tries again."""

    async def turns(memory: SearchMemory, asked: list[str], _: sqlite3.Connection) -> None:
        await some_turns(memory)
        assert memory.names() is None
        asked.clear()
        await some_turns(memory)
        assert not [each for each in asked if "FROM names" in each]

    run(fresh_city, turns, kept_bytes=1000)


def test_without_their_triggers_names_are_not_kept(fresh_city: City) -> None:
    """Where a change would not be told of, the store is asked."""

    async def turns(memory: SearchMemory, _: list[str], database: sqlite3.Connection) -> None:
        database.execute("DROP TRIGGER lane_names_delete")
        database.commit()
        await some_turns(memory)
        assert memory.names() is None

    run(fresh_city, turns)


def test_no_household_is_kept(fresh_city: City) -> None:
    """Neither by name nor its document; whether one bears a name is read each time."""

    async def turns(memory: SearchMemory, asked: list[str], database: sqlite3.Connection) -> None:
        await some_turns(memory)
        bearers = database.execute("SELECT name_blind, subject_id FROM subject_names").fetchall()
        assert bearers
        assert memory.documents([subject_id for _, subject_id in bearers]) == []
        asked.clear()
        assert [memory.is_borne(blind) for blind, _ in (bearers[0], bearers[0])] == [True, True]
        assert memory.is_borne("0" * 32) is False
        assert sum("FROM subject_names" in each for each in asked) == 3

    run(fresh_city, turns)


def test_what_is_kept_does_not_tell_who_was_asked_for(fresh_city: City) -> None:
    """Whoever asks for a subject, a name, a household, or for nobody: the same portions are read in the same turns."""
    told: list[tuple[list[str], list[str]]] = []

    for way in range(3):

        async def turns(memory: SearchMemory, asked: list[str], database: sqlite3.Connection, way: int = way) -> None:
            ids = of(database, "SELECT subject_id FROM names ORDER BY name_id DESC LIMIT 3")
            for _ in range(40):
                if way == 1:
                    memory.documents(ids)
                elif way == 2:
                    memory.is_borne("0" * 32)
                memory.names()
                await asyncio.sleep(0)
            told.append(([each for each in asked if "LIMIT 32" in each], list(memory._documents)))

        run(fresh_city, turns)
    assert told[0][1]
    assert told[0] == told[1] == told[2]
