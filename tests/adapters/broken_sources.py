"""Sources that break one rule of the contract each: what the suite must catch."""

import asyncio
import logging
import os
import re
from datetime import timedelta
from typing import ClassVar
from uuid import uuid4

from msgspec.structs import replace

from adapters.memory import Memory, MemoryConfig
from gateway.adapter_contract import AdapterError, Page, RowResult, Secret, SourceRecord

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
        given = False
        try:
            async for page in super().pull(since):
                given = True
                yield page
        except AdapterError as error:
            if error.code == "CURSOR_UNKNOWN" or given:
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
            await asyncio.sleep(0.06 if self._board.rows and not self._board.delay_s else 0)
        except asyncio.CancelledError:
            await asyncio.sleep(1.3)
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


class FailsWhenThereIsNothing(Memory):
    async def pull(self, since):
        if not self._board.rows:
            raise AdapterError("UNAVAILABLE", "没有数据", transient=True)
        async for page in super().pull(since):
            yield page


class LosesWhatStoodThereWhenMoreComes(Memory):
    async def pull(self, since):
        size = len(self._board.rows)
        async for page in super().pull(since):
            yield page if len(self._board.rows) == size else replace(page, records=page.records[1:])


class GivesNewIds(Memory):
    async def pull(self, since):
        self._board.walks = getattr(self._board, "walks", 0) + (since is None)
        again = self._board.walks > 1
        async for page in super().pull(since):
            renamed = tuple(replace(record, record_id=f"{record.record_id}'") for record in page.records)
            yield replace(page, records=renamed) if again else page


class CannotLeaveASlowSource(Memory):
    async def pull(self, since):
        try:
            await asyncio.sleep(self._board.delay_s)
        except asyncio.CancelledError:
            await asyncio.sleep(1.3 if self._board.delay_s else 0)
            raise
        async for page in super().pull(since):
            yield page


class OfAnotherContract(Memory):
    contract_version = 2


class OpenConfig(MemoryConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Has a token that anybody can read."""

    token: str = ""


class ShowsItsToken(Memory):
    Config = OpenConfig


class LeavesFilesOpen(Memory):
    async def pull(self, since):
        self._opened = os.open(os.devnull, os.O_RDONLY)
        async for page in super().pull(since):
            yield page


class TellsItsPassword(Memory):
    password = Secret("口令-八月十五")

    async def pull(self, since):
        words = self.password.reveal()
        if self._board.down:
            raise AdapterError("UNAVAILABLE", f"postgresql://city:{words}@front/db 没有应答", transient=True)
        async for page in super().pull(since):
            yield page


class StopsAtAHundred(Memory):
    async def pull(self, since):
        given = 0
        async for page in super().pull(since):
            given += len(page.records)
            yield replace(page, more=page.more and given < 100)
            if given >= 100:
                return


class EndsWhenTheSourceDoes(Memory):
    async def pull(self, since):
        last = None
        try:
            async for page in super().pull(since):
                last = page
                yield page
        except AdapterError:
            if last is None:
                raise
            yield replace(last, records=(), unreadable=(), more=False)


class RemembersItsCursors(Memory):
    known: ClassVar[dict] = {None: None}

    async def pull(self, since):
        if since not in self.known:
            raise AdapterError("CURSOR_UNKNOWN", "游标不是此线路给出的", transient=False)
        async for page in super().pull(self.known[since]):
            mark = vars(self._board).setdefault("mark", uuid4().hex)
            token = f"{mark}-{page.cursor}"
            self.known[token] = page.cursor
            yield replace(page, cursor=token)

    async def report(self, cursor, results):
        await super().report(self.known[cursor], results)


def number(value):
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
    "test_numbers_stay_texts": fields(number),
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
    "test_an_empty_source": FailsWhenThereIsNothing,
    "test_a_source_that_grows": LosesWhatStoodThereWhenMoreComes,
    "test_ids_are_stable": GivesNewIds,
    "test_a_slow_source_can_be_left": CannotLeaveASlowSource,
    "test_contract_version": OfAnotherContract,
    "test_secrets_are_hidden": ShowsItsToken,
    "test_what_was_opened_is_closed": LeavesFilesOpen,
    "test_no_secret_is_told": TellsItsPassword,
    "test_a_large_source_is_given_whole": StopsAtAHundred,
    "test_a_source_that_breaks_off_is_told": EndsWhenTheSourceDoes,
    "test_cursors_outlive_the_process": RemembersItsCursors,
    "test_rows_are_of_the_contract": records(lambda record: replace(record, reason=0 if record.op == "upsert" else record.reason)),
    "test_rows_are_told_whole": records(lambda record: replace(record, as_of=record.as_of + timedelta(hours=8))),
    "test_times_are_told": records(lambda record: replace(record, as_of=record.as_of.replace(tzinfo=None))),
}
"""Check → the source that must fail it, and no other."""
