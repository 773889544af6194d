"""The API document: as committed, complete, with an example everywhere; its page brings everything with it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.app import openapi_document
from gateway.core.publication.version_formats import formats_for
from gateway.web import openapi
from gateway.web.api.routes import ROUTES
from gateway.web.describe import SUFFIXES, Described
from gateway.web.documents import CONTENT_POLICY, Documents
from gateway.web.pages import problem_kind
from gateway.web.problems import KINDS

COMMITTED = Path(__file__).resolve().parents[2] / "openapi" / "gateway.json"
DOCUMENT: dict[str, Any] = json.loads(openapi_document())
OPERATIONS = [(path, item["get"]) for path, item in DOCUMENT["paths"].items() if "get" in item]
POSTS = [(path, item["post"]) for path, item in DOCUMENT["paths"].items() if "post" in item]
DELETES = [(path, item["delete"]) for path, item in DOCUMENT["paths"].items() if "delete" in item]
FORMS = [(path, operation) for path, operation in POSTS if path.startswith("/oauth/")]


def test_the_committed_document_is_the_served_one() -> None:
    """Byte for byte; `make openapi` renews it."""
    assert COMMITTED.read_bytes() == openapi_document(), "run `make openapi`, look at the difference, commit it"


def test_two_processes_give_the_same_document() -> None:
    """Nothing of an order of import stands in it; of settings the contact alone, where there is one."""
    assert Documents(ROUTES).json == openapi_document()
    assert openapi.encoded(openapi.document(reversed(ROUTES))) == openapi_document()


@pytest.mark.parametrize(
    ("contact", "told"),
    [("mailto:data@credit.example", {"email": "data@credit.example"}), ("https://credit.example", {"url": "https://credit.example"})],
)
def test_the_document_says_who_answers_questions(contact: str, told: dict[str, str]) -> None:
    """Where the settings name somebody, as an address that the specification allows there; else by name alone."""
    assert json.loads(Documents(ROUTES, contact).json)["info"]["contact"] == DOCUMENT["info"]["contact"] | told
    assert set(DOCUMENT["info"]["contact"]) == {"name"}


def test_yaml_says_the_same_as_json() -> None:
    """The YAML document is the same value."""
    assert yaml.safe_load(openapi.as_yaml(DOCUMENT)) == DOCUMENT


@pytest.mark.parametrize(
    "value", [{}, [], {"a": [[1, [2]], {"b": {}}]}, {"x": [{"y": [1, {"z": None}]}, []], "日": "本: #"}, [True, "yes", "1", "~"]]
)
def test_our_yaml_reads_back(value: Any) -> None:
    """The small writer keeps nested and empty values, and texts that look like something else."""
    assert yaml.safe_load(openapi.as_yaml(value)) == value


@pytest.mark.parametrize(("path", "operation"), OPERATIONS, ids=[path for path, _ in OPERATIONS])
def test_every_operation_is_told_whole(path: str, operation: dict[str, Any]) -> None:
    """An id, words in both languages, every path parameter, an example, and the problems it may answer."""
    assert operation["operationId"]
    assert re.search("[\u4e00-\u9fff]", operation["summary"])
    assert operation["description"].isascii()
    named = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
    assert named == set(re.findall(r"{(\w+)}", path))
    answers = operation["responses"]
    assert any("example" in content for content in answers["200"]["content"].values())
    for status in ("400", "401", "404", "406", "500", "503"):
        problem = answers[status]["content"]["application/problem+json"]
        assert problem["schema"] == {"$ref": "#/components/schemas/Problem"}
        assert all(KINDS[code].status == int(status) for code in problem["examples"])


def test_operation_ids_are_unique() -> None:
    """Clients are generated from them."""
    ids = [operation["operationId"] for _, operation in OPERATIONS + POSTS + DELETES]
    assert len(set(ids)) == len(ids)


def test_every_reference_leads_somewhere() -> None:
    """No `$ref` hangs in the air."""
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', openapi_document().decode())):
        target: Any = DOCUMENT
        for piece in reference.split("/"):
            target = target[piece]


def test_constraints_survive() -> None:
    """What msgspec knows of a field stands in the document: patterns, bounds, required keys."""
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["Record"]["properties"]["id"]["pattern"] == "^rec_[a-z2-7]{26}$"
    assert schemas["RecordPage"]["properties"]["items"]["items"]["anyOf"][0] == {"$ref": "#/components/schemas/Record"}
    assert "publish_until" in schemas["Record"]["required"]
    assert "uscc" not in schemas["Subject"]["required"]


def test_examples_keep_their_shapes() -> None:
    """The example of every operation has exactly the keys that its shape requires, and no others but optional ones."""
    schemas = DOCUMENT["components"]["schemas"]
    for path, operation in OPERATIONS:
        for content in operation["responses"]["200"]["content"].values():
            if "example" in content and "$ref" in content["schema"]:
                shape = schemas[content["schema"]["$ref"].rpartition("/")[2]]
                assert set(shape["required"]) <= set(content["example"]), path
                assert set(content["example"]) <= set(shape["properties"]), path


def test_every_described_handler_stands_in_the_document() -> None:
    """And none stands there twice."""
    described = [each for handler in ROUTES if isinstance(each := handler.opt.get("described"), Described) and each.public]
    assert len({each.operation_id for each in described}) == len(described) == len(OPERATIONS + POSTS + DELETES)


def test_suffixes_of_formats_are_told_where_they_are_served() -> None:
    """Of each operation that has a path for each, and of no other; of versions, the formats of their files."""
    told = {operation["operationId"]: operation["description"] for _, operation in OPERATIONS}
    served = {str(handler.operation_id): handler.paths for handler in ROUTES if handler.operation_id in told}
    for name, paths in served.items():
        suffixed = any(path.endswith(".parquet") for path in paths)
        assert (" ".join(SUFFIXES) in told[name]) == suffixed, name
    version = next(operation for path, operation in OPERATIONS if path == "/v1/lists/{list_id}/versions/{version}")
    text = next(each["description"] for each in version["parameters"] if each["name"] == "version")
    assert all(f".{name}" in text for name in formats_for("black"))


@pytest.mark.parametrize(("path", "operation"), FORMS, ids=[path for path, _ in FORMS])
def test_every_form_is_told_whole(path: str, operation: dict[str, Any]) -> None:
    """An id, words in both languages, the form with what it requires, an example, and the errors of RFC 6749."""
    assert path.startswith("/oauth/")
    assert re.search("[\u4e00-\u9fff]", operation["summary"])
    assert operation["description"].isascii()
    form = operation["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
    assert set(form["required"]) <= set(form["properties"])
    assert "example" in operation["responses"]["200"]["content"]["application/json"]
    assert "error" in operation["responses"]["400"]["content"]["application/json"]["schema"]["required"]


def test_pages_load_nothing_from_elsewhere() -> None:
    """No script, no inline style, no address of another host in any attribute that loads."""
    for page in (Documents(ROUTES).page("zh-CN"), Documents(ROUTES).page("en"), *(problem_kind(code) or b"" for code in KINDS)):
        text = page.decode()
        assert "<script" not in text
        assert not re.search(r"\sstyle=|\son\w+=", text)
        assert set(re.findall(r'(?:src|href)="(?!#)([^"]+)"', text)) <= {
            "/docs/style.css",
            "/openapi.json",
            "/openapi.yaml",
            "/v1/problems",
        } | {f"/problems/{code}" for code in KINDS}
    assert CONTENT_POLICY.startswith("default-src 'none'")
    assert b"url(" not in Documents(ROUTES).style
    assert b"@import" not in Documents(ROUTES).style


def test_every_code_has_its_page() -> None:
    """`type` of a problem leads to a page in both languages."""
    for code, kind in KINDS.items():
        text = (problem_kind(code) or b"").decode()
        assert kind.title["zh-CN"] in text
        assert kind.title["en"] in text
