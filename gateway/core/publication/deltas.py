"""Deltas between two versions (api.md §7.8): what makes the one into the other, byte for byte.

Law: any issue of A, with the current delta A→B applied and sorted by id, is the current issue of B. Hence there is a `del` for every
row that any issue of A held and the current B lacks, and a `mod` for every row that any issue of A showed otherwise; what came and
went in between is not mentioned. `add` and `mod` both mean *put this row*, so applying twice is harmless. From a version to itself a
delta is empty, unless the version was issued again: then it tells what its earlier issues have too much. Of the departed it says id
and reason, nothing else. This room must not see a row that left.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.core.publication import flat
from gateway.core.publication.changes import changed_values, values_of_document
from gateway.core.publication.versions import Kept, document_of

Op = Literal["add", "mod", "del"]
DELTA_COLUMNS = ("op", "id", "reason", "fields_changed")
_NONE: frozenset[str] = frozenset()
_ENCODER = msgspec.json.Encoder()


class Step(Struct, frozen=True, kw_only=True):
    """One line of a delta."""

    op: Op
    record_id: str
    line: bytes | None = None
    fields_changed: tuple[str, ...] = ()
    reason: str | None = None


def delta(rows: Iterable[Kept], start: int, end: int) -> list[Step]:
    """What makes the version `start` into the version `end`, in order of id.

    `rows`: all that ever stood in either of them, or all of some records; what stood in both alike may be left out.
    """
    before: dict[str, Kept] = {}
    after: dict[str, Kept] = {}
    for row in rows:
        if row.in_version(start):
            before[row.record_id] = row
        if row.in_version(end):
            after[row.record_id] = row
    steps = (_step(record_id, before.get(record_id), after.get(record_id), start) for record_id in sorted(before.keys() | after.keys()))
    return [step for step in steps if step is not None]


def _step(record_id: str, was: Kept | None, now: Kept | None, start: int) -> Step | None:
    if now is None or now.line is None:
        if was is None:
            return None  # it came and went in between
        reason = was.reason or (now.reason if now is not None else None) or "removed"
        return Step(op="del", record_id=record_id, reason=reason)
    if was is None or was.line is None:
        return Step(op="add", record_id=record_id, line=now.line)
    # whether some issue of `start` showed it otherwise than today, by the policy of its time
    otherwise = set(was.rewritten_fields) if was.rewritten >= start else set()
    if was.first == now.first:
        if not otherwise:
            return None
        return Step(op="mod", record_id=record_id, line=now.line, fields_changed=tuple(sorted(otherwise)))
    return Step(
        op="mod", record_id=record_id, line=now.line, fields_changed=tuple(sorted(otherwise | set(changed_between(was.line, now.line))))
    )


def changed_between(old: bytes, new: bytes) -> list[str]:
    """The paths in which two rows differ."""
    return changed_values(values_of_document(document_of(old), _NONE), values_of_document(document_of(new), _NONE))


def ndjson_lines(steps: Iterable[Step]) -> Iterator[bytes]:
    """The delta in NDJSON."""
    for step in steps:
        if step.op == "del":
            yield b'{"op":"del","id":"%b","reason":"%b"}\n' % (step.record_id.encode(), (step.reason or "").encode())
        elif step.op == "add":
            yield b'{"op":"add","row":%b}\n' % (step.line or b"null")
        else:
            yield b'{"op":"mod","row":%b,"fields_changed":%b}\n' % (step.line or b"null", _ENCODER.encode(step.fields_changed))


def csv_head(columns: Sequence[str]) -> bytes:
    """The header of a delta in CSV: its own columns, then those of the row."""
    return flat.line([*DELTA_COLUMNS, *(column for column in columns if column != "id")])


def csv_lines(steps: Iterable[Step], columns: Sequence[str]) -> Iterator[bytes]:
    """The lines of a delta in CSV."""
    own = [column for column in columns if column != "id"]
    for step in steps:
        row: dict[str, flat.FlatValue] = {} if step.line is None else flat.flatten(document_of(step.line))
        fields = "|".join(step.fields_changed) or None
        yield flat.line([step.op, step.record_id, step.reason, fields, *(row.get(column) for column in own)])


def applied(lines: Iterable[bytes], steps: Iterable[Step]) -> list[bytes]:
    """What a reader makes of the lines of an issue with a delta: rows by id, put or taken away, in order of id."""
    rows = {document_of(line)["id"]: line for line in lines}
    for step in steps:
        if step.line is None:
            rows.pop(step.record_id, None)
        else:
            rows[step.record_id] = step.line
    return [rows[record_id] for record_id in sorted(rows)]
