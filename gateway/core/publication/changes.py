"""What a plan set is told: whether a record came, changed or left, which of its parts changed, and why it left (api.md §3.7, §7.9).

Rules: only what a plan shows and may tell (`delta`) makes an entry, so a change of hidden fields moves nothing. What was shown
before is kept as keyed digests, from which no value can be read. When a record was received and that it was corrected is itself
such a part: an amendment of hidden values moves neither (`settled`). One of three reasons is told: `expired`, `corrected`, `removed`;
repaired, revoked and upheld all read `removed`. Removals are told at full 30 seconds. This room must not see a hidden value.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2s
from operator import is_
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct, structs

from gateway.core.disclosure.views import Mark, View
from gateway.core.publication.documents import Document, instant
from gateway.core.records.model import Value

TELLING_S = 30
"""Removals are told in groups at full multiples of this."""
WINDOW = timedelta(days=92)
"""How long an item is kept; api.md §7.9 promises 31 days."""
CORRECTED = "corrected"
"""The mark of a record that was amended after this plan set had seen it."""
_ROW_DIGEST = 16
_FIELD_DIGEST = 4
_ENVELOPE_MARK = "="
"""Before the name of a part of the envelope, so that no field of a dataset is taken for it."""
_TREATMENTS = _ENVELOPE_MARK + "treatments"
_ENVELOPES = 4096
_KNOWN = 16_384
_TOP = frozenset({"document_number", "decision_date", "severity"})
_SUBJECT = frozenset({"name", "uscc"})
_SKIPPED = frozenset({"id", "dataset", "kind", "fields", "subject", "source", "seq", "policy_version", "links", "notice", "salt"})

_ENCODER = msgspec.json.Encoder()
_PACK = msgspec.msgpack.Encoder()
_UNPACK = msgspec.msgpack.Decoder(dict[str, bytes])


def path_of(name: str) -> str:
    """Where a field stands in a record document."""
    return name if name in _TOP else f"subject.{name}" if name in _SUBJECT else f"fields.{name}"


def values_of_document(document: Mapping[str, Any], silent: frozenset[str]) -> dict[str, Any]:
    """Everything of a record document whose change is told, by its path."""
    values: dict[str, Any] = {"source": {key: value for key, value in document["source"].items() if key != "received_at"}}
    values |= {key: value for key, value in document.items() if key not in _SKIPPED and not key.endswith("_label") and key not in silent}
    values.update({f"subject.{key}": value for key, value in document["subject"].items() if key in _SUBJECT and key not in silent})
    values.update({f"fields.{key}": value for key, value in document["fields"].items() if key not in silent})
    return values


class Told(Struct, frozen=True, kw_only=True, gc=False):
    """What a plan set was last told of a record."""

    digest: bytes
    amended: str | None
    """Latest amendment of the record that was looked at, visible or not."""
    corrected: str | None
    """Latest amendment that this plan set could see: the mark it shows."""
    received_at: str
    """As shown."""


class Settled(Struct, frozen=True, kw_only=True, gc=False):
    """A View as its plan set is to see it, and what is to be remembered of that."""

    view: View
    amended: str | None
    corrected: str | None
    received_at: str


def settled(view: View, amended: datetime | None, before: Told | None, digest: Callable[[View], bytes]) -> Settled:
    """The View with the receipt and correction that this plan set may know: those of the latest words that it can see.

    `amended`: the record's latest amendment; `before`: what was told last; `digest` of what would be told now. A record that was
    never told has not been corrected since.
    """
    stamp = None if amended is None else instant(amended)
    received = instant(view.received_at)
    corrected: str | None = None
    if before is not None:
        if stamp != before.amended and digest(view) != before.digest:
            corrected = stamp
        else:
            corrected = before.corrected
            if received != before.received_at:
                received = before.received_at
                view = structs.replace(view, received_at=datetime.fromisoformat(received))
    if corrected != stamp:
        view = structs.replace(view, marks=_marked(view.marks, corrected))
    return Settled(view=view, amended=stamp, corrected=corrected, received_at=received)


def _marked(marks: tuple[Mark, ...], corrected: str | None) -> tuple[Mark, ...]:
    others = [mark for mark in marks if mark.code != CORRECTED]
    if corrected is not None:
        place = 1 if others and others[0].code == "objection_in_progress" else 0
        others.insert(place, Mark(code=CORRECTED, since=datetime.fromisoformat(corrected)))
    return tuple(others)


class Digests:
    """Keyed digests of what is told, for one pass: a keyed hash is begun once and copied, equal parts are digested once."""

    __slots__ = ("_envelopes", "_field", "_known", "_last", "_names", "_row", "_treatments")

    def __init__(self, key: bytes) -> None:
        self._row = blake2s(key=key, digest_size=_ROW_DIGEST, person=b"row")
        self._field = blake2s(key=key, digest_size=_FIELD_DIGEST, person=b"field")
        self._envelopes: dict[tuple[Any, ...], tuple[View, _Parts]] = {}
        self._known: dict[str | bytes, bytes] = {}
        """By a text itself, by the encoding of anything else."""
        self._names: dict[tuple[tuple[str, ...], frozenset[str]], tuple[str, ...]] = {}
        self._treatments: dict[bytes, bytes] = {}
        """Treatments as they are encoded → their part of what is told."""
        self._last: tuple[tuple[str, ...], tuple[Value, ...], _Parts] = (), (), _Parts(0, b"")
        """Fields, values and digests that were told last: most plan sets tell the very same values of a record."""

    def row(self, encoded: bytes) -> bytes:
        """The digest of everything told of a record."""
        hashed = self._row.copy()
        hashed.update(encoded)
        return hashed.digest()

    def document(self, document: Document, head: bytes, silent: frozenset[str]) -> bytes:
        """The digest of a record document without receipt and correction; `head` are its encoded bytes."""
        fields = document["fields"]
        if document["marks"]:
            document = {**document, "marks": [mark for mark in document["marks"] if mark["code"] != CORRECTED]}
            head = _ENCODER.encode(document)
        if any(fields.get(name) is not None for name in silent):
            head = _ENCODER.encode({**document, "fields": {name: None if name in silent else value for name, value in fields.items()}})
        return self.row(head.replace(b'"received_at":"%b"' % document["source"]["received_at"].encode(), b"", 1))

    def view(self, view: View, silent: frozenset[str]) -> bytes:
        """Row digest and short digests of each told part, as one value: what a bound plan set was told."""
        names = self._names_told(tuple(view.fields), silent)
        values = tuple(map(view.fields.__getitem__, names))
        if names != self._last[0] or not all(map(is_, values, self._last[1])):
            self._last = names, values, _packed(self._parts(names, values))
        envelope, fields = self._envelope(view), self._last[2]
        packed = b"%b%b%b%b" % (_head(envelope.many + 1 + fields.many), envelope.packed, self._treated(view), fields.packed)
        return self.row(packed) + packed

    def _treated(self, view: View) -> bytes:
        """The part of a view's treatments; nearly all views of a plan have the same."""
        encoded = _ENCODER.encode(view.treatments)
        known = self._treatments.get(encoded)
        if known is None:
            if len(self._treatments) >= _ENVELOPES:
                self._treatments.clear()
            known = self._treatments[encoded] = _packed({_TREATMENTS: self._part(encoded, encoded)}).packed
        return known

    def _names_told(self, fields: tuple[str, ...], silent: frozenset[str]) -> tuple[str, ...]:
        """The fields of a view whose change is told; nearly all views of a plan have the same."""
        known = self._names.get((fields, silent))
        if known is None:
            if len(self._names) >= _ENVELOPES:
                self._names.clear()
            known = self._names[fields, silent] = tuple([name for name in fields if name not in silent])
        return known

    def _parts(self, names: Sequence[str], values: Sequence[Value]) -> dict[str, bytes]:
        """The digest of each value that there is, by its field."""
        encode, known = _ENCODER.encode, self._known
        parts: dict[str, bytes] = {}
        for name, value in zip(names, values, strict=True):
            if value is None:
                continue
            if value.__class__ is str:
                parts[name] = known.get(value) or self._part(encode(value), value)
            else:
                encoded = encode(value)
                parts[name] = known.get(encoded) or self._part(encoded, encoded)
        return parts

    def _part(self, encoded: bytes, said: str | bytes) -> bytes:
        """The digest of one part, known by what it says: most plan sets show the same value, and many records the same place or day."""
        hashed = self._field.copy()
        hashed.update(encoded)
        if len(self._known) >= _KNOWN:
            self._known.clear()
        digest = self._known[said] = hashed.digest()
        return digest

    def _envelope(self, view: View) -> "_Parts":
        """The digests of what stands beside the fields but for the treatments, which each view has of its own."""
        # basis is one object for all records of a standing and plan; the view kept beside it keeps it alive
        key = (
            view.region, view.published_from, view.publish_until, view.period_rule, view.source_name, view.source_code, view.issuer,
            id(view.basis), view.marks,
        )  # fmt: skip
        known = self._envelopes.get(key)
        if known is not None:
            return known[1]
        values: dict[str, Any] = {
            "region": view.region,
            "published_from": view.published_from,
            "publish_until": view.publish_until,
            "period_rule": view.period_rule,
            "source": (view.source_name, view.source_code, view.issuer),
            "basis": [basis.text for basis in view.basis],
            "marks": [(mark.code, mark.since) for mark in view.marks if mark.code != CORRECTED],
        }
        parts = _packed({_ENVELOPE_MARK + name: self._part(encoded := _ENCODER.encode(value), encoded) for name, value in values.items()})
        if len(self._envelopes) >= _ENVELOPES:
            self._envelopes.clear()
        self._envelopes[key] = (view, parts)
        return parts


class _Parts(NamedTuple):
    """Some digests of parts, as they stand one behind the other in a msgpack map."""

    many: int
    packed: bytes


_FEW: Final = 16
"""So many members have a longer head in msgpack."""


def _packed(parts: Mapping[str, bytes]) -> _Parts:
    return _Parts(len(parts), _PACK.encode(parts)[len(_head(len(parts))) :])


def _head(many: int) -> bytes:
    """What a msgpack map of so many members begins with."""
    return bytes((0x80 | many,)) if many < _FEW else b"\xde" + many.to_bytes(2, "big")


def changed_parts(old: bytes, new: bytes) -> list[str]:
    """The paths whose digests differ, sorted."""
    before, after = _UNPACK.decode(old[_ROW_DIGEST:]), _UNPACK.decode(new[_ROW_DIGEST:])
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    return sorted(name[1:] if name.startswith(_ENVELOPE_MARK) else path_of(name) for name in changed)


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
