"""Schemas and the API document of each caller: they name what its plans show, and nothing else."""

import json
from typing import Any

import jsonschema_rs
import pytest

from tests.web.city import City, Server
from tests.web.test_fuzz import TIERS, credentials


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
