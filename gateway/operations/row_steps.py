"""Rows on their way into an answer come in steps, of which the first may be taken before anything is said."""

from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

Step = TypeVar("Step")


async def next_step(steps: AsyncIterator[Sequence[bytes]]) -> Sequence[bytes]:
    """The next step, an empty one at the end. Python 3.11 cannot end `anext` with a tuple for it: that is a SystemError."""
    return await anext(steps, None) or ()


async def after(first: Step, steps: AsyncIterator[Step]) -> AsyncIterator[Step]:
    """A step that was taken, and those that follow it."""
    yield first
    async for step in steps:
        yield step


async def begun(steps: AsyncIterator[Sequence[bytes]]) -> AsyncIterator[Sequence[bytes]]:
    """The same steps, the first of them made now: what goes wrong there is an answer, not a broken stream."""
    return after(await next_step(steps), steps)


async def at_once(items: Sequence[bytes]) -> AsyncIterator[Sequence[bytes]]:
    """All of them in one step."""
    yield items
