"""The law of policy.md §17: two stores that differ only in what a plan does not show give that plan's caller the same bytes.

One gateway takes in a statement of every dataset for every kind of subject, several times over. For each tier and purpose with a door
a second one, with the same clock, seed and keys, takes in the same statements, but for fields that this tier's plan for the
statement's dataset and kind hides, read from the compiled plans; of a field that is shown in part (a surname, the first digits) another
value is taken that reads alike. Every hidden field of every plan is changed in some record; values are drawn, valid for the field's
type. Then the caller asks both everything, in every format, and every status, header field and byte is compared.

What is hidden and yet decides about shown things, as the policies themselves declare, stays as it is, and is computed, never listed:
- what the business key of a dataset says: which statement is an amendment, and about whom (`$subject`: the keys of the subject and
  its kind, for keys that disagree hold a record);
- what the clocks run from (`CLOCKS`), the severity (`publish.severity`, or the measures that it follows from) and what makes a minor:
  the publication period is shown, and is a row gate;
- what the row rules of this tier and purpose ask for, deciding authority and sender among it (`region`, `owner_org`);
- what a shown field is derived from;
- a value that intake refuses or holds otherwise than the first: a held record is a row gate of its own.

A difference is brought down to one record before it is told.
"""

import asyncio
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from gateway.adapter_contract import SourceRecord
from gateway.core.callers import api_keys
from gateway.core.callers.caller import BOUND_TIERS
from gateway.core.disclosure.masking import DROPPED
from gateway.core.disclosure.plans import Mode, Plan, Policies
from gateway.core.disclosure.row_language import fields_of_rule
from gateway.core.disclosure.seats import BESIDE
from gateway.core.disclosure.twin import AUTHORITY, twins
from gateway.core.errors import GatewayError
from gateway.core.publication.names import normalise
from gateway.core.publication.ranges import digest
from gateway.core.records.columns import CLOCKS, ORGANISATION_KEYS
from gateway.core.records.identifiers import citizen_check_character, org_code_check_character
from gateway.core.records.intake import AuthorityInfo, IntakeContext, intake
from gateway.core.records.model import Admitted, Dataset, Field, SubjectKind, Value
from gateway.operations.accept_records import accept_records
from gateway.operations.build_lists import settle_lists
from gateway.operations.manage_keys import issue_token
from gateway.operations.render_public import settle
from gateway.operations.set_up import set_up
from gateway.settings import Settings
from gateway.store import apps, developer_keys
from gateway.store.apps import Organisation
from tests.house import CENTRE, settings_of, write_settings
from tests.operations.publishing import code
from tests.straight import Straight, asked_straight
from tests.web.city import NOW, City

SEED = "twins"
TODAY = date.fromisoformat(NOW[:10])
COPIES = 3
"""Statements of each dataset and kind; the hidden fields are dealt out to them."""
SINGLE = 2
"""Records of a dataset that are asked for one by one; pages and exports have them all."""
OWN = ("date", "request-id", "ratelimit")
"""Header fields that differ between two answers of one server."""
PUBLIC = ("public", "open.read")
DEVELOPER = ("developer", "open.read")
DOORS = (
    PUBLIC, DEVELOPER, ("department", "dept.supervision"), ("department", "dept.licensing"), ("department", "dept.procurement"),
    ("partner", "exchange.batch"), ("partner", "mutual.query"), ("partner", "mutual.recognition"), ("supervisor", "dept.supervision"),
    ("supervisor", "province.report"), ("pboc", "pboc.report"),
)  # fmt: skip
"""Every (tier, purpose) with a door; that it is every one is a test."""
Key = tuple[str, SubjectKind, int]
"""Dataset, kind and number of a statement."""
Headers = dict[str, str]


# --- statements --------------------------------------------------------------------------------------------------------


class Statement(NamedTuple):
    """One statement as it is sent, by names of fields."""

    dataset: Dataset
    kind: SubjectKind
    number: int
    values: dict[str, Value]

    @property
    def key(self) -> Key:
        """What it is called here."""
        return self.dataset.id, self.kind, self.number


def statements(policies: Policies) -> list[Statement]:
    """Each dataset, for each kind of subject, several times: of the same subjects everywhere, so that they have many records."""
    found = []
    numbers = itertools.count(1)
    for described in policies.catalogue.datasets.values():
        for kind in described.subject_kinds:
            ordinary = twins(policies, described.id, kind, TODAY, "publication")[0].record.raw.open()
            for copy in range(COPIES):
                number = next(numbers)
                own = {
                    name: _own(described.fields[name], kind, copy, number, value) for name, value in ordinary.items() if value is not None
                }
                found.append(Statement(described, kind, number, own))
    return found


def _own(described: Field, kind: SubjectKind, copy: int, number: int, value: Value) -> Value:
    """A value of one statement: subjects differ by copy, documents by number; persons beside the subject are no words of its texts."""
    if value == AUTHORITY:
        return CENTRE
    if described.name == "uscc":
        return code(100 + copy, department="92" if kind == "individual_business" else "91")
    if described.name == "id_no":
        return citizen(300 + copy)
    if described.name == "name":
        return {"legal": "通化市示例{}号药业有限公司", "individual_business": "东昌区示例{}号小吃店", "natural": "欧阳示例{}"}[
            kind
        ].format("甲乙丙丁戊己"[copy])
    base = described.type.partition("(")[0]
    if base == "id_no":
        return citizen(400 + copy)
    if base == "person_name":
        return "欧阳样例"
    if base in ("reg_no", "org_code"):
        return _numbered(base, 500 + copy + 100 * _place(kind))
    if described.name in ORGANISATION_KEYS:
        return _numbered("", 500 + copy + 100 * _place(kind))[-(described.length or 15) :]
    if base == "string" and not described.text and not described.values:
        return f"{value}{number}"[-(described.length or 200) :]
    return value


def _place(kind: SubjectKind) -> int:
    return ("legal", "individual_business", "natural").index(kind)


def _numbered(base: str, number: int) -> str:
    if base == "reg_no":
        body, sum_ = f"2205000{number:07d}", 10
        for digit in body:
            sum_ = ((sum_ + int(digit)) % 10 or 10) * 2 % 11
        return f"{body}{(11 - sum_) % 10}"
    if base != "org_code":
        return f"{number:015d}"
    body = f"XXT{number:05d}"
    return body + org_code_check_character(body)


def citizen(number: int) -> str:
    """A valid number of nobody."""
    body = f"22059919{80 + number % 15:02d}0101{number % 1000:03d}"
    return body + citizen_check_character(body)


# --- values of a type --------------------------------------------------------------------------------------------------

class Pool(NamedTuple):
    """What is drawn, for a field of any type to take its values from."""

    persons: list[str]
    words: list[str]
    numbers: list[int]
    days: list[date]


_PERSON = st.text(alphabet="栎骁翊璟珩瑄菡霏", min_size=1, max_size=2).map(lambda text: "欧阳" + text)
_TEXT = st.text(alphabet="甲乙丙丁戊己庚辛13579，。检查发现电话住址", min_size=1, max_size=30)
HARD = ["负责人王示例", "身份证220599198001010013", "电话13900000000", "住通化市东昌区示例路1号", "其妻李样例患病在家，电话13900000001"]
"""What redaction finds, and what makes it doubt, always among the texts."""
POOLS = st.builds(
    Pool,
    persons=st.lists(_PERSON, min_size=4, max_size=4, unique=True),
    words=st.lists(_TEXT, min_size=4, max_size=4, unique=True).map(lambda drawn: [*HARD, *drawn]),
    numbers=st.lists(st.integers(0, 999), min_size=11, max_size=11, unique=True),
    days=st.lists(st.dates(date(2020, 1, 1), date(2035, 12, 31)), min_size=4, max_size=4, unique=True),
)


def candidates(described: Field, pool: Pool, place: int, statement: int) -> Iterator[Value]:
    """Values that a field may have, of the drawn ones; another place begins elsewhere, and no two statements share a number."""
    base = described.type.partition("(")[0]
    longest = described.length or 200
    for step in range(len(pool.numbers)):
        number = pool.numbers[(place + step) % len(pool.numbers)]
        own = 1000 * (1 + statement) + number
        words = pool.words[(place + step) % len(pool.words)]
        person = pool.persons[(place + step) % len(pool.persons)]
        if described.values:
            yield sorted(described.values)[number % len(described.values)]
        elif base == "string" and described.name in ORGANISATION_KEYS:
            yield _numbered("", own)[-(described.length or 15) :]
        else:
            typed: dict[str, Value] = {
                "string": words[:longest],
                "person_name": person,
                "subject_name": f"通化市{person}商贸有限公司",
                "id_no": citizen(number),
                "uscc": code(number + 1000),
                "reg_no": _numbered("reg_no", own),
                "org_code": _numbered("org_code", own % 10**5),
                "date": pool.days[(place + step) % len(pool.days)].isoformat(),
                "decimal": f"{number}.{number % 10}",
                "int": 1 + number,
                "division": ("220502", "220503", "220521", "220100")[number % 4],
                "address": f"通化市{words}"[:longest],
            }
            yield typed[base]


def alike(plan: Plan | None, name: str, old: Value, new: Value) -> bool:
    """Whether a plan shows two values of a field as one."""
    step = None if plan is None else next((step for step in plan.steps if step.field == name), None)
    if step is None:
        return True
    if step.mode != Mode.VALUE or "lookup" in (plan.capabilities.get(name, frozenset()) if plan is not None else ()):
        return False
    before, after = step.treat(old), step.treat(new)
    return bool(before is after if DROPPED in (before, after) else before == after)


# --- what may be changed -----------------------------------------------------------------------------------------------


def decides(policies: Policies, who: tuple[str, str], described: Dataset, plan: Plan | None) -> frozenset[str]:
    """Fields that, hidden or not, decide about what is shown: by the dataset's own declarations and the tier's row rules."""
    tier, purpose = who
    held = policies.plan_sets.get((described.id, tier, purpose))
    plans = [] if held is None else list(held.plans.values())
    rules = [each.rows for each in plans if each.rows is not None]
    asked = {name for rule in rules for name in fields_of_rule(rule)} - BESIDE
    shown = {step.field for step in plan.steps} if plan is not None else set()
    sources = {source for name in shown for source in described.fields[name].derived_from if name in described.fields}
    severity = {described.publish.severity} if described.publish.severity is not None else set()
    return frozenset({*described.business_key, *CLOCKS, *severity, *asked, *sources})


def stands_alike(who: tuple[str, str], one: Admitted, other: Admitted) -> bool:
    """Whether intake makes the same of two statements but for their values."""
    same: tuple[str, ...] = ("business_key", "subject_keys", "kind", "dates", "severity", "minor", "hold_code", "op", "trust")
    if who[0] in BOUND_TIERS:  # the owner's place is a row gate
        same = (*same, "region", "authority_code", "sender")
    return all(getattr(one, name) == getattr(other, name) for name in same)


def admitted(statement: Statement, values: Mapping[str, Value], now: datetime) -> Admitted | None:
    """A statement as intake takes it; None where it refuses it."""
    described = statement.dataset
    context = IntakeContext(
        dataset=described,
        authorities={CENTRE: AuthorityInfo(uscc=CENTRE, name="通化市市场监督管理局（示例）", region="220500", covers=("*",))},
        sender=CENTRE,
        officer="测试员甲",
        demo=True,
        now=now,
        region="220500",
    )
    row = {described.fields[name].label: str(value) for name, value in values.items()}
    sent = SourceRecord(dataset=described.id, record_id=None, as_of=now, fields=row, place=f"twins!R{statement.number}")
    try:
        return intake(sent, context)
    except GatewayError:
        return None


def changed(policies: Policies, who: tuple[str, str], known: Sequence[Statement], pool: Pool) -> dict[Key, dict[str, Value]]:
    """For each statement other values of fields that are hidden from somebody; every hidden field of every plan is among them."""
    tier, purpose = who
    now = datetime.fromisoformat(NOW)
    found: dict[Key, dict[str, Value]] = {}
    for _, group in itertools.groupby(known, lambda each: each.key[:2]):
        copies = list(group)
        described, kind = copies[0].dataset, copies[0].kind
        held = policies.plan_sets.get((described.id, tier, purpose))
        plan = None if held is None else held.plans.get(kind)
        fixed = decides(policies, who, described, plan)
        names = [name for name in described.fields if name not in fixed]
        taken = {copy.key: admitted(copy, copy.values, now) for copy in copies}
        for place, name in enumerate(names):
            statement = copies[place % COPIES]
            old = statement.values.get(name)
            if old is None and plan is not None and any(step.field == name for step in plan.steps):
                continue  # null is shown as null
            others = {**statement.values, **found.get(statement.key, {})}
            before = taken[statement.key]
            assert before is not None, (statement.key, "the first statement is a valid one")
            for new in candidates(described.fields[name], pool, place, statement.number):
                if str(new) != str(old) and alike(plan, name, old, new):
                    after = admitted(statement, {**others, name: new}, now)
                    if after is not None and stands_alike(who, before, after):
                        found.setdefault(statement.key, {})[name] = new
                        break
    return found


# --- gateways ----------------------------------------------------------------------------------------------------------


class Twin(City, kw_only=True):
    """A city whose random ids follow from a seed."""

    def settings(self, now: str = NOW) -> Settings:
        """Its settings at an instant."""
        return settings_of(self.settings_file, CHENGXIN_NOW=now, CHENGXIN_SEED=SEED)


def begin(folder: Path, database: str = "") -> Twin:
    """A gateway with keys, tables and policies."""
    patient = "query_timeout_s = 60"  # on a busy machine a page can take the usual five seconds, and says so in one of two answers
    city = Twin(folder=folder, settings_file=write_settings(folder, database=database, more=patient), database=database)
    asyncio.run(set_up(city.settings(), by="test"))
    return city


def policies_of(city: Twin) -> Policies:
    """What is in force there."""

    async def current(services: Any) -> Policies:
        held: Policies = services.policies.current()
        return held

    found: Policies = city.run(current)
    return found


def fill(city: Twin, known: Sequence[Statement], changes: Mapping[Key, Mapping[str, Value]]) -> dict[tuple[str, str], Headers]:
    """Take the statements in, some of them with other values; what each caller sends with every request."""

    async def work(services: Any) -> dict[tuple[str, str], Headers]:
        callers: dict[tuple[str, str], Headers] = {PUBLIC: {}, DEVELOPER: await _developer(services)}
        for tier, purpose in DOORS[2:]:
            token = (await issue_token(services, app="app-1", org=CENTRE, tier=tier, purpose=purpose, by="test")).token
            callers[tier, purpose] = {"authorization": f"Bearer {token}", "purpose": purpose, "case_ref": "AN-2026-001"}
        for dataset, group in itertools.groupby(known, lambda each: each.dataset.id):
            described = services.policies.current().catalogue.datasets[dataset]
            rows = [admitted(each, {**each.values, **changes.get(each.key, {})}, services.clock()) for each in group]
            async with services.store.transaction() as tx:
                outcomes = await accept_records(services, tx, [row for row in rows if row is not None], described, actor="test")
            assert {outcome.result for outcome in outcomes} == {"accepted"}, (dataset, outcomes)
        await settle(services)
        await settle_lists(services)
        return callers

    made: dict[tuple[str, str], Headers] = city.run(work)
    return made


async def _developer(services: Any) -> Headers:
    text = api_keys.make_key("test", bytes(range(38)))
    key = api_keys.read_key(text)
    async with services.store.transaction() as tx:
        await apps.add_organisation(tx, Organisation(org=CENTRE, name="测试局", kind="department", region="220500"), "test")
        app = await apps.add_app(tx, org=CENTRE, name="试", unit=None, tier="developer", introspects=False, by="test")
        await developer_keys.add(
            tx, key_id=key.key_id, app=app, mac=api_keys.mac_of(services.doors.pepper, key), by="test", mode="test", scopes=(),
            networks=(), expires_on=date(2035, 1, 1),
        )  # fmt: skip
    return {"authorization": f"Bearer {text}"}


# --- questions ---------------------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """One request."""

    path: str
    method: str = "GET"
    body: str | None = None


def questions(gateway: Straight, headers: Headers, datasets: Sequence[Dataset]) -> Iterator[Asked]:
    """Everything that a caller may ask of what there is; what there is, it learns from the first gateway.

    What is published in one form for whoever asks (catalogue, versions, range look-up, reconciliation) is asked by the public and under one
    purpose of bound callers.
    """
    all_alike = not headers or headers.get("purpose") == "dept.supervision"
    about = ("/v1/me", "/v1/me/fields", "/v1/problems", "/v1/keys", "/v1/lists", "/v1/datasets")
    published = ("/catalog.jsonld", "/catalog.ttl", "/catalog.rdf", "/sitemap.xml", "/robots.txt", "/v1/policies")
    published = (*published, "/v1/policies/1/matrix.csv", "/v1/policies/1/diff/1") if all_alike else ()
    for path in ("/v1", "/openapi.json", "/openapi.yaml", *about, *published):
        yield Asked(path)
        yield Asked(path, "HEAD")
    for suffix in ("", ".json", ".ndjson", ".csv", ".xlsx", ".parquet", ".msgpack"):
        yield Asked(f"/v1/records{suffix}?limit=100")
        yield Asked(f"/v1/records{suffix}?limit=all")
        yield Asked(f"/v1/subjects{suffix}?limit=100")
        yield Asked(f"/v1/subjects{suffix}?limit=all")
    yield Asked("/v1/records?limit=3&count=exact&facet=kind,region,dataset,source", "HEAD")
    yield Asked("/v1/records?limit=3&count=exact&facet=kind,region,dataset,source")
    yield Asked("/v1/changes?since=0&limit=1000")
    yield Asked("/v1/changes?since=5&limit=7")
    yield Asked("/v1/changes/stream?since=5", "HEAD")
    yield Asked("/v1/feeds/datasets.atom")
    yield Asked("/v1/feeds/changelog.atom")
    for text in ("示例", "欧阳", "通化市示例甲号药业有限公司", "栎", "王示例"):
        yield Asked(f"/v1/subjects?q={text}")
        yield Asked(f"/v1/suggest?q={text}")
    if all_alike:
        yield from map(Asked, ("/v1/range", "/v1/ftm/catalog.json", "/v1/normaliser"))
    for number in (100, 101, 102, 999) if all_alike else ():
        for on, text in (("uscc", code(number)), ("name", f"通化市示例{'甲乙丙丁'[number % 4]}号药业有限公司")):
            yield Asked(f"/v1/range/sm3/{digest('sm3', normalise(text) if on == 'name' else text)[:2]}?on={on}")
        yield Asked(f"/v1/subjects/{code(number)}/timeline")
        yield Asked(f"/subjects/{code(number)}")
    for number in (100, 101, 999):
        yield Asked(f"/v1/validate/uscc/{code(number)}")
        yield Asked(f"/v1/subjects/{code(number)}")
    known = {each["id"]: each for each in gateway.get("/v1/datasets", **headers).json()["items"]}
    for place, described in enumerate(datasets):
        yield from _of_dataset(gateway, headers, described, place)
        for what in ("", "/dictionary", "/schema"):
            yield Asked(f"/v1/datasets/{described.id}{what}")
        if all_alike:
            for what in ("/distributions", "/quality", "/datapackage.json", "/csv-metadata.json"):
                yield Asked(f"/v1/datasets/{described.id}{what}")
            yield from _of_versions(gateway, f"/v1/datasets/{described.id}")
        if described.id in known:
            yield Asked(f"/v1/changes?since=0&dataset={described.id}")
    for each in gateway.get("/v1/lists", **headers).json()["items"]:
        yield Asked(f"/v1/lists/{each['id']}")
        yield Asked(f"/v1/lists/{each['id']}/listings?limit=100")
        yield Asked(f"/v1/lists/{each['id']}/listings.csv?limit=all")
        yield Asked(f"/v1/changes?since=0&list={each['id']}")
        if all_alike:
            yield from _of_versions(gateway, f"/v1/lists/{each['id']}")
            yield from (Asked(f"/v1/feeds/{each['id']}{what}") for what in (".atom", ".json", ".atom?page=0"))
    person = {"dataset": "administrative-penalties", "id_no": citizen(300), "name": "欧阳示例甲"}
    yield Asked("/v1/lookups", "POST", json.dumps(person, ensure_ascii=False))
    yield Asked("/v1/lookups", "POST", json.dumps({**person, "id_no": citizen(401)}, ensure_ascii=False))
    names = ["通化市示例甲号药业有限公司", "示例甲号药业", "欧阳示例甲", "王示例", "示例"]
    queries = [{"id": f"n{number}", "name": text} for number, text in enumerate(names)]
    queries += [{"id": f"c{number}", "uscc": code(number), "name": names[0]} for number in (100, 101, 999)]
    queries += [{"id": "r", "registration_number": "220500000000017", "address": "吉林省通化市东昌区示例街1号"}]
    yield Asked("/v1/match", "POST", json.dumps({"queries": queries, "explain": True, "limit": 10}, ensure_ascii=False))
    if all_alike:
        yield from _reconciling(names)
    yield Asked("/v1/records/rec_aaaaaaaaaaaaaaaaaaaaaaaaaa")


def _reconciling(names: Sequence[str]) -> Iterator[Asked]:
    """What a tool that reconciles tables asks."""
    yield Asked("/v1/reconcile")
    queries = {f"q{number}": {"query": text, "properties": [{"pid": "region", "v": "东昌区"}]} for number, text in enumerate(names)}
    queries["q9"] = {"query": code(100), "type": ["enterprise", "household"]}
    yield Asked(f"/v1/reconcile?queries={quote(json.dumps(queries, ensure_ascii=False))}")
    for text in ("示例", "欧阳", "栎"):
        yield Asked(f"/v1/reconcile/suggest/entity?prefix={text}")
    proposed = ("name", "uscc", "former_names", "industry", "status", "established_on", "kind", "region", "record_counts.penalty")
    ids = [code(number) for number in (100, 101, 999)]
    yield Asked("/v1/reconcile/extend/propose?type=enterprise")
    for name in proposed:
        yield Asked(f"/v1/reconcile?extend={quote(json.dumps({'ids': ids, 'properties': [{'id': name}]}))}")
    for wanted in (code(100), code(100, department="92"), code(999)):
        yield Asked(f"/v1/reconcile/flyout/entity?id={wanted}")
        yield Asked(f"/v1/reconcile/preview?id={wanted}")


def _of_versions(gateway: Straight, place: str) -> Iterator[Asked]:
    """Versions are of the public's plans, whoever asks for them: manifest, checkpoint, files, deltas."""
    yield Asked(f"{place}/versions")
    found = gateway.get(f"{place}/versions/latest")
    yield Asked(f"{place}/versions/latest")
    yield Asked(f"{place}/versions/latest/checkpoint")
    for file in found.json()["files"] if found.status_code == 200 else ():
        yield Asked(str(httpx.URL(file["uri"]).path))
    if found.status_code == 200 and place.startswith("/v1/lists/"):
        name = found.json()["version"]
        yield Asked(f"{place}/deltas/{name}/{name}.csv")
        yield Asked(f"{place}/deltas/P31D/latest.ndjson")


BULK = (
    (".ndjson", ""), (".csv", "&excel=1"), (".json", ""), (".csv", ""), (".ndjson", "&shape=flat&trailer=1"), (".xlsx", ""),
    (".parquet", ""), (".msgpack", "&shape=flat"),
)  # fmt: skip
EACH = 2
"""Filters, orders and facets that are tried of a dataset, and formats of its exports: over all datasets each comes up."""


def _of_dataset(gateway: Straight, headers: Headers, described: Dataset, place: int) -> Iterator[Asked]:
    records = f"/v1/records?dataset={described.id}"
    for suffix, more in [*BULK, *BULK][place % len(BULK) :][:EACH]:
        yield Asked(f"/v1/records{suffix}?dataset={described.id}&limit=all{more}")
    yield Asked(f"{records}&limit=4&count=exact&sort=-published_from")
    dictionary = gateway.get(f"/v1/datasets/{described.id}/dictionary", **headers)
    shown = {each["name"]: each for each in dictionary.json().get("fields", [])} if dictionary.status_code == 200 else {}
    items = gateway.get(f"{records}&limit=100", **headers).json().get("items", [])
    hidden = [name for name in described.fields if name not in shown]
    for name, how in zip(hidden[-4:], ("{}=1", "sort={}", "facet={}", "fields=fields.{}"), strict=False):
        yield Asked(f"{records}&{how.format(name)}")
    ways: dict[str, list[str]] = {"filter": [], "sort": [], "facet": []}
    for name, told in shown.items():
        rights = {right for allowed in told["capabilities"].values() for right in allowed}
        value = next((found for each in items if (found := each.get("fields", {}).get(name)) is not None), None)
        if "filter" in rights and isinstance(value, str):
            ways["filter"].append(f"{records}&limit=50&count=exact&{name}={quote(value, safe='')}")
        if "sort" in rights:
            ways["sort"].append(f"{records}&limit=50&sort=-{name}")
        if "facet" in rights:
            ways["facet"].append(f"{records}&limit=1&facet={name}")
    for paths in ways.values():
        yield from map(Asked, paths[place % max(1, len(paths)) :][:EACH])
    subjects = set()
    for record in items[:: max(1, len(items) // SINGLE)]:
        yield Asked(record["links"]["self"])
        if record["subject"]["uri"] not in subjects and len(subjects) < 2:
            subjects.add(record["subject"]["uri"])
            yield Asked(record["subject"]["uri"])
            yield Asked(f"{record['subject']['uri']}/records?limit=100")


def shown(gateway: Straight, asked: Asked, headers: Headers, etag: str | None = None) -> tuple[int, list[tuple[str, str]], bytes]:
    """An answer without what differs each time."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if "authorization" in headers:
        sent.setdefault("case-ref", "2026-0001")
    if etag is not None:
        sent["if-none-match"] = etag
    content = None
    if asked.body is not None:
        sent["content-type"] = "application/json"
        content = asked.body.encode()
    answer = gateway.request(asked.method, asked.path.removeprefix("http://127.0.0.1:8000"), sent, content)
    body = answer.content
    if answer.status_code >= 400:  # the number of a request is nobody's secret
        body = body.replace(dict(answer.headers)["request-id"].encode(), b"")
    return answer.status_code, [field for field in answer.headers if field[0] not in OWN], body


def differ(here: Straight, there: Straight, asked: Asked, headers: Headers) -> bool:
    """Whether two gateways answer otherwise; where they do not, the validator of one is the other's, too."""
    one, other = shown(here, asked, headers), shown(there, asked, headers)
    if one != other:
        return True
    etag = dict(one[1]).get("etag")
    if asked.method != "GET" or etag is None or one[0] != 200 or len(asked.path) % 3:  # of a third of them
        return False
    one, other = shown(here, asked, headers, etag), shown(there, asked, headers, etag)
    return one != other or one[0] != 304


def single(build: Callable[[Mapping[Key, Mapping[str, Value]]], bool], changes: Mapping[Key, Mapping[str, Value]]) -> Any:
    """The fewest changes, by record and then by field, with which two gateways still differ."""
    left: list[tuple[Key, str]] = [(key, name) for key, values in changes.items() for name in values]

    def some(chosen: Sequence[tuple[Key, str]]) -> dict[Key, dict[str, Value]]:
        found: dict[Key, dict[str, Value]] = {}
        for key, name in chosen:
            found.setdefault(key, {})[name] = changes[key][name]
        return found

    while len(left) > 1:
        half = len(left) // 2
        kept = next((part for part in (left[:half], left[half:]) if build(some(part))), None)
        if kept is None:
            break
        left = kept
    return some(left)


# --- the law -----------------------------------------------------------------------------------------------------------


class First(NamedTuple):
    """The gateway that all others are compared with."""

    empty: Twin
    filled: Twin
    """Copied for every caller: a budget of its rows a day is its organisation's, whatever its purpose."""
    known: list[Statement]
    callers: dict[tuple[str, str], Headers]
    policies: Policies

    def __repr__(self) -> str:
        """Short: hypothesis prints its arguments when it replays a failure, and refuses seven megabytes of them."""
        return f"First({self.filled.folder})"


def beginning(folder: Path, database: str = "") -> First:
    """Filled with the statements as they are."""
    empty = begin(folder / "empty", database)
    one = copy_of(empty, folder / "one")
    policies = policies_of(copy_of(empty, folder / "look"))  # a gateway that was opened once draws otherwise
    known = statements(policies)
    callers = fill(one, known, {})
    return First(empty, one, known, callers, policies)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> First:
    """On SQLite."""
    return beginning(tmp_path_factory.mktemp("twins"))


@pytest.fixture(scope="module")
def first_of_postgresql(tmp_path_factory: pytest.TempPathFactory, pg_server: str, pg_url: str) -> First:
    """On PostgreSQL."""
    database = make_url(pg_url).set(database="twins_empty").render_as_string(hide_password=False)
    asyncio.run(_sql(pg_server, "CREATE DATABASE twins_empty"))
    return beginning(tmp_path_factory.mktemp("twins"), database)


async def _sql(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def copy_of(city: Twin, folder: Path) -> Twin:
    """The same gateway in another folder, and in another database of the same server."""
    shutil.copytree(city.folder, folder)
    settings_file = folder / city.settings_file.name
    if not city.database:
        return Twin(folder=folder, settings_file=settings_file, database="")
    theirs = make_url(city.database)
    name = f"twins_{os.urandom(6).hex()}"
    own = theirs.set(database=name).render_as_string(hide_password=False)
    maintenance = theirs.set(drivername="postgresql", database="postgres").render_as_string(hide_password=False)
    asyncio.run(_sql(maintenance, f"CREATE DATABASE {name} TEMPLATE {theirs.database} STRATEGY FILE_COPY"))
    settings_file.write_text(settings_file.read_text(encoding="utf-8").replace(city.database, own), encoding="utf-8")
    return Twin(folder=folder, settings_file=settings_file, database=own)


def test_every_tier_with_a_door_is_asked(first: First) -> None:
    """Every tier and purpose of the compiled plans; the subject has no door yet, and developers read what the public reads."""
    known = {(tier, purpose) for _, tier, purpose in first.policies.plan_sets if tier != "subject"}
    assert known == set(DOORS) - {DEVELOPER}


SOAK = bool(os.environ.get("SOAK"))
HALF = 1 if SOAK else 2
"""Of the questions that SQLite is asked in any case, PostgreSQL is asked each second one, in `make soak` each."""
ROUNDS = 10 if SOAK else 1
"""Pools of values that are drawn for each caller: one in the suite, more in `make soak`."""
drawn = settings(
    max_examples=ROUNDS, deadline=None, derandomize=ROUNDS == 1, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("who", [each for each in DOORS if each != DEVELOPER], ids="/".join)
@drawn
@given(pool=POOLS)
def test_what_a_tier_is_not_shown_moves_no_byte(
    tmp_path_factory: pytest.TempPathFactory, first: First, who: tuple[str, str], pool: Pool
) -> None:
    """Whatever stands in a hidden field of any dataset, every answer to whoever is not shown it is the same, in every format."""
    hold(first, who, pool, tmp_path_factory.mktemp("other"))


@pytest.mark.parametrize("who", [each for each in DOORS if each != DEVELOPER] if SOAK else [PUBLIC], ids="/".join)
@drawn
@given(pool=POOLS)
def test_nor_on_postgresql(
    tmp_path_factory: pytest.TempPathFactory, first_of_postgresql: First, who: tuple[str, str], pool: Pool
) -> None:
    """Other statements read that database, and the law holds there, too; `make soak` asks it at every door, and everything."""
    hold(first_of_postgresql, who, pool, tmp_path_factory.mktemp("other"), share=HALF)


def hold(first: First, who: tuple[str, str], pool: Pool, folder: Path, *, share: int = 1) -> None:
    """Ask both gateways everything, or every so manieth question; fails with the fewest changes that a question tells."""
    changes = changed(first.policies, who, first.known, pool)
    assert len(changes) > 20, "hidden fields of many records were changed"
    callers = (who, DEVELOPER) if who == PUBLIC else (who,)
    number = itertools.count()

    def other(some: Mapping[Key, Mapping[str, Value]]) -> Twin:
        made = copy_of(first.empty, folder / str(next(number)))
        assert fill(made, first.known, some) == first.callers, "one seed, one stream of random bytes"
        return made

    asked = 0
    found: tuple[Asked, Headers] | None = None
    one = copy_of(first.filled, folder / "one")  # what a budget has counted stands in the store
    with asked_straight(one) as here, asked_straight(other(changes)) as there:
        for caller in callers:
            headers = first.callers[caller]
            everything = questions(here, headers, [*first.policies.catalogue.datasets.values()])
            for question in itertools.islice(everything, DOORS.index(caller) % share, None, share):
                asked += 1
                if differ(here, there, question, headers):
                    found = question, headers
                    break
    if found is not None:
        question, headers = found

        def still(some: Mapping[Key, Mapping[str, Value]]) -> bool:
            with asked_straight(one) as here, asked_straight(other(some)) as there:
                return differ(here, there, question, headers)

        pytest.fail(f"{question} tells {who} of {single(still, changes)}")
    assert asked > 150 / share
