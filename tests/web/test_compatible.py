"""`/v1` only grows (api.md §9): the API document against the last released one, by a comparison that is shown to see what breaks."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.app import openapi_document

RELEASED = Path(__file__).resolve().parents[2] / "openapi" / "released.json"
"""The document of the last release, written by `make release-openapi`; there is none before the first (see `openapi/README.md`)."""
Document = dict[str, Any]


def breaking(old: Document, new: Document) -> Iterator[str]:
    """What a client of the old document would miss in the new one."""
    for path, item in old["paths"].items():
        for method, before in item.items():
            after = new["paths"].get(path, {}).get(method)
            if after is None:
                yield f"{method} {path} is gone"
            else:
                yield from _operation(f"{method} {path}", before, after)
    for name, shape in old["components"]["schemas"].items():
        now = new["components"]["schemas"].get(name)
        if now is None:
            yield f"schema {name} is gone"
        else:
            yield from _shape(f"schema {name}", shape, now)


def _operation(where: str, old: Document, new: Document) -> Iterator[str]:
    if old["operationId"] != new["operationId"]:
        yield f"{where}: another operationId"
    before = {(each["name"], each["in"]): each for each in old["parameters"]}
    after = {(each["name"], each["in"]): each for each in new["parameters"]}
    for key in before.keys() - after.keys():
        yield f"{where}: parameter {key[0]} is gone"
    for key, parameter in after.items():
        if parameter["required"] and not before.get(key, {}).get("required"):
            yield f"{where}: parameter {key[0]} is required now"
        if key in before:
            yield from _taken(f"{where}: parameter {key[0]}", before[key]["schema"], parameter["schema"])
    for status in old["responses"].keys() - new["responses"].keys():
        if status.startswith("2"):
            yield f"{where}: {status} is gone"
    for status, answer in new["responses"].items():
        for media in old["responses"].get(status, {}).get("content", {}).keys() - answer.get("content", {}).keys():
            yield f"{where}: {status} {media} is gone"
    if "requestBody" in new and "requestBody" not in old:
        yield f"{where}: takes a body now"
    for media in old.get("requestBody", {}).get("content", {}).keys() - new.get("requestBody", {}).get("content", {}).keys():
        yield f"{where}: takes no {media} any more"


def _taken(where: str, old: Document, new: Document) -> Iterator[str]:
    """What a caller sends may only become more."""
    if set(old.get("enum", ())) - set(new.get("enum", old.get("enum", ()))):
        yield f"{where} takes a value less"
    if "enum" in new and "enum" not in old:
        yield f"{where} takes only some values now"
    for bound, sign in (("maximum", 1), ("maxLength", 1), ("minimum", -1), ("minLength", -1)):
        if bound in new and (bound not in old or (new[bound] - old[bound]) * sign < 0):
            yield f"{where} is narrower"
    if old.get("type") != new.get("type"):
        yield f"{where} is of another type"


def _shape(where: str, old: Document, new: Document) -> Iterator[str]:
    """What a caller gets keeps its members."""
    if old.get("type") != new.get("type"):
        yield f"{where} is of another type"
    for name, inner in old.get("properties", {}).items():
        now = new.get("properties", {}).get(name)
        if now is None:
            yield f"{where}.{name} is gone"
        else:
            yield from _shape(f"{where}.{name}", inner, now)
    for name in set(old.get("required", ())) - set(new.get("required", ())):
        yield f"{where}.{name} may be absent now"
    if isinstance(old.get("items"), dict) and isinstance(new.get("items"), dict):
        yield from _shape(f"{where}[]", old["items"], new["items"])


def test_nothing_that_was_released_is_gone() -> None:
    """Everything of the last released document still stands; before the first release there is nothing to keep."""
    now = json.loads(openapi_document())
    before = json.loads(RELEASED.read_bytes()) if RELEASED.exists() else now
    assert list(breaking(before, now)) == []


def test_a_release_has_its_document() -> None:
    """Once the changelog dates a version, the document of that release, or of a later one, is kept beside ours."""
    changelog = (RELEASED.parents[1] / "CHANGELOG.md").read_text(encoding="utf-8")
    dated = re.findall(r"^## ([0-9.]+) \(20", changelog, re.MULTILINE)
    assert re.findall(r"^## ", changelog, re.MULTILINE)
    assert RELEASED.exists() == bool(dated)
    if dated:
        assert json.loads(RELEASED.read_bytes())["info"]["version"] == dated[0]


def _without_path(document: Document) -> None:
    del document["paths"]["/v1/records"]


def _without_format(document: Document) -> None:
    del document["paths"]["/v1/records"]["get"]["responses"]["200"]["content"]["text/csv"]


def _without_parameter(document: Document) -> None:
    document["paths"]["/v1/records"]["get"]["parameters"].pop(0)


def _with_a_demand(document: Document) -> None:
    document["paths"]["/v1/records"]["get"]["parameters"].append(
        {"name": "new", "in": "query", "required": True, "schema": {"type": "string"}}
    )


def _narrower(document: Document) -> None:
    for each in document["paths"]["/v1/changes"]["get"]["parameters"]:
        each["schema"].update({"maximum": 3} if "maximum" in each["schema"] else {})


def _without_member(document: Document) -> None:
    del document["components"]["schemas"]["Record"]["properties"]["marks"]


def _uncertain(document: Document) -> None:
    document["components"]["schemas"]["Record"]["required"].remove("id")


def _without_shape(document: Document) -> None:
    del document["components"]["schemas"]["Problem"]


def _another_type(document: Document) -> None:
    document["components"]["schemas"]["Record"]["properties"]["id"]["type"] = "integer"


@pytest.mark.parametrize(
    "change",
    [
        _without_path, _without_format, _without_parameter, _with_a_demand, _narrower, _without_member, _uncertain, _without_shape,
        _another_type,
    ],
)  # fmt: skip
def test_the_comparison_sees_what_breaks(change: Callable[[Document], None]) -> None:
    """A path, format, parameter, bound, member or shape less, or a demand more: each is seen."""
    old = json.loads(openapi_document())
    new = copy.deepcopy(old)
    change(new)
    assert list(breaking(old, new))
    if change is not _narrower and change is not _another_type:
        additive = copy.deepcopy(old)
        additive["paths"]["/v1/new"] = additive["paths"]["/v1/lists"]
        assert list(breaking(old, additive)) == []
