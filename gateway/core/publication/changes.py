"""What a plan set is told: whether a record came, changed or left, which of its parts changed, and why it left (api.md §3.7, §7.9).

Rules: only what a plan shows and may tell (`delta`) makes an entry, so a change of hidden fields moves nothing. What was shown
before is kept as keyed digests, from which no value can be read. One of three reasons is told: `expired`, `corrected`, `removed`;
repaired, revoked and upheld all read `removed`. Removals are told at full 30 seconds. This room must not see a hidden value.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import msgspec

from gateway.core.disclosure.views import View
from gateway.core.publication.documents import Document

TELLING_S = 30
"""Removals are told in groups at full multiples of this."""
WINDOW = timedelta(days=92)
"""How long an item is kept; api.md §7.9 promises 31 days."""
_ROW_DIGEST = 16
_FIELD_DIGEST = 4
_TOP = frozenset({"document_number", "decision_date", "severity"})
_SUBJECT = frozenset({"name", "uscc"})
_SKIPPED = frozenset({"id", "dataset", "kind", "fields", "subject", "seq", "policy_version", "links", "notice", "salt"})

_ENCODER = msgspec.json.Encoder()
_PACK = msgspec.msgpack.Encoder()
_UNPACK = msgspec.msgpack.Decoder(dict[str, bytes])


def path_of(name: str) -> str:
    """Where a field stands in a record document."""
    return name if name in _TOP else f"subject.{name}" if name in _SUBJECT else f"fields.{name}"


def values_of_view(view: View, silent: frozenset[str]) -> dict[str, Any]:
    """Everything of a View whose change is told, by its path."""
    values: dict[str, Any] = {path_of(name): value for name, value in view.fields.items() if value is not None and name not in silent}
    values["region"] = view.region
    values["published_from"] = view.published_from
    values["publish_until"] = view.publish_until
    values["period_rule"] = view.period_rule
    values["source"] = (view.source_name, view.source_code, view.issuer)
    values["basis"] = [basis.text for basis in view.basis]
    if view.marks:
        values["marks"] = [(mark.code, mark.since) for mark in view.marks]
    if view.treatments:
        values["treatments"] = view.treatments
    return values


def values_of_document(document: Mapping[str, Any], silent: frozenset[str]) -> dict[str, Any]:
    """Everything of a record document whose change is told, by its path."""
    values = {key: value for key, value in document.items() if key not in _SKIPPED and not key.endswith("_label") and key not in silent}
    values.update({f"subject.{key}": value for key, value in document["subject"].items() if key in _SUBJECT and key not in silent})
    values.update({f"fields.{key}": value for key, value in document["fields"].items() if key not in silent})
    return values


def row_digest(key: bytes, encoded: bytes) -> bytes:
    """The keyed digest of everything told of a record."""
    return blake2b(encoded, key=key, digest_size=_ROW_DIGEST).digest()


def document_digest(key: bytes, document: Document, head: bytes, silent: frozenset[str]) -> bytes:
    """The keyed digest of a record document; `head` are its encoded bytes, used when every shown field is told."""
    return row_digest(key, _ENCODER.encode(values_of_document(document, silent)) if silent else head)


def field_digests(key: bytes, values: Mapping[str, Any]) -> bytes:
    """Row digest and short digests of each part, as one value: what a bound plan set was told."""
    encode = _ENCODER.encode
    parts = {path: blake2b(encode(value), key=key, digest_size=_FIELD_DIGEST, person=b"feed").digest() for path, value in values.items()}
    packed = _PACK.encode(parts)
    return blake2b(packed, key=key, digest_size=_ROW_DIGEST).digest() + packed


def changed_parts(old: bytes, new: bytes) -> list[str]:
    """The paths whose digests differ, sorted."""
    before, after = _UNPACK.decode(old[_ROW_DIGEST:]), _UNPACK.decode(new[_ROW_DIGEST:])
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def changed_values(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The paths whose values differ, sorted."""
    return sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))


def removal_reason(op: str | None, reason: str | None) -> str:
    """What is told of a record that left, from the change that took it out; None: its time ran out."""
    if op is None or op == "expire":
        return "expired"
    if op == "amend" or (op in ("retract", "withdraw") and reason == "corrected"):
        return "corrected"
    return "removed"


def telling(now: datetime) -> datetime:
    """The next full 30 seconds after a moment."""
    seconds = int(now.astimezone(UTC).timestamp())
    return datetime.fromtimestamp(seconds - seconds % TELLING_S + TELLING_S, UTC)
