"""Documents that change with the policy in force at most: OpenAPI as JSON and YAML, and its page for people.

Rules: made once, when first asked for, a fifth of a second that no start waits for; pages are complete HTML without script, from our
own host only, under a strict content policy. This room must not read the store.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from html import escape
from importlib import resources
from typing import Any, Final

from litestar.handlers import HTTPRouteHandler

from gateway.web import openapi
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

    @cached_property
    def page(self) -> bytes:
        """The same for people."""
        return _api_page(self._base)

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


def _html(title: str, body: str, *, language: str = "zh-CN") -> bytes:
    return (
        f'<!doctype html>\n<html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="{STYLE_PATH}"></head>\n<body>{body}</body></html>\n'
    ).encode()


def _shape(schema: Mapping[str, Any]) -> str:
    """A schema in one phrase."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f'<a href="#schema-{escape(name)}"><code>{escape(name)}</code></a>'
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    if "enum" in schema:
        return " ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " | ".join(_shape(part) for part in schema[union])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"[{_shape(schema.get('items', {}))}]"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"{{…: {_shape(schema['additionalProperties'])}}}"
    bounds = [
        f"{word} {schema[key]}"
        for key, word in (("minimum", "≥"), ("maximum", "≤"), ("maxLength", "≤ 字符"), ("format", ""))
        if key in schema
    ]
    return escape(" ".join([kind, *bounds]))


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(each['in'])}{' · 必填' if each['required'] else ''}</td>"
        f"<td>{_shape(each['schema'])}</td><td>{escape(each['description'])}</td></tr>"
        for each in operation["parameters"]
    )
    table = (
        f"<table><thead><tr><th>参数</th><th>位置</th><th>取值</th><th>说明</th></tr></thead><tbody>{rows}</tbody></table>" if rows else ""
    )
    responses = operation["responses"]
    content = next(responses[status] for status in ("200", "201", "202") if status in responses)["content"]
    answers = "".join(f"<li><code>{escape(media)}</code>: {_shape(shown['schema'])}</li>" for media, shown in content.items())
    example = next((shown["example"] for shown in content.values() if "example" in shown), None)
    shown = (
        f"<pre><code>{escape(openapi.encoded(example).decode() if isinstance(example, Mapping) else str(example))}</code></pre>"
        if example
        else ""
    )
    problems = ", ".join(
        f'<a href="/problems/{escape(code)}"><code>{escape(code)}</code></a>'
        for status, response in operation["responses"].items()
        if int(status) >= 400 and "application/problem+json" in response["content"]
        for code in response["description"].split(", ")
    )
    extra = (
        "<p>还可用数据集字典中可筛选的字段：<code>字段=值</code>、<code>字段__gte=值</code> 等。</p>"
        if operation.get("x-open-filters")
        else ""
    )
    return (
        f'<section id="{escape(operation["operationId"])}">'
        f'<h3><span class="method">{method.upper()}</span> <code>{escape(path)}</code></h3>'
        f'<p>{escape(operation["summary"])}</p><p lang="en">{escape(operation["description"])}</p>'
        f"{table}{extra}<h4>回答</h4><ul>{answers}</ul>{shown}"
        f"<details><summary>可能的错误</summary><p>{problems}</p></details></section>"
    )


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(key)}</code></td><td>{'必有' if key in required else '可缺'}</td><td>{_shape(inner)}</td></tr>"
        for key, inner in schema.get("properties", {}).items()
    )
    about = escape(str(schema.get("description", "")))
    table = f"<table><tbody>{rows}</tbody></table>"
    return f'<section id="schema-{escape(name)}"><h3><code>{escape(name)}</code></h3><p lang="en">{about}</p>{table}</section>'


def _api_page(value: Mapping[str, Any]) -> bytes:
    groups: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {tag["name"]: [] for tag in value["tags"]}
    for path, item in value["paths"].items():
        for method, each in item.items():
            groups[each["tags"][0]].append((path, method, each))
    menu = "".join(
        f"<li>{escape(tag)}<ul>"
        + "".join(f'<li><a href="#{escape(each["operationId"])}">{escape(each["summary"])}</a></li>' for _, _, each in operations)
        + "</ul></li>"
        for tag, operations in groups.items()
        if operations
    )
    body = "".join(
        f"<h2>{escape(tag)}</h2>" + "".join(_operation(path, method, each) for path, method, each in operations)
        for tag, operations in groups.items()
        if operations
    )
    schemas = "".join(_schema(name, schema) for name, schema in value["components"]["schemas"].items())
    info = value["info"]
    head = (
        f"<header><h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1><p>{escape(info['description'])}</p>"
        '<p><a href="/openapi.json">openapi.json</a> · <a href="/openapi.yaml">openapi.yaml</a> · '
        '<a href="/v1/problems">错误代码</a></p></header>'
    )
    return _html(info["title"], f'{head}<nav aria-label="目录"><ul>{menu}</ul></nav><main>{body}<h2>数据结构</h2>{schemas}</main>')
