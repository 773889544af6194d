"""Commands about versions of lists and datasets: `lists build`, `lists show`, `lists withdraw`, `verify list`."""

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from gateway.commands.audits import verify
from gateway.commands.office import FILE, Office, as_json, office
from gateway.console import say, show

if TYPE_CHECKING:
    from gateway.operations.build_lists import Made
    from gateway.services import Services


@click.group()
def lists() -> None:
    """Versions of lists and datasets."""


@lists.command("build")
@click.argument("collection", required=False)
@as_json
@office
def lists_build(office: Office, collection: str | None, as_json: bool) -> None:
    """Issue again what has lost a row, and build a version of whatever (or of one collection) changed; a server does so by itself."""
    from gateway.operations.build_lists import build
    from gateway.operations.reissue_lists import follow
    from gateway.operations.render_public import render_public

    async def story(services: "Services") -> "list[Made]":
        while await render_public(services):
            pass
        while await follow(services):
            pass
        return await build(services, only=collection)

    done = office.run(story)
    show(
        done,
        as_json=as_json,
        text=lambda: [f"{each.collection} {each.version}: {each.rows} rows" for each in done] or ["nothing has changed"],
    )


@lists.command("show")
@click.argument("collection", required=False)
@as_json
@office
def lists_show(office: Office, collection: str | None, as_json: bool) -> None:
    """The versions of every list and dataset, or of one (`lists/ID`, `datasets/ID`), newest first."""
    from gateway.operations.kept_versions import kept_versions

    done = office.run(lambda services: kept_versions(services, collection))
    show(
        done,
        as_json=as_json,
        text=lambda: [
            f"{each.collection} {each.version} r{each.issue} {each.state}: {each.rows} rows, {each.removed} removed since" for each in done
        ],
    )


@lists.command("withdraw")
@click.argument("collection")
@click.argument("version")
@office
def lists_withdraw(office: Office, collection: str, version: str) -> None:
    """Take a version back that was published in error; its files are gone for good, deltas from it go on."""
    from gateway.operations.kept_versions import withdraw_version

    office.run(lambda services: withdraw_version(services, collection, version, by=office.actor))
    say(f"{collection} {version} is withdrawn")


@verify.command("list")
@click.argument("file", type=FILE)
@click.option("--checkpoint", type=FILE, required=True, help="The checkpoint of the version.")
@click.option("--manifest", type=FILE, help="The manifest of the version; needed where rows have left since it was built.")
@click.option("--vkey", "vkeys", multiple=True, metavar="KEY", help="The verifier key to believe, from `/v1/keys`; else our own.")
@as_json
@office
def verify_list(office: Office, file: Path, checkpoint: Path, manifest: Path | None, vkeys: tuple[str, ...], as_json: bool) -> None:
    """Check a version in NDJSON against its signed checkpoint: signature, manifest, Merkle root; needs no store."""
    from gateway.core.exchange.notes import KeyRing, KnownKey
    from gateway.core.signing import parse_vkey
    from gateway.operations import verify_list as story
    from gateway.services import load_signers

    believed = vkeys or [key.signer.vkey for key in load_signers(office.settings()).keys if key.use == "export"]
    ring = KeyRing.of("", [KnownKey(verifier=parse_vkey(each), use="export") for each in believed])
    done = story.verify_list(
        file.read_bytes(),
        checkpoint.read_text(encoding="utf-8"),
        ring,
        manifest=None if manifest is None else manifest.read_bytes(),
    )
    show(
        done,
        as_json=as_json,
        text=lambda: [
            done.origin,
            f"{done.rows} rows and {done.removed} commitments of what has left make the signed root of {done.size}",
            "the manifest is the signed one" if done.manifest else "no manifest was compared (--manifest FILE)",
        ],
    )
