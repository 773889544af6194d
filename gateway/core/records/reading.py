"""Rows that have the same columns, read column by column: each distinct cell of a column is read once, in whatever rows it stands.

A row's values, holds and fault come out as if it had been read alone, cell by cell in dictionary order: the first fault of a row counts,
empty cells are absent. What is true of all rows, and what can be in few of them only, is told beside them, so that nobody has to ask
row by row. This room must not know whom a row is about.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from gateway.core.errors import RowFault
from gateway.core.records.columns import Column, Door, Layout, Notes, Odd, too_long
from gateway.core.records.model import Value
from gateway.core.records.prohibited import may_tell
from gateway.core.records.subjects import may_hide_number


class Rows(Struct, frozen=True, kw_only=True):
    """Some rows as they were read; all else stands by their place."""

    values: Sequence[dict[str, Value]]
    """By field, in dictionary order."""
    holds: Mapping[int, Notes]
    faults: Mapping[int, RowFault]
    whole: frozenset[str]
    """Fields that every row has."""
    telling: frozenset[int]
    """Rows that have a cue of what may not be collected, or what may hide one."""
    numbered: frozenset[int]
    """Rows that have a long number where none belongs."""


def read_rows(rows: Sequence[Mapping[str, Value]], door: Door) -> Rows:
    """Some rows, at least one, all with the same columns in the same order.

    Raises RowFault where the columns are at fault, and so every row.
    """
    reading = _Reading(door, rows)
    whole: set[str] = set()
    telling: set[int] = set()
    numbered: set[int] = set()
    fields: list[tuple[str, Sequence[Value]]] = []
    for name, values, distinct, is_whole in reading.fields():
        fields.append((name, values))
        if is_whole:
            whole.add(name)
        texts = [value for value in distinct if value.__class__ is str]
        telling.update(_standing(may_tell, texts, values, between="\t"))
        if name in door.of_persons:  # these are put into another form yet
            telling.update(place for place, value in enumerate(values) if value is not None)
        if name in door.plain_of_any:
            numbered.update(_standing(may_hide_number, texts, values, between="|"))
    names = [name for name, _ in fields]
    columns = [values for _, values in fields]
    if not columns:
        said: list[dict[str, Value]] = [{} for _ in rows]
    elif len(whole) == len(names):
        said = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    else:
        said = [{name: value for name, value in zip(names, row, strict=True) if value is not None} for row in zip(*columns, strict=True)]
    return Rows(
        values=said,
        holds=reading.holds,
        faults=reading.faults,
        whole=frozenset(whole),
        telling=frozenset(telling),
        numbered=frozenset(numbered),
    )


def _standing(sign: Callable[[str], bool], texts: Iterable[str], values: Sequence[Value], *, between: str) -> Iterator[int]:
    """The rows whose value has a sign; mostly none of all texts together has it, with what is no part of it between them."""
    if sign(between.join(texts)):
        signed = set(filter(sign, texts))
        yield from (place for place, value in enumerate(values) if value in signed)


class _Reading:
    """Some rows while they are read."""

    def __init__(self, door: Door, rows: Sequence[Mapping[str, Value]]) -> None:
        self._door = door
        self._layout: Layout = door.layout(tuple(rows[0]))
        self._cells = list(zip(*[row.values() for row in rows], strict=True))
        self.holds: dict[int, Notes] = {}
        self.faults: dict[int, RowFault] = {}

    def fields(self) -> Iterator[tuple[str, Sequence[Value], Collection[Value], bool]]:
        """Each field, the values of all rows, which there are, and whether every row has one; a cell at fault is none."""
        for column, place in self._layout.columns:
            values, distinct, whole, odd = column.read(self._cells[place])
            if not odd:
                yield column.name, values, distinct, whole  # type: ignore[misc]  # none of them is odd
                continue
            for name, settled in self._settled(column, values):
                said = set(settled)
                yield name, settled, said, None not in said

    def _settled(self, column: Column, values: Sequence[Value | Odd]) -> Iterator[tuple[str, Sequence[Value]]]:
        """A column with odd cells, and the words that belong into a field of their own where the row has none there."""
        settled: list[Value] = []
        told: dict[int, str] = {}
        for place, value in enumerate(values):
            if not isinstance(value, Odd):
                settled.append(value)
                continue
            settled.append(value.value)
            if value.held:
                self.holds.setdefault(place, []).append(("SCHEMA_ENUM", column.wire))
            fault = value.fault
            detail = column.how.detail
            if value.words and detail is not None and not self._cell(detail, place):
                told[place] = value.words
                room = self._door.lengths[detail]
                fault = too_long(room) if len(value.words) > room else fault
            if fault is not None and place not in self.faults:
                self.faults[place] = RowFault(fault.code, fault.detail, field=column.wire, severity=fault.severity, hint=fault.hint)
        if told and column.how.detail is not None:
            yield column.how.detail, [told.get(place) for place in range(len(values))]
        yield column.name, settled

    def _cell(self, name: str, row: int) -> Value:
        """What a row has in another column."""
        place = self._layout.places.get(self._door.wires[name])
        return None if place is None else self._cells[place][row]
