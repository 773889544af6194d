"""What a View looks like to a reader: record envelope, subject, in the key order of api.md §6.

Rules: a document is made of Views and of nothing else, so what a plan does not show cannot stand in it. A key is there or not by
plan and kind, never by value. Fields promoted to the envelope do not stand again in `fields`. The bytes of a document are its
head (all that a View decides), then `seq`, `policy_version` and `links`: whether a reader was shown something new is decided on
the head alone. Links are absolute, from `public_origin`. Renderings are Chinese; `localise` gives the English of the same
document. This room must not choose what is shown.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import blake2b, sha256
from typing import Any

import msgspec
from msgspec import Struct

from gateway.core.disclosure.views import View
from gateway.core.exchange.wire import b64u
from gateway.core.publication.labels import Language, label, region_label
from gateway.core.records.identifiers import subject_form
from gateway.core.records.model import BasisRef, Recognised, SubjectKind, Value

Document = dict[str, Any]

ENVELOPE_FIELDS = ("name", "uscc", "document_number", "decision_date", "severity")
"""Fields that a record's envelope shows, so that `fields` does not."""
_ENVELOPE = frozenset(ENVELOPE_FIELDS)
HOUSEHOLD = "household"
FOREVER = "9999-12-31T00:00:00Z"
"""`valid_until` of what has no end."""
SAMPLE_NOTICE: Mapping[str, str] = {
    "zh-CN": "示例数据：主体、人员、机关均为虚构，不得作为任何决定的依据。",
    "en": "Sample data: every subject, person and authority is invented; no basis for any decision.",
}

_ENCODER = msgspec.json.Encoder()
_LONG = 4096
"""Bytes from which on a part goes into a validator by its SHA-256, for which processors have instructions."""


@lru_cache(4096)
def instant(moment: datetime) -> str:
    """RFC 3339 in UTC with Z, whole seconds."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat()[:19] + "Z"


def until(moment: datetime | None) -> str:
    """An end as stored: none sorts after every other."""
    return FOREVER if moment is None else instant(moment)


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def notice(language: Language) -> Document:
    """The mark that every answer of a demo carries."""
    return {"code": "sample-data", "text": SAMPLE_NOTICE[language]}


_BASES: dict[int, tuple[tuple[BasisRef, ...], list[Document]]] = {}
_MOST_BASES = 1024


def _basis(grounds: tuple[BasisRef, ...]) -> list[Document]:
    """The grounds as shown; one object for all records of a standing, known by that object alone, for they are many words to compare."""
    known = _BASES.get(id(grounds))
    if known is None or known[0] is not grounds:
        if len(_BASES) >= _MOST_BASES:
            _BASES.clear()
        known = _BASES[id(grounds)] = (grounds, [basis_document(basis) for basis in grounds])
    return known[1]


def basis_document(basis: BasisRef) -> Document:
    """A legal ground as shown."""
    return {"text": basis.text, "uri": basis.uri}


class Head(Struct, frozen=True, kw_only=True, gc=False):
    """A record as one plan shows it, all but the numbers that come when it is told; and what the read model files it under."""

    record_id: str
    subject_id: str
    dataset: str
    category: str
    kind: SubjectKind
    form: str
    """Subject kind of api.md §6.2."""
    document: Document
    region: str
    source: str | None
    severity: str | None
    decision_date: str | None
    published_from: str | None
    marks: tuple[str, ...]
    valid_from: str
    valid_until: str


def subject_address(origin: str, subject_id: str, uscc: Value, form: str) -> str:
    """The canonical URL of a subject: by code, and by id where the code is not shown whole or there is none."""
    by_code = isinstance(uscc, str) and form not in (HOUSEHOLD, "person") and "*" not in uscc
    return f"{origin}/v1/subjects/{uscc if by_code else subject_id}"


def form_of(kind: SubjectKind, uscc: Value) -> str:
    """The subject kind of api.md §6.2, from what is shown."""
    return subject_form(uscc if isinstance(uscc, str) and "*" not in uscc else None, kind)


def marks_of(view: View, language: Language = "zh-CN") -> list[Document]:
    """The marks of a record, in the order they are shown; `recognised` always stands on a recognised one."""
    if not view.marks and view.recognised is None:
        return []
    found = [
        {"code": mark.code, "label": label("mark", mark.code, language), "since": None if mark.since is None else instant(mark.since)}
        for mark in view.marks
    ]
    if view.recognised is not None and all(mark["code"] != "recognised" for mark in found):
        found.append({"code": "recognised", "label": label("mark", "recognised", language), "since": instant(view.recognised.since)})
    if view.recognised is not None:
        said = next(mark for mark in found if mark["code"] == "recognised")
        said |= _recognised(view.recognised)
    return found


def _recognised(recognised: Recognised) -> Document:
    """By whom it was issued, under which agreement it is recognised, what follows here, and until when at most."""
    return {
        "issuer": recognised.issuer,
        "agreement": recognised.agreement,
        "effect": recognised.effect,
        "as_of": None if recognised.as_of is None else instant(recognised.as_of),
        "until": None if recognised.until is None else recognised.until.isoformat(),
    }


def record_head(view: View, origin: str) -> Head:
    """The record envelope of api.md §6.1 up to `treatments`, in Chinese."""
    shown = view.fields
    uscc = shown.get("uscc")
    form = form_of(view.kind, uscc)
    subject: Document = {"id": view.subject_id}
    if "uscc" in shown:
        subject["uscc"] = uscc
    if "name" in shown:
        subject["name"] = shown["name"]
    subject["kind"] = form
    subject["kind_label"] = label("subject_kind", form)
    subject["uri"] = subject_address(origin, view.subject_id, uscc, form)
    document: Document = {
        "id": view.record_id,
        "dataset": view.dataset,
        "kind": view.category,
        "kind_label": label("kind", view.category),
        "subject": subject,
    }
    if "document_number" in shown:
        document["document_number"] = shown["document_number"]
    if "decision_date" in shown:
        document["decision_date"] = shown["decision_date"]
    severity: Value = None
    if "severity" in shown:
        severity = shown["severity"] if shown["severity"] is not None else view.severity
        document["severity"] = severity
        document["severity_label"] = label("severity", severity if isinstance(severity, str) else None)
    document["region"] = view.region
    document["region_label"] = region_label(view.region)
    document["published_from"] = _day(view.published_from)
    document["publish_until"] = _day(view.publish_until)
    document["period_rule"] = view.period_rule
    document["basis"] = _basis(view.basis)
    source: Document = {"name": view.source_name, "uscc": view.source_code, "received_at": instant(view.received_at)}
    if view.issuer is not None:
        source["issuer"] = view.issuer
    document["source"] = source
    marks = marks_of(view)
    document["marks"] = marks
    document["fields"] = {name: value for name, value in shown.items() if name not in _ENVELOPE}
    document["treatments"] = dict(view.treatments)
    decided = document.get("decision_date")
    return Head(
        record_id=view.record_id,
        subject_id=view.subject_id,
        dataset=view.dataset,
        category=view.category,
        kind=view.kind,
        form=form,
        document=document,
        region=view.region,
        source=view.source_code,
        severity=severity if isinstance(severity, str) else None,
        decision_date=decided if isinstance(decided, str) else None,
        published_from=document["published_from"],
        marks=tuple(mark["code"] for mark in marks),
        valid_from=instant(view.valid_from),
        valid_until=until(view.valid_until),
    )


def head_bytes(document: Document) -> bytes:
    """The encoded head: what is compared to tell whether a reader was shown something new."""
    return _ENCODER.encode(document)


def record_bytes(head: bytes, *, seq: int, policy_version: int, origin: str, record_id: str) -> bytes:
    """The whole record: its head, then the numbers and links: itself, what happened to its subject, why it is shown so.

    The address of the subject and the dataset are read from the head as it is encoded: inside a text every quote is escaped, so no text
    can look like one of these keys.
    """
    at = origin.encode()
    return _RECORD_END % (
        head[:-1], seq, policy_version, at, record_id.encode(), _told(head, b'"subject":{', b'"uri":"'), at, policy_version,
        _told(head, b'{"id":"', b'"dataset":"'),
    )  # fmt: skip


def with_salt(listing: bytes, salt: bytes, *, origin: str, record_id: str) -> bytes:
    """A whole listing with the link to its proof, and the salt of its commitment as its last member."""
    return b'%b,"proof":"%b/v1/log/proof?record=%b"},"salt":"%b"}' % (
        listing[:-2], origin.encode(), record_id.encode(), b64u(salt).encode(),
    )  # fmt: skip


_RECORD_END = (
    b'%b,"seq":%d,"policy_version":%d,"links":{"self":"%b/v1/records/%b","history":"%b/timeline",'
    b'"policy":"%b/v1/policies/%d/matrix?dataset=%b"}}'
)


def _told(head: bytes, after: bytes, key: bytes) -> bytes:
    """The plain text under a key that stands behind another."""
    start = head.index(key, head.index(after)) + len(key)
    return head[start : head.index(b'"', start)]


def etag(key: bytes, *parts: bytes) -> str:
    """The opaque part of a validator: a keyed hash of parts, so that it can neither be guessed nor match another view."""
    pieces: list[bytes] = []
    for part in parts:
        pieces += (len(part).to_bytes(8, "big"), part if len(part) < _LONG else sha256(part).digest())
    return blake2b(b"".join(pieces), key=key, digest_size=16).hexdigest()


def with_notice(body: bytes, language: Language) -> bytes:
    """A document with the mark of a demo as its last key: additive, and the rest of its bytes stay as they were."""
    return body[:-1] + sample_end(language)


@lru_cache(8)
def sample_end(language: Language) -> bytes:
    """What takes the place of a document's last brace in a demo."""
    return b',"notice":%b}' % _ENCODER.encode(notice(language))


# --- languages ---------------------------------------------------------------------------------------------------------


def localise(document: Document, language: Language) -> Document:
    """The same record, subject or listing with its labels in another language; key order stays."""
    if language == "zh-CN":
        return document
    changed = dict(document)
    table = "kind" if "dataset" in changed else "subject_kind"
    for key, words in (("kind", table), *((each, each) for each in ("severity", "status", "polarity", "reason", "event"))):
        if f"{key}_label" in changed:
            changed[f"{key}_label"] = label(words, changed[key], language)
    if "region_label" in changed:
        changed["region_label"] = region_label(changed["region"], language)
    if isinstance(changed.get("marks"), list):
        changed["marks"] = [{**mark, "label": label("mark", mark["code"], language)} for mark in changed["marks"]]
    subject = changed.get("subject")
    if isinstance(subject, dict):
        changed["subject"] = {**subject, "kind_label": label("subject_kind", subject["kind"], language)}
    if "notice" in changed and isinstance(changed["notice"], dict) and changed["notice"].get("code") == "sample-data":
        changed["notice"] = notice(language)
    return changed
