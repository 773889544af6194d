"""Daily budgets of organisations: look-ups of persons, rows of records; in the store, so that all processes share them (policy.md §16).

Rules: spending is one statement that spends all or nothing; a budget that cannot be asked is spent (the caller of this room closes).
Days are legal days; what was spent on other days is forgotten when a new day begins. This room must not know what a budget is worth.
"""

from datetime import date

import sqlalchemy as sa

from gateway.store.store import Transaction
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
