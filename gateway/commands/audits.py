"""Commands about the audit trail: `verify audit`, `audit list`, `audit export`, `audit about`."""

import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from gateway.commands.office import FILE, FOLDER, Hand, Office, as_json, office, signed
from gateway.commands.queries import subject_in
from gateway.console import show, table

if TYPE_CHECKING:
    from gateway.operations.who_looked import Looks

DAY = click.DateTime(formats=["%Y-%m-%d"])
NEW_FOLDER = click.Path(file_okay=False, path_type=Path)


def _day(value: datetime | None) -> str | None:
    return None if value is None else date(value.year, value.month, value.day).isoformat()


@click.group()
def verify() -> None:
    """Verify what this gateway has written down or signed."""


@verify.command("audit")
@click.argument("folder", type=FOLDER, required=False)
@click.option("--from", "from_", type=DAY, metavar="DAY", help="First day whose rows are checked; the log is always checked whole.")
@click.option("--to", type=DAY, metavar="DAY", help="Last day.")
@click.option("--checkpoint", "kept", type=FILE, multiple=True, help="A checkpoint that was kept: shows what was cut off.")
@click.option("--vkey", "vkeys", multiple=True, metavar="KEY", help="For a folder: the verifier key to believe, from `/v1/keys`.")
@as_json
@office
def verify_audit(
    office: Office,
    folder: Path | None,
    from_: datetime | None,
    to: datetime | None,
    kept: tuple[Path, ...],
    vkeys: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check every row, entry and checkpoint of the trail, or of an exported folder; names the first bad index."""
    import asyncio

    from gateway.core.errors import StoreError
    from gateway.operations import verify_audit as story

    first, last = _day(from_) or story.NEVER, _day(to) or story.ALWAYS
    notes = [path.read_text(encoding="utf-8") for path in kept]
    if folder is not None:
        done = asyncio.run(story.verify_folder(folder, vkeys=vkeys, known_notes=notes, from_day=first, to_day=last))
    else:
        done = office.run(lambda services: story.verify_store(services, known_notes=notes, from_day=first, to_day=last))
    show(
        done,
        as_json=as_json,
        text=lambda: [
            f"{done.rows} rows in {done.partitions} partitions, {done.unsealed} of them not sealed yet",
            f"{done.entries} entries of the log under {done.checkpoints} checkpoints",
        ],
    )
    if done.fault is not None:
        raise StoreError(done.fault.what, code="audit-broken", place=f"{done.fault.place}#{done.fault.index}")


@verify.command("receipt")
@click.argument("file", type=FILE)
@click.option("--answer", type=FILE, help="The answer that was kept: shows whether the receipt is of this very one.")
@click.option("--vkey", "vkeys", multiple=True, metavar="KEY", help="The verifier key to believe, from `/v1/keys`; else our own.")
@as_json
@office
def verify_receipt(office: Office, file: Path, answer: Path | None, vkeys: tuple[str, ...], as_json: bool) -> None:
    """Check the signature of a receipt of a query, and whether an answer is the one that it is of; needs no store."""
    from gateway.operations import verify_receipt as story
    from gateway.services import load_signers

    if vkeys:
        ring = story.given_ring(vkeys)
    else:
        signers = load_signers(office.settings())
        ring = story.own_ring(signers.party, signers.keys)
    done = story.verify_receipt(file.read_bytes(), ring, answer=None if answer is None else answer.read_bytes())
    show(
        done,
        as_json=as_json,
        text=lambda: [
            f"{done.id} was issued by {done.party} at {done.issued_at}",
            f"dataset version {done.dataset_version}, policy version {done.policy_version}",
            f"under the plans {done.policy_plan}" if done.policy_plan is not None else "a receipt of before plans were named",
            f"of an answer with SHA-256 {done.answer_sha256}",
            "the answer is that one" if done.answer else "no answer was compared (--answer FILE)",
        ],
    )


@click.group()
def audit() -> None:
    """The audit trail: for auditors, and for the person who asks who looked at what is kept about them."""


@audit.command("list")
@click.option("--from", "from_", type=DAY, metavar="DAY", help="First day.")
@click.option("--to", type=DAY, metavar="DAY", help="Last day.")
@click.option("--kind", type=click.Choice(["act", "access", "refusal"]))
@click.option("--actor", "who", help="Who acted, for example app/APP or admin:NAME.")
@click.option("--act", "what", help="For example data.read or policy.activate.")
@click.option("--target")
@click.option("--org", metavar="USCC")
@click.option("--app")
@click.option("--purpose")
@click.option("--dataset")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.option("--after", metavar="DAY/WRITER/N", help="Go on after this row.")
@signed
@as_json
@office
def audit_list(
    office: Office,
    hand: Hand,
    from_: datetime | None,
    to: datetime | None,
    kind: str | None,
    who: str | None,
    what: str | None,
    target: str | None,
    org: str | None,
    app: str | None,
    purpose: str | None,
    dataset: str | None,
    limit: int,
    after: str | None,
    as_json: bool,
) -> None:
    """Rows of the trail in order, with who, what and for which purpose; the reading is a row itself."""
    from gateway.operations.read_audit import read_audit
    from gateway.store.audit import Wanted

    wanted = Wanted(
        from_day=_day(from_),
        to_day=_day(to),
        kind=kind,
        actor=who,
        act=what,
        target=target,
        org=org,
        app=app,
        purpose=purpose,
        dataset=dataset,
    )
    done = office.act(
        hand,
        "audit.read",
        {"filters": {name: getattr(wanted, name) for name in wanted.__struct_fields__}, "limit": limit, "after": after},
        lambda services, by: read_audit(services, wanted, after=_place(after), limit=limit, by=by),
    )
    show(
        done,
        as_json=as_json,
        text=lambda: table(
            [
                (f"{row.day}/{row.writer}/{row.n}", row.at, row.actor, row.act, row.target, row.purpose, row.dataset, row.row_count)
                for row in done.rows
            ],
            ("row", "at", "actor", "act", "target", "purpose", "dataset", "rows"),
        ),
    )


def _place(text: str | None) -> tuple[str, str, int] | None:
    if text is None:
        return None
    day, _, rest = text.partition("/")
    writer, _, number = rest.partition("/")
    if not number.isdigit():
        raise click.UsageError("--after is DAY/WRITER/N, as `audit list` shows it")
    return day, writer, int(number)


@audit.command("export")
@click.option("--from", "from_", type=DAY, required=True, metavar="DAY", help="First day.")
@click.option("--to", type=DAY, required=True, metavar="DAY", help="Last day.")
@click.option("--out", type=NEW_FOLDER, required=True, metavar="FOLDER", help="A new folder.")
@signed
@as_json
@office
def audit_export(office: Office, hand: Hand, from_: datetime, to: datetime, out: Path, as_json: bool) -> None:
    """Rows, tree and checkpoints of some days in a folder that verifies by itself."""
    from gateway.operations.read_audit import export_audit

    days = {"from_day": _day(from_) or "", "to_day": _day(to) or ""}
    done = office.act(hand, "audit.export", days, lambda services, by: export_audit(services, out, by=by, **days))
    show(
        done,
        as_json=as_json,
        text=lambda: [f"{done.folder}: {done.rows} rows, {done.entries} entries, {done.checkpoints} checkpoints"],
    )


@audit.command("about")
@click.argument("code", required=False)
@click.option("--subject", "file", type=FILE, default=None, help="Instead: JSON of kind, uscc or id_no; numbers of persons only so.")
@click.option("--from", "from_", type=DAY, metavar="DAY", help="First day; else from the first row on.")
@click.option("--to", type=DAY, metavar="DAY", help="Last day; else up to now.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.option("--after", metavar="DAY/WRITER/N", help="Go on where a page ended.")
@signed
@as_json
@office
def audit_about(
    office: Office,
    hand: Hand,
    code: str | None,
    file: Path | None,
    from_: datetime | None,
    to: datetime | None,
    limit: int,
    after: str | None,
    as_json: bool,
) -> None:
    """Who looked at what is kept about one subject, why, and what was done with it: what the subject may read; for a privacy officer."""
    from gateway.core.records.identifiers import uscc_is_valid
    from gateway.operations import who_looked as story

    if (code is None) == (file is None):
        raise click.UsageError("give a code, or --subject")
    if code is not None and not code.startswith("sub_") and not uscc_is_valid(code):
        raise click.UsageError("no valid code; the number of a person is given in a file (--subject), where nobody else reads it")
    subject = None if file is None else subject_in(file)
    days = {"from_day": _day(from_) or "", "to_day": _day(to) or story.ALWAYS}
    done = office.act(
        hand,
        "audit.about",
        {"code": code, **days, "limit": limit, "after": after},
        lambda services, by: story.who_looked(
            services, code=code, subject=subject, after=story.place_in(after), limit=limit, most=sys.maxsize, by=by, **days
        ),
    )
    show(done, as_json=as_json, text=lambda: _about_lines(done))


def _about_lines(found: "Looks") -> list[str]:
    rows = [
        (
            one.at,
            one.name or one.org,
            one.unit,
            one.label,
            one.purpose_label,
            "; ".join(one.basis),
            ", ".join(one.datasets),
            one.records,
            " ".join(f"{name}={count}" for name, count in one.forms.items()),
            one.result,
            one.case,
            one.policy_version,
            (one.policy_plan or "")[:12],
            one.row,
        )
        for one in found.rows
    ]
    names = ("at", "who", "unit", "what", "purpose", "basis", "dataset", "records", "forms", "result", "case", "policy", "plan", "row")
    return [*table(rows, names), *([] if found.next is None else ["more: --after {}/{}/{}".format(*found.next)])]
