"""The public lane: an organisation by its whole code, a subject or record by its id, answered from its rendering before the framework.

It answers `GET` and `HEAD`, and only what it knows to be true, in this order: the plain form of the request (no query, credential, purpose
or other format; in English the rendering's labels are translated as it leaves) → a rendering by key → made under the policy in force → no
change of the subject or record since → valid by the clock. Anything else falls through to the framework, whose answer is the same to the
byte, `Date` and `Request-Id` aside (tested).

What it answers of an organisation in Chinese is made beforehand, of all that there is room for (decisions/0079), and kept by the look-ups
until what it was made of has changed; the moment, the caller and the state of the data are put to it as it leaves. Another policy or
another key of validators: all of it is made anew.

Rules: no second definition of an answer: cache times, validators and header fields are those of `replies.py` and of the office
lane's stories; households are never looked up by code here; nothing is kept of what was asked for. This room must not import the store:
the look-up is given.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from sys import intern
from typing import Final, Protocol

from msgspec import Struct

from gateway.core.callers.caller import PUBLIC
from gateway.core.disclosure.plans import Policies
from gateway.core.disclosure.tiers import Costs
from gateway.core.errors import GatewayError, NoActivePolicy, ObligationFailed
from gateway.core.publication.documents import sample_end, with_notice
from gateway.core.publication.forms import Forms, forms_of
from gateway.core.publication.subjects import SUCCEEDED
from gateway.operations.answering import in_language, max_age, validator_of, validator_of_stored
from gateway.operations.reaching import ends_of, licence_of, owed_of
from gateway.services import Services
from gateway.web import replies
from gateway.web.asgi import Scope, Send
from gateway.web.edge import FAULT, HOST, MAX_HEADERS, RECORDS, SUBJECTS, Pay, request_ids
from gateway.web.negotiation import JSON, Language, language_of, media_type_of
from gateway.web.replies import COMMON, MIN_COMPRESSED, NO_INDEX, Header, Reply, compressed, matches

_SUBJECT: Final = SUBJECTS + "{subject}"
_RECORD: Final = RECORDS + "{record}"
_CODE: Final = re.compile(r"(?!92)[0-9A-HJ-NPQRTUWXY]{18}")
_SUBJECT_ID: Final = re.compile(r"sub_[a-z2-7]{26}")
_RECORD_ID: Final = re.compile(r"rec_[a-z2-7]{26}")
_OFFERS: Final = (JSON,)
_JSON: Final = JSON.encode()
_PLAN_SET: Final = PUBLIC.plan_set.encode()
_LANGUAGES: Final[tuple[Language, ...]] = ("zh-CN", "en")
_LOOKED_AT: Final = frozenset(
    {b"host", b"accept", b"accept-language", b"accept-encoding", b"if-none-match"}
    | {b"authorization", b"dpop", b"purpose", b"case-ref", FAULT}
)
_SOON: Final = timedelta(seconds=replies.MAX_AGE)
_ONE: Final = timedelta(seconds=1)


class Rendered(Protocol):
    """A rendered subject, and what decides whether it is true now."""

    @property
    def body(self) -> bytes | None:
        """Its document; None when nothing public is left."""
        ...

    @property
    def etag(self) -> str:
        """Its validator, as `stored_validator` makes it."""
        ...

    @property
    def plan(self) -> str:
        """Tag of plans and policy version under which it was made."""
        ...

    @property
    def valid_until(self) -> str:
        """First instant at which it is no longer true."""
        ...

    @property
    def fresh(self) -> int:
        """1 when no change of the subject stands after it."""
        ...


class RenderedRecord(Protocol):
    """A rendered record, and what decides whether it is true now."""

    @property
    def body(self) -> bytes:
        """Its document."""
        ...

    @property
    def dataset(self) -> str:
        """What it is of: whose terms it leaves under."""
        ...

    @property
    def plan(self) -> str:
        """Tag of plans and policy version under which it was made."""
        ...

    @property
    def valid_from(self) -> str:
        """First instant at which it is true."""
        ...

    @property
    def valid_until(self) -> str:
        """First instant at which it is no longer true."""
        ...

    @property
    def fresh(self) -> int:
        """1 when it is of the record's last change."""
        ...


class Standing(Protocol):
    """What counts for all renderings alike."""

    @property
    def policy_version(self) -> int | None:
        """In force, as the store says now."""
        ...

    @property
    def version(self) -> str:
        """Dataset version that the public sees now."""
        ...


class Prepared(Struct, frozen=True, gc=False):
    """What follows from a rendering and a language alone, without the moment."""

    body: bytes
    """As it leaves: in a demo with its notice."""
    etag: bytes
    length: Header
    link: bytes | None
    kept: Header | None
    """How long it may be kept, where that does not follow from the clock."""
    valid_until: str
    ends: str
    """`valid_until` to the second, as `_text` is written."""


_ENTRY: Final = 400
"""What one that is kept takes beside the bytes of its body, validator and link (328 of them counted, and what the allocator rounds up)."""


@lru_cache(4096)
def _length_of(body: int) -> Header:
    return (b"content-length", b"%d" % body)


class _Terms(Struct, frozen=True):
    """What the rules owe for an answer over some datasets: who may keep it, and its licence."""

    kept: Header | None
    licence: str | None
    link: bytes | None
    """The licence as a header field, where it is the only link."""


class LookUps(Protocol):
    """Where renderings are looked up."""

    @property
    def state(self) -> Standing:
        """As of the look of this turn of the loop; the same object while nothing has changed."""
        ...

    def keep(self, make: Callable[[str, Rendered], tuple[Prepared, int] | None]) -> None:
        """Keep from now on what this makes of organisations, and nothing that was made before."""
        ...

    @property
    def looked(self) -> bool:
        """Whether it was looked in this turn of the loop whether anybody has committed anything."""
        ...

    @property
    def held(self) -> Mapping[str, Prepared]:
        """What is kept, by code: of this turn where it was looked in it."""
        ...

    def look(self) -> bool:
        """See what was committed before this turn, and forget what that was about; False where that cannot be said."""
        ...

    def by_code(self, code: str) -> Rendered | None:
        """The rendering of an organisation, read now."""
        ...

    def subject(self, subject_id: str) -> Rendered | None:
        """The rendering of a subject, read now."""
        ...

    def record(self, record_id: str) -> RenderedRecord | None:
        """The rendering of a record, read now."""
        ...


class PublicLane:
    """Answers look-ups by code and id; called by the front door with every path under `/v1/subjects/` and `/v1/records/`."""

    __slots__ = (
        "_cached", "_common", "_costs", "_demo", "_ends", "_forms", "_host", "_ids", "_in_force", "_key_epoch", "_next", "_now", "_origin",
        "_owed", "_policies", "_reads", "_ring", "_second", "_services", "_soon", "_state", "_tag", "_text", "_true", "_version",
    )  # fmt: skip

    def __init__(self, services: Services, reads: LookUps) -> None:
        self._services = services
        self._reads = reads
        self._demo = services.settings.demo
        self._ids: Iterator[bytes] = request_ids()
        self._policies: Policies | None = None
        self._ring = services.store.vault.ring
        self._key_epoch = -1
        """How often the key tables had changed when the lane last looked: validators are keyed."""
        self._tag = ""
        self._costs: Costs
        self._ends: tuple[datetime, ...] = ()
        self._origin = services.settings.public_origin.rstrip("/").encode()
        own = self._origin.rpartition(b"/")[2]
        self._host = own if HOST.fullmatch(own) else b""
        """What nearly every `Host` says."""
        self._owed: dict[str | None, _Terms] = {}
        """By dataset, what is owed; None: of all."""
        self._common: dict[Language, list[Header]] = {}
        self._forms: Forms | None = None
        self._state: Standing | None = None
        """Of this state of the store the next two speak: whether our policy is in force in it, and its dataset version."""
        self._in_force = False
        self._true = False
        """Whether anything may be answered in this turn."""
        self._version: Header = (b"dataset-version", b"")
        self._second = self._next = self._now = datetime.min.replace(tzinfo=UTC)
        """From here to there the next three speak: what this second is called, what the end of a minute from it is called, how long it
        lets be kept."""
        self._text = self._soon = ""
        self._cached: Header = replies.NO_STORE

    async def __call__(self, scope: Scope, send: Send, pay: Pay) -> int:
        """Answer and return the status, or send nothing and return 0."""
        path: str = scope["path"]
        method = scope["method"]
        if scope["query_string"] or (method != "GET" and method != "HEAD"):
            return 0
        size, wanted, coding, seen = 0, b"", b"", 0
        language: Language = "zh-CN"
        for name, value in scope["headers"]:
            size += len(name) + len(value)
            if name not in _LOOKED_AT:
                continue
            if name == b"host":
                if seen & 4 or (value != self._host and HOST.fullmatch(value) is None):
                    return 0
                seen |= 4
            elif name == b"accept":
                if seen & 1 or (value != _JSON and media_type_of(value, _OFFERS) is None):
                    return 0
                seen |= 1
            elif name == b"accept-language":
                if seen & 2:
                    return 0
                language = language_of(value)
                seen |= 2
            elif name == b"accept-encoding":
                coding = value
            elif name == b"if-none-match":
                if wanted:
                    return 0
                wanted = value
            else:
                return 0
        if size > MAX_HEADERS or not seen & 4:
            return 0
        if not self._reads.looked and not self._look():
            return 0
        if path.startswith(SUBJECTS):
            route, key = _SUBJECT, path[len(SUBJECTS) :]
            answer = self._reads.held.get(key)
            if answer is None or language != "zh-CN":
                answer = self._subject(key, language, answer)
        else:
            route = _RECORD
            answer = self._record(path[len(RECORDS) :], language)
        if answer is None or answer.ends <= self._text or not self._true:
            return 0
        body = answer.body
        same = bool(wanted) and matches(wanted, answer.etag)
        # whole before anything is waited for: meanwhile other requests may adopt another policy, or learn of another version
        headers = [
            *self._common[language],
            answer.kept or (self._cached if answer.ends >= self._soon else replies.public_for(max_age(self._now, answer.valid_until))),
            (b"etag", answer.etag),
            self._version,
        ]
        if answer.link is not None:
            headers.append((b"link", answer.link))
        costs = self._costs
        paid = pay(scope, costs.head if method == "HEAD" else costs.not_modified if same else costs.request)
        if paid is not None and not isinstance(paid, list):
            paid = await paid
        if paid is None:  # the quota is spent: the framework's way says so
            return 0
        request_id = next(self._ids)
        headers += ((b"request-id", request_id), *paid)
        if same:
            status, body = 304, b""
        else:
            status = 200
            if coding and len(body) >= MIN_COMPRESSED:
                packed = compressed(Reply(200, headers, body), coding)
                headers, body = packed.headers, packed.body
            else:
                headers.append(answer.length)
            if method == "HEAD":
                body = b""
        scope["answered"] = route, len(body), request_id
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return status

    def _look(self) -> bool:
        """The first look-up of a turn of the loop: what counts for all of them. False: nothing can be answered.

        Whoever is answered in this turn had asked before, for the look-ups put the turn's end in line first: the policy, the keys, the
        state and the moment that are looked at here are as true for them as those of any later look.
        """
        self._true = False
        try:
            policies = self._services.policies.current()
            if policies is not self._policies or self._ring.epoch != self._key_epoch:
                self._adopt(policies)
        except NoActivePolicy:
            return False
        if not self._reads.look():
            return False
        now = self._now = self._services.clock()
        if not self._second <= now < self._next:
            self._tick(now)
        if self._reads.state is not self._state:
            self._learn(self._reads.state)
        # a plan may have outlived its grounds, and an id does not say of which kind it is
        self._true = self._in_force and not (self._ends and self._ends[0] <= now)
        return True

    def _subject(self, name: str, language: Language, made: Prepared | None) -> Prepared | None:
        """What is answered of a subject that is not at hand as it is wanted."""
        try:
            if made is not None:
                return self._translated(made, language)
            if _CODE.fullmatch(name) is not None:
                return self._of_code(name, language)
            return self._of_subject(name, language) if _SUBJECT_ID.fullmatch(name) is not None else None
        except (NoActivePolicy, ObligationFailed):
            return None

    def _record(self, record_id: str, language: Language) -> Prepared | None:
        """What is answered of a record."""
        try:
            return self._of_record(record_id, language) if _RECORD_ID.fullmatch(record_id) is not None else None
        except (NoActivePolicy, ObligationFailed):
            return None

    def _of_code(self, code: str, language: Language) -> Prepared | None:
        """What is answered of an organisation by its code; None where its rendering is not true, or may be another's by now."""
        found = self._reads.by_code(code)
        if found is None or found.body is None or SUCCEEDED in found.body:  # it may go on under another code
            return None
        return self._made(code, language, found)

    def _beforehand(self, code: str, rendered: Rendered) -> tuple[Prepared, int] | None:
        """What is answered of an organisation in Chinese, and the bytes that it takes; None of one that is looked at when asked for.

        A turn of the loop that ends makes it: no fault of one rendering keeps it from the others.
        """
        if rendered.body is None or SUCCEEDED in rendered.body or _CODE.fullmatch(code) is None:
            return None
        try:
            made = self._made(code, "zh-CN", rendered)
        except GatewayError:
            return None
        if made is None:
            return None
        return made, _ENTRY + len(made.body) + len(made.etag) + len(made.link or b"")

    def _translated(self, made: Prepared, language: Language) -> Prepared:
        """The same in another language. Raises NoActivePolicy."""
        if self._forms is None:
            raise NoActivePolicy
        document = made.body[: -len(sample_end("zh-CN"))] + b"}" if self._demo else made.body
        body = in_language(document, language)
        return self._prepared(
            self._leaving(body, language), validator_of(self._services, self._forms, body), made.link, made.kept, made.valid_until
        )

    def _of_subject(self, subject_id: str, language: Language) -> Prepared | None:
        """What is answered of a subject by its id; None where its rendering is not true."""
        found = self._reads.subject(subject_id)
        return None if found is None else self._made(subject_id, language, found)

    def _made(self, name: str, language: Language, rendered: Rendered) -> Prepared | None:
        """What follows from the rendering of a subject alone, by its code or id; None of one that is not true."""
        if rendered.body is None or not rendered.fresh or rendered.plan != self._tag or self._forms is None:
            return None
        owed, body = self._terms(None), in_language(rendered.body, language)
        if language == "zh-CN":
            validator = validator_of_stored(self._services, self._forms, rendered.etag, body)
        else:
            validator = validator_of(self._services, self._forms, body)
        _, link = replies.page_link(self._origin, name.encode(), (owed.licence or "").encode())
        return self._prepared(self._leaving(body, language), validator, link, owed.kept, rendered.valid_until)

    def _of_record(self, record_id: str, language: Language) -> Prepared | None:
        """What is answered of a record; None where its rendering is not true yet, or no more."""
        found = self._reads.record(record_id)
        if found is None or not found.fresh or found.plan != self._tag or found.valid_from[:19] > self._text or self._forms is None:
            return None
        owed, body = self._terms(found.dataset), self._leaving(in_language(found.body, language), language)
        validator = validator_of(self._services, self._forms, _PLAN_SET, _JSON, body)
        return self._prepared(body, validator, owed.link, owed.kept, found.valid_until)

    def _leaving(self, body: bytes, language: Language) -> bytes:
        """A document as it leaves: in a demo with the notice that it is sample data."""
        return with_notice(body, language) if self._demo else body

    @staticmethod
    def _prepared(body: bytes, validator: str, link: bytes | None, kept: Header | None, valid_until: str) -> Prepared:
        return Prepared(
            body=body,
            etag=b'W/"%b"' % validator.encode(),
            length=_length_of(len(body)),
            link=link,
            kept=kept,
            valid_until=intern(valid_until),
            ends=intern(valid_until[:19]),
        )

    def _terms(self, dataset: str | None) -> _Terms:
        """What the policy in force owes for an answer over a dataset, or over all. Raises ObligationFailed."""
        known = self._owed.get(dataset)
        if known is None:
            if self._forms is None:
                raise NoActivePolicy
            datasets = None if dataset is None else (dataset,)
            kept = {"public": None, "private": replies.PRIVATE, "no-store": replies.NO_STORE}[owed_of(self._forms, datasets).cache]
            licence = licence_of(self._forms, datasets)
            link = None if licence is None else replies.link(("license", licence))[1]
            known = self._owed[dataset] = _Terms(kept=kept, licence=licence, link=link)
        return known

    def _learn(self, state: Standing) -> None:
        """Somebody committed: which policy is in force, and which version of the data is shown."""
        self._state = state
        self._in_force = self._forms is not None and state.policy_version == self._forms.version
        self._version = (b"dataset-version", state.version.encode())

    def _tick(self, now: datetime) -> None:
        """Another second: what follows from it alone is worked out once, not for each of some thousand answers."""
        self._second = now.replace(microsecond=0)
        self._next = self._second + _ONE
        self._text, self._soon = self._second.isoformat()[:19], (self._second + _SOON).isoformat()[:19]
        self._cached = replies.public_cache(now)

    def _adopt(self, policies: Policies) -> None:
        """Another policy is in force, or keys were exchanged: renderings of the one before no longer count, nor what was made of them."""
        forms = forms_of(policies, "public", "open.read")
        self._policies, self._tag = policies, forms.tag
        self._key_epoch, self._costs = self._ring.epoch, policies.costs
        self._state = None
        self._ends = ends_of(forms)
        self._forms = forms
        self._common = {
            language: [
                (b"content-type", _JSON),
                (b"content-language", language.encode()),
                (b"policy-version", b"%d" % forms.version),
                (b"policy-plan", b'"%b"' % forms.plan_hash.encode()),
                NO_INDEX,
                *COMMON,
                *((replies.SAMPLE,) if self._demo else ()),
            ]
            for language in _LANGUAGES
        }
        self._owed = {}
        self._reads.keep(self._beforehand)
