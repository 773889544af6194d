"""The shapes of answers about lists: which there are, their versions and files, screening data, and what changes.

Rules: those of `shapes`. This room must not import a story.
"""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from gateway.web.api.shapes import Basis, Count, Instant, RecordId, Seq, Sha256, Uri, Version


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
