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


class Matches(Struct, kw_only=True):
    """What a personal look-up finds; empty: nothing to be shown."""

    matches: list[Record]
    dataset_version: str
    policy_version: int
    notice: dict[str, Any] | None = None


class MatchedSubject(Struct, kw_only=True):
    """A subject that may be meant."""

    id: SubjectId
    uscc: str | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET


class MatchFeatures(Struct, kw_only=True):
    """Why a candidate has its score; what was not compared is left out."""

    uscc_equal: bool | UnsetType = UNSET
    registration_number_equal: bool | UnsetType = UNSET
    name_equal: bool | UnsetType = UNSET
    core_similarity: float | UnsetType = UNSET
    pinyin_similarity: float | UnsetType = UNSET
    region_conflict: bool | UnsetType = UNSET
    form_conflict: bool | UnsetType = UNSET
    former_name: bool | UnsetType = UNSET


class MatchCandidate(Struct, kw_only=True):
    """One subject with its score."""

    subject: MatchedSubject
    score: Annotated[float, Meta(ge=0, le=1)]
    features: MatchFeatures | UnsetType = UNSET


class MatchFault(Struct, kw_only=True):
    """What is wrong with a query."""

    code: str


class MatchResult(Struct, kw_only=True):
    """What one query comes to."""

    id: str
    status: Literal["exact", "match", "ambiguous", "possible", "not_found", "invalid"]
    status_label: str
    candidates: list[MatchCandidate] | UnsetType = UNSET
    errors: list[MatchFault] | UnsetType = UNSET
    suggestions: list[str] | UnsetType = UNSET


class Matched(Struct, kw_only=True):
    """The answer to a batch, in the order of its queries."""

    results: list[MatchResult]
    algorithm: str
    dataset_version: Version
    policy_version: int
    notice: dict[str, Any] | None = None


class MatchJobLinks(Struct, kw_only=True):
    """Where a job and its result are."""

    self: Uri
    result: Uri | None


class MatchJob(Struct, kw_only=True):
    """A file that is matched."""

    id: Annotated[str, Meta(pattern="^job_[a-z2-7]{26}$")]
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    state_label: str
    rows: Count
    done: Count
    links: MatchJobLinks


class ReconcileType(Struct, kw_only=True):
    """A kind of subject."""

    id: str
    name: str


class ReconcileOffer(Struct, kw_only=True):
    """An entity, a type or a property that may be meant."""

    id: str
    name: str
    description: str | UnsetType = UNSET
    notable: list[ReconcileType] | UnsetType = UNSET


class ReconcileOffers(Struct, kw_only=True):
    """At most ten of them."""

    result: list[ReconcileOffer]


class ReconcileFlyout(Struct, kw_only=True):
    """A few words about one of them."""

    id: str
    html: str


class ReconcileProposal(Struct, kw_only=True):
    """Fields that a table can be extended by."""

    properties: list[ReconcileOffer]
    type: str | UnsetType = UNSET
    limit: Count


class ListingPage(Envelope, kw_only=True):
    """A page of listings."""

    items: list[Listing]


class CreditList(Struct, kw_only=True):
    """A list by one legal basis (api.md §7.8)."""

    id: str
    name: str
    polarity: Literal["black", "red"]
    polarity_label: str | UnsetType = UNSET
    dataset: str
    legal_basis: list[Basis]
    authority: dict[str, Any]
    entry_conditions: str | None
    removal_conditions: str | None
    period_rule: str | None
    rows: Count | None
    latest_version: Version | UnsetType | None = UNSET
    issue: Count | UnsetType | None = UNSET
    window_from: Version | UnsetType | None = UNSET
    range_bit: Count | UnsetType = UNSET
    seq: Seq
    authority_lookup_uri: Uri | None
    links: dict[str, Uri]


Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
VersionState = Literal["current", "archived", "withdrawn"]


class VersionItem(Struct, kw_only=True):
    """A version of a list or dataset."""

    version: Version
    issue: Count
    state: VersionState
    state_label: str
    built_at: Instant
    rows: Count
    policy_version: Count
    links: dict[str, Uri]


class Versions(Struct, kw_only=True):
    """A page of the kept versions, newest first."""

    items: list[VersionItem]
    next: Uri | None
    prev: Uri | None
    self: Uri
    window_from: Version | None
    dataset_version: Version
    policy_version: Count


class VersionFile(Struct, kw_only=True):
    """A file of the present issue."""

    format: str
    uri: Uri
    bytes: Count
    sha256: Sha256
    sm3: Sha256


class VersionIssue(Struct, kw_only=True):
    """Why a version was issued again, and what its tree was then."""

    issue: Count
    at: Instant
    cause: Literal["built", "removal", "redacted", "policy"]
    removed: Count
    size: Count
    root: str


class RemovedCommitment(Struct, kw_only=True):
    """The place in the tree of a row that left."""

    index: Count
    commitment: Sha256


class VersionManifest(VersionItem, kw_only=True):
    """A version whole: files, issues, what was removed (api.md §7.8)."""

    policy_plan: Sha256
    collection: str
    size: Count
    root: str
    files: list[VersionFile]
    previous: Version | None
    issues: list[VersionIssue]
    removed_commitments: list[RemovedCommitment]
    checkpoint: Uri


class FtmResource(Struct, kw_only=True):
    """A file of a dataset of FollowTheMoney."""

    name: str
    url: Uri
    mime_type: str


class FtmDataset(Struct, kw_only=True):
    """A black list as a dataset of FollowTheMoney."""

    name: str
    title: str
    version: Version
    entities_url: Uri
    delta_url: Uri
    updated_at: Instant
    resources: list[FtmResource]


class FtmCatalogue(Struct, kw_only=True):
    """What screening software may load."""

    datasets: list[FtmDataset]


class FtmChain(Struct, kw_only=True):
    """Each version with the address of the delta from the version before."""

    versions: dict[str, Uri]


class Lists(Struct, kw_only=True):
    """All lists."""

    items: list[CreditList]
    dataset_version: Version
    policy_version: Count


class Change(Struct, kw_only=True, rename={"list_id": "list"}):
    """One change as the caller's plans show it; it names, it does not contain."""

    seq: Seq
    op: Literal["add", "mod", "del", "policy"]
    at: Instant | UnsetType = UNSET
    dataset: str | UnsetType | None = UNSET
    list_id: str | UnsetType | None = UNSET
    record: RecordId | UnsetType = UNSET
    uri: Uri | UnsetType = UNSET
    fields_changed: Any = UNSET
    reason: Literal["expired", "corrected", "removed"] | UnsetType = UNSET
    reason_label: str | UnsetType = UNSET
    policy_version: Count | UnsetType = UNSET


class Changes(Struct, kw_only=True):
    """Changes after a position, in order."""

    items: list[Change]
    next_since: Seq
    more: bool
    next: Uri
    dataset_version: Version
    policy_version: Count
    policy_plan: Sha256


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


class Terms(Struct, kw_only=True):
    """What whoever takes data may do with them."""

    title: str
    uri: Uri
    attribution: str | None
    carve_out: str | None


class Distribution(Struct, kw_only=True):
    """A way to take a dataset as a whole; `bytes` and `sha256` where it is a file that stays as it is."""

    format: str
    media_type: str
    uri: Uri
    version: Version | None
    bytes: Count | None
    sha256: str | None


class Dataset(Struct, kw_only=True):
    """A dataset of the catalogue."""

    id: str
    title: str
    description: str | UnsetType | None = UNSET
    keywords: list[str] | UnsetType = UNSET
    publisher: dict[str, str] | UnsetType = UNSET
    openness: Literal["unconditional", "conditional", "closed"]
    openness_label: str | UnsetType = UNSET
    kind: KINDS | UnsetType = UNSET
    kind_label: str | UnsetType = UNSET
    rows: Count | None
    dataset_version: Version | UnsetType = UNSET
    latest_version: Version | UnsetType | None = UNSET
    issue: Count | UnsetType | None = UNSET
    window_from: Version | UnsetType | None = UNSET
    accrual_periodicity: str | UnsetType | None = UNSET
    last_received_at: Instant | UnsetType | None = UNSET
    fresh: bool | UnsetType | None = UNSET
    temporal: dict[str, Day] | UnsetType | None = UNSET
    licence: Uri | UnsetType | None = UNSET
    terms: Terms | UnsetType | None = UNSET
    distributions: list[Distribution] | UnsetType = UNSET
    links: dict[str, Uri]


class Distributions(Struct, kw_only=True):
    """The ways to take a dataset as a whole."""

    dataset: str
    items: list[Distribution]
    terms: Terms | None
    policy_version: Count


Share = Annotated[float, Meta(ge=0, le=1)]


class SourceQuality(Struct, kw_only=True):
    """How good the data of one source are; null: not known, or too few to be told."""

    source: dict[str, str | None]
    rows: Count
    freshness: dict[str, str | bool | None]
    completeness: dict[str, Share | None]
    validity: Share | None
    validity_kind: Literal["rounded", "at_least"] | None
    """`at_least`: few rows were rejected, and how few is not told."""
    timeliness: dict[str, Share | None]
    late_removals: Count | None
    open_objections: Count
    rows_rejected: Count | None
    rows_rejected_by: dict[str, Count | None]
    """By the code of what was wrong."""


class Quality(Struct, kw_only=True):
    """Quality per source department: of organisations' rows alone; shares are of at most `sample` rows and the newest `files`."""

    dataset: str
    items: list[SourceQuality]
    sample: Count
    files: Count
    policy_version: Count


class Datasets(Struct, kw_only=True):
    """All datasets whose existence is public."""

    items: list[Dataset]
    dataset_version: Version
    policy_version: Count


class DictionaryField(Struct, kw_only=True):
    """A field as the dictionary describes it to this caller."""

    name: str
    name_zh: str
    name_en: str | None
    type: str
    format: str | UnsetType | None = UNSET
    unit: str | None
    required: bool
    enum: dict[str, str] | UnsetType | None = UNSET
    enum_en: dict[str, str] | UnsetType | None = UNSET
    standard_element: str | UnsetType | None = UNSET
    source_name: str | UnsetType | None = UNSET
    example: str | int | bool | UnsetType | None = UNSET
    null_meaning: str | UnsetType = UNSET
    sensitivity: Literal["open", "business_contact", "trade_secret", "personal", "identifying", "sensitive", "unclassified"]
    """How the data catalogue classes the field, of organisations where they have it."""
    treatments: dict[str, Any]
    treatments_by_kind: dict[str, Any]
    """The same for every kind of subject that has the field."""
    capabilities: dict[str, list[str]]


class Dictionary(Struct, kw_only=True):
    """Fields of a dataset whose existence the caller may know."""

    dataset: str
    fields: list[DictionaryField]
    policy_version: Count


class PolicyVersion(Struct, kw_only=True):
    """A version, and from when to when it was, is or will be in force."""

    version: Count
    state: Literal["scheduled", "in_force", "past"]
    effective_from: Instant
    effective_until: Instant | None
    summary: str
    links: dict[str, Uri]


class PolicyVersions(Struct, kw_only=True):
    """All versions, the newest first."""

    items: list[PolicyVersion]
    policy_version: Count


class PolicyCell(Struct, kw_only=True):
    """How one tier sees one field of one kind of subject."""

    dataset: str
    field: str
    label: str
    subject_kind: str
    tier: str
    purpose: str
    treatment: str
    capabilities: list[str]
    basis: list[Basis]


class PolicyMatrix(Struct, kw_only=True):
    """Cells of a version whose field everybody may know of."""

    version: Count
    items: list[PolicyCell]


class PolicyChange(Struct, kw_only=True):
    """A cell treated otherwise, or (`capability`) a right given or taken."""

    dataset: str
    field: str
    subject_kind: str
    tier: str
    purpose: str
    change: Literal["widened", "narrowed"]
    before: str | None
    after: str | None
    capability: str | None


class PolicyDiff(Struct, kw_only=True, rename={"from_": "from"}):
    """What the second version shows or allows otherwise than the first."""

    from_: Count
    to: Count
    items: list[PolicyChange]
    policy_version: Count


class Root(Struct, kw_only=True):
    """Where to begin."""

    version: str
    seq: Seq
    dataset_version: Version
    policy_version: Count
    licence: Uri | None
    city: str
    region: str
    links: dict[str, Uri]


class IssuedReceipt(Struct, kw_only=True):
    """A signed receipt of an answer, as it is given once."""

    id: Annotated[str, Meta(pattern="^rcpt_[a-z2-7]{26}$")]
    issued_at: Instant
    answer_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    dataset_version: Version
    policy_version: Count
    policy_plan: Sha256
    verify_uri: Uri
    qr: Uri
    note: str
    answer_salt: str | None


class QueryReceipt(Struct, kw_only=True):
    """A receipt as whoever holds its id sees it."""

    id: Annotated[str, Meta(pattern="^rcpt_[a-z2-7]{26}$")]
    issued_at: Instant
    answer_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    dataset_version: Version
    policy_version: Count
    policy_plan: Sha256 | None
    verify_uri: Uri
    qr: Uri
    note: str
    overtaken: bool | None


class PrefixLength(Struct, kw_only=True):
    """How many digits of a digest a range look-up may name, and how many still point at nobody in a register of this size."""

    min: Count
    max: Count
    recommended: Count


class RangeBit(Struct, kw_only=True):
    """Which bit of a row stands for which list."""

    bit: Count
    list: str


class RangeGuide(Struct, kw_only=True):
    """How range look-ups are asked."""

    algorithms: list[str]
    on: list[str]
    prefix_length: PrefixLength
    register_size: Count
    normaliser: str
    lists: list[RangeBit]
    links: dict[str, Uri]
    dataset_version: Version
    policy_version: Count


class NormaliserStep(Struct, kw_only=True):
    """One step of the normaliser."""

    step: str
    text: str


class NormaliserTable(Struct, kw_only=True):
    """The one-to-one table of variant characters."""

    sha256: str
    tsv: str


class NormaliserVector(Struct, kw_only=True):
    """What comes of one input."""

    input: str
    normalised: str
    sha256: str
    sm3: str


class Normaliser(Struct, kw_only=True):
    """How names are made comparable before they are digested."""

    name: str
    encoding: str
    steps: list[NormaliserStep]
    table: NormaliserTable
    vectors: list[NormaliserVector]


class ReceiptLine(Struct, kw_only=True):
    """One row of an uploaded file that was not plainly accepted."""

    line: int
    code: str
    field: str | None


class Receipt(Struct, kw_only=True):
    """What became of an uploaded file: places and codes, never values."""

    dataset: str
    file_sha256: str
    trust: str
    accepted: int
    unchanged: int
    held: int
    withdrawn: int
    rejected: dict[str, int]
    noted: dict[str, int]
    rows: list[ReceiptLine]
    notes: list[ReceiptLine]


class QuotaState(Struct, kw_only=True):
    """One quota of the caller, and what is left of it."""

    name: str
    quota: int
    window_s: int
    remaining: int
    full_in_s: int


class EffectiveField(Struct, kw_only=True):
    """One cell of the policy matrix, as it governs the caller."""

    dataset: str
    field: str
    label: str
    subject_kind: str
    tier: str
    purpose: str
    treatment: str
    capabilities: list[str]
    basis: list[dict[str, str | None]]


class EffectiveFields(Struct, kw_only=True):
    """What the caller may see, for the purpose of the request."""

    items: list[EffectiveField]
    policy_version: Count


class Me(Struct, kw_only=True):
    """Who the gateway takes the caller for."""

    tier: str
    purpose: str
    purposes: list[str]
    app: str | None
    org: str | None
    credential: str
    key_expires_on: Day | None
    """Last day of the API key that was shown."""
    quotas: list[QuotaState]
    links: dict[str, Uri]
    warning: Literal["credential-exposed"] | UnsetType = UNSET
    """The key has stood in a URL, where logs keep it: replace it."""


class VerifierKey(Struct, kw_only=True, rename={"from_": "from"}):
    """A key under which this gateway signs."""

    name: str
    algorithm: str
    vkey: str
    use: str
    from_: Instant
    until: Instant | None


class Keys(Struct, kw_only=True):
    """Keys that verify what this gateway has signed."""

    items: list[VerifierKey]


class AuditCheckpoint(Struct, kw_only=True):
    """A signed head of the audit log."""

    number: Count
    at: Instant
    size: Count
    root: str
    note: str


class AuditCheckpoints(Struct, kw_only=True):
    """Signed heads of the audit log, newest first."""

    items: list[AuditCheckpoint]


class LogLinks(Struct, kw_only=True):
    """Where the log of a year is read."""

    checkpoint: Uri
    tiles: Uri
    policy: Uri


class TransparencyLogOfYear(Struct, kw_only=True):
    """The transparency log of one year."""

    year: int
    origin: str
    size: Count
    signed_at: Instant | None
    vkeys: list[str]
    witnessed: bool
    merge_delay_s: Count | None
    """Seconds within which what happens stands under a signed head; null where somebody signs by hand."""
    links: LogLinks


class TransparencyLogs(Struct, kw_only=True):
    """The transparency logs of all years."""

    items: list[TransparencyLogOfYear]
    policy_version: Count


class LogEntry(Struct, kw_only=True):
    """One entry of a transparency log."""

    year: int
    index: Count
    op: Literal["list", "amend", "hide", "unhide", "remove", "erase"]
    rid: str
    v: Count
    commitment: str | None
    at: Instant
    authority: str | None
    reason: Literal["expired", "corrected", "removed", "policy"] | None
    prev: str | None
    entry: str
    policy_version: Count


class LogProof(Struct, kw_only=True):
    """That something was entered in a transparency log, and since when and until when it was shown."""

    year: int
    index: Count
    entry: str
    proof: str
    row: str | None
    published_at: Instant
    removed_at: Instant | None
    policy_version: Count


class ProblemEntry(Struct, kw_only=True):
    """One code of the table."""

    code: str
    status: Annotated[int, Meta(ge=400, le=599)]
    type: Uri
    title: str
    detail: str
    title_zh: str
    title_en: str


class Problems(Struct, kw_only=True):
    """All codes of the API."""

    items: list[ProblemEntry]


class Health(Struct, kw_only=True):
    """Whether this process can answer."""

    ready: bool
    checks: dict[str, str]


class CreditDataDetail(Struct, kw_only=True):
    """What a token may be used for (RFC 9396)."""

    type: Literal["credit-data"]
    dataset: str
    purpose: str


class IssuedToken(Struct, kw_only=True):
    """An access token, opaque and bound to the key of the proof."""

    access_token: str
    token_type: Literal["DPoP"]
    expires_in: Annotated[int, Meta(ge=1, le=600)]
    authorization_details: list[CreditDataDetail]


class Introspected(Struct, kw_only=True):
    """What a registered resource server may know of a token (RFC 7662); to all others every token is inactive."""

    active: bool
    client_id: str | UnsetType = UNSET
    token_type: Literal["DPoP"] | UnsetType = UNSET
    iat: int | UnsetType = UNSET
    exp: int | UnsetType = UNSET
    cnf: dict[str, str] | UnsetType = UNSET
    authorization_details: list[CreditDataDetail] | UnsetType = UNSET


class ServerMetadata(Struct, kw_only=True):
    """RFC 8414."""

    issuer: Uri
    token_endpoint: Uri
    revocation_endpoint: Uri
    introspection_endpoint: Uri
    response_types_supported: list[str]
    grant_types_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    dpop_signing_alg_values_supported: list[str]


class ResourceMetadata(Struct, kw_only=True):
    """RFC 9728."""

    resource: Uri
    authorization_servers: list[Uri]
    bearer_methods_supported: list[str]
    dpop_signing_alg_values_supported: list[str]
