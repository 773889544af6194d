"""Token buckets, and places for exports and streams, that several processes share, in Valkey or Redis: scripts on the server's own time.

Rules: all buckets of a caller change in one script, or none; the arithmetic is that of `core/callers/buckets`; the server's clock is
the only one, so processes with wrong clocks share a quota all the same; a key is a digest, for it would name an organisation or a
network; when the server cannot be reached, `Unreachable` is raised and the limiter counts alone. This room must not decide who pays.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from gateway.core.callers.buckets import Level, Quota

PREFIX: Final = "chengxin:bucket:"
PATIENCE_S: Final = 0.25
"""How long a request waits for the server before it is counted here alone."""

SCRIPT: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000 + tonumber(ARGV[3])
local cost = tonumber(ARGV[1])
local owed = ARGV[2] == '1'
local held, enough = {}, true
for i = 1, #KEYS do
  local capacity, rate = tonumber(ARGV[2 * i + 2]), tonumber(ARGV[2 * i + 3])
  local there = capacity
  local said = redis.call('HMGET', KEYS[i], 'f', 't')
  if said[1] then
    there = math.min(capacity, tonumber(said[1]) + math.max(0, now - tonumber(said[2])) * rate)
  end
  held[i] = there
  if there < math.min(cost, capacity) then enough = false end
end
local taken = (owed or enough) and cost or 0
local answer = { enough and 1 or 0 }
for i = 1, #KEYS do
  local capacity, rate = tonumber(ARGV[2 * i + 2]), tonumber(ARGV[2 * i + 3])
  local left = held[i] - taken
  if taken ~= 0 then
    redis.call('HSET', KEYS[i], 'f', string.format('%.17g', left), 't', string.format('%.17g', now))
    redis.call('PEXPIRE', KEYS[i], math.ceil((capacity - left) / rate * 1000) + 1000)
  end
  answer[i + 1] = string.format('%.17g', left)
end
return answer
"""


PLACES: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local ticket, most, lasts = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if most > 0 and redis.call('ZCARD', KEYS[1]) >= most and not redis.call('ZSCORE', KEYS[1], ticket) then return 0 end
redis.call('ZADD', KEYS[1], now + lasts, ticket)
redis.call('PEXPIRE', KEYS[1], math.ceil(lasts * 1000) + 1000)
return 1
"""
"""A place for whoever has a ticket, if there is one free; the place of a process that died is free when its time is over."""
PLACE_S: Final = 60.0
"""So long a place is held without being asked for again."""


class Unreachable(Exception):
    """The server of shared buckets does not answer, or answers what nobody understands."""


class SharedBuckets:
    """The buckets of all processes of a gateway.

    `days_ahead`: by how many days the office's clock is ahead of the server's; other than 0 in test mode only.
    """

    def __init__(self, url: str, *, days_ahead: int = 0) -> None:
        import valkey.asyncio as valkey  # only where the setting names it
        from valkey.exceptions import ValkeyError

        self._failed = (ValkeyError, OSError, TimeoutError, ValueError, IndexError)
        self._ahead = days_ahead * 86_400
        self._client = valkey.Valkey.from_url(
            url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S, decode_responses=True, retry_on_timeout=False
        )
        self._script = self._client.register_script(SCRIPT)
        self._places = self._client.register_script(PLACES)

    async def take(self, key: str, quotas: Sequence[Quota], fifths: int, *, owed: bool = False) -> tuple[bool, tuple[float, ...]]:
        """Take a cost from every bucket of a caller, or from none; with `owed` whether it is there or not. Fifths left in each.

        Raises Unreachable.
        """
        tag = hashlib.sha256(key.encode()).hexdigest()[:32]
        keys = [f"{PREFIX}{{{tag}}}:{quota.name}" for quota in quotas]  # one hash slot, so that a cluster runs the script too
        arguments = [fifths, int(owed), self._ahead, *(number for quota in quotas for number in (quota.capacity, repr(quota.rate)))]
        try:
            said = await self._script(keys=keys, args=arguments)
            return bool(said[0]), tuple(float(left) for left in said[1:])
        except self._failed as error:
            raise Unreachable(type(error).__name__) from None

    async def enter(self, key: str, ticket: str, most: int) -> bool:
        """Take one of so many places for a ticket, or keep the one that it has; whether it has one.

        Raises Unreachable.
        """
        try:
            return bool(await self._places(keys=[_place(key)], args=[ticket, most, repr(PLACE_S)]))
        except self._failed as error:
            raise Unreachable(type(error).__name__) from None

    async def leave(self, key: str, ticket: str) -> None:
        """Give the place of a ticket back.

        Raises Unreachable.
        """
        try:
            await self._client.zrem(_place(key), ticket)
        except self._failed as error:
            raise Unreachable(type(error).__name__) from None

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()


def _place(key: str) -> str:
    return f"{PREFIX}{hashlib.sha256(key.encode()).hexdigest()[:32]}:places"


def levels_of(left: Sequence[float], now: float) -> tuple[Level, ...]:
    """What the server said, as levels of this moment."""
    return tuple(Level(fifths, now) for fifths in left)
