"""Commands of mutual query 互查: ask other cities about one subject for a case, look at what they said, and end the case."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from gateway.commands.office import FILE, Office, as_json, office
from gateway.console import say, show, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.exchange.questions import SubjectAsked
    from gateway.operations.answer_partner import AskedLine, WhoAsked
    from gateway.operations.ask_partner import Asker, Inquiry
    from gateway.operations.kept_inquiries import InquiryLine
    from gateway.services import Services

case = click.option("--case", "case", required=True, help="The number of the case; partners read it.")


def _asker(services: "Services", actor: str) -> "Asker":
    """The operating body, by whoever is at the desk."""
    from gateway.operations.ask_partner import Asker

    return Asker(actor=actor, org=services.settings.org)


@click.group()
def query() -> None:
    """Mutual query (互查): ask other cities about one subject, for a case."""


@query.command("ask")
@click.option("--uscc", default=None, help="The whole code of an organisation or household.")
@click.option("--name", default=None, help="The whole name; needed for a household.")
@click.option(
    "--subject", "file", type=FILE, default=None, help="Instead: JSON of kind, uscc or id_no, and name; numbers of persons only so."
)
@case
@click.option("--basis", required=True, help="The legal ground; partners read it.")
@click.option("--officer", default=None, help="Who asks, as the office names its officers; else who acts. Partners see a pseudonym.")
@click.option("--dataset", "datasets", multiple=True, help="About what; else everything that each agreement names.")
@click.option("--partner", "partners", multiple=True, help="Whom; else every partner with an agreement in force, under each of them.")
@click.option("--follows", default=None, metavar="INQUIRY", help="Level 2: the records behind the hits of an inquiry of the last day.")
@click.option("--deadline", "deadline_s", type=click.FloatRange(0.1, 30), default=5.0, show_default=True, help="Seconds for all of them.")
@as_json
@office
def query_ask(office: Office, /, file: Path | None, as_json: bool, **said: Any) -> None:
    """Ask partners about one subject, all at once; exit 1 when what they said is incomplete."""
    from gateway.operations.ask_partner import Asking, ask_partners

    subject = _subject(said.pop("uscc"), said.pop("name"), file)
    officer = said.pop("officer") or office.actor
    level = 1 if said["follows"] is None else 2
    asking = Asking(subject=subject, officer=officer, level=level, **said)  # type: ignore[arg-type]  # 1 or 2
    found = office.run(lambda services: ask_partners(services, _asker(services, office.actor), asking))
    show(found, as_json=as_json, text=lambda: _inquiry_lines(found))
    if found.total == "incomplete":
        raise SystemExit(1)


def subject_in(file: Path) -> "SubjectAsked":
    """Whom a file names."""
    import msgspec

    from gateway.core.exchange.questions import SubjectAsked

    try:
        return msgspec.json.decode(file.read_bytes(), type=SubjectAsked)
    except msgspec.DecodeError:
        raise click.UsageError("--subject: JSON of kind, uscc or id_no, and name") from None


def _subject(uscc: str | None, name: str | None, file: Path | None) -> "SubjectAsked":
    from gateway.core.exchange.questions import SubjectAsked

    if (uscc is None) == (file is None):
        raise click.UsageError("give a code, or --subject")
    if file is not None:
        return subject_in(file)
    return SubjectAsked(kind="individual_business" if uscc and uscc.startswith("92") else "legal", uscc=uscc, name=name)


@query.command("show")
@click.argument("inquiry")
@as_json
@office
def query_show(office: Office, inquiry: str, as_json: bool) -> None:
    """What each partner said to an inquiry, and the records that it told as long as the case lasts."""
    from gateway.operations.kept_inquiries import show_inquiry

    found = office.run(lambda services: show_inquiry(services, _asker(services, office.actor), inquiry))
    show(found, as_json=as_json, text=lambda: _inquiry_lines(found))


@query.command("again")
@click.argument("inquiry")
@as_json
@office
def query_again(office: Office, inquiry: str, as_json: bool) -> None:
    """Fetch the answers of partners that could not answer at once; exit 1 when it is still incomplete."""
    from gateway.operations.kept_inquiries import ask_again

    found = office.run(lambda services: ask_again(services, _asker(services, office.actor), inquiry))
    show(found, as_json=as_json, text=lambda: _inquiry_lines(found))
    if found.total == "incomplete":
        raise SystemExit(1)


@query.command("log")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), default=None, help="From this day on; else all.")
@as_json
@office
def query_log(office: Office, since: datetime | None, as_json: bool) -> None:
    """Who of us asked which partner for which case, and what became of it."""
    from gateway.operations.kept_inquiries import inquiry_log

    found = office.run(lambda services: inquiry_log(services, _start(since)))
    show(found, as_json=as_json, text=lambda: _log_lines(found))


@query.command("asked")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), default=None, help="From this day on; else all.")
@as_json
@office
def query_asked(office: Office, since: datetime | None, as_json: bool) -> None:
    """Which partner asked us for which case, and what it was answered; whom it was about stands nowhere here."""
    from gateway.operations.answer_partner import asked_log

    found = office.run(lambda services: asked_log(services, _start(since)))
    show(found, as_json=as_json, text=lambda: _asked_lines(found))


@query.command("about")
@click.argument("code", required=False)
@click.option("--subject", "file", type=FILE, default=None, help="Instead: JSON of kind, uscc or id_no; numbers of persons only so.")
@as_json
@office
def query_about(office: Office, code: str | None, file: Path | None, as_json: bool) -> None:
    """Which partners asked us about a code or number, why, and what they were answered: what the subject may read."""
    from gateway.core.records.identifiers import uscc_is_valid
    from gateway.operations.answer_partner import who_asked

    if code is not None and not uscc_is_valid(code):
        raise click.UsageError("no valid code; the number of a person is given in a file (--subject), where nobody else reads it")
    subject = _subject(code, None, file)
    number = subject.uscc or subject.id_no
    if number is None:
        raise click.UsageError("--subject: a code or a number")
    found = office.run(lambda services: who_asked(services, number, by=office.actor))
    show(found, as_json=as_json, text=lambda: _who_lines(found))


@query.command("end-case")
@case
@click.option("--org", default=None, help="Whose case; else the operating body's.")
@office
def query_end_case(office: Office, case: str, org: str | None) -> None:
    """A case is over: everything that partners told for it is deleted."""
    from gateway.operations.kept_inquiries import end_case

    ended = office.run(lambda services: end_case(services, org or services.settings.org, case, by=office.actor))
    say(f"records of {ended} answers deleted")


def _inquiry_lines(found: "Inquiry") -> list[str]:
    rows = [
        (one.partner, one.agreement, one.status, one.code, ", ".join(one.datasets), one.as_of, one.until, len(one.records))
        for one in found.partners
    ]
    lines = [f"{found.id}: {found.total}", *table(rows, ("partner", "agreement", "status", "code", "about", "as of", "until", "records"))]
    for one in found.partners:
        for record in one.records:
            told = "; ".join(f"{name}={value}" for name, value in record.fields.items() if value is not None)
            lines.append(f"  {record.rid} {record.decided_on} {record.authority_name}{'' if record.proved else ' (unproved)'}: {told}")
    return lines


def _start(since: datetime | None) -> datetime:
    """The first instant of a legal day; without one, of everything."""
    from gateway.core.records.periods import first_instant

    return first_instant(since.date()) if since is not None else datetime.min.replace(tzinfo=UTC)


def _asked_lines(found: "Sequence[AskedLine]") -> list[str]:
    return table(
        [
            (one.at, one.partner, one.agreement, one.level, ", ".join(one.datasets), one.officer, one.case, one.result, one.code)
            for one in found
        ],
        ("at", "partner", "agreement", "level", "about", "officer", "case", "answered", "code"),
    )


def _log_lines(found: "Sequence[InquiryLine]") -> list[str]:
    return table(
        [(one.asked_at, one.inquiry, one.level, one.partner, one.agreement, one.officer, one.case, one.status, one.code) for one in found],
        ("at", "inquiry", "level", "partner", "agreement", "officer", "case", "status", "code"),
    )


def _who_lines(found: "Sequence[WhoAsked]") -> list[str]:
    return table(
        [
            (one.at, one.by, one.purpose, one.case, one.basis, one.level, one.result, one.policy_version, (one.policy_plan or "")[:12])
            for one in found
        ],
        ("at", "by", "purpose", "case", "basis", "level", "answered", "policy", "plans"),
    )
