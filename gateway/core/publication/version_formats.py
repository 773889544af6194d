"""The formats of version files: one function a format makes the bytes of a file from the lines of its rows.

To add one: write a function from lines and `Sheet` to chunks of bytes, and put it into `FORMATS` under the name that is both
its suffix and its `format` in manifests. The bytes must follow from lines and sheet alone: such a file is made anew wherever it is wanted
and must have the hash that the manifest names. This room must not see more than the rows.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct

from gateway.core.publication import flat, ftm
from gateway.core.publication.versions import document_of

_PACKED = msgspec.msgpack.Encoder()

Lines = Iterable[bytes]
"""Canonical rows without line ends, read once from beginning to end: there may be a million of them."""


class Sheet(Struct, frozen=True, kw_only=True):
    """What a file may say beside its rows."""

    version: str
    columns: tuple[str, ...]
    """Of the flat form."""
    collection: str
    rows: int
    title: str = ""
    program: str = ""
    """Legal ground of a list."""
    source_url: str = ""


class Format(Struct, frozen=True, kw_only=True):
    """How one format is written."""

    media_type: str
    write: Callable[[Lines, Sheet], Iterable[bytes]] | None
    """None: a library writes it, whose next release may write other bytes. They are kept with the issue (`operations/version_files`)."""
    black_lists_only: bool = False


def ndjson(lines: Lines, _sheet: Sheet) -> Iterator[bytes]:
    """One canonical row a line."""
    for line in lines:
        yield line + b"\n"


def json(lines: Lines, sheet: Sheet) -> Iterator[bytes]:
    """All rows as the items of one object."""
    yield b'{"items":['
    rows = 0
    for line in lines:
        yield b"," + line if rows else line
        rows += 1
    yield b'],"rows":%d,"version":"%b"}' % (rows, sheet.version.encode())


def csv(lines: Lines, sheet: Sheet) -> Iterator[bytes]:
    """Flat rows."""
    yield flat.line(sheet.columns)
    for line in lines:
        yield flat.row_line(document_of(line), sheet.columns)


def msgpack(lines: Lines, sheet: Sheet) -> Iterator[bytes]:
    """The value of the JSON file: the number of rows stands before them, so a version that has another one is no file."""
    yield b"\x83" + _PACKED.encode("items") + b"\xdd" + sheet.rows.to_bytes(4, "big")
    rows = 0
    for line in lines:
        yield _PACKED.encode(document_of(line))
        rows += 1
    if rows != sheet.rows:
        raise ValueError("a version has other rows than it says")
    yield b"".join(map(_PACKED.encode, ("rows", rows, "version", sheet.version)))


def follow_the_money(lines: Lines, sheet: Sheet) -> Iterator[bytes]:
    """Entities of FollowTheMoney, one a line."""
    for line in lines:
        for entity in ftm.entities(document_of(line), program=sheet.program, source_url=sheet.source_url):
            yield ftm.encoded(entity) + b"\n"


FORMATS: Mapping[str, Format] = {
    "ndjson": Format(media_type="application/x-ndjson", write=ndjson),
    "csv": Format(media_type="text/csv; charset=utf-8", write=csv),
    "json": Format(media_type="application/json", write=json),
    "msgpack": Format(media_type="application/vnd.msgpack", write=msgpack),
    "xlsx": Format(media_type="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", write=None),
    "parquet": Format(media_type="application/vnd.apache.parquet", write=None),
    "ftm.json": Format(media_type="application/x-ndjson", write=follow_the_money, black_lists_only=True),
}


def formats_for(polarity: str | None) -> tuple[str, ...]:
    """The formats of a list (black or red) or of a dataset (None)."""
    return tuple(name for name, each in FORMATS.items() if polarity == "black" or not each.black_lists_only)
