"""Describe what there is: the root of the API, datasets, and their dictionaries, as the caller's plans show them (api.md §7.1, §7.14).

Rules: only fields whose existence is public are named, with the capabilities of the caller's own plans; `rows` is what the caller's
`limit=all` would return, and never counts persons. This story must not read a record.
"""

from collections.abc import Mapping
from typing import Any

from gateway.core.callers.caller import Caller
from gateway.core.disclosure.schemas import DIALECT
from gateway.core.errors import NotFound
from gateway.core.publication.labels import KINDS, label
from gateway.core.records.model import Dataset, DatasetId, Field
from gateway.operations.answering import Scene, begin, document_answer, ended
from gateway.operations.asking import Answer, Ask, Language
from gateway.operations.reaching import licence_of
from gateway.operations.read_versions import with_versions
from gateway.operations.walking import told_rows
from gateway.services import Services
from gateway.store import walks
from gateway.store.conditions import Condition


async def root(services: Services, caller: Caller, ask: Ask, *, version: str) -> Answer:
    """Version, present state and where to go."""
    scene = await begin(services, caller, ask.language, reads_records=False)
    address = f"{scene.origin}/v1"
    return document_answer(scene, {
        "version": version, "seq": scene.head.seq, "dataset_version": scene.head.version,
        "policy_version": scene.forms.version, "licence": licence_of(scene.forms),
        "city": services.settings.city, "region": services.settings.region,
        "links": {
            "self": address, "subjects": f"{address}/subjects", "records": f"{address}/records", "lists": f"{address}/lists",
            "changes": f"{address}/changes?since=0", "datasets": f"{address}/datasets", "openapi": f"{scene.origin}/openapi.json",
        },
    })  # fmt: skip


async def datasets(services: Services, caller: Caller, language: Language) -> Answer:
    """All datasets of which the caller may see something."""
    scene = await begin(services, caller, language, reads_records=False)
    items = [await _dataset_document(scene, scene.policies.catalogue.datasets[DatasetId(name)]) for name in sorted(scene.forms.plan_sets)]
    return document_answer(scene, {"items": items, "dataset_version": scene.head.version, "policy_version": scene.forms.version})


async def dataset(services: Services, dataset_id: str, caller: Caller, language: Language) -> Answer:
    """One dataset.

    Raises NotFound.
    """
    scene = await begin(services, caller, language, reads_records=False)
    held = _dataset(scene, dataset_id)
    return document_answer(scene, await _dataset_document(scene, held), datasets=(held.id,))


async def dictionary(services: Services, dataset_id: str, caller: Caller, language: Language) -> Answer:
    """The fields of a dataset whose existence the caller may know, and what may be done with them.

    Raises NotFound.
    """
    scene = await begin(services, caller, language, reads_records=False)
    held = _dataset(scene, dataset_id)
    shown = scene.forms.plan_sets[held.id].shown
    fields = [_field_document(scene, held, held.fields[name]) for name in shown]
    return document_answer(scene, {"dataset": held.id, "fields": fields, "policy_version": scene.forms.version}, reads_data=False)


async def schema(services: Services, dataset_id: str, caller: Caller, language: Language) -> Answer:
    """The JSON Schema of `fields` of a dataset's records, as the caller's plans show them: one alternative a kind of subject.

    Raises NotFound.
    """
    scene = await begin(services, caller, language)
    held = _dataset(scene, dataset_id)
    address = f"{scene.origin}/v1/datasets/{held.id}/schema"
    return document_answer(scene, {"$id": address, **_fields_schema(scene, held)}, reads_data=False)


async def schemas(services: Services, caller: Caller, language: Language) -> tuple[str, dict[str, dict[str, Any]]]:
    """A name for what this caller may know of shapes, and the schema of each dataset's fields."""
    scene = await begin(services, caller, language)
    known = scene.policies.catalogue.datasets
    return scene.forms.tag, {name: _fields_schema(scene, known[DatasetId(name)]) for name in sorted(scene.forms.plan_sets)}


def _fields_schema(scene: Scene, held: Dataset) -> dict[str, Any]:
    kinds = [
        {"title": plan.kind, "type": "object", "properties": _plain(plan.schema["properties"]), "additionalProperties": False}
        for plan in scene.forms.plan_sets[held.id].plans.values()
    ]
    title = (held.label_en or held.label) if scene.language == "en" else held.label
    return {"$schema": DIALECT, "title": title, "anyOf": kinds}


def _plain(value: Any) -> Any:
    return {name: _plain(inner) for name, inner in value.items()} if isinstance(value, Mapping) else value


def _dataset(scene: Scene, dataset_id: str) -> Dataset:
    if dataset_id not in scene.forms.plan_sets:
        raise NotFound
    return scene.policies.catalogue.datasets[DatasetId(dataset_id)]


async def _dataset_document(scene: Scene, held: Dataset) -> dict[str, Any]:
    reads = scene.services.store.reads
    of_it = Condition(column="dataset", op="eq", values=(held.id,))
    rows: int | None
    if ended(scene, (held.id,)):
        rows = None  # how many there are, no plan can say
    elif scene.public:
        rows = await walks.count(reads, (of_it, Condition(column="bulk", op="eq")), plan=scene.forms.tag, now=scene.now_text)
    else:
        rows = await told_rows(scene, of_it)
    address = f"{scene.origin}/v1/datasets/{held.id}"
    english = scene.language == "en"
    return await with_versions(scene, f"datasets/{held.id}", {
        "id": held.id, "title": (held.label_en or held.label) if english else held.label, "kind": held.category,
        "kind_label": label("kind", held.category, scene.language) if held.category in KINDS else held.category,
        "openness": held.open, "openness_label": _OPENNESS[held.open][english],
        "rows": rows, "dataset_version": scene.head.version, "licence": licence_of(scene.forms, (held.id,)),
        "links": {"self": address, "dictionary": f"{address}/dictionary", "records": f"{scene.origin}/v1/records?dataset={held.id}"},
    })  # fmt: skip


_OPENNESS = {
    "unconditional": ("无条件开放", "Open without conditions"), "conditional": ("有条件开放", "Open under conditions"),
    "closed": ("不予开放", "Closed"),
}  # fmt: skip


def _field_document(scene: Scene, held: Dataset, field: Field) -> dict[str, Any]:
    plans = scene.forms.plan_sets[held.id].plans
    tier = scene.forms.tier
    treatments = {
        kind: plan.treatments.get(field.name, "clear") for kind, plan in plans.items() if any(s.field == field.name for s in plan.steps)
    }
    can = sorted({capability for plan in plans.values() for capability in plan.capabilities.get(field.name, ())})
    return {
        "name": field.name, "name_zh": field.label, "name_en": field.label_en, "type": field.type, "format": None, "unit": field.unit,
        "required": field.required, "enum": dict(field.values) or None, "source_name": field.wire,
        "treatments": {tier: treatments.get("legal", next(iter(treatments.values()), "clear"))}, "treatments_by_kind": treatments,
        "capabilities": {tier: can}, "null_meaning": "来源未提供" if scene.language != "en" else "not stated by the source",
    }  # fmt: skip
