"""Our witness for partners' logs (c2sp.org/tlog-witness), at `/witness` and `/x/v1/witness`.

Rules: what is asked is believed by the log's own signature; bodies are bounded before they are read. This room must not judge a head.
"""

import re
from typing import Final

from litestar import Router, get, post
from litestar.params import FromPath

from gateway.core.errors import NotFound
from gateway.core.transparency.witnessing import MAX_REQUEST, WitnessRefused
from gateway.operations import witness_log
from gateway.web.describe import AnyRequest
from gateway.web.house import house_of
from gateway.web.replies import NO_STORE, Reply

_HASH: Final = re.compile(r"[0-9a-f]{64}\Z")
_TEXT: Final = b"text/plain; charset=utf-8"
_SIZE: Final = b"text/x.tlog.size"


@post("/add-checkpoint", include_in_schema=False, request_max_body_size=MAX_REQUEST + 1)
async def add_checkpoint(request: AnyRequest) -> Reply:
    """Our cosignature over a head that continues the one signed before; else why not."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
    try:
        line = await witness_log.add_checkpoint(house_of(request).services, bytes(body))
    except WitnessRefused as refused:
        if refused.size is not None:
            return Reply(refused.status, [(b"content-type", _SIZE), NO_STORE], b"%d\n" % refused.size)
        return Reply(refused.status, [(b"content-type", _TEXT), NO_STORE], f"{refused.said}\n".encode())
    return Reply(200, [(b"content-type", _TEXT), NO_STORE], line.encode())


@get("/{digest:str}/checkpoint", include_in_schema=False)
async def latest(request: AnyRequest, digest: FromPath[str]) -> Reply:
    """The newest head of a log that we signed, by the SHA-256 of its origin."""
    note = await witness_log.latest(house_of(request).services, digest) if _HASH.match(digest) else None
    if note is None:
        raise NotFound
    return Reply(200, [(b"content-type", _TEXT), (b"cache-control", b"no-cache")], note.encode())


ROUTERS: Final = tuple(Router(path=path, route_handlers=[add_checkpoint, latest]) for path in ("/witness", "/x/v1/witness"))
