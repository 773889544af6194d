"""Commands about adapters: `adapter list`, `adapter check`, `adapter new`; they need no settings of a gateway."""

import asyncio
import tomllib
from pathlib import Path

import rich_click as click

from gateway.commands.office import FILE, as_json
from gateway.console import say, show, table
from gateway.core.errors import SettingsError


@click.group()
def adapter() -> None:
    """Guests that read a source or speak to a partner."""


@adapter.command("list")
@as_json
def list_all(as_json: bool) -> None:
    """Name every adapter that is installed, its kind and its capabilities."""
    from gateway.adapter_loading import installed_adapters
    from gateway.operations.try_adapter import list_adapters

    found = list_adapters(installed_adapters())
    rows = [(each.name, " ".join(each.kinds), each.fault or " ".join(each.capabilities)) for each in found]
    show(found, as_json=as_json, text=lambda: table(rows, ("adapter", "kind", "capabilities")))


@adapter.command("check")
@click.argument("name")
@click.option("--config", type=FILE, default=None, metavar="FILE.toml", help="Settings of its line; with them its own check runs.")
@as_json
def check(name: str, config: Path | None, as_json: bool) -> None:
    """Say whether an adapter loads, keeps the contract and has what it promises; exit 1 when something is wrong."""
    from gateway.adapter_loading import installed_adapters
    from gateway.operations.try_adapter import check_adapter

    done = asyncio.run(check_adapter(installed_adapters(), name, None if config is None else _settings(config)))

    def text() -> list[str]:
        guest = done.guest
        lines = [f"{guest.name}: {guest.fault or 'keeps the contract'}"]
        if guest.fault is None:
            lines.append(f"  {' and '.join(guest.kinds)}, contract {guest.contract_version}: {' '.join(guest.capabilities)}")
            lines.append(f"  settings: {' '.join(done.settings)} (* cannot be left out)")
        for finding in done.findings:
            lines.append(f"  {'ok   ' if finding.ok else 'WRONG'} {finding.what}: {finding.message}")
            if finding.remedy:
                lines.append(f"        {finding.remedy}")
        return lines

    show(done, as_json=as_json, text=text)
    if not done.ok:
        raise SystemExit(1)


def _settings(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the file is no TOML: {error}", code="adapter-config", place=str(path)) from error


@adapter.command("new")
@click.argument("name")
@click.option("--kind", required=True, type=click.Choice(["source", "partner"]), help="What it reads, or to whom it speaks.")
@click.argument("folder", required=False, default=None, type=click.Path(file_okay=False, path_type=Path))
@as_json
def new(name: str, kind: str, folder: Path | None, as_json: bool) -> None:
    """Write a small distribution with an adapter, a simulated other side and tests that pass as they are."""
    from gateway.adapter_loading import installed_adapters
    from gateway.operations.try_adapter import new_adapter

    made = new_adapter(installed_adapters(), name, "source" if kind == "source" else "partner", folder or Path(name))
    if as_json:
        show(made, as_json=True, text=list)
        return
    for file in made.files:
        say(f"{made.folder}/{file}")
    say(f"next: cd {made.folder} && pip install -e '.[test]' && pytest")
