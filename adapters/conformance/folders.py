"""What a line must pass on which things lie until they are looked for: receipts, batches, documents."""

from json import dumps
from typing import Any

from adapters.conformance.checks import check, simulated
from adapters.conformance.delivery import deliver
from adapters.conformance.every import EveryAdapter
from adapters.conformance.lines import STREAM, PartnerLine, canned_batch
from adapters.conformance.speaking import told

PARTY = "credit.tonghua.example"
DOCUMENT = dumps({"body": '{"keys":[],"no":7}', "note": "n"}, separators=(",", ":")).encode()


class Folders(EveryAdapter):
    """Checks of `receipts`, `look`, `clear`, `publish` and `apart`."""

    def line(self) -> PartnerLine:
        """A new simulated partner."""
        raise NotImplementedError

    @check("receipts")
    def test_receipts_that_lie_there_are_found(self) -> None:
        """Receipts come in the order of their numbers, each with its feedback, from the number after which they are asked for."""
        line: PartnerLine = self._line()
        left = [(no, _receipt(no), f'{{"i":{no}}}\n'.encode()) for no in (1, 2, 3)]
        for no, receipt, feedback in left:
            simulated(line.leave_receipt(STREAM, no, receipt, feedback), "receipts that the partner leaves (leave_receipt)")

        async def found(adapter: Any, after: int) -> list[tuple[int, bytes, bytes]]:
            return [each async for each in adapter.receipts(STREAM, after)]

        for after in range(4):
            assert told(line, lambda adapter, after=after: found(adapter, after)) == left[after:], f"after {after}"  # type: ignore[misc]  # bound at once

    @check("look", "collect")
    def test_what_lies_there_can_be_looked_at(self) -> None:
        """A batch that was collected is shown as it lies there now; a number under which nothing lies is None."""
        line: PartnerLine = self._line()
        batch = canned_batch(1)
        line.offer([batch])
        lies = told(line, lambda adapter: adapter.look(STREAM, 1, 1, PARTY))
        assert lies == (batch.manifest, batch.manifest_note, batch.checkpoint)
        assert told(line, lambda adapter: adapter.look(STREAM, 1, 2, PARTY)) is None

    @check("clear", "deliver")
    def test_what_was_taken_is_cleared(self) -> None:
        """A batch of ours is taken off the line, it alone, and again is harmless."""
        line: PartnerLine = self._line()
        first, second = line.batch(1), line.batch(2)
        deliver(line.connect(), first)
        deliver(line.connect(), second)
        for _ in range(2):
            told(line, lambda adapter: adapter.clear(STREAM, 1, 1))
        assert not _lies(line, first.batch), "a batch that was cleared lies there still"
        assert _lies(line, second.batch), "another batch is gone too"

    @check("publish")
    def test_documents_lie_open(self) -> None:
        """A signed document lies there as it was published, the newest last; one that nobody published is None."""
        line: PartnerLine = self._line()
        for document in (DOCUMENT.replace(b"7", b"6"), DOCUMENT):
            told(line, lambda adapter, document=document: adapter.publish(f"keys/{PARTY}", document))  # type: ignore[misc]  # bound at once
        assert told(line, lambda adapter: adapter.published(f"keys/{PARTY}")) == DOCUMENT
        assert told(line, lambda adapter: adapter.published("keys/credit.baishan.example")) is None

    @check("apart", "collect")
    def test_streams_are_collected_apart(self) -> None:
        """One stream alone gives its own batches, and a cursor of its own goes on in it."""
        line: PartnerLine = self._line()
        line.offer([canned_batch(number) for number in (1, 2)])

        async def found(adapter: Any, after: str | None) -> list[tuple[str, str]]:
            return [(each.batch, each.cursor) async for each in adapter.collect(after, STREAM)]

        both = told(line, lambda adapter: found(adapter, None))
        assert [batch for batch, _ in both] == [canned_batch(number).batch for number in (1, 2)]
        assert told(line, lambda adapter: found(adapter, both[0][1])) == both[1:]


def _lies(line: PartnerLine, batch: str) -> bool:
    return line.arrived(batch) is not None or bool(line.received(batch))


def _receipt(no: int) -> bytes:
    return dumps({"body": f'{{"no":{no}}}', "note": "n"}, separators=(",", ":")).encode()
