"""Long answers when the policy changes under them: an export or stream stands under the plan set that it began with.

Rules: at each chunk it is asked what is in force; after a change that hides anything from this caller, or when grounds of its plans have
ended meanwhile, the answer breaks off, to be cut again under the new plans; after one that only shows more it goes on as it began. One
answer, one plan set. This story must not choose rows.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar, cast

from gateway.core.disclosure.effect import PLAN_AREAS, Effect, effect
from gateway.core.disclosure.plans import Policies
from gateway.core.errors import PolicyExpired, Unavailable
from gateway.operations.answering import Scene
from gateway.operations.reaching import ends_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


Part = TypeVar("Part")


async def while_permitted(scene: Scene, parts: AsyncIterator[Part]) -> AsyncIterator[Part]:
    """The same parts, as long as no policy came into force that hides something of them.

    Raises Unavailable or PolicyExpired, which before the first byte is a problem and after it a torn connection.
    """
    async with aclosing(cast("AsyncGenerator[Part, None]", parts)) as made:
        async for part in made:
            policies = await scene.services.policies.fresh()
            if policies.version != scene.policies.version and await hides(
                scene.policies, policies, scene.caller.plan_tier, scene.caller.purpose
            ):
                raise Unavailable("策略已变更，请重新导出。")
            if any(scene.now < end <= scene.services.clock() for end in ends_of(scene.forms)):
                raise PolicyExpired
            yield part


async def hides(old: Policies, new: Policies, tier: str, purpose: str) -> bool:
    """Whether anything that this tier saw for this purpose is not provably still to be seen; compared once for two versions."""
    if old.hash_of(tier, purpose) == new.hash_of(tier, purpose):
        return False
    return _hides(await _back(old, new), tier, purpose)


async def _back(old: Policies, new: Policies) -> Effect:
    """What going back from one version to another would change: long work, so in a thread, and one for all who ask at once."""
    key = ("back", new.version)
    comparing: asyncio.Task[Effect] | None = old.memo.get(key)
    if comparing is None:
        comparing = old.memo[key] = asyncio.create_task(asyncio.to_thread(effect, new, old))
    try:
        return await asyncio.shield(comparing)
    finally:
        if comparing.done() and (comparing.cancelled() or comparing.exception() is not None):
            old.memo.pop(key, None)  # the next who asks tries again


def _hides(back: Effect, tier: str, purpose: str) -> bool:
    """Going back would widen what this caller sees: then the new version hides something."""
    if any(cell.widens for cell in back.cells if (cell.tier, cell.purpose) == (tier, purpose)):
        return True
    if any(right.gained for right in back.rights if (right.tier, right.purpose) == (tier, purpose)):
        return True
    part = f"/{tier}/{purpose}/"
    return any(other.direction == "widens" for other in back.others if other.area not in PLAN_AREAS or part in other.place)
