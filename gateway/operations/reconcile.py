"""Reconcile a table's names with our subjects as OpenRefine and its kin ask (api.md §7.7; Reconciliation Service API 0.2).

Rules: one engine, that of `match_names`, and everybody is answered as the public: no key opens more here. A score is that of the match,
times a hundred; certain (`match`) is what the match calls exact or a match, nothing else. Households are met by their whole name or code
alone, and nothing more is told of them than that; persons never. Fields for a table (`extend`) are those of organisations that no
public plan shows otherwise than in clear. This story must not compare names.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from gateway.core.callers.caller import PUBLIC
from gateway.core.disclosure.query import Query as Everything
from gateway.core.errors import BodyInvalid, ErrorItem, NotFound
from gateway.core.publication.documents import HOUSEHOLD
from gateway.core.publication.labels import KINDS, SUBJECT_KINDS, label, region_label
from gateway.core.publication.names import normalise
from gateway.core.publication.searching import MAX_QUERY
from gateway.core.records.identifiers import check_uscc, looks_like_citizen_number, normalise_code
from gateway.operations import pages
from gateway.operations.answering import DOCUMENT, ENCODER, Scene, answer, begin, refuse_ended
from gateway.operations.asking import Answer, Language
from gateway.operations.find_subjects import shown_hits
from gateway.operations.look_up import look_up, shown_subject
from gateway.operations.match_names import MOST_CANDIDATES, MOST_QUERIES_PUBLIC, Match, Outcome, Question, Text, outcomes
from gateway.services import Services
from gateway.store import renderings

VERSION: Final = "0.2"
MOST_QUERIES: Final = MOST_QUERIES_PUBLIC
MOST_IDS: Final = 20
MOST_OFFERS: Final = 10
MOST_SKIPPED: Final = 90
_MOST_PROPERTIES: Final = 20
_LONGEST: Final = 200
"""Characters of a name, code or address."""
_DIVISION: Final = re.compile(r"[1-9][0-9]{5}")

Document = Mapping[str, Any]
Kind = Literal["entity", "type", "property"]
Type = Literal["enterprise", "cooperative", "institution", "organ", "social_organisation", "collective", "other", "household"]
TYPES: Final[tuple[str, ...]] = tuple(kind for kind in SUBJECT_KINDS if kind != "person")
PropertyId = Literal["uscc", "registration_number", "region", "address", "former_name"]
PROPERTIES: Final[Mapping[PropertyId, tuple[tuple[str, str], tuple[str, str]]]] = {
    "uscc": (("统一社会信用代码", "Unified social credit code"), ("先于名称判定", "decides before any name")),
    "registration_number": (("注册号", "Registration number"), ("15 位数字", "15 digits")),
    "region": (("行政区划", "Division"), ("六位代码或名称，只说明所在地", "six digits, or its name; only says where")),
    "address": (("地址", "Address"), ("只说明所在地", "only says where")),
    "former_name": (("曾用名", "Former name"), ("按名称查不到时再按此查", "asked where the name finds nobody")),
}
"""What a query may say beside a name: what it is called, and what it does, in Chinese and English."""
FIELDS: Final[Mapping[str, tuple[str, str]]] = {
    "name": ("名称", "Name"),
    "uscc": ("统一社会信用代码", "Unified social credit code"),
    "former_names": ("曾用名", "Former names"),
    "industry": ("行业", "Industry"),
    "status": ("存续状态", "Status"),
    "established_on": ("成立日期", "Established on"),
}
"""Fields of a subject that a plan decides about."""
ENVELOPE: Final[Mapping[str, tuple[str, str]]] = {"kind": ("类型", "Kind"), "region": ("所在地", "Region")}
"""What stands on every subject that is shown at all."""
_COUNT: Final = "record_counts."


# --- what is asked -----------------------------------------------------------------------------------------------------


class Entity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value that was reconciled itself."""

    id: str
    name: str | UnsetType = UNSET


Value = str | int | float | bool | Entity


class Given(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A property of a query with its value, or several of which the first counts."""

    pid: PropertyId
    v: Value | Annotated[list[Value], Meta(max_length=_MOST_PROPERTIES)]


class Query(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One query as the protocol writes it; a text longer than any name finds nothing, and leaves the others their answer."""

    query: str | UnsetType = UNSET
    type: Type | Annotated[list[Type], Meta(max_length=_MOST_PROPERTIES)] | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1)] = MOST_CANDIDATES
    properties: Annotated[tuple[Given, ...], Meta(max_length=_MOST_PROPERTIES)] = ()
    type_strict: Literal["any", "should", "all"] = "any"

    def __post_init__(self) -> None:
        if self.query is UNSET and not self.properties:
            raise ValueError("neither a query nor a property")

    def is_of(self, kind: str) -> bool:
        """Whether a subject of this kind is wanted; several types: one is enough, unless it must be all."""
        if self.type is UNSET:
            return True
        wanted = (self.type,) if isinstance(self.type, str) else self.type
        return not wanted or (set(wanted) == {kind} if self.type_strict == "all" else kind in wanted)


class _Wanted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: Text
    settings: Annotated[dict[str, Any], Meta(max_length=0)] = {}


class Extension(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which fields are wanted of which entities."""

    ids: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...], Meta(max_length=MOST_IDS)]
    properties: Annotated[tuple[_Wanted, ...], Meta(max_length=_MOST_PROPERTIES)]


# --- answers -----------------------------------------------------------------------------------------------------------


def manifest(services: Services, language: Language) -> dict[str, Any]:
    """What this service is and where its parts are."""
    origin = services.settings.public_origin.rstrip("/")
    here = f"{origin}/v1/reconcile"

    def part(kind: Kind) -> dict[str, str]:
        flyout = f"/v1/reconcile/flyout/{kind}?id=${{id}}"
        return {
            "service_url": origin,
            "service_path": f"/v1/reconcile/suggest/{kind}",
            "flyout_service_url": origin,
            "flyout_service_path": flyout,
        }

    english = language == "en"
    return {
        "versions": [VERSION],
        "name": f"{'Chengxin Gateway' if english else '诚信网关'} {services.settings.party}",
        "identifierSpace": f"{origin}/subjects/",
        "schemaSpace": f"{here}/suggest/type",
        "documentation": f"{origin}/docs",
        "defaultTypes": [_type(kind, language) for kind in TYPES],
        "view": {"url": f"{origin}/subjects/{{{{id}}}}"},
        "suggest": {"entity": part("entity"), "type": part("type"), "property": part("property")},
        "preview": {"url": f"{here}/preview?id={{{{id}}}}", "width": 430, "height": 300},
        "extend": {
            "propose_properties": {"service_url": origin, "service_path": "/v1/reconcile/extend/propose"},
            "property_settings": [],
        },
    }


async def show_manifest(services: Services, language: Language) -> Answer:
    """The manifest as an answer."""
    return _answer(await _scene(services, language), manifest(services, language), reads_data=False)


async def reconcile(services: Services, queries: Mapping[str, Query], language: Language) -> Answer:
    """The candidates of each query.

    Raises PolicyExpired, and BodyInvalid for an id like a person's number.
    """
    if any(looks_like_citizen_number(key) for key in queries):
        raise _invalid("", "编号不得像公民身份号码")
    scene = await _scene(services, language)
    asked = {key: _questions(query) for key, query in queries.items()}
    found = iter(await outcomes(scene, [each for questions in asked.values() for each in questions], limit=MOST_CANDIDATES))
    results: dict[str, Any] = {}
    for key, query in queries.items():
        told = [next(found) for _ in asked[key]]
        best = next((each for each in told if each.candidates), told[0])
        results[key] = {"result": _candidates(scene, query, best)}
    return structs.replace(_answer(scene, results), looked_at=0)  # a query has its price, whatever it looks at


async def suggest(services: Services, kind: Kind, prefix: str, skipped: int, language: Language) -> Answer:
    """At most ten offers for what has been typed: organisations, types, or properties.

    Raises InvalidParameter for an entity's prefix without a letter, or of more than 128 characters.
    """
    scene = await _scene(services, language)
    if kind == "entity":
        offers = await _entities(scene, prefix, skipped)
    else:
        norm = normalise(prefix)
        known = [_type(each, language) for each in TYPES] if kind == "type" else [_property(each, language) for each in PROPERTIES]
        offers = [each for each in known if norm in normalise(f"{each['id']}{each['name']}")][skipped : skipped + MOST_OFFERS]
    return _answer(scene, {"result": offers}, reads_data=kind == "entity")


async def flyout(services: Services, kind: Kind, wanted: str, language: Language) -> tuple[Answer, dict[str, str]]:
    """What is said of an entity, type or property beside its name; without a body: that is a page's business.

    Raises NotFound.
    """
    scene = await _scene(services, language)
    if kind == "entity":
        said = {"id": wanted, **_told(await _one(scene, wanted), language)}
    elif kind == "type" and wanted in TYPES:
        said = _type(wanted, language)
    else:
        pid = next((each for each in PROPERTIES if kind == "property" and each == wanted), None)
        if pid is None:
            raise NotFound
        said = _property(pid, language)
    return _answer(scene, {}, reads_data=kind == "entity"), said


async def preview(services: Services, wanted: str, language: Language) -> tuple[Answer, Document]:
    """A subject for a small page; without a body.

    Raises NotFound.
    """
    scene = await _scene(services, language)
    document = await _one(scene, wanted)
    return _answer(scene, {}), document


async def propose(services: Services, of_type: str | None, limit: int, language: Language) -> Answer:
    """Fields that entities of a type can be extended by: of a household, or a type that is not ours, none."""
    scene = await _scene(services, language)
    offered = {} if of_type is not None and (of_type not in TYPES or of_type == HOUSEHOLD) else fields_of(scene)
    said: dict[str, Any] = {"properties": [{"id": name, "name": _word(words, language)} for name, words in offered.items()][:limit]}
    if of_type in TYPES:
        said["type"] = of_type
    return _answer(scene, {**said, "limit": limit}, reads_data=False)


async def extend(services: Services, asked: Extension, language: Language) -> Answer:
    """Values of fields for a table; of whoever is no organisation that is shown, empty cells.

    Raises BodyInvalid with the place for a field that is not offered, or an id like a person's number; PolicyExpired.
    """
    scene = await _scene(services, language)
    refuse_ended(scene)
    offered = fields_of(scene)
    for place, each in enumerate(asked.properties):
        if each.id not in offered:
            raise _invalid(f"/properties/{place}/id", "没有这个可以取用的字段")
    for place, wanted in enumerate(asked.ids):
        if looks_like_citizen_number(wanted):
            raise _invalid(f"/ids/{place}", "编号不得像公民身份号码")
    documents = await _many(scene, asked.ids)
    names = [each.id for each in asked.properties]
    rows = {wanted: {name: _cells(documents.get(wanted), name) for name in names} for wanted in asked.ids}
    meta = [{"id": name, "name": _word(offered[name], language)} for name in names]
    return _answer(scene, {"meta": meta, "rows": rows})


# --- queries and candidates --------------------------------------------------------------------------------------------


def _questions(query: Query) -> list[Question]:
    """What the engine is asked: by name or code, and by a former name where one is given."""
    given: dict[PropertyId, str] = {}
    for each in query.properties:
        values = each.v if isinstance(each.v, list) else [each.v]
        texts = [text for value in values if (text := str(value.id if isinstance(value, Entity) else value).strip())]
        if texts and len(texts[0]) <= _LONGEST:
            given.setdefault(each.pid, texts[0])
    text = query.query if query.query is not UNSET else ""
    name, uscc = text if 0 < len(text) <= _LONGEST else None, given.get("uscc")
    if name is not None and uscc is None and check_uscc(normalise_code(name)).valid:
        name, uscc = None, name
    place = given.get("region")
    coded = place is not None and _DIVISION.fullmatch(place) is not None
    question = Question(
        name=name,
        uscc=uscc,
        registration_number=given.get("registration_number"),
        region=place if coded else None,
        address=given.get("address") or (None if coded else place),
    )
    former = given.get("former_name")
    return [question] if former is None else [question, structs.replace(question, name=former)]


def _candidates(scene: Scene, query: Query, found: Outcome) -> list[dict[str, Any]]:
    certain = found.status in ("exact", "match")
    return [
        {
            "id": entity_id(each.document),
            **_told(each.document, scene.language),
            "score": round(each.score * 100, 2),
            "match": certain and place == 0,
            "type": [_type(each.document["kind"], scene.language)],
            "features": _features(each),
        }
        for place, each in enumerate(found.candidates)
        if query.is_of(each.document["kind"])
    ][: query.limit]


def _features(match: Match) -> list[dict[str, Any]]:
    told = {name: getattr(match.features, name) for name in match.features.__struct_fields__}
    return [{"id": name, "value": value} for name, value in told.items() if value is not None]


def entity_id(document: Document) -> str:
    """What an entity is called here: its code where everybody may see it whole, else its opaque id."""
    code = document.get("uscc")
    household = document.get("kind") == HOUSEHOLD
    return code if isinstance(code, str) and not household and "uscc" not in (document.get("treatments") or {}) else document["id"]


def _told(document: Document, language: Language) -> dict[str, str]:
    """Name, and where and what it is."""
    about = [label("subject_kind", document["kind"], language)]
    if document["kind"] != HOUSEHOLD:
        about += [region_label(document.get("region"), language), label("status", document.get("status"), language)]
    name = document.get("name") or document.get("uscc") or document["id"]
    return {"name": str(name), "description": " · ".join(filter(None, about))}


def _word(words: tuple[str, ...], language: Language) -> str:
    return words[language == "en"]


def _type(kind: str, language: Language) -> dict[str, str]:
    return {"id": kind, "name": _word(SUBJECT_KINDS[kind], language)}


def _property(pid: PropertyId, language: Language) -> dict[str, str]:
    name, does = PROPERTIES[pid]
    return {"id": pid, "name": _word(name, language), "description": _word(does, language)}


async def _entities(scene: Scene, prefix: str, skipped: int) -> list[dict[str, Any]]:
    if not 1 <= len(normalise(prefix)) <= MAX_QUERY:
        raise pages.invalid("prefix", "去掉标点、空格和符号后应有 1 至 128 个字符")
    refuse_ended(scene, kinds=("legal",))
    found = await look_up(scene, prefix)
    if found.alone:  # a household is never offered
        return []
    rows, _ = await shown_hits(scene, found, found.hits, Everything(), skipped + MOST_OFFERS)
    documents = [DOCUMENT.decode(body) for _, body in rows[skipped:]]
    return [{"id": entity_id(each), **_told(each, scene.language), "notable": [_type(each["kind"], scene.language)]} for each in documents]


# --- entities and their fields -----------------------------------------------------------------------------------------


def fields_of(scene: Scene) -> dict[str, tuple[str, str]]:
    """Fields of organisations that some public plan shows and none otherwise than in clear; and how many records of each kind there are."""
    plans = [plan for held in scene.forms.plan_sets.values() if (plan := held.plans.get("legal")) is not None]
    shown = {step.field for plan in plans for step in plan.steps}
    treated = {name for plan in plans for name in plan.treatments}
    clear = {name: words for name, words in FIELDS.items() if name in shown and name not in treated}
    counts = {f"{_COUNT}{each}": (f"{KINDS[each][0]}（条数）", f"{KINDS[each][1]} (records)") for each in scene.forms.categories}
    return {**clear, **ENVELOPE, **counts}


def _cells(document: Document | None, name: str) -> list[dict[str, Any]]:
    if document is None or name in (document.get("treatments") or {}):
        return []
    if name.startswith(_COUNT):
        return [{"int": (document.get("record_counts") or {}).get(name.removeprefix(_COUNT), 0)}]
    value = document.get(name)
    values = value if isinstance(value, list) else [value]
    if name == "established_on":
        return [{"date": f"{each}T00:00:00"} for each in values if each]
    return [{"str": str(each)} for each in values if each]


async def _many(scene: Scene, ids: Sequence[str]) -> dict[str, Document]:
    """Those of these ids that are organisations which everybody is shown."""
    reads = scene.services.store.reads
    codes = {each: normalise_code(each) for each in ids if not each.startswith("sub_")}
    behind = await renderings.subjects_of_keys(reads, "uscc", sorted(set(codes.values())))
    meant = {each: behind.get(codes[each]) if each in codes else each for each in ids}
    found: dict[str, Document] = {}
    for row in await renderings.many_subjects(reads, sorted({each for each in meant.values() if each})):
        body = await shown_subject(scene, row) if row.kind == "legal" else None
        if body is not None:
            found[row.subject_id] = DOCUMENT.decode(body)
    return {each: found[subject_id] for each, subject_id in meant.items() if subject_id in found}


async def _one(scene: Scene, wanted: str) -> Document:
    """A subject as everybody is shown it; a household by its opaque id alone.

    Raises NotFound.
    """
    refuse_ended(scene)
    if not 1 <= len(wanted) <= 64 or looks_like_citizen_number(wanted):
        raise NotFound
    if wanted.startswith("sub_"):
        row = await renderings.subject_by_id(scene.services.store.reads, wanted)
        body = await shown_subject(scene, row) if row is not None and row.kind in ("legal", "individual_business") else None
        document: Document | None = DOCUMENT.decode(body) if body is not None else None
    else:
        document = (await _many(scene, (wanted,))).get(wanted)
    if document is None:
        raise NotFound
    return document


# --- shared parts ------------------------------------------------------------------------------------------------------


async def _scene(services: Services, language: Language) -> Scene:
    """Everybody's, whoever asks."""
    return await begin(services, PUBLIC, language)


def _answer(scene: Scene, document: Document, *, reads_data: bool = True) -> Answer:
    """In the protocol's own shape, which has no room for a notice: that it is sample data is told by a header field."""
    return answer(scene, ENCODER.encode(document), reads_data=reads_data)


def _invalid(pointer: str, detail: str) -> BodyInvalid:
    return BodyInvalid(detail, errors=(ErrorItem("invalid", detail, pointer=pointer),))
