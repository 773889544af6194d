"""The shapes of answers about the data as a whole: datasets, where to take them, their fields, quality and policy.

Rules: those of `shapes`. This room must not import a story.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.web.api.shapes import KINDS, Basis, Count, Day, Instant, Uri, Version


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
