"""Commands about measures taken on account of another city's records: `measure …` (联合奖惩反馈)."""

from typing import TYPE_CHECKING

import rich_click as click

from gateway.commands.office import Office, as_json, office
from gateway.console import show, table

if TYPE_CHECKING:
    from gateway.store.measures import Taken

authority = click.option("--authority", required=True, metavar="USCC", help="The authority of ours that takes it.")
code = click.option("--measure", "code", required=True, help="Its id in the catalogue of the policy in force.")


@click.group()
def measure() -> None:
    """Measures that rest on records of other cities, and theirs on ours."""


@measure.command("take")
@click.argument("record")
@code
@authority
@as_json
@office
def measure_take(office: Office, record: str, code: str, authority: str, as_json: bool) -> None:
    """Write down, as a named officer, that an authority takes a measure on account of a partner's record."""
    from gateway.operations.take_measures import record_measure

    taken = office.run(lambda services: record_measure(services, record, code, authority=authority, by=office.actor))
    show(taken, as_json=as_json, text=lambda: [_line(taken)])


@measure.command("lift")
@click.argument("record")
@code
@authority
@as_json
@office
def measure_lift(office: Office, record: str, code: str, authority: str, as_json: bool) -> None:
    """Write down, as a named officer, that an authority has lifted its measure."""
    from gateway.operations.take_measures import record_measure

    taken = office.run(
        lambda services: record_measure(services, record, code, authority=authority, by=office.actor, standing="lifted")
    )
    show(taken, as_json=as_json, text=lambda: [_line(taken)])


@measure.command("list")
@click.option("--record", help="Only those that rest on this record, ours or a partner's.")
@as_json
@office
def measure_list(office: Office, record: str | None, as_json: bool) -> None:
    """Every measure that was taken here on partners' records, and there on ours, and how it stands."""
    from gateway.operations.list_measures import list_measures

    found = office.run(lambda services: list_measures(services, record))
    head = ("record", "partner", "taken by", "measure", "stands", "since")
    show(found, as_json=as_json, text=lambda: table([_cells(each) for each in found], head))


def _cells(taken: "Taken") -> tuple[str, ...]:
    who = "us" if taken.ours else "them"
    return (taken.about, taken.partner, f"{who} ({taken.authority})", taken.code, taken.standing, taken.since)


def _line(taken: "Taken") -> str:
    return f"{taken.about}: {taken.code} {taken.standing} since {taken.since} ({taken.record_id} tells {taken.partner})"
