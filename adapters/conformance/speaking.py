"""What a line must pass on which single documents go: agreements told and heard, answers that come later, files that are numbered."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from adapters.conformance.checks import check, given, simulated
from adapters.conformance.delivery import deliver
from adapters.conformance.every import EveryAdapter
from adapters.conformance.lines import PartnerLine
from adapters.conformance.watching import error_of
from gateway.adapter_contract import AdapterError

T = TypeVar("T")
DOCUMENT = '{"body":"{\\"id\\":\\"canned-a\\", \\"x\\":\\"协议\\"}","note":"n"}\n'.encode()
KEPT = {"canned-a/2": b'{"body":"{\\"id\\":\\"canned-a\\"}","note":"n"}', "canned-b/3": b'{"body":"{\\"id\\":\\"canned-b\\"}","note":"n"}'}
"""New versions that the partner keeps for us; a first version travels as a file."""
QUESTIONS = {"canned-1": '{"answer":1, "x":" 答"}\n'.encode(), "canned-2": b'{"answer":2}'}


class Speaking(EveryAdapter):
    """Checks of `tell`, `hear`, `later` and `numbers`."""

    def line(self) -> PartnerLine:
        """A new simulated partner."""
        raise NotImplementedError

    # --- agreements ---

    @check("tell")
    def test_documents_are_brought(self) -> None:
        """A signed document reaches the partner as it is."""
        line: PartnerLine = self._line()
        told(line, lambda adapter: adapter.tell(DOCUMENT))
        assert list(given(line.heard(), "documents that the partner was told (heard)")) == [DOCUMENT]

    @check("tell")
    def test_the_dead_are_not_told(self) -> None:
        """A partner that cannot be reached was told nothing: a transient error, never a success."""
        _dead(self._line(), lambda adapter: adapter.tell(DOCUMENT))

    def _keeping(self) -> PartnerLine:
        line: PartnerLine = self._line()
        for version, document in KEPT.items():
            simulated(line.keep(version, "offered", document), "an agreement that the partner keeps for us (keep)")
        return line

    @check("hear")
    def test_news_is_heard(self) -> None:
        """What the partner keeps in a state that we do not know comes whole, each document as it is."""
        assert sorted(told(self._keeping(), lambda adapter: adapter.hear({}))) == sorted(KEPT.values())

    @check("hear")
    def test_what_is_known_is_not_heard_again(self) -> None:
        """Of what stands at the partner as we know it nothing comes."""
        line = self._keeping()
        first, second = KEPT
        assert told(line, lambda adapter: adapter.hear({first: "offered"})) == [KEPT[second]]
        assert told(line, lambda adapter: adapter.hear(dict.fromkeys(KEPT, "offered"))) == []

    @check("hear")
    def test_the_dead_are_not_quiet(self) -> None:
        """A partner that cannot be reached is a transient error, never one without news."""
        _dead(self._keeping(), lambda adapter: adapter.hear({}))

    # --- answers that come later ---

    def _answering(self) -> PartnerLine:
        line: PartnerLine = self._line()
        for question, answer in QUESTIONS.items():
            simulated(line.answer_later(question, answer), "an answer that comes later (answer_later)")
        return line

    @check("later")
    def test_later_answers_come_as_they_are(self) -> None:
        """The later answer to a question is the partner's bytes, to this question."""
        line = self._answering()
        assert {each: told(line, lambda adapter, each=each: adapter.later(each)) for each in QUESTIONS} == QUESTIONS  # type: ignore[misc]  # bound at once

    @check("later")
    def test_no_answer_is_no_empty_answer(self) -> None:
        """Where the partner has no answer there is an error, never an empty answer."""
        line = self._answering()
        error = error_of(lambda: told(line, lambda adapter: adapter.later("canned-3")))
        assert isinstance(error, AdapterError), f"an answer to what was not asked: {error!r}"

    @check("later")
    def test_the_dead_answer_nothing_later(self) -> None:
        """A partner that cannot be reached is a transient error, never an empty answer."""
        _dead(self._answering(), lambda adapter: adapter.later("canned-1"))

    # --- numbers of files ---

    @check("encode", "numbers")
    def test_series_are_the_same_again(self) -> None:
        """The series of a part are names, each once, and the same whenever they are asked for."""
        line: PartnerLine = self._line()
        part = line.connect().encode(line.rows("walk"))
        series = [list(line.connect().numbers(part)) for _ in range(2)]  # type: ignore[attr-defined]  # promised by the capability
        assert series[0] == series[1]
        assert series[0], "a part with rows has no file"
        assert all(isinstance(each, str) and each for each in series[0]), "a series without a name"
        assert len(set(series[0])) == len(series[0]), "a series is named twice"

    @check("numbers")
    def test_a_foreign_part_has_no_series(self) -> None:
        """What is no part of this format is refused, never given a number."""
        line: PartnerLine = self._line()
        for part in line.hostile:
            error = error_of(lambda part=part: line.connect().numbers(part))  # type: ignore[misc,attr-defined]  # bound at once; the same
            assert isinstance(error, AdapterError), f"{part[:8]!r} has a series: {error!r}"
            assert not error.transient

    @check("deliver", "numbers")
    def test_a_batch_without_its_numbers_is_refused(self) -> None:
        """No file goes out under a number that the core did not give: the batch is refused for good, and nothing of it arrives."""
        line: PartnerLine = self._line()
        sealed = line.batch(1)
        assert sealed.numbers, "a batch of this line has no numbers"
        error = error_of(lambda: deliver(line.connect(), msgspec.structs.replace(sealed, numbers={})))
        assert isinstance(error, AdapterError), f"a batch without numbers: {error!r}"
        assert not error.transient
        assert line.effects(sealed.batch) == 0, "a file went out under a number of the adapter's own"


def _dead(line: PartnerLine, ask: Callable[[Any], Awaitable[object]]) -> None:
    line.cut()
    error = error_of(lambda: told(line, ask))
    assert isinstance(error, AdapterError), f"a dead partner looks like a quiet one: {error!r}"
    assert error.transient


def told(line: PartnerLine, ask: Callable[[Any], Awaitable[T]]) -> T:
    """What one question to a new adapter on the line gives."""

    async def asked() -> T:
        adapter = line.connect()
        try:
            return await ask(adapter)
        finally:
            await adapter.close()

    return asyncio.run(asked())
