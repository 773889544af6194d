"""Tell how good the data of a dataset are, per source department (api.md §7.14).

Rules: everybody is told the same, of what everybody sees; four bounded statements, remembered until a commit. What each figure
may tell is said in `core/publication/quality`. This story must not open a record.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.errors import NotFound
from gateway.core.publication.forms import Forms, forms_of
from gateway.core.publication.quality import Figures, day_of, quality_document
from gateway.core.records.model import DatasetId
from gateway.core.records.periods import legal_day
from gateway.operations.answering import CHINA, DOCUMENT, Scene, begin, document_answer
from gateway.operations.asking import Answer, Language
from gateway.operations.ingest_receipt import counted
from gateway.services import Services
from gateway.store import published
from gateway.store.published import Removal
from gateway.store.reads import moment_of

SAMPLE = 2000
FILES = 50
REMOVALS = 5000
LATE = timedelta(seconds=60)


async def quality(services: Services, dataset_id: str, caller: Caller, language: Language) -> Answer:
    """Freshness, completeness, validity and the rest, per source department.

    Raises NotFound.
    """
    scene = await begin(services, caller, language, reads_records=False)
    if dataset_id not in scene.forms.plan_sets:
        raise NotFound
    open_ = forms_of(scene.policies, PUBLIC.plan_tier, PUBLIC.purpose)
    items = await _items(scene, open_, DatasetId(dataset_id)) if dataset_id in open_.plan_sets else []
    return document_answer(
        scene,
        {"dataset": dataset_id, "items": items, "sample": SAMPLE, "files": FILES, "policy_version": scene.forms.version},
        datasets=(dataset_id,),
    )


async def _items(scene: Scene, open_: Forms, dataset: DatasetId) -> list[dict[str, Any]]:
    moment = moment_of(scene.services.store.reads)
    key = ("quality", dataset, open_.tag, legal_day(scene.now))
    if moment is not None and key in moment.known:
        known: list[dict[str, Any]] = moment.known[key]
        return known
    found = await _counted(scene, open_, dataset)
    if moment is not None:
        moment.known[key] = found
    return found


async def _counted(scene: Scene, open_: Forms, dataset: DatasetId) -> list[dict[str, Any]]:
    reads = scene.services.store.reads
    supplied = await published.supplied(reads, dataset, plan=open_.tag, now=scene.now_text)
    bodies = await published.sample(reads, dataset, plan=open_.tag, now=scene.now_text, limit=SAMPLE)
    files = await published.files(reads, dataset, limit=FILES)
    removals = await published.removals(reads, dataset, plan_set=open_.name, limit=REMOVALS)
    taken, rejected = Counter[str | None](), defaultdict[str | None, Counter[str]](Counter)
    delivered: dict[str | None, str] = {}
    for file in files:
        came, refused = await asyncio.to_thread(counted, file)
        taken[file.authority] += came
        rejected[file.authority] += refused
        if file.finished_at is not None:
            at = file.finished_at.astimezone(UTC).isoformat()
            delivered[file.authority] = max(at, delivered.get(file.authority, at))
    sampled: dict[str | None, list[dict[str, Any]]] = defaultdict(list)
    for body in bodies:
        document = DOCUMENT.decode(body)
        sampled[document["source"]["uscc"]].append(document)
    late = Counter(each.source for each in removals if _late(each))
    held = scene.policies.catalogue.datasets[dataset]
    columns = _shown(open_, dataset)
    items: list[dict[str, Any]] = []
    for each in supplied:
        of_it = sampled[each.source]
        latest = max((text for text in (each.received, delivered.get(each.source)) if text is not None), default=None)
        figures = Figures(
            rows=each.rows,
            objections=each.objections,
            received=None if latest is None else day_of(latest),
            sample=of_it,
            taken=taken[each.source],
            rejected=rejected[each.source],
            late=late[each.source],
        )
        name = of_it[0]["source"]["name"] if of_it else None
        told = quality_document(
            figures,
            columns=columns,
            today=legal_day(scene.now),
            target=held.about.fresh_within,
            min_k=scene.services.settings.min_k,
        )
        items.append({"source": {"name": name, "uscc": each.source}, **told})
    return items


def _shown(open_: Forms, dataset: str) -> Sequence[str]:
    """Where in a document the shown fields of organisations stand."""
    plan = open_.plan_sets[dataset].plans.get("legal")
    names = [] if plan is None else [step.field for step in plan.steps if plan.can(step.field, "export")]
    return [_PLACES.get(name, f"fields.{name}") for name in names]


_PLACES = {
    "name": "subject.name", "uscc": "subject.uscc", "document_number": "document_number", "decision_date": "decision_date",
    "severity": "severity",
}  # fmt: skip


def _late(removal: Removal) -> bool:
    """Whether a removal was told later than it had to be: a minute after the commit, or after the midnight that ended its period."""
    due = removal.changed
    if removal.until is not None:
        due = datetime.fromisoformat(removal.until).replace(tzinfo=CHINA) + timedelta(days=1)
    return removal.told - due > LATE
