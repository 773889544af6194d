"""Versions of lists and datasets by hand: what the office sees of them, and taking one back (api.md §7.8)."""

from msgspec import Struct

from gateway.core.errors import ErrorItem, InvalidParameter, NotFound
from gateway.core.publication.forms import forms_of
from gateway.operations.collected import collection_of
from gateway.operations.feeding import PUBLIC
from gateway.operations.version_files import sweep
from gateway.services import Services
from gateway.store import audit, lists


async def withdraw_version(services: Services, collection_id: str, name: str, *, by: str) -> None:
    """Take a version back that was published in error; it answers 410 from then on.

    Raises NotFound.
    """
    policies = await services.policies.fresh()
    collection_of(policies, forms_of(policies, *PUBLIC), collection_id)
    async with services.store.transaction() as tx:
        version = await lists.version(tx, collection_id, name)
        if version is None:
            raise NotFound
        if version.withdrawn:
            raise InvalidParameter(errors=(ErrorItem("state", "此版本已撤回", parameter="version"),))
        await lists.withdraw(tx, version)
        await lists.next_turn(tx)
        await audit.write(tx, by, "list.withdraw", f"{collection_id}/{name}", {"issue": version.issue})
    await sweep(services)


class KeptVersion(Struct, frozen=True, kw_only=True):
    """A version as the office sees it."""

    collection: str
    version: str
    issue: int
    state: str
    rows: int
    removed: int
    built_at: str


async def kept_versions(services: Services, only: str | None) -> list[KeptVersion]:
    """The versions of every collection, or of one, newest first.

    Raises NotFound for a collection that has none.
    """
    reads = services.store.reads
    found: list[KeptVersion] = []
    for collection in await lists.collections(reads):
        if only is not None and collection != only:
            continue
        current = await lists.current(reads, collection)
        found += [
            KeptVersion(
                collection=collection,
                version=each.name,
                issue=each.issue,
                state=each.state(None if current is None else current.name),
                rows=each.rows,
                removed=each.size - each.rows,
                built_at=each.built_at,
            )
            for each in await lists.versions(reads, collection)
        ]
    if only is not None and not found:
        raise NotFound
    return found
