"""Entries of the transparency log: what happened to a public listing, and the commitment to what is shown of it (exchange.md §15).

Rules: an entry is compact strict JSON with its members in one order and names a record by its opaque id; `c` is the commitment of the
list versions, SHA-256 of salt and canonical row, or null where nothing is shown any more. `v` counts the public versions of a record
from 1: the number of its stored versions would tell of changes that the public does not see. Who has salt and row can prove what was
shown; without the salt nobody can guess it. This room must not choose what is shown.
"""

import re
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange.wire import InstantText, Number, Root
from gateway.core.records.periods import legal_day

Op = Literal["list", "amend", "hide", "unhide", "remove", "erase"]
Reason = Literal["expired", "corrected", "removed", "policy"]
SHOWING: Final = frozenset({"list", "amend", "unhide"})
"""After these the record is shown, and the entry bears its commitment."""
MAX_ENTRY: Final = 1024
"""Bytes of the longest entry that a reader believes; the form of tiles allows 65,535."""


class Place(Struct, frozen=True, order=True):
    """Where an entry stands: year of the log, index from 0."""

    year: int
    index: int

    def __str__(self) -> str:
        return f"{self.year}/{self.index}"


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry."""

    op: Op
    rid: Annotated[str, Meta(pattern=r"^rec_[a-z2-7]{25}[aeimquy4]\Z")]
    v: Number
    c: Root | None
    at: InstantText
    authority: Annotated[str, Meta(pattern=r"^[0-9A-Z]{18}\Z")] | None
    reason: Reason | None
    prev: Annotated[str, Meta(pattern=r"^[0-9]{4}/(0|[1-9][0-9]{0,15})\Z")] | None
    """Place of the entry before about the same record."""

    @property
    def shown(self) -> bool:
        """Whether the record is shown after it."""
        return self.op in SHOWING


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode
_PLACE = re.compile(r"([0-9]{4})/(0|[1-9][0-9]{0,15})\Z")


def entry_bytes(entry: Entry) -> bytes:
    """An entry as it is hashed, kept and served."""
    return _encode(entry)


def read_entry(body: bytes) -> Entry:
    """An entry out of its bytes.

    Raises ExchangeError SCHEMA_LINE when they are not exactly what an entry is written as.
    """
    try:
        entry = _decode(body)
    except msgspec.MsgspecError as error:
        raise ExchangeError("no entry of a log", code="SCHEMA_LINE") from error
    if _encode(entry) != body or len(body) > MAX_ENTRY or (entry.c is not None) != entry.shown:
        raise ExchangeError("an entry has one form", code="SCHEMA_LINE")
    return entry


def read_place(text: str) -> Place:
    """A place out of `year/index`.

    Raises ExchangeError SCHEMA_LINE.
    """
    match = _PLACE.match(text)
    if match is None:
        raise ExchangeError("a place in a log is year/index", code="SCHEMA_LINE")
    return Place(int(match[1]), int(match[2]))


def origin_of(party: str, year: int) -> str:
    """The name of a gateway's log of one year."""
    return f"{party}/log/{year}"


def year_of(now: datetime) -> int:
    """The year whose log is written now: it ends at 24:00 UTC+8 on 31 December."""
    return legal_day(now).year
