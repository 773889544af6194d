"""The signed client of the administrators' API: `admin call`, `admin enrol`. It needs no settings, only the administrator's key."""

import json
import os
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import rich_click as click

from gateway.commands.office import FILE, OUT, Hand, signed
from gateway.console import note, say

if TYPE_CHECKING:
    from http.client import HTTPResponse

    from gateway.core.signing import Ed25519Signer

TIMEOUT_S = 600
"""Keys are rotated and trails exported while the caller waits."""
ENROL = "/admin/v1/administrators/enrol"
PIECE = 256 * 1024


@click.group()
def admin() -> None:
    """The administrators' API, from anywhere."""


@admin.command("call")
@click.argument("method", type=click.Choice(["GET", "POST"]))
@click.argument("url")
@click.option("--body", "body_file", type=FILE, default=None, metavar="FILE", help="JSON to send.")
@click.option("--out", type=OUT, default=None, metavar="FILE", help="Where to put an answer that is a file, for example an export.")
@click.option("--sign-approval", is_flag=True, help="The body is what `…/approval` gave: send its approval with your signature over it.")
@click.option("--public-fields", default="", help="With --sign-approval: what the public newly sees, each as dataset.field.")
@click.option("--basis", default=None, help="With --sign-approval: the legal basis, where more is shown of persons.")
@signed
def admin_call(
    hand: Hand,
    method: str,
    url: str,
    body_file: Path | None,
    out: Path | None,
    sign_approval: bool,
    public_fields: str,
    basis: str | None,
) -> None:
    """Sign a request with an administrator's key, send it, print the answer; exit 1 on a problem."""
    from gateway.operations.act_as import read_own_key

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
    with _answer(signer, method, url, body) as answer:
        if out is None or answer.status >= 400:
            _tell(answer)
            return
        draft = out.with_name(out.name + ".part")
        with draft.open("wb") as file:
            while piece := answer.read(PIECE):
                file.write(piece)
        draft.replace(out)
    note(f"{out}: {out.stat().st_size} bytes")


@admin.command("enrol")
@click.argument("origin")
@click.option("--name", "named", required=True, metavar="KEY_NAME", help="What the key is named for, as the invitation says it.")
@click.option("--code", required=True, help="The code of the invitation.")
@click.option("--key", "key_file", required=True, type=OUT, metavar="FILE", help="Your own Ed25519 key; made if it is not there.")
def admin_enrol(origin: str, named: str, code: str, key_file: Path) -> None:
    """Enrol your own key with the code of an invitation, from anywhere; exit 1 on a problem."""
    from gateway.core.signing import KEY_NAME
    from gateway.operations.manage_administrators import own_key

    if "/admin/" not in named or not KEY_NAME.match(named):
        raise click.UsageError("--name is PARTY/admin/NAME, as the invitation says it")
    signer = own_key(key_file, named)
    body = msgspec.json.encode({"code": code, "key": signer.vkey})
    with _answer(signer, "POST", origin.rstrip("/") + ENROL, body) as answer:
        _tell(answer)


@contextmanager
def _answer(signer: "Ed25519Signer", method: str, url: str, body: bytes) -> "Iterator[HTTPResponse]":
    """The answer to a signed request."""
    import http.client

    from gateway.core.message_signing import sign_request
    from gateway.operations.act_as import TAG

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
        yield connection.getresponse()
    except http.client.HTTPException as error:
        raise click.ClickException(f"no answer that can be read: {type(error).__name__}") from None
    finally:
        connection.close()


def _tell(answer: "HTTPResponse") -> None:
    """Print an answer; exit 1 on a problem."""
    text = answer.read()
    try:
        say(msgspec.json.format(text, indent=2).decode())
    except (msgspec.DecodeError, UnicodeDecodeError):
        note(f"{answer.status}: no JSON" + ("; give --out FILE" if answer.status < 400 else ""))
    if answer.status >= 400:
        note(f"error: HTTP {answer.status}")
        raise SystemExit(1)
