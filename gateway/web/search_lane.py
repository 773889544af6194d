"""The search lane: a plain search, a text and perhaps the size of a page, asked by nobody in particular, answered before the framework.

It answers `GET` and `HEAD` of `/v1/subjects` with a `q` of letters and numbers of any script, and with the `limit` of a page, in JSON, in
both languages, also to who holds the answer already. What is written in another way, shows a credential, or is refused, falls
through to the framework, whose answer is the same to the byte, `Date` and `Request-Id` aside (tested).

Rules: what is found and how it looks say the stories: `plain_search`, where all is as usual, else `find_subjects`, which the framework's
way calls as well. What an answer costs is taken before anything is looked for, and once: of what falls through afterwards the front
door is told. Nothing is kept of what was asked or found. This room must not decide what is found.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

from gateway.core.callers.caller import PUBLIC
from gateway.core.disclosure.query import DEFAULT_LIMIT
from gateway.core.errors import GatewayError
from gateway.operations.answering import max_age, second_of, validator_of
from gateway.operations.asking import Ask, Position
from gateway.operations.find_subjects import find_subjects
from gateway.operations.plain_search import Ground, Memory, first_page, ground_of, page_bytes
from gateway.web import parameters, replies, telemetry
from gateway.web.asgi import Scope, Send
from gateway.web.asked import Walk, headers_of
from gateway.web.describe import TABLE_MEDIA
from gateway.web.edge import FAULT, HOST, MAX_HEADERS, SEARCH, Pay, request_ids
from gateway.web.house import House
from gateway.web.negotiation import JSON, Language, language_of, media_type_of
from gateway.web.networks import network_of
from gateway.web.replies import COMMON, NO_INDEX, Header, Reply, compressed, conditional

_QUERY: Final = re.compile(
    rb"(?:limit=([1-9][0-9]?|100)&)?q=(?:((?:%[89A-Fa-f][0-9A-Fa-f])+)|(?:%[89A-Fa-f][0-9A-Fa-f]|[0-9A-Za-z])+)(?:&limit=([1-9][0-9]?|100))?"
)
"""A size before, a text that is nothing but Chinese or the like, or one with Latin letters and digits in it, a size behind."""
_LONGEST: Final = 2048
_ONCE: Final = {b"host": 1, b"accept": 2, b"accept-language": 4, b"accept-encoding": 8, b"if-none-match": 16}
"""Header fields that may stand once."""
_LOOKED_AT: Final = _ONCE.keys() | {
    b"authorization", b"dpop", b"purpose", b"case-ref", b"content-length", b"transfer-encoding", FAULT,
}  # fmt: skip
_JSON: Final = JSON.encode()
_PLAN_SET: Final = PUBLIC.plan_set.encode()


class _Under(Struct, frozen=True, kw_only=True):
    """What all answers on one ground have in common."""

    ground: Ground
    common: tuple[Header, ...]
    kept: Header | None
    """Who may keep them, where that does not follow from the clock."""
    licence: bytes
    """What stands last in `Link`."""


class SearchLane:
    """Answers plain searches; called by the front door with every request for `/v1/subjects`."""

    __slots__ = ("_house", "_ids", "_memory", "_proxies", "_under", "_url")

    def __init__(self, house: House, proxies: int, memory: Memory | None) -> None:
        self._house = house
        self._memory = memory
        self._proxies = proxies
        self._url = house.origin + SEARCH
        self._ids: Iterator[bytes] = request_ids()
        self._under: _Under | None = None

    async def __call__(self, scope: Scope, send: Send, pay: Pay) -> int:
        """Answer and return the status, or send nothing and return 0."""
        method, query = scope["method"], scope["query_string"]
        found = _QUERY.fullmatch(query) if len(query) <= _LONGEST else None
        if found is None or (method != "GET" and method != "HEAD") or scope.get("root_path"):
            return 0
        size, seen, wanted, coding = 0, 0, b"", b""
        language: Language = "zh-CN"
        for name, value in scope["headers"]:
            size += len(name) + len(value)
            if name not in _LOOKED_AT:
                continue
            bit = _ONCE.get(name)
            if bit is None or seen & bit:
                return 0
            seen |= bit
            if name == b"host":
                if HOST.fullmatch(value) is None:
                    return 0
            elif name == b"accept":
                if media_type_of(value, TABLE_MEDIA) != JSON:
                    return 0
            elif name == b"accept-language":
                language = language_of(value)
            elif name == b"accept-encoding":
                coding = value
            else:
                wanted = value
        if size > MAX_HEADERS or not seen & _ONCE[b"host"]:
            return 0
        house, (before, text, behind) = self._house, found.groups()
        try:
            costs = house.services.policies.current().costs
            cost = costs.head if method == "HEAD" else costs.request
            paid = pay(scope, cost)
            if paid is not None and not isinstance(paid, list):
                paid = await paid
            if paid is None:  # the quota is spent: the framework's way says so
                return 0
            scope["paid"] = cost
            reply = None
            if text is not None and language == "zh-CN" and (before is None or behind is None):
                reply = await self._plain(text, before or behind)
            if reply is None:
                reply = await self._any(query, language)
        except GatewayError:  # which the framework's way tells of
            return 0
        except Exception as error:  # noqa: BLE001 - no fault of this way is to cost anybody an answer; it is told here, or nobody would know
            house.meter.event("search-lane-failed")
            telemetry.log.error("search-lane-failed", error=type(error).__name__, at=telemetry.where(error))
            return 0
        if wanted:
            reply = conditional(reply, wanted)
            if reply.status == 304 and method == "GET":
                charge = house.limits.paid(network_of(scope, self._proxies), cost)
                await house.limits.settle(charge, costs.not_modified)
                paid = house.limits.fields(charge)
        if coding:
            reply = compressed(reply, coding)
        status, body = reply.status, reply.body
        if method == "HEAD":
            body = b""
        request_id = next(self._ids)
        scope["answered"] = SEARCH, len(body), request_id
        headers = [*reply.headers, *COMMON, (b"request-id", request_id), *paid]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return status

    async def _any(self, query: bytes, language: Language) -> Reply:
        """The answer to any search. Raises GatewayError."""
        params = parameters.read_query(query)
        ask = Ask(params=params, language=language, pages=self._walk(params, None))
        answer = await find_subjects(self._house.services, PUBLIC, ask)
        return Reply(200, headers_of(answer, shared=True, language=language), answer.body)

    def _walk(self, params: Mapping[str, str], query: str | None) -> Walk:
        house = self._house
        today = replies.legal_date(house.services.clock())
        return Walk(house.cursors, PUBLIC, url=self._url, path=SEARCH, params=params, cursor=None, today=today, query=query)

    async def _plain(self, text: bytes, size: bytes | None) -> Reply | None:
        """The answer to a search of which all is as usual; None: `find_subjects` says. Raises GatewayError."""
        services = self._house.services
        ground = await ground_of(services)
        under = self._under
        if under is None or ground is not under.ground:
            under = self._under = self._stand_on(ground)
        now = services.clock()
        if ground.ends is not None and ground.ends <= now:
            return None
        asked = parameters.decoded(text)
        parameters.refuse_citizen_number(asked)
        page = await first_page(services, self._memory, ground, asked, DEFAULT_LIMIT if size is None else int(size), second_of(now).text)
        if page is None:
            return None
        query = f"q={text.decode().upper()}" if size is None else f"limit={size.decode()}&q={text.decode().upper()}"
        own, following = f"{self._url}?{query}", None
        links = b'<%b>; rel="first"%b' % (own.encode(), under.licence)
        if page.last is not None:
            params = {"q": asked} if size is None else {"q": asked, "limit": size.decode()}
            position = Position(snapshot=ground.snapshot, keys=(ground.version, *page.last))
            following = self._walk(params, query).url(ground.forms.tag, position)
            links = b'<%b>; rel="next", %b' % (following.encode(), links)
        body = page_bytes(ground, page, own, following)
        etag = validator_of(services, ground.forms, _PLAN_SET, _JSON, body)
        kept = under.kept or replies.public_for(max_age(now))
        return Reply(200, [*under.common, kept, (b"etag", b'W/"%b"' % etag.encode()), (b"link", links)], body)

    def _stand_on(self, ground: Ground) -> _Under:
        """Something was committed, or another policy is in force; who is answered meanwhile stands on what was there before."""
        return _Under(
            ground=ground,
            common=(
                (b"content-type", _JSON),
                (b"content-language", b"zh-CN"),
                *replies.policy_headers(ground.forms.version, ground.forms.plan_hash),
                (b"dataset-version", ground.version.encode()),
                NO_INDEX,
                *((replies.SAMPLE,) if self._house.settings.demo else ()),
            ),
            kept={"public": None, "private": replies.PRIVATE, "no-store": replies.NO_STORE}[ground.cache],
            licence=b"" if ground.licence is None else b", " + replies.link(("license", ground.licence))[1],
        )
