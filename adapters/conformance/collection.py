"""What a line that brings must pass: batches as they lie there, answers in time, keys of today."""

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from json import dumps

from adapters.conformance.checks import check, given, simulated
from adapters.conformance.delivery import deliver
from adapters.conformance.every import EveryAdapter
from adapters.conformance.lines import STREAM, PartnerLine, bytes_of, canned_batch
from adapters.conformance.watching import PATIENCE_S, cancelled_within, error_of
from gateway.adapter_contract import AdapterError, IncomingBatch, LateReply, PartnerAdapter, SealedBatch

ANSWER = '{"type":"chengxin-exchange/answer/1","x":" 答"}'.encode()
QUESTION = '{"type":"chengxin-exchange/question/1","b":1,"a":" 问"}'.encode()
DEADLINE_S = 0.2
BATCHES = 24
"""Of a line that was left alone for a while."""


class Collection(EveryAdapter):
    """Checks of `collect`, `ask`, `keys`, `acknowledge`, `kept` and `resync`."""

    def line(self) -> PartnerLine:
        """A new simulated partner."""
        raise NotImplementedError

    def _offering(self, number: int) -> tuple[PartnerLine, list[SealedBatch]]:
        line: PartnerLine = self._line()
        offered = [canned_batch(each) for each in range(1, number + 1)]
        line.offer(offered)
        return line, offered

    # --- collect ---

    @check("collect")
    def test_collecting_loses_nothing(self) -> None:
        """Every batch on the line is given, unchanged and in order."""
        line, offered = self._offering(4)
        found = collect(line)
        assert [each.batch for each in found] == [each.batch for each in offered]
        for got, sent in zip(found, offered, strict=True):
            assert (got.manifest, got.manifest_note, got.checkpoint) == (sent.manifest, sent.manifest_note, sent.checkpoint)
            assert [bytes_of(part) for part in got.parts] == [bytes_of(part) for part in sent.parts]

    @check("collect")
    def test_parts_are_what_they_are_called(self) -> None:
        """A part bears the name, size and digest of its manifest, and can be read any number of times."""
        line, offered = self._offering(1)
        (found,) = collect(line)
        for got, sent in zip(found.parts, offered[0].parts, strict=True):
            assert (got.name, got.size, got.digest) == (sent.name, sent.size, sent.digest), "a part is called otherwise"
            assert [bytes_of(got) for _ in range(2)] == [bytes_of(sent)] * 2, "a part can be read once only"

    @check("collect")
    def test_many_batches_are_collected(self) -> None:
        """Also of many batches none is left: nobody stops at ten."""
        line, offered = self._offering(BATCHES)
        assert [each.batch for each in collect(line)] == [each.batch for each in offered]

    @check("collect")
    def test_collecting_from_an_empty_line(self) -> None:
        """A line on which nothing lies gives nothing and no error."""
        line: PartnerLine = self._line()
        line.offer([])
        assert collect(line) == []

    @check("collect")
    def test_collecting_goes_on_after_each_batch(self) -> None:
        """From each cursor only later batches come."""
        line, _ = self._offering(4)
        found = collect(line)
        for at, batch in enumerate(found):
            assert [each.batch for each in collect(line, batch.cursor)] == [each.batch for each in found[at + 1 :]]

    @check("collect")
    def test_collecting_again_gives_the_same(self) -> None:
        """The same cursor gives the same batches with the same cursors again."""
        line, _ = self._offering(3)
        twice = [[(each.batch, each.cursor, each.manifest) for each in collect(line)] for _ in range(2)]
        assert twice[0] == twice[1]

    @check("collect")
    def test_a_line_that_fills(self) -> None:
        """Batches that come while others are collected are not lost: they come now, or from the last cursor."""
        line: PartnerLine = self._line()
        offered = [canned_batch(number) for number in range(1, 5)]
        line.offer(offered[:2])

        async def filling() -> list[IncomingBatch]:
            adapter = line.connect()
            found: list[IncomingBatch] = []
            try:
                async for batch in adapter.collect(None):
                    if not found:
                        line.offer(offered[2:])
                    found.append(batch)
            finally:
                await adapter.close()
            return found

        found = asyncio.run(filling())
        found += collect(line, found[-1].cursor)
        assert [each.batch for each in found] == [each.batch for each in offered]

    @check("collect")
    def test_unknown_cursors_are_refused(self) -> None:
        """A cursor of nobody is CURSOR_UNKNOWN and final."""
        line, _ = self._offering(1)
        error = error_of(lambda: collect(line, "no such cursor"))
        assert isinstance(error, AdapterError), repr(error)
        assert (error.code, error.transient) == ("CURSOR_UNKNOWN", False)

    @check("collect")
    def test_future_cursors_are_refused(self) -> None:
        """A cursor beyond what ever lay on the line is refused for good, never taken for a quiet line."""
        line, _ = self._offering(4)
        last = collect(line)[-1].cursor
        line, _ = self._offering(1)
        error = error_of(lambda: collect(line, last))
        assert isinstance(error, AdapterError), "a cursor of the future is taken"
        assert not error.transient

    @check("collect")
    def test_collecting_from_the_dead_is_told(self) -> None:
        """A line that cannot be reached is a transient error, never an empty line."""
        line, _ = self._offering(2)
        line.cut()
        error = error_of(lambda: collect(line))
        assert isinstance(error, AdapterError), f"a dead line looks like an empty one: {error!r}"
        assert error.transient

    @check("collect")
    def test_a_cancelled_collection_ends_soon(self) -> None:
        """A collection that waits for a slow partner ends within a second of its cancellation."""
        line, _ = self._offering(2)
        line.dawdle(30.0)

        async def bring() -> None:
            await _collect(line.connect(), None)

        assert cancelled_within(bring, (1, 0)) <= PATIENCE_S

    # --- ask ---

    @check("ask")
    def test_answers_come_as_they_are(self) -> None:
        """The answer to a question is the partner's bytes."""
        line: PartnerLine = self._line()
        line.answer_with(ANSWER)
        assert _ask(line.connect(), 10) == ANSWER

    @check("ask")
    def test_questions_go_as_they_are(self) -> None:
        """The partner gets the bytes of the question, once: they are signed, and an answer is bound to them."""
        line: PartnerLine = self._line()
        line.answer_with(ANSWER)
        _ask(line.connect(), 10, QUESTION)
        assert list(given(line.asked(), "the questions that reached the partner (asked)")) == [QUESTION]

    @check("ask")
    def test_a_late_answer_is_an_error(self) -> None:
        """After the deadline there is an error, never an empty or a late answer."""
        line: PartnerLine = self._line()
        line.dawdle(DEADLINE_S + PATIENCE_S + 0.5)
        begun = time.monotonic()
        error = error_of(lambda: _ask(line.connect(), DEADLINE_S))
        assert isinstance(error, AdapterError), repr(error)
        assert time.monotonic() - begun < DEADLINE_S + PATIENCE_S

    @check("ask")
    def test_the_dead_do_not_answer(self) -> None:
        """A partner that cannot be reached is a transient error, never an empty answer."""
        line: PartnerLine = self._line()
        line.cut()
        error = error_of(lambda: _ask(line.connect(), 5))
        assert isinstance(error, AdapterError), repr(error)
        assert error.transient

    @check("ask")
    def test_a_cancelled_question_ends_soon(self) -> None:
        """A question whose asker left ends within a second."""
        line: PartnerLine = self._line()
        line.dawdle(30.0)

        async def ask() -> None:
            adapter = line.connect()
            try:
                await adapter.ask(b"{}", datetime.now(UTC) + timedelta(seconds=20))
            finally:
                await adapter.close()

        assert cancelled_within(ask, (1, 0)) <= PATIENCE_S

    # --- what is written back later ---

    def _written_back(self) -> PartnerLine:
        line: PartnerLine = self._line()
        sealed = line.batch(1)
        deliver(line.connect(), sealed)
        for place, code in (("1", "00"), ("2", "10"), ("3", "01")):
            simulated(line.write_back(sealed.batch, [(place, code)]), "what the partner writes back later (write_back)")
        return line

    @check("deliver", "reply", "feedback")
    def test_late_replies_are_not_lost(self) -> None:
        """Everything that the partner writes back later comes, in order, and can be read."""
        line = self._written_back()
        adapter = line.connect()
        found = [result.result for late in late_replies(line) for result in adapter.read_reply(late.data)]
        assert found == ["accepted", "rejected", "unchanged"]

    @check("deliver", "reply", "feedback")
    def test_late_replies_go_on(self) -> None:
        """From each cursor only what was written later comes."""
        line = self._written_back()
        found = late_replies(line)
        for at, late in enumerate(found):
            assert [each.data for each in late_replies(line, late.cursor)] == [each.data for each in found[at + 1 :]]

    # --- keys, receipts, epochs ---

    @check("keys")
    def test_keys_are_not_cached(self) -> None:
        """The partner's keys document is the one that it has now; nothing when it is still the one that is held."""
        line: PartnerLine = self._line()
        documents = [_document(f'{{"keys":[],"no":{number}}}') for number in range(2)]
        simulated(line.publish_keys(documents[0]), "a keys document (publish_keys)")

        async def ask() -> list[bytes]:
            adapter = line.connect()
            first = await adapter.keys(None)  # type: ignore[attr-defined]  # promised by the capability
            line.publish_keys(documents[1])
            second = await adapter.keys(None)  # type: ignore[attr-defined]  # the same
            await adapter.close()
            return [first, second]

        assert asyncio.run(ask()) == documents

    @check("keys")
    def test_keys_that_are_held_do_not_come_again(self) -> None:
        """Asked with the digest of the document that is in force, the answer is empty."""
        line: PartnerLine = self._line()
        body = '{"keys":[]}'
        simulated(line.publish_keys(_document(body)), "a keys document (publish_keys)")

        async def ask() -> bytes:
            adapter = line.connect()
            found: bytes = await adapter.keys("sha-256:" + b64encode(sha256(body.encode()).digest()).decode())  # type: ignore[attr-defined]  # the same
            await adapter.close()
            return found

        assert asyncio.run(ask()) == b""

    @check("acknowledge")
    def test_receipts_are_brought(self) -> None:
        """Receipt and feedback reach the partner as they are."""
        line: PartnerLine = self._line()

        async def bring() -> None:
            adapter = line.connect()
            await adapter.acknowledge(STREAM, 1, b'{"body":"{}","note":"n"}', b'{"i":0}\n')  # type: ignore[attr-defined]  # the same
            await adapter.close()

        asyncio.run(bring())
        got = line.acknowledged(STREAM, 1)
        simulated(got is not None, "receipts at the partner (acknowledged)")
        assert got == (b'{"body":"{}","note":"n"}', b'{"i":0}\n')

    @check("kept")
    def test_our_own_receipts_are_shown_again(self) -> None:
        """What was once brought comes back as it was, by its number or as the last; of a number that was never given there is nothing."""
        line: PartnerLine = self._line()
        first, second = (b'{"body":"{}","note":"%d"}' % no for no in (1, 2))

        async def ask() -> list[bytes | None]:
            adapter = line.connect()
            try:
                for no, receipt in ((1, first), (2, second)):  # whoever shows them was brought them
                    await adapter.acknowledge(STREAM, no, receipt, b'{"i":0}\n')  # type: ignore[attr-defined]  # the same
                shown = adapter.kept  # type: ignore[attr-defined]  # promised by the capability
                return [await shown(STREAM, *asked) for asked in ((None, 0), (None, 1), (None, 7), (1, 0), (3, 0))]
            finally:
                await adapter.close()

        assert asyncio.run(ask()) == [second, second, second, first, None]

    @check("resync")
    def test_a_new_epoch_is_asked_for(self) -> None:
        """The partner hears which stream is to begin anew, and why."""
        line: PartnerLine = self._line()

        async def ask() -> None:
            adapter = line.connect()
            await adapter.resync(STREAM, "lost_state")  # type: ignore[attr-defined]  # the same
            await adapter.close()

        asyncio.run(ask())
        said = line.asked_anew(STREAM)
        simulated(said is not None, "what the partner heard (asked_anew)")
        assert said == "lost_state"


def _document(body: str) -> bytes:
    """A signed document as it travels."""
    return dumps({"body": body, "note": "n"}, separators=(",", ":")).encode()


def collect(line: PartnerLine, after: str | None = None) -> list[IncomingBatch]:
    """All batches after a cursor, by a new adapter."""
    return asyncio.run(_collect(line.connect(), after))


async def _collect(adapter: PartnerAdapter, after: str | None) -> list[IncomingBatch]:
    try:
        found: AsyncIterator[IncomingBatch] = adapter.collect(after)
        return [batch async for batch in found]
    finally:
        await adapter.close()


def late_replies(line: PartnerLine, after: str | None = None) -> list[LateReply]:
    """All that was written back after a cursor, by a new adapter."""

    async def read() -> list[LateReply]:
        adapter = line.connect()
        try:
            found: AsyncIterator[LateReply] = adapter.feedback(after)  # type: ignore[attr-defined]  # promised by the capability
            return [late async for late in found]
        finally:
            await adapter.close()

    return asyncio.run(read())


def _ask(adapter: PartnerAdapter, seconds: float, question: bytes = b"{}") -> bytes:
    async def ask() -> bytes:
        try:
            return await adapter.ask(question, datetime.now(UTC) + timedelta(seconds=seconds))
        finally:
            await adapter.close()

    return asyncio.run(ask())
