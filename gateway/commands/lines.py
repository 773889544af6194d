"""Commands about lines: what goes to, or comes from, partners that sign nothing (`line …`); what travels is shown by `exchange …`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from gateway.commands.office import WORDS, Hand, Office, as_json, office, signed
from gateway.commands.two_persons import Stories, Words, two_persons
from gateway.console import show, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.operations.compare_counts import Comparison
    from gateway.operations.line_reports import LineReport
    from gateway.operations.manage_lines import Decided


@click.group()
def line() -> None:
    """Lines to the province and the bank, and from sources: propose, approve, end; what became of rows."""


def _stories() -> Stories:
    from gateway.operations.manage_lines import approve_line, end_line, propose_line

    return Stories(read=Path.read_bytes, propose=propose_line, approve=approve_line, end=end_line)


two_persons(
    line,
    Words(
        noun="line",
        metavar="LINE",
        ends="end",
        propose="Take a line in from its file; nothing goes over it before a second person has approved it.",
        approve="The second person's yes to this very line.",
        end="End a line; withdrawals of what it has told still go, for ninety days.",
    ),
    _stories,
    lambda one: f"{one.id} {one.version}: {one.title}, {', '.join(one.datasets)} until {one.until}",
)


@line.command("list")
@as_json
@office
def line_list(office: Office, as_json: bool) -> None:
    """Every version of every line, and how it stands."""
    from gateway.operations.manage_lines import list_lines

    found = office.run(list_lines)
    show(
        found,
        as_json=as_json,
        text=lambda: table(
            [(one.id, one.version, one.state, one.direction, one.partner, one.tier, one.until, one.digest) for one in found],
            ("line", "version", "state", "way", "partner", "tier", "until", "digest"),
        ),
    )


@line.command("report")
@click.argument("line_id", metavar="LINE", required=False)
@as_json
@office
def line_report(office: Office, line_id: str | None, as_json: bool) -> None:
    """What partners made of rows: numbers by result, and each row that is held or rejected, with its code."""
    from gateway.operations.line_reports import line_report as told

    found = office.run(lambda services: told(services, line_id))
    show(found, as_json=as_json, text=lambda: _report_lines(found))


def _report_lines(found: "Sequence[LineReport]") -> list[str]:
    lines = []
    for one in found:
        lines.append(f"{one.stream} to {one.partner}: " + (", ".join(f"{name} {n}" for name, n in sorted(one.rows.items())) or "nothing"))
        lines += [f"    {row.record} v{row.version} {row.result} {row.code or ''} {row.field or ''}".rstrip() for row in one.not_taken]
    return lines


@line.command("reconcile")
@click.argument("line_id", metavar="LINE")
@as_json
@office
def line_reconcile(office: Office, line_id: str, as_json: bool) -> None:
    """Compare the last seven days with the partner's counts now; exit 1 when a day differs."""
    from gateway.operations.line_reports import reconcile_line

    found = office.run(lambda services: reconcile_line(services, line_id))
    show(found, as_json=as_json, text=lambda: _comparison_lines(found))
    if not all(one.agrees for one in found):
        raise SystemExit(1)


def _comparison_lines(found: "Sequence[Comparison]") -> list[str]:
    digests = {True: "same", False: "differs", None: "–"}
    rows = [(one.stream, one.day, one.ours, one.theirs, digests[one.same_digest], "" if one.agrees else "DIFFERS") for one in found]
    return table(rows, ("stream", "day", "ours", "theirs", "digest", ""))


@line.command("decide")
@click.argument("stream")
@click.option("--verdict", type=click.Choice(["go", "arrived", "again"]), required=True, help="It may go; it has arrived; send it again.")
@click.option("--reason", required=True, type=WORDS, help="Stands in the audit trail.")
@signed
@as_json
@office
def line_decide(office: Office, stream: str, verdict: Any, reason: str, hand: Hand, as_json: bool) -> None:
    """A person's word about the batch at which a line's stream waits, or about rows that were never answered."""
    from gateway.operations.manage_lines import decide_batch

    said = {"stream": stream, "verdict": verdict, "reason": reason}
    done = office.act(hand, "line.decide", said, lambda services, by: decide_batch(services, stream, verdict, reason=reason, by=by))
    show(done, as_json=as_json, text=lambda: [_decided_line(done)])


def _decided_line(done: "Decided") -> str:
    rows = f", {done.rows} rows without an answer up to it" if done.rows else ""
    return f"{done.stream}: batch {done.seq}, {done.decided}{rows}"
