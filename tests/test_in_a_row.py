"""Short work of one turn of the loop is done in a row, and told to whoever asked for it."""

import asyncio
from functools import partial

import pytest

from gateway.in_a_row import MOST, InARow


async def test_what_is_there_in_one_turn_is_done_without_a_break() -> None:
    """Two answers that check and then go on: both checks come first."""
    row, done = InARow(), list[str]()

    async def answer(name: str) -> None:
        await row.do(partial(done.append, f"{name} checked"))
        done.append(f"{name} answered")

    await asyncio.gather(answer("one"), answer("two"))
    assert done == ["one checked", "two checked", "one answered", "two answered"]


async def test_each_is_told_of_its_own_work() -> None:
    """Results, and a failure that is nobody else's; who has gone away holds nobody up; the next turn begins anew."""
    row = InARow()

    def refuse() -> None:
        raise ValueError("no")

    gone = asyncio.ensure_future(row.do(lambda: 1))
    asked = asyncio.gather(row.do(lambda: 2), row.do(refuse), row.do(lambda: 3), return_exceptions=True)
    await asyncio.sleep(0)
    gone.cancel()
    two, refused, three = await asked
    assert (two, three, gone.cancelled()) == (2, 3, True)
    assert isinstance(refused, ValueError)
    with pytest.raises(ValueError, match="no"):
        await row.do(refuse)


async def test_a_crowd_leaves_turns_to_others_and_all_are_served() -> None:
    """After so many pieces the loop goes round; an iterator's end, which no future takes, is told and holds nobody up."""
    row, seen = InARow(), list[int]()
    works = [partial(next, iter(())) if number == 1 else partial(seen.append, number) for number in range(150)]
    asked = [asyncio.ensure_future(row.do(work)) for work in works]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(seen) == MOST - 1
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert [number for number, each in enumerate(told) if isinstance(each, RuntimeError)] == [1]
    assert seen == [0, *range(2, 150)]
