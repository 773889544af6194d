"""Commands about agreements with other cities: `agreement …`.

A first version travels between the two offices as a file: one JSON document with body and signature lines; later ones over the line too.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import rich_click as click

from gateway.commands.exchange import out, written
from gateway.commands.office import FILE, OUT, Hand, Office, as_json, office
from gateway.console import show, table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.core.callers.administrators import Administrator
    from gateway.operations.manage_agreements import AgreementStatus
    from gateway.services import Services

T = TypeVar("T")
signing = (
    click.option("--as", "admin", metavar="ADMIN", help="The administrator who acts, where administrators are enrolled."),
    click.option("--key", "key_file", type=OUT, metavar="FILE", help="The administrator's own private key."),
)


def _signing(command: Any) -> Any:
    for option in reversed(signing):
        command = option(command)
    return command


def _act(
    office: Office,
    admin: str | None,
    key_file: Path | None,
    act: str,
    arguments: "Mapping[str, object]",
    story: "Callable[[Services, Administrator | str], Awaitable[T]]",
) -> T:
    """Tell one story as the administrator who signs, or as whoever holds the data directory."""
    if (admin is None) != (key_file is None):
        raise click.UsageError("--as and --key belong together")
    if admin is None or key_file is None:
        return office.run(lambda services: story(services, office.actor))
    return office.act(Hand(admin, key_file), act, arguments, story)


@click.group()
def agreement() -> None:
    """Agreements with other cities: offer, countersign, take, list; suspend, resume, end."""


@agreement.command("check")
@click.argument("file", type=FILE)
@as_json
@office
def agreement_check(office: Office, file: Path, as_json: bool) -> None:
    """Every fault of an agreement file with its place, and what it widens; signs nothing; exit 1 when something is wrong."""
    from gateway.operations.check_agreement import check_agreement

    found = office.run(lambda services: check_agreement(services, file.read_bytes()))
    lines = [f"{fault.code} at {fault.place}: {fault.message}" for fault in found.faults]
    lines += [f"wider: {each.place}: {each.words}" for each in found.wider]
    show(found, as_json=as_json, text=lambda: lines or ["nothing is wrong, and nothing is wider than before"])
    if found.faults:
        raise SystemExit(1)


@agreement.command("approve")
@click.argument("agreement_id", metavar="AGREEMENT")
@click.argument("version", type=int)
@click.option("--digest", required=True, help="Of the text that is approved, as `agreement list` shows it.")
@_signing
@as_json
@office
def agreement_approve(
    office: Office, agreement_id: str, version: int, digest: str, admin: str | None, key_file: Path | None, as_json: bool
) -> None:
    """The second person's yes to a version that is wider than before."""
    from gateway.operations.agree_wider import approve_wider

    said = {"agreement": agreement_id, "version": version, "digest": digest}
    done = _act(
        office,
        admin,
        key_file,
        "agreement.approve",
        said,
        lambda services, by: approve_wider(services, agreement_id, version, digest=digest, by=by),
    )
    show(done, as_json=as_json, text=lambda: [f"approved: {each.place}: {each.words}" for each in done.wider])


@agreement.command("offer")
@click.argument("file", type=FILE)
@out
@_signing
@office
def agreement_offer(office: Office, file: Path, path: Path, admin: str | None, key_file: Path | None) -> None:
    """Sign our agreement file first; the document goes to the other office."""
    from gateway.core.exchange.wire import digest_text
    from gateway.operations.manage_agreements import offer

    text = file.read_bytes()
    document = _act(
        office, admin, key_file, "agreement.offer", {"file": digest_text(text)}, lambda services, by: offer(services, text, by=by)
    )
    written(path, document, "offered, signed by us")


@agreement.command("countersign")
@click.argument("file", type=FILE)
@click.argument("offered", type=FILE, required=False)
@out
@_signing
@office
def agreement_countersign(office: Office, file: Path, offered: Path | None, path: Path, admin: str | None, key_file: Path | None) -> None:
    """Sign what the other office offered, as a file or over the line, if it says the same as our own FILE."""
    from gateway.core.exchange.notes import read_envelope
    from gateway.core.exchange.wire import digest_text
    from gateway.operations.manage_agreements import countersign

    text = file.read_bytes()
    theirs = read_envelope(offered.read_bytes()) if offered is not None else None
    said = {"file": digest_text(text)}
    document = _act(office, admin, key_file, "agreement.countersign", said, lambda services, by: countersign(services, theirs, text, by=by))
    written(path, document, "signed by both")


@agreement.command("take")
@click.argument("document", type=FILE)
@as_json
@office
def agreement_take(office: Office, document: Path, as_json: bool) -> None:
    """Keep our offer as it comes back, signed by both; or the other side's notice that suspends, resumes or ends one."""
    from gateway.core.exchange import notes
    from gateway.operations import manage_agreements

    read = notes.read_envelope(document.read_bytes())
    notice = notes.parse(read.note).text.startswith("chengxin-exchange/agreement-state/")
    story = manage_agreements.take_notice if notice else manage_agreements.take
    status = office.run(lambda services: story(services, read, by=office.actor))
    show(status, as_json=as_json, text=lambda: _agreement_lines([status]))


@agreement.command("list")
@as_json
@office
def agreement_list(office: Office, as_json: bool) -> None:
    """Every agreement version that we hold or want, how it stands, and what waits for whom."""
    from gateway.operations.manage_agreements import agreements

    found = office.run(agreements)
    show(found, as_json=as_json, text=lambda: _agreement_lines(found))


@agreement.command("state")
@click.argument("agreement_id", metavar="AGREEMENT")
@click.argument("state", type=click.Choice(["suspended", "active", "terminated"]))
@click.option("--reason", required=True, help="Read by the other office.")
@out
@office
def agreement_state(office: Office, agreement_id: str, state: Any, reason: str, path: Path) -> None:
    """Suspend, resume or end an agreement, one-sided and at once; the notice goes to the other office."""
    from gateway.operations.manage_agreements import change_state

    said: Literal["suspended", "active", "terminated"] = state
    document = office.run(lambda services: change_state(services, agreement_id, said, reason=reason, by=office.actor))
    written(path, document, f"{agreement_id} is {state}")


def _agreement_lines(found: "Sequence[AgreementStatus]") -> list[str]:
    return table(
        [
            (one.id, one.version, one.state, one.waits_for, one.partner, ", ".join(one.signed_by), one.effective, one.ends, one.digest)
            for one in found
        ],
        ("agreement", "version", "state", "waits for", "with", "signed by", "from", "until", "digest"),
    )
