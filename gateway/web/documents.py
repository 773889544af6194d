"""Documents that change with the policy in force at most: OpenAPI as JSON and YAML, and its page for people.

Rules: made once, when first asked for, a fifth of a second that no start waits for; pages are complete HTML without script, from our
own host only, under a strict content policy. This room must not read the store.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from html import escape
from importlib import resources
from typing import Any, Final

from litestar.handlers import HTTPRouteHandler

from gateway.web import openapi
from gateway.web.negotiation import Language
from gateway.web.pages import STYLE_PATH

REMEMBERED: Final = 32
"""Documents of callers that a process keeps."""
CONTENT_POLICY: Final = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class Documents:
    """The fixed documents of one process."""

    def __init__(self, handlers: Iterable[HTTPRouteHandler], contact: str | None = None) -> None:
        self._handlers = tuple(handlers)
        self._contact = contact
        self._by_plans: dict[tuple[str, str, tuple[str, ...]], tuple[bytes, bytes]] = {}
        self._beyond: dict[tuple[str, ...], dict[str, Any]] = {}
        self._pages: dict[Language, bytes] = {}

    @cached_property
    def _base(self) -> dict[str, Any]:
        return openapi.document(self._handlers, contact=self._contact)

    @cached_property
    def json(self) -> bytes:
        """The API document of nobody in particular."""
        return openapi.encoded(self._base)

    @cached_property
    def yaml(self) -> bytes:
        """The same as YAML."""
        return openapi.as_yaml(self._base)

    def page(self, language: Language) -> bytes:
        """The same for people, in their language."""
        if language not in self._pages:
            self._pages[language] = _api_page(self._base, language)
        return self._pages[language]

    @cached_property
    def style(self) -> bytes:
        """The style of every page."""
        return (resources.files("gateway.web") / "static" / "style.css").read_bytes()

    def under(
        self, plans: str, language: str, schemas: Mapping[str, Mapping[str, Any]], beyond: tuple[str, ...] = ()
    ) -> tuple[bytes, bytes]:
        """The API document of a caller under these plans, as JSON and as YAML; made once a plan set.

        `beyond`: operations in it that stand in no document of everybody's.
        """
        key = (plans, language, beyond)
        made = self._by_plans.get(key)
        if made is None:
            if beyond and beyond not in self._beyond:
                self._beyond[beyond] = openapi.document(self._handlers, beyond, self._contact)
            value = openapi.specialised(self._beyond[beyond] if beyond else self._base, schemas)
            made = openapi.encoded(value), openapi.as_yaml(value)
            if len(self._by_plans) >= REMEMBERED:
                self._by_plans.clear()
            self._by_plans[key] = made
        return made


_WORDS: Final[Mapping[Language, Mapping[str, str]]] = {
    "zh-CN": {
        "problems": "错误代码", "menu": "目录", "schemas": "数据结构", "parameter": "参数", "place": "位置", "value": "取值",
        "about": "说明", "required": "必填", "always": "必有", "may": "可缺", "body": "请求正文", "answer": "回答", "errors": "可能的错误",
        "length": "至多 {} 个字符", "english": ' lang="en"',
        "open": "还可用数据集字典中可筛选的字段：<code>字段=值</code>、<code>字段__gte=值</code> 等。",
    },
    "en": {
        "problems": "Problem codes", "menu": "Contents", "schemas": "Schemas", "parameter": "Parameter", "place": "Place", "value": "Value",
        "about": "Meaning", "required": "required", "always": "always", "may": "may be absent", "body": "Request body", "answer": "Answer",
        "errors": "Possible problems", "length": "at most {} characters", "english": "",
        "open": "Fields that the dictionary calls filterable are sent alike: <code>field=value</code>, <code>field__gte=value</code>.",
    },
}  # fmt: skip
"""What the page of the API says itself; titles and descriptions stand in the document."""
_QUOTED: Final = re.compile("`([^`]+)`")
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def _html(title: str, body: str, language: Language) -> bytes:
    return (
        f'<!doctype html>\n<html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="{STYLE_PATH}"></head>\n<body>{body}</body></html>\n'
    ).encode()


def _title(operation: Mapping[str, Any], language: Language) -> str:
    """What an operation is called: its Chinese title, or its name in English words."""
    if language == "en":
        return _HUMP.sub(" ", str(operation["operationId"])).capitalize()
    return str(operation["summary"])


def _words(text: str, language: Language) -> str:
    """A description as the page shows it: of one in Chinese and then in English the reader's half, what stands in backticks as code."""
    chinese, stop, english = text.rpartition("。")
    if stop and english.strip():
        text = english.strip() if language == "en" else chinese + stop
    return _QUOTED.sub(r"<code>\1</code>", escape(text))


def _shape(schema: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """A schema in one phrase."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f'<a href="#schema-{escape(name)}"><code>{escape(name)}</code></a>'
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    if "enum" in schema:
        return " ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema and "properties" not in schema:
            return " | ".join(_shape(part, words) for part in schema[union])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"[{_shape(schema.get('items', {}), words)}]"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"{{…: {_shape(schema['additionalProperties'], words)}}}"
    told = (("minimum", "≥ {}"), ("maximum", "≤ {}"), ("maxLength", words["length"]), ("format", "{}"))
    return escape(" · ".join([kind, *(word.format(schema[key]) for key, word in told if key in schema)]))


def _members(schema: Mapping[str, Any], words: Mapping[str, str], given: str, absent: str) -> str:
    """The members of an object as a table; nothing for any other schema."""
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(key)}</code></td><td>{words[given if key in required else absent]}</td><td>{_shape(inner, words)}"
        f"{' ' + escape(inner['description']) if 'description' in inner else ''}</td></tr>"
        for key, inner in schema.get("properties", {}).items()
    )
    return f"<table><tbody>{rows}</tbody></table>" if rows else ""


def _example(content: Mapping[str, Mapping[str, Any]]) -> str:
    """The first example of what is sent or answered."""
    example = next((shown["example"] for shown in content.values() if "example" in shown), None)
    if not example:
        return ""
    text = openapi.encoded(example).decode() if isinstance(example, Mapping) else str(example)
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'


def _sent(operation: Mapping[str, Any], language: Language) -> str:
    """What is to be sent with an operation: types, members of a form, an example."""
    words = _WORDS[language]
    if "requestBody" not in operation:
        return ""
    content = operation["requestBody"]["content"]
    kinds = "".join(
        f"<li><code>{escape(media)}</code>: {_shape(shown['schema'], words)}{_members(shown['schema'], words, 'required', 'may')}</li>"
        for media, shown in content.items()
    )
    return (
        f"<h4>{words['body']}</h4><p>{_words(operation['requestBody']['description'], language)}</p><ul>{kinds}</ul>{_example(content)}"
    )


def _operation(path: str, method: str, operation: Mapping[str, Any], language: Language) -> str:
    words = _WORDS[language]
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code></td>"
        f"<td>{escape(each['in'])}{' · ' + words['required'] if each['required'] else ''}</td>"
        f"<td>{_shape(each['schema'], words)}</td><td>{_words(each['description'], language)}</td></tr>"
        for each in operation["parameters"]
    )
    heads = "".join(f"<th>{words[key]}</th>" for key in ("parameter", "place", "value", "about"))
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>" if rows else ""
    responses = operation["responses"]
    content = next(responses[status] for status in ("200", "201", "202") if status in responses)["content"]
    answers = "".join(f"<li><code>{escape(media)}</code>: {_shape(shown['schema'], words)}</li>" for media, shown in content.items())
    problems = ", ".join(
        f'<a href="/problems/{escape(code)}"><code>{escape(code)}</code></a>'
        for status, response in operation["responses"].items()
        if int(status) >= 400 and "application/problem+json" in response["content"]
        for code in response["description"].split(", ")
    )
    extra = f"<p>{words['open']}</p>" if operation.get("x-open-filters") else ""
    return (
        f'<section id="{escape(operation["operationId"])}">'
        f'<h3><span class="method">{method.upper()}</span> <code>{escape(path)}</code></h3>'
        f'<p>{escape(_title(operation, language))}</p><p{words["english"]}>{_words(operation["description"], language)}</p>'
        f"{table}{extra}{_sent(operation, language)}<h4>{words['answer']}</h4><ul>{answers}</ul>{_example(content)}"
        f"<details><summary>{words['errors']}</summary><p>{problems}</p></details></section>"
    )


def _schema(name: str, schema: Mapping[str, Any], language: Language) -> str:
    words = _WORDS[language]
    about = _words(str(schema.get("description", "")), language)
    table = _members(schema, words, "always", "may")
    return f'<section id="schema-{escape(name)}"><h3><code>{escape(name)}</code></h3><p{words["english"]}>{about}</p>{table}</section>'


def _api_page(value: Mapping[str, Any], language: Language) -> bytes:
    words = _WORDS[language]
    groups: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {tag["name"]: [] for tag in value["tags"]}
    named = {tag["name"]: str(tag["description"] if language == "en" else tag["name"]) for tag in value["tags"]}
    for path, item in value["paths"].items():
        for method, each in item.items():
            groups[each["tags"][0]].append((path, method, each))
    menu = "".join(
        f"<li>{escape(named[tag])}<ul>"
        + "".join(f'<li><a href="#{escape(each["operationId"])}">{escape(_title(each, language))}</a></li>' for _, _, each in operations)
        + "</ul></li>"
        for tag, operations in groups.items()
        if operations
    )
    body = "".join(
        f"<h2>{escape(named[tag])}</h2>" + "".join(_operation(path, method, each, language) for path, method, each in operations)
        for tag, operations in groups.items()
        if operations
    )
    schemas = "".join(_schema(name, schema, language) for name, schema in value["components"]["schemas"].items())
    info = value["info"]
    head = (
        f"<header><h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1><p>{_words(info['description'], language)}</p>"
        '<p><a href="/openapi.json">openapi.json</a> · <a href="/openapi.yaml">openapi.yaml</a> · '
        f'<a href="/v1/problems">{words["problems"]}</a></p></header>'
    )
    page = f'{head}<nav aria-label="{words["menu"]}"><ul>{menu}</ul></nav><main>{body}<h2>{words["schemas"]}</h2>{schemas}</main>'
    return _html(info["title"], page, language)
