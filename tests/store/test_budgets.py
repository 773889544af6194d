"""Budgets of a day: spent all or nothing, whoever spends at once, and never beyond what they are worth."""

import asyncio
from datetime import date

import pytest
import sqlalchemy as sa

from gateway.core.errors import StoreError
from gateway.store import budgets
from gateway.store.store import Store
from gateway.store.tables import budgets as rows

DAY = date(2026, 6, 1)
_USED = sa.select(rows.c.org, rows.c.used).order_by(rows.c.org)


async def used(store: Store) -> dict[str, int]:
    """What stands in the table."""
    return {row.org: row.used for row in await store.reads.all(_USED)}


async def test_who_spends_at_once_shares_a_transaction(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred who come together spend each their own, of two organisations, in very few transactions."""
    begun, transaction = [], store.transaction

    def counted() -> object:
        begun.append(1)
        return transaction()

    monkeypatch.setattr(store, "transaction", counted)
    wishes = [budgets.spend_soon(store, f"org{n % 2}", "rows", DAY, amount=n, most=10_000) for n in range(100)]
    assert set(await asyncio.gather(*wishes)) == {True}
    assert await used(store) == {"org0": sum(range(0, 100, 2)), "org1": sum(range(1, 100, 2))}
    assert len(begun) <= 3


async def test_the_last_of_a_budget_goes_to_who_came_first(store: Store) -> None:
    """Where not all fit each is asked in order of coming: what fits is spent, what does not is refused, and nothing is spent for it."""
    wishes = [budgets.spend_soon(store, "org", "rows", DAY, amount=amount, most=10) for amount in (4, 4, 4, 2, 1)]
    assert await asyncio.gather(*wishes) == [True, True, False, True, False]
    assert await used(store) == {"org": 10}
    assert not await budgets.spend_soon(store, "org", "rows", DAY, amount=1, most=10)
    assert await budgets.spend_soon(store, "org", "rows", DAY, amount=1, most=11)


async def test_a_failure_is_everybodys(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be committed is an error for each who waited, and the next one spends again."""
    whole = budgets.spend

    async def broken(*_: object, **__: object) -> bool:
        raise StoreError("full", code="store-full")

    monkeypatch.setattr(budgets, "spend", broken)
    wishes = [budgets.spend_soon(store, "org", "rows", DAY, amount=1, most=10) for _ in range(3)]
    found = await asyncio.gather(*wishes, return_exceptions=True)
    assert [getattr(each, "code", None) for each in found] == ["store-full"] * 3
    monkeypatch.setattr(budgets, "spend", whole)
    assert await budgets.spend_soon(store, "org", "rows", DAY, amount=1, most=10)
    assert await used(store) == {"org": 1}


async def test_who_leaves_does_not_stop_the_others(store: Store) -> None:
    """One that is cancelled while it waits takes nobody with it."""
    tasks = [asyncio.create_task(budgets.spend_soon(store, "org", "rows", DAY, amount=1, most=10)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    assert await asyncio.gather(*tasks[1:]) == [True, True]
