"""What is owed before a bound caller is shown anything: the row budget of its organisation, and the audit trail (policy.md §6, §15, §16).

Rules: what is owed is the strictest of all plans that an answer stands under. It is paid before the first byte, of an export before each
step; what cannot be paid means no data (`obligation-failed`, or `audit-unavailable`). The public owes nothing here: it is counted
elsewhere. This room must not decide what is shown.
"""

from collections.abc import AsyncIterator, Iterable, Sequence

from gateway.core.disclosure.obligations import Obligations
from gateway.core.errors import LookupBudgetSpent, ObligationFailed, RowBudgetSpent, StoreError
from gateway.core.records.periods import legal_day
from gateway.operations.answering import Scene, seconds_to_midnight
from gateway.operations.pages import invalid
from gateway.operations.record_access import record_shown, recorded
from gateway.operations.row_steps import begun
from gateway.store import budgets

ROWS = "rows"
LOOKUPS = "lookups"


def refuse_beyond(owed: Obligations, rows: int) -> None:
    """Raises InvalidParameter for a page of more rows than a plan gives at once."""
    if owed.max_rows is not None and rows > owed.max_rows:
        raise invalid("limit", f"每次最多 {owed.max_rows} 条，请缩小范围或者分页。")


def most_of_a_page(owed: Obligations, limit: int) -> int:
    """The rows of a page: as many as asked for, never more than a plan gives at once."""
    return limit if owed.max_rows is None else min(limit, owed.max_rows)


async def pay(scene: Scene, owed: Obligations, shape: str, bodies: Sequence[bytes], *, datasets: Iterable[str] | None = None) -> None:
    """Pay for documents that are about to leave; the public has no budget.

    Raises RowBudgetSpent, ObligationFailed, AuditUnavailable: then nothing may be shown.
    """
    if not scene.public:
        await spend_rows(scene, owed, len(bodies))
    await record_shown(scene, shape, bodies, datasets=datasets)


async def paid(
    scene: Scene, owed: Obligations, shape: str, steps: AsyncIterator[Sequence[bytes]], *, datasets: Iterable[str] | None = None
) -> AsyncIterator[Sequence[bytes]]:
    """The steps of an export, each given on after it was paid for; of a bound caller no more rows than its plans give at once.

    Raises InvalidParameter for more rows, and as `pay` does, before the answer begins or within it.
    """
    if scene.public:
        return await recorded(scene, shape, steps, datasets=datasets)
    if owed.max_rows is not None:
        steps = at_once([step async for step in up_to(owed, steps)])
    return await begun(await recorded(scene, shape, _spent(scene, owed, steps), datasets=datasets))


async def _spent(scene: Scene, owed: Obligations, steps: AsyncIterator[Sequence[bytes]]) -> AsyncIterator[Sequence[bytes]]:
    async for step in steps:
        await spend_rows(scene, owed, len(step))
        yield step


async def up_to(owed: Obligations, steps: AsyncIterator[Sequence[bytes]]) -> AsyncIterator[Sequence[bytes]]:
    """The steps of an export that a plan gives at once.

    Raises InvalidParameter as soon as there are more rows than that.
    """
    rows = 0
    async for step in steps:
        rows += len(step)
        refuse_beyond(owed, rows)
        yield step


async def at_once(steps: Sequence[Sequence[bytes]]) -> AsyncIterator[Sequence[bytes]]:
    """Steps that are all there."""
    for step in steps:
        yield step


async def spend_rows(scene: Scene, owed: Obligations, rows: int) -> None:
    """Take rows from the organisation's budget of the day, where a plan sets one.

    Raises RowBudgetSpent, ObligationFailed.
    """
    if owed.max_rows_day is not None and rows and not await _spend(scene, ROWS, rows, owed.max_rows_day):
        raise _for_today(scene, RowBudgetSpent("本机构今日可取的记录数已用完。"))


async def spend_lookup(scene: Scene, most: int) -> None:
    """Take one look-up of a person from the organisation's budget of the day.

    Raises LookupBudgetSpent, ObligationFailed.
    """
    if not await _spend(scene, LOOKUPS, 1, most):
        raise _for_today(scene, LookupBudgetSpent())


async def _spend(scene: Scene, what: str, amount: int, most: int) -> bool:
    org = scene.caller.org
    if org is None:  # nobody's budget is no budget
        raise ObligationFailed
    try:
        return await budgets.spend_soon(scene.services.store, org, what, legal_day(scene.now), amount=amount, most=most)
    except StoreError:
        raise ObligationFailed from None


def _for_today(scene: Scene, error: RowBudgetSpent) -> RowBudgetSpent:
    error.retry_after = seconds_to_midnight(scene.now)
    return error
