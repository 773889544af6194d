"""What a path takes and gives, written once beside its handler.

The strict query check, the OpenAPI document and the documentation page are made from the same `Described` value.

Rules: a parameter that is not described does not exist (400 `unknown-parameter`), except on paths that filter by dictionary
fields, where the planner knows the names of the caller's plan. Every operation has an example. This room must not call a story.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, Literal

from litestar import Request, delete, get, post
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from gateway.operations.asking import Format
from gateway.web.negotiation import CSV, JSON, MSGPACK, NDJSON, PARQUET, XLSX
from gateway.web.replies import Header, Reply, link

Schema = Mapping[str, Any]


class Parameter(Struct, frozen=True, kw_only=True):
    """One parameter of a path, its query or its header fields."""

    name: str
    where: Literal["path", "query", "header"] = "query"
    text: str
    schema: Schema = MappingProxyType({"type": "string"})
    required: bool = False
    example: str | None = None


class Deprecation(Struct, frozen=True, kw_only=True):
    """That an operation will go: told on every answer of it (RFC 9745, RFC 8594) and in the document."""

    since: datetime
    sunset: datetime
    """Not before six months after `since` (api.md §9)."""
    about: str
    """Where it is explained: a path of ours."""
    successor: str | None = None
    """The path to use instead."""

    def fields(self, origin: str) -> list[Header]:
        """The header fields that say so."""
        links = [("deprecation", f"{origin}{self.about}"), ("sunset", f"{origin}{self.about}")]
        if self.successor is not None:
            links.append(("successor-version", f"{origin}{self.successor}"))
        return [
            (b"deprecation", b"@%d" % int(self.since.timestamp())),
            (b"sunset", format_datetime(self.sunset.astimezone(UTC), usegmt=True).encode()),
            link(*links),
        ]


class Described(Struct, frozen=True, kw_only=True, dict=True):
    """One operation of the API as its document tells it."""

    operation_id: str
    summary: str
    """One Chinese phrase."""
    description: str
    """English sentences."""
    tag: str
    takes: tuple[Parameter, ...] = ()
    open_filters: bool = False
    """Also takes `field=…`, `field__gte=…` for the filterable fields of one dataset."""
    public: bool = True
    """Whether everybody's document tells of it: what it takes may name fields that only some callers know of, whose own document has it."""
    gives: type[Struct] | None = None
    """Shape of the JSON answer; None: what `media` says, as text."""
    items: bool = False
    """`gives` is an envelope whose `items` are lines in NDJSON and CSV."""
    media: tuple[str, ...] = (JSON,)
    moves: Literal[307, 308] | None = None
    """Some names stand for others: for now (307), or for good (308)."""
    one_format: bool = False
    """Its path says what it is: `Accept` is not asked."""
    problems: tuple[str, ...] = ()
    """Codes beyond those every path may answer."""
    method: Literal["get", "post", "delete"] = "get"
    status: int = 200
    """Of an answer that is no problem."""
    files: tuple[str, ...] = ()
    """Media types of a file that is the body of a POST."""
    body: type[Struct] | None = None
    """Shape of the JSON body that a POST takes."""
    form: Schema | None = None
    """Of the form that a POST takes; its refusals are told in the words of RFC 6749."""
    deprecated: Deprecation | None = None
    """When it will go, and where to go instead."""
    fields: Mapping[str, Schema] = MappingProxyType({})
    """Of a form whose refusals are problems: its schema by media type."""
    sends: Any = None
    """What a body that is no form of files may look like; of a file, its text."""
    sends_text: str = ""
    """What is sent, in one phrase."""
    example: Any
    """The answer to the example parameters, shortened."""
    examples: Mapping[str, Any] = MappingProxyType({})
    """The same answer in other media types."""

    @cached_property
    def query_names(self) -> frozenset[str]:
        """Names that the query string may hold."""
        return frozenset(parameter.name for parameter in self.takes if parameter.where == "query")


TABLE_MEDIA: Final = (JSON, NDJSON, CSV, XLSX, PARQUET, MSGPACK)
SUFFIXES: Final[Mapping[str, Format]] = {
    ".json": "json", ".ndjson": "ndjson", ".csv": "csv", ".xlsx": "xlsx", ".parquet": "parquet", ".msgpack": "msgpack",
}  # fmt: skip

Handler = Callable[..., Awaitable[Reply]]


def path(template: str, described: Described, *, suffixes: bool = False) -> Callable[[Handler], HTTPRouteHandler]:
    """Register a GET handler under its path, and under the path with each format's suffix where it serves several."""
    paths = [template, *(template + suffix for suffix in SUFFIXES)] if suffixes else [template]
    return get(paths, operation_id=described.operation_id, opt={"described": described, "template": template}, include_in_schema=False)


def posted(template: str, described: Described, *, most: int | None = None) -> Callable[[Handler], HTTPRouteHandler]:
    """Register a POST handler whose body has at most so many bytes; None: it reads, and bounds, its body itself."""
    return post(
        template,
        operation_id=described.operation_id,
        opt={"described": described, "template": template},
        include_in_schema=False,
        status_code=described.status,
        request_max_body_size=most,
    )


def deleted(template: str, described: Described) -> Callable[[Handler], HTTPRouteHandler]:
    """Register a DELETE handler, which takes no body."""
    return delete(
        template,
        operation_id=described.operation_id,
        opt={"described": described, "template": template},
        include_in_schema=False,
        status_code=described.status,
    )


AnyRequest = Request[Any, Any, Any]

__all__ = [
    "SUFFIXES",
    "TABLE_MEDIA",
    "AnyRequest",
    "Deprecation",
    "Described",
    "Handler",
    "Parameter",
    "Reply",
    "deleted",
    "path",
    "posted",
]
