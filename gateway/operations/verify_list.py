"""Verify a version of a list by itself: signature, manifest, root and the file at hand. Nothing is asked of a store.

Rules: the checkpoint is believed by a key that whoever verifies names; the manifest by the digest that is signed, the file by the
digest of the manifest and by the tree over its rows; what left is known by its commitment alone. This story must not trust a word that
no signature covers.
"""

from base64 import b64encode
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange import notes
from gateway.core.exchange.notes import KeyRing
from gateway.core.publication.versions import read_checkpoint_text, root_with_removed

_MANIFEST = msgspec.json.Decoder(dict[str, Any])


class VerifiedList(Struct, frozen=True, kw_only=True):
    """What a good file proves."""

    origin: str
    rows: int
    size: int
    removed: int
    root: str
    manifest: bool
    """Whether a manifest was given, and is the one that was signed."""


def verify_list(file: bytes, checkpoint: str, ring: KeyRing, *, manifest: bytes | None = None) -> VerifiedList:
    """What a version in NDJSON proves with its checkpoint; where rows have left, the manifest names their commitments.

    Raises ExchangeError with the code of what is wrong.
    """
    note = notes.parse(checkpoint)
    found = read_checkpoint_text(note.text)
    if found is None:
        raise ExchangeError("the note is no checkpoint of a version", code="SIG_CONTEXT")
    origin, size, root, digest = found
    known = [line for line in note.lines if (line.name, line.key_id) in ring.keys]
    if not known:
        raise ExchangeError("no signature of a key that we know", code="SIG_UNKNOWN_KEY", hint="give a key of use `export` of `/v1/keys`")
    for line in known:
        if not ring.keys[line.name, line.key_id].verifier.verify(note.text.encode(), line.signature):
            raise ExchangeError("a signature of a known key fails", code="SIG_INVALID", place=line.name)
    said: dict[str, Any] = {}
    if manifest is not None:
        if b64encode(sha256(manifest).digest()).decode() != digest:
            raise ExchangeError("this is not the manifest that was signed", code="SIG_PART_DIGEST", place="manifest")
        said = _MANIFEST.decode(manifest)
        files = {each["format"]: each["sha256"] for each in said["files"]}
        if files.get("ndjson") != sha256(file).hexdigest():
            raise ExchangeError("the file is not the one of the manifest", code="SIG_PART_DIGEST", place="file")
    gone = [(each["index"], bytes.fromhex(each["commitment"])) for each in said.get("removed_commitments", ())]
    lines = file.splitlines()
    try:
        leaves, computed = root_with_removed(lines, gone)
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise ExchangeError("a line of the file is no row", code="SCHEMA_LINE", place="file") from error
    if leaves != size or b64encode(computed).decode() != root:
        hint = "" if manifest is not None else "rows may have left since it was built: give its manifest too"
        raise ExchangeError("the rows do not lead to the signed root", code="SEQ_ROOT", place="file", hint=hint)
    return VerifiedList(origin=origin, rows=len(lines), size=size, removed=len(gone), root=root, manifest=manifest is not None)
