"""Finished answers: header tuples ready for the wire, a body or a stream of chunks, conditional requests, cache times.

Rules: an answer is complete before its first byte, or it is a stream that ends visibly when it fails; a 304 repeats the header
fields of the 200; weak validators are keyed hashes, so that nobody can guess the one of another view. The public lane and the
handlers build their header fields here, and so answer alike. This room must not read the store.
"""

import asyncio
import gzip
import re
import zlib
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Final, Protocol

import zstandard

from gateway.web.asgi import Receive, Scope, Send
from gateway.web.negotiation import EVENTS, PARQUET, XLSX, Coding, coding_of

Header = tuple[bytes, bytes]
Chunks = AsyncIterator[bytes]
"""A body that is made while it is sent; a generator is closed when it is no longer wanted."""

EXPOSED: Final = (
    "Link, ETag, Location, Retry-After, RateLimit, RateLimit-Policy, Request-Cost, Request-Id, Policy-Version, Policy-Plan, "
    "Dataset-Version, Repr-Digest, Content-Disposition, Content-Range, Deprecation, Sunset, Idempotent-Replay, DPoP-Nonce, WWW-Authenticate"
)

COMMON: Final[tuple[Header, ...]] = (
    (b"vary", b"Accept, Accept-Encoding, Accept-Language, Authorization"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", EXPOSED.encode()),
)
"""On every answer, whoever makes it; added by the front door and by the lane."""

NO_STORE: Final[Header] = (b"cache-control", b"no-store")
PRIVATE: Final[Header] = (b"cache-control", b"private, max-age=0, must-revalidate")
NO_INDEX: Final[Header] = (b"x-robots-tag", b"noindex, noarchive")
SAMPLE: Final[Header] = (b"sample-data", b"?1")
"""Of a demo: everything in the answer is invented."""
_NOT_SHARED: Final = b'no-cache="RateLimit, RateLimit-Policy, Request-Cost, Request-Id"'
"""What belongs to one caller is never kept for another (api.md §12.2)."""

MAX_AGE = 60
_SHIFT = timedelta(hours=8)
_DAY_SECONDS = 86_400


def legal_date(now: datetime) -> date:
    """The day in Asia/Shanghai, which has no daylight saving since 1991."""
    return (now + _SHIFT).date()


def _public(seconds: int) -> Header:
    return (b"cache-control", b"public, max-age=%d, must-revalidate, %s" % (seconds, _NOT_SHARED))


_PUBLIC: Final = tuple(_public(seconds) for seconds in range(MAX_AGE + 1))
DOCUMENT_CACHE: Final = _PUBLIC[MAX_AGE]
"""Dictionary, catalogue, OpenAPI: a narrowed policy shows within a minute."""
PROBLEMS_CACHE: Final[Header] = (b"cache-control", b"public, max-age=300, stale-while-revalidate=300, " + _NOT_SHARED)
MOVED_CACHE: Final[Header] = (b"cache-control", b"public, max-age=30, " + _NOT_SHARED)
"""Of a redirect to what is the latest now."""


def public_for(seconds: int) -> Header:
    """`Cache-Control` of an answer that shared caches may keep for some seconds, a minute at most."""
    return _PUBLIC[max(0, min(MAX_AGE, seconds))]


def public_cache(now: datetime) -> Header:
    """`max-age` of an answer that names subjects: a minute, and never past midnight in UTC+8, when periods end."""
    left = _DAY_SECONDS - int(now.timestamp() + _SHIFT.total_seconds()) % _DAY_SECONDS
    return public_for(left)


class Validators:
    """Makes weak entity tags: keyed, short, equal for equal parts."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def tag(self, *parts: object) -> bytes:
        """The ETag of whatever the parts say: state, day, plan, canonical query, format, language."""
        digest = blake2b("\0".join(map(str, parts)).encode(), digest_size=15, key=self._key).digest()
        return b'W/"%s"' % urlsafe_b64encode(digest)


_TAG = re.compile(rb'\s*(?:(\*)|(W/)?("[\x21\x23-\x7e\x80-\xff]*"))\s*(?:,|$)')


def matches(field: bytes, etag: bytes, *, strong: bool = False) -> bool:
    """Whether an `If-None-Match` field names this tag (weak comparison, lists and `*` included); a broken field names none.

    `strong`: whether an `If-Match` field names this strong tag, for which weak ones do not count.
    """
    if field == etag:  # nearly always
        return True
    opaque = etag.removeprefix(b"W/")
    found, at = False, 0
    while at < len(field):
        match = _TAG.match(field, at)
        if match is None:
            return False
        if match[1] is not None:
            return match.start() == 0 and match.end() == len(field)
        found = found or (match[3] == opaque and not (strong and match[2]))
        at = match.end()
    return found


class Reply:
    """One answer as an ASGI application: status, header tuples, and a body or chunks."""

    __slots__ = ("body", "chunks", "headers", "status")

    def __init__(self, status: int, headers: list[Header], body: bytes = b"", chunks: Chunks | None = None) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.chunks = chunks
        if chunks is None and status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it.

        A chunk that cannot be made raises, and the server breaks the connection off: half a file never ends like a whole one. When
        the caller goes away, nothing more is made.
        """
        if self.chunks is None or scope["state"].get("head"):
            await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
            await send({"type": "http.response.body", "body": self.body})
            return
        gone = asyncio.create_task(_gone(receive))
        async with _closing(self.chunks) as chunks:
            try:
                first = await anext(chunks, b"")
                await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
                await send({"type": "http.response.body", "body": first, "more_body": True})
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    if gone.done():
                        return
                await send({"type": "http.response.body", "body": b""})
            finally:
                gone.cancel()


@asynccontextmanager
async def _closing(chunks: Chunks) -> AsyncIterator[Chunks]:
    """Close a generator as soon as nobody wants its chunks: it may hold a connection of the store."""
    try:
        yield chunks
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


async def _gone(receive: Receive) -> None:
    """Returns when the caller has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


MIN_COMPRESSED: Final = 2048
"""Smaller bodies travel as they are: a subject's document nearly always."""
_LEVEL: Final = 4
_ZSTD_LEVEL: Final = 3
_AS_THEY_ARE: Final = frozenset({XLSX.encode(), PARQUET.encode(), EVENTS.encode()})
"""Media types that are compressed in themselves, or must not wait for a compressor."""


class _Packer(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def _packer(coding: Coding) -> _Packer:
    if coding == "gzip":
        return zlib.compressobj(_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()


async def _packed(chunks: Chunks, coding: Coding) -> Chunks:
    """The same stream as one gzip member or zstd frame; a stream that breaks leaves it without its end."""
    packer = _packer(coding)
    async with _closing(chunks):
        async for chunk in chunks:
            if packed := packer.compress(chunk):
                yield packed
    yield packer.flush()


def compressed(reply: Reply, wanted: bytes) -> Reply:
    """The reply in zstd or gzip where that is wanted and worth it. A weak validator stays: it names the content, not its coding."""
    coding = coding_of(wanted) if reply.status == 200 and wanted else None
    if coding is None or any(value in _AS_THEY_ARE for name, value in reply.headers if name == b"content-type"):
        return reply
    field = (b"content-encoding", coding.encode())
    if reply.chunks is not None:
        return Reply(200, [*reply.headers, field], chunks=_packed(reply.chunks, coding))
    if len(reply.body) < MIN_COMPRESSED:
        return reply
    headers = [each for each in reply.headers if each[0] != b"content-length"]
    if coding == "gzip":
        return Reply(200, [*headers, field], gzip.compress(reply.body, _LEVEL, mtime=0))
    return Reply(200, [*headers, field], zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(reply.body))


def moved(status: int, url: str, cache: Header) -> Reply:
    """What was asked for stands there."""
    return Reply(status, [(b"location", url.encode("ascii")), cache])


def conditional(reply: Reply, wanted: bytes) -> Reply:
    """The reply, or its 304 when the caller holds the same tag already."""
    if not wanted or reply.status != 200:
        return reply
    etag = next((value for name, value in reply.headers if name == b"etag"), b"")
    if not etag or not matches(wanted, etag):
        return reply
    return Reply(304, [field for field in reply.headers if field[0] != b"content-length"])


_PAGE: Final = 'rel="alternate"; type="text/html"'


def page_link(origin: bytes, code: bytes, licence: bytes) -> Header:
    """The `Link` header field of a subject by its code or id, as `link` writes it: its page, and the licence if there is one."""
    page = b"<%b/subjects/%b>; %b" % (origin, code, _PAGE.encode())
    return (b"link", b'%b, <%b>; rel="license"' % (page, licence) if licence else page)


def link(*targets: tuple[str, str]) -> Header:
    """A `Link` header field of (relation, URL) pairs (RFC 8288); an alternate is a page for people."""
    shown = [f"<{url}>; {_PAGE}" if relation == "alternate" else f'<{url}>; rel="{relation}"' for relation, url in targets]
    return (b"link", ", ".join(shown).encode("ascii"))


@lru_cache(maxsize=256)
def policy_headers(policy_version: int, policy_plan: str) -> tuple[Header, Header]:
    """Under which policy version and plans an answer was made."""
    return (b"policy-version", b"%d" % policy_version), (b"policy-plan", b'"%s"' % policy_plan.encode())


def data_headers(
    *,
    content_type: bytes,
    etag: bytes | None,
    cache: Header,
    language: str,
    policy_version: int,
    policy_plan: str,
    dataset_version: str | None,
    names_subjects: bool = True,
    links: Sequence[tuple[str, str]] = (),
) -> list[Header]:
    """Header fields of an answer made from data under a plan, in one order for every lane."""
    headers: list[Header] = [
        (b"content-type", content_type),
        (b"content-language", language.encode()),
        cache,
        *policy_headers(policy_version, policy_plan),  # of a plan set the same until another policy is in force
    ]
    if etag is not None:
        headers.append((b"etag", etag))
    if dataset_version is not None:
        headers.append((b"dataset-version", dataset_version.encode()))
    if names_subjects:
        headers.append(NO_INDEX)
    if links:
        headers.append(link(*links))
    return headers
