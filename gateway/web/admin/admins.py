"""Administrators over the administrators' API: what `chengxin key …-admin` does.

Who enrols is nobody yet: the request is signed with the key that it brings, and the one-time code says whose key it becomes.
"""

from typing import Annotated

from msgspec import Meta, Struct

from gateway.operations import manage_administrators
from gateway.web.admin.desk import Act, FirstWords, Route


class InviteBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to invite."""

    name: str
    unit: str
    roles: tuple[str, ...]
    person: str


class EnrolBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The code of an invitation, and the key that signs this request."""

    code: Annotated[str, Meta(min_length=1, max_length=64)]
    key: Annotated[str, Meta(min_length=1, max_length=256)]
    """The verifier key: `<key_name of the invitation>+<id>+<base64>`."""


async def invite(act: Act) -> object:
    """A one-time code for a person."""
    body: InviteBody = act.body
    return await manage_administrators.invite_admin(
        act.services, name=body.name, unit=body.unit, roles=body.roles, person=body.person, by=act.by
    )


async def enrol(words: FirstWords) -> object:
    """A key of one's own, with the code of an invitation."""
    body: EnrolBody = words.body
    return await manage_administrators.enrol_by_request(words.services, words.message, words.sent, code=body.code, vkey=body.key)


class ConfirmBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The key id as its holder reads it out."""

    key_id: Annotated[str, Meta(min_length=1, max_length=256)]


async def confirm(act: Act) -> object:
    """Whom an operator brought in counts in full."""
    body: ConfirmBody = act.body
    return await manage_administrators.confirm_admin(act.services, act.path["name"], key_id=body.key_id, by=act.by)


async def listed(act: Act) -> object:
    """Every administrator there ever was."""
    return await manage_administrators.list_admins(act.services)


async def retire(act: Act) -> object:
    """An administrator's signatures count no more."""
    return await manage_administrators.retire_admin(act.services, act.path["name"], by=act.by)


ROUTES: tuple[Route, ...] = (
    Route(method="GET", path="/admin/v1/administrators", command="key list-admins", summary="Administrators", handler=listed,
          gives=list[manage_administrators.AdminLine]),
    Route(method="POST", path="/admin/v1/administrators/invite", command="key invite-admin", summary="A one-time code for a person",
          handler=invite, takes=InviteBody, gives=manage_administrators.Invited),
    Route(method="POST", path="/admin/v1/administrators/enrol", command="key enrol-admin", summary="Enrol a key of one's own",
          handler=enrol, takes=EnrolBody, gives=manage_administrators.Enrolled, roles=(), newcomer=True),
    Route(method="POST", path="/admin/v1/administrators/{name}/confirm", command="key confirm-admin", summary="Whose account it is",
          handler=confirm, takes=ConfirmBody, gives=manage_administrators.AdminLine),
    Route(method="POST", path="/admin/v1/administrators/{name}/retire", command="key retire-admin", summary="Signatures count no more",
          handler=retire, gives=manage_administrators.AdminLine),
)  # fmt: skip
