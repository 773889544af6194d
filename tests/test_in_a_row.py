"""Short work of one turn of the loop is done in a row, and told to whoever asked for it."""

import asyncio
from functools import partial

import pytest

from gateway.in_a_row import MOST, InARow


async def test_what_is_there_in_one_turn_is_done_without_a_break() -> None:
    """Two answers that read, check and then go on: both are read before one is checked, both checked before one goes on."""
    row, done = InARow(), list[str]()

    def step(what: str, name: str) -> str:
        done.append(f"{name} {what}")
        return name

    async def answer(name: str) -> None:
        assert await row.do(name, partial(step, "read"), partial(step, "checked")) == name
        done.append(f"{name} answered")

    await asyncio.gather(answer("one"), answer("two"))
    assert done == ["one read", "two read", "one checked", "two checked", "one answered", "two answered"]


async def test_each_is_told_of_its_own_work() -> None:
    """Results, and a failure that is nobody else's and ends its own work; who has gone away holds nobody up; the next turn begins anew."""
    row, seen = InARow(), list[int]()

    def refuse(_: int) -> None:
        raise ValueError("no")

    more = (lambda given: given + 1, lambda given: given * 2)
    gone = asyncio.ensure_future(row.do(1, *more))
    asked = asyncio.gather(row.do(2, *more), row.do(1, refuse, seen.append), row.do(3), row.do(4, more[0]), return_exceptions=True)
    await asyncio.sleep(0)
    gone.cancel()
    two, refused, three, four = await asked
    assert (two, three, four, seen, gone.cancelled()) == (6, 3, 5, [], True)
    assert isinstance(refused, ValueError)
    with pytest.raises(ValueError, match="no"):
        await row.do(1, refuse)


async def test_a_crowd_leaves_turns_to_others_and_all_are_served() -> None:
    """After so many pieces the loop goes round; an iterator's end, which no future takes, is told and holds nobody up."""
    row, seen = InARow(), list[int]()
    asked = [asyncio.ensure_future(row.do(iter(()), next) if number == 1 else row.do(number, seen.append)) for number in range(150)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(seen) == MOST - 1
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert [number for number, each in enumerate(told) if isinstance(each, RuntimeError)] == [1]
    assert seen == [0, *range(2, 150)]
