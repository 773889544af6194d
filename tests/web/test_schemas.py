"""Schemas and the API document of each caller: they name what its plans show, and nothing else."""

import json
from typing import Any

import jsonschema_rs
import pytest

from tests.web.city import City, Server
from tests.web.test_fuzz import TIERS, credentials
from tests.web.test_lint import closed

ASKED = {
    "/v1": ["/v1"],
    "/v1/subjects/{subject}": [],
    "/v1/subjects": ["/v1/subjects?limit=20&count=exact&facet=kind", "/v1/subjects?q=药"],
    "/v1/records": ["/v1/records?limit=100"],
    "/v1/lists": ["/v1/lists"],
    "/v1/lists/{list_id}": ["/v1/lists/tax-violations"],
    "/v1/lists/{list_id}/listings": ["/v1/lists/tax-violations/listings"],
    "/v1/lists/{list_id}/versions": ["/v1/lists/tax-violations/versions"],
    "/v1/lists/{list_id}/versions/{version}": ["/v1/lists/tax-violations/versions/latest"],
    "/v1/datasets": ["/v1/datasets"],
    "/v1/datasets/{dataset}": ["/v1/datasets/honours"],
    "/v1/datasets/{dataset}/dictionary": ["/v1/datasets/honours/dictionary"],
    "/v1/datasets/{dataset}/quality": ["/v1/datasets/honours/quality"],
    "/v1/datasets/{dataset}/distributions": ["/v1/datasets/honours/distributions"],
    "/v1/changes": ["/v1/changes?since=0&limit=1000"],
    "/v1/suggest": ["/v1/suggest?q=药", "/v1/suggest?q=处罚"],
    "/v1/validate/uscc/{code}": ["/v1/validate/uscc/91220502XXT00002X3"],
    "/v1/policies": ["/v1/policies"],
    "/v1/range": ["/v1/range"],
    "/v1/problems": ["/v1/problems"],
    "/v1/keys": ["/v1/keys"],
    "/v1/me": ["/v1/me"],
}
"""Paths of the document, and requests to them; where none stands, of what the others led to."""


def schema_of(server: Server, dataset: str, **headers: str) -> Any:
    return server.get(f"/v1/datasets/{dataset}/schema", **headers).json()


def names_in(schema: Any) -> set[str]:
    return {name for kind in schema["anyOf"] for name in kind["properties"]}


def test_a_schema_names_only_what_its_caller_is_shown(server: Server, city: City) -> None:
    """The identity number has a place in the department's schema, in its masked form; the public's never mentions it."""
    office = {"authorization": f"Bearer {city.token()}"}
    public = schema_of(server, "administrative-penalties")
    assert "id_no" not in json.dumps(public)
    assert "legal_representative" not in json.dumps(public)
    assert "remark" not in json.dumps(schema_of(server, "administrative-penalties", **office)), "unclassified: named to nobody"
    assert "id_no" in names_in(schema_of(server, "administrative-penalties", **office))


def test_a_hidden_dataset_has_no_schema(server: Server) -> None:
    """No schema where there is nothing to see: the same 404 as for a dataset that never was."""
    assert server.get("/v1/datasets/no-such-data/schema").status_code == 404


@pytest.mark.parametrize("office", [False, True], ids=["public", "department"])
def test_records_fit_the_schema_of_their_caller(server: Server, city: City, office: bool) -> None:
    """Every record of every dataset fits one of its alternatives: no field beyond it, no other shape."""
    headers = {"authorization": f"Bearer {city.token()}"} if office else {}
    for dataset in (each["id"] for each in server.get("/v1/datasets", **headers).json()["items"]):
        checker = jsonschema_rs.Draft202012Validator(schema_of(server, dataset, **headers))
        for record in server.get(f"/v1/records?dataset={dataset}&limit=50", **headers).json()["items"]:
            checker.validate(record["fields"])


def test_the_document_of_a_caller_carries_its_fields(server: Server, city: City) -> None:
    """`/openapi.json` is the common document with the schemas of the caller's plans; no cache may serve one for the other."""
    public, office = server.get("/openapi.json"), server.get("/openapi.json", authorization=f"Bearer {city.token()}")
    assert "id_no" not in public.text
    assert "id_no" in office.json()["components"]["schemas"]["Fields.administrative-penalties"]["anyOf"][0]["properties"]
    assert public.headers["etag"] != office.headers["etag"]
    assert "public" in public.headers["cache-control"]
    assert "private" in office.headers["cache-control"]


def test_answers_hold_no_member_that_the_document_does_not_name(server: Server) -> None:
    """Whole rows and documents, member by member, but for the notice that everything of test mode bears."""
    document = server.get("/openapi.json").json()
    schemas = closed(document["components"]["schemas"])
    for schema in schemas.values():
        if schema.get("additionalProperties") is False:
            schema["properties"].setdefault("notice", True)
        rows = schema.get("properties", {}).get("items", {}).get("items", {})
        if "anyOf" in rows:  # what is asked for whole comes whole
            rows["anyOf"] = [each for each in rows["anyOf"] if each != {"$ref": "#/components/schemas/SparseRow"}]
    seen = 0
    some = server.get("/v1/subjects?limit=20").json()["items"]
    for path, requests in ASKED.items():
        schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        checker = jsonschema_rs.Draft202012Validator({"components": {"schemas": schemas}, "allOf": [closed(schema)]})
        for request in requests or [f"/v1/subjects/{each['uscc']}" for each in some]:
            assert [error.message[-200:] for error in checker.iter_errors(server.get(request).json())] == [], request
            seen += 1
    assert seen > 40


@pytest.mark.parametrize(("tier", "purpose", "_examples"), TIERS, ids=[tier for tier, _, _ in TIERS])
def test_the_personal_lookup_stands_where_it_may_be_used(server: Server, city: City, tier: str, purpose: str, _examples: int) -> None:
    """It is in the documents of the tiers that may look persons up, with a case reference that is required, and in nobody else's."""
    headers = credentials(city, tier, purpose)
    asked = {"dataset": "administrative-penalties", "id_no": "220599199003071236", "name": "测试丁"}
    answer = server.client.post(f"{server.origin}/v1/lookups", json=asked, headers=headers)
    document = server.get("/openapi.json", **headers)
    assert server.get("/openapi.yaml", **headers).text.count("lookUpPerson") == (answer.status_code == 200)
    if answer.status_code != 200:
        assert answer.json()["code"] == "not-permitted"
        assert "lookUpPerson" not in document.text
        assert "PersonAsked" not in document.text
        return
    operation = document.json()["paths"]["/v1/lookups"]["post"]
    assert {each["name"]: each["required"] for each in operation["parameters"]} == {"Purpose": False, "Case-Ref": True}
    assert "id_no" in document.json()["components"]["schemas"]["PersonAsked"]["properties"]


def test_some_tiers_look_persons_up_and_the_public_does_not(server: Server, city: City) -> None:
    """The department's document has the personal look-up; everybody's does not name the number that it takes, in whatever form."""
    assert "/v1/lookups" in server.get("/openapi.json", **credentials(city, "department", "dept.supervision")).json()["paths"]
    for path in ("/openapi.json", "/openapi.yaml", "/docs"):
        assert "id_no" not in server.get(path).text
