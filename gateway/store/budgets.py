"""Daily budgets of organisations: look-ups of persons, rows of records; in the store, so that all processes share them (policy.md §16).

Rules: spending is one statement that spends all or nothing; a budget that cannot be asked is spent (the caller of this room closes). What
is to be spent while another transaction of this process goes on shares the next one, in order of coming.
Days are legal days; what was spent on other days is forgotten when a new day begins. This room must not know what a budget is worth.
"""

import asyncio
from collections.abc import Sequence
from datetime import date
from itertools import groupby
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from msgspec import Struct

from gateway.core.errors import StoreError
from gateway.store.store import Store, Transaction
from gateway.store.tables import budgets

_SPEND = sa.text(
    "INSERT INTO budgets (org, what, day, used) VALUES (:org, :what, :day, :amount) "
    "ON CONFLICT (org, what, day) DO UPDATE SET used = budgets.used + excluded.used "
    "WHERE budgets.used + excluded.used <= :most RETURNING used"
)
_FORGET = sa.delete(budgets).where(
    budgets.c.org == sa.bindparam("of"), budgets.c.what == sa.bindparam("of_what"), budgets.c.day < sa.bindparam("before")
)


async def spend(tx: Transaction, org: str, what: str, day: date, *, amount: int, most: int) -> bool:
    """Spend of an organisation's budget of a day, if that much is left; nothing is spent otherwise."""
    if amount > most:
        return False
    today = day.isoformat()
    row = await tx.one(_SPEND, {"org": org, "what": what, "day": today, "amount": amount, "most": most})
    if row is not None and row.used == amount:  # the first of the day
        await tx.execute(_FORGET, {"of": org, "of_what": what, "before": today})
    return row is not None


class _Wish(Struct, frozen=True, eq=False):
    """What somebody waits to spend."""

    org: str
    what: str
    day: date
    amount: int
    most: int
    done: "asyncio.Future[bool]"

    @property
    def budget(self) -> tuple[str, str, date, int]:
        """Of which budget, and how high it may stand."""
        return self.org, self.what, self.day, self.most


class _Purse:
    """What one process spends."""

    def __init__(self) -> None:
        self.waiting: list[_Wish] = []
        self.task: asyncio.Task[None] | None = None

    async def pay(self, store: Store) -> None:
        """Spend for all who wait, and for who comes meanwhile."""
        wishes: list[_Wish] = []
        try:
            while self.waiting:
                wishes, self.waiting = self.waiting, []
                try:
                    async with store.transaction() as tx:
                        found: list[bool] = []
                        for _, some in groupby(wishes, key=lambda wish: wish.budget):
                            found += await _spend_all(tx, list(some))
                except Exception as error:  # noqa: BLE001 - whoever waits must hear of any failure: what cannot be asked is spent
                    _tell(wishes, error)
                else:
                    for wish, spent in zip(wishes, found, strict=True):
                        if not wish.done.done():
                            wish.done.set_result(spent)
        finally:
            self.task = None
            _tell([*wishes, *self.waiting], StoreError("the budgets are closed", code="store-unavailable"))  # who still waits: cancelled
            self.waiting = []


async def _spend_all(tx: Transaction, wishes: Sequence[_Wish]) -> list[bool]:
    """Of one budget: all at once where that much is left, else one after the other."""
    org, what, day, most = wishes[0].budget
    whole = sum(wish.amount for wish in wishes)
    if await spend(tx, org, what, day, amount=whole, most=most):
        return [True] * len(wishes)
    return [await spend(tx, org, what, day, amount=wish.amount, most=most) for wish in wishes] if len(wishes) > 1 else [False]


def _tell(wishes: Sequence[_Wish], error: Exception) -> None:
    for wish in wishes:
        if not wish.done.done():
            wish.done.set_exception(error if isinstance(error, StoreError) else StoreError("a budget failed", code="store-error"))


_PURSES: WeakKeyDictionary[Store, _Purse] = WeakKeyDictionary()


async def spend_soon(store: Store, org: str, what: str, day: date, *, amount: int, most: int) -> bool:
    """The same in a transaction shared with whoever spends meanwhile; committed when this returns.

    Raises StoreError.
    """
    purse = _PURSES.setdefault(store, _Purse())
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    purse.waiting.append(_Wish(org, what, day, amount, most, done))
    if purse.task is None:
        purse.task = asyncio.create_task(purse.pay(store))
    return await done
