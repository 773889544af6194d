"""What a subject looks like: the document of api.md §6.2, made of what its shown records say of it.

Rules: its registration speaks for it, without one the latest decision does; what a plan does not show of the records cannot stand here.
It may be found by its names only if it is an organisation whose name is shown whole. Counts are of shown records. This room must not
see a record.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from gateway.core.publication.documents import HOUSEHOLD, Document, Head, subject_address
from gateway.core.publication.labels import label, region_label
from gateway.core.records.model import Value

SUBJECT_FIELDS = ("name", "uscc", "former_names", "industry", "status", "established_on", "successor_code")
"""Fields of a record that a subject document shows."""
_REGISTERED = ("former_names", "industry", "status", "established_on", "successor_code", "division")
SUCCEEDED = b'"successor_code":'
"""Stands in the document of a subject that goes on under another code, and in no other."""
_ENCODER = msgspec.json.Encoder()
_NOTHING: Mapping[str, Any] = {}


class Statement(Struct, frozen=True, kw_only=True, gc=False):
    """What one shown record says about its subject."""

    record_id: str
    dataset: str
    category: str
    decision_date: str | None
    shown: Mapping[str, Value]
    """Of SUBJECT_FIELDS and `division`, those that the plan shows for this kind."""
    treatments: Mapping[str, str]
    form: str
    region: str
    marks: Sequence[Document]
    valid_until: str
    list: str | None = None
    """The list on which it puts its subject."""


class Counted(Protocol):
    """A rendered record, as far as the read model files it."""

    record_id: str
    dataset: str
    category: str
    decision_date: str
    valid_until: str
    list: str | None


def unspoken(row: Counted) -> Statement:
    """What a rendered record adds to its subject where another rendered one speaks for it: it is counted, and ends."""
    return Statement(
        record_id=row.record_id,
        dataset=row.dataset,
        category=row.category,
        decision_date=row.decision_date or None,
        shown=_NOTHING,
        treatments=_NOTHING,
        form="",
        region="",
        marks=(),
        valid_until=row.valid_until,
        list=row.list,
    )


def speaking(category: str, decision_date: str | None, record_id: str) -> tuple[bool, str, str]:
    """The greatest of these is of the record that speaks for its subject: its registration, else the latest decision."""
    return category == "registration", decision_date or "", record_id


def statement_of(head: Head, list_id: str | None = None) -> Statement:
    """What a record just shown says about its subject."""
    document = head.document
    subject, fields, treatments = document["subject"], document["fields"], document["treatments"]
    shown = {name: fields[name] for name in _REGISTERED if name in fields}
    shown.update({name: subject[name] for name in ("name", "uscc") if name in subject})
    return Statement(
        record_id=head.record_id,
        dataset=head.dataset,
        category=head.category,
        decision_date=head.decision_date,
        shown=shown,
        treatments={name: treatments[name] for name in SUBJECT_FIELDS if name in treatments} if treatments else {},
        form=head.form,
        region=head.region,
        marks=document["marks"],
        valid_until=head.valid_until,
        list=list_id,
    )


class _StoredSubject(Struct):
    kind: str
    uscc: Value | msgspec.UnsetType = msgspec.UNSET
    name: Value | msgspec.UnsetType = msgspec.UNSET


class _Stored(Struct):
    """A rendered record, as far as a subject needs it."""

    id: str
    dataset: str
    kind: str
    subject: _StoredSubject
    region: str
    marks: list[dict[str, Any]]
    fields: dict[str, Value]
    treatments: dict[str, str]
    decision_date: str | None = None


_STORED = msgspec.json.Decoder(_Stored)


def statement_of_body(body: bytes, valid_until: str, list_id: str | None = None) -> Statement:
    """What a rendered record says about its subject: the same as when it was rendered."""
    stored = _STORED.decode(body)
    shown = {name: stored.fields[name] for name in _REGISTERED if name in stored.fields}
    if stored.subject.name is not msgspec.UNSET:
        shown["name"] = stored.subject.name
    if stored.subject.uscc is not msgspec.UNSET:
        shown["uscc"] = stored.subject.uscc
    return Statement(
        record_id=stored.id,
        dataset=stored.dataset,
        category=stored.kind,
        decision_date=stored.decision_date,
        shown=shown,
        treatments={name: stored.treatments[name] for name in SUBJECT_FIELDS if name in stored.treatments},
        form=stored.subject.kind,
        region=stored.region,
        marks=stored.marks,
        valid_until=valid_until,
        list=list_id,
    )


class SubjectPage(Struct, frozen=True, kw_only=True, gc=False):
    """A subject as one plan set shows it, and what the read model files it under."""

    head: bytes
    """Its document, encoded, without `seq`, `policy_version` and `links`."""
    form: str
    region: str | None
    industry: str | None
    status: str | None
    names: tuple[tuple[str, str], ...]
    """(role, shown name): what it may be found by; empty unless an organisation whose name is shown whole."""
    code: str | None
    """Its code, if it is an organisation whose code is shown whole."""
    lists: frozenset[str]
    """On which it stands."""
    valid_until: str
    uri: str


def former_names_of(value: Value) -> list[str]:
    """The former names that a registration states, each once, in order."""
    if not isinstance(value, str):
        return []
    for mark in "；;、|\n":
        value = value.replace(mark, ";")
    return list(dict.fromkeys(part.strip() for part in value.split(";") if part.strip()))


def subject_page(
    subject_id: str, statements: Iterable[Statement], *, categories: Sequence[str], searched: Container[str] = (), origin: str
) -> SubjectPage | None:
    """The subject document of api.md §6.2 from everything shown of it; None when nothing is.

    Its registration speaks for it; without one the latest decision does. `categories` are those that `record_counts` names;
    `searched` the datasets by whose name it may be found.
    """
    stated = sorted(statements, key=lambda each: speaking(each.category, each.decision_date, each.record_id))
    if not stated:
        return None
    speaker = stated[-1]
    shown = speaker.shown
    form = speaker.form
    document: Document = {"id": subject_id}
    if "uscc" in shown:
        document["uscc"] = shown["uscc"]
    if "name" in shown:
        document["name"] = shown["name"]
    former = former_names_of(shown.get("former_names"))
    document["former_names"] = former
    document["kind"] = form
    document["kind_label"] = label("subject_kind", form)
    registered = speaker.category == "registration"
    division = shown.get("division")
    region = division if isinstance(division, str) and division else speaker.region if registered else None
    document["region"] = region
    document["region_label"] = region_label(region)
    document["industry"] = shown.get("industry")
    status = shown.get("status")
    document["status"] = status
    document["status_label"] = label("status", status if isinstance(status, str) else None)
    document["established_on"] = shown.get("established_on")
    if (successor := _text(shown.get("successor_code"))) is not None:
        document["successor_code"] = successor
    document["treatments"] = dict(speaker.treatments)
    counts = dict.fromkeys(categories, 0)
    for each in stated:
        counts[each.category] = counts.get(each.category, 0) + 1
    document["record_counts"] = counts
    document["marks"] = list(speaker.marks) if registered else []
    name = shown.get("name")
    names: list[tuple[str, str]] = []
    if (
        speaker.dataset in searched
        and form not in (HOUSEHOLD, "person")
        and "name" not in speaker.treatments
        and isinstance(name, str)
        and name
    ):
        names.append(("name", name))
        if "former_names" not in speaker.treatments:
            names.extend(("former_name", each) for each in former)
    return SubjectPage(
        head=_ENCODER.encode(document),
        form=form,
        region=region,
        industry=_text(shown.get("industry")),
        status=_text(status),
        names=tuple(names),
        code=_code(speaker),
        lists=frozenset(each.list for each in stated if each.list is not None),
        valid_until=min(each.valid_until for each in stated),
        uri=subject_address(origin, subject_id, shown.get("uscc"), form),
    )


def _code(speaker: Statement) -> str | None:
    shown = _text(speaker.shown.get("uscc"))
    organisation = speaker.form not in (HOUSEHOLD, "person") and "uscc" not in speaker.treatments
    return shown if organisation and shown is not None and "*" not in shown else None


def _text(value: Value) -> str | None:
    return value if isinstance(value, str) else None


def subject_bytes(head: bytes, *, seq: int, policy_version: int, uri: str) -> bytes:
    """The whole subject document: its head, then the numbers and links."""
    address = uri.encode()
    numbers = (head[:-1], seq, policy_version, address, address, address)
    return b'%b,"seq":%d,"policy_version":%d,"links":{"self":"%b","records":"%b/records","timeline":"%b/timeline"}}' % numbers
