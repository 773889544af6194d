"""Bring administrators in and let them go: invitation, enrolment with one's own key, confirmation, list, retirement.

Rules: the first administrators are invited by whoever holds the data directory, until an operator is enrolled; from then on an
operator signs every invitation, and an approver, or whoever holds the data directory, confirms whom an operator brought in: without
that one operator alone would be any number of persons. A code is shown once, works once, for fifteen minutes. Who enrols proves to
hold the key, and no key serves twice. Conflicting roles are refused, also under two accounts of one person. A name is never given
again. This story must not see a private key of anybody but the one who enrols on this machine.
"""

import os
from base64 import b32encode
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from msgspec import Struct

from gateway.core.callers.administrators import NAME, Administrator, Role, read_roles, refuse_stale, same_hand
from gateway.core.errors import AdminError, ExchangeError, SettingsError
from gateway.core.message_signing import Message, key_id_of, verify_body, verify_request
from gateway.core.signing import Ed25519Signer, Ed25519Verifier, parse_vkey
from gateway.operations.act_as import TAG, SignedAct, key_name, not_believed, read_key_file
from gateway.services import Services
from gateway.store import administrators as rows
from gateway.store import audit
from gateway.store.administrators import AdminRow, Invitation

CODE_LIFE = timedelta(minutes=15)
CODE_BYTES = 20
SEED_BYTES = 32
ENROL = "admin.enrol"


class Invited(Struct, frozen=True, kw_only=True):
    """An invitation; the code is shown once."""

    code: str
    name: str
    key_name: str
    """What the key is named for, so that it serves no other gateway or account."""
    unit: str
    roles: tuple[str, ...]
    expires_at: datetime


class Enrolled(Struct, frozen=True, kw_only=True):
    """A new administrator."""

    name: str
    unit: str
    roles: tuple[str, ...]
    key_id: str


class AdminLine(Struct, frozen=True, kw_only=True):
    """One administrator as the office lists them."""

    name: str
    unit: str
    roles: tuple[str, ...]
    key_id: str
    invited_by: tuple[str, ...]
    enrolled_at: datetime
    confirmed_by: str | None
    """Who said that this account is another person's than the inviting operator's; null: not yet, and it neither approves, nor reads the
    audit, nor keeps keys."""
    retired_at: datetime | None


async def invite_admin(
    services: Services, *, name: str, unit: str, roles: Iterable[str], person: str, by: Administrator | str
) -> Invited:
    """A one-time code with which a person enrols an own key under this name.

    `by` is a text only while there is no operator yet. `person` is the personnel reference of who stands behind the account,
    the same for all accounts of a person and never a name; kept as a blind index only.
    Raises RoleMissing, AdminError role-conflict, role-unknown, admin-name, admin-person, operator-needed.
    """
    asked = read_roles(roles)
    if NAME.fullmatch(name) is None:
        raise AdminError("a name is 2 to 63 of a-z 0-9 . _ - and begins with a letter", code="admin-name", place="name")
    if not unit.strip() or len(unit) > 200 or not unit.isprintable():
        raise AdminError("a unit is a line of at most 200 characters", code="admin-name", place="unit")
    everybody = await rows.everybody(services.store.reads)
    inviter = _inviter(by, everybody)
    blind = rows.blind_person(services.store.vault, person)
    _refuse_conflict(asked, blind, name, everybody)
    code = b32encode(services.random(CODE_BYTES)).decode().lower()
    async with services.store.transaction() as tx:
        expires_at = tx.now + CODE_LIFE
        await rows.invite(
            tx,
            code,
            Invitation(name=name, unit=unit.strip(), person=blind, roles=asked, invited_by=inviter, expires_at=expires_at),
        )
        await audit.write(tx, _actor(by), "admin.invite", f"admin/{name}", {"roles": sorted(asked), **_proof(by)})
    return Invited(
        code=code,
        name=name,
        key_name=key_name(services.settings.party, name),
        unit=unit.strip(),
        roles=tuple(sorted(asked)),
        expires_at=expires_at,
    )


async def enrol_admin(services: Services, *, code: str, public: bytes, proof: SignedAct) -> Enrolled:
    """Enrol the key of whoever was given the code.

    `proof` is the statement `admin.enrol` about {"code": its digest}, signed with the very key.
    Raises AdminError invitation-invalid, admin-signature, role-conflict, key-taken.
    """
    now = services.clock()
    invitation = await rows.invitation_of(services.store.reads, code, now)
    if invitation is None:
        async with services.store.transaction() as tx:
            await audit.write(tx, "admin:unknown", "admin.refused", ENROL, {"code": "invitation-invalid"})
        raise AdminError(
            "the code is unknown, used, or too old", code="invitation-invalid", place="code", hint="ask for another invitation"
        )
    key = Ed25519Verifier(key_name(services.settings.party, invitation.name), public)
    refuse_stale(
        proof.statement,
        party=services.settings.party,
        act=ENROL,
        arguments=enrol_arguments(code),
        by=invitation.name,
        now=now,
    )
    if not key.verify(proof.statement.bytes_signed(), proof.signature):
        raise not_believed("signature")
    return await _enrol(services, code, invitation, key, proof.signature)


async def enrol_by_request(services: Services, message: Message, body: bytes, *, code: str, vkey: str) -> Enrolled:
    """The same over HTTP: the request that brings code and verifier key is signed with the very key.

    The signature is looked at first, the code only then; whoever asks writes refusals down.
    Raises AdminError admin-signature in one wording, whatever is wrong with signature, key or code; role-conflict, key-taken.
    """
    now = services.clock()
    try:
        key = parse_vkey(vkey)
        if not isinstance(key, Ed25519Verifier):
            raise not_believed("key-kind")
        believed = verify_request(message, keys={key_id_of(key): key}, tag=TAG, now=now)
        verify_body(message, believed, body)
    except ExchangeError as error:
        raise not_believed(error.code.lower().replace("_", "-")) from error
    invitation = await rows.invitation_of(services.store.reads, code, now)
    if invitation is None:
        raise not_believed("invitation-invalid")
    if key.name != key_name(services.settings.party, invitation.name):
        raise not_believed("key-name")
    try:
        return await _enrol(services, code, invitation, key, believed.signature)
    except AdminError as error:
        if error.code == "invitation-invalid":  # another request was faster
            raise not_believed("invitation-invalid") from error
        raise


async def _enrol(services: Services, code: str, invitation: Invitation, key: Ed25519Verifier, signature: bytes) -> Enrolled:
    everybody = await rows.everybody(services.store.reads)
    _refuse_conflict(invitation.roles, invitation.person, invitation.name, everybody)
    ours = {one.signer.vkey.split("+", 2)[2] for one in services.signers.keys}
    if any(row.admin.public == key.public for row in everybody) or key.vkey.split("+", 2)[2] in ours:
        raise AdminError(
            "this key is in use already",
            code="key-taken",
            place="key",
            hint="one key is one person and one use: make a new one by naming a file that is not there",
        )
    async with services.store.transaction() as tx:
        await rows.enrol(tx, code, invitation, key)
        key_id = key_id_of(key)
        said = {"key": key_id, "roles": sorted(invitation.roles), "signature": signature.hex()}
        await audit.write(tx, f"admin:{invitation.name}", ENROL, f"admin/{invitation.name}", said)
    return Enrolled(name=invitation.name, unit=invitation.unit, roles=tuple(sorted(invitation.roles)), key_id=key_id)


def enrol_arguments(code: str) -> dict[str, object]:
    """What the proof of possession is about."""
    return {"code": rows.code_digest(code)}


async def invited_name(services: Services, code: str) -> str:
    """Whom a code was given to, so that a key can be named for it.

    Raises AdminError invitation-invalid.
    """
    invitation = await rows.invitation_of(services.store.reads, code, services.clock())
    if invitation is None:
        raise AdminError(
            "the code is unknown, used, or too old", code="invitation-invalid", place="code", hint="ask for another invitation"
        )
    return invitation.name


async def list_admins(services: Services) -> list[AdminLine]:
    """Every administrator there ever was, with key and roles."""
    return [
        AdminLine(
            name=row.admin.name,
            unit=row.admin.unit,
            roles=tuple(sorted(row.admin.roles)),
            key_id=row.admin.key_id,
            invited_by=tuple(sorted(row.admin.brought_in_by)),
            enrolled_at=row.enrolled_at,
            confirmed_by=row.confirmed_by,
            retired_at=row.retired_at,
        )
        for row in await rows.everybody(services.store.reads)
    ]


async def confirm_admin(services: Services, name: str, *, key_id: str, by: Administrator | str) -> AdminLine:
    """Say that an account which an operator brought in is the person's that it is said to be.

    `key_id` is what that person read out, over another way than the one the invitation took. An approver says so who is neither that
    person nor the inviting operator; or, unsigned, whoever holds the data directory: the first approver has nobody else.
    Raises RoleMissing, AdminError admin-unknown, key-unknown, approval-conflict, admin-unconfirmed.
    """
    if isinstance(by, Administrator):
        by.require("approver")
    async with services.store.transaction() as tx:
        row = await rows.find(tx, name)
        if row is None or not row.live:
            raise AdminError("there is no such administrator", code="admin-unknown", place="name", hint="`chengxin key list-admins`")
        if key_id != row.admin.key_id:
            raise AdminError(
                "this account has another key",
                code="key-unknown",
                place="key-id",
                hint="ask its holder again; retire the account if it differs",
            )
        if isinstance(by, Administrator):
            inviter = await rows.find(tx, row.invited_by)
            for other in (row, inviter):
                why = None if other is None else same_hand(by, other.admin)
                if why is not None:
                    raise AdminError(
                        f"whoever confirms is {why} as who was invited or who invited",
                        code="approval-conflict",
                        place="--as",
                        hint="another approver confirms",
                    )
        if await rows.confirm(tx, name, _actor(by)):
            await audit.write(tx, _actor(by), "admin.confirm", f"admin/{name}", {"key": key_id, **_proof(by)})
    return next(line for line in await list_admins(services) if line.name == name)


async def retire_admin(services: Services, name: str, *, by: Administrator | str) -> AdminLine:
    """Let an administrator's signatures count no more: an operator does it, or the administrator himself.

    Whoever holds the data directory may do it unsigned, for a lost key of the only operator; the audit says so.
    Raises RoleMissing, AdminError admin-unknown.
    """
    if isinstance(by, Administrator) and by.name != name:
        by.require("operator")
    async with services.store.transaction() as tx:
        if await rows.find(tx, name) is None:
            raise AdminError("there is no such administrator", code="admin-unknown", place="name", hint="`chengxin key list-admins`")
        if await rows.retire(tx, name, _actor(by)):
            await audit.write(tx, _actor(by), "admin.retire", f"admin/{name}", _proof(by))
    return next(line for line in await list_admins(services) if line.name == name)


def own_key(path: Path, named: str) -> Ed25519Signer:
    """The key of whoever enrols on this machine: the file's, or a new one where there is no file.

    Raises SettingsError as `read_key_file` does.
    """
    return read_key_file(path, named) if path.exists() else _write_key_file(path, named)


def _write_key_file(path: Path, named: str) -> Ed25519Signer:
    """A new key in a file that only its owner can read; never over another file.

    Raises SettingsError key-exists.
    """
    signer = Ed25519Signer(named, os.urandom(SEED_BYTES))
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w", encoding="ascii") as file:
            file.write(signer.private_text() + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise SettingsError(
            f"cannot write the key: {error.strerror}",
            code="key-exists",
            place=str(path),
            hint="name a file that is not there, in a folder of your own",
        ) from error
    return signer


def _inviter(by: Administrator | str, everybody: list[AdminRow]) -> str:
    """Who invites; a text counts only until the first operator is there."""
    if isinstance(by, Administrator):
        by.require("operator")
        return by.name
    if any(row.live and "operator" in row.admin.roles for row in everybody):
        raise AdminError(
            "an operator is enrolled, who signs invitations from now on",
            code="operator-needed",
            place="--as",
            hint="give --as ADMIN --key FILE of an operator; `chengxin key list-admins` shows who that is",
        )
    return by


def _refuse_conflict(roles: frozenset[Role], person: str, name: str, everybody: list[AdminRow]) -> None:
    """Roles must stand together with all that the same person has; a name is never given again."""
    if any(row.admin.name == name for row in everybody):
        raise AdminError("this name was given already", code="admin-name", place="name", hint="names are never given again")
    theirs: set[Role] = {role for row in everybody if row.live and row.admin.person == person for role in row.admin.roles}
    read_roles(roles | theirs)


def _actor(by: Administrator | str) -> str:
    return f"admin:{by.name}" if isinstance(by, Administrator) else by


def _proof(by: Administrator | str) -> dict[str, object]:
    evidence = by.evidence if isinstance(by, Administrator) else None
    return {} if evidence is None else {"key": evidence.key_id, "signature": evidence.signature.hex()}
