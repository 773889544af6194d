"""Describe the datasets to machines of other houses: DCAT-AP, Frictionless, CSV on the Web (api.md §7.14).

Rules: everything is made from the documents that `describe_data` gives, from the dictionary and the plans; nothing is written twice. What a
caller may not know of is in none of them. This story must not read a record.
"""

import asyncio
from typing import Final

from msgspec import structs

from gateway.core.callers.caller import Caller
from gateway.core.publication import tables
from gateway.core.publication.catalogue_export import DatasetFacts, Edition, Facts, File, Graph, Terms, catalogue_graph, dataset_graph
from gateway.core.records.model import Dataset, DatasetId
from gateway.core.records.periods import legal_day
from gateway.operations.answering import ENCODER, Scene, answer, begin, document_answer, instant_of_version
from gateway.operations.asking import Answer, Language
from gateway.operations.describe_data import dataset_document, download_of, held_dataset
from gateway.operations.spell_graphs import MEDIA_TYPES, Spelling, spelt
from gateway.services import Services
from gateway.store import lists

BOTH: Final = "zh-CN, en"
"""Every label of a graph stands in it in both languages, whichever is asked for."""
EDITIONS = 31
"""So many versions of a dataset stand in the catalogue, the newest; the others are read at its series."""


async def catalogue(services: Services, caller: Caller, language: Language, spelling: Spelling) -> Answer:
    """All datasets as DCAT-AP."""
    scene = await begin(services, caller, language, reads_records=False)
    names = sorted(scene.forms.plan_sets)
    facts = await _facts(scene, [scene.policies.catalogue.datasets[DatasetId(name)] for name in names])
    return await _graph_answer(scene, catalogue_graph(facts), spelling)


async def dataset_in(services: Services, dataset_id: str, caller: Caller, language: Language, spelling: Spelling) -> Answer:
    """One dataset as DCAT-AP.

    Raises NotFound.
    """
    scene = await begin(services, caller, language, reads_records=False)
    held = held_dataset(scene, dataset_id)
    return await _graph_answer(scene, dataset_graph(await _facts(scene, [held]), held.id), spelling, datasets=(held.id,))


async def _graph_answer(scene: Scene, graph: Graph, spelling: Spelling, datasets: tuple[str, ...] | None = None) -> Answer:
    body = await asyncio.to_thread(spelt, graph, spelling)
    return structs.replace(answer(scene, body, media_type=MEDIA_TYPES[spelling], datasets=datasets), speaks=BOTH)


async def _facts(scene: Scene, datasets: list[Dataset]) -> Facts:
    settings = scene.services.settings
    return Facts(
        origin=scene.origin,
        city=settings.city,
        region=settings.region,
        portal=settings.portal,
        org=settings.org,
        contact=settings.contact,
        modified=instant_of_version(scene.head.version) or f"{legal_day(scene.now).isoformat()}T00:00:00Z",
        datasets=tuple([await _dataset_facts(scene, each) for each in datasets]),
    )


async def _dataset_facts(scene: Scene, held: Dataset) -> DatasetFacts:
    told = await dataset_document(scene, held)
    temporal, terms = told["temporal"] or {}, told["terms"]
    item = scene.policies.catalogue.items[held.catalogue.edition, held.catalogue.item]
    latest = next((each["version"] for each in told["distributions"] if each["version"] is not None), None)
    kept = await lists.versions(scene.services.store.reads, f"datasets/{held.id}") if latest is not None else []
    return DatasetFacts(
        id=held.id,
        titles={"zh": held.label, "en": held.label_en or held.label},
        descriptions={"zh": held.about.zh or held.label, "en": held.about.en},
        keywords=held.about.keywords,
        openness=held.open,
        accrual=held.about.accrual,
        basis=tuple((ground.text, ground.uri) for ground in item.basis),
        first=temporal.get("start"),
        last=temporal.get("end"),
        received=told["last_received_at"],
        version=told["dataset_version"],
        latest=latest,
        editions=tuple(Edition(name=each.name, built=each.built_at) for each in kept if not each.withdrawn)[:EDITIONS],
        terms=None if terms is None else Terms(**terms),
        files=tuple(
            File(
                format=each["format"],
                media_type=each["media_type"],
                access=f"{scene.origin}/v1/datasets/{held.id}/distributions",
                download=each["uri"],
                version=each["version"],
                size=each["bytes"],
                sha256=each["sha256"],
            )
            for each in told["distributions"]
        ),
    )


# --- tables -------------------------------------------------------------------------------------------------------------


async def _table(scene: Scene, dataset_id: str) -> tables.Table:
    held = held_dataset(scene, dataset_id)
    form = scene.forms.by_dataset[held.id]
    told = await dataset_document(scene, held)
    return tables.Table(
        name=held.id,
        about=told["links"]["self"],
        title=told["title"],
        description=told["description"],
        publisher=told["publisher"]["name"],
        version=told["dataset_version"],
        columns=tables.columns_of(scene.forms.plan_sets[held.id], form.bulk_columns, held.category),
        download=download_of(scene, held.id, "csv"),
        keywords=held.about.keywords,
        licence=told["licence"],
        terms=told["terms"],
    )


async def datapackage(services: Services, dataset_id: str, caller: Caller, language: Language) -> Answer:
    """The CSV of a dataset as a Frictionless data package.

    Raises NotFound.
    """
    scene = await begin(services, caller, language, reads_records=False)
    table = await _table(scene, dataset_id)
    return document_answer(scene, tables.data_package(table), datasets=(table.name,))


async def csv_metadata(services: Services, dataset_id: str, caller: Caller, language: Language) -> Answer:
    """The CSV of a dataset as CSV on the Web describes it.

    Raises NotFound.
    """
    scene = await begin(services, caller, language, reads_records=False)
    table = await _table(scene, dataset_id)
    # no notice of a demo in it: what is no word of CSVW would be a fault to its readers; the header field says it
    return answer(scene, ENCODER.encode(tables.csvw(table)), datasets=(table.name,))
