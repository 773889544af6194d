"""A question asked inside another request: a GET of a data path by its URL, for the same caller or as the public.

Rules: only paths that are named here, by their own handlers, with every check that a request from outside passes; the caller is given,
never read again from header fields, and what it costs beyond a request is paid by the request it is asked in. It is asked in JSON, in
whole pages that stand for themselves: no export, no cursor, no stream.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, cast
from urllib.parse import unquote_to_bytes, urlsplit

from litestar import Request
from litestar.handlers import HTTPRouteHandler

from gateway.core.callers.caller import Caller
from gateway.core.errors import BodyInvalid, ErrorItem
from gateway.web.api import lists, records, subjects
from gateway.web.asgi import Scope
from gateway.web.describe import AnyRequest
from gateway.web.edge import check_target
from gateway.web.negotiation import JSON, Language
from gateway.web.parameters import read_query
from gateway.web.replies import Reply

HANDLERS: Final[tuple[HTTPRouteHandler, ...]] = (
    subjects.search,
    subjects.one,
    subjects.records,
    subjects.timeline,
    *records.HANDLERS,
    lists.lists,
    lists.one,
    lists.listings,
)
"""Paths that name subjects, records or lists."""
MAX_URL: Final = 2000
_REFUSED: Final = frozenset({"cursor"})


def _ways(handlers: Sequence[HTTPRouteHandler]) -> list[tuple[re.Pattern[str], HTTPRouteHandler]]:
    found = []
    for handler in handlers:
        template: str = handler.opt["template"]
        pieces = (
            f"(?P<{piece[1:].partition(':')[0]}>[^/.]+)" if piece.startswith("{") else re.escape(piece) for piece in template.split("/")[1:]
        )
        found.append((re.compile("/" + "/".join(pieces)), handler))
    return found


_WAYS: Final = _ways(HANDLERS)


def _invalid(detail: str) -> BodyInvalid:
    return BodyInvalid(detail, errors=(ErrorItem("format", detail, pointer="/url"),))


async def ask(request: AnyRequest, url: str, caller: Caller, language: Language) -> Reply:
    """The answer to a relative URL of this host, whole; of a path that is not asked here, or in a way that is not, there is none.

    Raises BodyInvalid, and whatever the path itself raises.
    """
    if len(url) > MAX_URL or not url.startswith("/v1/") or not url.isascii() or "#" in url or "\\" in url:
        raise _invalid("应为本机的相对网址，以 /v1/ 开头，汉字等用百分号编码，没有 # 部分")
    split = urlsplit(url)
    scope = _inner(request, split.path.encode(), split.query.encode(), caller, language)
    check_target(scope)
    found = next(((match, handler) for pattern, handler in _WAYS if (match := pattern.fullmatch(scope["path"]))), None)
    if found is None:
        raise _invalid("此网址不能出具回执；可以是主体、记录、名单的 JSON 查询")
    values = read_query(scope["query_string"])
    if values.get("limit") == "all" or not _REFUSED.isdisjoint(values):
        raise _invalid("回执只针对一页，不能是导出或者游标")
    match, handler = found
    inner: Request[Any, Any, Any] = Request(cast(Any, scope), cast(Any, request.receive), cast(Any, request.send))
    reply: Reply = await cast(Any, handler.fn)(request=inner, **match.groupdict())
    return reply


def _inner(request: AnyRequest, raw_path: bytes, query: bytes, caller: Caller, language: Language) -> Scope:
    outer = cast(Scope, request.scope)
    state = {**outer["state"], "caller": caller}
    return {
        **outer,
        "method": "GET",
        "path": unquote_to_bytes(raw_path).decode("utf-8", "surrogateescape"),
        "raw_path": raw_path,
        "query_string": query,
        "headers": [
            *(field for field in outer["headers"] if field[0] == b"host"),  # without it this would be no request of HTTP/1.1
            (b"accept", JSON.encode()),
            (b"accept-language", language.encode()),
        ],
        "state": state,
    }
