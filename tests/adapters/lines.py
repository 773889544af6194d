"""Simulated other sides for the conformance suite: of `memory`, and of adapters that break one rule each."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from adapters.memory import Board, Memory, MemoryConfig
from adapters.suite import AT, CannedRow, PartnerAdapterSuite, PartnerLine, SourceAdapterSuite, SourceLine
from gateway.adapter_contract import RowResult, SealedBatch, SourceRecord


def _on_board(row: CannedRow, number: int) -> SourceRecord | RowResult:
    place = f"board!R{number}"
    if not row.readable:
        return RowResult(place=place, record_id=None, result="rejected", code="SCHEMA_TYPE")
    return SourceRecord(
        dataset="canned",
        record_id=row.record_id,
        op=row.op,
        version=row.version,
        reason=row.reason,
        as_of=AT,
        fields=dict(row.fields),
        place=place,
    )


class MemorySourceLine(SourceLine):
    """A board that is read."""

    config: ClassVar[Mapping[str, object]] = {"page": 3}

    def __init__(self, adapter: type[Memory] = Memory) -> None:
        self.board = Board()
        self.adapter = adapter

    def connect(self) -> Memory:
        """An adapter on the board."""
        return self.adapter(MemoryConfig(), None, self.board)

    def put(self, rows: Sequence[CannedRow]) -> None:
        """Exactly these rows."""
        self.board.rows = []
        self.grow(rows)

    def grow(self, rows: Sequence[CannedRow]) -> None:
        """These too."""
        start = len(self.board.rows) + 2
        self.board.rows += [_on_board(row, number) for number, row in enumerate(rows, start)]

    def cut(self) -> None:
        """Nobody answers."""
        self.board.down = True

    def reported(self) -> Sequence[RowResult]:
        """What came back."""
        return self.board.reported


class MemoryPartnerLine(PartnerLine):
    """A board that is written to."""

    config: ClassVar[Mapping[str, object]] = {"page": 3}

    def __init__(self, adapter: type[Memory] = Memory) -> None:
        self.board = Board()
        self.adapter = adapter

    def connect(self) -> Memory:
        """An adapter to the board."""
        return self.adapter(MemoryConfig(), None, self.board)

    def cut(self) -> None:
        """Nobody answers."""
        self.board.down = True

    def arrived(self, batch: str) -> SealedBatch | None:
        """In the box."""
        return self.board.delivered.get(batch)

    def effects(self, batch: str) -> int:
        """How often it was put there."""
        return self.board.effects.get(batch, 0)

    def dawdle(self, seconds: float) -> None:
        """Slow."""
        self.board.delay_s = seconds

    def reply_about(self, codes: Sequence[tuple[str, str]]) -> tuple[bytes, Sequence[RowResult]]:
        """A reply in the board's own words."""
        words = {"00": "accepted", "01": "unchanged", "10": "rejected", "20": "withdrawn"}
        reply = json.dumps({"rows": [{"place": place, "code": code} for place, code in codes]}).encode()
        return reply, [RowResult(place=place, record_id=None, result=words.get(code, "held")) for place, code in codes]  # type: ignore[arg-type]  # the words

    def offer(self, batches: Sequence[SealedBatch]) -> None:
        """In our box."""
        self.board.inbox += batches

    def answer_with(self, answer: bytes) -> None:
        """To any question."""
        self.board.answer = answer


def source_suite(adapter: type[Memory]) -> type[SourceAdapterSuite]:
    """The suite for one adapter on a board."""

    class Suite(SourceAdapterSuite):
        def line(self) -> SourceLine:
            return MemorySourceLine(adapter)

    return Suite


def partner_suite(adapter: type[Memory]) -> type[PartnerAdapterSuite]:
    """The suite for one adapter to a board."""

    class Suite(PartnerAdapterSuite):
        def line(self) -> PartnerLine:
            return MemoryPartnerLine(adapter)

    return Suite


Broken = Callable[[], type[Any]]
