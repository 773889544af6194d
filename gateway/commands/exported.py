"""Commands about one record that travels by itself: `exchange record` makes it, `verify record` checks it."""

from pathlib import Path

import rich_click as click

from gateway.commands.audits import verify
from gateway.commands.office import FILE, Office, as_json, office
from gateway.console import say, show


@click.command("record")
@click.argument("stream")
@click.argument("record")
@click.option("--disclose", "disclosed", multiple=True, metavar="FIELD", help="A field to show, by its name on the wire; else all of them.")
@office
def exchange_record(office: Office, stream: str, record: str, disclosed: tuple[str, ...]) -> None:
    """One record that a stream of ours said, as SD-JWT that holds for a day: what a partner may show a third party."""
    from gateway.operations.show_exchange import own_record

    say(office.run(lambda services: own_record(services, stream, record, disclosed or None, by=office.actor)))


@verify.command("record")
@click.argument("file", type=FILE)
@click.option("--vkey", "vkeys", multiple=True, metavar="KEY", help="An `export` key of the issuer to believe; else our own.")
@as_json
@office
def verify_record(office: Office, file: Path, vkeys: tuple[str, ...], as_json: bool) -> None:
    """Check a record that came as SD-JWT: signature, disclosures, that it is in force and not over; needs no store."""
    from gateway.core.exchange import sd_jwt
    from gateway.core.exchange.notes import KeyRing, KnownKey
    from gateway.core.signing import parse_vkey
    from gateway.services import load_signers
    from gateway.settings import Clock, clock_of

    settings = office.given_settings()  # whoever says which key to believe needs no gateway
    believed = vkeys or [key.signer.vkey for key in load_signers(office.settings()).keys if key.use == "export"]
    ring = KeyRing.of("", [KnownKey(verifier=parse_vkey(each), use="export") for each in believed])
    now = clock_of(settings) if settings is not None else Clock()
    done = sd_jwt.read(file.read_text(encoding="ascii", errors="replace").strip(), ring, now=now())
    said = done.statement
    show(
        done,
        as_json=as_json,
        text=lambda: [
            f"{said.rid} v{said.v} of {said.iss}: {said.status}, {'disputed' if said.dispute else 'not disputed'}, {said.authority_name}",
            f"as of {done.as_of:%Y-%m-%dT%H:%M:%SZ}, to be believed until {done.until:%Y-%m-%dT%H:%M:%SZ}",
            *(f"{each.name}: {each.value}" for each in done.disclosed),
            f"{done.hidden} fields are not shown",
        ],
    )
