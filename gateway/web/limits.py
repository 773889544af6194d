"""Rate limits: who pays for a request, how much, and what the header fields say of it (policy.md §16, api.md §2.2).

Rules: a caller has one set of buckets, never one a route, version, key or process: (organisation, app, rate class), or the network of an
anonymous caller. The known part of a cost is taken before the request is served, the rest is owed when the answer is known; an answer
429 costs nothing, any other error what an answer costs. Failed credentials are counted by network, never by app: nobody can lock
another's app out. Buckets, and places for exports and streams, stand in memory, or in Valkey by setting; when that cannot be reached,
each process counts alone and says so (`alone`: an alarm). This room keeps no address beyond its bucket, and must not read the store.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from functools import lru_cache
from secrets import token_hex
from time import monotonic
from typing import Final, Literal, cast

from gateway.core.callers import buckets
from gateway.core.callers.buckets import FIFTHS, Level, Quota
from gateway.core.callers.caller import Caller
from gateway.core.disclosure.plans import Policies
from gateway.core.disclosure.tiers import Costs
from gateway.core.errors import ExchangeError
from gateway.operations.asking import Tally
from gateway.web import telemetry
from gateway.web.asgi import Scope
from gateway.web.problems import Refusal
from gateway.web.replies import Header
from gateway.web.shared_buckets import PLACE_S, SharedBuckets, Unreachable, levels_of

TABLE: Final = 100_000
"""Callers whose buckets are remembered; beyond it newcomers share one."""
SWEEP: Final = 32
"""Remembered callers that a newcomer looks through for full buckets, when the table is full."""
MOST_PAYERS: Final = 4096
"""Apps with one of their purposes of which it is remembered who pays."""
DAY: Final = 86_400
OVERFLOW: Final = "overflow"
FAILURES: Final = Quota(name="failures", q=60, w=60)
"""Wrong credentials that one network may show (policy.md §14.8)."""
BODIES: Final = 2
"""Bodies that one partner may have on their way at a time (exchange.md §6)."""
PARTNERS: Final = Quota(name="partners", q=600, w=60)
"""Calls of the exchange from one network: five partners at their 120 a minute (exchange.md §6)."""
ALARM_EVERY_S: Final = 60.0
What = Literal["export", "stream"]
PLACES: Final[Mapping[What, tuple[int, str]]] = {"export": (1, "too-many-exports"), "stream": (2, "too-many-streams")}
"""Exports that one caller may run, and streams of events that it may hold open, at a time (api.md §2.2); and the refusal of more."""

_UNRULED: Final = (Quota(name="burst", q=60, w=60), Quota(name="day", q=5000, w=DAY))
RANGES: Final = "/v1/range/"
"""Look-ups by prefix, which are asked in numbers, have a price of their own."""
_UNPRICED: Final = Costs(request=5, head=1, not_modified=1, range=1, match_item=5, export=5, lookup=25, export_rows=1000, stream_s=30)
"""What counts while no policy is in force: then there is nothing to ask for but problems."""

Payer = tuple[str, str]
"""Who pays: a key that nobody else has, and the rate class."""


class Charge:
    """What one request pays: its caller, what was taken so far, and what the buckets held then."""

    __slots__ = ("at", "costs", "extra", "key", "levels", "payer", "policy_field", "quotas", "said", "taken", "tally")

    def __init__(self, payer: Payer, quotas: Sequence[Quota], costs: Costs, policy_field: bytes) -> None:
        self.payer = payer
        self.key = "|".join(payer)
        self.quotas = quotas
        self.costs = costs
        self.policy_field = policy_field
        self.taken = 0
        self.extra = 0
        """Beyond the request itself, in fifths: items of a match, a personal look-up."""
        self.tally: Tally | None = None
        """Rows of an export, counted while they are sent."""
        self.levels: tuple[Level, ...] = ()
        self.said: str | None = None
        """What `RateLimit` says of the levels, where it was worked out with them."""
        self.at = 0.0


class Remembered:
    """Levels by payer, in memory: a bounded table that forgets full buckets only."""

    __slots__ = ("_levels", "_size", "_sweep")

    def __init__(self, size: int = TABLE) -> None:
        self._levels: dict[str, tuple[tuple[Level, ...], Sequence[Quota]]] = {}
        self._size = size
        self._sweep: list[str] = []

    def __len__(self) -> int:
        return len(self._levels)

    def of(self, key: str, quotas: Sequence[Quota]) -> tuple[Level | None, ...]:
        """What is remembered of a payer; nothing: full buckets, and after a change of the quotas at most what was left."""
        found = self._levels.get(key)
        if found is None:
            return (None,) * len(quotas)
        levels, before = found
        return levels if before is quotas or len(levels) == len(quotas) else (None,) * len(quotas)

    def held(self, key: str, quotas: Sequence[Quota]) -> tuple[Level, ...] | None:
        """What is remembered of a payer under these very quotas; None where something is to be thought about first (`place`, `of`)."""
        found = self._levels.get(key)
        return found[0] if found is not None and found[1] is quotas else None

    def place(self, key: str, quotas: Sequence[Quota], now: float) -> bool:
        """Whether there is room for this payer: it is there, or a full bucket was forgotten for it."""
        if key in self._levels or len(self._levels) < self._size:
            return True
        if not self._sweep:
            self._sweep = list(self._levels)
        for _ in range(min(SWEEP, len(self._sweep))):
            old = self._sweep.pop()
            held = self._levels.get(old)
            if held is not None and all(buckets.is_full(level, quota, now) for level, quota in zip(held[0], held[1], strict=True)):
                del self._levels[old]
        return len(self._levels) < self._size

    def keep(self, key: str, levels: tuple[Level, ...], quotas: Sequence[Quota]) -> None:
        """Remember the levels of a payer."""
        self._levels[key] = (levels, quotas)


class Limiter:
    """The limits of one process, and through `shared` of all of them.

    `policies` gives what is in force, or None; `factor` widens every quota (test mode only).
    """

    def __init__(
        self,
        policies: Callable[[], Policies | None],
        *,
        meter: telemetry.Meter,
        shared: SharedBuckets | None = None,
        factor: int = 1,
        clock: Callable[[], float] = monotonic,
        table: int = TABLE,
    ) -> None:
        self._policies = policies
        self._meter = meter
        self.shared = shared
        self._factor = factor
        self._failures = (Quota(name=FAILURES.name, q=FAILURES.q * factor, w=FAILURES.w),)
        self._clock = clock
        self._partners = (Quota(name=PARTNERS.name, q=PARTNERS.q * factor, w=PARTNERS.w),)
        self._held = Remembered(table)
        self._failed = Remembered(table)
        self._calls = Remembered(table)
        self._places: dict[str, int] = {}
        """Places that callers hold in this process, where none are shared."""
        self._known: Policies | None = None
        self._quotas: dict[str, tuple[tuple[Quota, ...], bytes]] = {}
        self._classes: dict[tuple[str, str], str] = {}
        self._payers: dict[tuple[str, str, str | None, str], Payer] = {}
        """By tier, purpose, organisation and app, under the policies that are known."""
        self._open: tuple[str, tuple[Quota, ...], bytes] = ("open", _UNRULED, _UNRULED_FIELD)
        """Rate class, quotas and `RateLimit-Policy` of anonymous callers."""
        self._costs = _UNPRICED
        self._alarmed = -ALARM_EVERY_S
        self.alone: bool | None = None
        """Whether the shared buckets did not answer when they were last asked; None before."""

    # --- who pays, and from which buckets ------------------------------------------------------------------------------

    def anonymous(self, network: str) -> Charge:
        """The charge of a request without a credential."""
        self._look()
        return Charge((f"net:{network}", self._open[0]), self._open[1], self._costs, self._open[2])

    def paid(self, network: str, fifths: int) -> Charge:
        """The charge of a request without a credential that has paid so much already."""
        charge = self.anonymous(network)
        charge.taken = fifths
        return charge

    def known(self, caller: Caller) -> Charge:
        """The charge of a caller whose credential was believed."""
        self._look()
        about = caller.tier, caller.purpose, caller.org, caller.app
        payer = self._payers.get(about)
        if payer is None:
            if len(self._payers) >= MOST_PAYERS:
                self._payers.clear()
            payer = self._payers[about] = f"app:{caller.org or ''}:{caller.app}", self.class_of(caller)
        quotas, said = self._quotas.get(payer[1], (_UNRULED, _UNRULED_FIELD))
        return Charge(payer, quotas, self._costs, said)

    def class_of(self, caller: Caller) -> str:
        """The rate class of a caller: its tier's, or the narrowest that a plan of its tier and purpose obliges to."""
        own = self._class_of_tier(caller.tier)
        policies = self._known
        if policies is None or caller.plan_tier == "public":  # developer reads public's plans with more quota of its own
            return own
        asked = caller.plan_tier, caller.purpose
        if asked not in self._classes:
            self._classes[asked] = self._narrowest(policies, own, *asked)
        return self._classes[asked]

    @staticmethod
    def _narrowest(policies: Policies, own: str, tier: str, purpose: str) -> str:
        """Of a tier's own rate class and those that plans of this purpose oblige to, the one that fills slowest."""
        owed = {
            plan.obligations.rate_class
            for held in policies.sets_of(tier, purpose)
            for plan in held.plans.values()
            if plan.obligations.rate_class in policies.rate_classes
        }
        named = [name for name in (own, *sorted(each for each in owed if each is not None)) if name in policies.rate_classes]
        return min(named, key=lambda name: policies.rate_classes[name].burst.q / policies.rate_classes[name].burst.w, default=own)

    def _class_of_tier(self, tier: str) -> str:
        self._look()
        return self._known.tiers[tier].rate_class if self._known is not None else "open"

    def _look(self) -> None:
        """Take over quotas and costs when another policy is in force."""
        policies = self._policies()
        if policies is self._known:
            return
        self._known, self._classes, self._payers = policies, {}, {}
        self._costs = policies.costs if policies is not None else _UNPRICED
        classes = {} if policies is None else policies.rate_classes
        made = {
            name: (
                Quota(name="burst", q=each.burst.q * self._factor, w=each.burst.w),
                Quota(name="day", q=each.day * self._factor, w=DAY),
            )
            for name, each in classes.items()
        }
        self._quotas = {name: (quotas, _policy_field(quotas)) for name, quotas in made.items()}
        name = policies.tiers["public"].rate_class if policies is not None else "open"
        self._open = (name, *self._quotas.get(name, (_UNRULED, _UNRULED_FIELD)))

    # --- taking --------------------------------------------------------------------------------------------------------

    def pay_here(self, network: str, fifths: int) -> list[Header] | None:
        """Take a whole cost of an anonymous answer from the buckets of this process; its header fields, or None where it is not there.

        What `anonymous`, `admit_here` and `fields` do together, for answers that take less than they do.
        """
        self._look()
        name, quotas, said = self._open
        now = self._clock()
        key = f"net:{network}|{name}"
        held = self._held.held(key, quotas)
        if held is not None:
            paid = buckets.pay_both(held, quotas, fifths, now)
        else:
            key = self._placed(self._held, key, quotas, now, name)
            paid = buckets.pay(self._held.of(key, quotas), quotas, fifths, now)
        if paid is None:
            return None
        self._held.keep(key, paid[0], quotas)
        return [(b"ratelimit-policy", said), (b"ratelimit", paid[1].encode()), _cost_field(fifths)]

    def admit_here(self, charge: Charge, fifths: int) -> bool:
        """Take the known part of a cost from the buckets of this process; whether it was there."""
        now = self._clock()
        key, quotas = charge.key, charge.quotas
        held: Sequence[Level | None] | None = self._held.held(key, quotas)
        if held is None:
            key = self._placed(self._held, key, quotas, now, charge.payer[1])
            held = self._held.of(key, quotas)
        charge.at = now
        paid = buckets.pay(held, quotas, fifths, now)
        if paid is None:
            charge.levels, charge.said = buckets.owe(held, charge.quotas, 0, now), None
            return False
        charge.levels, charge.said = paid
        self._held.keep(key, charge.levels, quotas)
        charge.taken += fifths
        return True

    async def takes(self, charge: Charge, fifths: int) -> bool:
        """Take the known part of a cost from the buckets that count, shared ones or those of this process; whether it was there."""
        return self.admit_here(charge, fifths) if self.shared is None else await self._take(charge, fifths, owed=False)

    async def admit(self, charge: Charge, fifths: int) -> None:
        """Take the known part of a cost.

        Raises Refusal `quota-exceeded`, with `Retry-After` and the caller's own state, when it is not there.
        """
        if not await self.takes(charge, fifths):
            self._meter.event("quota-exceeded")
            raise Refusal("quota-exceeded", headers={"Retry-After": str(self.retry_after(charge))})

    async def admit_rows(self, charge: Charge, fifths: int) -> None:
        """Take the price of a job's rows from a bucket of their own, as wide as the day's: a minute's has no room for a file.

        Raises Refusal `quota-exceeded` where the whole job is not there today.
        """
        payer = charge.payer[0], f"{charge.payer[1]}|rows"
        await self.admit(Charge(payer, charge.quotas[-1:], charge.costs, charge.policy_field), fifths)

    async def settle(self, charge: Charge, fifths: int) -> None:
        """Make the charge so much in all: the rest is owed, what was too much is given back."""
        if fifths != charge.taken:
            await self._take(charge, fifths - charge.taken, owed=True)
        elif not charge.levels:
            await self._take(charge, 0, owed=False)

    async def settle_stream(self, charge: Charge, seconds: float) -> None:
        """What a streamed answer cost beyond its request: its rows, or the time it stood open, whichever is more."""
        costs = charge.costs
        rows = charge.tally.rows if charge.tally is not None else 0
        more = max(rows * FIFTHS // costs.export_rows, int(seconds // costs.stream_s) * FIFTHS)
        if more:
            await self._take(charge, more, owed=True)

    async def _take(self, charge: Charge, fifths: int, *, owed: bool) -> bool:
        if self.shared is not None:
            try:
                enough, left = await self.shared.take(charge.key, charge.quotas, fifths, owed=owed)
            except Unreachable as error:
                self._alarm(error)
            else:
                self.alone = False
                charge.at = self._clock()
                charge.levels, charge.said = levels_of(left, charge.at), None
                charge.taken += fifths if enough or owed else 0
                return enough
        if not owed:
            return self.admit_here(charge, fifths)
        now = self._clock()
        key = self._placed(self._held, charge.key, charge.quotas, now, charge.payer[1])
        charge.levels, charge.at = buckets.owe(self._held.of(key, charge.quotas), charge.quotas, fifths, now), now
        charge.said = None
        self._held.keep(key, charge.levels, charge.quotas)
        charge.taken += fifths
        return True

    def _placed(self, table: Remembered, key: str, quotas: Sequence[Quota], now: float, of: str) -> str:
        if table.place(key, quotas, now):
            return key
        self._meter.event("limits-table-full")
        return f"{OVERFLOW}|{of}"

    def _alarm(self, error: Unreachable) -> None:
        self.alone = True
        self._meter.event("limits-unreachable")
        now = self._clock()
        if now - self._alarmed >= ALARM_EVERY_S:
            self._alarmed = now
            telemetry.log.error("limits-unreachable", error=str(error))

    # --- credentials that fail -----------------------------------------------------------------------------------------

    def may_try(self, network: str) -> None:
        """Whether a network may show another credential.

        Raises Refusal `quota-exceeded` after sixty failures in a minute.
        """
        if not len(self._failed):
            return
        now = self._clock()
        key = self._placed(self._failed, network, self._failures, now, self._failures[0].name)
        held = self._failed.of(key, self._failures)
        if buckets.level_at(held[0], self._failures[0], now) < FIFTHS:
            self._meter.event("failures-exceeded")
            wait = buckets.seconds_until(held[0] or Level(0.0, now), self._failures[0], now, FIFTHS)
            raise Refusal("quota-exceeded", headers={"Retry-After": str(max(1, wait))})

    def failed(self, network: str) -> None:
        """A credential failed: counted against its network alone, and never as a debt, which would lock out whoever else is there."""
        now = self._clock()
        key = self._placed(self._failed, network, self._failures, now, self._failures[0].name)
        (left,) = buckets.owe(self._failed.of(key, self._failures), self._failures, FIFTHS, now)
        self._failed.keep(key, (left if left.fifths > 0 else Level(0.0, now),), self._failures)

    # --- partners ------------------------------------------------------------------------------------------------------

    def call(self, network: str) -> None:
        """A call of the exchange, counted by network before anything of it is read: its sender is known only once its body is believed.

        Raises ExchangeError RATE_LIMIT.
        """
        now = self._clock()
        key = self._placed(self._calls, network, self._partners, now, self._partners[0].name)
        enough, left = buckets.take(self._calls.of(key, self._partners), self._partners, FIFTHS, now)
        if not enough:
            self._meter.event("partner-calls-exceeded")
            raise ExchangeError("too many calls of this network in a minute", code="RATE_LIMIT")
        self._calls.keep(key, left, self._partners)

    def partner(self, party: str, a_minute: int) -> None:
        """A believed call of a partner, of the so many a minute that its agreement says.

        Raises ExchangeError RATE_LIMIT.
        """
        now = self._clock()
        quotas = (Quota(name="partner", q=a_minute * self._factor, w=60),)
        key = self._placed(self._calls, f"party|{party}", quotas, now, "partner")
        enough, left = buckets.take(self._calls.of(key, quotas), quotas, FIFTHS, now)
        if not enough:
            self._meter.event("partner-calls-exceeded")
            raise ExchangeError("more calls than agreed in a minute", code="RATE_LIMIT")
        self._calls.keep(key, left, quotas)

    # --- places for exports and streams --------------------------------------------------------------------------------

    @asynccontextmanager
    async def place(self, charge: Charge, what: What) -> AsyncIterator[None]:
        """One of the caller's places, as long as it lasts: counted with every process that shares the buckets, else in this process.

        Raises Refusal `too-many-exports` or `too-many-streams` while the caller holds them all.
        """
        most, code = PLACES[what]
        async with self._one_of(f"{what}|{charge.key}", most * self._factor, Refusal(code, headers={"Retry-After": "5"})):
            yield

    @asynccontextmanager
    async def body(self, party: str) -> AsyncIterator[None]:
        """One of the two bodies that a partner may have on their way, from its first byte to the answer.

        Raises ExchangeError RATE_LIMIT.
        """
        refusal = ExchangeError("more bodies on their way than agreed", code="RATE_LIMIT")
        async with self._one_of(f"body|{party}", BODIES, refusal):
            yield

    @asynccontextmanager
    async def _one_of(self, key: str, most: int, refusal: Exception) -> AsyncIterator[None]:
        ticket = token_hex(8)
        staying: asyncio.Task[None] | None = None
        entered = await self._enter(key, ticket, most)
        if entered is None:
            held = self._places.get(key, 0)
            if entered := held < most:
                self._places[key] = held + 1
        elif entered:
            staying = asyncio.create_task(self._stay(key, ticket, most))
        if not entered:
            raise refusal
        try:
            yield
        finally:
            if staying is None:
                self._places[key] -= 1
                if not self._places[key]:
                    del self._places[key]
            else:
                staying.cancel()
                with suppress(Unreachable):  # then it is free when its time is over
                    await cast(SharedBuckets, self.shared).leave(key, ticket)

    async def _enter(self, key: str, ticket: str, most: int) -> bool | None:
        """Whether there is a place among those that are shared; None where nothing is."""
        if self.shared is None:
            return None
        try:
            entered = await self.shared.enter(key, ticket, most)
        except Unreachable as error:
            self._alarm(error)
            return None
        self.alone = False
        return entered

    async def _stay(self, key: str, ticket: str, most: int) -> None:
        """Keep a place that is held for long."""
        while True:
            await asyncio.sleep(PLACE_S / 3)
            await self._enter(key, ticket, most)

    async def placed(self, charge: Charge, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks of an export, made while its caller has a place for it; refused before the first."""
        async with self.place(charge, "export"), aclosing(cast("AsyncGenerator[bytes, None]", chunks)) as made:
            async for chunk in made:
                yield chunk

    async def stood(self, charge: Charge) -> None:
        """A stream has stood open for one more of the times that are paid for."""
        await self._take(charge, FIFTHS, owed=True)

    # --- what is said of it --------------------------------------------------------------------------------------------

    def retry_after(self, charge: Charge) -> int:
        """Seconds until one whole request is possible again; at least one."""
        waits = (buckets.seconds_until(level, quota, charge.at, FIFTHS) for level, quota in zip(charge.levels, charge.quotas, strict=True))
        return max(1, *waits)

    @staticmethod
    def state(charge: Charge) -> list[dict[str, object]]:
        """The caller's own quotas as data: how much, in how long, what is left, and when it is whole again."""
        return [
            {
                "name": name,
                "quota": quota.q,
                "window_s": quota.w,
                "remaining": left,
                "full_in_s": seconds,
            }
            for quota, (name, left, seconds) in zip(charge.quotas, buckets.told(charge.levels, charge.quotas, charge.at), strict=True)
        ]

    @staticmethod
    def fields(charge: Charge) -> list[Header]:
        """`RateLimit-Policy`, `RateLimit` and `Request-Cost` of an answer: the caller's own state, nothing else."""
        state = charge.said
        if state is None:
            told = buckets.told(charge.levels, charge.quotas, charge.at)
            state = ", ".join([f'"{name}";r={left};t={seconds}' for name, left, seconds in told])
        return [(b"ratelimit-policy", charge.policy_field), (b"ratelimit", state.encode()), _cost_field(charge.taken)]


def known_cost(charge: Charge, scope: Scope) -> int:
    """What must be there before a request is answered; what a 304 did not need is given back, what an error costs beside it is owed."""
    if scope["state"].get("head") or scope["method"] == "HEAD":
        return charge.costs.head
    return charge.costs.range if scope["path"].startswith(RANGES) else charge.costs.request


async def enter(limits: Limiter, scope: Scope, caller: Caller) -> None:
    """Name the caller of a request as its payer, and take what the request is known to cost.

    An anonymous request has paid at the front door. Raises Refusal `quota-exceeded`.
    """
    if caller.shared or "caller" in scope["state"]:  # a question inside another request: that one pays
        return
    scope["state"]["charge"] = charge = limits.known(caller)
    await limits.admit(charge, known_cost(charge, scope))


@lru_cache(256)
def _cost_field(fifths: int) -> Header:
    return b"request-cost", buckets.decimal(fifths).encode()


def _policy_field(quotas: Sequence[Quota]) -> bytes:
    return ", ".join(f'"{quota.name}";q={quota.q};w={quota.w}' for quota in quotas).encode()


_UNRULED_FIELD: Final = _policy_field(_UNRULED)
