"""Erase what was kept long enough: by dataset and up to a day, because a key custodian says so, and never by itself.

Rules:
- the custodian names dataset, last day and the number that a dry run told. Nothing that was to be kept beyond that day goes, whatever our
  clock says of today; nothing at all when more would go than that number: rules, records or clock are others then.
- each record is reckoned again, under the rules in force, in the transaction that erases it; it is erased as any other (`store/states`),
  so that whatever follows the change log follows, and the trail says of each: `retention`, by which row, to which last day. Of a person
  that detail goes with the person's key, as all of them; how many by which row stands beside, for good.
- a stretch is a transaction: what was killed in between goes on when it is said again, and erases none twice. Between two of them others
  write: whoever waits on SQLite looks ten times a second, and would find the writer's turn taken as long as there is something to erase.
- a record with an open objection stays, and one about which a person has still to decide; they are named.
This story must not decide that anything is due.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

from msgspec import Struct

from gateway.core.callers.administrators import Administrator
from gateway.core.disclosure.plans import Policies
from gateway.core.errors import AdminError
from gateway.core.records.model import RecordId
from gateway.core.records.periods import legal_day
from gateway.operations.retention_due import DueRecord, due_record, keeping_of, looked_on, must_be_known
from gateway.services import Services
from gateway.store import audit, states
from gateway.store import retention as rows
from gateway.store.retention import Due, Standing
from gateway.store.store import Source, Transaction

CHUNK: Final = 25
"""Records a transaction: other writers wait for no more; each is a dozen milliseconds."""
AT_ONCE: Final = 500
"""Of those that are only reckoned, before others of this process have their turn."""
PAUSE_S: Final = 0.15
"""Between two transactions: longer than a writer of another process sleeps who waits for his turn."""
NAMED: Final = 100
"""So many of those that stay are named; of the others there is the number."""


class ErasedDue(Struct, frozen=True, kw_only=True):
    """What is gone, or would go, and what stays."""

    dataset: str
    until: date
    dry_run: bool
    looked_on: date | None
    """Day of the look that made the list; None: none is finished under this policy, so there may be more."""
    records: int
    oldest: date | None
    """The earliest last day among them."""
    rules: dict[str, int]
    """Row of `periods.toml` → how many by it."""
    staying: int
    stay: tuple[DueRecord, ...]
    """The first of those that stay, each with its reason."""


class _Sum:
    """What a pass over the list has come to."""

    def __init__(self) -> None:
        self.records = self.staying = 0
        self.oldest: date | None = None
        self.rules: dict[str, int] = {}
        self.stay: list[DueRecord] = []

    def take(self, due: DueRecord) -> None:
        """One more, that goes or stays."""
        if due.stays is not None:
            self.staying += 1
            self.stay += [due] if len(self.stay) < NAMED else []
            return
        self.records += 1
        self.oldest = due.last_day if self.oldest is None else min(self.oldest, due.last_day)
        self.rules[due.rule] = self.rules.get(due.rule, 0) + 1


async def erase_due(
    services: Services, dataset: str, *, until: date, most: int | None, dry_run: bool, by: Administrator
) -> ErasedDue:
    """Erase the records of a dataset whose last day is not after `until`, at most so many, or say what would go.

    Raises RoleMissing, NoActivePolicy, StoreError, InvalidParameter for a dataset of nobody's, AdminError `retention-day` for a day that is
    not over, `retention-number` when no number is said, more would go than it, or another policy came into force meanwhile: what went
    before that is gone.
    """
    by.require("key-custodian")
    policies = await services.policies.fresh()
    must_be_known(policies, dataset)
    if until >= legal_day(services.clock()):
        raise AdminError("this day is not over", code="retention-day", place="until", hint="the last day of keeping lies before today")
    looked, planned = await looked_on(services), await _plan(services, policies, dataset, until)
    if dry_run:
        return _told(dataset, until, looked, planned, dry_run=True)
    if most is None:
        raise _other("it is not said how many records are to go")
    if planned.records > most:
        raise _other("more records would go than was said")
    done, after = _Sum(), ("", "")
    while found := await rows.page(services.store.reads, dataset, after=after, until=until.isoformat(), limit=CHUNK):
        after = found[-1].last_day, found[-1].record_id
        async with services.store.transaction() as tx:
            if services.policies.version != policies.version or await services.policies.overtaken(tx):
                raise _other("another policy is in force than at the beginning")
            await _erase(tx, policies, dataset, found, until, most, done, by)
        await asyncio.sleep(PAUSE_S)
    return _told(dataset, until, looked, done, dry_run=False)


def _other(what: str) -> AdminError:
    return AdminError(what, code="retention-number", place="records", hint="a dry run says what would go now")


def _told(dataset: str, until: date, looked: date | None, found: _Sum, *, dry_run: bool) -> ErasedDue:
    return ErasedDue(
        dataset=dataset, until=until, dry_run=dry_run, looked_on=looked, records=found.records, oldest=found.oldest,
        rules=dict(sorted(found.rules.items())), staying=found.staying, stay=tuple(found.stay),
    )  # fmt: skip


async def _plan(services: Services, policies: Policies, dataset: str, until: date) -> _Sum:
    """What would go now, and what would stay; nothing is written."""
    planned, after = _Sum(), ("", "")
    while found := await rows.page(services.store.reads, dataset, after=after, until=until.isoformat(), limit=AT_ONCE):
        after = found[-1].last_day, found[-1].record_id
        for _, due in await _over(services.store.reads, policies, services.clock(), found, until):
            planned.take(due)
        await asyncio.sleep(0)
    return planned


async def _over(
    source: Source, policies: Policies, now: datetime, found: Sequence[Due], until: date
) -> list[tuple[Standing, DueRecord]]:
    """Those of the list whose last day, reckoned now, is over and not after the one that was named."""
    standing = await rows.standing(source, [each.record_id for each in found])
    known = [record for each in found if (record := standing.get(each.record_id)) is not None]
    over = [(record, due_record(record, keeping_of(record, policies, now))) for record in known]
    return [(record, due) for record, due in over if due is not None and due.last_day <= until]


async def _erase(
    tx: Transaction, policies: Policies, dataset: str, found: Sequence[Due], until: date, most: int, done: _Sum, by: Administrator
) -> None:
    """One stretch of the list: what goes is erased and written down, what stays is counted."""
    actor = f"admin:{by.name}"
    over = await _over(tx, policies, tx.now, found, until)
    for _, due in over:
        done.take(due)
    if done.records > most:
        raise _other("more records would go than was said")
    going = [(record, due) for record, due in over if due.stays is None]
    for _, due in going:
        await states.erase(tx, RecordId(due.record), actor=actor)
    for record, due in going:  # after all of them: with the last record of a person goes the key of what was written before
        said = {"dataset": dataset, "reason": "retention", "rule": due.rule, "last_day": due.last_day.isoformat()}
        whom = None if record.kind == "legal" else record.subject_id
        await audit.write(tx, actor, "record.erase", f"record/{due.record}", said, subject=whom)
    if going:
        rules = dict(sorted(Counter(due.rule for _, due in going).items()))
        gone = {"until": until.isoformat(), "records": len(going), "rules": rules, "policy": policies.version}
        await audit.write(tx, actor, "retention.erase", f"dataset/{dataset}", gone)
