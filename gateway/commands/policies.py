"""Commands about which policy is in force: `policy status`; those that only read: `policy_tools`; those that change it: `lifecycle`."""


import rich_click as click

from gateway.commands import policy_tools
from gateway.commands.office import Office, as_json, office
from gateway.console import show


@click.group()
def policy() -> None:
    """What tiers may see: check, test, compare, explain, preview, activate."""


for tool in policy_tools.COMMANDS:
    policy.add_command(tool)


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
            *(
                f"{one.state:9} proposal {one.proposal}: version {one.version} by {one.author}"
                + (f", at {one.activate_at:%Y-%m-%dT%H:%M:%SZ}" if one.activate_at else "")
                + (f", unconfirmed since {one.unconfirmed_since:%Y-%m-%dT%H:%M:%SZ}" if one.unconfirmed_since else "")
                for one in found.proposals
            ),
            *(f"ALARM     {one.kind} {one.target} since {one.raised_at:%Y-%m-%dT%H:%M:%SZ}" for one in found.alarms),
        ],
    )
