"""The shapes of JSON answers, for the API document only (api.md §6, §7).

Rules: a key that a policy may drop is optional; `null` means not known; clients ignore keys they do not know. Handlers send bytes
that stories made and never build these; a test compares the answers with the shapes. This room must not import a story.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

SubjectId = Annotated[str, Meta(pattern="^sub_[a-z2-7]{26}$", examples=["sub_2222222222222222222222222a"])]
RecordId = Annotated[str, Meta(pattern="^rec_[a-z2-7]{26}$", examples=["rec_2222222222222222222222222a"])]
Instant = Annotated[str, Meta(description="RFC 3339, UTC, Z", extra_json_schema={"format": "date-time"})]
Day = Annotated[str, Meta(description="Day of law in Asia/Shanghai", extra_json_schema={"format": "date"})]
Uri = Annotated[str, Meta(extra_json_schema={"format": "uri"})]
Version = Annotated[str, Meta(description="YYYYMMDDHHMMSS-seq", pattern="^[0-9]{14}-[0-9]+$")]
Count = Annotated[int, Meta(ge=0)]
Seq = Annotated[int, Meta(ge=0, description="Position in the sequence of changes that this caller's plans show")]
SubjectForm = Literal[
    "enterprise", "cooperative", "institution", "organ", "social_organisation", "collective", "other", "household", "person"
]
KINDS = Literal[
    "registration", "licence", "penalty", "blacklist", "redlist", "commitment", "evaluation", "abnormal", "agency_filing", "measure"
]


class Basis(Struct, kw_only=True):
    """A legal ground."""

    text: str
    uri: Uri | UnsetType | None = UNSET


class Mark(Struct, kw_only=True):
    """Something a reader must know beside the record; never dropped."""

    code: str
    label: str
    since: str | None
    issuer: str | UnsetType = UNSET
    """Of a record recognised here (互认): the city that issued it."""
    agreement: str | UnsetType = UNSET
    effect: str | UnsetType = UNSET
    """The measure of our catalogue that follows."""
    as_of: str | UnsetType | None = UNSET
    """As of when that city's records were known when this was decided."""
    until: str | UnsetType | None = UNSET
    """Its last day here at most."""


class SubjectRef(Struct, kw_only=True):
    """Who a record is about."""

    id: SubjectId
    uscc: str | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET
    kind: SubjectForm
    kind_label: str
    uri: Uri


class Source(Struct, kw_only=True):
    """Who gave us the record."""

    name: str | None
    uscc: str | None
    received_at: Instant


class Record(Struct, kw_only=True):
    """One envelope for every dataset (api.md §6.1)."""

    id: RecordId
    dataset: str
    kind: KINDS
    kind_label: str
    subject: SubjectRef
    document_number: str | UnsetType | None = UNSET
    decision_date: Day | UnsetType | None = UNSET
    severity: str | UnsetType | None = UNSET
    severity_label: str | UnsetType | None = UNSET
    region: str | UnsetType | None = UNSET
    region_label: str | UnsetType | None = UNSET
    published_from: Day | None
    publish_until: Day | None
    period_rule: str | None
    basis: list[Basis]
    source: Source
    marks: list[Mark]
    fields: dict[str, str | int | bool | None]
    treatments: dict[str, str]
    seq: Seq
    policy_version: Count
    links: dict[str, Uri]


class Measure(Struct, kw_only=True):
    """What follows from being listed."""

    text: str
    basis: Any


class Listing(Record, kw_only=True, rename={"list_id": "list"}):
    """A row of a list: the record and what the list says of it (api.md §6.3)."""

    list_id: str
    listed_on: Day | None
    listing_basis: Any
    measures: list[Measure]
    removal_conditions: str | None
    remedy: str | None
    salt: str | UnsetType | None = UNSET


class Subject(Struct, kw_only=True):
    """An organisation or household as it may be shown now (api.md §6.2)."""

    id: SubjectId
    uscc: str | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET
    former_names: list[str] | UnsetType = UNSET
    kind: SubjectForm
    kind_label: str
    region: str | UnsetType | None = UNSET
    region_label: str | UnsetType | None = UNSET
    industry: str | UnsetType | None = UNSET
    status: str | UnsetType | None = UNSET
    status_label: str | UnsetType | None = UNSET
    established_on: Day | UnsetType | None = UNSET
    successor_code: str | UnsetType = UNSET
    treatments: dict[str, str]
    record_counts: dict[str, Count]
    marks: list[Mark]
    seq: Seq
    policy_version: Count
    links: dict[str, Uri]
    matched_on: str | UnsetType = UNSET
    highlight: list[Annotated[list[int], Meta(min_length=2, max_length=2)]] | UnsetType = UNSET


class Envelope(Struct, kw_only=True):
    """What every page of a list carries (api.md §1.2)."""

    next: Uri | None
    prev: Uri | None
    self: Uri
    count: dict[str, Any] | None
    facets: dict[str, Any] | None
    as_of: Instant | None
    dataset_version: Version
    policy_version: Count
    notice: dict[str, Any] | None


class SubjectPage(Envelope, kw_only=True):
    """A page of subjects."""

    items: list[Subject]


class RecordPage(Envelope, kw_only=True):
    """A page of records."""

    items: list[Record]


class TimelineEvent(Struct, kw_only=True):
    """Something that happened to a record which is public now."""

    at: Instant
    event: Literal["published", "amended", "objection_marked", "objection_closed"]
    event_label: str
    record: str
    dataset: str
    kind: KINDS
    kind_label: str
    uri: Uri


class EventPage(Envelope, kw_only=True):
    """A page of events."""

    items: list[TimelineEvent]


class ListingPage(Envelope, kw_only=True):
    """A page of listings."""

    items: list[Listing]


Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Suggestion(Struct, kw_only=True):
    """One offer while somebody types."""

    kind: str
    text: str
    id: str | UnsetType | None = UNSET
    uscc: str | UnsetType | None = UNSET
    matched_on: str | UnsetType = UNSET
    dataset: str | UnsetType = UNSET
    dataset_label: str | UnsetType = UNSET


class Suggestions(Struct, kw_only=True):
    """At most ten offers."""

    items: list[Suggestion]
    policy_version: Count


class CodeCheck(Struct, kw_only=True):
    """What arithmetic says of a code; no data is asked (api.md §7.4)."""

    code: str | None
    valid: bool
    checks: dict[str, Literal["ok", "failed", "warning", "not_run"]]
    parts: dict[str, str | None] | None
    suggestions: list[dict[str, str]]
