"""The shapes of answers about matching: names against what we hold, files of them, and tables as OpenRefine asks.

Rules: those of `shapes`. This room must not import a story.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.web.api.shapes import Count, Record, SubjectId, Uri, Version


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
