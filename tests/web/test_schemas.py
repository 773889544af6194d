"""Schemas and the API document of each caller: they name what its plans show, and nothing else."""

import json
from typing import Any

import jsonschema_rs
import pytest

from tests.web.city import City, Server


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
