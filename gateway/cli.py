"""The command `chengxin`: parse the command line, call one story, say what became of it.

Rules: exit 0 when it was done, 1 on a coded error, 2 on wrong usage, 3 from `ingest` when rows were rejected; `--json` gives the
story's own result; whoever acts is named in the audit. Rooms are imported inside the commands, so that `--help` is quick. This
room must not decide anything: every rule stands in the story that it calls.
"""

import asyncio
import copy
import getpass
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click
from click.exceptions import Abort, Exit

from gateway import __version__, settings
from gateway.console import note, progress, say, show, table, tell_error
from gateway.core.errors import SettingsError

if TYPE_CHECKING:
    from gateway.operations.ingest import IngestReceipt
    from gateway.sample.generate import SampleFile
    from gateway.services import Services

T = TypeVar("T")

DEFAULT_SETTINGS = Path("chengxin.toml")
REJECTED = 3
SAMPLE_SEED = 20260401
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
as_json = click.option("--json", "as_json", is_flag=True, help="The result as JSON.")


class Office:
    """What every command needs: where the settings are and who acts."""

    def __init__(self, path: Path | None, actor: str) -> None:
        self.path = path if path is not None or not DEFAULT_SETTINGS.is_file() else DEFAULT_SETTINGS
        self.actor = actor

    def settings(self) -> settings.Settings:
        """The settings of this gateway.

        Raises SettingsError.
        """
        if self.path is None and not any(name.startswith(settings.ENVIRONMENT_PREFIX) for name in os.environ):
            raise SettingsError(
                "no settings are given", place="--settings", hint=f"write {DEFAULT_SETTINGS}, or give --settings FILE; README.md shows one"
            )
        return settings.load(self.path)

    @asynccontextmanager
    async def services(self) -> "AsyncIterator[Services]":
        """The open house."""
        from gateway.services import open_services

        async with open_services(self.settings()) as services:
            yield services

    def run(self, story: "Callable[[Services], Awaitable[T]]") -> T:
        """Open the house, tell one story, close the house."""

        async def told() -> T:
            async with self.services() as services:
                return await story(services)

        return asyncio.run(told())


office = click.make_pass_decorator(Office)


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


# --- running ----------------------------------------------------------------------------------------------------------


@cli.command()
@as_json
@office
def init(office: Office, as_json: bool) -> None:
    """Make data directory, keys and tables, and put the first policies into force; may be repeated."""
    from gateway.operations.set_up import set_up

    done = asyncio.run(set_up(office.settings(), by=office.actor))
    made = ", ".join(done.keys.files) or "none, all were there"
    show(
        done,
        as_json=as_json,
        text=lambda: [
            f"data directory  {done.data_dir} ({done.database})",
            f"new keys        {made}",
            f"policies        {done.policies_folder}" + (" (copied from the shipped ones)" if done.policies_copied else ""),
            f"policy version  {done.policy.version}" + (" (activated now)" if done.policy.first else " (in force already)"),
        ],
    )


@cli.command()
@office
def serve(office: Office) -> None:
    """Serve the gateway over HTTP: the production entry."""
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    from gateway.services import open_services

    config = office.settings()
    if office.path is not None:
        os.environ["CHENGXIN_SETTINGS"] = str(office.path.resolve())  # workers are processes of their own and read it again

    async def check() -> None:
        async with open_services(config):  # a fault shows here, once, instead of in a worker that is started over and over
            pass

    asyncio.run(check())
    _port_is_free(config.host, config.port)
    # a TERM that comes before a worker is ready is lost on it; after ten seconds the worker is ended
    Granian(
        "gateway.app:create",
        address=config.host,
        port=config.port,
        interface=Interfaces.ASGI,
        factory=True,
        workers=config.workers,
        log_access=False,
        log_level=LogLevels.warning,
        workers_kill_timeout=10,
        respawn_failed_workers=True,
    ).serve()


def _port_is_free(host: str, port: int) -> None:
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"the address cannot be used: {error.strerror}",
                code="port-in-use",
                place=f"{host}:{port}",
                hint="stop what listens there, or set another `port`",
            ) from error


@cli.command()
@click.option(
    "--data",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".run"),
    show_default=True,
    help="Where both cities keep their data.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65534),
    default=8000,
    show_default=True,
    help="Port of Tonghua; Baishan takes the next one unless --neighbour-port says otherwise.",
)
@click.option("--neighbour-port", type=click.IntRange(1, 65535), default=None, help="Port of Baishan.")
@click.option("--subjects", type=click.IntRange(50, 200_000), default=3000, show_default=True, help="Invented subjects a city.")
@click.option("--seed", type=int, default=SAMPLE_SEED, show_default=True, help="Seed of the invented sample.")
@click.option("--once", is_flag=True, help="End after the story instead of staying up.")
def demo(folder: Path, port: int, neighbour_port: int | None, subjects: int, seed: int, once: bool) -> None:
    """Two invented cities on this machine, exchanging; the same as `make run`."""
    from gateway.demo import Plan, run_demo

    raise SystemExit(run_demo(Plan(folder=folder, ports=(port, neighbour_port or port + 1), subjects=subjects, seed=seed, stay=not once)))


@cli.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--city", type=click.Choice(["220500", "220600"]), default="220500", show_default=True, help="Whose departments send.")
@click.option("--subjects", type=click.IntRange(8, 200_000), default=3000, show_default=True, help="How many invented subjects.")
@click.option("--seed", type=int, default=SAMPLE_SEED, show_default=True, help="The same seed gives the same bytes.")
@as_json
def sample(folder: Path, city: str, subjects: int, seed: int, as_json: bool) -> None:
    """Write invented department files to try, dirty rows among them; nothing in them is real."""
    from gateway.sample.generate import write_sample

    files = write_sample(folder, seed=seed, city=city, subjects=subjects)
    told = [
        {
            "file": str(one.path),
            "dataset": one.dataset,
            "authority": one.authority,
            "officer": one.officer,
            "encoding": one.encoding,
            "rows": one.rows,
        }
        for one in files
    ]
    show(told, as_json=as_json, text=lambda: [shlex.join(["chengxin", *ingest_arguments(one)]) for one in files])


def ingest_arguments(file: "SampleFile") -> list[str]:
    """The command line that takes a file of the sample in as it was meant."""
    whose = ["--authority", file.authority, "--officer", file.officer or ""] if file.authority is not None else []
    return ["ingest", file.dataset, str(file.path), "--encoding", file.encoding, *whose]


# --- records ----------------------------------------------------------------------------------------------------------


@cli.command()
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
    as_json: bool,
) -> None:
    """Take in a department's file; exit 3 when rows were rejected, 1 when the file was refused."""
    from gateway.operations import ingest as story

    if (authority is None) != (officer is None):
        raise click.UsageError("--authority and --officer go together: an upload is somebody's own statement, or it is vouched")

    async def told(services: "Services") -> "IngestReceipt":
        with progress(file.name) as tell:
            return await story.ingest(
                services, dataset=dataset, path=file, authority=authority, officer=officer, encoding=encoding, progress=tell
            )

    receipt = office.run(told)
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


def write_whole(path: Path, data: bytes) -> None:
    """A file that is there whole or not at all."""
    draft = path.with_name(path.name + ".part")
    draft.write_bytes(data)
    draft.replace(path)


@cli.command()
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


@cli.command()
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


@cli.command()
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


@cli.group()
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


# --- policies ---------------------------------------------------------------------------------------------------------


@cli.group()
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

    async def told(services: "Services") -> Any:
        policies = await services.policies.fresh()
        chosen = purpose or next((name for name, one in policies.purposes.items() if tier in one.tiers), "open.read")
        return explain_cells(policies, dataset=dataset, tier=tier, purpose=chosen, kind=kind, field=field)

    found = office.run(told)
    show(found, as_json=as_json, text=lambda: explain_lines(found))


def explain_lines(cells: Any) -> list[str]:
    """One line a cell: field, kind, treatment, class, rule and where it stands, basis."""
    return table(
        [
            (
                cell.field,
                cell.kind,
                cell.treatment,
                cell.class_,
                cell.rule,
                f"{cell.file}:{cell.line}" if cell.file else "-",
                "；".join(basis.text for basis in cell.basis),
            )
            for cell in cells
        ],
        ("field", "kind", "treatment", "class", "rule", "file", "basis"),
    )


# --- keys -------------------------------------------------------------------------------------------------------------


@cli.group()
def key() -> None:
    """Keys and tokens of this gateway."""


@key.command("init")
@as_json
@office
def key_init(office: Office, as_json: bool) -> None:
    """Make the keys that are missing; never overwrites one."""
    from gateway.operations.manage_keys import create_keys

    done = create_keys(office.settings())
    show(done, as_json=as_json, text=lambda: [f"{done.folder}: {', '.join(done.files) or 'all keys were there'}"])


@key.command("list")
@as_json
@office
def key_list(office: Office, as_json: bool) -> None:
    """Our signing keys: use, verifier key, life, state."""
    from gateway.operations.manage_keys import list_keys

    config = office.settings()
    lines = list_keys(config, settings.clock_of(config)())
    show(
        lines,
        as_json=as_json,
        text=lambda: table(
            [(line.use, line.state, line.not_before, line.not_after, line.vkey) for line in lines],
            ("use", "state", "from", "until", "verifier key"),
        ),
    )


@key.command("new")
@click.argument("use", type=click.Choice(["exchange", "http"]))
@as_json
@office
def key_new(office: Office, use: Any, as_json: bool) -> None:
    """Make a successor of a signing key, good from tomorrow on, so that partners learn of it first."""
    from gateway.operations.manage_keys import new_key

    line = office.run(lambda services: new_key(services, use, by=office.actor))
    show(line, as_json=as_json, text=lambda: [f"{line.vkey}: good from {line.not_before:%Y-%m-%dT%H:%M:%SZ}"])


@key.command("issue-token")
@click.option("--app", required=True, help="Name of the application that will use it.")
@click.option("--org", required=True, metavar="USCC", help="Organisation behind it.")
@click.option("--purpose", required=True, help="The one purpose it is bound to, for example dept.supervision.")
@click.option("--tier", default="department", show_default=True)
@as_json
@office
def key_issue_token(office: Office, app: str, org: str, purpose: str, tier: str, as_json: bool) -> None:
    """Give a department's application a token of ten minutes; it is shown once."""
    from gateway.operations.manage_keys import issue_token

    done = office.run(lambda services: issue_token(services, app=app, org=org, tier=tier, purpose=purpose, by=office.actor))
    show(
        done,
        as_json=as_json,
        text=lambda: [done.token, f"until {done.expires_at:%Y-%m-%dT%H:%M:%SZ}; send it as `Authorization: Bearer …`"],
    )


# --- program ----------------------------------------------------------------------------------------------------------


@cli.command()
@office
def settle(office: Office) -> None:
    """Test mode: run all readers of the change log to the end."""
    from gateway.operations.render_public import settle as story

    async def told(services: "Services") -> None:
        if not services.settings.demo:
            raise SettingsError("`settle` exists with demo = true on loopback only", code="test-mode-only", place="settle")
        await story(services)

    office.run(told)
    say("settled")


@cli.command()
def openapi() -> None:
    """The OpenAPI document as this program serves it."""
    from gateway.app import openapi_document

    sys.stdout.buffer.write(openapi_document())


def main() -> None:
    """Run the command; every error becomes one line and a status."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `chengxin … | head` ends quietly
    try:
        cli(standalone_mode=False)
    except Exit as end:
        raise SystemExit(end.exit_code) from None
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except (Abort, KeyboardInterrupt):
        raise SystemExit(130) from None
    except Exception as error:  # noqa: BLE001 - the last place that can turn a fault into a line without data
        raise SystemExit(tell_error(error)) from None
