"""The command `chengxin`: parse the command line, call one story, say what became of it.

Rules: exit 0 when it was done, 1 on a coded error, 2 on wrong usage, 3 from `ingest` when rows were rejected; `--json` gives the
story's own result; whoever acts is named in the audit. Rooms are imported inside the commands, so that `--help` is quick. This
room must not decide anything: every rule stands in the story that it calls.
"""

import copy
import getpass
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import rich_click as click

from gateway import __version__, garbage
from gateway.commands import (
    adapters,
    admin_call,
    admins,
    agreements,
    audits,
    backups,
    callers,
    custody,
    exchange,
    exported,
    keys,
    lifecycle,
    lines,
    lists,
    log,
    measures,
    policies,
    queries,
    records,
    retention,
    reviews,
    running,
)
from gateway.commands.office import DEFAULT_SETTINGS, FILE, Office
from gateway.console import tell_error


class House(click.RichGroup):
    """The command with its groups; `--help` names every command of every group in a line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, those of groups as `group command`."""
        names: list[str] = []
        for name, command in self.commands.items():
            names += [f"{name} {inner}" for inner in command.commands] if isinstance(command, click.Group) else [name]
        return names

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by its own name, or `group command` as listed."""
        group, _, inner = cmd_name.partition(" ")
        command = self.commands.get(group)
        if not inner or not isinstance(command, click.Group) or inner not in command.commands:
            return command if not inner else None
        listed = copy.copy(command.commands[inner])
        listed.name = cmd_name  # help prints a command's own name
        return listed


@click.group(cls=House, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--settings", "path", type=FILE, envvar="CHENGXIN_SETTINGS", help=f"Settings file; else CHENGXIN_SETTINGS, else ./{DEFAULT_SETTINGS}."
)
@click.option("--actor", default=None, help="Who acts, for the audit; else the login name.")
@click.version_option(__version__, prog_name="chengxin")
@click.pass_context
def cli(context: click.Context, path: Path | None, actor: str | None) -> None:
    """Chengxin Gateway (诚信网关): publishes a city's public-credit records and exchanges them with other cities."""
    context.obj = Office(path, actor or f"office:{_login()}")


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


for _command in (
    running.init,
    running.serve,
    running.demo,
    running.sample,
    records.ingest,
    records.expire,
    records.withdraw,
    records.repair,
    records.dispute,
    policies.policy,
    keys.key,
    admin_call.admin,
    callers.grant,
    callers.call,
    reviews.review,
    agreements.agreement,
    exchange.exchange,
    queries.query,
    measures.measure,
    adapters.adapter,
    lines.line,
    lists.lists,
    log.log,
    audits.audit,
    audits.verify,
    custody.erase,
    custody.shred,
    retention.retention,
    backups.backup,
    running.settle,
    running.openapi,
):
    cli.add_command(_command)


for _command in (*admins.COMMANDS, *callers.KEY_COMMANDS, *custody.COMMANDS):
    keys.key.add_command(_command)
exchange.exchange.add_command(exported.exchange_record)
for _command in lifecycle.COMMANDS:
    policies.policy.add_command(_command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, the process's own when none is given; every error becomes one line. Its status."""
    try:
        status = cli(arguments, standalone_mode=False)  # the status of `--help` and its like; None after a command
    except click.ClickException as error:
        error.show()
        return int(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except Exception as error:  # noqa: BLE001 - the last place that can turn a fault into a line without data
        return tell_error(error)
    return int(status or 0)


def main() -> None:
    """The command as a process."""
    garbage.seldom()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `chengxin … | head` ends quietly
    raise SystemExit(run())
