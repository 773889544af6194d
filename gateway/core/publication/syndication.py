"""Feeds for feed readers: Atom with removals and archive pages, and JSON Feed (RFC 4287, RFC 6721, RFC 5005, JSON Feed 1.1; api.md §7.10).

Rules: an entry is made of a listing's document and of nothing else; its id is the record's for ever; a removal names the record and one of
three reasons. A feed and its archive pages have one id, and all that was told lies on their pages. XML holds only characters that XML
may hold. This room must not choose what stands in a feed.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import msgspec
from msgspec import Struct

from gateway.core.publication.documents import Document
from gateway.core.publication.labels import Language, label

ATOM: Final = "http://www.w3.org/2005/Atom"
TOMBSTONES: Final = "http://purl.org/atompub/tombstones/1.0"
POLICY: Final = "urn:uuid:0e5d8a1c-7f3b-4c62-9a41-6d2f5b8e9c70"
"""Namespace of what only this gateway says in Atom: `policy`, with the attributes `version` and `plan`."""
HISTORY: Final = "http://purl.org/syndication/history/1.0"
JSON_FEED: Final = "https://jsonfeed.org/version/1.1"
EPOCH: Final = "1970-01-01T00:00:00Z"
_NOT_XML: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ENCODER: Final = msgspec.json.Encoder()


class Entry(Struct, frozen=True, kw_only=True):
    """One thing that stands in a feed."""

    id: str
    title: str
    text: str
    updated: str
    url: str
    """Its document."""
    page: str | None = None
    """Its page for people, where there is one."""
    categories: tuple[tuple[str, str | None], ...] = ()
    """(term, word) pairs."""
    said: Mapping[str, Any] = {}
    """What JSON Feed says of it under `_credit`."""


class Gone(Struct, frozen=True, kw_only=True):
    """One thing that stood in a feed."""

    id: str
    when: str
    reason: str
    said: Mapping[str, Any] = {}


class Channel(Struct, frozen=True, kw_only=True):
    """A feed, or a page of its archive."""

    id: str
    title: str
    subtitle: str
    author: str
    language: Language
    updated: str
    self_url: str
    current_url: str
    home_url: str
    archive: bool = False
    """A page of the archive; else the live document."""
    older_url: str | None = None
    policy: tuple[int, str] | None = None
    """Version and plans under which its entries were made; None: they depend on none."""
    rights: str | None = None
    licence_url: str | None = None
    entries: tuple[Entry, ...] = ()
    gone: tuple[Gone, ...] = ()


def tag(origin: str, what: str) -> str:
    """An id that is the same wherever the feed is read from (RFC 4151)."""
    return f"tag:{urlsplit(origin).hostname},2026:{what}"


def listing_entry(listing: Document, *, list_name: str, told_at: str, op: str, origin: str, language: Language) -> Entry:
    """The entry of a listing, from its document."""
    subject, english = listing["subject"], language == "en"
    name = subject.get("name") or subject["id"]
    marks = [mark["label"] for mark in listing["marks"]]
    words = (
        (("Listed on", "列入日期"), listing.get("listed_on")),
        (("Shown until", "公示至"), listing.get("publish_until")),
        (("Code", "统一社会信用代码"), subject.get("uscc")),
        (("Region", "区划"), listing.get("region_label")),
        (("Source", "来源"), listing["source"].get("name")),
        (("Marks", "标注"), "、".join(marks) if not english else ", ".join(marks)),
        (("How to leave the list", "移出条件"), listing.get("removal_conditions")),
    )
    between = ": " if english else "："
    text = "\n".join(f"{pair[not english]}{between}{value}" for pair, value in words if value)
    categories = [(listing["list"], list_name), (listing["kind"], listing["kind_label"])]
    if listing.get("region"):
        categories.append((listing["region"], listing.get("region_label")))
    categories += [(mark["code"], mark["label"]) for mark in listing["marks"]]
    return Entry(
        id=tag(origin, f"record/{listing['id']}"),
        title=f"{name}{' · ' if english else '：'}{list_name}",
        text=text,
        updated=told_at,
        url=f"{origin}/v1/records/{listing['id']}",
        page=f"{origin}/subjects/{subject['uri'].rpartition('/')[2]}",
        categories=tuple(categories),
        said={"seq": listing["seq"], "op": op, "reason": None, "marks": [mark["code"] for mark in listing["marks"]]},
    )


def removal(record_id: str, *, seq: int, at: str, reason: str, origin: str) -> Gone:
    """What is told of a record that left."""
    return Gone(
        id=tag(origin, f"record/{record_id}"),
        when=at,
        reason=reason,
        said={"seq": seq, "op": "del", "reason": reason, "marks": []},
    )


# --- Atom --------------------------------------------------------------------------------------------------------------


def _clean(text: str) -> str:
    """A text without the characters that XML may not hold."""
    return _NOT_XML.sub("", text)


def _child(parent: ET.Element, name: str, text: str | None = None, **attributes: str) -> ET.Element:
    child = ET.SubElement(parent, name, {key: _clean(value) for key, value in attributes.items()})
    if text is not None:
        child.text = _clean(text)
    return child


def atom(channel: Channel) -> bytes:
    """The feed as Atom."""
    root = ET.Element("feed", {"xmlns": ATOM, "xmlns:at": TOMBSTONES, "xmlns:fh": HISTORY, "xml:lang": channel.language})
    _child(root, "id", channel.id)
    _child(root, "title", channel.title)
    _child(root, "subtitle", channel.subtitle)
    _child(root, "updated", channel.updated or EPOCH)
    _child(_child(root, "author"), "name", channel.author)
    _child(root, "link", rel="self", href=channel.self_url, type="application/atom+xml")
    _child(root, "link", rel="alternate", href=channel.home_url, type="application/json")
    if channel.archive:
        _child(root, "fh:archive")
        _child(root, "link", rel="current", href=channel.current_url, type="application/atom+xml")
    if channel.older_url is not None:
        _child(root, "link", rel="prev-archive", href=channel.older_url, type="application/atom+xml")
    if channel.licence_url is not None:
        _child(root, "link", rel="license", href=channel.licence_url)
    if channel.rights is not None:
        _child(root, "rights", channel.rights)
    if channel.policy is not None:
        _child(root, "policy", xmlns=POLICY, version=str(channel.policy[0]), plan=channel.policy[1])
    for gone in channel.gone:
        _child(_child(root, "at:deleted-entry", ref=gone.id, when=gone.when), "at:comment", gone.reason)
    for entry in channel.entries:
        element = _child(root, "entry")
        _child(element, "id", entry.id)
        _child(element, "title", entry.title)
        _child(element, "updated", entry.updated or EPOCH)
        if entry.page is not None:
            _child(element, "link", rel="alternate", href=entry.page, type="text/html")
        _child(element, "link", rel="alternate", href=entry.url, type="application/json")
        for term, word in entry.categories:
            _child(element, "category", term=term, **({"label": word} if word else {}))
        _child(element, "content", entry.text, type="text")
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


# --- JSON Feed ---------------------------------------------------------------------------------------------------------


def json_feed(channel: Channel) -> bytes:
    """The feed as JSON Feed: what is gone is an item without a name, whose `_credit` says so."""
    items: Sequence[dict[str, Any]] = [
        *(
            {
                "id": gone.id,
                "content_text": label("reason", gone.reason, channel.language) or gone.reason,
                "date_modified": gone.when,
                "_credit": gone.said,
            }
            for gone in channel.gone
        ),
        *(
            {
                "id": entry.id,
                "url": entry.page or entry.url,
                "title": entry.title,
                "content_text": entry.text,
                "date_modified": entry.updated or EPOCH,
                "tags": [term for term, _ in entry.categories],
                "_credit": {**entry.said, "uri": entry.url},
            }
            for entry in channel.entries
        ),
    ]
    return _ENCODER.encode(
        {
            "version": JSON_FEED,
            "title": channel.title,
            "description": channel.subtitle,
            "home_page_url": channel.home_url,
            "feed_url": channel.self_url,
            **({"next_url": channel.older_url} if channel.older_url is not None else {}),
            "language": channel.language,
            "authors": [{"name": channel.author}],
            "_credit": {"licence": channel.licence_url, "rights": channel.rights, **_named(channel)},
            "items": items,
        }
    )


def _named(channel: Channel) -> dict[str, Any]:
    return {} if channel.policy is None else {"policy_version": channel.policy[0], "policy_plan": channel.policy[1]}
