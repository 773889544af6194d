"""The signed client of the administrators' API: `admin call`. It needs no settings, only the administrator's key."""

import http.client
import json
import os
from base64 import b64encode, urlsafe_b64encode
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import rich_click as click

from gateway.commands.office import FILE, Hand, signed
from gateway.console import note, say

TIMEOUT_S = 60


@click.group()
def admin() -> None:
    """The administrators' API, from anywhere."""


@admin.command("call")
@click.argument("method", type=click.Choice(["GET", "POST"]))
@click.argument("url")
@click.option("--body", "body_file", type=FILE, default=None, metavar="FILE", help="JSON to send.")
@click.option("--sign-approval", is_flag=True, help="The body is what `…/approval` gave: send its approval with your signature over it.")
@click.option("--public-fields", default="", help="With --sign-approval: what the public newly sees, each as dataset.field.")
@click.option("--basis", default=None, help="With --sign-approval: the legal basis, where more is shown of persons.")
@signed
def admin_call(
    hand: Hand, method: str, url: str, body_file: Path | None, sign_approval: bool, public_fields: str, basis: str | None
) -> None:
    """Sign a request with an administrator's key, send it, print the answer; exit 1 on a problem."""
    from gateway.core.message_signing import sign_request
    from gateway.operations.act_as import TAG, read_own_key

    signer = read_own_key(hand.key, hand.name)
    body = b"" if body_file is None else body_file.read_bytes()
    if sign_approval:
        from gateway.core.disclosure.approval import read_approval

        try:
            said = read_approval(json.dumps(json.loads(body)["approval"]).encode())
        except (ValueError, KeyError, TypeError, msgspec.DecodeError):
            raise click.UsageError("--body is no answer of `…/approval`") from None
        fields = public_fields.replace(",", " ").split()
        signature = b64encode(signer.sign(said.digest())).decode()
        body = msgspec.json.encode({"approval": said, "signature": signature, "public_fields": fields, "basis": basis})
    target = urlsplit(url)
    if target.scheme not in ("http", "https") or not target.hostname or target.fragment:
        raise click.UsageError("the URL is https://HOST/admin/v1/…")
    nonce = urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
    headers = sign_request(
        signer, method=method, url=url, body=body, content_type="application/json", tag=TAG, now=datetime.now(UTC), nonce=nonce
    )
    kind = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
    connection = kind(target.hostname, target.port, timeout=TIMEOUT_S)
    try:
        connection.request(method, (target.path or "/") + (f"?{target.query}" if target.query else ""), body or None, dict(headers))
        answer = connection.getresponse()
        text = answer.read()
    except http.client.HTTPException as error:
        raise click.ClickException(f"no answer that can be read: {type(error).__name__}") from None
    finally:
        connection.close()
    try:
        say(msgspec.json.format(text, indent=2).decode())
    except msgspec.DecodeError:
        note(f"{answer.status}: no JSON")
    if answer.status >= 400:
        note(f"error: HTTP {answer.status}")
        raise SystemExit(1)
