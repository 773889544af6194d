"""Files over HTTP: strong validators, digests, one range, and chunks of a copy on disk (api.md §4; RFC 9110 §13–14, RFC 9530).

Rules: a range is answered only of the very bytes that the caller began with (`If-Range`); several ranges, or one that cannot be
read, are the whole file; a file that has gone between story and sending is told as being issued again, and one that is cut while it is
sent breaks the connection off: its length was said. This room must not know what a file holds.
"""

import asyncio
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO, Final

from gateway.core.errors import VersionReissuing
from gateway.operations.read_versions import Served
from gateway.web import replies
from gateway.web.asgi import PATHSEND, Receive, Scope, Send
from gateway.web.asked import Asked, disposition
from gateway.web.problems import Refusal
from gateway.web.replies import Header, Reply, data_headers, matches, public_for

CHUNK: Final = 1 << 18
"""So much of a file is held for a request."""
LITTLE: Final = 1 << 16
"""A file that is no longer is sent by us, whatever the server can do."""
_RANGE: Final = re.compile(rb"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*\Z")


def _http_date(moment: datetime) -> bytes:
    return format_datetime(moment.astimezone(UTC), usegmt=True).encode()


def _moment(field: bytes) -> datetime | None:
    try:
        return parsedate_to_datetime(field.decode("ascii"))
    except (ValueError, UnicodeDecodeError):
        return None


def wanted_range(field: bytes, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last; None: the whole file.

    Raises Refusal `range-not-satisfiable`.
    """
    match = _RANGE.match(field)
    if match is None or not (match[1] or match[2]):
        return None
    if match[1]:
        first = int(match[1])
        last = min(int(match[2]), size - 1) if match[2] else size - 1
        if match[2] and int(match[2]) < first:
            return None
    else:
        first, last = max(0, size - int(match[2])), size - 1
    if first >= size or last < first:
        raise Refusal("range-not-satisfiable", headers={"Content-Range": f"bytes */{size}"})
    return first, last + 1


def _unchanged(asked: Asked, etag: bytes, modified: datetime | None) -> bool:
    """Whether the caller holds these bytes already: by tag, and without one by date where a date can tell."""
    tags = asked.field(b"if-none-match")
    if tags:
        return matches(tags, etag)
    if modified is None:
        return False
    since = _moment(asked.field(b"if-modified-since")) if asked.field(b"if-modified-since") else None
    return since is not None and since.tzinfo is not None and modified <= since


def _still(asked: Asked, etag: bytes, modified: datetime | None) -> bool:
    """Whether the file is still what the caller wants alone, by tag, and without one by date where a date can tell."""
    tags = asked.field(b"if-match")
    if tags:
        return matches(tags, etag, strong=True)
    until = _moment(asked.field(b"if-unmodified-since")) if modified and asked.field(b"if-unmodified-since") else None
    return modified is None or until is None or until.tzinfo is None or modified <= until


def _same_bytes(asked: Asked, etag: bytes, modified: datetime | None) -> bool:
    """Whether a range continues what the caller began with."""
    field = asked.field(b"if-range")
    if not field:
        return True
    return field == etag if field.startswith((b'"', b"W/")) else modified is not None and _moment(field) == modified


async def sent(asked: Asked, served: Served) -> Reply:
    """A file, a part of it, or that it has not changed.

    Raises Refusal precondition-failed or range-not-satisfiable, VersionReissuing.
    """
    etag = b'"%s"' % served.sha256[:40].encode()
    cache = replies.NO_STORE if served.cache == "no-store" else replies.PRIVATE
    if asked.caller.shared and served.cache == "public":
        cache = public_for(served.max_age)
    headers = data_headers(
        content_type=served.media_type.encode(),
        etag=etag,
        cache=cache,
        language="zh-CN",
        policy_version=served.policy_version,
        policy_plan=served.policy_plan,
        dataset_version=served.version,
        links=served.links,
    )
    headers += [
        (b"last-modified", _http_date(served.modified)),
        (b"accept-ranges", b"bytes"),
        (b"repr-digest", b"sha-256=:%b:" % b64encode(bytes.fromhex(served.sha256))),
        (b"content-disposition", disposition(served.file_name)),
    ]
    if served.sample:
        headers.append(replies.SAMPLE)
    dated = served.modified if served.fixed else None  # a second may see two issues: where bytes may change, only the tag tells
    if not _still(asked, etag, dated):
        raise Refusal("precondition-failed")
    if _unchanged(asked, etag, dated):
        return Reply(304, headers)
    part: tuple[int, int] | None = None
    head = asked.scope["state"].get("head")
    if asked.field(b"range") and not head and _same_bytes(asked, etag, dated):
        part = wanted_range(asked.field(b"range"), served.size)
    first, end = part or (0, served.size)
    if part is not None:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (first, end - 1, served.size)))
    status, length = 206 if part else 200, end - first
    if head:
        return Reply(status, [*headers, (b"content-length", b"%d" % length)], chunks=_nothing())
    try:
        file = await asyncio.to_thread(served.path.open, "rb")
    except FileNotFoundError:
        raise VersionReissuing from None
    if part is None and length > LITTLE and PATHSEND in asked.scope.get("extensions", {}):
        file.close()
        return WholeFile(status, [*headers, (b"content-length", b"%d" % length)], served.path)
    if length <= CHUNK:
        with file:
            body = await asyncio.to_thread(_read, file, first, length)
        if len(body) != length:  # cut between being opened and being read
            raise VersionReissuing
        return Reply(status, headers, body)
    return Reply(status, [*headers, (b"content-length", b"%d" % length)], chunks=_chunks(file, first, length))


class WholeFile(Reply):
    """A file that the server itself reads and sends, in the terms of the ASGI extension."""

    __slots__ = ("path",)

    def __init__(self, status: int, headers: list[Header], path: Path) -> None:
        super().__init__(status, headers, chunks=_nothing())
        self.path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": PATHSEND, "path": str(self.path.absolute())})


def _read(file: BinaryIO, first: int, length: int) -> bytes:
    file.seek(first)
    return file.read(length)


async def _nothing() -> AsyncIterator[bytes]:
    for chunk in (b"",):
        yield chunk


async def _chunks(file: BinaryIO, first: int, length: int) -> AsyncIterator[bytes]:
    """The bytes in pieces; a copy that ends early breaks the answer off."""
    with file:
        at, end = first, first + length
        while at < end:
            chunk = await asyncio.to_thread(_read, file, at, min(CHUNK, end - at))
            if not chunk:
                raise OSError("a copy is shorter than it was")
            at += len(chunk)
            yield chunk
