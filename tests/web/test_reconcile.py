"""Reconciliation over a real socket: shapes as the protocol publishes them, certainty only where the match is certain, persons never."""

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema_rs
import pytest

from gateway.operations.render_public import settle
from tests.doors import developer
from tests.operations.publishing import PENALTIES, household_code, penalty, person_number, person_penalty, put
from tests.web.city import City, Server, served
from tests.web.test_api import problem

SHARED = Path(os.environ.get("SHARED_SCHEMAS") or Path(__file__).resolve().parents[3] / "shared" / "schemas")
SCHEMAS = SHARED / "reconciliation-0.2"
CITIZEN = "220599199001010021"
FORM = {"content-type": "application/x-www-form-urlencoded"}


def posted(server: Server, content: str, **headers: str) -> httpx.Response:
    """A form as it is."""
    return server.client.post("/v1/reconcile", content=content, headers=FORM | headers)


def asked(server: Server, queries: Any, **headers: str) -> httpx.Response:
    """Queries in a form."""
    return posted(server, f"queries={quote(json.dumps(queries, ensure_ascii=False))}", **headers)


def extended(server: Server, extension: Any) -> httpx.Response:
    """An extension in a form."""
    return posted(server, f"extend={quote(json.dumps(extension, ensure_ascii=False))}")


def firms(server: Server, number: int = 6) -> list[dict[str, Any]]:
    """Some organisations of the city."""
    found: list[dict[str, Any]] = server.get(f"/v1/subjects?limit={number}&kind=enterprise").json()["items"]
    return found


def holds(name: str, value: Any) -> None:
    """Hold a value against a published schema."""
    if not SCHEMAS.is_dir():
        pytest.skip("the published schemas of the protocol are not beside this repository")

    def found(uri: str) -> Any:
        file = SCHEMAS / uri.rpartition("/")[2]
        if "reconciliation-api" in uri:
            return read(file)
        return {"definitions": {"securityDefinitions": {"additionalProperties": {}}}}  # of Swagger 2, which nothing here uses

    def read(file: Path) -> Any:
        schema = json.loads(file.read_text(encoding="utf-8"))
        schema.pop("$schema", None)
        return schema

    jsonschema_rs.Draft7Validator(read(SCHEMAS / f"{name}.json"), retriever=found).validate(value)


def test_every_answer_has_the_published_shape(server: Server) -> None:
    """Manifest, results, offers of each kind, proposal and extension."""
    holds("manifest", server.get("/v1/reconcile").json())
    some = firms(server)
    holds("reconciliation-result-batch", asked(server, {f"q{n}": {"query": each["name"]} for n, each in enumerate(some)}).json())
    for kind, schema in (("entity", "entities"), ("type", "types"), ("property", "properties")):
        offers = server.get(f"/v1/reconcile/suggest/{kind}?prefix={'通化' if kind == 'entity' else ''}").json()
        assert offers["result"]
        holds(f"suggest-{schema}-response", offers)
    proposal = server.get("/v1/reconcile/extend/propose?type=enterprise").json()
    holds("data-extension-property-proposal", proposal)
    wanted = {"ids": [each["uscc"] for each in some], "properties": [{"id": each["id"]} for each in proposal["properties"]]}
    holds("data-extension-query", wanted)
    holds("data-extension-response", extended(server, wanted).json())


def test_the_manifest_leads_to_what_is_there(server: Server) -> None:
    """Every address that it gives answers, and so does the form of each template."""
    manifest = server.get("/v1/reconcile").json()
    assert manifest["versions"] == ["0.2"]
    code = firms(server, 1)[0]["uscc"]
    assert server.get(manifest["view"]["url"].replace("{{id}}", code)).status_code == 200
    assert server.get(manifest["preview"]["url"].replace("{{id}}", code)).status_code == 200
    for kind, wanted in (("entity", code), ("type", "enterprise"), ("property", "uscc")):
        part = manifest["suggest"][kind]
        assert server.get(f"{part['service_url']}{part['service_path']}?prefix=uscc").status_code == 200
        flyout = server.get(part["flyout_service_url"] + part["flyout_service_path"].replace("${id}", wanted)).json()
        assert flyout["id"] == wanted
        assert flyout["html"].startswith("<p><strong>")
    place = manifest["extend"]["propose_properties"]
    assert server.get(f"{place['service_url']}{place['service_path']}?type=enterprise").status_code == 200


def test_names_and_codes_are_certain_or_not(server: Server) -> None:
    """A whole name or code is a match by the code of its subject; a name without its region is one at most; a stranger nobody."""
    first, *_ = firms(server)
    queries = {
        "name": {"query": first["name"], "limit": 1},
        "code": {"query": first["uscc"].lower()},
        "property": {"query": first["name"], "properties": [{"pid": "uscc", "v": {"id": first["uscc"]}}]},
        "contradicted": {"query": "从未有过的示例有限公司", "properties": [{"pid": "uscc", "v": first["uscc"]}]},
        "stranger": {"query": "从未有过的有限公司"},
        "former": {"query": "从未有过的有限公司", "properties": [{"pid": "former_name", "v": [first["name"]]}]},
        "elsewhere": {"query": first["name"], "properties": [{"pid": "region", "v": "110101"}]},
    }
    answer = asked(server, queries)
    assert answer.headers["request-cost"] == str(len(queries))
    assert (answer.headers["access-control-allow-origin"], answer.headers["cache-control"]) == ("*", "no-store")
    results = {key: value["result"] for key, value in answer.json().items()}
    for key in ("name", "code", "property", "former"):
        assert [(each["id"], each["match"]) for each in results[key]] == [(first["uscc"], True)], key
        assert results[key][0]["score"] == 100
        assert results[key][0]["type"] == [{"id": "enterprise", "name": "企业"}]
    assert {"id": "name_equal", "value": True} in results["name"][0]["features"]
    assert results["stranger"] == []
    for key in ("contradicted", "elsewhere"):
        assert not any(each["match"] for each in results[key]), key


def test_a_cell_that_is_too_long_costs_the_others_nothing(server: Server) -> None:
    """A text beyond any name finds nobody; the rest of its batch, and the rest of its query, is answered."""
    first = firms(server, 1)[0]
    queries = {
        "long": {"query": "长" * 5000},
        "beside": {"query": first["name"], "properties": [{"pid": "address", "v": "长" * 5000}]},
        "coded": {"query": "长" * 201, "properties": [{"pid": "uscc", "v": first["uscc"]}]},
    }
    results = {key: [each["id"] for each in value["result"]] for key, value in asked(server, queries).json().items()}
    assert results["long"] == []
    assert results["beside"][0] == results["coded"][0] == first["uscc"]


def test_properties_are_told_in_the_readers_language(server: Server) -> None:
    """What a property does is said in Chinese or English, as what it is called."""
    said = {"zh-CN": ("曾用名", "按名称查不到时再按此查"), "en": ("Former name", "asked where the name finds nobody")}
    for language, (name, does) in said.items():
        offered = server.get("/v1/reconcile/suggest/property?prefix=former", accept_language=language).json()["result"]
        assert [(each["name"], each["description"]) for each in offered] == [(name, does)]
        assert does in server.get("/v1/reconcile/flyout/property?id=former_name", accept_language=language).json()["html"]


def test_a_type_is_a_constraint(server: Server) -> None:
    """Who is of none of the types is no candidate; of all of two types nobody is."""
    name = firms(server, 1)[0]["name"]
    types: dict[str, Any] = {
        "one": {"type": "enterprise"},
        "other": {"type": "institution"},
        "some": {"type": ["institution", "enterprise"], "type_strict": "should"},
        "all": {"type": ["institution", "enterprise"], "type_strict": "all"},
    }
    results = asked(server, {key: {"query": name, **each} for key, each in types.items()}).json()
    assert {key: bool(each["result"]) for key, each in results.items()} == {"one": True, "other": False, "some": True, "all": False}


def test_the_same_is_answered_in_the_url(server: Server, city: City) -> None:
    """By GET, for whoever has a credential too: byte for byte what everybody gets."""
    queries = {"q0": {"query": firms(server, 1)[0]["name"]}}
    url = f"/v1/reconcile?queries={quote(json.dumps(queries, ensure_ascii=False))}"
    public = server.get(url)
    assert public.content == asked(server, queries).content
    department = server.get(url, authorization=f"Bearer {city.token()}")
    assert (department.content, department.status_code) == (public.content, 200)


def test_a_household_is_met_by_its_whole_name_and_never_offered(fresh_city: City) -> None:
    """Under its opaque id and masked as everywhere; no part of its name finds it, no offer names it, no field extends it; persons never."""
    shop = "东昌区甲某某小吃店"

    async def open_shop(services: Any) -> None:
        await put(services, PENALTIES, penalty(household_code(7), shop, "通市监罚〔2026〕7号", kind="个体工商户"))
        await put(services, PENALTIES, person_penalty("测试甲", person_number(1), "通市监罚〔2026〕8号"))
        await settle(services)

    fresh_city.run(open_shop)
    with served(fresh_city) as server:
        queries = {"whole": shop, "code": household_code(7), "part": shop[3:], "person": "测试甲", "number": person_number(1)}
        results = asked(server, {key: {"query": text} for key, text in queries.items()}).json()
        (found,) = results["whole"]["result"]
        assert (found["match"], found["description"], found["id"][:4]) == (True, "个体工商户", "sub_")
        assert "甲某某" not in found["name"]
        assert [each["id"] for each in results["code"]["result"]] == [found["id"]]
        assert [results[key]["result"] for key in ("part", "person", "number")] == [[], [], []]
        assert server.get(f"/v1/reconcile/suggest/entity?prefix={shop}").json()["result"] == []
        assert shop not in server.get(f"/v1/reconcile/preview?id={found['id']}").text
        problem(server.get(f"/v1/reconcile/preview?id={household_code(7)}"), 404, "not-found")
        for wanted in (found["id"], household_code(7), "sub_nobody"):
            extension = {"ids": [wanted], "properties": [{"id": "name"}, {"id": "record_counts.penalty"}]}
            assert extended(server, extension).json()["rows"] == {wanted: {"name": [], "record_counts.penalty": []}}
        assert server.get("/v1/reconcile/extend/propose?type=household").json()["properties"] == []


def test_a_preview_is_a_small_page_without_script(server: Server) -> None:
    """Shown inside another page, under a policy that loads nothing but our style; whoever is not there is 404."""
    firm = firms(server, 1)[0]
    page = server.get(f"/v1/reconcile/preview?id={firm['uscc']}")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors *" in policy
    assert firm["name"] in page.text
    assert not re.search(r"<script|javascript:|style=|\son\w+=", page.text)
    problem(server.get("/v1/reconcile/preview?id=91220502XXT99999X9"), 404, "not-found")
    problem(server.get("/v1/reconcile/flyout/type?id=person"), 404, "not-found")
    problem(server.get("/v1/reconcile/flyout/thing?id=person"), 404, "not-found")
    problem(server.get("/v1/reconcile/preview"), 400, "invalid-parameter")


@pytest.mark.parametrize(
    ("queries", "pointer", "code"),
    [
        ("{", "/queries", "json"),
        ("[]", "/queries", "invalid"),
        ('{"q0":{"query":"a"},"q0":{"query":"b"}}', "/queries", "repeated"),
        ('{"q0":{"query":"a","query":"b"}}', "/queries", "repeated"),
        ({f"q{number}": {"query": "示例"} for number in range(21)}, "/queries", "invalid"),
        ({"q0": {"query": "示例", "limt": 1}}, "/queries/q0", "unknown"),
        ({"q0": {}}, "/queries/q0", "invalid"),
        ({"q0": {"query": 5}}, "/queries/q0/query", "invalid"),
        ({"q0": {"query": "示例", "limit": 0}}, "/queries/q0/limit", "invalid"),
        ({"q0": {"query": "示例", "type": "person"}}, "/queries/q0/type", "invalid"),
        ({"q0": {"query": "示例", "type_strict": "never"}}, "/queries/q0/type_strict", "invalid"),
        ({"q3": {"query": "示例", "properties": [{"pid": "id_no", "v": "1"}]}}, "/queries/q3/properties/0/pid", "invalid"),
        ({"q3": {"properties": [{"pid": "uscc"}]}}, "/queries/q3/properties/0/v", "required"),
        ({CITIZEN: {"query": "示例"}}, "/queries", "invalid"),
        ({"me": {"query": 5}}, "/queries", "invalid"),
    ],
)
def test_a_bad_query_is_told_with_its_place(server: Server, queries: Any, pointer: str, code: str) -> None:
    """In the form and in the URL, and nothing of it is repeated."""
    text = queries if isinstance(queries, str) else json.dumps(queries, ensure_ascii=False)
    answer = posted(server, f"queries={quote(text)}")
    (fault,) = problem(answer, 400, "body-invalid")["errors"]
    assert (fault["pointer"], fault["code"]) == (pointer, code)
    assert CITIZEN not in answer.text
    assert "limt" not in answer.text
    (fault,) = problem(server.get(f"/v1/reconcile?queries={quote(text)}"), 400, "invalid-parameter")["errors"]
    assert fault["parameter"] == "queries"


@pytest.mark.parametrize(
    ("extension", "pointer"),
    [
        ({"ids": [], "properties": [{"id": "legal_representative"}]}, "/extend/properties/0/id"),
        ({"ids": [], "properties": [{"id": "name", "settings": {"limit": 1}}]}, "/extend/properties/0/settings"),
        ({"ids": ["x"] * 21, "properties": []}, "/extend/ids"),
        ({"ids": [CITIZEN], "properties": []}, "/extend/ids/0"),
        ({"ids": []}, "/extend/properties"),
    ],
)
def test_a_bad_extension_is_told_with_its_place(server: Server, extension: Any, pointer: str) -> None:
    """A field that the public does not see in clear reads like one that never existed."""
    (fault,) = problem(extended(server, extension), 400, "body-invalid")["errors"]
    assert fault["pointer"] == pointer


def test_what_is_no_form_of_the_protocol(server: Server) -> None:
    """415, 413, and one of two fields, once."""
    problem(server.client.post("/v1/reconcile", json={"queries": {}}), 415, "unsupported-media-type")
    problem(posted(server, "queries=" + "a" * (256 * 1024)), 413, "body-too-large")
    for content in ("", "queries=%7B%7D&extend=%7B%7D", "queries=%7B%7D&queries=%7B%7D", "other=1", "queries=%FF", "queries=é"):
        problem(posted(server, content), 400, "body-invalid")
    problem(server.get("/v1/reconcile?callback=f"), 400, "unknown-parameter")
    problem(server.get("/v1/reconcile?queries={}&extend={}"), 400, "invalid-parameter")
    for query in ("cursor=-1", "cursor=91", "prefix="):
        problem(server.get(f"/v1/reconcile/suggest/entity?{query}"), 400, "invalid-parameter")


def test_offers_go_on_where_the_cursor_says(server: Server) -> None:
    """The second ten are others than the first."""
    pages = [server.get(f"/v1/reconcile/suggest/entity?prefix=通化&cursor={skipped}").json()["result"] for skipped in (0, 10)]
    ids = [[each["id"] for each in page] for page in pages]
    assert len(ids[0]) == 10
    assert not set(ids[0]) & set(ids[1])


def test_twenty_queries_cost_twenty(fresh_city: City) -> None:
    """Three forms of twenty are a minute of the public; the fourth is refused. A developer pays from a quota of its own."""
    settings = fresh_city.settings_file
    settings.write_text(settings.read_text(encoding="utf-8").replace("quota_factor = 100000", ""), encoding="utf-8")
    key: str = fresh_city.run(developer)[1]
    with served(fresh_city) as server:
        batch = {f"q{number}": {"query": "示例"} for number in range(20)}
        assert [asked(server, batch).status_code for _ in range(3)] == [200, 200, 200]
        problem(asked(server, batch), 429, "quota-exceeded")
        assert asked(server, batch, authorization=f"Bearer {key}").status_code == 200
