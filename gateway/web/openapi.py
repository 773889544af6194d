"""The OpenAPI 3.1 document, made from what stands beside the handlers (`describe.py`) and from msgspec's own schemas.

Rules: two processes of one version give the same bytes, so the committed `openapi/gateway.json` is compared with them; nothing
of a setting stands in it. This room must not import a handler: it is given them.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec
from litestar.handlers import HTTPRouteHandler

from gateway import __version__
from gateway.core.publication.flat import cell, flatten
from gateway.web.describe import SUFFIXES, TABLE_MEDIA, Described, Parameter, Schema
from gateway.web.negotiation import CSV, JSON, MSGPACK, NDJSON, PARQUET, PROBLEM, XLSX
from gateway.web.problems import KINDS, Problem, ProblemKind

COMMON_PROBLEMS: Final = (
    "bad-request",
    "unknown-parameter",
    "repeated-parameter",
    "credentials-invalid",
    "not-permitted",
    "not-found",
    "not-acceptable",
    "uri-too-long",
    "quota-exceeded",
    "headers-too-large",
    "internal",
    "unavailable",
    "no-active-policy",
    "policy-expired",
    "overloaded",
)
"""What every described path may answer."""

WRITE_PROBLEMS: Final = ("precondition-failed",)
FORM_PROBLEMS: Final = ("uri-too-long", "quota-exceeded", "headers-too-large", "internal", "unavailable")
"""What a path for apps may answer beside RFC 6749's errors."""

_OAUTH_ERROR: Final[Mapping[str, Any]] = {
    "description": "invalid_client, invalid_request, invalid_dpop_proof, use_dpop_nonce …",
    "headers": {"DPoP-Nonce": {"description": "下一个证明要带的 nonce: what the next proof must bear", "schema": {"type": "string"}}},
    "content": {
        JSON: {
            "schema": {
                "type": "object",
                "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
                "required": ["error"],
            },
            "example": {"error": "invalid_client"},
        }
    },
}
_SPARSE: Final = "SparseRow"
_FORM: Final = "application/x-www-form-urlencoded"
_MULTIPART: Final = "multipart/form-data"
_CSV_WORDS: Final = (
    "RFC 4180, UTF-8, CRLF, one header line; an empty cell is null. A reader that guesses types takes codes for numbers: "
    "with pandas, read_csv(url, dtype=str, keep_default_na=False, na_values=['']) keeps every value as it is; Parquet has types."
)
_BINARY: Final[Mapping[str, str]] = {
    XLSX: "One sheet, one header line: codes are text cells, dates dates, decimals numbers up to 15 digits.",
    PARQUET: "zstd; date32, timestamp UTC, decimal128, int64, bool and string as the dictionary says; versions in the file's metadata.",
    MSGPACK: "The JSON value in MessagePack, with the same keys.",
}
_REFERENCE: Final = "#/components/schemas/{name}"
_HEADERS: Final[Mapping[str, tuple[str, str]]] = {
    "ETag": ("弱校验值", 'W/"…", a keyed hash of state, day, plan, query, format and language'),
    "Policy-Version": ("策略版本", "The policy version under which the answer was made"),
    "Policy-Plan": ("策略计划", "Hash of the compiled plans that governed the answer"),
    "Dataset-Version": ("数据版本", "Commit time and change sequence that the answer shows"),
    "Request-Id": ("请求编号", "To be named in questions about this answer"),
    "Link": ("链接", "next, prev, first, canonical (RFC 8288)"),
    "RateLimit-Policy": ("限流规则", 'Quotas and their windows in seconds: "burst";q=60;w=60, "day";q=5000;w=86400'),
    "RateLimit": ("限流余量", 'What is left, and in how many seconds it is whole again: "burst";r=41;t=23, "day";r=4822;t=40210'),
    "Request-Cost": ("本次费用", "What the request has cost of the quotas"),
    "Retry-After": ("多久后再试", "Seconds until one whole request is possible again"),
}
_OF_ANSWERS: Final = tuple(name for name in _HEADERS if name != "Retry-After")
_OF_FORMS: Final = ("Request-Id", "RateLimit-Policy", "RateLimit", "Request-Cost")


def _operations(handlers: Iterable[HTTPRouteHandler], beyond: Collection[str]) -> list[tuple[str, Described]]:
    found: dict[tuple[str, str], Described] = {
        (handler.opt["template"], described.method): described
        for handler in handlers
        if isinstance(described := handler.opt.get("described"), Described)
        and (described.public or described.operation_id in beyond)
    }
    return [(_plain(template), described) for (template, _), described in sorted(found.items(), key=lambda each: each[0])]


def _plain(template: str) -> str:
    """`/v1/records/{record:str}` as OpenAPI writes it."""
    return "/".join(piece.split(":")[0] + "}" if piece.startswith("{") and ":" in piece else piece for piece in template.split("/"))


def _parameter(parameter: Parameter) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.text,
        "required": parameter.required or parameter.where == "path",
        "schema": dict(parameter.schema),
    }
    example = _example(parameter)
    if example is not None:
        shown["example"] = example
    return shown


def _example(parameter: Parameter) -> str | int | None:
    """What may be sent, as a value of the parameter's schema: as it is told, else the default, else the first of a closed list."""
    schema = parameter.schema
    if parameter.example is None:
        found: str | int | None = schema.get("default", next(iter(schema.get("enum", ())), None))
        return found
    kinds = {schema.get("type"), *(each.get("type") for each in schema.get("oneOf", ()))}
    return int(parameter.example) if "integer" in kinds and parameter.example.isdecimal() else parameter.example


def _told(described: Described) -> str:
    """What an operation does, and where it has several formats, how one is chosen."""
    return f"{described.description} {_CHOSEN}" if described.media == TABLE_MEDIA else described.description


_CHOSEN: Final = f"The suffixes {' '.join(SUFFIXES)} choose the format, before `Accept`."


def _request_body(described: Described) -> dict[str, Any]:
    """What is sent: a JSON value, a form, or a file."""
    schemas: Mapping[str, Schema] = described.fields
    if described.files:
        schemas = {media: {"type": "string", "format": "binary"} for media in described.files}
    elif described.form is not None:
        schemas = {_FORM: described.form}
    elif described.body is not None:
        schemas = {JSON: {"$ref": _REFERENCE.format(name=described.body.__name__)}}
    if not schemas:
        return {}
    content = {
        media: {"schema": dict(schema), **({} if media in (*_BINARY, _MULTIPART) else {"example": described.sends})}
        for media, schema in schemas.items()
    }
    return {"requestBody": {"description": described.sends_text, "required": True, "content": content}}


def _line_schema(name: str, components: Mapping[str, Any]) -> dict[str, Any]:
    items = components[name]["properties"].get("items", {})
    return dict(items.get("items", {}))


def _content(described: Described, components: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for media in described.media:
        if described.gives is None:
            whole = media == JSON or media.endswith("+json")
            shown = described.examples.get(media, described.example)
            content[media] = {"schema": {"type": "object"} if whole else {"type": "string"}, "example": shown}
        elif media == JSON:
            content[media] = {"schema": {"$ref": _REFERENCE.format(name=described.gives.__name__)}, "example": described.example}
        elif media == NDJSON:
            content[media] = {
                "schema": {
                    "type": "string",
                    "description": "One item a line.",
                    "contentSchema": _line_schema(described.gives.__name__, components),
                    "contentMediaType": JSON,
                },
                "example": "".join(f"{json.dumps(item, ensure_ascii=False)}\n" for item in described.example["items"]),
            }
        elif media == CSV and CSV not in described.examples:
            content[media] = {"schema": {"type": "string", "description": _CSV_WORDS}, "example": _table(described.example["items"])}
        elif media in _BINARY:
            content[media] = {"schema": {"type": "string", "format": "binary", "description": _BINARY[media]}}
        else:
            schema = {"type": "object"} if media.endswith("+json") else {"type": "string"}
            content[media] = {"schema": schema, "example": described.examples[media]}
    return content


def _table(items: Iterable[Mapping[str, Any]]) -> str:
    """The items as CSV tells them."""
    rows = [flatten(item) for item in items]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, *([cell(row.get(name)) for name in columns] for row in rows)]
    return "".join(",".join(each) + "\r\n" for each in lines)


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _responses(described: Described, components: Mapping[str, Any]) -> dict[str, Any]:
    headers = _headers(*(_OF_ANSWERS if described.form is None else _OF_FORMS))
    responses: dict[str, Any] = {
        str(described.status): {"description": described.summary, "headers": headers, "content": _content(described, components)},
        "304": {"description": "与 If-None-Match 相同，没有正文"},
    }
    if described.moves:
        responses[str(described.moves)] = {
            "description": "所指的内容在 Location" if described.moves == 307 else "已由 Location 所指的主体承继",
            "headers": {"Location": {"description": "现在的地址: where it is now", "schema": {"type": "string", "format": "uri"}}},
        }
    if described.form is not None:
        answer = {"description": described.summary, "headers": headers, "content": _content(described, components)}
        responses = {"200": answer, "400": _OAUTH_ERROR, "401": _OAUTH_ERROR}
    by_status: dict[int, list[str]] = {}
    common = FORM_PROBLEMS if described.form is not None else COMMON_PROBLEMS
    for code in (*common, *(() if described.method == "get" else WRITE_PROBLEMS), *described.problems):
        by_status.setdefault(KINDS[code].status, []).append(code)
    for status, codes in sorted(by_status.items()):
        codes = list(dict.fromkeys(codes))
        responses[str(status)] = {
            "description": ", ".join(codes),
            **({"headers": _headers("Retry-After")} if status in (429, 503) else {}),
            "content": {
                PROBLEM: {
                    "schema": {"$ref": _REFERENCE.format(name="Problem")},
                    "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
                }
            },
        }
    return responses


def _problem_example(kind: ProblemKind) -> dict[str, Any]:
    return {
        "type": f"/problems/{kind.code}",
        "title": kind.title["zh-CN"],
        "status": kind.status,
        "code": kind.code,
        "detail": kind.detail["zh-CN"],
        "instance": "urn:request:" + "0" * 32,
        "trace_id": "0" * 32,
    }


def document(handlers: Iterable[HTTPRouteHandler], beyond: Collection[str] = (), contact: str | None = None) -> dict[str, Any]:
    """The document of these handlers, as plain values; `beyond`: operations that stand in no document of everybody's.

    `contact`: a `mailto:` or `https:` address of whoever operates the gateway.
    """
    operations = _operations(handlers, beyond)
    shapes = [shape for _, described in operations for shape in (described.gives, described.body) if shape is not None]
    _, components = msgspec.json.schema_components([*dict.fromkeys(shapes), Problem], ref_template=_REFERENCE)
    for shape in dict.fromkeys(described.gives for _, described in operations if described.items and described.gives is not None):
        rows = components[shape.__name__]["properties"]["items"]
        rows["items"] = {"anyOf": [rows["items"], {"$ref": _REFERENCE.format(name=_SPARSE)}]}
    components[_SPARSE] = {
        "title": _SPARSE,
        "description": "A row as `fields` or `shape=flat` leave it.",
        "type": "object",
        "properties": {"id": {"type": "string"}},
        "additionalProperties": True,
        "required": ["id"],
    }
    paths: dict[str, Any] = {}
    for template, described in operations:
        paths.setdefault(template, {})[described.method] = {
            "operationId": described.operation_id,
            "tags": [described.tag],
            "summary": described.summary,
            "description": _told(described),
            "parameters": [_parameter(parameter) for parameter in described.takes],
            **({} if described.form is None else {"security": [{"assertion": []}]}),
            **_request_body(described),
            "responses": _responses(described, components),
            **({"x-open-filters": True} if described.open_filters else {}),
            **({"deprecated": True} if described.deprecated is not None else {}),
        }
    told = {code for _, described in operations for code in (*COMMON_PROBLEMS, *FORM_PROBLEMS, *WRITE_PROBLEMS, *described.problems)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "诚信网关 Chengxin Gateway",
            "version": __version__,
            "summary": "公共信用信息查询接口",
            "description": (
                "公共信用信息的公开查询、名单与变更接口。Public credit records of a city: subjects, records, lists and changes. "
                "Without a credential everything is answered as for the public; errors are RFC 9457 problems."
            ),
            "contact": {"name": "本市公共信用信息平台 The operator of this gateway", **_address(contact)},
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "security": [{}, {"key": []}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "headers": {name: {"description": f"{zh}: {en}", "schema": {"type": "string"}} for name, (zh, en) in _HEADERS.items()},
            "examples": {
                code: {"summary": kind.title["en"], "value": _problem_example(kind)} for code, kind in KINDS.items() if code in told
            },
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "cxk_live_…",
                    "description": "开发者密钥：只在 Authorization 请求头中。A developer's key: the public view with more quota.",
                },
                "token": {
                    "type": "http",
                    "scheme": "DPoP",
                    "description": (
                        "部门访问令牌：十分钟有效，绑定应用、密钥、数据集与使用目的；每个请求另带 DPoP 证明（RFC 9449）。"
                        "Opaque access token of an app with a DPoP proof for each request; obtained at /oauth/token."
                    ),
                },
                "assertion": {
                    "type": "oauth2",
                    "description": "private_key_jwt (RFC 7523): PS256, ES256, Ed25519; typ client-authentication+jwt.",
                    "flows": {"clientCredentials": {"tokenUrl": "/oauth/token", "scopes": {}}},
                },
            },
        },
    }


def _address(contact: str | None) -> dict[str, str]:
    if contact is None:
        return {}
    mail = contact.removeprefix("mailto:")
    return {"url": contact} if mail == contact else {"email": mail}


def specialised(base: Mapping[str, Any], schemas: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The document as one caller gets it: the fields of records are those that its plans show, and no other is named."""
    components = dict(base["components"]["schemas"])
    names = {dataset: f"Fields.{dataset}" for dataset in schemas}
    for dataset, shape in schemas.items():
        about = {"description": f"`fields` of a record of {dataset}, as your plans show them."}
        kinds = shape["anyOf"]
        told = {key: value for key, value in shape.items() if not key.startswith("$")}
        components[names[dataset]] = about | (told if len(kinds) > 1 else {**kinds[0], "title": shape["title"]})
    alternatives = [{"$ref": _REFERENCE.format(name=name)} for name in names.values()]
    for name in _ENVELOPES:
        if name in components and alternatives:
            properties = {**components[name]["properties"], "fields": {"anyOf": alternatives}}
            components[name] = {**components[name], "properties": properties}
    return {**base, "components": {**base["components"], "schemas": dict(sorted(components.items()))}}


_ENVELOPES: Final = ("Record", "Listing")
"""Shapes whose `fields` a plan decides."""

TAGS: Final[Mapping[str, str]] = {
    "主体": "Subjects: organisations by name, code or id",
    "记录": "Records of every dataset, in one envelope",
    "名单": "Lists and their listings",
    "回执": "Receipts: proof of what was answered when",
    "变更": "Changes in order: what to follow instead of asking again",
    "数据集": "Datasets and their dictionaries",
    "策略": "Policies: who sees what, on what ground, and what changed",
    "校验": "Checks that need no data",
    "接口": "The API itself: root, caller, keys, problems",
    "审核": "Held texts and their reviewers, for departments",
    "报送": "Files of departments and districts",
    "凭证": "Tokens for apps of departments, partners, the province and the PBoC",
}


def encoded(value: Mapping[str, Any]) -> bytes:
    """The document as JSON, the bytes that are served and committed."""
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def as_yaml(value: Any) -> bytes:
    """The same document as YAML 1.2: block maps and lists, every text in double quotes."""
    return ("\n".join(_yaml(value, 0)) + "\n").encode()


def _yaml(value: Any, depth: int) -> list[str]:
    pad = "  " * depth
    if isinstance(value, Mapping) and value:
        lines: list[str] = []
        for key, inner in value.items():
            head = f"{pad}{json.dumps(str(key), ensure_ascii=False)}:"
            lines += [f"{head} {_scalar(inner)}"] if _flat(inner) else [head, *_yaml(inner, depth + 1)]
        return lines
    if isinstance(value, (list, tuple)) and value:
        lines = []
        for inner in value:
            if _flat(inner):
                lines.append(f"{pad}- {_scalar(inner)}")
            else:
                nested = _yaml(inner, depth + 1)
                lines += [f"{pad}- {nested[0].strip()}", *nested[1:]]
        return lines
    return [pad + _scalar(value)]


def _flat(value: Any) -> bool:
    return not (isinstance(value, (Mapping, list, tuple)) and value)


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
