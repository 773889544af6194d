"""What stands in an agreement, member for member (exchange.md §3).

A member that we do not know is refused: an ignored restriction is a lie. This room must not judge a text: `agreement_lint` does.
"""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange import documents
from gateway.core.exchange.notes import KeyRing
from gateway.core.exchange.wire import SUITES, AgreementId, Count, DatasetName, DateText, Digest, Number, PartyName
from gateway.core.records.model import Category, SubjectKind
from gateway.core.signing import Algorithm

Op = Literal["assert", "amend", "retract", "repair", "expire", "erase"]
OPS: tuple[Op, ...] = ("assert", "amend", "retract", "repair", "expire", "erase")
WITHDRAWALS: frozenset[str] = frozenset({"retract", "repair", "expire", "erase"})


class Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything signed: unknown members are refused."""


class LegalText(Strict, frozen=True, kw_only=True):
    """A ground of the agreement itself."""

    text: str
    uri: str | None = None


class Retention(Strict, frozen=True, kw_only=True):
    """How long parts are kept, and what happens at the end."""

    parts_days: Annotated[int, Meta(ge=0, le=3650)]
    after_termination: Literal["purge", "freeze"]
    freeze_days: Annotated[int, Meta(ge=0, le=3650)]


Hours = Annotated[int, Meta(ge=0, le=8760)]


class ServiceLevel(Strict, frozen=True, kw_only=True):
    """Deadlines in hours; 0 for `stop_after_h` means never."""

    withdraw_h: Hours
    erase_h: Hours
    feedback_h: Hours
    hold_h: Hours
    stop_after_h: Hours = 0


class Limits(Strict, frozen=True, kw_only=True):
    """Bounds of one batch (§6); defaults and hard maxima of the table there."""

    lines: Annotated[int, Meta(ge=1, le=1_000_000)] = 100_000
    error_permille: Annotated[int, Meta(ge=0, le=1000)] = 50
    parts: Annotated[int, Meta(ge=1, le=1000)] = 100
    part_bytes: Annotated[int, Meta(ge=1, le=256 * 2**20)] = 64 * 2**20
    part_bytes_raw: Annotated[int, Meta(ge=1, le=2**30)] = 256 * 2**20
    ratio: Annotated[int, Meta(ge=1, le=100)] = 50
    batch_s: Annotated[int, Meta(ge=1, le=3600)] = 600
    requests_min: Annotated[int, Meta(ge=1, le=100_000)] = 120


class QueryTerms(Strict, frozen=True, kw_only=True):
    """Mutual query (§12)."""

    levels: tuple[Literal[1, 2], ...]
    datasets: tuple[DatasetName, ...]
    per_day: Count
    per_officer_day: Count
    per_subject_day: Count


class RecognitionTerms(Strict, frozen=True, kw_only=True):
    """What is recognised here when the partner says it (§13)."""

    dataset: DatasetName
    category: Category
    freshness_h: Annotated[int, Meta(ge=1, le=8760)]


class NaturalPersons(Strict, frozen=True, kw_only=True):
    """Whether lines about people or individual households may travel at all (§14)."""

    allowed: bool
    datasets: tuple[DatasetName, ...] = ()
    fields: tuple[str, ...] = ()
    basis: tuple[LegalText, ...] = ()
    assessment: str | None = None
    route: Literal["direct", "province"] | None = None


class Identity(Strict, frozen=True, kw_only=True):
    """Who a party is and where it answers."""

    org: str
    region: str
    base_url: str


class PartyTerms(Strict, frozen=True, kw_only=True):
    """One of the two parties, with the keys that sign agreements and keys documents for it."""

    party: PartyName
    identity: Identity
    agreement_keys: tuple[str, ...]


class Wire(Strict, frozen=True, kw_only=True):
    """How a stream travels."""

    delivery: Literal["push", "pull", "drop"]
    suite: Literal["ed25519-sha256", "gm1"]
    also_sign: tuple[Literal["ed25519", "sm2"], ...] = ()
    format: Literal["lines/1", "part/1"] = "lines/1"


class SchemaRange(Strict, frozen=True, kw_only=True):
    """Which schema versions are understood."""

    major: Annotated[int, Meta(ge=0, le=999)]
    min_minor: Annotated[int, Meta(ge=0, le=999)]


class Scope(Strict, frozen=True, kw_only=True, rename={"except_": "except"}):
    """Of what a stream may speak."""

    regions: tuple[str, ...]
    except_: tuple[str, ...] = ()
    authorities: tuple[str, ...]
    categories: tuple[Category, ...]


class FieldTerms(Strict, frozen=True, kw_only=True):
    """One agreed field: wire name, type, bounds."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}\Z")]
    type: str
    length: Annotated[int, Meta(ge=1, le=16384)] | None = None
    required: bool
    role: Literal["subject_code", "subject_name", "document"] | None = None
    unit: str | None = None
    values: tuple[str, ...] = ()
    twins: tuple[str, ...] = ()


class StreamTerms(Strict, frozen=True, kw_only=True, rename={"from_": "from", "schema_": "schema"}):
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


class Terms(Strict, frozen=True, kw_only=True, rename={"type_": "type"}):
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

    @property
    def algorithms(self) -> frozenset[Algorithm]:
        """What the documents about it are signed with: Ed25519 always, SM2 as soon as one stream needs it (exchange.md §2.1)."""
        needed = {SUITES[stream.wire.suite].algorithm for stream in self.terms.streams}
        return frozenset({"ed25519", *needed, *(also for stream in self.terms.streams for also in stream.wire.also_sign)})

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


class Fault(Struct, frozen=True, kw_only=True):
    """One thing that keeps an agreement from being loaded."""

    code: str
    message: str
    place: str
