"""From a request to a story and back: parse strictly, find the caller, negotiate, call, and shape the answer.

The steps of every data path, in this order: query string → known parameters → format → caller → language → story → header
fields → conditional request. Rules: an error of an earlier step hides the later ones; nothing is read from the store before
the caller is known. This room must not know what a path is about.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from typing import cast
from urllib.parse import quote

from gateway.core.callers.api_keys import SCOPES
from gateway.core.callers.buckets import FIFTHS
from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.errors import ErrorItem, InvalidParameter, NotFound, NotPermitted
from gateway.operations.answering import as_before, stands_under
from gateway.operations.asking import MEDIA_TYPES, Answer, Ask, Format, Position
from gateway.services import Services
from gateway.web import parameters, replies
from gateway.web.asgi import Scope
from gateway.web.callers import caller_of, shows_anything, while_let_in
from gateway.web.conditions import refuse_unmet
from gateway.web.cursors import Binding, Cursors
from gateway.web.describe import SUFFIXES, AnyRequest, Described
from gateway.web.house import House, house_of
from gateway.web.limits import Charge, enter
from gateway.web.negotiation import CSV, JSON, MSGPACK, NDJSON, PARQUET, XLSX, Language, language_of, media_type_of
from gateway.web.problems import Refusal
from gateway.web.replies import Header, Reply, compressed, conditional, data_headers

_SCOPED: Mapping[str, str] = {tag: scope for scope, tag in SCOPES.items()}
_FORMATS: Mapping[str, Format] = {JSON: "json", NDJSON: "ndjson", CSV: "csv", XLSX: "xlsx", PARQUET: "parquet", MSGPACK: "msgpack"}

_READ = frozenset({
    b"accept", b"accept-language", b"accept-encoding", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since",
    b"range", b"if-range",
})  # fmt: skip
_DEFAULTS: Mapping[str, str] = {"limit": "20", "count": "none", "shape": "nested", "trailer": "0", "excel": "0"}
"""Spelled out or left out, these are one query."""


class Walk:
    """The cursors of one request: the `Pages` that a story asks for positions and URLs."""

    __slots__ = ("_bound", "_caller", "_cursor", "_cursors", "_found", "_params", "_path", "_query", "_today", "_url")

    def __init__(
        self,
        cursors: Cursors,
        caller: Caller,
        *,
        url: str,
        path: str,
        params: Mapping[str, str],
        cursor: str | None,
        today: date,
        query: str | None = None,
    ) -> None:
        """`query` is what `shown_query` makes of the parameters, where that is known."""
        self._cursors = cursors
        self._caller = caller
        self._url = url
        self._path = path
        self._params = params
        self._cursor = cursor
        self._today = today
        self._query = parameters.shown_query(params) if query is None else query
        self._bound: Binding | None = None
        self._found: tuple[str, Position] | None = None

    def _binding(self, plan: str) -> Binding:
        caller = self._caller
        if self._bound is not None and self._bound.plan == plan:
            return self._bound
        self._bound = Binding(
            tier=caller.tier,
            purpose=caller.purpose,
            app=caller.app,
            plan=plan,
            query=f"{self._path}?{parameters.canonical_query(self._params, defaults=_DEFAULTS)}",
        )
        return self._bound

    @property
    def asked(self) -> tuple[str, str, str | None, int]:
        """The first page's address, the cursor, and the day on which it is opened."""
        return self._url, self._query, self._cursor, self._today.toordinal()

    def position(self, plan: str) -> Position | None:
        """Where the request's cursor stands. Raises BadCursor, CursorExpired."""
        if self._cursor is None:
            return None
        if self._found is None or self._found[0] != plan:
            self._found = plan, self._cursors.open(self._cursor, self._binding(plan), self._today, self.url(plan, None))
        return self._found[1]

    def url(self, plan: str, position: Position | None) -> str:
        """The absolute URL of the page at a position; None: the first page."""
        query = self._query
        if position is not None:
            if self._cursor is not None and self._found is not None and position is self._found[1]:  # where the request stands itself
                cursor = self._cursor
            else:
                cursor = self._cursors.seal(position, self._binding(plan), self._today)
            query = f"{query}&cursor={cursor}" if query else f"cursor={cursor}"
        return f"{self._url}?{query}" if query else self._url


class Asked:
    """One request, parsed: what a handler needs to call its story and to answer."""

    __slots__ = ("_fields", "caller", "format", "house", "language", "params", "path", "scope")

    house: House
    caller: Caller
    params: dict[str, str]
    format: Format
    language: Language
    path: str
    """The path as it stands in links: without the format's suffix."""

    def __init__(self, request: AnyRequest) -> None:
        self.house = house_of(request)
        self.scope: Scope = cast(Scope, request.scope)
        fields: dict[bytes, bytes] = {}
        for name, value in request.scope["headers"]:
            if name in _READ:
                fields[name] = fields[name] + b"," + value if name in fields else value
        self._fields = fields

    def announce(self, described: Described) -> None:
        """Say with whatever is answered that this path will go, where it will."""
        if described.deprecated is not None:
            self.scope["state"]["also"] = described.deprecated.fields(self.house.origin)

    def field(self, name: bytes) -> bytes:
        """A negotiating header field, several lines joined; empty if absent."""
        return self._fields.get(name, b"")

    @property
    def services(self) -> Services:
        """What stories use."""
        return self.house.services

    @property
    def charge(self) -> Charge:
        """What this request pays."""
        charge: Charge = self.scope["state"]["charge"]
        return charge

    async def also_costs(self, fifths: int) -> None:
        """Take a known cost beyond the request itself: a personal look-up, the items of a match.

        Raises Refusal `quota-exceeded`.
        """
        await self.house.limits.admit(self.charge, fifths)
        self.charge.extra += fifths

    def ask(self) -> Ask:
        """The request as a story takes it.

        Raises InvalidParameter for a cursor beside `limit=all`, and for what only a page tells.
        """
        params = dict(self.params)
        cursor = params.pop("cursor", None)
        excel = parameters.flag(params, "excel")
        asked = {name: value for name, value in params.items() if name != "excel"}
        if params.get("limit") == "all":
            given = {"cursor": cursor is not None, "count": params.get("count", "none") != "none", "facet": "facet" in params}
            refused = [name for name, is_given in given.items() if is_given]
            if refused:
                raise InvalidParameter(
                    errors=tuple(ErrorItem(name, f"limit=all 不能与 {name} 同时使用", parameter=name) for name in refused)
                )
        suffix = next((each for each in SUFFIXES if self.scope["path"].endswith(each)), "")
        walk = Walk(
            self.house.cursors,
            self.caller,
            url=f"{self.house.origin}{quote(self.path)}{suffix}",
            path=self.path,
            params=params,
            cursor=cursor,
            today=replies.legal_date(self.services.clock()),
        )
        return Ask(params=asked, language=self.language, format=self.format, excel=excel, pages=walk)

    async def kept_by_nobody(self, body: bytes) -> Reply:
        """An answer in JSON that is about its caller alone, with the policy and plans that it stands under."""
        headers = [(b"content-type", b"application/json"), (b"content-language", self.language.encode()), replies.NO_STORE]
        under = await stands_under(self.services, self.caller)
        if under is not None:
            headers += replies.policy_headers(*under)
        return Reply(200, headers, body)

    def moved(self, url: str) -> Reply:
        """307 to where it stands now."""
        return replies.moved(307, url, replies.MOVED_CACHE if self.caller.shared else replies.PRIVATE)

    def reply(self, answer: Answer, *, names_subjects: bool = True, plain_length: bool = False) -> Reply:
        """The answer of a story with its header fields; 304 when the caller holds it already.

        `plain_length`: never compressed, so that its length on the wire tells nothing of what it says.
        """
        if answer.moved is not None:  # kept by whom and for how long the document would be that says so
            return replies.moved(308, answer.moved, _cache(answer, self.caller.shared))
        headers = headers_of(answer, shared=self.caller.shared, language=self.language, names_subjects=names_subjects)
        owe_for(self.charge, answer)
        reply = conditional(Reply(200, headers, answer.body, answer.stream), self.field(b"if-none-match"))
        if answer.tally is not None and reply.chunks is not None and not self.scope["state"].get("head"):
            self.charge.tally = answer.tally
            chunks = reply.chunks
            if self.caller is not PUBLIC:
                chunks = while_let_in(self.services, self.scope, self.caller, chunks)
            reply.chunks = self.house.limits.placed(self.charge, chunks)
        # the length of a compressed answer would tell what a personal plan hides beside reflected input
        if plain_length or not self.caller.shared:
            return reply
        return compressed(reply, self.field(b"accept-encoding"))


def _cache(answer: Answer, shared: bool) -> Header:
    if answer.no_store:
        return replies.NO_STORE
    return replies.public_for(answer.max_age) if shared and not answer.private else replies.PRIVATE


def owe_for(charge: Charge, answer: Answer) -> None:
    """What an answer costs beside its request: rows that were looked at for it."""
    if answer.looked_at:
        charge.extra += answer.looked_at * FIFTHS // charge.costs.export_rows


def headers_of(answer: Answer, *, shared: bool, language: Language, names_subjects: bool = True) -> list[Header]:
    """The header fields of what a story answered: to anybody (`shared`), or to one caller alone."""
    headers = data_headers(
        content_type=answer.media_type.encode(),
        etag=b'W/"%s"' % answer.etag.encode() if answer.etag else None,
        cache=_cache(answer, shared),
        language=answer.speaks or language,
        policy_version=answer.policy_version,
        policy_plan=answer.policy_plan,
        dataset_version=answer.dataset_version,
        names_subjects=names_subjects,
        links=answer.links,
    )
    if answer.file_name is not None:
        headers.append((b"content-disposition", disposition(answer.file_name)))
    if answer.sample:
        headers.append(replies.SAMPLE)
    return headers


def disposition(file_name: str) -> bytes:
    """`Content-Disposition` of a download: a plain name for old clients and the full one (RFC 6266)."""
    plain = "".join(character if character.isascii() and (character.isalnum() or character in "._-") else "_" for character in file_name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}".encode("ascii")


async def begin(request: AnyRequest, described: Described, *, any_code: bool = False, by_name: bool = False) -> Asked:
    """Parse a request for a described path; `any_code`: the path has a code, of which its own story says what it is.

    `by_name`: the path names a file, so no format is negotiated.

    Raises RequestError of all kinds, Refusal for a format that does not exist here.
    """
    asked = Asked(request)
    asked.announce(described)
    return await _read(asked, described, any_code=any_code, by_name=by_name)


async def _read(asked: Asked, described: Described, *, any_code: bool, by_name: bool = False) -> Asked:
    """As `begin`, of a request that is announced already."""
    path = asked.scope["path"]
    if not any_code:
        for piece in path.split("/"):
            parameters.refuse_citizen_number(piece)
    params = parameters.read_query(asked.scope["query_string"])
    if not described.open_filters:
        parameters.refuse_unknown(params, described.query_names)
    asked.params = params
    asked.path, asked.format = (path, "json") if by_name else _format(path, asked.field(b"accept"), described)
    asked.caller = await caller_of(asked.services, asked.scope)
    await enter(asked.house.limits, asked.scope, asked.caller)
    if asked.caller.scopes and described.tag in _SCOPED and _SCOPED[described.tag] not in asked.caller.scopes:
        raise NotPermitted
    asked.language = language_of(asked.field(b"accept-language"))
    refuse_unmet(asked.scope)
    return asked


async def answer_alike(
    request: AnyRequest, described: Described, story: Callable[[Asked], Awaitable[Answer]], *, any_code: bool = False
) -> Reply:
    """Parse a request and answer it with a story; what anybody asked lately in the same words is not parsed again.

    Raises as `begin` does, and whatever the story raises.
    """
    asked = Asked(request)
    asked.announce(described)

    async def made() -> Answer:
        return await story(await _read(asked, described, any_code=any_code))

    if shows_anything(asked.scope):
        return asked.reply(await made())
    asked.caller, asked.language = PUBLIC, language_of(asked.field(b"accept-language"))
    # the media type that is wanted, not the field as it was sent, of which there are more than there are answers
    words = (asked.scope["path"], asked.scope["query_string"], media_type_of(asked.field(b"accept"), described.media), asked.language)
    return asked.reply(await as_before(asked.services, words, made))


def _format(path: str, accept: bytes, described: Described) -> tuple[str, Format]:
    """Path without suffix, and the format: the suffix wins, else `Accept` decides."""
    if described.one_format:
        return path, "json"
    stem, dot, suffix = path.rpartition(".")
    name = SUFFIXES.get(f".{suffix}") if dot else None
    if name is not None:
        if MEDIA_TYPES[name].partition(";")[0] not in described.media:  # a format that this path does not have
            raise NotFound
        return stem, name
    media = media_type_of(accept, described.media)
    if media is None:
        raise Refusal("not-acceptable", acceptable=described.media)
    return path, _FORMATS.get(media, "json")


def without_suffix(last: str) -> str:
    """A last path parameter without its format suffix; a suffix that does not exist leaves no valid id, which is a 404.

    Raises NotFound.
    """
    if "." not in last:
        return last
    for suffix in SUFFIXES:
        if last.endswith(suffix):
            return last.removesuffix(suffix)
    raise NotFound
