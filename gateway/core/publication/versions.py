"""Versions of a list or dataset: canonical rows, salted commitments, the tree over them, the manifest and what is signed (api.md §7.8).

Rules: a row is its public document without policy version and its link (the manifest names it), as canonical JSON (RFC 8785) with its
salt, and rows stand in order of id, so whoever has rows and salts can make every byte anew. A commitment is the hash of salt and row:
when the row goes, its commitment stays in the tree and says nothing. Size and root stay through removals; a policy that narrows plants a
new tree. This room must not choose what is shown.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal

import msgspec
from msgspec import Struct

from gateway.core.exchange.merkle import CompactRange, leaf_hash
from gateway.core.exchange.wire import b64, b64u, unb64u_all
from gateway.core.publication.columns import Column
from gateway.core.publication.labels import Language, label

SALT_BYTES = 16
OPEN = 2**53 - 1
"""End of a row that still stands: it is in every version that will be built."""
NAME = re.compile(r"[0-9]{14}-[0-9]{1,16}\Z")
DURATIONS: Mapping[str, int] = {"PT8H": 8 * 3600, "P1D": 86_400, "P7D": 7 * 86_400, "P31D": 31 * 86_400}
"""What may stand for the version from which a delta goes, in seconds."""

Cause = Literal["built", "removal", "redacted", "policy"]
"""Why there is an issue: a row left, a row shows less than it did, or the policy does."""
State = Literal["current", "archived", "withdrawn"]
Document = dict[str, Any]

_CANONICAL = msgspec.json.Encoder(order="sorted")
_PLAIN = msgspec.json.Encoder()
_DOCUMENT = msgspec.json.Decoder(dict[str, Any])
_LEFT_OUT = frozenset({"policy_version", "notice", "salt"})
_POLICY_LINK = "policy"


def canonical(document: Mapping[str, Any]) -> bytes:
    """RFC 8785: our documents hold texts, whole numbers, booleans and nulls, and their keys are ASCII."""
    return _CANONICAL.encode(document)


def row_line(document: Mapping[str, Any], salt: bytes) -> bytes:
    """The row as it stands in a version, without its line end."""
    return canonical({**_row(document), "salt": b64u(salt)})


def _row(document: Mapping[str, Any]) -> Document:
    """What a commitment is about: nothing of it changes with a policy version under which it reads the same."""
    row = {key: value for key, value in document.items() if key not in _LEFT_OUT}
    row["links"] = {name: link for name, link in document["links"].items() if name != _POLICY_LINK}
    return row


def document_of(line: bytes) -> Document:
    """The row behind a line."""
    return _DOCUMENT.decode(line)


def salt_of(document: Mapping[str, Any]) -> bytes:
    """The salt of a row. Raises ExchangeError when it is none."""
    return unb64u_all([document["salt"]], "SCHEMA_JSON")[0]


def commitment(line: bytes) -> bytes:
    """SHA-256 of the salt's bytes and of the canonical row without salt."""
    document = document_of(line)
    salt = salt_of(document)
    del document["salt"]
    return sha256(salt + canonical(document)).digest()


def commitment_of(document: Mapping[str, Any]) -> bytes:
    """The commitment to a row that bears its salt, as a reader has it from a page or a file.

    Raises ExchangeError when it has none.
    """
    return sha256(salt_of(document) + canonical(_row(document))).digest()


def root_of(commitments: Iterable[bytes]) -> bytes:
    """The root of the tree (RFC 6962) over commitments in file order; of the empty tree SHA-256 of nothing."""
    tree = CompactRange()
    tree.extend(leaf_hash(each) for each in commitments)
    return tree.root()


class Kept(Struct, frozen=True, kw_only=True):
    """One row through its time: it stands in every version from `first` on and before `until`.

    What left has no line any more; its commitment stays where the trees that it stands in do.
    """

    record_id: str
    first: int
    until: int = OPEN
    line: bytes | None
    commitment: bytes | None
    reason: str | None = None
    """Why it left."""
    rewritten: int = 0
    """The newest version there was when the line was last made narrower; 0: never."""
    rewritten_fields: tuple[str, ...] = ()

    def in_version(self, seq: int) -> bool:
        """Whether a version holds, or held, it."""
        return self.first <= seq < self.until


class File(Struct, frozen=True, kw_only=True):
    """One file of an issue."""

    format: str
    size: int
    sha256: str
    sm3: str
    refused: str | None = None
    """Why there is none: the code of what this format cannot hold."""


class Issue(Struct, frozen=True, kw_only=True):
    """One issue of a version."""

    issue: int
    at: str
    cause: Cause
    removed: int
    size: int
    root: bytes


class Version(Struct, frozen=True, kw_only=True):
    """A version as the store keeps it."""

    collection: str
    """`lists/…` or `datasets/…`: its place below `/v1`."""
    seq: int
    name: str
    built_at: str
    issue: int
    withdrawn: bool
    rows: int
    size: int
    """Of its tree, removed rows included."""
    root: bytes
    policy_version: int
    ground: str
    """Plans, and definition of the list, that its rows have been held against last."""
    columns: tuple[Column, ...]
    """Of the flat form, typed by the plans under which the issue was made."""
    valid_until: str
    pending: Cause | None = None
    """Why it has to be issued again; until then nothing of it is given."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of its columns."""
        return tuple(column.name for column in self.columns)

    def state(self, current: str | None) -> State:
        """How it is told: `current` is the name of the newest one that is not withdrawn."""
        return "withdrawn" if self.withdrawn else "current" if self.name == current else "archived"


def item(version: Version, *, state: State, origin: str, language: Language = "zh-CN") -> Document:
    """A version in the list of versions."""
    address = f"{origin}/v1/{version.collection}/versions/{version.name}"
    return {
        "version": version.name, "issue": version.issue, "state": state, "state_label": label("state", state, language),
        "built_at": version.built_at, "rows": version.rows, "policy_version": version.policy_version,
        "links": {"self": address} if version.withdrawn else {"self": address, "checkpoint": f"{address}/checkpoint"},
    }  # fmt: skip


class Leaf(Struct, frozen=True):
    """A place in the tree of a version: the commitment, and whether its row has left."""

    commitment: bytes
    gone: bool


def leaves_of(rows: Iterable[Kept]) -> list[Leaf]:
    """The leaves of the rows of one version, in order of id."""
    return [Leaf(row.commitment, row.line is None) for row in rows if row.commitment is not None]


def removed_commitments(gone: Iterable[tuple[int, bytes]]) -> list[Document]:
    """Place and commitment of what left, as a manifest tells it."""
    return [{"index": index, "commitment": commitment.hex()} for index, commitment in gone]


def manifest(
    version: Version,
    *,
    state: State,
    origin: str,
    plan: str,
    files: Sequence[File],
    previous: str | None,
    issues: Sequence[Issue],
    removed: Sequence[Document],
    notice: Mapping[str, Any] | None = None,
) -> bytes:
    """The manifest as served: its bytes are what the checkpoint names; `plan` is the hash of the plans under which its rows stand."""
    address = f"{origin}/v1/{version.collection}/versions/{version.name}"
    document = {
        **item(version, state=state, origin=origin),
        "policy_plan": plan,
        "collection": version.collection,
        "size": version.size,
        "root": b64(version.root),
        "files": [
            {
                "format": file.format, "uri": f"{address}.r{version.issue}.{file.format}", "bytes": file.size,
                "sha256": file.sha256, "sm3": file.sm3,
            }
            for file in files
            if file.refused is None
        ],
        "previous": previous,
        "issues": [
            {"issue": each.issue, "at": each.at, "cause": each.cause, "removed": each.removed, "size": each.size, "root": b64(each.root)}
            for each in issues
        ],
        "removed_commitments": list(removed),
        "checkpoint": f"{address}/checkpoint",
        **({} if notice is None else {"notice": notice}),
    }  # fmt: skip
    return _PLAIN.encode(document)


def checkpoint_text(version: Version, manifest_bytes: bytes, *, host: str) -> str:
    """The four lines that are signed."""
    digest = b64(sha256(manifest_bytes).digest())
    return f"{host}/v1/{version.collection}/{version.name}\n{version.size}\n{b64(version.root)}\nmanifest sha-256:{digest}\n"


def read_checkpoint_text(text: str) -> tuple[str, int, str, str] | None:
    """Origin, size, root and manifest digest (both base64) of a checkpoint's text; None when it is none."""
    lines = text.split("\n")
    if len(lines) != 5 or lines[4] or not lines[1].isdigit() or not lines[3].startswith("manifest sha-256:"):
        return None
    return lines[0], int(lines[1]), lines[2], lines[3].removeprefix("manifest sha-256:")


def root_with_removed(lines: Iterable[bytes], removed: Iterable[tuple[int, bytes]]) -> tuple[int, bytes]:
    """Size and root of the tree over the rows of a file and the commitments of what left: what a reader computes."""
    gone = dict(removed)
    leaves: list[bytes] = []
    for line in lines:
        while len(leaves) in gone:
            leaves.append(gone[len(leaves)])
        leaves.append(commitment(line))
    while len(leaves) in gone:
        leaves.append(gone[len(leaves)])
    return len(leaves), root_of(leaves)
