"""What the web hands to a query story, and what it gets back: nothing of HTTP but what shapes an answer.

Rules: an `Ask` is parsed text, not yet believed; an `Answer` is ready bytes. Cursors are sealed by the web, so a story
names positions only, through `Pages`. No Record, View or row of the store ever stands in an Answer.
"""

from collections.abc import AsyncIterator, Hashable, Mapping
from typing import Literal, Protocol

from msgspec import Struct, structs

Language = Literal["zh-CN", "en"]
Format = Literal["json", "ndjson", "csv", "xlsx", "parquet", "msgpack"]
Key = str | int | bool | None

JSON = "application/json"
NDJSON = "application/x-ndjson"
CSV = "text/csv; charset=utf-8"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PARQUET = "application/vnd.apache.parquet"
MSGPACK = "application/vnd.msgpack"
MEDIA_TYPES: Mapping[Format, str] = {"json": JSON, "ndjson": NDJSON, "csv": CSV, "xlsx": XLSX, "parquet": PARQUET, "msgpack": MSGPACK}


class Position(Struct, frozen=True, kw_only=True):
    """Where a walk stands: the sequence it started at, the keys of the row it stopped at, and which way it goes."""

    snapshot: int
    keys: tuple[Key, ...]
    back: bool = False


class Pages(Protocol):
    """The web's cursors for one request: bound to caller, path and canonical query there; the story adds the plan hash."""

    @property
    def asked(self) -> Hashable:
        """Which page is asked for, as it was sent: equal ones are one page of one walk today, whether there is such a page or not."""
        ...

    def position(self, plan: str) -> Position | None:
        """Where the request's cursor stands, None when it has none. Raises BadCursor, CursorExpired."""
        ...

    def url(self, plan: str, position: Position | None) -> str:
        """The absolute URL of the page at a position; None: the first page, with the request's own parameters."""
        ...


class Ask(Struct, frozen=True, kw_only=True):
    """One parsed request for a list or a page of it."""

    params: Mapping[str, str]
    """Query parameters as sent, each once; `cursor` left out, everything else in (limit, sort, q, fields …)."""
    language: Language = "zh-CN"
    format: Format = "json"
    excel: bool = False
    """CSV for Excel: BOM and guarded cells."""
    pages: Pages


class Tally:
    """Rows of an answer that is made while it is sent: counted by the story, read by the limits when it has ended."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows = 0


class Answer(Struct, frozen=True, kw_only=True):
    """A ready answer: bytes or a stream of bytes, and what its headers say."""

    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None
    """An export; `body` is empty then. A failure in it must abort the connection."""
    media_type: str = JSON
    speaks: str | None = None
    """Its languages, where they are not the one that was asked for: a graph bears its labels in all of them."""
    etag: str | None = None
    """The opaque part of a weak ETag, without quotes."""
    max_age: int = 0
    """Seconds a shared cache may keep it; never past a period end or the next legal midnight. 0 with `no_store`."""
    private: bool = False
    """Kept by the caller alone, whoever may see it."""
    no_store: bool = False
    dataset_version: str | None = None
    policy_version: int
    policy_plan: str
    links: tuple[tuple[str, str], ...] = ()
    """(relation, absolute URL) for the `Link` header: next, prev, first, canonical …"""
    rows: int | None = None
    """Rows of a page, for cost and metrics; None for a single document."""
    looked_at: int = 0
    """Rows that were looked at for it: what is paid beside the request."""
    tally: Tally | None = None
    """Of a stream: how many rows it has sent so far."""
    sample: bool = False
    """Demo data: the web adds a header to formats whose body has no room for the notice."""
    file_name: str | None = None
    """For Content-Disposition of file answers."""
    moved: str | None = None
    """Where what was asked for goes on for good, by another name: it is answered there, not here."""

    def streaming(self, parts: AsyncIterator[bytes], tally: Tally) -> "Answer":
        """The same answer with a stream for its body, and the count of its rows."""
        return structs.replace(self, stream=parts, tally=tally)

    def unstored(self) -> "Answer":
        """The same answer, kept by nobody: there is nothing to validate."""
        return structs.replace(self, no_store=True, max_age=0, etag=None)
