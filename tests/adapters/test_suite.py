"""The suite itself is tested: an adapter that breaks one rule fails exactly the check of that rule, and no other."""

import asyncio
import json
import logging
import re

import pytest
from msgspec.structs import replace

from adapters.memory import Memory, MemoryConfig
from adapters.suite import SOURCE_CAPABILITIES, Outcome, run
from gateway.adapter_contract import AdapterError, Page, RowResult, SourceRecord
from tests.adapters.lines import partner_suite, source_suite

log = logging.getLogger("a careless guest")


def pages(change):
    """A Memory whose pages are changed on the way out; the cursors are what they were."""

    class Changed(Memory):
        async def pull(self, since):
            number = 0
            async for page in super().pull(since):
                yield change(page, number, since)
                number += 1

    return Changed


def records(change):
    """A Memory whose records are changed one by one."""
    return pages(lambda page, *_: replace(page, records=tuple(change(record) for record in page.records)))


def fields(change):
    """A Memory whose values are changed one by one."""
    return records(lambda record: replace(record, fields={name: change(value) for name, value in record.fields.items()}))


class LosesTheLastRow(Memory):
    async def pull(self, since):
        async for page in super().pull(since):
            last = [record for record in page.records if record.record_id != "src-8"]
            yield replace(page, records=tuple(last))


class DoublesAtThePageEdge(Memory):
    async def pull(self, since):
        async for page in super().pull(since):
            edge = page.cursor == "row:3" and page.more
            yield replace(page, records=(*page.records, page.records[-1])) if edge else page


class ReSorts(Memory):
    async def pull(self, since):
        async for page in super().pull(since):
            yield replace(page, records=tuple(reversed(page.records)))


class ReusesACursor(Memory):
    async def pull(self, since):
        async for page in super().pull(since):
            yield replace(page, cursor="row:3") if page.cursor == "row:6" else page


class StartsAgain(Memory):
    async def pull(self, since):
        if since == "row:6":
            since = "row:3"
        async for page in super().pull(since):
            yield page


class TakesAnyCursor(Memory):
    async def pull(self, since):
        known = since is None or re.fullmatch(r"row:[0-9]+", since)
        start = since if known and int((since or "row:0").split(":")[1]) <= len(self._board.rows) else None
        async for page in super().pull(start):
            yield page


class SaysThereIsNoMore(Memory):
    async def pull(self, since):
        async for page in super().pull(since):
            yield replace(page, more=False)


class ForgetsUnreadableRows(Memory):
    async def pull(self, since):
        async for page in super().pull(since):
            yield replace(page, unreadable=())


class SwallowsErrors(Memory):
    async def pull(self, since):
        try:
            async for page in super().pull(since):
                yield page
        except AdapterError as error:
            if error.code == "CURSOR_UNKNOWN":
                raise
            yield Page(records=(), cursor="row:0", more=False)


class RaisesItsOwn(Memory):
    async def pull(self, since):
        try:
            async for page in super().pull(since):
                yield page
        except AdapterError as error:
            if error.code == "CURSOR_UNKNOWN":
                raise
            raise ConnectionError("down") from error


class IgnoresCancellation(Memory):
    async def pull(self, since):
        try:
            await asyncio.sleep(0.06 if self._board.rows else 0)
        except asyncio.CancelledError:
            await asyncio.sleep(3)
            raise
        async for page in super().pull(since):
            yield page


class LogsValues(Memory):
    async def pull(self, since):
        async for page in super().pull(since):
            for record in page.records:
                log.info("read %s", record.fields)
            yield page


class LosesReports(Memory):
    async def report(self, cursor, results):
        await super().report(cursor, results[1:])


class CountsWrong(Memory):
    async def counts(self, day):
        return [replace(each, rows=each.rows + 1) for each in await super().counts(day)]


class ClosesOnce(Memory):
    closed = False

    async def close(self):
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


class CheckRaises(Memory):
    async def check(self):
        self._board.reach()
        return await super().check()


class LooseConfig(MemoryConfig, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """Takes anything."""


class TakesAnySetting(Memory):
    Config = LooseConfig


class PromisesMore(Memory):
    capabilities = Memory.capabilities | {"telepathy"}


class SamePageChanges(Memory):
    async def pull(self, since):
        async for page in super().pull(since):
            type(self).pulls = getattr(type(self), "pulls", 0) + 1
            yield (
                replace(page, unreadable=(RowResult(place=f"R{self.pulls}", record_id=None, result="rejected", code="X"),))
                if since == "row:3"
                else page
            )


def _number(value):
    """A guest that parses decimals."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return str(float(value))
    return value


def _withdrawn_as_upsert(record: SourceRecord) -> SourceRecord:
    return replace(record, op="upsert")


SOURCES = {
    "test_nothing_is_lost": LosesTheLastRow,
    "test_nothing_is_doubled": DoublesAtThePageEdge,
    "test_order_is_kept": ReSorts,
    "test_cursors_are_new": ReusesACursor,
    "test_resume_at_every_cursor": StartsAgain,
    "test_same_cursor_same_page": SamePageChanges,
    "test_unknown_cursors_are_refused": TakesAnyCursor,
    "test_more_tells_the_truth": SaysThereIsNoMore,
    "test_withdrawals_are_announced": records(_withdrawn_as_upsert),
    "test_unreadable_rows_are_told": ForgetsUnreadableRows,
    "test_places_are_told": records(lambda record: replace(record, place="")),
    "test_numbers_stay_texts": fields(_number),
    "test_blanks_are_kept": fields(lambda value: value.strip() if isinstance(value, str) else value),
    "test_null_is_not_empty": fields(lambda value: value or ""),
    "test_words_are_not_coerced": fields(lambda value: "其他" if value == "驱逐出境" else value),
    "test_odd_texts_survive": fields(lambda value: value[:2000] if isinstance(value, str) else value),
    "test_a_dead_source_is_told": SwallowsErrors,
    "test_only_adapter_errors_escape": RaisesItsOwn,
    "test_cancellation_ends_soon": IgnoresCancellation,
    "test_no_value_is_told": LogsValues,
    "test_reports_arrive": LosesReports,
    "test_counts_agree": CountsWrong,
    "test_close_twice": ClosesOnce,
    "test_check_never_raises": CheckRaises,
    "test_settings_are_strict": TakesAnySetting,
    "test_capabilities_match_methods": PromisesMore,
}


class CutsLongTexts(Memory):
    def encode(self, rows):
        return super().encode(
            [
                replace(row, fields={name: value[:4000] if isinstance(value, str) else value for name, value in row.fields.items()})
                for row in rows
            ]
        )


class EncodesByChance(Memory):
    times = 0

    def encode(self, rows):
        type(self).times += 1
        return b" " * (self.times % 2) + super().encode(rows)


class ForgetsWithdrawals(Memory):
    def decode(self, part):
        return [replace(record, op="upsert") for record in super().decode(part)]


class DecodesNullAsEmpty(Memory):
    def decode(self, part):
        return [
            replace(
                record,
                fields={
                    name: value or "" if name == "note" and record.record_id == "src-1" else value for name, value in record.fields.items()
                },
            )
            for record in super().decode(part)
        ]


class DecodesFloats(Memory):
    def decode(self, part):
        return [replace(record, fields={name: _number(value) for name, value in record.fields.items()}) for record in super().decode(part)]


class DecodesBackwards(Memory):
    def decode(self, part):
        found = list(super().decode(part))
        return found[::-1] if len(found) == 8 else found


class TakesAnything(Memory):
    def decode(self, part):
        try:
            return super().decode(part)
        except AdapterError:
            return []


class ChangesBytes(Memory):
    async def deliver(self, sealed):
        parts = tuple(replace(part, read=lambda part=part: iter([b"".join(part.read()) + b" "])) for part in sealed.parts)
        return await super().deliver(replace(sealed, parts=parts))


class DeliversTwice(Memory):
    async def deliver(self, sealed):
        self._board.reach()
        self._board.effects[sealed.batch] = self._board.effects.get(sealed.batch, 0) + 1
        self._board.delivered[sealed.batch] = sealed
        await asyncio.sleep(self._board.delay_s)
        return self._board.reply(sealed)


class DeliversToNobody(Memory):
    async def deliver(self, sealed):
        try:
            return await super().deliver(sealed)
        except AdapterError:
            return None


class RaisesItsOwnOnTheWay(Memory):
    async def deliver(self, sealed):
        try:
            return await super().deliver(sealed)
        except AdapterError as error:
            raise OSError("down") from error


class IgnoresTheDeadline(Memory):
    async def ask(self, question, deadline):
        await asyncio.sleep(self._board.delay_s)
        return self._board.answer


class AnswersEmpty(Memory):
    async def ask(self, question, deadline):
        return (await super().ask(question, deadline)).strip().replace(b" ", b"")


class TakesUnknownCodesForSuccess(Memory):
    def read_reply(self, reply):
        return tuple(replace(row, result="accepted") if row.result == "held" else row for row in super().read_reply(reply))


class LosesFeedback(Memory):
    def read_reply(self, reply):
        rows = super().read_reply(reply)
        return rows if len(rows) == 1 else rows[:-1]


class CollectsWithoutTheFirst(Memory):
    async def collect(self, after):
        first = True
        async for batch in super().collect(after):
            if not (first and after is None):
                yield batch
            first = False


class CollectsAllAgain(Memory):
    async def collect(self, after):
        async for batch in super().collect("row:1" if after == "row:2" else after):
            yield batch


class CollectsFromAnywhere(Memory):
    async def collect(self, after):
        async for batch in super().collect(after if after is None or after.startswith("row:") else None):
            yield batch


class LogsWhatItCarries(Memory):
    async def deliver(self, sealed):
        for part in sealed.parts:
            log.info("carrying %s", b"".join(part.read()).decode())
        return await super().deliver(sealed)


class CannotBeStopped(Memory):
    async def deliver(self, sealed):
        try:
            return await super().deliver(sealed)
        except asyncio.CancelledError:
            await asyncio.sleep(3)
            raise


PARTNERS = {
    "test_what_does_not_fit_is_refused": CutsLongTexts,
    "test_same_rows_same_bytes": EncodesByChance,
    "test_encoding_keeps_withdrawals": ForgetsWithdrawals,
    "test_encoding_keeps_null": DecodesNullAsEmpty,
    "test_encoding_keeps_every_value": DecodesFloats,
    "test_encoding_keeps_order": DecodesBackwards,
    "test_hostile_parts_are_refused": TakesAnything,
    "test_bytes_arrive_unchanged": ChangesBytes,
    "test_twice_is_once": DeliversTwice,
    "test_a_dead_partner_is_told": DeliversToNobody,
    "test_only_adapter_errors_escape": RaisesItsOwnOnTheWay,
    "test_a_late_answer_is_an_error": IgnoresTheDeadline,
    "test_answers_come_as_they_are": AnswersEmpty,
    "test_unknown_codes_are_held": TakesUnknownCodesForSuccess,
    "test_every_row_has_its_result": LosesFeedback,
    "test_collecting_loses_nothing": CollectsWithoutTheFirst,
    "test_collecting_goes_on_after_each_batch": CollectsAllAgain,
    "test_unknown_cursors_are_refused": CollectsFromAnywhere,
    "test_no_value_is_told": LogsWhatItCarries,
    "test_cancellation_ends_soon": CannotBeStopped,
}


def failed(outcomes: list[Outcome]) -> list[str]:
    """Checks that failed, with why."""
    return [outcome.check for outcome in outcomes if outcome.outcome == "failed"]


@pytest.mark.parametrize("check", SOURCES)
def test_a_broken_source_fails_its_own_check(check: str):
    """A source that breaks one rule fails the check of that rule and passes all others."""
    assert failed(run(source_suite(SOURCES[check]))) == [check]


@pytest.mark.parametrize("check", PARTNERS)
def test_a_broken_partner_fails_its_own_check(check: str):
    """A partner line that breaks one rule fails the check of that rule and passes all others."""
    assert failed(run(partner_suite(PARTNERS[check]))) == [check]


def test_outcomes_are_data():
    """The outcomes of the reference name suite version and check; nothing is left out in silence."""
    for suite in (source_suite(Memory), partner_suite(Memory)):
        outcomes = run(suite)
        assert {outcome.outcome for outcome in outcomes} <= {"passed", "skipped"}
        assert all(outcome.reason for outcome in outcomes if outcome.outcome == "skipped")
        assert all(outcome.suite_version == 1 for outcome in outcomes)


def test_capabilities_decide_what_runs():
    """A check of a capability that the adapter has not is left out, with that reason."""

    class Plain(Memory):
        capabilities = Memory.capabilities - SOURCE_CAPABILITIES

    skipped = {outcome.check: outcome.reason for outcome in run(source_suite(Plain)) if outcome.outcome == "skipped"}
    assert skipped["test_reports_arrive"] == "no capability report"


def test_the_canned_inputs_are_data():
    """What the suite feeds is read from files that anybody can look at."""
    from adapters.suite import canned

    assert json.dumps([row.fields for row in canned("nothing")], ensure_ascii=False).count("null") >= 1
