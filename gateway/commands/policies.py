"""Commands about policies: `policy check`, `activate`, `status`, `explain`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from gateway.commands.office import FOLDER, Office, as_json, office
from gateway.console import say, show, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.disclosure.explain import Explanation
    from gateway.services import Services


@click.group()
def policy() -> None:
    """What tiers may see: check, activate, show, explain."""


@policy.command("check")
@click.argument("folder", type=FOLDER)
@click.option("--at", type=click.DateTime(["%Y-%m-%d"]), default=None, metavar="DATE", help="As of that day; else today.")
@as_json
def policy_check(folder: Path, at: datetime | None, as_json: bool) -> None:
    """Compile a policy folder and tell what is wrong with it; needs no store."""
    from gateway.operations.change_policy import check_folder

    report = check_folder(folder, at.replace(tzinfo=UTC) if at else datetime.now(UTC))
    if as_json:
        show(report, as_json=True, text=list)
    elif report.ok:
        say(f"ok: {folder} ({report.digest})")
        for warning in report.warnings:
            click.echo(f"warning: {warning.code} at {warning.file}: {warning.message}")
        for left in report.residual:
            click.echo(f"residual: {left.field} for {left.tier}: {left.candidates} candidates")
    else:
        for finding in report.errors:
            place = ":".join(str(part) for part in (finding.file, finding.line) if part is not None)
            hint = f" ({finding.hint})" if finding.hint else ""
            click.echo(f"error: {finding.code}{f' at {place}' if place else ''}: {finding.message}{hint}", err=True)
    if not report.ok:
        raise SystemExit(1)


@policy.command("activate")
@click.argument("folder", type=FOLDER)
@click.option("--initial", is_flag=True, help="The first activation of an empty store.")
@as_json
@office
def policy_activate(office: Office, folder: Path, initial: bool, as_json: bool) -> None:
    """Put a folder into force in a store that has no policy yet."""
    from gateway.operations.change_policy import activate_initial

    if not initial:
        raise click.UsageError("only --initial activates a folder; a later change needs a proposal and a second person's approval")
    done = office.run(lambda services: activate_initial(services, folder, by=office.actor))
    show(
        done,
        as_json=as_json,
        text=lambda: [f"policy version {done.version}: {'activated' if done.first else 'in force already'} ({done.digest})"],
    )


@policy.command("status")
@as_json
@office
def policy_status(office: Office, as_json: bool) -> None:
    """Which policy version is in force, and whether the folder says something else."""
    from gateway.operations.change_policy import status

    found = office.run(status)
    folder = "the folder is the same" if found.digest == found.folder_digest else "the folder differs: a proposal only"
    show(
        found,
        as_json=as_json,
        text=lambda: [
            f"version   {found.version or 'none: chengxin policy activate --initial FOLDER'}",
            f"digest    {found.digest or '-'}",
            f"folder    {found.folder} ({folder})",
            f"datasets  {', '.join(found.datasets) or '-'}",
            f"lists     {', '.join(found.lists) or '-'}",
            f"plan sets {found.plans}",
        ],
    )


@policy.command("explain")
@click.option("--dataset", required=True)
@click.option("--tier", required=True)
@click.option("--purpose", default=None, help="Else open.read for public, the tier's first purpose otherwise.")
@click.option("--kind", default=None, help="legal, individual_business or natural; else all three.")
@click.option("--field", default=None, help="One field; else all.")
@as_json
@office
def policy_explain(
    office: Office, dataset: str, tier: str, purpose: str | None, kind: str | None, field: str | None, as_json: bool
) -> None:
    """Why a tier sees a field as it does: class, rule, treatment, basis; never a value."""
    from gateway.operations.change_policy import explain_cells

    async def told(services: "Services") -> "list[Explanation]":
        policies = await services.policies.fresh()
        chosen = purpose or next((name for name, one in policies.purposes.items() if tier in one.tiers), "open.read")
        return explain_cells(policies, dataset=dataset, tier=tier, purpose=chosen, kind=kind, field=field)

    found = office.run(told)
    show(found, as_json=as_json, text=lambda: explain_lines(found))


def explain_lines(cells: "Sequence[Explanation]") -> list[str]:
    """One line a cell; a single cell also with its steps, the reason in Chinese, and what would show more."""
    lines = table(
        [(cell.field, cell.kind, cell.treatment, cell.class_, cell.rule, _place(cell), "、".join(cell.basis)) for cell in cells],
        ("field", "kind", "treatment", "class", "rule", "where", "basis"),
    )
    if len({cell.field for cell in cells}) == 1:
        for cell in cells:
            lines += ["", f"{cell.kind}: {cell.reason}", *(f"  {step}" for step in cell.steps)]
            lines += [
                f"  shows more: {one.tier} for {one.purpose} ({one.tier_label}，{one.purpose_label}): {one.treatment}"
                for one in cell.reveals
            ]
    return lines


def _place(cell: "Explanation") -> str:
    return cell.file if cell.line is None else f"{cell.file}:{cell.line}"
