"""Act as an administrator: from a signed statement, or a signed request, to an `Administrator` for one act.

Rules: a signature counts once, only around its time, only for the act and arguments that it names, and only with the key that was
enrolled under the name; a retired administrator's counts no more. Every refusal reads alike and leaves an audit line with its
cause. A private key is read from a file that its owner alone can read. This story must not know what the act does.
"""

import os
import stat
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from msgspec import Struct, structs

from gateway.core.callers.administrators import (
    ACT_SKEW,
    ActStatement,
    Administrator,
    Evidence,
    refuse_stale,
    statement,
)
from gateway.core.errors import AdminError, ExchangeError, SettingsError
from gateway.core.message_signing import Message, verify_body, verify_request
from gateway.core.signing import Ed25519Signer, Ed25519Verifier, parse_private_key, seed_of_pem
from gateway.services import Services
from gateway.store import administrators as rows
from gateway.store import audit
from gateway.store.administrators import AdminRow

KEY_FILE_LIMIT = 8192
PEM = b"-----BEGIN "
PRIVATE = "PRIVATE+KEY+"
NONCE_BYTES = 16
TAG = "cx-admin"
"""Tag of an administrator's signed request."""
NONCE_KEPT = 4 * ACT_SKEW
"""Longer than any statement or request could still be believed."""


class SignedAct(Struct, frozen=True, kw_only=True):
    """A statement with the signature over its canonical JSON."""

    statement: ActStatement
    signature: bytes


def key_name(party: str, name: str) -> str:
    """Name of an administrator's key: one key never serves two gateways or two accounts."""
    return f"{party}/admin/{name}"


def read_key_file(path: Path, named: str) -> Ed25519Signer:
    """An administrator's private key: what `key enrol-admin` writes, or Ed25519 in PEM.

    Raises SettingsError when it is absent, damaged, of another name, or anybody but its owner can read or run it.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(KEY_FILE_LIMIT + 1)
    except OSError as error:
        raise SettingsError(
            f"cannot read the key: {error.strerror}", code="key-missing", place=str(path), hint="give your own key with --key FILE"
        ) from error
    if mode not in (0o400, 0o600):
        raise SettingsError(
            f"a private key has mode 0400 or 0600 (this has {mode:04o})", code="key-readable", place=str(path), hint=f"chmod 0400 {path}"
        )
    if text.lstrip().startswith(PEM):
        return Ed25519Signer(named, seed_of_pem(text))
    try:
        signer = parse_private_key(text.decode("ascii").strip())
    except UnicodeDecodeError:
        raise SettingsError("the key file is damaged", code="key-invalid", place=str(path), hint="put it back from its backup") from None
    if signer.name != named or not isinstance(signer, Ed25519Signer):
        raise SettingsError(
            "the key is named for something else",
            code="key-use",
            place=str(path),
            hint=f"one key pair never serves two uses: this one would be {named}",
        )
    return signer


def sign_act(services: Services, signer: Ed25519Signer, *, act: str, arguments: Mapping[str, object], by: str) -> SignedAct:
    """The signed statement of an act: what the command line makes of `--as` and `--key`."""
    nonce = urlsafe_b64encode(services.random(NONCE_BYTES)).decode().rstrip("=")
    said = statement(party=services.settings.party, act=act, arguments=arguments, by=by, time=services.clock(), nonce=nonce)
    return SignedAct(statement=said, signature=signer.sign(said.bytes_signed()))


async def by_statement(services: Services, signed: SignedAct, *, act: str, arguments: Mapping[str, object]) -> Administrator:
    """The administrator who signed this statement for this very act; its nonce is spent.

    Raises AdminError admin-signature.
    """
    said = signed.statement
    row = await rows.find(services.store.reads, said.by)
    try:
        refuse_stale(said, party=services.settings.party, act=act, arguments=arguments, by=said.by, now=services.clock())
        admin = refuse_unsigned(row, said.bytes_signed(), signed.signature)
        evidence = Evidence(kind="statement", signed=said.bytes_signed(), signature=signed.signature, key_id=admin.key_id)
        return await spend(services, admin, said.nonce, evidence)
    except AdminError as error:
        error.admin = row.admin.name if row is not None else None
        await refused(services, act, error)
        raise


async def by_request(services: Services, message: Message, read_body: Callable[[], Awaitable[bytes]]) -> tuple[Administrator, bytes]:
    """The administrator who signed this request, and its body, read only when the signature is believed; the nonce is spent.

    Whoever asks writes refusals down, with `refused`.
    Raises AdminError admin-signature, and whatever reading the body raises.
    """
    everybody = {row.admin.key_id: row for row in await rows.everybody(services.store.reads)}
    keys = {key_id: Ed25519Verifier(key_id.rpartition("+")[0], row.admin.public) for key_id, row in everybody.items()}
    name = None
    try:
        believed = verify_request(message, keys=keys, tag=TAG, now=services.clock())
        row = everybody[believed.key_id]
        name = row.admin.name
        if not row.live:
            raise not_believed("retired", name)
        body = await read_body()
        verify_body(message, believed, body)
    except ExchangeError as error:
        raise not_believed(error.code.lower().replace("_", "-"), name) from error
    evidence = Evidence(kind="http", signed=believed.base, signature=believed.signature, key_id=believed.key_id)
    return await spend(services, row.admin, believed.nonce, evidence), body


def refuse_unsigned(row: AdminRow | None, signed: bytes, signature: bytes) -> Administrator:
    """The administrator of the row, if this signature is by its key and it is not retired.

    Raises AdminError admin-signature.
    """
    if row is None:
        raise not_believed("unknown")
    if not Ed25519Verifier(row.admin.key_id.rpartition("+")[0], row.admin.public).verify(signed, signature):
        raise not_believed("signature")
    if not row.live:
        raise not_believed("retired")
    return row.admin


async def spend(services: Services, admin: Administrator, nonce: str, evidence: Evidence) -> Administrator:
    """The administrator with the evidence of this act, once for each nonce.

    Raises AdminError admin-signature for a nonce that was used.
    """
    async with services.store.transaction() as tx:
        fresh = await rows.use_nonce(tx, admin.key_id, nonce, NONCE_KEPT)
    if not fresh:
        raise not_believed("replayed", admin.name)
    return structs.replace(admin, evidence=evidence)


def not_believed(cause: str, name: str | None = None) -> AdminError:
    """The one wording of every refusal; the cause, and whose key it was, go to the audit only."""
    error = AdminError(
        "the signature does not prove a live administrator for this act",
        place="--as",
        hint="`chengxin key list-admins` shows who is enrolled; sign with the enrolled key",
        cause=cause,
    )
    error.admin = name
    return error


async def refused(services: Services, act: str, error: AdminError, *, left_out: int = 0) -> None:
    """Write down that an act was refused: whose name it bore, if that is one of ours, and why; and how many lines were left out."""
    detail: dict[str, object] = {"code": error.code, "cause": error.cause or error.code}
    if left_out:
        detail["left_out"] = left_out
    async with services.store.transaction() as tx:
        await audit.write(tx, f"admin:{error.admin or 'unknown'}", "admin.refused", act, detail)


def read_own_key(path: Path, name: str) -> Ed25519Signer:
    """An administrator's key on a machine that has no settings: the key file says for which gateway and name it is.

    Raises SettingsError as `read_key_file` does; a key in PEM does not say it.
    """
    try:
        text = path.read_bytes()[:KEY_FILE_LIMIT]
    except OSError as error:
        raise SettingsError(f"cannot read the key: {error.strerror}", code="key-missing", place=str(path)) from error
    named = text.decode("ascii", "replace").removeprefix(PRIVATE).partition("+")[0]
    if not text.startswith(PRIVATE.encode()) or not named.endswith(f"/admin/{name}"):
        raise SettingsError(
            "the key file does not say that it is this administrator's", code="key-use", place=str(path), hint="give what enrol-admin wrote"
        )
    return read_key_file(path, named)
