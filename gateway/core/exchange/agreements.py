"""Agreements: what two parties exchange, which way, about whom, until when (exchange.md §3).

The operator's TOML file is a proposal; the signed JSON is the agreement, and both sides sign the same bytes. A version is good with
both parties' pinned keys (and, from version 2, the previous version's too). Suspension and termination are one-sided and take effect at
once. A member that we do not know is refused: an ignored restriction is a lie. Rights are checked per record: a partner speaks only as
itself, about its own rids, within the regions, authorities, categories, kinds, operations and fields of the list.

This room must not sign, and it never lets `[local]` into what is signed.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange import documents, notes
from gateway.core.exchange.disclosures import CLEAR_MEMBERS, MAX_VALUE_BYTES
from gateway.core.exchange.notes import KeyRing, SignedDocument
from gateway.core.exchange.wire import (
    MAX_INTEGER,
    SUITES,
    AgreementId,
    Count,
    DatasetName,
    DateText,
    Digest,
    Number,
    PartyName,
    digest_text,
    encode,
    instant,
    parse_date,
    parse_instant,
    strict_json,
)
from gateway.core.records.divisions import covers, division
from gateway.core.records.identifiers import citizen_check_character, uscc_is_valid
from gateway.core.records.model import NEGATIVE_CATEGORIES, Category, SubjectKind, Value
from gateway.core.records.periods import end_instant, first_instant

AGREEMENT_TYPE = "chengxin-exchange/agreement/1"

Op = Literal["assert", "amend", "retract", "repair", "expire", "erase"]
OPS: tuple[Op, ...] = ("assert", "amend", "retract", "repair", "expire", "erase")
WITHDRAWALS: frozenset[str] = frozenset({"retract", "repair", "expire", "erase"})

State = Literal["draft", "offered", "agreed", "active", "suspended", "terminated", "expired", "superseded"]
"""`agreed` becomes `active` by time and keys; `expired` and `superseded` come by time alone."""


class _Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything signed: unknown members are refused."""


class LegalText(_Strict, frozen=True, kw_only=True):
    """A ground of the agreement itself."""

    text: str
    uri: str | None = None


class Retention(_Strict, frozen=True, kw_only=True):
    """How long parts are kept, and what happens at the end."""

    parts_days: Annotated[int, Meta(ge=0, le=3650)]
    after_termination: Literal["purge", "freeze"]
    freeze_days: Annotated[int, Meta(ge=0, le=3650)]


Hours = Annotated[int, Meta(ge=0, le=8760)]


class ServiceLevel(_Strict, frozen=True, kw_only=True):
    """Deadlines in hours; 0 for `stop_after_h` means never."""

    withdraw_h: Hours
    erase_h: Hours
    feedback_h: Hours
    hold_h: Hours
    stop_after_h: Hours = 0


class Limits(_Strict, frozen=True, kw_only=True):
    """Bounds of one batch (§6); defaults and hard maxima of the table there."""

    lines: Annotated[int, Meta(ge=1, le=1_000_000)] = 100_000
    error_permille: Annotated[int, Meta(ge=0, le=1000)] = 50
    parts: Annotated[int, Meta(ge=1, le=1000)] = 100
    part_bytes: Annotated[int, Meta(ge=1, le=256 * 2**20)] = 64 * 2**20
    part_bytes_raw: Annotated[int, Meta(ge=1, le=2**30)] = 256 * 2**20
    ratio: Annotated[int, Meta(ge=1, le=100)] = 50
    batch_s: Annotated[int, Meta(ge=1, le=3600)] = 600
    requests_min: Annotated[int, Meta(ge=1, le=100_000)] = 120


class QueryTerms(_Strict, frozen=True, kw_only=True):
    """Mutual query (§12)."""

    levels: tuple[Literal[1, 2], ...]
    datasets: tuple[DatasetName, ...]
    per_day: Count
    per_officer_day: Count
    per_subject_day: Count


class RecognitionTerms(_Strict, frozen=True, kw_only=True):
    """What is recognised here when the partner says it (§13)."""

    dataset: DatasetName
    category: Category
    freshness_h: Annotated[int, Meta(ge=1, le=8760)]


class NaturalPersons(_Strict, frozen=True, kw_only=True):
    """Whether lines about people or individual households may travel at all (§14)."""

    allowed: bool
    datasets: tuple[DatasetName, ...] = ()
    fields: tuple[str, ...] = ()
    basis: tuple[LegalText, ...] = ()
    assessment: str | None = None
    route: Literal["direct", "province"] | None = None


class Identity(_Strict, frozen=True, kw_only=True):
    """Who a party is and where it answers."""

    org: str
    region: str
    base_url: str


class PartyTerms(_Strict, frozen=True, kw_only=True):
    """One of the two parties, with the keys that sign agreements and keys documents for it."""

    party: PartyName
    identity: Identity
    agreement_keys: tuple[str, ...]


class Wire(_Strict, frozen=True, kw_only=True):
    """How a stream travels."""

    delivery: Literal["push", "pull", "drop"]
    suite: Literal["ed25519-sha256", "gm1"]
    also_sign: tuple[Literal["ed25519", "sm2"], ...] = ()
    format: Literal["lines/1", "part/1"] = "lines/1"


class SchemaRange(_Strict, frozen=True, kw_only=True):
    """Which schema versions are understood."""

    major: Annotated[int, Meta(ge=0, le=999)]
    min_minor: Annotated[int, Meta(ge=0, le=999)]


class Scope(_Strict, frozen=True, kw_only=True, rename={"except_": "except"}):
    """Of what a stream may speak."""

    regions: tuple[str, ...]
    except_: tuple[str, ...] = ()
    authorities: tuple[str, ...]
    categories: tuple[Category, ...]


class FieldTerms(_Strict, frozen=True, kw_only=True):
    """One agreed field: wire name, type, bounds."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}\Z")]
    type: str
    length: Annotated[int, Meta(ge=1, le=16384)] | None = None
    required: bool
    role: Literal["subject_code", "subject_name", "document"] | None = None
    unit: str | None = None
    values: tuple[str, ...] = ()
    twins: tuple[str, ...] = ()


class StreamTerms(_Strict, frozen=True, kw_only=True, rename={"from_": "from", "schema_": "schema"}):
    """One dataset in one direction."""

    dataset: DatasetName
    from_: PartyName
    to: PartyName
    wire: Wire
    schema_: SchemaRange
    purpose: str
    polarity: Literal["positive", "negative", "neutral"]
    ops: tuple[Op, ...]
    subject_kinds: tuple[SubjectKind, ...]
    max_interval_h: Annotated[int, Meta(ge=1, le=8760)]
    scope: Scope
    fields: tuple[FieldTerms, ...]


class Terms(_Strict, frozen=True, kw_only=True, rename={"type_": "type"}):
    """The signed JSON, member for member."""

    type_: Literal["chengxin-exchange/agreement/1"]
    id: AgreementId
    version: Number
    previous: Digest | None = None
    title: str
    effective: DateText
    expires: DateText
    basis: tuple[LegalText, ...]
    purposes: tuple[str, ...]
    onward: bool
    skew_s: Annotated[int, Meta(ge=0, le=600)] = 300
    retention: Retention
    sla: ServiceLevel
    limits: Limits
    query: QueryTerms | None = None
    recognition: tuple[RecognitionTerms, ...] = ()
    natural_persons: NaturalPersons
    parties: tuple[PartyTerms, ...]
    streams: tuple[StreamTerms, ...]


class Local(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[local]`: ours alone, never signed."""

    adapter: str = "https_partner"
    tier: str = "partner"
    owner: str | None = None
    allow_private: bool = False
    """Lifts the refusal of private, loopback and metadata addresses for this partner; test mode and private networks."""
    file_key: dict[str, str] | None = None
    """Where the key of this line's files stands, `{ file = "…" }` or `{ env = "…" }`: 64 hex digits that both sides keep; never the key."""
    config: dict[str, Any] = {}


class Agreement(Struct, frozen=True, kw_only=True):
    """One version of an agreement: the signed bytes, their digest and what they say."""

    body: bytes
    digest: str
    terms: Terms
    effective: datetime
    """00:00 UTC+8 of the first day."""
    ends: datetime
    """24:00 UTC+8 of the last day."""

    @property
    def id(self) -> str:
        """Its id."""
        return self.terms.id

    @property
    def version(self) -> int:
        """Its version."""
        return self.terms.version

    @property
    def skew(self) -> timedelta:
        """Tolerated difference of clocks."""
        return timedelta(seconds=self.terms.skew_s)

    @property
    def parties(self) -> tuple[str, str]:
        """Both parties, as listed."""
        first, second = self.terms.parties
        return first.party, second.party

    def other(self, party: str) -> str:
        """The other side.

        Raises ExchangeError SCOPE_AGREEMENT when this party is neither.
        """
        first, second = self.parties
        if party not in (first, second):
            raise ExchangeError("not a party of this agreement", code="SCOPE_AGREEMENT", place=self.id)
        return second if party == first else first

    def party(self, party: str) -> PartyTerms:
        """What the agreement says of one side.

        Raises ExchangeError SCOPE_AGREEMENT when this party is neither.
        """
        for each in self.terms.parties:
            if each.party == party:
                return each
        raise ExchangeError("not a party of this agreement", code="SCOPE_AGREEMENT", place=self.id)

    def stream(self, dataset: str, sender: str) -> StreamTerms | None:
        """The terms of one dataset in one direction."""
        return next((stream for stream in self.terms.streams if stream.dataset == dataset and stream.from_ == sender), None)

    def pins(self, party: str) -> KeyRing:
        """The `agreement` keys pinned for one side."""
        return documents.pinned(party, self.party(party).agreement_keys)

    def recognises(self, dataset: str, category: str) -> RecognitionTerms | None:
        """The recognition entry for a dataset and category."""
        return next((entry for entry in self.terms.recognition if entry.dataset == dataset and entry.category == category), None)


# --- reading ----------------------------------------------------------------------------------------------------------


def signed_form(toml: bytes, *, place: str | None = None) -> tuple[bytes, Local]:
    """The bytes that both sides sign, made from the operator's file, and its `[local]` part.

    Raises ExchangeError SCHEMA_TYPE for no TOML, SCHEMA_UNKNOWN for an unknown member of `[local]`.
    """
    try:
        file = tomllib.loads(toml.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ExchangeError(f"the agreement file is no TOML: {error}", code="SCHEMA_TYPE", place=place) from error
    try:
        local = msgspec.convert(file.pop("local", {}), Local)
    except msgspec.ValidationError as error:
        raise _shape_error(error, f"{place or 'agreement'} [local]") from error
    return encode({"type": AGREEMENT_TYPE} | {name: _plain(value) for name, value in file.items()}), local


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float | datetime | time):
        raise ExchangeError("an agreement has no fractions and no times of day", code="SCHEMA_TYPE")
    return value.isoformat() if isinstance(value, date) else value


def _shape_error(error: msgspec.ValidationError, place: str | None) -> ExchangeError:
    text = str(error)
    code = "SCHEMA_UNKNOWN" if "unknown field" in text else "SCHEMA_MISSING" if "missing required" in text else "SCHEMA_TYPE"
    return ExchangeError(text, code=code, place=place)


def read_agreement(body: bytes, *, place: str | None = None) -> Agreement:
    """The agreement that these signed bytes say, well formed and consistent in itself.

    Raises ExchangeError SCHEMA_* with the place.
    """
    value = strict_json(body)
    try:
        terms = msgspec.convert(value, Terms)
    except msgspec.ValidationError as error:
        raise _shape_error(error, place) from error
    effective, expires = parse_date(terms.effective, "SCHEMA_TYPE"), parse_date(terms.expires, "SCHEMA_TYPE")
    agreement = Agreement(body=body, digest=digest_text(body), terms=terms, effective=first_instant(effective), ends=end_instant(expires))
    faults = lint(agreement)
    if faults:
        raise ExchangeError("; ".join(fault.message for fault in faults), code=faults[0].code, place=place or faults[0].place)
    return agreement


def same_terms(body: bytes, toml: bytes) -> bool:
    """Whether offered bytes parse to the same value as our own file: what must hold before we countersign."""
    mine, _ = signed_form(toml)
    return bool(strict_json(body) == strict_json(mine))


class Fault(Struct, frozen=True, kw_only=True):
    """One thing that keeps an agreement from being loaded."""

    code: str
    message: str
    place: str


def lint(agreement: Agreement) -> tuple[Fault, ...]:
    """Everything in the text that may not stand in any agreement."""
    return tuple(_faults(agreement))


def _faults(agreement: Agreement) -> Iterable[Fault]:
    terms = agreement.terms
    if terms.onward:
        yield Fault(code="SCHEMA_ENUM", message="onward must be false: what comes in is not passed on", place="onward")
    if (terms.version == 1) != (terms.previous is None):
        yield Fault(
            code="SCHEMA_MISSING",
            message="from version 2 on, previous is the digest of the version before; version 1 has none",
            place="previous",
        )
    if agreement.ends <= agreement.effective:
        yield Fault(code="SCHEMA_TYPE", message="expires lies before effective", place="expires")
    if len(terms.parties) != 2 or len({party.party for party in terms.parties}) != 2:
        yield Fault(code="SCHEMA_TYPE", message="an agreement has exactly two parties", place="parties")
        return
    for party in terms.parties:
        yield from _party_faults(party)
    yield from _person_faults(terms)
    names = {party.party for party in terms.parties}
    seen: set[tuple[str, str]] = set()
    for number, stream in enumerate(terms.streams):
        place = f"streams[{number}]"
        if {stream.from_, stream.to} != names:
            yield Fault(code="SCHEMA_TYPE", message="a stream goes from one party to the other", place=place)
        if (stream.dataset, stream.from_) in seen:
            yield Fault(code="SCHEMA_TYPE", message="one stream per dataset and direction", place=place)
        seen.add((stream.dataset, stream.from_))
        yield from _stream_faults(terms, stream, place)


def _party_faults(party: PartyTerms) -> Iterable[Fault]:
    place = f"parties.{party.party}"
    if not _known_region(party.identity.region):
        yield Fault(code="SCOPE_REGION", message="a region is six digits of the division table", place=place)
    if not uscc_is_valid(party.identity.org):
        yield Fault(code="SUBJ_USCC", message="org is the USCC of the operating body", place=place)
    url = urlsplit(party.identity.base_url)
    if (
        url.scheme not in ("https", "http")
        or not url.hostname
        or url.query
        or url.fragment
        or url.username
        or not url.path.endswith("/x/v1")
    ):
        yield Fault(code="SCHEMA_TYPE", message="base_url is https://host/x/v1", place=place)
    elif url.scheme == "http" and url.hostname not in ("127.0.0.1", "::1", "localhost"):
        yield Fault(code="SCHEMA_TYPE", message="plain http is for loopback in test mode only", place=place)
    if not party.agreement_keys:
        yield Fault(
            code="SCHEMA_MISSING", message="agreement_keys is empty: `chengxin exchange agree` fills in the keys of both sides", place=place
        )
    for vkey in party.agreement_keys:
        try:
            verifier = next(iter(documents.pinned(party.party, [vkey]).keys.values())).verifier
        except ExchangeError as error:
            yield Fault(code="SIG_FORMAT", message=error.detail, place=place)
            continue
        if verifier.name != f"{party.party}/agreement":
            yield Fault(code="SIG_KEY_USE", message="agreement_keys hold keys named party/agreement", place=place)


def _person_faults(terms: Terms) -> Iterable[Fault]:
    persons = terms.natural_persons
    complete = bool(persons.datasets and persons.fields and persons.basis and persons.assessment and persons.route)
    if persons.allowed and not complete:
        yield Fault(
            code="LAW_PERSON", message="natural_persons needs datasets, fields, basis, assessment and route", place="natural_persons"
        )
    if not persons.allowed and (persons.datasets or persons.fields):
        yield Fault(code="LAW_PERSON", message="natural_persons lists something and allows nothing", place="natural_persons")
    if persons.allowed and persons.route == "province" and not any(party.identity.region.endswith("0000") for party in terms.parties):
        yield Fault(code="LAW_PERSON", message="route = province needs the province as the other party", place="natural_persons")


def _stream_faults(terms: Terms, stream: StreamTerms, place: str) -> Iterable[Fault]:
    persons = terms.natural_persons
    for kind in ("natural", "individual_business"):
        if kind in stream.subject_kinds and not (persons.allowed and stream.dataset in persons.datasets):
            yield Fault(code="LAW_PERSON", message=f"{kind} in subject_kinds without natural_persons for this dataset", place=place)
    if "*" in stream.scope.authorities and (stream.polarity == "negative" or NEGATIVE_CATEGORIES & set(stream.scope.categories)):
        yield Fault(code="SCOPE_AUTHORITY", message='authorities = ["*"] may not stand in a negative stream', place=place)
    for authority in stream.scope.authorities:
        if authority != "*" and not uscc_is_valid(authority):
            yield Fault(code="SUBJ_USCC", message="an authority is named by its USCC", place=place)
    if stream.polarity == "positive" and NEGATIVE_CATEGORIES & set(stream.scope.categories):
        yield Fault(code="SCOPE_CATEGORY", message="a negative category in a positive stream", place=place)
    if not stream.scope.regions or not stream.scope.authorities or not stream.scope.categories:
        yield Fault(code="SCHEMA_MISSING", message="scope names regions, authorities and categories", place=place)
    for region in (*stream.scope.regions, *stream.scope.except_):
        if not _known_region(region):
            yield Fault(code="SCOPE_REGION", message="a region is six digits of the division table", place=place)
    if "sm2" in (SUITES[stream.wire.suite].algorithm, *stream.wire.also_sign):
        yield Fault(code="SIG_ALG_MISSING", message="this gateway has no SM2: only ed25519-sha256 streams can be agreed", place=place)
    if stream.wire.format != "lines/1":
        yield Fault(code="SCHEMA_VERSION", message="this gateway seals and admits lines/1 only", place=place)
    if stream.purpose not in terms.purposes:
        yield Fault(code="SCHEMA_ENUM", message="the stream's purpose is not among the agreement's", place=place)
    if not stream.fields:
        yield Fault(code="SCHEMA_MISSING", message="a stream names its fields", place=place)
    names = [field.name for field in stream.fields]
    if len(set(names)) != len(names):
        yield Fault(code="SCHEMA_TYPE", message="a field is named twice", place=place)
    roles = [field.role for field in stream.fields if field.role]
    if len(set(roles)) != len(roles):
        yield Fault(code="SCHEMA_TYPE", message="a role is given to one field", place=place)
    if len(names) + sum(len(field.twins) for field in stream.fields) > 64:
        yield Fault(code="SIZE_LINE", message="a line has at most 64 disclosures", place=place)
    for field in stream.fields:
        fault = field_fault(field)
        if fault:
            yield Fault(code="SCHEMA_TYPE", message=fault, place=f"{place}.{field.name}")


def _known_region(region: str) -> bool:
    return covers(region, region) and division(region) is not None


# --- signatures and states --------------------------------------------------------------------------------------------


def signing_text(agreement: Agreement) -> str:
    """The text that both parties sign."""
    return notes.document_text("agreement", f"{agreement.id}/{agreement.version}", agreement.body)


def signed_by(agreement: Agreement, note: str, *, previous: Agreement | None, first_seen: datetime) -> frozenset[str]:
    """The parties whose signature on this version is complete.

    From version 2 on, a side counts only with a line of a key pinned in this version and one of a key pinned in the version before.

    Raises ExchangeError SIG_* when a pinned key's line fails or the note is about something else.
    """
    parties: set[str] = set()
    for party in agreement.parties:
        rings = [agreement.pins(party)] + ([previous.pins(party)] if previous is not None else [])
        try:
            for ring in rings:
                notes.verify_document(
                    SignedDocument(agreement.body, note),
                    ring,
                    artefact="agreement",
                    context=f"{agreement.id}/{agreement.version}",
                    use="agreement",
                    first_seen=first_seen,
                )
        except ExchangeError as error:
            if error.code in ("SIG_UNKNOWN_KEY", "SIG_ALG_MISSING"):
                continue
            raise
        parties.add(party)
    if agreement.terms.previous is not None and (previous is None or previous.digest != agreement.terms.previous):
        raise ExchangeError("this version does not follow the one held", code="SCOPE_DIGEST", place=agreement.id)
    return frozenset(parties)


class Named(Struct, frozen=True, kw_only=True):
    """How documents name an agreement."""

    id: AgreementId
    version: Number
    digest: Digest


class StateBody(_Strict, frozen=True, kw_only=True, rename={"type_": "type", "from_": "from"}):
    """Body of a signed `agreement-state`."""

    type_: Literal["chengxin-exchange/agreement-state/1"] = "chengxin-exchange/agreement-state/1"
    agreement: Named
    by: PartyName
    serial: Number
    state: Literal["suspended", "active", "terminated"]
    from_: str
    reason: str


class Notice(Struct, frozen=True, kw_only=True):
    """A believed `agreement-state`: one side suspends, resumes or ends."""

    by: str
    serial: int
    state: Literal["suspended", "active", "terminated"]
    from_at: datetime
    first_seen: datetime


def state_body(
    agreement: Agreement, *, by: str, serial: int, state: Literal["suspended", "active", "terminated"], from_at: datetime, reason: str
) -> bytes:
    """The bytes of a notice that we sign."""
    return encode(
        StateBody(
            agreement=Named(id=agreement.id, version=agreement.version, digest=agreement.digest),
            by=by,
            serial=serial,
            state=state,
            from_=instant(from_at),
            reason=reason,
        )
    )


def read_state(document: SignedDocument, agreement: Agreement, *, first_seen: datetime) -> Notice:
    """A notice of one side, signed with its pinned key.

    Raises ExchangeError SIG_*, SCHEMA_* or SCOPE_DIGEST.
    """
    try:
        said = msgspec.convert(strict_json(document.body), StateBody)
    except msgspec.ValidationError as error:
        raise _shape_error(error, "agreement-state") from error
    from_at = parse_instant(said.from_, "SCHEMA_TYPE")
    notes.verify_document(
        document,
        agreement.pins(said.by),
        artefact="agreement-state",
        context=f"{agreement.id}/{said.by}/{said.serial}",
        use="agreement",
        first_seen=first_seen,
        own_time=from_at,
        skew=agreement.skew,
    )
    if (said.agreement.id, said.agreement.version, said.agreement.digest) != (agreement.id, agreement.version, agreement.digest):
        raise ExchangeError("the notice is about another agreement", code="SCOPE_DIGEST", place=agreement.id)
    return Notice(by=said.by, serial=said.serial, state=said.state, from_at=from_at, first_seen=first_seen)


class Standing(Struct, frozen=True, kw_only=True):
    """How an agreement stands at one moment, and since when."""

    state: State
    since: datetime
    suspended_by: tuple[str, ...] = ()

    @property
    def active(self) -> bool:
        """Records may be sent and applied."""
        return self.state == "active"

    @property
    def ended(self) -> bool:
        """No event follows."""
        return self.state in ("terminated", "expired", "superseded")


class Held(Struct, frozen=True, kw_only=True):
    """An agreement version as the store holds it: who signed, who has said what of it, and our `[local]`."""

    agreement: Agreement
    note: str
    signed: frozenset[str]
    recorded: datetime
    notices: tuple[Notice, ...] = ()
    keys_held: bool = False
    """Both parties' keys documents have been seen."""
    successor: datetime | None = None
    """When the next version takes effect, if both have signed one."""
    local: Local = Local()

    @property
    def complete(self) -> bool:
        """Both have signed."""
        return self.signed == frozenset(self.agreement.parties)

    def standing(self, at: datetime) -> Standing:
        """How it stands at a moment, by signatures, notices, keys and time."""
        agreement = self.agreement
        if not self.complete:
            return Standing(state="offered" if self.signed else "draft", since=self.recorded)
        terminated = min((notice.from_at for notice in self.notices if notice.state == "terminated" and notice.from_at <= at), default=None)
        ends = [
            (moment, state)
            for moment, state in ((terminated, "terminated"), (agreement.ends, "expired"), (self.successor, "superseded"))
            if moment is not None and moment <= at
        ]
        if ends:
            moment, state = min(ends)
            return Standing(state=state, since=moment)  # type: ignore[arg-type]  # the three words above
        latest: dict[str, Notice] = {}
        for notice in sorted((notice for notice in self.notices if notice.from_at <= at), key=lambda notice: notice.serial):
            latest[notice.by] = notice
        suspended = [notice for notice in latest.values() if notice.state == "suspended"]
        if suspended:
            return Standing(
                state="suspended",
                since=min(notice.from_at for notice in suspended),
                suspended_by=tuple(sorted(notice.by for notice in suspended)),
            )
        if at < agreement.effective or not self.keys_held:
            return Standing(state="agreed", since=self.recorded)
        return Standing(state="active", since=agreement.effective)

    def takes_withdrawals(self, at: datetime) -> bool:
        """Whether withdrawals of records already sent still travel: active, suspended, or ended at most `freeze_days` ago."""
        now = self.standing(at)
        return now.state in ("active", "suspended") or (
            now.ended and at <= now.since + timedelta(days=self.agreement.terms.retention.freeze_days)
        )


# --- what a stream may say --------------------------------------------------------------------------------------------

Check = Callable[[Value], str | None]
"""Code of what is wrong with a value, or None."""

_DECIMAL_TYPE = re.compile(r"decimal\(([1-9][0-9]?),([0-9][0-9]?)\)\Z")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(?:\.([0-9]+))?\Z")
_ID = re.compile(r"[0-9]{17}[0-9X]\Z")
_SIMPLE_TYPES = frozenset({"string", "text", "person_name", "uscc", "id_no", "date", "integer", "boolean", "enum"})


def field_fault(field: FieldTerms) -> str | None:
    """What is wrong with the terms of a field."""
    decimal = _DECIMAL_TYPE.match(field.type)
    if decimal is None and field.type not in _SIMPLE_TYPES:
        return f"there is no field type {field.type!r}"
    if decimal is not None and int(decimal[2]) > int(decimal[1]):
        return "a decimal has more places than digits"
    if field.type == "enum" and not field.values:
        return "an enum names its values"
    if field.values and field.type != "enum":
        return "only an enum names values"
    if field.type in ("string", "text", "person_name") and field.length is None:
        return "a text has a length"
    if field.name in CLEAR_MEMBERS:
        return "a field may not take the name of a clear member of the payload, which says it already"
    if field.twins:
        return "this gateway seals no twins yet"
    return None


def check_of(field: FieldTerms) -> Check:
    """The check of a value of an agreed field (§3) that is not null."""
    decimal = _DECIMAL_TYPE.match(field.type)
    if decimal is not None:
        digits, places = int(decimal[1]), int(decimal[2])
        return lambda value: _decimal(value, digits, places)
    match field.type:
        case "uscc":
            return _uscc
        case "id_no":
            return _citizen_id
        case "date":
            return _date
        case "integer":
            return lambda value: None if type(value) is int and abs(value) <= MAX_INTEGER else "SCHEMA_TYPE"
        case "boolean":
            return lambda value: None if type(value) is bool else "SCHEMA_TYPE"
        case "enum":
            allowed = frozenset(field.values)
            return lambda value: "SCHEMA_TYPE" if not isinstance(value, str) else None if value in allowed else "SCHEMA_ENUM"
        case _:
            length = field.length or 0
            return lambda value: "SCHEMA_TYPE" if not isinstance(value, str) else _too_long(value, length)


def _too_long(value: str, length: int) -> str | None:
    size = len(value)
    return "SCHEMA_LENGTH" if size > length or (size > MAX_VALUE_BYTES // 4 and len(value.encode()) > MAX_VALUE_BYTES) else None


def _decimal(value: Value, digits: int, places: int) -> str | None:
    match = _DECIMAL.match(value) if isinstance(value, str) else None
    if match is None:
        return "SCHEMA_TYPE"
    fraction = match[2] or ""
    return "SCHEMA_LENGTH" if len(fraction) > places or len(match[1]) + len(fraction) > digits else None


def _uscc(value: Value) -> str | None:
    if not isinstance(value, str):
        return "SCHEMA_TYPE"
    return None if uscc_is_valid(value) else "SUBJ_USCC"


def _citizen_id(value: Value) -> str | None:
    if not isinstance(value, str):
        return "SCHEMA_TYPE"
    return None if _ID.match(value) and citizen_check_character(value[:17]) == value[17] else "SUBJ_ID"


def _date(value: Value) -> str | None:
    try:
        if isinstance(value, str):
            parse_date(value, "SCHEMA_TYPE")
            return None
    except ExchangeError:
        pass
    return "SCHEMA_TYPE"


class StreamRules(Struct, frozen=True, kw_only=True):
    """The terms of one stream, made ready for checking many records."""

    agreement: Agreement
    terms: StreamTerms
    checks: Mapping[str, Check]
    required: frozenset[str]
    ops: frozenset[str]
    kinds: frozenset[str]
    categories: frozenset[str]
    authorities: frozenset[str] | None
    """None: any authority (positive and neutral streams only)."""
    persons: bool
    """Lines about people or households have a basis in the agreement (§14)."""

    @property
    def stream(self) -> str:
        """Its name."""
        return f"{self.agreement.id}.{self.terms.dataset}"

    def in_region(self, region: str) -> bool:
        """Whether a region is on the list and not taken out."""
        return _in_region(self.terms.scope.regions, self.terms.scope.except_, region)

    def schema_fits(self, schema: str) -> bool:
        """Same dataset and major, minor not below the least agreed."""
        match = _SCHEMA.match(schema)
        return (
            match is not None
            and match[1] == self.terms.dataset
            and int(match[2]) == self.terms.schema_.major
            and int(match[3]) >= self.terms.schema_.min_minor
        )


_SCHEMA = re.compile(r"([a-z][a-z0-9_.-]{0,62})/(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\Z")


@lru_cache(maxsize=4096)
def _in_region(regions: tuple[str, ...], outside: tuple[str, ...], region: str) -> bool:
    return any(covers(scope, region) for scope in regions) and not any(covers(scope, region) for scope in outside)


@lru_cache(maxsize=65536)
def region_existed(region: str, day: date) -> bool:
    """Whether the division table knows the code on that day."""
    return division(region, day) is not None


def rules_of(agreement: Agreement, dataset: str, sender: str) -> StreamRules:
    """The rules of one stream.

    Raises ExchangeError SCOPE_AGREEMENT when the agreement has no such stream in this direction.
    """
    terms = agreement.stream(dataset, sender)
    if terms is None:
        raise ExchangeError("the agreement has no such stream in this direction", code="SCOPE_AGREEMENT", place=f"{agreement.id}.{dataset}")
    persons = agreement.terms.natural_persons
    return StreamRules(
        agreement=agreement,
        terms=terms,
        checks={field.name: check_of(field) for field in terms.fields},
        required=frozenset(field.name for field in terms.fields if field.required),
        ops=frozenset(terms.ops),
        kinds=frozenset(terms.subject_kinds),
        categories=frozenset(terms.scope.categories),
        authorities=None if "*" in terms.scope.authorities else frozenset(terms.scope.authorities),
        persons=persons.allowed and dataset in persons.datasets,
    )


def schema_of(terms: StreamTerms) -> str:
    """The schema under which we seal: the least that was agreed."""
    return f"{terms.dataset}/{terms.schema_.major}.{terms.schema_.min_minor}"


def in_force(versions: Sequence[Held], at: datetime) -> Held | None:
    """The version of an agreement that governs a moment: the highest complete one already effective, ended or not."""
    governing = [held for held in versions if held.complete and held.agreement.effective <= at]
    return max(governing, key=lambda held: held.agreement.version, default=None)
