"""What a source must pass: pages, cursors, values as read, reports and counts."""

import asyncio
import json
import os
import select
import signal
import warnings
from collections.abc import Sequence
from typing import Any
from unittest import SkipTest

import msgspec

from adapters.conformance.checks import check, simulated
from adapters.conformance.every import EveryAdapter
from adapters.conformance.lines import AT, SourceLine, canned, many
from adapters.conformance.watching import PATIENCE_S, cancelled_within, error_of, told
from gateway.adapter_contract import SOURCE_METHODS, AdapterError, Page, RowResult, SourceRecord

_ABSENT = object()
PROCESS_S = 20.0
"""How long another process may take for one walk."""


class SourceAdapterSuite(EveryAdapter):
    """Inherit, and give a `line`."""

    required = SOURCE_METHODS

    def line(self) -> SourceLine:
        """A new simulated source."""
        raise NotImplementedError

    def _filled(self, name: str) -> SourceLine:
        line: SourceLine = self._line()
        line.put(canned(name))
        return line

    def _prepared(self) -> SourceLine:
        return self._filled("walk")

    async def _used(self, line: Any, adapter: Any, number: int) -> None:
        del line, number
        async for _ in adapter.pull(None):
            pass

    # --- nothing lost, doubled, reordered ---

    @check()
    def test_an_empty_source(self) -> None:
        """A source without rows gives no rows and no error."""
        assert _records(walk(self._filled("empty"))) == []

    @check()
    def test_nothing_is_lost(self) -> None:
        """Every row of the source is given."""
        line = self._filled("walk")
        assert {row.record_id for row in canned("walk")} <= set(_ids(line, walk(line)))

    @check()
    def test_a_large_source_is_given_whole(self) -> None:
        """Also of many rows none is lost or doubled: nobody stops at a hundred, or at one in a hundred."""
        line: SourceLine = self._line()
        rows = many(line.wide)
        line.put(rows)
        late = {row.record_id for row in rows[len(canned("walk")) :]}
        found = [each for each in _ids(line, walk(line)) if each in late]
        assert len(found) == len(late), "a row far from the first ones is lost or doubled"
        assert set(found) == late, "a row far from the first ones is lost"

    @check()
    def test_a_source_that_breaks_off_is_told(self) -> None:
        """A source that is gone in the middle of a walk is an error, or everything was read before: never a short walk."""
        line: SourceLine = self._line()
        rows = many(line.wide)
        line.put(rows)

        async def cut_off() -> list[Page]:
            adapter = line.connect()
            pages: list[Page] = []
            try:
                async for page in adapter.pull(None):
                    if not pages:
                        line.cut()
                    pages.append(page)
            finally:
                await adapter.close()
            return pages

        pages: list[Page] = []
        if error_of(lambda: pages.extend(asyncio.run(cut_off()))) is None:
            assert len(_records(pages)) == len(rows), "a walk that broke off looks like one that ended"

    @check()
    def test_nothing_is_doubled(self) -> None:
        """No row is given twice, and two rows that say the same are not made one."""
        records = _records(walk(self._filled("twice")))
        assert len(records) == len(canned("twice")), "two rows are made one, or one is made two"
        line = self._filled("walk")
        records = _records(walk(line))
        places = [record.place for record in records if record.place]
        assert len(places) == len(set(places)), "a row is given twice"
        ids = [line.key(record) for record in records]
        assert len(ids) == len(set(ids)), "a row is given twice"

    @check()
    def test_order_is_kept(self) -> None:
        """Rows come in the order of the source."""
        line = self._filled("walk")
        expected = {row.record_id: place for place, row in enumerate(canned("walk"))}
        places = [expected[each] for each in _ids(line, walk(line)) if each in expected]
        assert list(dict.fromkeys(places)) == sorted(set(places))

    @check()
    def test_more_tells_the_truth(self) -> None:
        """`more` is true on every page but the last."""
        pages = walk(self._filled("walk"))
        assert [page.more for page in pages] == [True] * (len(pages) - 1) + [False]

    @check()
    def test_a_source_that_grows(self) -> None:
        """Rows that appear during a walk change nothing of what it has begun with; or the walk is refused, and the next gives all."""
        quiet = self._filled("walk")
        calm = set(_ids(quiet, walk(quiet)))
        late = {row.record_id for row in canned("growth")}
        line = self._filled("walk")

        async def grown() -> list[Page]:
            adapter = line.connect()
            pages: list[Page] = []
            try:
                async for page in adapter.pull(None):
                    if not pages:
                        line.grow(canned("growth"))
                    pages.append(page)
            finally:
                await adapter.close()
            return pages

        pages: list[Page] = []
        error = error_of(lambda: pages.extend(asyncio.run(grown())))
        if error is not None:
            assert isinstance(error, AdapterError), repr(error)
            assert error.transient, "a walk that was disturbed cannot be tried again"
            pages = walk(line)
        ids = set(_ids(line, pages))
        assert error is None or ids >= late, "a row that came is lost"
        assert ids >= calm, "a row is lost because others came"
        assert ids - calm <= late, "a row is given that is not there"

    # --- cursors ---

    @check()
    def test_cursors_are_new(self) -> None:
        """No two pages have one cursor."""
        pages = [page for page in walk(self._filled("walk")) if page.records or page.unreadable]
        assert len({page.cursor for page in pages}) == len(pages)

    @check("resume")
    def test_resume_at_every_cursor(self) -> None:
        """From each cursor the walk goes on exactly where that page ended."""
        line = self._filled("walk")
        pages = walk(line)
        seen: set[str] = set()
        for at, page in enumerate(pages):
            if page.cursor not in seen:
                assert _ids(line, walk(line, page.cursor)) == _ids(line, pages[at + 1 :]), f"resumed after page {at + 1}"
            seen.add(page.cursor)

    @check("resume")
    def test_cursors_outlive_the_process(self) -> None:
        """A cursor means the same to another process: nothing that it needs is remembered in a class or a module."""
        line = self._filled("walk")
        cursor, after = _walk_elsewhere(line)
        found: list[str] = []
        error = error_of(lambda: found.extend(_ids(line, walk(line, cursor))))
        assert error is None, "a cursor is known to the process alone that gave it"
        assert found == after, "a cursor means something else to another process"

    @check("resume")
    def test_same_cursor_same_page(self) -> None:
        """The same cursor gives the same page again."""
        line = self._filled("walk")
        first = walk(line)[0]
        again = [walk(line, first.cursor)[0] for _ in range(2)]
        assert again[0] == again[1]

    @check()
    def test_ids_are_stable(self) -> None:
        """Two pulls give a row the same id."""
        line = self._filled("walk")
        twice = [sorted((line.key(record), record.record_id, record.place) for record in _records(walk(line))) for _ in range(2)]
        assert twice[0] == twice[1]

    @check("resume")
    def test_unknown_cursors_are_refused(self) -> None:
        """A cursor of nobody, and one of the future, is CURSOR_UNKNOWN and final."""
        line = self._filled("walk")
        last = walk(line)[-1].cursor
        line.put(canned("one"))
        for cursor in ("no such cursor", "", last):
            error = error_of(lambda cursor=cursor: walk(line, cursor))  # type: ignore[misc]  # bound at once
            assert isinstance(error, AdapterError), f"{cursor!r} is taken"
            assert (error.code, error.transient) == ("CURSOR_UNKNOWN", False)

    # --- what rows say ---

    @check("withdrawals")
    def test_withdrawals_are_announced(self) -> None:
        """A row that was taken back comes as a withdrawal with its reason."""
        line = self._filled("withdrawn")
        taken = [record for record in _records(walk(line)) if line.key(record) == "src-2"]
        assert [(record.op, record.reason) for record in taken] == [("withdraw", "revoked")]
        if line.versions:
            assert [record.version for record in taken] == [2]

    @check()
    def test_unreadable_rows_are_told(self) -> None:
        """A row that cannot be read is reported with its place, and the rows around it are given."""
        line = self._filled("unreadable")
        pages = walk(line)
        results = [result for page in pages for result in page.unreadable]
        assert [result.result for result in results] == ["rejected"]
        assert all(result.place and result.code for result in results)
        assert {"src-1", "src-3"} <= set(_ids(line, pages))

    @check()
    def test_places_are_told(self) -> None:
        """Every row says where it stood."""
        assert all(record.place for record in _records(walk(self._filled("one")))), "a row without a place"

    @check()
    def test_times_are_told(self) -> None:
        """Every row says when it was stated, with its offset."""
        records = _records(walk(self._filled("one")))
        assert all(record.as_of.utcoffset() is not None for record in records), "a time without an offset"

    @check()
    def test_rows_are_told_whole(self) -> None:
        """A row has its dataset, its version, the time at which it was stated and the fields of its source: none more, none less."""
        line = self._filled("walk")
        expected = {row.record_id: row for row in canned("walk")}
        for record in _records(walk(line)):
            row = expected[line.key(record)]
            assert record.dataset == "canned", "the dataset is another"
            assert record.as_of.utcoffset() is None or record.as_of == AT, "the time is not that of the statement"
            assert record.version == (row.version if line.versions else None), "the version is another"
            assert record.op == row.op, "the act is another"
            told = {name for name, value in record.fields.items() if name in row.fields or value is not None}
            assert told == set(row.fields), "a field is added or left out"
            wrong = [name for name in ("document_number", "name") if record.fields.get(name) != row.fields[name]]
            assert not wrong, f"{', '.join(wrong)}: of another row or column"

    @check()
    def test_rows_are_of_the_contract(self) -> None:
        """Every member of a row is of the type that the contract says: the core rejects a row that is not."""
        for name in ("walk", "withdrawn"):
            for given in _records(walk(self._filled(name))):
                record = msgspec.structs.replace(given, as_of=AT)  # of times there is a check of their own
                assert msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=SourceRecord) == record, "a member of another type"

    @check()
    def test_numbers_stay_texts(self) -> None:
        """A decimal or code is the text that was sent: no zero is dropped, nothing is parsed."""
        self._values("numbers", "amount")

    @check()
    def test_blanks_are_kept(self) -> None:
        """Blanks stand where they stood: cleaning is the core's."""
        self._values("blanks", "note")

    @check()
    def test_null_is_not_empty(self) -> None:
        """Null and the empty text are two things."""
        self._values("nothing", "note")

    @check()
    def test_words_are_not_coerced(self) -> None:
        """An unknown word of a closed list stays as it is."""
        self._values("words", "note")

    @check()
    def test_odd_texts_survive(self) -> None:
        """Emoji, markup, full width, edge dates and long texts come whole."""
        self._values("odd", "note")

    def _values(self, name: str, field: str) -> None:
        line = self._filled(name)
        expected = {row.record_id: row.fields[field] for row in canned(name)}
        records = {line.key(record): record for record in _records(walk(line))}
        for key, said in expected.items():
            value = records[key].fields.get(field, _ABSENT) if key in records else _ABSENT
            assert (value, type(value)) == (said, type(said)), f"row {key}: {field} was changed"

    # --- back to the source ---

    @check("report")
    def test_reports_arrive(self) -> None:
        """Every result is given back to the source, with its code."""
        line = self._filled("walk")

        async def tell() -> list[RowResult]:
            adapter = line.connect()
            results: list[RowResult] = []
            async for page in adapter.pull(None):
                new = [
                    RowResult(place=record.place, record_id=record.record_id, result="rejected", code="SCHEMA_TYPE", field="amount")
                    for record in page.records
                ]
                await adapter.report(page.cursor, new)
                results += new
            await adapter.close()
            return results

        results = asyncio.run(tell())
        got = {(result.place, result.code) for result in line.reported()}
        assert {(result.place, result.code) for result in results} <= got

    @check("counts")
    def test_counts_agree(self) -> None:
        """The counts of a day are those of the rows that were given."""
        line = self._filled("walk")

        async def count() -> int:
            adapter = line.connect()
            found = await adapter.counts(AT.date())
            await adapter.close()
            return sum(each.rows for each in found)

        assert asyncio.run(count()) == len(canned("walk"))

    # --- when things go wrong ---

    @check()
    def test_a_dead_source_is_told(self) -> None:
        """A source that cannot be reached is an error, never an empty page."""
        line = self._filled("walk")
        line.cut()
        assert error_of(lambda: walk(line)) is not None, "a dead source looks like an empty one"

    @check()
    def test_only_adapter_errors_escape(self) -> None:
        """Whatever goes wrong leaves as an AdapterError that says whether another try may help."""
        line = self._filled("walk")
        line.cut()
        error = error_of(lambda: walk(line))
        assert error is None or (isinstance(error, AdapterError) and error.transient == line.gone_is_transient), repr(error)

    @check()
    def test_cancellation_ends_soon(self) -> None:
        """A cancelled pull ends within a second, whenever it is cancelled."""
        line = self._filled("walk")

        async def pull() -> None:
            adapter = line.connect()
            try:
                async for _ in adapter.pull(None):
                    await asyncio.sleep(0)
            finally:
                await adapter.close()

        assert cancelled_within(pull) <= PATIENCE_S

    @check()
    def test_a_slow_source_can_be_left(self) -> None:
        """A pull that waits for a slow source ends within a second of its cancellation."""
        line = self._filled("walk")
        simulated(line.dawdle(30.0), "a slow source (dawdle)")

        async def pull() -> None:
            adapter = line.connect()
            try:
                async for _ in adapter.pull(None):
                    await asyncio.sleep(0)
            finally:
                await adapter.close()

        assert cancelled_within(pull, (0,)) <= PATIENCE_S

    @check()
    def test_no_value_is_told(self) -> None:
        """No value stands in logs, errors, results of unreadable rows or the adapter's repr."""
        line = self._filled("unreadable")
        values = [str(value) for row in canned("walk") for name, value in row.fields.items() if name in ("document_number", "name")]
        results: list[RowResult] = []

        def story() -> None:
            results.extend(result for page in walk(line) for result in page.unreadable)
            line.cut()
            walk(line)

        assert not told(story, line.connect(), values)
        assert not [value for value in values if any(value in (result.message or "") for result in results)]


def walk(line: SourceLine, since: str | None = None) -> list[Page]:
    """All pages after a cursor, by a new adapter."""

    async def pull() -> list[Page]:
        adapter = line.connect()
        try:
            return [page async for page in adapter.pull(since)]
        finally:
            await adapter.close()

    return asyncio.run(pull())


def _walk_elsewhere(line: SourceLine) -> tuple[str, list[str]]:
    """The first cursor of a walk, with what comes after it, as another process finds them on the same source."""
    if not hasattr(os, "fork"):
        raise SkipTest("this system has no fork")
    ours, theirs = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads are no part of the walk: if it gets stuck, it is ended
        child = os.fork()
    if child == 0:  # the other process: whatever it remembers ends with it
        try:
            pages = walk(line)
            os.write(theirs, json.dumps([pages[0].cursor, _ids(line, pages[1:])]).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    data = b""
    try:
        while select.select([ours], [], [], PROCESS_S)[0] and (piece := os.read(ours, 1 << 16)):
            data += piece
    finally:
        os.close(ours)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert data, "another process could not walk"
    cursor, ids = json.loads(data)
    return str(cursor), list(ids)


def _records(pages: Sequence[Page]) -> list[SourceRecord]:
    return [record for page in pages for record in page.records]


def _ids(line: SourceLine, pages: Sequence[Page]) -> list[str]:
    return [line.key(record) for record in _records(pages)]
