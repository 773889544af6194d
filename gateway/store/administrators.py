"""Administrators, their invitations, and the nonces that they have used.

Rules: a name and a key are given once and never again, also after retirement; a code is kept as its digest and works once; the
person behind an account stands as a blind index only. This room must not decide who may do what.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from gateway.core.callers.administrators import Administrator, Role, read_person, read_roles
from gateway.core.errors import AdminError
from gateway.core.signing import Ed25519Verifier
from gateway.store.reads import Reads
from gateway.store.store import Transaction, moment, stamp
from gateway.store.tables import admin_invitations, admin_nonces, administrators
from gateway.store.vault import Vault

PERSON_LABEL = "administrator"


class Invitation(Struct, frozen=True, kw_only=True):
    """Who may enrol with a code."""

    name: str
    unit: str
    person: str
    roles: frozenset[Role]
    invited_by: str
    expires_at: datetime


class AdminRow(Struct, frozen=True, kw_only=True):
    """One administrator as the office keeps it, retired ones too."""

    admin: Administrator
    invited_by: str
    enrolled_at: datetime
    confirmed_by: str | None
    retired_at: datetime | None

    @property
    def live(self) -> bool:
        """Whether its signatures count."""
        return self.retired_at is None


_ALL = sa.select(administrators).order_by(administrators.c.enrolled_at, administrators.c.name)
_CODE = sa.select(admin_invitations).where(
    admin_invitations.c.code_sha256 == sa.bindparam("code"),
    admin_invitations.c.used_at.is_(None),
    admin_invitations.c.expires_at > sa.bindparam("at"),
)
_DROP_NONCES = sa.delete(admin_nonces).where(admin_nonces.c.until <= sa.bindparam("at"))
_NONCE = sa.text("INSERT INTO admin_nonces (key_id, nonce, until) VALUES (:key_id, :nonce, :until) ON CONFLICT DO NOTHING")


def code_digest(code: str) -> str:
    """Under which an invitation's code is kept."""
    return hashlib.sha256(b"chengxin-invitation" + code.encode()).hexdigest()


def blind_person(vault: Vault, person: str) -> str:
    """The index of a person: enough to see that two accounts are one person's, not to tell whose.

    Raises AdminError admin-person.
    """
    return vault.digest(PERSON_LABEL, read_person(person).encode()).hex()[:32]


async def everybody(source: Reads | Transaction) -> list[AdminRow]:
    """Every administrator there ever was, oldest first."""
    rows = await source.all(_ALL)
    inviters = {row.name: row.invited_by for row in rows}
    return [_row(row, inviters) for row in rows]


async def find(source: Reads | Transaction, name: str) -> AdminRow | None:
    """An administrator by name."""
    return next((row for row in await everybody(source) if row.admin.name == name), None)


async def invite(tx: Transaction, code: str, invitation: Invitation) -> None:
    """Keep an invitation by the digest of its code."""
    await tx.execute(
        sa.insert(admin_invitations).values(
            code_sha256=code_digest(code),
            name=invitation.name,
            unit=invitation.unit,
            person=invitation.person,
            roles=" ".join(sorted(invitation.roles)),
            invited_by=invitation.invited_by,
            invited_at=tx.now_text,
            expires_at=stamp(invitation.expires_at),
        )
    )


async def invitation_of(source: Reads | Transaction, code: str, now: datetime) -> Invitation | None:
    """The live invitation of a code: unused and not expired."""
    row = await source.one(_CODE, {"code": code_digest(code), "at": stamp(now)})
    if row is None:
        return None
    return Invitation(
        name=row.name,
        unit=row.unit,
        person=row.person,
        roles=read_roles(row.roles.split()),
        invited_by=row.invited_by,
        expires_at=moment(row.expires_at),
    )


async def enrol(tx: Transaction, code: str, invitation: Invitation, key: Ed25519Verifier) -> None:
    """Spend the code and keep the administrator with this key; whom an operator invited is not confirmed yet.

    Raises AdminError invitation-invalid when another process was faster, StoreError when the name or the key is taken.
    """
    spent = await tx.execute(
        sa.update(admin_invitations)
        .where(admin_invitations.c.code_sha256 == code_digest(code), admin_invitations.c.used_at.is_(None))
        .values(used_at=tx.now_text)
    )
    if spent.rowcount != 1:
        raise AdminError("the code was used already", code="invitation-invalid", hint="ask for another invitation")
    by_operator = any(row.admin.name == invitation.invited_by for row in await everybody(tx))
    await tx.execute(
        sa.insert(administrators).values(
            name=invitation.name,
            unit=invitation.unit,
            person=invitation.person,
            roles=" ".join(sorted(invitation.roles)),
            public=key.public,
            key_id=f"{key.name}+{key.key_id.hex()}",
            invited_by=invitation.invited_by,
            enrolled_at=tx.now_text,
            confirmed_at=None if by_operator else tx.now_text,
            confirmed_by=None if by_operator else invitation.invited_by,
        )
    )


async def confirm(tx: Transaction, name: str, by: str) -> bool:
    """Let all roles of a live account count; false when they did already."""
    done = await tx.execute(
        sa.update(administrators)
        .where(administrators.c.name == name, administrators.c.retired_at.is_(None), administrators.c.confirmed_at.is_(None))
        .values(confirmed_at=tx.now_text, confirmed_by=by)
    )
    return bool(done.rowcount)


async def retire(tx: Transaction, name: str, by: str) -> bool:
    """Let an administrator's signatures count no more; false when that was so already."""
    done = await tx.execute(
        sa.update(administrators)
        .where(administrators.c.name == name, administrators.c.retired_at.is_(None))
        .values(retired_at=tx.now_text, retired_by=by)
    )
    return bool(done.rowcount)


async def use_nonce(tx: Transaction, key_id: str, nonce: str, keep: timedelta) -> bool:
    """Write down that a nonce was used; false when it had been before. Nonces too old to be believed again are forgotten."""
    await tx.execute(_DROP_NONCES, {"at": tx.now_text})
    done = await tx.execute(_NONCE, {"key_id": key_id, "nonce": nonce, "until": stamp(tx.now + keep)})
    return bool(done.rowcount)


def _row(row: Any, inviters: dict[str, str]) -> AdminRow:
    return AdminRow(
        admin=Administrator(
            name=row.name,
            unit=row.unit,
            roles=read_roles(row.roles.split()),
            key_id=row.key_id,
            person=row.person,
            brought_in_by=frozenset(_line(row.name, inviters)),
            public=bytes(row.public),
            confirmed=row.confirmed_at is not None,
        ),
        invited_by=row.invited_by,
        enrolled_at=moment(row.enrolled_at),
        confirmed_by=row.confirmed_by,
        retired_at=None if row.retired_at is None else moment(row.retired_at),
    )


def _line(name: str, inviters: dict[str, str]) -> Iterable[str]:
    while (name := inviters.get(name, "")) in inviters:
        yield name
