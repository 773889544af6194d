"""Describe what there is: the root of the API, datasets, and their dictionaries, as the caller's plans show them (api.md §7.1, §7.14).

Rules: only fields whose existence is public are named, with the capabilities of the caller's own plans; `rows` is what the caller's
`limit=all` would return, and never counts persons. This story must not read a record.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct

from gateway.core.callers.caller import Caller
from gateway.core.disclosure.schemas import DIALECT
from gateway.core.errors import NotFound
from gateway.core.publication.labels import KINDS, label
from gateway.core.publication.quality import day_of, freshness
from gateway.core.publication.version_formats import formats_for
from gateway.core.records.model import Dataset, DatasetId, Field, FieldClass, SubjectKind
from gateway.core.records.periods import legal_day
from gateway.operations.answering import Scene, begin, document_answer, ended
from gateway.operations.asking import MSGPACK, PARQUET, XLSX, Answer, Ask, Language
from gateway.operations.look_up_person import may_find
from gateway.operations.reaching import licence_of, terms_of
from gateway.operations.read_versions import with_versions
from gateway.operations.walking import told_rows
from gateway.services import Services
from gateway.store import lists, published
from gateway.store.conditions import Condition
from gateway.store.reads import moment_of


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
            "changes": f"{address}/changes?since=0", "stream": f"{address}/changes/stream",
            "changelog": f"{address}/feeds/changelog.atom", "datasets": f"{address}/datasets",
            "catalog": f"{scene.origin}/catalog.jsonld", "policies": f"{address}/policies", "range": f"{address}/range",
            "problems": f"{address}/problems", "openapi": f"{scene.origin}/openapi.json",
        },
    })  # fmt: skip


async def datasets(services: Services, caller: Caller, language: Language) -> Answer:
    """All datasets of which the caller may see something."""
    scene = await begin(services, caller, language, reads_records=False)
    items = [await dataset_document(scene, scene.policies.catalogue.datasets[DatasetId(name)]) for name in sorted(scene.forms.plan_sets)]
    return document_answer(scene, {"items": items, "dataset_version": scene.head.version, "policy_version": scene.forms.version})


async def dataset(services: Services, dataset_id: str, caller: Caller, language: Language) -> Answer:
    """One dataset.

    Raises NotFound.
    """
    scene = await begin(services, caller, language, reads_records=False)
    held = held_dataset(scene, dataset_id)
    return document_answer(scene, await dataset_document(scene, held), datasets=(held.id,))


async def dictionary(services: Services, dataset_id: str, caller: Caller, language: Language) -> Answer:
    """The fields of a dataset whose existence the caller may know, and what may be done with them.

    Raises NotFound.
    """
    scene = await begin(services, caller, language, reads_records=False)
    held = held_dataset(scene, dataset_id)
    shown = scene.forms.plan_sets[held.id].shown
    fields = [_field_document(scene, held, held.fields[name]) for name in shown]
    return document_answer(scene, {"dataset": held.id, "fields": fields, "policy_version": scene.forms.version}, reads_data=False)


async def schema(services: Services, dataset_id: str, caller: Caller, language: Language) -> Answer:
    """The JSON Schema of `fields` of a dataset's records, as the caller's plans show them: one alternative a kind of subject.

    Raises NotFound.
    """
    scene = await begin(services, caller, language)
    held = held_dataset(scene, dataset_id)
    address = f"{scene.origin}/v1/datasets/{held.id}/schema"
    return document_answer(scene, {"$id": address, **_fields_schema(scene, held)}, reads_data=False)


class Shapes(Struct, frozen=True, kw_only=True):
    """What one caller may know of shapes."""

    name: str
    fields: Mapping[str, Mapping[str, Any]]
    """Of each dataset the schema of its fields."""
    persons: bool
    """Whether it may look persons up."""


async def shapes(services: Services, caller: Caller, language: Language) -> Shapes:
    """What this caller may know of shapes."""
    scene = await begin(services, caller, language)
    known = scene.policies.catalogue.datasets
    fields = {name: _fields_schema(scene, known[DatasetId(name)]) for name in sorted(scene.forms.plan_sets)}
    return Shapes(name=scene.forms.tag, fields=fields, persons=may_find(caller, scene.forms))


def _fields_schema(scene: Scene, held: Dataset) -> dict[str, Any]:
    titles = {name: field.label_en for name, field in held.fields.items()} | {"summary": "Summary"} if scene.language == "en" else {}
    kinds = [
        {"title": plan.kind, "type": "object", "properties": _titled(plan.schema["properties"], titles), "additionalProperties": False}
        for plan in scene.forms.plan_sets[held.id].plans.values()
    ]
    title = (held.label_en or held.label) if scene.language == "en" else held.label
    return {"$schema": DIALECT, "title": title, "anyOf": kinds}


def _titled(properties: Mapping[str, Any], titles: Mapping[str, str | None]) -> dict[str, Any]:
    """The schemas of fields, under these titles where there is one."""
    return {name: _plain(shape) | ({"title": title} if (title := titles.get(name)) else {}) for name, shape in properties.items()}


def _plain(value: Any) -> Any:
    return {name: _plain(inner) for name, inner in value.items()} if isinstance(value, Mapping) else value


def held_dataset(scene: Scene, dataset_id: str) -> Dataset:
    """A dataset of which the caller may see something. Raises NotFound."""
    if dataset_id not in scene.forms.plan_sets:
        raise NotFound
    return scene.policies.catalogue.datasets[DatasetId(dataset_id)]


async def dataset_document(scene: Scene, held: Dataset) -> dict[str, Any]:
    """A dataset as JSON tells it; the catalogue in other spellings is made from the same facts."""
    address = f"{scene.origin}/v1/datasets/{held.id}"
    english = scene.language == "en"
    seen = await _seen(scene, held)
    received = seen.received if seen is not None else None
    target = held.about.fresh_within
    return await with_versions(scene, f"datasets/{held.id}", {
        "id": held.id, "title": (held.label_en or held.label) if english else held.label,
        "description": (held.about.en if english else held.about.zh) or None, "keywords": held.about.keywords, "kind": held.category,
        "kind_label": label("kind", held.category, scene.language) if held.category in KINDS else held.category,
        "publisher": {"name": scene.services.settings.portal, "uscc": scene.services.settings.org},
        "openness": held.open, "openness_label": _OPENNESS[held.open][english],
        "rows": await _rows(scene, held, seen), "dataset_version": scene.head.version, "accrual_periodicity": held.about.accrual,
        "last_received_at": received,
        "fresh": None if received is None or target is None else not freshness(
            day_of(received), today=legal_day(scene.now), target=target)["breached"],
        "temporal": _temporal(seen),
        "licence": licence_of(scene.forms, (held.id,)), "terms": terms_document(scene, held.id),
        "distributions": await _distributions(scene, held.id),
        "links": {
            "self": address, "dictionary": f"{address}/dictionary", "schema": f"{address}/schema",
            "records": f"{scene.origin}/v1/records?dataset={held.id}", "distributions": f"{address}/distributions",
            "quality": f"{address}/quality", "datapackage": f"{address}/datapackage.json",
            "csv_metadata": f"{address}/csv-metadata.json",
        },
    })  # fmt: skip


async def _seen(scene: Scene, held: Dataset) -> published.Overview | None:
    """What everybody may take of it; None for a caller who sees it otherwise, or where no plan can say it any more."""
    if not scene.public or ended(scene, (held.id,)):
        return None
    reads = scene.services.store.reads
    moment, key = moment_of(reads), ("overview", held.id, scene.forms.tag, legal_day(scene.now))
    if moment is not None and key in moment.known:
        known: published.Overview = moment.known[key]
        return known
    seen = await published.overview(reads, held.id, plan=scene.forms.tag, now=scene.now_text)
    if moment is not None:
        moment.known[key] = seen
    return seen


def _temporal(seen: published.Overview | None) -> dict[str, str] | None:
    """From the first to the last decision, where whole days are shown."""
    if seen is None or seen.first is None or seen.last is None or len(seen.first) < _DAY or len(seen.last) < _DAY:
        return None
    return {"start": seen.first, "end": seen.last}


_DAY: Final = len("2026-03-02")


async def _rows(scene: Scene, held: Dataset, seen: published.Overview | None) -> int | None:
    if ended(scene, (held.id,)):
        return None  # how many there are, no plan can say
    if seen is not None:
        return seen.rows
    return await told_rows(scene, Condition(column="dataset", op="eq", values=(held.id,)))


def terms_document(scene: Scene, dataset: str) -> dict[str, Any] | None:
    """What whoever takes a dataset may do with it: licence, how the source is named, and what is not given."""
    terms = terms_of(scene.forms, (dataset,))
    if terms is None:
        return None
    return {"title": terms.title, "uri": terms.url, "attribution": terms.attribution, "carve_out": terms.carve_out}


FORMATS: Final = (
    ("csv", "text/csv"),
    ("json", "application/json"),
    ("ndjson", "application/x-ndjson"),
    ("xlsx", XLSX),
    ("parquet", PARQUET),
    ("msgpack", MSGPACK),
)
"""In which a dataset is taken as a whole, live and as files of its versions."""


def download_of(scene: Scene, dataset: str, suffix: str) -> str:
    """Where a dataset is taken as a whole, as it stands."""
    return f"{scene.origin}/v1/records.{suffix}?dataset={dataset}&limit=all"


async def _distributions(scene: Scene, dataset: str) -> list[dict[str, Any]]:
    """The live exports, and the files of the latest version, whose digests are known once they were made.

    While something leaves a version its files are not told: they answer again when it has been issued without it.
    """
    live = [
        {
            "format": suffix, "media_type": media_type, "uri": download_of(scene, dataset, suffix), "version": None, "bytes": None,
            "sha256": None,
        }
        for suffix, media_type in FORMATS
    ]  # fmt: skip
    reads = scene.services.store.reads
    latest = await lists.current(reads, f"datasets/{dataset}") if scene.public else None
    if latest is None or await lists.is_leaving(reads, latest):
        return live
    made, address = await lists.files(reads, latest), f"{scene.origin}/v1/datasets/{dataset}/versions/{latest.name}.r{latest.issue}"
    kept = formats_for(None)
    files = [
        {
            "format": suffix, "media_type": media_type, "uri": f"{address}.{suffix}", "version": latest.name,
            "bytes": made[suffix].size if suffix in made else None, "sha256": made[suffix].sha256 if suffix in made else None,
        }
        for suffix, media_type in FORMATS
        if suffix in kept and (suffix not in made or made[suffix].refused is None)
    ]  # fmt: skip
    return [*files, *live]


async def distributions(services: Services, dataset_id: str, caller: Caller, language: Language) -> Answer:
    """The ways to take a dataset as a whole.

    Raises NotFound.
    """
    scene = await begin(services, caller, language, reads_records=False)
    held = held_dataset(scene, dataset_id)
    items = await _distributions(scene, held.id)
    document = {"dataset": held.id, "items": items, "terms": terms_document(scene, held.id), "policy_version": scene.forms.version}
    return document_answer(scene, document, datasets=(held.id,))


_OPENNESS = {
    "unconditional": ("无条件开放", "Open without conditions"), "conditional": ("有条件开放", "Open under conditions"),
    "closed": ("不予开放", "Closed"),
}  # fmt: skip


def _field_document(scene: Scene, held: Dataset, field: Field) -> dict[str, Any]:
    plans = scene.forms.plan_sets[held.id].plans
    tier = scene.forms.tier
    chinese = scene.language != "en"
    treatments = {
        kind: plan.treatments.get(field.name, "clear") for kind, plan in plans.items() if any(s.field == field.name for s in plan.steps)
    }
    kind: SubjectKind = "legal" if "legal" in treatments or not treatments else next(iter(treatments))
    can = sorted({capability for plan in plans.values() for capability in plan.capabilities.get(field.name, ())})
    return {
        "name": field.name, "name_zh": field.label, "name_en": field.label_en, "type": field.type, "format": _SPELLED.get(field.type),
        "unit": field.unit, "required": field.required, "enum": dict(field.values) or None,
        "enum_en": dict(field.values_en) or None,
        "standard_element": field.standard_element, "source_name": field.wire, "example": example_of(field),
        "sensitivity": _SENSITIVITY[field.classes[kind]], "treatments": {tier: treatments.get(kind, "clear")},
        "treatments_by_kind": treatments,
        "capabilities": {tier: can}, "null_meaning": "来源未提供" if chinese else "not stated by the source",
    }  # fmt: skip


_SENSITIVITY: Final[Mapping[FieldClass, str]] = {
    "O": "open", "B1": "business_contact", "B2": "trade_secret", "P1": "personal", "P2": "identifying", "P3": "sensitive",
    "U": "unclassified",
}  # fmt: skip
"""The classes of policy.md §3, as the dictionary calls them."""
_SPELLED: Final = {"date": "YYYY-MM-DD", "instant": "RFC 3339, UTC", "division": "GB/T 2260", "uri": "RFC 3986"}
_EXAMPLES: Final[Mapping[str, str | int | bool]] = {
    "date": "2026-03-02", "instant": "2026-03-06T02:11:00Z", "bool": True, "int": 3, "division": "220502", "uscc": "91220502XXT00002X2",
    "uri": "https://example.org/",
}  # fmt: skip


def example_of(field: Field) -> str | int | bool | None:
    """An invented value of the field's type; None where a type alone gives none."""
    if field.values:
        return next(iter(field.values))
    if field.type.startswith("decimal"):
        places = int(field.type.rstrip(")").partition(",")[2] or 0)
        return f"{Decimal('1.2'):.{places}f}"
    return _EXAMPLES.get(field.type)
