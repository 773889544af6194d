"""Short work of one turn of the loop is done in a row, and told to whoever asked for it."""

import asyncio
from functools import partial

import pytest

from gateway.in_a_row import InARow


async def test_what_is_there_in_one_turn_is_done_without_a_break() -> None:
    """Two answers that check and then go on: both checks come first."""
    row, done = InARow(), list[str]()

    async def answer(name: str) -> None:
        await row.do(partial(done.append, f"{name} checked"))
        done.append(f"{name} answered")

    await asyncio.gather(answer("one"), answer("two"))
    assert done == ["one checked", "two checked", "one answered", "two answered"]


async def test_each_is_told_of_its_own_work() -> None:
    """Results, and a failure that is nobody else's; what nobody waits for any more is not done; the next turn begins anew."""
    row, done = InARow(), list[int]()

    def refuse() -> None:
        raise ValueError("no")

    gone = asyncio.ensure_future(row.do(partial(done.append, 1)))
    asked = asyncio.gather(row.do(lambda: 2), row.do(refuse), row.do(lambda: 3), return_exceptions=True)
    await asyncio.sleep(0)
    gone.cancel()
    two, refused, three = await asked
    assert (two, three, done) == (2, 3, [])
    assert isinstance(refused, ValueError)
    with pytest.raises(ValueError, match="no"):
        await row.do(refuse)
