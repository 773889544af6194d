"""Commands about keys: `key init`, `list`, `new`, `issue-token`."""

from typing import Any

import rich_click as click

from gateway import settings
from gateway.commands.office import WORDS, Office, as_json, office
from gateway.console import show, table


@click.group()
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
@click.argument("use", type=click.Choice(["exchange", "http", "agreement", "audit", "receipt", "export", "log", "witness"]))
@click.option("--algorithm", type=click.Choice(["ed25519", "sm2"]), default="ed25519", help="sm2 for suite gm1: needs the extra `gm`.")
@as_json
@office
def key_new(office: Office, use: Any, algorithm: Any, as_json: bool) -> None:
    """Make a successor of a signing key, good from tomorrow on, so that partners learn of it first."""
    from gateway.operations.manage_keys import new_key

    line = office.run(lambda services: new_key(services, use, algorithm=algorithm, by=office.actor))
    show(line, as_json=as_json, text=lambda: [f"{line.vkey}: good from {line.not_before:%Y-%m-%dT%H:%M:%SZ}"])


@key.command("revoke-signing")
@click.argument("vkey")
@click.option("--reason", required=True, type=WORDS, help="Read by partners in our keys document.")
@click.option("--mute", is_flag=True, help="A stolen key: also where no other of its use is good; nothing is signed until one is.")
@as_json
@office
def key_revoke_signing(office: Office, vkey: str, reason: str, mute: bool, as_json: bool) -> None:
    """Say that a signing key of ours is not to be believed from now on; a running server signs with another within a second."""
    from gateway.operations.manage_keys import revoke_key

    line = office.run(lambda services: revoke_key(services, vkey, reason=reason, by=office.actor, mute=mute))
    show(line, as_json=as_json, text=lambda: [f"{line.vkey}: revoked at {line.revoked_at:%Y-%m-%dT%H:%M:%SZ}"])


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
