"""Commands about administrators: `key invite-admin`, `enrol-admin`, `confirm-admin`, `list-admins`, `retire-admin`."""

from pathlib import Path

import rich_click as click

from gateway.commands.office import OUT, Hand, Office, as_json, office
from gateway.console import show, table

_AS = click.option("--as", "admin", default=None, metavar="ADMIN", help="The operator who acts; not needed before there is one.")
_KEY = click.option("--key", "key_file", type=OUT, default=None, metavar="FILE", help="The operator's own private key.")
_ROLES = "author, approver, privacy-officer, legal-officer, key-custodian, auditor or operator; may be given several times."
_APPROVER = click.option("--as", "admin", default=None, metavar="ADMIN", help="The approver who acts; none where unsigned.")
_HIS_KEY = click.option("--key", "key_file", type=OUT, default=None, metavar="FILE", help="The approver's own private key.")


def _hand(admin: str | None, key_file: Path | None) -> Hand | None:
    if (admin is None) != (key_file is None):
        raise click.UsageError("--as and --key belong together")
    return None if admin is None or key_file is None else Hand(admin, key_file)


@click.command("invite-admin")
@click.option("--name", required=True, help="Name of the account: a-z 0-9 . _ -; told in the audit.")
@click.option("--unit", required=True, help="Authority and office, for example 审批科; two of one unit are no two pairs of eyes.")
@click.option("--role", "roles", multiple=True, required=True, help=_ROLES)
@click.option("--person", required=True, help="Personnel number of who it is, one for all accounts; never a name; kept as a blind index.")
@_AS
@_KEY
@as_json
@office
def key_invite_admin(
    office: Office,
    name: str,
    unit: str,
    roles: tuple[str, ...],
    person: str,
    admin: str | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """A one-time code with which a person enrols an own key; shown once, good for fifteen minutes.

    Until an operator is enrolled it is unsigned: invite the first operator and the first approver both before either of them enrols.
    """
    from gateway.operations.manage_administrators import invite_admin

    hand = _hand(admin, key_file)
    if hand is None:
        done = office.run(lambda services: invite_admin(services, name=name, unit=unit, roles=roles, person=person, by=office.actor))
    else:
        done = office.act(
            hand,
            "admin.invite",
            {"name": name, "unit": unit, "roles": sorted(roles), "person": person},
            lambda services, by: invite_admin(services, name=name, unit=unit, roles=roles, person=person, by=by),
        )
    show(
        done,
        as_json=as_json,
        text=lambda: [done.code, f"until {done.expires_at:%Y-%m-%dT%H:%M:%SZ}: `chengxin key enrol-admin --code {done.code} --key FILE`"],
    )


@click.command("enrol-admin")
@click.option("--code", required=True, help="What `key invite-admin` printed.")
@click.option("--key", "key_file", required=True, type=OUT, metavar="FILE", help="Your own Ed25519 key; made if it is not there.")
@as_json
@office
def key_enrol_admin(office: Office, code: str, key_file: Path, as_json: bool) -> None:
    """Enrol your own key with the code of an invitation."""
    from gateway.operations import act_as
    from gateway.operations import manage_administrators as story
    from gateway.services import Services

    async def told(services: Services) -> story.Enrolled:
        name = await story.invited_name(services, code)
        named = act_as.key_name(services.settings.party, name)
        signer = story.own_key(key_file, named)
        proof = act_as.sign_act(services, signer, act=story.ENROL, arguments=story.enrol_arguments(code), by=name)
        return await story.enrol_admin(services, code=code, public=signer.verifier.public, proof=proof)

    done = office.run(told)
    show(done, as_json=as_json, text=lambda: [f"{done.name} ({', '.join(done.roles)}), {done.unit}: {done.key_id}"])


@click.command("confirm-admin")
@click.argument("name")
@click.option("--key-id", required=True, help="What `key enrol-admin` printed, as its holder reads it out.")
@_APPROVER
@_HIS_KEY
@as_json
@office
def key_confirm_admin(office: Office, name: str, key_id: str, admin: str | None, key_file: Path | None, as_json: bool) -> None:
    """Whom an operator brought in counts in full: another approver signs, or unsigned whoever holds the data directory."""
    from gateway.operations.manage_administrators import confirm_admin

    hand = _hand(admin, key_file)
    if hand is None:
        done = office.run(lambda services: confirm_admin(services, name, key_id=key_id, by=office.actor))
    else:
        done = office.act(
            hand,
            "admin.confirm",
            {"name": name, "key_id": key_id},
            lambda services, by: confirm_admin(services, name, key_id=key_id, by=by),
        )
    show(done, as_json=as_json, text=lambda: [f"{done.name}: confirmed by {done.confirmed_by}"])


@click.command("list-admins")
@as_json
@office
def key_list_admins(office: Office, as_json: bool) -> None:
    """Administrators with roles, units and keys; retired ones too."""
    from gateway.operations.manage_administrators import list_admins

    lines = office.run(list_admins)
    show(
        lines,
        as_json=as_json,
        text=lambda: table(
            [
                (one.name, one.unit, ", ".join(one.roles), one.enrolled_at, one.confirmed_by or "nobody yet", one.retired_at, one.key_id)
                for one in lines
            ],
            ("name", "unit", "roles", "enrolled", "confirmed by", "retired", "key"),
        ),
    )


@click.command("retire-admin")
@click.argument("name")
@_AS
@_KEY
@as_json
@office
def key_retire_admin(office: Office, name: str, admin: str | None, key_file: Path | None, as_json: bool) -> None:
    """An administrator's signatures count no more; an operator signs, or unsigned whoever holds the data directory."""
    from gateway.operations.manage_administrators import retire_admin

    hand = _hand(admin, key_file)
    if hand is None:
        done = office.run(lambda services: retire_admin(services, name, by=office.actor))
    else:
        done = office.act(hand, "admin.retire", {"name": name}, lambda services, by: retire_admin(services, name, by=by))
    show(done, as_json=as_json, text=lambda: [f"{done.name}: retired"])


COMMANDS = (key_invite_admin, key_enrol_admin, key_confirm_admin, key_list_admins, key_retire_admin)
"""Commands of the group `key`."""
