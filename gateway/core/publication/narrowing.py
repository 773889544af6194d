"""Rows of old versions made as narrow as the same record is shown today (api.md §7.8).

Rules: what today's row does not show, knows no more, or shows under another treatment is in no old row either: a key that is not there
goes, of all else the old value is not known (null), for a treatment cannot be done after the fact. Of a text that was redacted nothing
may be missing today. What is shown more widely, and a plain value that the source corrected into another, stays as it was published.
This room must not choose what is shown.
"""

from collections.abc import Mapping
from typing import Any

from gateway.core.disclosure.views import SUMMARY
from gateway.core.publication.versions import Document, canonical, document_of

CLEAR = "clear"
REDACT = "redact"
_SUBJECT = ("name", "uscc")
_SOURCE = ("name", "uscc", "issuer")
_ENVELOPE = ("document_number", "decision_date", "severity", "listed_on", "removal_conditions", "remedy")


def narrowed(line: bytes, shown: Mapping[str, Any], *, other_policy: bool = False) -> tuple[bytes, tuple[str, ...]] | None:
    """A row of an old version held against the row of today, with the paths that changed; None: nothing is to be changed.

    `other_policy`: treatments of one name may do something else than they did, so no treated value that reads otherwise stays. The salt
    stays what it was: the caller draws a new one.
    """
    document = document_of(line)
    was: dict[str, str] = document["treatments"]
    now: Mapping[str, str] = shown["treatments"]
    changed: list[str] = []
    places: list[tuple[Document, Mapping[str, Any], str, str]] = [
        *((document["fields"], shown["fields"], name, f"fields.{name}") for name in list(document["fields"])),
        *((document["subject"], shown["subject"], name, f"subject.{name}") for name in _SUBJECT if name in document["subject"]),
        *((document["source"], shown["source"], name, "source") for name in _SOURCE if name in document["source"]),
        *((document, shown, name, name) for name in _ENVELOPE if name in document),
    ]
    for old, new, name, path in places:
        if name not in new:
            del old[name]
            was.pop(name, None)
            if name in now:  # a text that is held
                was[name] = now[name]
        elif name != SUMMARY and old[name] is not None and not _stands(old[name], new[name], was.get(name), now.get(name), other_policy):
            old[name] = None
            if name in now and path != "source":
                was[name] = now[name]
        else:
            continue
        if name == "severity":
            _label(document, "severity_label", old)
        if path == "subject.uscc":  # the address of a firm holds its code
            document["subject"] |= {key: shown["subject"][key] for key in ("kind", "kind_label", "uri") if key in shown["subject"]}
        changed.append(path)
    return (canonical(document), tuple(sorted(set(changed)))) if changed else None


def _stands(old: Any, new: Any, was: str | None, now: str | None, other_policy: bool) -> bool:
    """Whether a value that an old row shows may go on standing there."""
    if new is None:
        return False
    if (now or CLEAR) not in (CLEAR, was):
        return False
    if isinstance(old, list):
        return isinstance(new, list) and all(each in new for each in old)
    if was == REDACT and old != new and not (isinstance(new, str) and isinstance(old, str) and old in new):
        return False  # what is missing may have been taken out of the text
    return not (other_policy and now is not None and old != new)


def _label(document: Document, name: str, part: Document) -> None:
    if "severity" in part:
        document[name] = None
    else:
        document.pop(name, None)
