"""Commands about records that were kept long enough: `retention due`, `look` and `erase`."""

from datetime import datetime
from typing import TYPE_CHECKING

import rich_click as click

from gateway.commands.office import Hand, Office, as_json, office, signed
from gateway.console import show

if TYPE_CHECKING:
    from gateway.operations.erase_due import ErasedDue
    from gateway.operations.retention_due import DueList, DueRecord


@click.group()
def retention() -> None:
    """Records that were kept long enough; a key custodian erases them."""


@retention.command("due")
@click.option("--dataset", default=None, help="Name its records too, the longest over first.")
@click.option("--after", default=None, metavar="PLACE", help="Where the next page begins, as the one before said.")
@as_json
@office
def due(office: Office, dataset: str | None, after: str | None, as_json: bool) -> None:
    """What was kept long enough: by dataset number and oldest, of one dataset the records by id."""
    from gateway.operations.retention_due import list_due

    found = office.run(lambda services: list_due(services, dataset=dataset, after=after))
    show(found, as_json=as_json, text=lambda: _lines(found))


_NO_LOOK = "no look is finished under this policy, so there may be more: `chengxin retention look`"


def _lines(found: "DueList") -> list[str]:
    looked = f"as of {found.looked_on}" if found.looked_on else _NO_LOOK
    lines = [looked, *(f"{each.dataset}: {each.records} records, the oldest to be kept until {each.oldest}" for each in found.datasets)]
    lines += [f"  {_line(each)}" for each in found.items]
    return [*lines, f"more: --after {found.next}"] if found.next else lines


def _line(record: "DueRecord") -> str:
    why = {"objection": ", stays: an objection is open", "held": ", stays: nobody has decided whether it may be shown"}
    return f"{record.record}: {record.last_day} by {record.rule}, {record.state}" + (why[record.stays] if record.stays else "")


@retention.command("look")
@as_json
@office
def look(office: Office, as_json: bool) -> None:
    """Look through all records now, again where that was done today; a server does so once a day by itself."""
    from gateway.operations.retention_due import look_through

    found = office.run(lambda services: look_through(services, anew=True))
    show(found, as_json=as_json, text=lambda: _lines(found))


@retention.command("erase")
@click.argument("dataset")
@click.option("--until", required=True, type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="Nothing goes that was to be kept longer.")
@click.option("--records", type=click.IntRange(min=0), default=None, metavar="N", help="How many may go at most, as a dry run said.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and what would stay; change nothing.")
@signed
@as_json
@office
def erase(office: Office, hand: Hand, dataset: str, until: datetime, records: int | None, dry_run: bool, as_json: bool) -> None:
    """Erase what was kept long enough, here and at every partner that got it; there is no way back. What stays is named."""
    from gateway.operations.erase_due import erase_due

    last = until.date()
    arguments = {"dataset": dataset, "until": last.isoformat(), "records": records, "dry_run": dry_run}
    done = office.act(
        hand,
        "retention.erase",
        arguments,
        lambda services, by: erase_due(services, dataset, until=last, most=records, dry_run=dry_run, by=by),
    )
    show(done, as_json=as_json, text=lambda: _said(done))


def _said(done: "ErasedDue") -> list[str]:
    what = "would go" if done.dry_run else "erased; partners are told, see `exchange overdue`"
    lines = [] if done.looked_on else [_NO_LOOK]
    lines += [f"{done.dataset}, kept until {done.until} at most: {done.records} records {what}"]
    lines += [f"  by {rule}: {number}" for rule, number in done.rules.items()]
    lines += [f"{done.staying} stay"] if done.staying else []
    return lines + [f"  {_line(each)}" for each in done.stay]
