"""What every answer has: the plan set it stands under, the state it shows, its notice, ETag, and how long it may be kept.

Rules: one answer, one plan set, one state: they are read once, at the beginning (`Scene`). Over plans whose grounds have ended there is no
answer (`refuse_ended`): an empty one would say that nothing is there. An ETag is a keyed hash of the very bytes
(or, for an export, of everything that decides them), so it can neither be guessed nor match another view. Nothing is kept past
the next legal midnight or the first end of what it shows. This room tells no story.
"""

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from hashlib import sha256
from math import floor
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from gateway.core.callers.caller import Caller
from gateway.core.disclosure.obligations import Cache
from gateway.core.disclosure.plans import Policies
from gateway.core.errors import CaseRefMissing, NoActivePolicy, PolicyExpired, StoreError
from gateway.core.publication.documents import etag, localise, notice, with_notice
from gateway.core.publication.forms import Forms, forms_for, forms_of
from gateway.core.records.model import SubjectKind
from gateway.operations.asking import Answer, Ask, Language
from gateway.operations.effort import Effort
from gateway.operations.reaching import Gates, ends_of, gates_of, licence_of, owed_of
from gateway.services import Services
from gateway.store import feed, renderings
from gateway.store.feed import FIRST_VERSION, Head
from gateway.store.reads import Moment, moment_of

MAX_AGE = 60
CHINA = timezone(timedelta(hours=8))
_SHIFT_S = 8 * 3600

ENCODER = msgspec.json.Encoder()
DOCUMENT = msgspec.json.Decoder(dict[str, Any])


class Scene(Struct, frozen=True, kw_only=True):
    """What a story answers under."""

    services: Services
    caller: Caller
    policies: Policies
    forms: Forms
    head: Head
    now: datetime
    now_text: str
    language: Language
    effort: Effort
    moment: Moment | None = None
    """The state of the database in which it begins, where that can be told."""
    gates: Gates = ()
    """What the caller reaches, as the store asks it; of no meaning for the public."""
    whole: bool = True
    """What the caller's plan set was told is everything that it is shown; else its feed has not begun, or its first walk goes on."""

    @property
    def origin(self) -> str:
        """Scheme and host of every link."""
        return self.services.settings.public_origin.rstrip("/")

    def etag(self, *parts: bytes) -> str:
        """A validator of these parts under this plan set and policy version."""
        return validator_of(self.services, self.forms, *parts)

    @property
    def public(self) -> bool:
        """Answered from what everybody may see."""
        return self.caller.open

    @property
    def no_store(self) -> bool:
        """Whether some plan of this set shows persons: then nothing keeps the answer."""
        return any(held.personal for held in self.forms.plan_sets.values())


class Second(NamedTuple):
    """What follows from a second alone: it is worked out once, not for each of its answers."""

    text: str
    soon: str
    """Of the second from which an end leaves an answer its whole minute."""
    left: int
    """Whole seconds to the next legal midnight, when periods end."""


def second_of(now: datetime) -> Second:
    """Of the second of a moment."""
    return _second(floor(now.timestamp()))


@lru_cache(maxsize=4)
def _second(second: int) -> Second:
    text, soon = (datetime.fromtimestamp(each, UTC).isoformat()[:19] + "Z" for each in (second, second + MAX_AGE + 1))
    return Second(text, soon, 86_400 - (second + _SHIFT_S) % 86_400)


def instant_of_version(version: str) -> str | None:
    """The commit time inside a dataset version; None before anything was told."""
    if version == FIRST_VERSION:
        return None
    digits = version[:14]
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}T{digits[8:10]}:{digits[10:12]}:{digits[12:14]}Z"


async def begin(services: Services, caller: Caller, language: Language, *, reads_records: bool = True) -> Scene:
    """Everything that one answer stands under, read once; again only when something was committed since.

    Raises NoActivePolicy; CaseRefMissing where a plan asks for a case reference, unless no record is read.
    """
    moment = moment_of(services.store.reads)
    key = (services.policies, caller.plan_tier, caller.purpose)
    held: tuple[Policies, Forms, Head, bool] | None = moment.known.get(key) if moment is not None else None
    if held is None:
        policies = await services.policies.fresh()
        forms = forms_of(policies, caller.plan_tier, caller.purpose)
        head = await feed.head(services.store.reads, forms.name)
        held = policies, forms, head, caller.open or await renderings.is_whole(services.store.reads, forms.name)
        if moment is not None:
            moment.known[key] = held
    policies, forms, head, whole = held
    gates: Gates = ()
    if not caller.open:
        forms = forms_for(policies, caller)
        gates = gates_of(forms)
        if reads_records and caller.case_ref is None and owed_of(forms).case_ref == "required":
            raise CaseRefMissing
    now = services.clock()
    return Scene(
        services=services,
        caller=caller,
        policies=policies,
        forms=forms,
        head=head,
        now=now,
        now_text=second_of(now).text,
        language=language,
        effort=Effort(services.settings.query_timeout_s),
        moment=moment,
        gates=gates,
        whole=whole,
    )


def ended(scene: Scene, datasets: Iterable[str] | None = None, kinds: tuple[SubjectKind, ...] | None = None) -> bool:
    """Whether a plan under which something of these datasets (None: all) and kinds might be shown has outlived its grounds."""
    ends = ends_of(scene.forms, None if datasets is None else tuple(sorted(datasets)), kinds)
    return bool(ends) and ends[0] <= scene.now


def refuse_ended(scene: Scene, datasets: Iterable[str] | None = None, kinds: tuple[SubjectKind, ...] | None = None) -> None:
    """Raises PolicyExpired where an answer would pass over what a plan without grounds does not show any more.

    It depends on plans and clock alone, never on what is stored: that a record lies behind such a plan is told to nobody.
    """
    if ended(scene, datasets, kinds):
        raise PolicyExpired


async def stands_under(services: Services, caller: Caller) -> tuple[int, str] | None:
    """Policy version and plans under which an answer to this caller stands, for what is no `Answer`; None: no policy is in force."""
    try:
        policies = await services.policies.fresh()
    except NoActivePolicy:
        return None
    forms = forms_of(policies, caller.plan_tier, caller.purpose) if caller.open else forms_for(policies, caller)
    return forms.version, forms.plan_hash


def seconds_to_midnight(now: datetime) -> int:
    """Whole seconds to the next legal midnight, when periods end."""
    return second_of(now).left


def max_age(now: datetime, valid_until: str | None = None) -> int:
    """How long a shared cache may keep an answer: a minute, never past midnight or the first end of what it shows."""
    second = second_of(now)
    age = min(MAX_AGE, second.left)
    if valid_until is not None and valid_until < second.soon:
        age = min(age, max(0, int((datetime.fromisoformat(valid_until) - now).total_seconds())))
    return age


def answer(
    scene: Scene,
    body: bytes,
    *,
    validator: str | None = None,
    valid_until: str | None = None,
    dataset_version: str | None = None,
    links: tuple[tuple[str, str], ...] = (),
    rows: int | None = None,
    media_type: str = "application/json",
    file_name: str | None = None,
    reads_data: bool = True,
    datasets: tuple[str, ...] | None = None,
) -> Answer:
    """A ready answer with what its headers say; of data also its licence, and who may keep it (`datasets`: which it may hold; else all)."""
    forms = scene.forms
    cache: Cache = "public"
    if reads_data:
        cache, licence = _terms(forms, datasets)
        links = links if licence is None else (*links, ("license", licence))
    return Answer(
        body=body,
        media_type=media_type,
        etag=validator or scene.etag(scene.caller.plan_set.encode(), media_type.encode(), body),
        max_age=max_age(scene.now, valid_until),
        private=cache == "private",
        no_store=cache == "no-store" if scene.public else scene.no_store or owed_of(forms).cache == "no-store",
        dataset_version=(dataset_version or scene.head.version) if reads_data else None,
        policy_version=forms.version,
        policy_plan=forms.plan_hash,
        links=links,
        rows=rows,
        looked_at=scene.effort.rows,
        sample=scene.services.settings.demo,
        file_name=file_name,
    )


def _terms(forms: Forms, datasets: tuple[str, ...] | None) -> tuple[Cache, str | None]:
    """Who may keep an answer over these datasets, and its licence. Raises ObligationFailed."""
    key = ("terms", datasets)
    known: tuple[Cache, str | None] | None = forms.remembered.get(key)
    if known is None:
        known = forms.remembered[key] = owed_of(forms, datasets).cache, licence_of(forms, datasets)
    return known


async def alike(scene: Scene, ask: Ask, make: Callable[[], Awaitable[Answer]], *, of: Hashable) -> Answer:
    """The answer to a question that everybody asks alike: made once in each second and each state of the database.

    It follows from the state, the plans, the second, the question and what it is put to (`of`), all of which stand in its key; a bound
    caller's is its own.
    """
    moment = scene.moment
    if moment is None or not scene.caller.shared or ask.params.get("limit") == "all":
        return await make()
    question = (of, scene.forms.tag, ask.pages.asked, sorted(ask.params.items()), ask.format, ask.excel, ask.language, scene.now_text)
    return await _once(moment, question, make)


async def as_before(services: Services, question: Hashable, make: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer to what somebody without a credential asks in these very words: like `alike`, before the question is read.

    It follows from the words, the second and the state of the database, under which plans and policies are one. What `alike` keeps as well
    is kept once, under two keys. An error is told anew.
    """
    try:
        moment = moment_of(services.store.reads)
    except StoreError:  # told by whoever reads, after what is wrong with the question
        moment = None
    if moment is None:
        return await make()
    return await _once(moment, (question, int(services.clock().timestamp())), make)


async def _once(moment: Moment, question: object, make: Callable[[], Awaitable[Answer]]) -> Answer:
    """What was answered to a question in this state of the database, made if it was not; a stream is nobody else's."""
    key = sha256(repr(question).encode()).digest()  # nothing that was asked stays in memory for having been asked
    known: Answer | None = moment.kept(key)
    if known is None:
        known = await make()
        if known.stream is None:
            moment.keep(key, known)
    return known


def validator_of(services: Services, forms: Forms, *parts: bytes) -> str:
    """A validator of these parts under a plan set and its policy version."""
    return etag(services.store.vault.key("etag"), forms.tag.encode(), *parts)


def stored_validator(services: Services, forms: Forms, body: bytes) -> str:
    """The validator of a document that is kept, with the version of the key that it was made under: `2.…`."""
    return f"{services.store.vault.ring.current('etag').version}.{validator_of(services, forms, body)}"


def validator_of_stored(services: Services, forms: Forms, stored: str, body: bytes) -> str:
    """The validator of a kept document: the one kept beside it as long as its key is the present one, else made anew.

    Otherwise, after a rotation, only what is rendered again would change its tag, also where nothing that this plan shows has changed.
    """
    version, _, kept = stored.partition(".")
    return kept if version == str(services.store.vault.ring.current("etag").version) else validator_of(services, forms, body)


def in_language(body: bytes, language: Language) -> bytes:
    """A document with its labels in a language."""
    return body if language == "zh-CN" else ENCODER.encode(localise(DOCUMENT.decode(body), language))


def marked(scene: Scene, body: bytes) -> bytes:
    """A single document as it leaves: in a demo with the notice that it is sample data."""
    return with_notice(body, scene.language) if scene.services.settings.demo else body


def notice_of(scene: Scene, own: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """The notice of a list: its own, that it is sample data, or both (the second as `also`)."""
    sample = notice(scene.language) if scene.services.settings.demo else None
    if own is None:
        return sample
    return {**own, "also": [sample]} if sample is not None else dict(own)


def document_answer(
    scene: Scene,
    document: Mapping[str, Any],
    *,
    reads_data: bool = True,
    datasets: tuple[str, ...] | None = None,
    links: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """One document as an answer."""
    return answer(scene, marked(scene, ENCODER.encode(document)), reads_data=reads_data, datasets=datasets, links=links)
