"""Keys and shredding over the administrators' API, for key custodians: what `chengxin key list`, `new`, `rotate-…`, `shred` … do."""

import asyncio
from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.operations import erase, manage_keys, rotate_keys, shred
from gateway.web.admin.desk import Act, Route


class Scopes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose data keys: scopes that begin so; empty: all."""

    scope: Annotated[str, Meta(max_length=128, pattern="^[!-~]*$")] = ""


class Label(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which label."""

    label: Annotated[str, Meta(min_length=1, max_length=96)]


class Person(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom, by our own id, and why."""

    subject: Annotated[str, Meta(min_length=5, max_length=30)]
    reason: shred.Why


class Target(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record or a subject, by our own id, and why."""

    target: Annotated[str, Meta(min_length=5, max_length=30)]
    reason: shred.Why


class Use(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the key is for."""

    use: Literal["exchange", "http", "agreement", "audit", "receipt", "export"]
    algorithm: Literal["ed25519", "sm2"] = "ed25519"


class Revoked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which signing key, and why."""

    vkey: Annotated[str, Meta(min_length=1, max_length=256)]
    reason: Annotated[str, Meta(min_length=1, max_length=500)]
    mute: bool = False


class NoWords(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing to say."""


async def listed(act: Act) -> object:
    """Our signing keys, public halves."""
    return await asyncio.to_thread(manage_keys.list_keys, act.services.settings, act.services.clock())


async def new(act: Act) -> object:
    """A successor of a signing key."""
    return await manage_keys.new_key(act.services, act.body.use, algorithm=act.body.algorithm, by=act.by)


async def revoke(act: Act) -> object:
    """A signing key that is not to be believed any more."""
    return await manage_keys.revoke_key(act.services, act.body.vkey, reason=act.body.reason, by=act.by, mute=act.body.mute)


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


async def erased(act: Act) -> object:
    """Erase a record, or every record of a subject."""
    return await erase.erase(act.services, act.body.target, reason=act.body.reason, by=act.by)


_KEYS = "/admin/v1/keys"
ROUTES: tuple[Route, ...] = (
    Route(method="GET", path=_KEYS, command="key list", summary="Our signing keys", handler=listed, gives=list[manage_keys.KeyLine]),
    Route(method="POST", path=_KEYS, command="key new", summary="A successor of a signing key", handler=new, takes=Use,
          gives=manage_keys.KeyLine, roles=("key-custodian",)),
    Route(method="POST", path=f"{_KEYS}/revoke", command="key revoke-signing", summary="A signing key is not to be believed any more",
          handler=revoke, takes=Revoked, gives=manage_keys.KeyLine, roles=("key-custodian",)),
    Route(method="POST", path=f"{_KEYS}/rotate-kek", command="key rotate-kek", summary="A new key-encryption key", handler=kek,
          takes=NoWords, gives=rotate_keys.Rotated, roles=("key-custodian",)),
    Route(method="POST", path=f"{_KEYS}/renew-deks", command="key renew-deks", summary="New data keys", handler=deks,
          takes=Scopes, gives=rotate_keys.Rotated, roles=("key-custodian",)),
    Route(method="POST", path=f"{_KEYS}/reencrypt", command="key reencrypt", summary="Seal anew under present keys", handler=again,
          takes=NoWords, gives=rotate_keys.Rotated, roles=("key-custodian",)),
    Route(method="POST", path=f"{_KEYS}/rotate-label", command="key rotate-label", summary="A new key for one label", handler=label,
          takes=Label, gives=rotate_keys.Rotated, roles=("key-custodian",)),
    Route(method="POST", path="/admin/v1/erasures", command="erase", summary="Erase a record, or every record of a subject",
          handler=erased, takes=Target, gives=erase.Erased, roles=("key-custodian",)),
    Route(method="POST", path="/admin/v1/subjects/shred", command="shred", summary="Shred a person or household", handler=shredded,
          takes=Person, gives=shred.Shredded, roles=("key-custodian",)),
)  # fmt: skip
