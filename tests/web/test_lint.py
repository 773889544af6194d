"""The API document under the rules of strict linters: valid OpenAPI 3.1, all of it named, described, shown by examples that fit, none idle.

Strategy: `findings` holds what Spectral's `oas` rules and their stricter kin demand of a document of version 3.1; it is shown to see each
fault, and then finds none in the document that everybody gets and in the one of each tier. Validity is openapi-spec-validator's word.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.app import openapi_document
from tests.web.city import City, Server
from tests.web.test_fuzz import TIERS, credentials

Document = dict[str, Any]
PROBLEM = "application/problem+json"
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
BINARY = {
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.apache.parquet",
    "application/vnd.msgpack",
    "multipart/form-data",
}
"""What no text can show by an example."""
OPAQUE = {"cursor", "Last-Event-ID"}
"""What only an earlier answer can give: an example would be refused."""
OF_RFC_6749 = {"/oauth/token", "/oauth/revoke", "/oauth/introspect"}
"""Their 400 and 401 are told in that RFC's words, for its clients."""


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Every operation with its path and its name for a finding."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield path, f"{method} {path}", operation


def schemas(document: Document) -> Iterator[tuple[str, Document]]:
    """Every schema of the document with its place: with a name, of parameters, headers and contents, and what is nested in them."""
    for name, schema in document["components"]["schemas"].items():
        yield from _nested(f"schema {name}", schema)
    for name, header in document["components"]["headers"].items():
        yield from _nested(f"header {name}", header["schema"])
    for _, where, operation in operations(document):
        for each in operation.get("parameters", ()):
            yield from _nested(f"{where}: parameter {each['name']}", each["schema"])
        for status, answer in [*operation["responses"].items(), ("body", operation.get("requestBody", {}))]:
            for media, content in answer.get("content", {}).items():
                yield from _nested(f"{where}: {status} {media}", content["schema"])


def _nested(where: str, schema: Any) -> Iterator[tuple[str, Document]]:
    if not isinstance(schema, dict):
        return  # `true` and `false` are schemas too, without anything to say about them
    yield where, schema
    for key in ("items", "contentSchema", "additionalProperties", "propertyNames", "not"):
        if key in schema:
            yield from _nested(f"{where}.{key}", schema[key])
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for index, one in enumerate(schema.get(key, ())):
            yield from _nested(f"{where}.{key}.{index}", one)
    for name, one in schema.get("properties", {}).items():
        yield from _nested(f"{where}.{name}", one)


def findings(document: Document) -> Iterator[str]:
    """What a strict linter would say of this document."""
    yield from _head(document)
    yield from _paths(document)
    for path, where, operation in operations(document):
        yield from _names(where, operation)
        yield from _parameters(path, where, operation)
        yield from _answers(path, where, operation)
        for media, content in operation.get("requestBody", {}).get("content", {}).items():
            if media not in BINARY and "example" not in content and "examples" not in content:
                yield f"{where}: the body as {media} has no example"
        if "requestBody" in operation and not operation["requestBody"].get("description"):
            yield f"{where}: the body has no description"
    yield from _unused(document)
    for where, schema in schemas(document):
        yield from _schema(where, schema)
    yield from _examples(document)


def _head(document: Document) -> Iterator[str]:
    info = document["info"]
    for key in ("title", "version", "summary", "description", "contact", "license"):
        if not info.get(key):
            yield f"info has no {key}"
    if not re.match("https?://", info.get("contact", {}).get("url", "https://")):
        yield "the contact's url is no whole address"
    if not document.get("servers"):
        yield "no servers"
    for server in document.get("servers", ()):
        if re.search("./$", server["url"]) or "example.com" in server["url"]:
            yield f"server {server['url']}"
    declared = [tag["name"] for tag in document["tags"]]
    used = [tag for _, _, operation in operations(document) for tag in operation.get("tags", ())]
    yield from (f"tag {name} stands twice" for name, count in Counter(declared).items() if count > 1)
    yield from (f"tag {tag['name']} has no description" for tag in document["tags"] if not tag.get("description"))
    yield from (f"tag {name} is not declared" for name in {*used} - {*declared})
    yield from (f"tag {name} is not used" for name in {*declared} - {*used})
    ids = Counter(operation.get("operationId") for _, _, operation in operations(document))
    yield from (f"operationId {name} stands {count} times" for name, count in ids.items() if count > 1)
    text = json.dumps(document, ensure_ascii=False)
    yield from (f"a text holds {word}" for word in ("<script", "eval(", "javascript:", "TODO", "FIXME") if word in text)


def _paths(document: Document) -> Iterator[str]:
    for path in document["paths"]:
        pieces = path[1:].split("/")
        if not path.startswith("/") or path.endswith("/") or "?" in path or "#" in path:
            yield f"path {path} is badly formed"
        for piece in pieces:
            if not re.fullmatch(r"[a-z0-9.-]*(\{[a-z_]+\})?(\.[a-z]+)?", piece):
                yield f"path {path} is not in kebab-case"
    for template, count in Counter(re.sub(r"{\w+}", "{}", path) for path in document["paths"]).items():
        if count > 1:
            yield f"path {template} stands {count} times"


def _names(where: str, operation: Document) -> Iterator[str]:
    if not re.fullmatch(r"[a-z]+([A-Z][a-z0-9]*)*", operation.get("operationId", "")):
        yield f"{where}: operationId is not camelCase"
    for key in ("summary", "description"):
        if not operation.get(key, "").strip():
            yield f"{where} has no {key}"
    if len(operation.get("summary", "")) > 60 or operation.get("summary", "").endswith((".", "。")):
        yield f"{where}: the summary is no phrase"
    if operation.get("description", "").strip() == operation.get("summary", "").strip():
        yield f"{where}: the description repeats the summary"
    if len(operation.get("tags", ())) != 1:
        yield f"{where} has not one tag"


def _parameters(path: str, where: str, operation: Document) -> Iterator[str]:
    parameters = operation.get("parameters", [])
    for name, count in Counter((each["name"].lower(), each["in"]) for each in parameters).items():
        if count > 1:
            yield f"{where}: parameter {name} stands {count} times"
    in_path = {each["name"] for each in parameters if each["in"] == "path"}
    if in_path != set(re.findall(r"{(\w+)}", path)):
        yield f"{where}: the path names other parameters"
    for each in parameters:
        place = f"{where}: parameter {each['name']}"
        if not each.get("description", "").strip():
            yield f"{place} has no description"
        if "schema" not in each:
            yield f"{place} has no schema"
        if "example" not in each and "examples" not in each and each["name"] not in OPAQUE:
            yield f"{place} has no example"
        if each["in"] == "path" and each.get("required") is not True:
            yield f"{place} is in the path and not required"
        pattern = r"[A-Z][A-Za-z]*(-[A-Z][A-Za-z]*)*" if each["in"] == "header" else r"[a-z]+(_[a-z]+)*(__[a-z]+)?"
        if not re.fullmatch(pattern, each["name"]):
            yield f"{place} is not written like the others"
        if each["in"] == "header" and each["name"].lower() in ("accept", "content-type", "authorization"):
            yield f"{place} is none by the specification"


def _answers(path: str, where: str, operation: Document) -> Iterator[str]:
    answers = operation["responses"]
    if not any(status.startswith("2") for status in answers):
        yield f"{where} never succeeds"
    for status in ("401", "429", "500", "503"):
        if status not in answers:
            yield f"{where} has no {status}"
    if not any(status in answers for status in ("400", "404", "422")):
        yield f"{where} refuses nothing"
    for status, answer in answers.items():
        if not answer.get("description", "").strip():
            yield f"{where}: {status} has no description"
        if status >= "400" and PROBLEM not in answer.get("content", {}) and not (path in OF_RFC_6749 and status in ("400", "401")):
            yield f"{where}: {status} is no problem"
        if status in ("429", "503") and "Retry-After" not in answer.get("headers", {}):
            yield f"{where}: {status} has no Retry-After"
        if status.startswith("2") and not {"RateLimit", "RateLimit-Policy"} <= answer.get("headers", {}).keys():
            yield f"{where}: {status} has no rate limit"
        for media, content in answer.get("content", {}).items():
            if "schema" not in content:
                yield f"{where}: {status} {media} has no schema"
            if media not in BINARY and "example" not in content and "examples" not in content:
                yield f"{where}: {status} {media} has no example"


def _unused(document: Document) -> Iterator[str]:
    text = json.dumps(document)
    references = set(re.findall(r'"\$ref": "#/([^"]+)"', text))
    for reference in references:
        target: Any = document
        for piece in reference.split("/"):
            target = target.get(piece) if isinstance(target, dict) else None
        if target is None:
            yield f"#/{reference} leads nowhere"
    for section, members in document["components"].items():
        if section != "securitySchemes":
            yield from (f"{section} {name} is unused" for name in members if f"components/{section}/{name}" not in references)
    schemes = {name for _, _, operation in operations(document) for one in operation.get("security", document["security"]) for name in one}
    yield from (f"security scheme {name} is unused" for name in document["components"]["securitySchemes"].keys() - schemes)
    yield from (f"security scheme {name} is not declared" for name in schemes - document["components"]["securitySchemes"].keys())
    for section in ("examples", "headers", "securitySchemes"):
        for name, one in document["components"][section].items():
            if not one.get("description") and not one.get("summary"):
                yield f"{section} {name} has no description"
    for name, one in document["components"]["schemas"].items():
        if not one.get("description"):
            yield f"schema {name} has no description"


_WORDS = {"string", "integer", "number", "boolean", "object", "array", "null"}
_OF_TYPES = {
    "string": ("minLength", "maxLength", "pattern", "format"),
    "array": ("minItems", "maxItems", "uniqueItems"),
    "object": ("properties", "required", "additionalProperties"),
}


def _schema(where: str, schema: Document) -> Iterator[str]:
    if "nullable" in schema:
        yield f"{where}: nullable is of version 3.0"
    if "example" in schema:
        yield f"{where}: a schema of version 3.1 has examples"
    if any(isinstance(schema.get(key), bool) for key in ("exclusiveMinimum", "exclusiveMaximum")):
        yield f"{where}: exclusive bounds are numbers"
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    yield from (f"{where}: type {kind}" for kind in kinds if kind not in _WORDS)
    if "array" in kinds and "items" not in schema and "prefixItems" not in schema:
        yield f"{where}: an array of what?"
    for kind, keys in _OF_TYPES.items():
        if kinds and kind not in kinds:
            yield from (f"{where}: {key} of no {kind}" for key in keys if key in schema)
    if "properties" in schema:
        yield from (f"{where}: {name} is required and unknown" for name in schema.get("required", ()) if name not in schema["properties"])
    if len(schema.get("required", ())) != len({*schema.get("required", ())}):
        yield f"{where}: required twice"
    values = [json.dumps(one) for one in schema.get("enum", ())]
    if len(values) != len({*values}):
        yield f"{where}: one value twice"
    for low, high in (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems")):
        if low in schema and high in schema and schema[low] > schema[high]:
            yield f"{where}: {low} above {high}"
    branches = [json.dumps(one, sort_keys=True) for key in ("anyOf", "oneOf", "allOf") for one in schema.get(key, ())]
    if len(branches) != len({*branches}):
        yield f"{where}: one branch twice"
    yield from (f"{where}: {key} of one" for key in ("anyOf", "oneOf") if len(schema.get(key, (1, 2))) < 2)
    for value in [*schema.get("enum", ()), *schema.get("examples", ()), *([schema["default"]] if "default" in schema else [])]:
        if "$ref" not in json.dumps(schema) and not jsonschema_rs.is_valid({**schema, "enum": schema.get("enum", [value])}, value):
            yield f"{where}: a value that is none"


def closed(schema: Any) -> Any:
    """A schema under which an object has the members that it names, and no other; what says of itself that it is open stays so."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(one) for name, one in schema.items()}
    return {"additionalProperties": False, **inner} if isinstance(schema.get("properties"), dict) and "type" in schema else inner


def _examples(document: Document) -> Iterator[str]:
    """Every example of a parameter, a body and an answer against its schema, formats too; and it holds no member that no schema names."""
    schemas = closed(document["components"]["schemas"])
    shared = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": {"schemas": schemas}}
    made: dict[str, jsonschema_rs.Draft202012Validator] = {}

    def fits(schema: Document, value: Any) -> list[str]:
        key = json.dumps(schema)
        if key not in made:
            made[key] = jsonschema_rs.Draft202012Validator({**shared, "allOf": [closed(schema)]}, validate_formats=True)
        return [error.message for error in made[key].iter_errors(value)]

    for _, where, operation in operations(document):
        for each in operation.get("parameters", ()):
            if "example" in each:
                yield from (f"{where}: example of {each['name']}: {text}" for text in fits(each["schema"], each["example"]))
        contents = [
            (f"{status} {media}", content)
            for status, answer in operation["responses"].items()
            for media, content in answer.get("content", {}).items()
        ] + [(f"body {media}", content) for media, content in operation.get("requestBody", {}).get("content", {}).items()]
        for place, content in contents:
            shown = [content["example"]] if "example" in content else []
            for one in content.get("examples", {}).values():
                name = one.get("$ref", "").rpartition("/")[2]
                shown.append(document["components"]["examples"][name]["value"] if name else one["value"])
            for value in shown:
                yield from (f"{where}: example of {place}: {text}" for text in fits(content["schema"], value))


def test_the_document_is_valid_openapi() -> None:
    """OpenAPI 3.1, by the validator of the field."""
    document = json.loads(openapi_document())
    assert document["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_a_linter_finds_nothing() -> None:
    """In the document that is committed."""
    assert list(findings(json.loads(openapi_document()))) == []


@pytest.mark.parametrize(("tier", "purpose"), [(tier, purpose) for tier, purpose, _ in TIERS], ids=[tier for tier, _, _ in TIERS])
def test_a_linter_finds_nothing_in_what_a_tier_is_served(sqlite_server: Server, sqlite_city: City, tier: str, purpose: str) -> None:
    """With the fields that its plans show."""
    document = sqlite_server.get("/openapi.json", **credentials(sqlite_city, tier, purpose)).json()
    assert any(name.startswith("Fields.") for name in document["components"]["schemas"])
    assert list(findings(document)) == []


def _record(document: Document) -> Document:
    found: Document = document["paths"]["/v1/records"]["get"]
    return found


def _example_of(document: Document) -> Document:
    found: Document = _record(document)["responses"]["200"]["content"]["application/json"]["example"]
    return found


FAULTS: dict[str, Callable[[Document], Any]] = {
    "info has no contact": lambda it: it["info"].pop("contact"),
    "the contact's url is no whole address": lambda it: it["info"]["contact"].update(url="/.well-known/security.txt"),
    "server https://h/": lambda it: it["servers"].append({"url": "https://h/"}),
    "tag 记录 is not declared": lambda it: it.update(tags=[tag for tag in it["tags"] if tag["name"] != "记录"]),
    "tag more is not used": lambda it: it["tags"].append({"name": "more", "description": "more"}),
    "tag 记录 stands twice": lambda it: it["tags"].append({"name": "记录", "description": "again"}),
    "operationId listRecords stands 2 times": lambda it: it["paths"]["/v1/subjects"]["get"].update(operationId="listRecords"),
    "operationId is not camelCase": lambda it: _record(it).update(operationId="list_records"),
    "has no summary": lambda it: _record(it).pop("summary"),
    "has no description": lambda it: _record(it).update(description=" "),
    "the summary is no phrase": lambda it: _record(it).update(summary="记录。"),
    "has not one tag": lambda it: _record(it).update(tags=[]),
    "a text holds <script": lambda it: _record(it).update(description="<script>"),
    "is badly formed": lambda it: it["paths"].update({"/v1/more/": it["paths"].pop("/v1/records")}),
    "is not in kebab-case": lambda it: it["paths"].update({"/v1/allRecords": it["paths"].pop("/v1/records")}),
    "path /v1/records/{} stands 2 times": lambda it: it["paths"].update({"/v1/records/{other}": it["paths"]["/v1/records"]}),
    "stands 2 times": lambda it: _record(it)["parameters"].append(_record(it)["parameters"][0]),
    "the path names other parameters": lambda it: it["paths"]["/v1/records/{record}"]["get"].update(parameters=[]),
    "parameter dataset has no description": lambda it: _record(it)["parameters"][0].pop("description"),
    "parameter dataset has no example": lambda it: _record(it)["parameters"][0].pop("example"),
    "is in the path and not required": lambda it: it["paths"]["/v1/records/{record}"]["get"]["parameters"][0].update(required=False),
    "is not written like the others": lambda it: _record(it)["parameters"][0].update(name="dataSet"),
    "example of dataset": lambda it: _record(it)["parameters"][0].update(example=3),
    "has no 429": lambda it: _record(it)["responses"].pop("429"),
    "never succeeds": lambda it: _record(it)["responses"].pop("200"),
    "503 has no Retry-After": lambda it: _record(it)["responses"]["503"].pop("headers"),
    "200 has no rate limit": lambda it: _record(it)["responses"]["200"].pop("headers"),
    "404 is no problem": lambda it: _record(it)["responses"]["404"].pop("content"),
    "200 text/csv has no example": lambda it: _record(it)["responses"]["200"]["content"]["text/csv"].pop("example"),
    "example of 200 application/json": lambda it: _example_of(it).update(next=7),
    "'more' was unexpected": lambda it: _example_of(it).update(more=1),
    "anyOf of one": lambda it: it["components"]["schemas"]["Record"]["properties"].update(more={"anyOf": [{"type": "string"}]}),
    "the body has no description": lambda it: it["paths"]["/v1/match"]["post"]["requestBody"].pop("description"),
    "the body as application/json has no example": lambda it: it["paths"]["/v1/match"]["post"]["requestBody"]["content"][
        "application/json"
    ].pop("example"),
    "schemas Idle is unused": lambda it: it["components"]["schemas"].update(Idle={"type": "string", "description": "idle"}),
    "leads nowhere": lambda it: it["components"]["schemas"].pop("Record"),
    "examples not-found has no description": lambda it: it["components"]["examples"]["not-found"].pop("summary"),
    "schema Record has no description": lambda it: it["components"]["schemas"]["Record"].pop("description"),
    "security scheme idle is unused": lambda it: it["components"]["securitySchemes"].update(idle={"type": "http", "description": "x"}),
    "nullable is of version 3.0": lambda it: it["components"]["schemas"]["Record"]["properties"]["id"].update(nullable=True),
    "a schema of version 3.1 has examples": lambda it: it["components"]["schemas"]["Record"]["properties"]["id"].update(example="x"),
    "required and unknown": lambda it: it["components"]["schemas"]["Record"]["required"].append("more"),
    "an array of what?": lambda it: it["components"]["schemas"]["Record"]["properties"].update(more={"type": "array"}),
    "minLength of no string": lambda it: it["components"]["schemas"]["Record"]["properties"].update(
        more={"type": "integer", "minLength": 1}
    ),
    "minLength above maxLength": lambda it: _record(it)["parameters"][0]["schema"].update(minLength=500),
    "a value that is none": lambda it: _record(it)["parameters"][0]["schema"].update(default=3),
}  # fmt: skip


@pytest.mark.parametrize("told", FAULTS)
def test_the_linter_sees(told: str) -> None:
    """Each fault, put into the document, is told by its name."""
    document: Document = json.loads(openapi_document())
    FAULTS[told](document)
    assert any(told in one for one in findings(document))


def test_every_example_may_be_sent(sqlite_server: Server) -> None:
    """The example of each parameter, alone beside what its path requires, is never refused as unreadable."""
    document = sqlite_server.get("/openapi.json").json()
    sent = 0
    for path, item in document["paths"].items():
        if "get" not in item or path == "/v1/changes/stream":
            continue
        parameters = item["get"]["parameters"]
        needed = {each["name"]: each["example"] for each in parameters if each.get("required")}
        place = path.format_map(needed)
        query = {each["name"]: each["example"] for each in parameters if each.get("required") and each["in"] == "query"}
        for each in [one for one in parameters if "example" in one and one["in"] != "path"]:
            at_query = query | ({each["name"]: each["example"]} if each["in"] == "query" else {})
            headers = {each["name"]: each["example"]} if each["in"] == "header" else {}
            answer = sqlite_server.client.get(place, params=at_query, headers=headers)
            sent += 1
            assert answer.status_code in (200, 404, 410) or place.startswith("/v1/reviews"), (place, each["name"], answer.text)
    assert sent > 100
