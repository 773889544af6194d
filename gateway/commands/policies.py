"""Commands about which policy is in force: `policy activate`, `status`; those that only read stand in `policy_tools`."""

from pathlib import Path

import rich_click as click

from gateway.commands import policy_tools
from gateway.commands.office import FOLDER, Office, as_json, office
from gateway.console import show


@click.group()
def policy() -> None:
    """What tiers may see: check, test, compare, explain, preview, activate."""


for tool in policy_tools.COMMANDS:
    policy.add_command(tool)


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
