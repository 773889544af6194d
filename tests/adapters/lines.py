"""Simulated other sides for the conformance suite: of `memory`, and of adapters that break one rule each."""

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

from adapters.conformance import delivery
from adapters.memory import Board, Memory, MemoryConfig
from adapters.suite import AT, CannedRow, PartnerAdapterSuite, PartnerLine, SourceAdapterSuite, SourceLine
from gateway.adapter_contract import RowResult, SealedBatch, SourceRecord, Value


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

    def dawdle(self, seconds: float) -> bool:
        """Slow."""
        self.board.delay_s = seconds
        return True


class MemoryPartnerLine(PartnerLine):
    """A board that is written to."""

    config: ClassVar[Mapping[str, object]] = {"page": 3, "words": ["罚款"]}
    foreign: ClassVar[Mapping[str, Value]] = {"kind": "驱逐出境"}

    def __init__(self, adapter: type[Memory] = Memory) -> None:
        self.board = Board()
        self.adapter = adapter

    def connect(self) -> Memory:
        """An adapter to the board."""
        return self.adapter(MemoryConfig(words=frozenset({"罚款"})), None, self.board)

    def cut(self) -> None:
        """Nobody answers."""
        self.board.down = True

    def arrived(self, batch: str) -> SealedBatch | None:
        """In the box."""
        return self.board.delivered.get(batch)

    def effects(self, batch: str) -> int:
        """How often it was put there."""
        return self.board.effects.get(batch, 0)

    def everything(self) -> Sequence[str]:
        """All boxes."""
        return list(self.board.effects)

    def asked(self) -> Sequence[bytes]:
        """As they came."""
        return self.board.asked

    def written(self, batch: str) -> Sequence[str]:
        """In the order of their writing."""
        return list(self.board.files[batch])

    def dawdle(self, seconds: float) -> None:
        """Slow."""
        self.board.delay_s = seconds

    def lose_replies(self) -> bool:
        """After the batch was kept."""
        self.board.loses_replies = True
        return True

    def redirect(self) -> bool:
        """To another board."""
        self.board.elsewhere = Board()
        return True

    def followed(self) -> bool:
        """Whether anything lies there."""
        return self.board.elsewhere is not None and bool(self.board.elsewhere.files)

    def refuse(self) -> bool:
        """A fault of the board's own."""
        self.board.refuses = True
        return True

    def break_off(self) -> bool:
        """In the second file."""
        self.board.breaks = True
        return True

    def fail_to_keep(self) -> bool:
        """At the manifest."""
        self.board.forgets = True
        return True

    def heal(self) -> bool:
        """All is well."""
        self.board.mend()
        self.board.mended = True  # type: ignore[attr-defined]  # for one broken adapter
        return True

    def reply_about(self, codes: Sequence[tuple[str, str]]) -> tuple[bytes, Sequence[RowResult]]:
        """A reply in the board's own words."""
        words = {"00": "accepted", "01": "unchanged", "10": "rejected", "20": "withdrawn"}
        reply = json.dumps({"rows": [{"place": place, "code": code} for place, code in codes]}).encode()
        return reply, [RowResult(place=place, record_id=None, result=words.get(code, "held")) for place, code in codes]  # type: ignore[arg-type]  # the words

    def write_back(self, batch: str, codes: Sequence[tuple[str, str]]) -> bool:
        """Below what was written before."""
        self.board.written_back.append((batch, self.reply_about(codes)[0]))
        return True

    def offer(self, batches: Sequence[SealedBatch]) -> None:
        """In our box."""
        self.board.inbox += batches

    def answer_with(self, answer: bytes) -> None:
        """To any question."""
        self.board.answer = answer

    def answer_later(self, question: str, answer: bytes) -> bool:
        """On the board."""
        self.board.later[question] = answer
        return True

    def heard(self) -> Sequence[bytes]:
        """What was told."""
        return self.board.told

    def keep(self, version: str, state: str, document: bytes) -> bool:
        """On the board."""
        self.board.agreements[version] = (state, document)
        return True

    def publish_keys(self, document: bytes) -> bool:
        """On the board."""
        self.board.keys = document
        return True

    def leave_receipt(self, stream: str, no: int, receipt: bytes, feedback: bytes) -> bool:
        """On the board."""
        self.board.left.setdefault(stream, {})[no] = (receipt, feedback)
        return True

    def acknowledged(self, stream: str, no: int) -> tuple[bytes, bytes] | None:
        """What was brought."""
        return self.board.receipts.get((stream, no))

    def asked_anew(self, stream: str) -> str | None:
        """What was asked."""
        return self.board.epochs.get(stream)

    def hurried(self) -> Memory:
        """With a bound of half a second."""
        return self.adapter(MemoryConfig(patience_s=delivery.BOUND_S), None, self.board)


class RowsLine(MemoryPartnerLine):
    """A board whose owner takes the rows out of the parts."""

    def arrived(self, batch: str) -> SealedBatch | None:
        """Parts are not kept."""
        return None

    def received(self, batch: str) -> Sequence[SourceRecord]:
        """Every row."""
        sealed = self.board.delivered.get(batch)
        parts = [] if sealed is None else [b"".join(part.read()) for part in sealed.parts]
        return [record for part in parts for record in self.connect().decode(part)]


def source_suite(adapter: type[Memory]) -> type[SourceAdapterSuite]:
    """The suite for one adapter on a board."""

    class Suite(SourceAdapterSuite):
        def line(self) -> SourceLine:
            return MemorySourceLine(adapter)

    return Suite


def partner_suite(adapter: type[Memory], kind: type[MemoryPartnerLine] = MemoryPartnerLine) -> type[PartnerAdapterSuite]:
    """The suite for one adapter to a board."""

    class Suite(PartnerAdapterSuite):
        def line(self) -> PartnerLine:
            return kind(adapter)

    return Suite
