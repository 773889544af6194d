"""The receipt of an ingest: what became of a file, row by row, as it is told and as it is kept while the file comes in.

Rules: it holds places and codes, never values. What is kept is a row of packed frames, one for the head and one for each chunk, so that a
receipt grows with its file without being written anew, and the receipt of a killed ingest is the sum of what was committed. This file
must not touch the store: the story puts the bytes away.
"""

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from gateway.adapter_contract import RowResult
from gateway.core.errors import RowFault, StoreError
from gateway.core.records.model import Admitted
from gateway.store.ingests import Ingest
from gateway.store.records import Outcome

Line = tuple[int, str, str | None]
"""Row number, code, column."""


class RowLine(Struct, frozen=True, kw_only=True):
    """One row of the file that was not plainly accepted."""

    line: int
    code: str
    field: str | None


class IngestReceipt(Struct, frozen=True, kw_only=True):
    """What became of a file. accepted + unchanged + held + withdrawn + all rejected = its rows."""

    dataset: str
    file_sha256: str
    trust: str
    """`signed`: somebody answers for it; `vouched`: nobody does."""
    accepted: int
    unchanged: int
    held: int
    """Stored and shown to nobody outside until a person has looked; a held text alone holds no record."""
    withdrawn: int
    rejected: dict[str, int]
    """Rows by code."""
    noted: dict[str, int]
    """Remarks by code that stopped nothing, for example a division that the table does not know."""
    rows: tuple[RowLine, ...]
    """Every rejected and every held row."""
    notes: tuple[RowLine, ...]
    """Every remark."""


class Head(Struct, frozen=True, array_like=True):
    """First frame of a kept receipt: under which rules the rows are judged, and in which run."""

    rules: str
    run: str
    """New for each judging of a file; part of the actor of its changes, so that a file is not taken to contradict its own past."""
    signed: bool = True
    """Whether a named officer confirmed the file; one of an authority that nobody confirmed is vouched."""


class Chunk(Struct, frozen=True, array_like=True):
    """What became of one chunk."""

    accepted: int = 0
    unchanged: int = 0
    held: int = 0
    withdrawn: int = 0
    rejected: tuple[Line, ...] = ()
    held_rows: tuple[Line, ...] = ()
    notes: tuple[Line, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows of the file it is about."""
        return self.accepted + self.unchanged + self.held + self.withdrawn + len(self.rejected)


_encode = msgspec.msgpack.Encoder().encode
_encode_json = msgspec.json.Encoder().encode
_head = msgspec.msgpack.Decoder(Head).decode
_chunk = msgspec.msgpack.Decoder(Chunk).decode
_ROW = re.compile(r"!R([0-9]+)$")


# --- one chunk ------------------------------------------------------------------------------------------------------------


def summed(admitted: Sequence[Admitted], outcomes: Sequence[Outcome], faults: Iterable[RowResult | RowFault], *, key_field: str) -> Chunk:
    """What became of one chunk; `key_field` is the column named where a row contradicts another."""
    results = Counter(outcome.result for outcome in outcomes)
    rejected = [(row_of(fault.place), fault.code or "SCHEMA_LINE", fault.field) for fault in faults]
    rejected += [_told(outcome, key_field) for outcome in outcomes if outcome.result == "rejected"]
    notes = [(row_of(each.place), code, field) for each in admitted for code, field in each.warnings]
    # not simply the same: still held, withdrawn here and not brought back by the same words, or nothing there to withdraw
    standing = [outcome for outcome in outcomes if outcome.result in ("unchanged", "withdrawn")]
    notes += [_told(outcome) for outcome in standing if outcome.code not in (None, "DUP_SAME")]
    return Chunk(
        accepted=results["accepted"],
        unchanged=results["unchanged"],
        held=results["held"],
        withdrawn=results["withdrawn"],
        rejected=_in_order(rejected),
        held_rows=_in_order(_told(outcome) for outcome in outcomes if outcome.result == "held"),
        notes=_in_order(notes),
    )


def _told(outcome: Outcome, key_field: str | None = None) -> Line:
    return row_of(outcome.place), outcome.code or "", outcome.field or key_field


def row_of(place: str | None) -> int:
    """The row number at the end of a place."""
    match = _ROW.search(place or "")
    return int(match[1]) if match else 0


def _in_order(rows: Iterable[Line]) -> tuple[Line, ...]:
    return tuple(sorted(rows, key=lambda row: row[0]))


# --- as it is kept --------------------------------------------------------------------------------------------------------


def begun(rules: str, run: str, *, signed: bool = True) -> bytes:
    """A receipt of nothing yet."""
    return _framed(_encode(Head(rules, run, signed)))


def grown(receipt: bytes, chunk: Chunk) -> bytes:
    """A receipt with one chunk more."""
    return receipt + _framed(_encode(chunk))


def head_of(receipt: bytes) -> Head:
    """Under which rules and in which run."""
    return _head(_frames(receipt)[0])


def rows_done(receipt: bytes) -> int:
    """How many rows of the file it accounts for."""
    return sum(chunk.rows for chunk in _chunks(receipt))


def _chunks(receipt: bytes) -> list[Chunk]:
    return [_chunk(frame) for frame in _frames(receipt)[1:]]


def _framed(data: bytes) -> bytes:
    packed = zlib.compress(data, 1)
    return len(packed).to_bytes(4, "big") + packed


def _frames(receipt: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(receipt):
        size = int.from_bytes(receipt[at : at + 4], "big")
        found.append(zlib.decompress(receipt[at + 4 : at + 4 + size]))
        at += 4 + size
    if not found:
        raise StoreError("a stored receipt is empty", code="receipt-invalid", hint="the database was changed by another program")
    return found


# --- as it is told --------------------------------------------------------------------------------------------------------


def receipt_of(ingested: Ingest) -> IngestReceipt:
    """The receipt of an ingest as far as it has come."""
    chunks = _chunks(ingested.receipt)
    rejected = [row for chunk in chunks for row in chunk.rejected]
    notes = [row for chunk in chunks for row in chunk.notes]
    return IngestReceipt(
        dataset=ingested.dataset,
        file_sha256=ingested.file_sha256,
        trust="signed" if ingested.authority is not None and head_of(ingested.receipt).signed else "vouched",
        accepted=sum(chunk.accepted for chunk in chunks),
        unchanged=sum(chunk.unchanged for chunk in chunks),
        held=sum(chunk.held for chunk in chunks),
        withdrawn=sum(chunk.withdrawn for chunk in chunks),
        rejected=_by_code(rejected),
        noted=_by_code(notes),
        rows=_lines(rejected + [row for chunk in chunks for row in chunk.held_rows]),
        notes=_lines(notes),
    )


class BadRow(NamedTuple):
    """A row that was rejected or is held."""

    result: Literal["rejected", "held"]
    code: str
    field: str | None


def bad_rows(ingested: Ingest) -> dict[int, BadRow]:
    """Row number → what is the matter with it; the first word about a row counts."""
    chunks = _chunks(ingested.receipt)
    found: dict[int, BadRow] = {}
    for line, code, field in (row for chunk in chunks for row in chunk.rejected):
        found.setdefault(line, BadRow("rejected", code, field))
    for line, code, field in (row for chunk in chunks for row in chunk.held_rows):
        found.setdefault(line, BadRow("held", code, field))
    return found


def receipt_json(receipt: IngestReceipt) -> bytes:
    """A receipt as the file that departments get."""
    return msgspec.json.format(_encode_json(receipt), indent=1) + b"\n"


def _by_code(rows: Iterable[Line]) -> dict[str, int]:
    return dict(sorted(Counter(code for _, code, _ in rows).items()))


def _lines(rows: Iterable[Line]) -> tuple[RowLine, ...]:
    return tuple(RowLine(line=line, code=code, field=field) for line, code, field in _in_order(rows))


def counted(ingested: Ingest) -> tuple[int, Counter[str]]:
    """How many rows of a file were taken in, and how many rejected, by code."""
    chunks = _chunks(ingested.receipt)
    rejected = Counter(code for chunk in chunks for _, code, _ in chunk.rejected)
    return sum(chunk.rows for chunk in chunks) - rejected.total(), rejected
