"""Exchange keys: the key-encryption key, data keys with what they seal, the keys of labels (policy.md §11).

Rules: key custodians only; every beginning and every end is an act in the trail. The work is done in pages, each one transaction, so that
others write in between, and a command that was cut off is given again and goes on. A new key-encryption key is on the disk before the
database knows of it. This story must not show a key, nor destroy the old file: that is for the custodian, when no backup needs it.
"""

import asyncio
from collections.abc import Callable

from msgspec import Struct

from gateway.core.callers.administrators import Administrator
from gateway.core.errors import StoreError
from gateway.services import Services
from gateway.store import audit, reindexing, rotation
from gateway.store.kek import create_kek, load_kek, next_path, old_path, take_next
from gateway.store.store import Transaction

PAGE = 500
NOTICE_S = 6.0
"""Every process reads the key tables again within this time; what was made under an old key stays so long after a cut-over."""

Progress = Callable[[int], None]


class Rotated(Struct, frozen=True, kw_only=True):
    """What was done."""

    what: str
    version: int
    done: int
    """Keys wrapped, values sealed or subjects indexed anew."""
    resumed: bool = False
    old_file: str | None = None
    """The replaced key-encryption key: to be destroyed when no backup needs it."""


async def rotate_kek(services: Services, *, by: Administrator) -> Rotated:
    """A new key-encryption key in the old one's place, and every data key wrapped under it; goes on with one that was cut off.

    Raises RoleMissing, StoreError, SettingsError.
    """
    by.require("key-custodian")
    path = services.settings.kek_path
    async with services.store.transaction() as tx:
        resumed = await rotation.left_to_rewrap(tx) > 0
    if not resumed:
        coming = next_path(path)
        new = await asyncio.to_thread(load_kek if coming.exists() else create_kek, coming)
        async with services.store.transaction() as tx:
            version = await rotation.begin_kek(tx, new)
            await _write(tx, by, "key.rotate-kek", f"kek/{version}", {"step": "begin"})
        await asyncio.to_thread(take_next, path, keep=old_path(path, version - 1))
    done = 0
    while True:
        async with services.store.transaction() as tx:
            count = await rotation.rewrap(tx, PAGE)
            done += count
            if count < PAGE:
                await _write(tx, by, "key.rotate-kek", f"kek/{tx.vault.version}", {"step": "end", "deks": done})
                break
    version = services.store.vault.version
    return Rotated(what="kek", version=version, done=done, resumed=resumed, old_file=str(old_path(path, version - 1)))


async def renew_deks(services: Services, *, prefix: str, by: Administrator) -> Rotated:
    """New data keys for the scopes that begin so (`org:`, `subject:`, `house:`, or all), and everything sealed anew.

    Raises RoleMissing, StoreError `key-missing` naming the value whose key is gone.
    """
    by.require("key-custodian")
    async with services.store.transaction() as tx:
        retired = await rotation.retire_deks(tx, prefix)
        await _write(tx, by, "key.renew-deks", "deks", {"step": "begin", "deks": retired})
    return await reencrypt(services, by=by)


async def reencrypt(services: Services, *, by: Administrator) -> Rotated:
    """Seal anew whatever stands under a retired data key or another suite than that of the settings; goes on where it was cut off.

    Raises RoleMissing, StoreError `key-missing` naming the value whose key is gone.
    """
    by.require("key-custodian")
    done = 0
    while True:
        async with services.store.transaction() as tx:
            count, whole = await rotation.reencrypt(tx, PAGE)
            done += count
            if whole:
                dropped = await rotation.drop_unused(tx)
                await _write(tx, by, "key.reencrypt", "deks", {"step": "end", "values": done, "dropped": dropped})
                break
    return Rotated(what="deks", version=services.store.vault.version, done=done)


async def rotate_label(services: Services, label: str, *, by: Administrator, notice_s: float = NOTICE_S) -> Rotated:
    """A new key for one label; an index is written under both keys, filled up, cut over and cleaned.

    Raises RoleMissing, StoreError `key-label`, `key-reindex` naming a subject whose key text no record holds any more.
    """
    by.require("key-custodian")
    reindexing.refuse_unknown(label)
    async with services.store.transaction() as tx:
        resumed = tx.vault.ring.coming(label) is not None
        version = await reindexing.begin_label(tx, label)
        await _write(tx, by, "key.rotate-label", label, {"step": "begin", "version": version})
    await services.store.refresh_keys()
    if label in reindexing.PLAIN:
        return Rotated(what=label, version=version, done=0)
    await asyncio.sleep(notice_s)  # from now on every process writes under both keys
    if label == reindexing.OFFICER:
        async with services.store.transaction() as tx:
            await reindexing.cut_over(tx, label, version)
            done = await reindexing.officers_again(tx, version)
            await _write(tx, by, "key.rotate-label", label, {"step": "end", "version": version})
        return Rotated(what=label, version=version, done=done, resumed=resumed)
    done = await _index(services, label, version)
    async with services.store.transaction() as tx:
        after: str | None = ""
        while after is not None:  # the last ones, while nobody else writes
            after, count, failed = await reindexing.index_again(tx, label, version, after, PAGE)
            done += count
            if failed:
                raise StoreError(
                    "no record holds the text any more by which a subject is known",
                    code="key-reindex",
                    place=failed[0],
                    hint="shred the subject, or let its authority send the record again; then give the command again",
                )
        await reindexing.cut_over(tx, label, version)
        await _write(tx, by, "key.rotate-label", label, {"step": "cut-over", "version": version})
    await services.store.refresh_keys()
    await asyncio.sleep(notice_s)
    await _clean(services, label, version)
    async with services.store.transaction() as tx:
        await _write(tx, by, "key.rotate-label", label, {"step": "end", "version": version})
    return Rotated(what=label, version=version, done=done, resumed=resumed)


async def _index(services: Services, label: str, version: int) -> int:
    done, after = 0, ""
    while True:
        async with services.store.transaction() as tx:
            last, count, _ = await reindexing.index_again(tx, label, version, after, PAGE)
        done += count
        if last is None:
            return done
        after = last


async def _clean(services: Services, label: str, version: int) -> None:
    after: str | None = ""
    while after is not None:
        async with services.store.transaction() as tx:
            after = await reindexing.drop_old(tx, label, version, after, PAGE)


async def _write(tx: Transaction, by: Administrator, act: str, target: str, detail: dict[str, object]) -> None:
    await audit.write(tx, f"admin:{by.name}", act, target, detail)
