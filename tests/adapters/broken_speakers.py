"""Lines to partners that break one rule each of what they tell, hear, answer later and number."""

from msgspec.structs import replace

from adapters.memory import Memory
from gateway.adapter_contract import AdapterError


class TellsTidily(Memory):
    async def tell(self, document):
        return await super().tell(document.strip())


class TellsTheDead(Memory):
    async def tell(self, document):
        return b"" if self._board.down else await super().tell(document)


class HearsOne(Memory):
    async def hear(self, held):
        return (await super().hear(held))[:1]


class HearsAllAgain(Memory):
    async def hear(self, held):
        return await super().hear({})


class FindsTheDeadWithoutNews(Memory):
    async def hear(self, held):
        return [] if self._board.down else await super().hear(held)


class AnswersTidily(Memory):
    async def later(self, question):
        return (await super().later(question)).strip()


class AnswersNothing(Memory):
    async def later(self, question):
        self._board.reach()
        return self._board.later.get(question, b"")


class AnswersForTheDeadLater(Memory):
    async def later(self, question):
        return b"" if self._board.down else await super().later(question)


class NamesSeriesByChance(Memory):
    times = 0

    def numbers(self, part):
        type(self).times += 1
        return [*super().numbers(part), *["other"] * (self.times % 2)]

    def _check_numbers(self, sealed):
        if not sealed.numbers:
            super()._check_numbers(sealed)


class NumbersAnything(Memory):
    def numbers(self, part):
        try:
            return super().numbers(part)
        except AdapterError:
            return []


class NumbersByItself(Memory):
    async def deliver(self, sealed):
        own = dict.fromkeys(self.numbers(b"".join(sealed.parts[0].read())), 1)
        return await super().deliver(replace(sealed, numbers=own))


SPEAKERS = {
    "test_documents_are_brought": TellsTidily,
    "test_the_dead_are_not_told": TellsTheDead,
    "test_news_is_heard": HearsOne,
    "test_what_is_known_is_not_heard_again": HearsAllAgain,
    "test_the_dead_are_not_quiet": FindsTheDeadWithoutNews,
    "test_later_answers_come_as_they_are": AnswersTidily,
    "test_no_answer_is_no_empty_answer": AnswersNothing,
    "test_the_dead_answer_nothing_later": AnswersForTheDeadLater,
    "test_series_are_the_same_again": NamesSeriesByChance,
    "test_a_foreign_part_has_no_series": NumbersAnything,
    "test_a_batch_without_its_numbers_is_refused": NumbersByItself,
}
"""Check → the line that must fail it, and no other."""
