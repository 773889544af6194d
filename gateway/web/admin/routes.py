"""Every operation of the administrators' API, and its OpenAPI document.

To add one: write `gateway/web/admin/<room>.py` with handlers `async def name(act: Act) -> object` that call one story each with
`by=act.by`, and a tuple `ROUTES` of `Route`; name it here. It says what the command says, word for word
(`tests/web/test_admin_mirror.py`). The story checks the role, the desk everything before it; the answer is encoded as JSON, errors become
problems by their code (`application.STATUS` where it is not 422).
"""

from typing import Any

import msgspec

from gateway import __version__
from gateway.core.callers.administrators import ROLES
from gateway.web.admin import admins, agreements, audits, custody, doors, exchanges, lines, policy, retention
from gateway.web.admin.desk import Act, Route


async def describe(_: Act) -> object:
    """The OpenAPI document of this API."""
    return document()


_OWN = Route(method="GET", path="/admin/v1/openapi.json", command="openapi", summary="This description", handler=describe, roles=ROLES)
ROUTES: tuple[Route, ...] = (
    *policy.ROUTES, *admins.ROUTES, *doors.ROUTES, *audits.ROUTES, *custody.ROUTES, *exchanges.ROUTES, *lines.ROUTES,
    *agreements.ROUTES, *retention.ROUTES, _OWN,
)  # fmt: skip


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document of the administrators' API."""
    types = [each for route in ROUTES for each in (route.takes, route.gives) if each is not None]
    schemas, components = msgspec.json.schema_components(
        types, schema_hook=lambda _: {"description": "any value"}, ref_template="#/components/schemas/{name}"
    )
    shapes = iter(schemas)
    paths: dict[str, Any] = {}
    for route in ROUTES:
        takes = None if route.takes is None else next(shapes)
        gives: Any = {} if route.gives is None else next(shapes)
        operation: dict[str, Any] = {
            "operationId": route.handler.__module__.rpartition(".")[2] + "_" + getattr(route.handler, "__name__", "handler"),
            "summary": route.summary,
            "description": f"Mirrors `chengxin {route.command}`.",
            "parameters": [
                *(
                    {"name": piece[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}
                    for piece in route.path.split("/")
                    if piece.startswith("{")
                ),
                *({"name": name, "in": "query", "required": False, "schema": {"type": "string"}} for name in route.query),
            ],
            "responses": {
                "200": {"description": route.summary, "content": {route.media_type: {"schema": gives}}},
                "default": {"description": "a problem (RFC 9457)", "content": {"application/problem+json": {"schema": {"type": "object"}}}},
            },
        }
        if takes is not None:
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": takes}}}
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "诚信网关 管理接口",
            "version": __version__,
            "description": "Every request is signed by RFC 9421 with the administrator's enrolled Ed25519 key, tag `cx-admin`; "
            "an enrolment with the key that it brings.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": dict(sorted(components.items()))},
    }
