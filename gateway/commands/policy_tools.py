"""Commands that read policies and change nothing: `policy check`, `test`, `diff`, `explain`, `preview`.

Rules: each takes `--json`; exit 0, 1 on a coded error or where what was asked for does not hold, 2 on wrong usage. They show rules, counts
and synthetic records, never a value of the store.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from gateway.commands.office import FOLDER, Office, as_json, office
from gateway.console import say, show, table

if TYPE_CHECKING:
    from gateway.core.disclosure.audiences import SubjectField
    from gateway.core.disclosure.explain import Explanation
    from gateway.operations.change_policy import CheckReport, Finding
    from gateway.operations.compare_policies import Compared
    from gateway.operations.preview_policy import Previewed
    from gateway.operations.run_cases import TestReport
    from gateway.services import Services

at_day = click.option("--at", type=click.DateTime(["%Y-%m-%d"]), default=None, metavar="DATE", help="As of that day; else today.")
of_org = click.option("--org", default=None, metavar="USCC", help="As the live grants of this organisation narrow it.")


def _moment(at: datetime | None) -> datetime:
    """The middle of the day named, else now."""
    return at.replace(hour=4, tzinfo=UTC) if at is not None else datetime.now(UTC)


def _fewest(office: Office) -> int:
    """How many candidates must remain: by the settings where some are given, else as they are by default."""
    from gateway.core.disclosure.residual import DEFAULT_K

    held = office.given_settings()
    return DEFAULT_K if held is None else held.residual_k


@click.command("check")
@click.argument("folder", type=FOLDER)
@at_day
@as_json
@office
def check(office: Office, folder: Path, at: datetime | None, as_json: bool) -> None:
    """Compile a policy folder and tell what is wrong with it and with the agreements in it; needs no store."""
    from gateway.operations.change_policy import check_folder

    held = office.given_settings()
    report = check_folder(folder, _moment(at), residual_k=_fewest(office), ours=None if held is None else held.party)
    if as_json:
        members = ("ok", "errors", "warnings", "residual")  # policy.md §9 names these and no others
        show({name: getattr(report, name) for name in members}, as_json=True, text=list)
    else:
        for finding in report.errors:
            click.echo(f"error: {_told(finding)}", err=True)
        if report.ok:
            for line in check_lines(folder, report):
                say(line)
    if not report.ok:
        raise SystemExit(1)


def _told(finding: "Finding") -> str:
    place = ":".join(str(part) for part in (finding.file, finding.line) if part is not None)
    hint = f" ({finding.hint})" if finding.hint else ""
    return f"{finding.code}{f' at {place}' if place else ''}: {finding.message}{hint}"


def check_lines(folder: Path, report: "CheckReport") -> list[str]:
    """The good news, the warnings, and what remains behind each partly shown number."""
    lines = [f"ok: {folder} ({report.digest})", *(f"warning: {_told(finding)}" for finding in report.warnings)]
    if report.residual:
        lines += ["", "candidates that remain behind each partly shown identifier:"]
        lines += table([(left.field, left.tier, left.candidates) for left in report.residual], ("field", "tier", "candidates"))
    return lines


@click.command("test")
@click.argument("folder", type=FOLDER)
@at_day
@as_json
@office
def test(office: Office, folder: Path, at: datetime | None, as_json: bool) -> None:
    """Run the cases of a policy folder, and tell what no case looks at; needs no store."""
    from gateway.operations.run_cases import run_cases

    report = run_cases(folder, _moment(at), residual_k=_fewest(office))
    show(report, as_json=as_json, text=lambda: test_lines(report))
    if not report.ok:
        raise SystemExit(1)


def test_lines(report: "TestReport") -> list[str]:
    """Each case that does not hold, each rule and class without one."""
    lines = [f"{one.file}:{one.line}: {failure}" for one in report.failed for failure in one.failures]
    lines += [f"no case for the rule {rule}" for rule in report.coverage.rules]
    lines += [f"no case expects a field of class {class_} for {tier}" for tier, class_ in report.coverage.classes]
    held = report.cases - len(report.failed)
    state = "proposable" if report.ok else "not proposable"
    return [*lines, f"{held} of {report.cases} cases hold; {state} ({report.digest})"]


@click.command("diff")
@click.argument("a")
@click.argument("b")
@as_json
@office
def diff(office: Office, a: str, b: str, as_json: bool) -> None:
    """What changes from A to B (each a folder, a version number or `active`): cells, rights, gates, rows of the store."""
    from gateway.core.records.periods import legal_day
    from gateway.operations.compare_policies import compare

    async def told(services: "Services | None") -> "Compared":
        now = services.clock() if services is not None else datetime.now(UTC)
        return await compare(services, a, b, today=legal_day(now))

    found = _with_or_without_store(office, told)
    show(found, as_json=as_json, text=lambda: diff_lines(found))


def _with_or_without_store(office: Office, story: "Callable[[Services | None], Awaitable[Compared]]") -> "Compared":
    """Tell a story in the house where there is one; two folders are compared without."""
    held = office.given_settings()
    if held is not None and held.data_path.is_dir():
        return office.run(story)
    return asyncio.run(_alone(story))


async def _alone(story: "Callable[[Services | None], Awaitable[Compared]]") -> "Compared":
    return await story(None)


def diff_lines(found: "Compared") -> list[str]:
    """The effect, most weighty first."""
    if found.empty:
        return ["no effect: what is shown, to whom and under which conditions is the same"]
    needs = ", ".join(
        word
        for word, true in (
            ("a second person", found.widens),
            ("the privacy officer", found.personal),
            ("privacy and legal officer (red lines)", found.redlines and found.widens),
        )
        if true
    )
    lines = [f"widens: needs {needs}" if found.widens else "only narrows: one person may activate it", f"effect {found.effect_digest}"]
    lines += _block("cells by class", [(name, f"+{ways['widened']}", f"-{ways['narrowed']}") for name, ways in found.by_class.items()])
    lines += _block("newly visible to the public", [(name,) for name in found.public_fields])
    lines += _block(
        "cells",
        [
            ("+" if cell.widens else "-", cell.dataset, cell.field, cell.kind, cell.tier, cell.purpose, f"{cell.before} → {cell.after}")
            for cell in sorted(found.cells, key=lambda each: not each.widens)
        ],
    )
    lines += _block(
        "capabilities",
        [
            ("+" if right.gained else "-", right.dataset, right.field, right.kind, right.tier, right.purpose, right.capability)
            for right in sorted(found.capabilities, key=lambda each: not each.gained)
        ],
    )
    signs = {"widens": "+", "narrows": "-", "neutral": "="}
    lines += _block(
        "everything else",
        [
            (signs[other.direction], other.area, other.place, other.what, f"{_short(other.before)} → {_short(other.after)}")
            for other in sorted(found.others, key=lambda each: list(signs).index(each.direction))
        ],
    )
    if found.rows is None:
        lines += ["", "rows: no store to count in"]
    else:
        rows = [row for row in found.rows if row.newly_visible or row.newly_hidden]
        lines += _block(
            "rows of the store", [(row.dataset, row.tier, row.purpose, f"+{row.newly_visible}", f"-{row.newly_hidden}") for row in rows]
        )
        lines += [] if rows else ["", "rows: none becomes visible or hidden"]
    apps = [(app.app, app.name, app.org, app.tier, ", ".join(app.datasets), f"{app.calls_30d} calls") for app in found.apps or ()]
    lines += _block("apps concerned, with their calls of thirty days", apps)
    for sample in found.samples:
        lines += ["", f"synthetic ({sample.case}): {sample.dataset}, {sample.kind}, {sample.tier} for {sample.purpose}"]
        for name in dict.fromkeys((*sample.before, *sample.after)):
            lines.append(f"  {name}: {sample.before.get(name, 'ABSENT')} → {sample.after.get(name, 'ABSENT')}")
    return lines


def _block(title: str, rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A headed part; nothing where there is nothing to tell."""
    return ["", f"{title}:", *(f"  {'  '.join(row)}" for row in rows)] if rows else []


def _short(text: str | None) -> str:
    if text is None:
        return "none"
    return text if len(text) <= 60 else f"{text[:57]}…"


@click.command("explain")
@click.option("--dataset", required=True)
@click.option("--tier", required=True)
@click.option("--purpose", default=None, help="Else open.read for public, the tier's first purpose otherwise.")
@click.option("--kind", default=None, help="legal, individual_business or natural; else all three.")
@click.option("--field", default=None, help="One field; else all.")
@of_org
@as_json
@office
def explain(
    office: Office, dataset: str, tier: str, purpose: str | None, kind: str | None, field: str | None, org: str | None, as_json: bool
) -> None:
    """Why a tier sees a field as it does: class, rule, each step, treatment, basis, what would show more; never a value.

    With `--tier subject` also who may see it about the person concerned, in the words meant for that person.
    """
    from gateway.operations.explain_policy import explained

    found = office.run(
        lambda services: explained(services, dataset=dataset, tier=tier, purpose=purpose, kind=kind, field=field, org=org)
    )
    if isinstance(found, list):
        show(found, as_json=as_json, text=lambda: explain_lines(found))
    else:
        show(found, as_json=as_json, text=lambda: [*explain_lines(found.cells), *subject_lines(found.who_may_see)])


UNCLASSIFIED = "nothing before the field has a class: of class U nobody is shown anything"


def explain_lines(cells: "Sequence[Explanation]") -> list[str]:
    """One line a cell; a single cell also with its steps, rights, obligations, the reason in Chinese, and what would show more."""
    lines = table(
        [(cell.field, cell.kind, cell.treatment, cell.class_, cell.rule, _place(cell), "、".join(cell.basis)) for cell in cells],
        ("field", "kind", "treatment", "class", "rule", "where", "basis"),
    )
    if len({cell.field for cell in cells}) > 1:
        return lines
    for cell in cells:
        lines += ["", f"{cell.kind}{f', grant {cell.grant}' if cell.grant else ''}: {cell.reason}", *(f"  {step}" for step in cell.steps)]
        lines.append(f"  capabilities: {', '.join(cell.capabilities) or 'none'}")
        if cell.obligations is not None:
            lines.append(f"  obligations: {', '.join(_owed(cell.obligations)) or 'none'}")
        if cell.rows is not None:
            lines.append(f"  rows: {cell.rows}")
        lines += [
            f"  shows more: another {one.change}: {one.tier} for {one.purpose} ({one.tier_label}，{one.purpose_label}): {one.treatment}"
            for one in cell.reveals
        ]
        if not cell.reveals and cell.treatment != "clear":
            lines.append("  shows more: " + (UNCLASSIFIED if cell.class_ == "U" else "nothing in this policy: no tier, purpose or grant"))
    return lines


def _owed(obligations: object) -> list[str]:
    import msgspec

    return [f"{name} {value}" for name, value in msgspec.structs.asdict(obligations).items() if value not in (None, "none")]  # type: ignore[arg-type]  # a Struct


def subject_lines(fields: "Sequence[SubjectField]") -> list[str]:
    """谁可以看到关于我的什么, field by field."""
    lines: list[str] = []
    for one in fields:
        lines += ["", f"{one.dataset_label} · {one.label}"]
        lines += [f"  {seen.tier_label}（{seen.purpose_label}）：{seen.form}。依据{'、'.join(seen.basis)}" for seen in one.seen_by]
        lines += [] if one.seen_by else ["  不向任何人提供"]
    return lines


def _place(cell: "Explanation") -> str:
    return cell.file if cell.line is None else f"{cell.file}:{cell.line}"


@click.command("preview")
@click.option("--tier", required=True)
@click.option("--dataset", default=None, help="One dataset; else all.")
@click.option("--purpose", default=None, help="One purpose; else each of the tier.")
@of_org
@at_day
@as_json
@office
def preview(
    office: Office, tier: str, dataset: str | None, purpose: str | None, org: str | None, at: datetime | None, as_json: bool
) -> None:
    """Synthetic records, worst cases too, as a tier would see them under the policy in force."""
    from gateway.operations.preview_policy import previewed

    day = at.date() if at is not None else None
    found = office.run(lambda services: previewed(services, tier=tier, dataset=dataset, purpose=purpose, org=org, at=day))
    show(found, as_json=as_json, text=lambda: preview_lines(found))


def preview_lines(found: "Sequence[Previewed]") -> list[str]:
    """Each synthetic record with what is shown of it."""
    lines: list[str] = []
    for one in found:
        head = f"{one.dataset}, {one.kind}, {one.case}: {one.tier} for {one.purpose}{f', grant {one.grant}' if one.grant else ''}"
        lines += ["", head if one.closed is None else f"{head}: closed ({one.closed})"]
        for name, value in one.fields.items():
            how = f"  [{one.treatments[name]}]" if name in one.treatments else ""
            lines.append(f"  {name}: {'null' if value is None else value}{how}")
        lines += [f"  {name}: –  [{how}]" for name, how in one.treatments.items() if name not in one.fields]
    return lines


COMMANDS = (check, test, diff, explain, preview)
