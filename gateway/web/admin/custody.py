"""Keys and shredding over the administrators' API, for key custodians: what `chengxin key rotate-…`, `renew-deks` and `shred` do."""

from typing import Annotated

from msgspec import Meta, Struct

from gateway.operations import rotate_keys, shred, verify_audit
from gateway.web.admin.desk import Act, Route


class Scopes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose data keys: scopes that begin so; empty: all."""

    scope: Annotated[str, Meta(max_length=128)] = ""


class Label(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which label."""

    label: Annotated[str, Meta(min_length=1, max_length=96)]


class Person(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom, by our own id, and why."""

    subject: Annotated[str, Meta(min_length=5, max_length=30)]
    reason: shred.Why


class NoWords(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing to say."""


async def kek(act: Act) -> object:
    """A new key-encryption key."""
    return await rotate_keys.rotate_kek(act.services, by=act.by)


async def deks(act: Act) -> object:
    """New data keys, and everything they sealed sealed anew."""
    return await rotate_keys.renew_deks(act.services, prefix=act.body.scope, by=act.by)


async def again(act: Act) -> object:
    """Seal anew what stands under a retired key or another suite."""
    return await rotate_keys.reencrypt(act.services, by=act.by)


async def label(act: Act) -> object:
    """A new key for one label."""
    return await rotate_keys.rotate_label(act.services, act.body.label, by=act.by)


async def shredded(act: Act) -> object:
    """Destroy the data key and every index of a person or household."""
    return await shred.shred(act.services, act.body.subject, reason=act.body.reason, by=act.by)


async def verified(act: Act) -> object:
    """Check every row, entry and checkpoint of the trail."""
    act.by.require("auditor")
    return await verify_audit.verify_store(act.services)


_KEYS = "/admin/v1/keys"
ROUTES: tuple[Route, ...] = (
    Route(method="POST", path=f"{_KEYS}/rotate-kek", command="key rotate-kek", summary="A new key-encryption key", handler=kek,
          takes=NoWords, gives=rotate_keys.Rotated, roles=("key-custodian",)),
    Route(method="POST", path=f"{_KEYS}/renew-deks", command="key renew-deks", summary="New data keys", handler=deks,
          takes=Scopes, gives=rotate_keys.Rotated, roles=("key-custodian",)),
    Route(method="POST", path=f"{_KEYS}/reencrypt", command="key reencrypt", summary="Seal anew under present keys", handler=again,
          takes=NoWords, gives=rotate_keys.Rotated, roles=("key-custodian",)),
    Route(method="POST", path=f"{_KEYS}/rotate-label", command="key rotate-label", summary="A new key for one label", handler=label,
          takes=Label, gives=rotate_keys.Rotated, roles=("key-custodian",)),
    Route(method="POST", path="/admin/v1/subjects/shred", command="shred", summary="Shred a person or household", handler=shredded,
          takes=Person, gives=shred.Shredded, roles=("key-custodian",)),
    Route(method="POST", path="/admin/v1/audit/verify", command="verify audit", summary="Verify the trail", handler=verified,
          takes=NoWords, gives=verify_audit.Verified, roles=("auditor",)),
)  # fmt: skip
