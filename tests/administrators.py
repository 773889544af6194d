"""Administrators for tests: enrolled with keys of their own, and what they sign."""

import os
from pathlib import Path

from gateway.core.callers.administrators import Administrator, Role
from gateway.core.signing import Ed25519Signer
from gateway.operations import act_as
from gateway.operations import manage_administrators as managing
from gateway.services import Services


class Admin:
    """One enrolled administrator of a test, with the private key."""

    def __init__(self, name: str, signer: Ed25519Signer, services: Services) -> None:
        self.name = name
        self.signer = signer
        self.services = services

    async def acts(self, act: str, **arguments: object) -> Administrator:
        """The administrator, proven for one act by a signed statement."""
        signed = act_as.sign_act(self.services, self.signer, act=act, arguments=arguments, by=self.name)
        return await act_as.by_statement(self.services, signed, act=act, arguments=arguments)

    def key_file(self, folder: Path) -> Path:
        """The private key in a file of this folder."""
        path = folder / f"{self.name}.key"
        path.write_text(self.signer.private_text())
        path.chmod(0o400)
        return path


def hand(name: str = "officer", *roles: Role) -> Administrator:
    """An administrator for a story that asks nobody else who that is; an approver, if no role is given."""
    return Administrator(
        name=name, unit=f"unit of {name}", roles=frozenset(roles or ("approver",)), key_id=f"{name}+00000000", person=f"{name}1"
    )


async def enrolled(
    services: Services,
    name: str,
    *roles: str,
    unit: str | None = None,
    person: str | None = None,
    by: Administrator | str = "office:test",
    confirmed: bool = True,
) -> Admin:
    """A new administrator; each is of a unit of its own unless one is given, and confirmed by the office unless that is the point."""
    invited = await managing.invite_admin(
        services, name=name, unit=unit or f"unit of {name}", roles=roles, person=person or f"{name}-1", by=by
    )
    signer = Ed25519Signer(act_as.key_name(services.settings.party, name), os.urandom(32))
    done = await managing.enrol_admin(
        services, code=invited.code, public=signer.verifier.public, proof=proof_of(services, signer, invited.code, name)
    )
    if confirmed:
        await managing.confirm_admin(services, name, key_id=done.key_id, by="office:test")
    return Admin(name, signer, services)


def proof_of(services: Services, signer: Ed25519Signer, code: str, name: str) -> act_as.SignedAct:
    """Proof of possession for an enrolment."""
    return act_as.sign_act(services, signer, act=managing.ENROL, arguments=managing.enrol_arguments(code), by=name)
