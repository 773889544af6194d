"""Answer for lists: which there are, what each is, and who stands on one now (api.md §7.8).

Rules: red lists and blacklists have equal rank; `rows` is what the caller's `limit=all` would return. A list of a dataset that the caller
does not see does not exist. This story must not decide who is listed.
"""

from typing import Any

from gateway.core.callers.caller import Caller
from gateway.core.errors import NotFound
from gateway.core.publication.documents import localise
from gateway.core.publication.listings import list_document
from gateway.core.records.catalogue import ListDef
from gateway.operations.answering import Scene, begin, document_answer, ended
from gateway.operations.asking import Answer, Ask, Language
from gateway.operations.read_versions import with_versions
from gateway.operations.walk_records import walk_records
from gateway.operations.walking import told_rows
from gateway.services import Services
from gateway.store import walks
from gateway.store.conditions import Condition


async def lists(services: Services, caller: Caller, language: Language) -> Answer:
    """All lists, red and black alike, by id."""
    scene = await begin(services, caller, language, reads_records=False)
    items = [
        await _list_document(scene, each)
        for _, each in sorted(scene.policies.catalogue.lists.items())
        if each.dataset in scene.forms.plan_sets
    ]
    return document_answer(scene, {"items": items, "dataset_version": scene.head.version, "policy_version": scene.forms.version})


async def one_list(services: Services, list_id: str, caller: Caller, language: Language) -> Answer:
    """One list.

    Raises NotFound.
    """
    scene = await begin(services, caller, language, reads_records=False)
    held = _list(scene, list_id)
    return document_answer(scene, await _list_document(scene, held), datasets=(held.dataset,))


def _list(scene: Scene, list_id: str) -> ListDef:
    found = scene.policies.catalogue.lists.get(list_id)
    if found is None or found.dataset not in scene.forms.plan_sets:
        raise NotFound
    return found


async def _list_document(scene: Scene, listing: ListDef) -> dict[str, Any]:
    reads = scene.services.store.reads
    on_list = (Condition(column="list", op="eq", values=(listing.id,)),)
    rows: int | None
    if ended(scene, (listing.dataset,)):
        rows = None  # how many there are, no plan can say
    elif scene.public:
        rows = await walks.count(reads, on_list, plan=scene.forms.tag, now=scene.now_text)
    else:
        rows = await told_rows(scene, *on_list)
    document = list_document(listing, rows=rows, seq=scene.head.seq, origin=scene.origin, english=scene.language == "en")
    return localise(await with_versions(scene, f"lists/{listing.id}", document), scene.language)


async def listings(services: Services, list_id: str, caller: Caller, ask: Ask) -> Answer:
    """Who stands on a list now.

    Raises NotFound for a list that does not exist.
    """
    scene = await begin(services, caller, ask.language)
    listing = _list(scene, list_id)
    return await walk_records(
        scene, ask, fixed=(Condition(column="list", op="eq", values=(listing.id,)),), listing=listing, name=listing.id
    )
