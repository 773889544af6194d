"""Commands about those who call us: apps and their keys (in the group `key`), grants, and the reference client `call`."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from gateway.commands.office import FILE, Hand, Office, as_json, office, signed
from gateway.commands.two_persons import Stories, Words, two_persons
from gateway.console import show, table

if TYPE_CHECKING:
    from gateway.operations.manage_apps import AppLine, KeyLine
    from gateway.services import Services


@click.command("new-app")
@click.option("--org", required=True, metavar="USCC", help="Organisation behind it.")
@click.option("--org-name", required=True, help="Its name.")
@click.option("--kind", required=True, help="department district partner supervisor pboc company: which tiers its apps may have.")
@click.option("--region", required=True, help="Its division; grants of a department stay inside it.")
@click.option("--name", required=True, help="Name of the application.")
@click.option("--unit", default=None, help="Office that runs it.")
@click.option("--tier", required=True, help="department, partner, supervisor, pboc or developer; never changes.")
@click.option("--introspects", is_flag=True, help="A resource server that may ask about tokens.")
@click.option("--uploads", is_flag=True, help="Sends records in the name of its organisation, a department's.")
@click.option("--jwk", type=FILE, default=None, help="Its public key too (PEM or JWK), as `key add` takes it.")
@signed
@as_json
@office
def key_new_app(office: Office, /, jwk: Path | None, hand: Hand, as_json: bool, **said: Any) -> None:
    """Register an application of an organisation."""
    from gateway.core.callers.administrators import digest_of
    from gateway.operations.manage_apps import new_app

    given = None if jwk is None else jwk.read_bytes()
    signed_words = said | ({} if given is None else {"key": digest_of(given.hex())})
    done = office.act(hand, "app.register", signed_words, lambda services, by: new_app(services, **said, jwk=given, by=by))
    following = f"; next: `chengxin key add {done.app} FILE`" if given is None else "".join(f"; key {one.state}" for one in done.keys)
    show(done, as_json=as_json, text=lambda: [done.app, f"{done.tier} of {done.org_name}{following}"])


@click.command("add")
@click.argument("app")
@click.argument("file", type=FILE, required=False)
@click.option("--jwk", type=FILE, default=None, help="The same as FILE.")
@click.option("--kid", default=None, help="Id of the key; else its thumbprint.")
@signed
@as_json
@office
def key_add(office: Office, app: str, file: Path | None, jwk: Path | None, kid: str | None, hand: Hand, as_json: bool) -> None:
    """Register the public key (PEM or JWK) of an application."""
    from gateway.core.callers.administrators import digest_of
    from gateway.operations.manage_apps import add_key

    path = jwk if file is None else file
    if path is None or (file is not None and jwk is not None):
        raise click.UsageError("give the public key once: FILE, or --jwk FILE")
    given = path.read_bytes()
    said = {"app": app, "key": digest_of(given.hex()), "kid": kid}
    done = office.act(hand, "app.key.add", said, lambda services, by: add_key(services, app, given, kid=kid, by=by))
    show(done, as_json=as_json, text=lambda: _told_key(done))


def _told_key(done: "KeyLine") -> list[str]:
    waits = f"; a second person must approve it: `chengxin key approve {done.thumbprint}`" if done.state == "proposed" else ""
    return [done.thumbprint, f"kid {done.kid}, {done.alg}, {done.state}{waits}"]


@click.command("approve")
@click.argument("thumbprint", metavar="THUMBPRINT|APP")
@signed
@as_json
@office
def key_approve(office: Office, thumbprint: str, hand: Hand, as_json: bool) -> None:
    """The second person's yes to a key, after its owner has confirmed the thumbprint; or to letting a suspended application in again."""
    from gateway.operations.manage_apps import approve_key, approve_resume

    if thumbprint.startswith("app_"):
        app = thumbprint
        let_in = office.act(hand, "app.resume.approve", {"app": app}, lambda services, by: approve_resume(services, app, by=by))
        show(let_in, as_json=as_json, text=lambda: [f"{let_in.app}: {let_in.state}"])
        return
    done = office.act(hand, "app.key.approve", {"key": thumbprint}, lambda services, by: approve_key(services, thumbprint, by=by))
    show(done, as_json=as_json, text=lambda: _told_key(done))


@click.command("issue")
@click.argument("app")
@click.option("--days", type=int, default=None, help="Life, a year at most; a year where nothing is said.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), default=None, metavar="DATE", help="Last day, instead of --days.")
@click.option("--scope", "scopes", multiple=True, help="Keep it to a part of the API: subjects records lists changes datasets checks.")
@click.option("--cidr", "networks", multiple=True, help="Keep it to a network.")
@signed
@as_json
@office
def key_issue(
    office: Office,
    app: str,
    days: int | None,
    until: datetime | None,
    scopes: tuple[str, ...],
    networks: tuple[str, ...],
    hand: Hand,
    as_json: bool,
) -> None:
    """An API key for a developer's application; shown once."""
    from gateway.operations.manage_apps import issue_key

    last = None if until is None else until.date()
    said: dict[str, object] = {"app": app, "days": days, "until": last, "scopes": sorted(scopes), "networks": sorted(networks)}
    done = office.act(
        hand,
        "api-key.issue",
        said,
        lambda services, by: issue_key(services, app, scopes=scopes, networks=networks, days=days, until=last, by=by),
    )
    show(
        done,
        as_json=as_json,
        text=lambda: [done.key, f"until {done.line.expires_on}; send it as `Authorization: Bearer …`, never in a URL"],
    )


@click.command("revoke")
@click.argument("key")
@signed
@as_json
@office
def key_revoke(office: Office, key: str, hand: Hand, as_json: bool) -> None:
    """End a client key (by thumbprint) with its tokens, or an API key (by its eight characters)."""
    from gateway.operations.manage_apps import revoke

    done = office.act(hand, "app.key.revoke", {"key": key}, lambda services, by: revoke(services, key, by=by))
    show({"revoked": done, "key": key}, as_json=as_json, text=lambda: [f"{done} {key}: revoked"])


@click.command("suspend")
@click.argument("app")
@signed
@as_json
@office
def key_suspend(office: Office, app: str, hand: Hand, as_json: bool) -> None:
    """Stop an application and end its tokens."""
    from gateway.operations.manage_apps import suspend_app

    done = office.act(hand, "app.suspend", {"app": app}, lambda services, by: suspend_app(services, app, by=by))
    show(done, as_json=as_json, text=lambda: [f"{done.app}: {done.state}"])


@click.command("resume")
@click.argument("app")
@signed
@as_json
@office
def key_resume(office: Office, app: str, hand: Hand, as_json: bool) -> None:
    """Let a suspended application in again."""
    from gateway.operations.manage_apps import resume_app

    done = office.act(hand, "app.resume", {"app": app}, lambda services, by: resume_app(services, app, by=by))
    waits = f"; a second person must agree: `chengxin key approve {done.app}`" if done.resume_by is not None else ""
    show(done, as_json=as_json, text=lambda: [f"{done.app}: {done.state}{waits}"])


@click.command("list-apps")
@click.argument("app", required=False)
@as_json
@office
def key_list_apps(office: Office, app: str | None, as_json: bool) -> None:
    """Applications, or one, with their keys; a key that stood in a URL is marked exposed."""
    from gateway.operations.manage_apps import list_apps, show_app

    async def told(services: "Services") -> "list[AppLine]":
        return await list_apps(services) if app is None else [await show_app(services, app)]

    lines = office.run(told)
    show(lines, as_json=as_json, text=lambda: table([row for line in lines for row in _rows(line)], ("app", "what", "state", "detail")))


def _rows(line: "AppLine") -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [(line.app, line.tier, line.state, f"{line.org} {line.org_name}: {line.name}")]
    rows += [("", f"key {one.alg}", one.state, one.thumbprint) for one in line.keys]
    for one in line.api_keys:
        warning = f", EXPOSED in a URL {one.exposed_at:%Y-%m-%d}: replace it" if one.exposed_at is not None else ""
        rows.append(("", "api key", one.state, f"{one.key_id} until {one.expires_on}{warning}"))
    return rows


# --- grants -----------------------------------------------------------------------------------------------------------


@click.group()
def grant() -> None:
    """What applications may use datasets for."""


def _stories() -> Stories:
    from gateway.operations.manage_grants import approve_grant, propose_grant, read_grant_file, revoke_grant

    return Stories(read=read_grant_file, propose=propose_grant, approve=approve_grant, end=revoke_grant)


two_persons(
    grant,
    Words(
        noun="grant",
        metavar="ID",
        ends="revoke",
        propose="Take a grant in from its file; one that reaches no person is active at once.",
        approve="The second person's yes to this very grant.",
        end="End a grant.",
    ),
    _stories,
    lambda one: f"{one.id}: {one.dataset} for {', '.join(one.purposes)} until {one.until}",
)


@grant.command("list")
@click.option("--org", default=None, metavar="USCC", help="Those of one organisation.")
@as_json
@office
def grant_list(office: Office, org: str | None, as_json: bool) -> None:
    """Every grant and how it stands."""
    from gateway.operations.manage_grants import list_grants

    lines = office.run(lambda services: list_grants(services, org=org))
    show(
        lines,
        as_json=as_json,
        text=lambda: table(
            [
                (one.id, one.state, one.app, one.dataset, " ".join(one.purposes), one.until, one.digest, " ".join(one.unfit))
                for one in lines
            ],
            ("grant", "state", "app", "dataset", "purposes", "until", "digest", "unfit ceilings"),
        ),
    )


# --- the reference client ---------------------------------------------------------------------------------------------


@click.command()
@click.argument("method")
@click.argument("url")
@click.option("--app", required=True, help="Id of the application.")
@click.option("--key", "key_file", required=True, type=FILE, metavar="FILE", help="Its private key, PEM.")
@click.option("--kid", default=None, help="Id of the key; else its thumbprint.")
@click.option("--purpose", default=None)
@click.option("--case-ref", default=None)
@click.option("--body", type=FILE, default=None, help="JSON to send.")
@click.option("--headers", "headers_only", is_flag=True, help="Print ready header fields for one call instead of making it.")
def call(**said: Any) -> None:
    """Call a gateway as an application does: assertion, proof, token, request. Needs no settings: `gateway/reference_client.py` alone."""
    from gateway.reference_client import run

    raise SystemExit(run(**said))


KEY_COMMANDS = (key_new_app, key_add, key_approve, key_issue, key_revoke, key_suspend, key_resume, key_list_apps)
