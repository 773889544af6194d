"""Commands about records: `ingest`, `expire`, `withdraw`, `repair`, `dispute open` and `close`."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import rich_click as click

from gateway.commands.office import FILE, Office, as_json, office, write_whole
from gateway.console import note, progress, say, show

if TYPE_CHECKING:
    from gateway.operations.ingest import IngestReceipt
    from gateway.services import Services

REJECTED = 3


@click.command()
@click.argument("dataset")
@click.argument("file", type=FILE)
@click.option("--authority", metavar="USCC", help="Whose own statement this upload is; with --officer.")
@click.option("--officer", metavar="NAME", help="Who of the authority answers for it; with --authority.")
@click.option(
    "--encoding", type=click.Choice(["utf-8", "gb18030"]), default=None, help="Of a CSV file; declared, never guessed. Default: utf-8."
)
@click.option(
    "--receipt",
    "receipt_path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    metavar="OUT.json",
    help="Write the receipt, row by row.",
)
@click.option(
    "--errors",
    "errors_folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=None,
    metavar="FOLDER",
    help="Write the error file, NAME.errors.xlsx or .csv, there.",
)
@click.option("--sha256", default=None, metavar="HEX", help="The digest that the officer confirmed; another file is refused.")
@as_json
@office
def ingest(
    office: Office,
    dataset: str,
    file: Path,
    authority: str | None,
    officer: str | None,
    encoding: str | None,
    receipt_path: Path | None,
    errors_folder: Path | None,
    sha256: str | None,
    as_json: bool,
) -> None:
    """Take in a department's file; exit 3 when rows were rejected, 1 when the file was refused."""
    from gateway.operations import ingest as story

    if (authority is None) != (officer is None):
        raise click.UsageError("--authority and --officer go together: an upload is somebody's own statement, or it is vouched")

    form: Literal["csv", "xlsx"] = "csv" if file.suffix.lower() == ".csv" else "xlsx"
    sheet = BytesIO()

    async def told(services: "Services") -> "IngestReceipt":
        with progress(file.name) as tell:
            return await story.ingest(
                services,
                dataset=dataset,
                path=file,
                authority=authority,
                officer=officer,
                encoding=encoding,
                progress=tell,
                errors=None if errors_folder is None else story.ErrorFile(sheet, form),
                sha256=sha256,
            )

    receipt = office.run(told)
    if errors_folder is not None:
        from gateway.operations.error_sheet import file_name

        write_whole(errors_folder / file_name(file.name, form), sheet.getvalue())
    if receipt_path is not None:
        write_whole(receipt_path, story.receipt_json(receipt))
    if as_json:
        say(story.receipt_json(receipt).decode().rstrip())
    else:
        for line in receipt_lines(receipt):
            say(line)
    if receipt.rejected:
        raise SystemExit(REJECTED)


def receipt_lines(receipt: "IngestReceipt") -> list[str]:
    """An ingest receipt for people: totals, then rejections and remarks by code."""
    counts = {"accepted": receipt.accepted, "unchanged": receipt.unchanged, "held": receipt.held, "withdrawn": receipt.withdrawn}
    counts["rejected"] = sum(receipt.rejected.values())
    lines = [", ".join(f"{what} {count}" for what, count in counts.items())]
    if receipt.trust != "signed":
        lines.append("  vouched: nobody answers for this file, so it lists nobody")
    lines += [f"  rejected {code}: {count}" for code, count in receipt.rejected.items()]
    return lines + [f"  noted {code}: {count}" for code, count in receipt.noted.items()]


@click.command()
@click.option(
    "--all", "everything", is_flag=True, help="Compute every record in force anew, for example after a change of the period rules."
)
@as_json
@office
def expire(office: Office, everything: bool, as_json: bool) -> None:
    """Write down which publication periods are over; no exit waits for it."""
    from gateway.operations import expire as story

    done = office.run(lambda services: story.expire(services, actor=office.actor, everything=everything))
    show(done, as_json=as_json, text=lambda: [f"{done.day}: {done.expired} expired, {done.looked_at} looked at"])


@click.command()
@click.argument("record")
@click.option(
    "--reason",
    required=True,
    type=click.Choice(["revoked", "corrected", "objection_upheld", "no_longer_public"]),
    help="What partners are told.",
)
@as_json
@office
def withdraw(office: Office, record: str, reason: str, as_json: bool) -> None:
    """Take a record back; it leaves every exit here and at every partner."""
    from gateway.operations import withdraw as story

    done = office.run(lambda services: story.withdraw(services, record, reason=reason, actor=office.actor))
    show(done, as_json=as_json, text=lambda: [f"{done.record_id}: {done.state} ({reason})"])


@click.command()
@click.argument("record")
@click.option("--document", default=None, help="Number of the authority's decision; only that there is one is kept.")
@as_json
@office
def repair(office: Office, record: str, document: str | None, as_json: bool) -> None:
    """Write down that the authority granted a repair (信用修复); the record leaves every exit."""
    from gateway.operations import handle_case

    done = office.run(lambda services: handle_case.repair(services, record, actor=office.actor, document=document))
    show(done, as_json=as_json, text=lambda: [f"{done.record_id}: {done.state}"])
    if done.earliest is not None:
        note(f"note: the rules open repair of this record on {done.earliest} only; the authority's decision stands, let it be looked at")


@click.group()
def dispute() -> None:
    """Objections (异议) to a record."""


@dispute.command("open")
@click.argument("record")
@as_json
@office
def dispute_open(office: Office, record: str, as_json: bool) -> None:
    """Mark a record 异议处理中; it stays visible with the mark."""
    from gateway.operations import handle_case

    done = office.run(lambda services: handle_case.open_dispute(services, record, actor=office.actor))
    show(done, as_json=as_json, text=lambda: [f"{done.record_id}: disputed"])


@dispute.command("close")
@click.argument("record")
@click.option("--upheld", is_flag=True, help="The objection was right: the record is withdrawn.")
@as_json
@office
def dispute_close(office: Office, record: str, upheld: bool, as_json: bool) -> None:
    """End an objection; without --upheld the record stays and the mark goes."""
    from gateway.operations import handle_case

    done = office.run(lambda services: handle_case.close_dispute(services, record, upheld=upheld, actor=office.actor))
    show(done, as_json=as_json, text=lambda: [f"{done.record_id}: {done.state}"])
