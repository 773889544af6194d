"""What happened to the records of a subject, as far as they are public now (api.md §7.2).

Rules: an event is of a record that is shown, and of nothing that the record itself does not or did not show: its first day, its latest
visible amendment, and the marks of objections. What came before its first day was never public and is no event. Newest first.
This room must not see a record.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from msgspec import Struct

from gateway.core.publication.documents import Document, instant
from gateway.core.publication.labels import label
from gateway.core.records.periods import first_instant


class Objection(Struct, frozen=True):
    """An objection to a record: since when it was marked, and when the mark went; None: it stands."""

    since: str
    until: str | None


class Event(Struct, frozen=True, order=True):
    """One event; in order of time, record and name."""

    at: str
    record: str
    event: str


def objections_of(states: Iterable[tuple[str | None, str]]) -> list[Objection]:
    """The objections of one record, from its versions in order: since when each was disputed, and when it became so."""
    found: list[Objection] = []
    since: str | None = None
    for disputed, at in states:
        if since is not None and disputed != since:
            found.append(Objection(since, at))
        since = disputed
    if since is not None:
        found.append(Objection(since, None))
    return found


def events(documents: Iterable[Document], objections: Mapping[str, Sequence[Objection]]) -> list[tuple[Event, Document]]:
    """The events of shown records, newest first."""
    found: list[tuple[Event, Document]] = []
    for document in documents:
        record = document["id"]
        first = document["published_from"]
        began = instant(first_instant(date.fromisoformat(first))) if first else document["source"]["received_at"]
        happened = [(began, "published")]
        happened += [(mark["since"], "amended") for mark in document["marks"] if mark["code"] == "corrected" and mark["since"]]
        for each in objections.get(record, ()):
            happened.append((each.since, "objection_marked"))
            if each.until is not None:
                happened.append((each.until, "objection_closed"))
        found += [(Event(at, record, name), document) for at, name in happened if at >= began]
    return sorted(found, key=lambda each: each[0], reverse=True)


def event_document(event: Event, of: Document, origin: str) -> dict[str, Any]:
    """An event as it is told, in Chinese."""
    return {
        "at": event.at,
        "event": event.event,
        "event_label": label("event", event.event),
        "record": event.record,
        "dataset": of["dataset"],
        "kind": of["kind"],
        "kind_label": of["kind_label"],
        "uri": f"{origin}/v1/records/{event.record}",
    }
