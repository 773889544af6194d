"""Commands about copies of the whole gateway: `backup make` and `backup restore`."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from gateway.commands.office import FOLDER, Office, as_json, office
from gateway.console import show

if TYPE_CHECKING:
    from gateway.operations.back_up import Restored

_NEW = click.Path(file_okay=False, path_type=Path)


@click.group()
def backup() -> None:
    """Copies of a gateway on SQLite, data and keys apart; on PostgreSQL its own tools make them (gateway/RUNNING.md)."""


@backup.command("make")
@click.argument("data", type=_NEW)
@click.argument("keys", type=_NEW)
@as_json
@office
def make(office: Office, data: Path, keys: Path, as_json: bool) -> None:
    """Copy everything but the keys to DATA, and the keys of the same moment to KEYS: two new folders, the second kept 30 days at most."""
    from gateway.operations.back_up import back_up

    done = office.run(lambda services: back_up(services, data=data, keys=keys, by=office.actor))
    show(
        done,
        as_json=as_json,
        text=lambda: [
            f"as of {done.made_at.isoformat()}",
            f"data  {done.data} ({done.data_bytes:,} bytes)",
            f"keys  {done.keys} ({done.keys_bytes:,} bytes), wrapped: the key-encryption key and our signing keys are not in it",
        ],
    )


@backup.command("restore")
@click.argument("data", type=FOLDER)
@click.argument("keys", type=FOLDER)
@click.option("--newer-keys", type=FOLDER, default=None, help="The newest copy of the keys: whoever was shredded before it stays so.")
@as_json
@office
def restore(office: Office, data: Path, keys: Path, newer_keys: Path | None, as_json: bool) -> None:
    """Make the database anew out of DATA and KEYS; it must not be there. Says what it still takes before anybody may ask it."""
    from gateway.operations.back_up import restore as story

    done = asyncio.run(story(office.settings(), data=data, keys=keys, newer_keys=newer_keys, by=office.actor))
    show(done, as_json=as_json, text=lambda: _said(done))


def _said(done: "Restored") -> list[str]:
    return [
        f"{done.database} as of {done.made_at.isoformat()}; what happened since is not in it:",
        "  take in again what authorities sent since, and withdraw, repair and erase again what was withdrawn, repaired and erased",
        "  `exchange doctor` says which streams begin a new epoch",
        *(f"  purged, and told anew by itself once the gateway serves: {each}" for each in done.streams),
        *(f"  shred again: {each}" for each in done.shredded_since),
        *(f"  a signed head that may be ahead: {each}; `verify audit`, `verify log`; keep it as evidence" for each in done.heads),
    ]
