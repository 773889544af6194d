"""The conformance suite: test classes that every adapter inherits, in this repository and in anybody else's.

    class TestOurs(SourceAdapterSuite):
        def line(self) -> SourceLine:
            return OurSimulatedSource()

The author supplies a line: a simulated other side, and what opens an adapter to it. Capabilities decide which checks run; a check
that an author leaves out needs a written reason in `skips`. No network, no clock but the deadlines of the checks themselves. Each check
looks at one rule of the contract only, so that an adapter which breaks one rule fails one check; beside the suite stand adapters that
break a rule each, and the suite is tested against them. `run` gives the outcomes as data.

Rows and texts come from `canned/*.json`. Plain functions on purpose: the suite needs pytest to be collected, and nothing else.
"""

import asyncio
import inspect
import json
import logging
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any, ClassVar, Literal, TypeVar

import msgspec
from msgspec import Struct

from gateway.adapter_contract import (
    CONTRACT_VERSION,
    AdapterError,
    Page,
    Part,
    PartnerAdapter,
    Row,
    RowResult,
    SealedBatch,
    SourceAdapter,
    SourceRecord,
    Value,
)

__all__ = [
    "SUITE_VERSION",
    "CannedRow",
    "Outcome",
    "PartnerAdapterSuite",
    "PartnerLine",
    "SourceAdapterSuite",
    "SourceLine",
    "canned",
    "run",
]

SUITE_VERSION = 1
AT = datetime(2026, 6, 1, 2, 30, tzinfo=UTC)
"""When every canned row was stated."""
PATIENCE_S = 1.0
"""How long a cancelled call may take to end."""

SOURCE_CAPABILITIES = frozenset({"resume", "withdrawals", "report", "counts", "snapshot"})
PARTNER_CAPABILITIES = frozenset(
    {"native", "encode", "decode", "deliver", "collect", "ask", "reply", "counts", "withdrawals", "idempotent"}
    | {"keys", "resync", "acknowledge", "feedback", "apart", "receipts", "look", "clear", "publish"}
)
METHODS: Mapping[str, str] = {
    "report": "report",
    "counts": "counts",
    "encode": "encode",
    "decode": "decode",
    "deliver": "deliver",
    "collect": "collect",
    "ask": "ask",
    "reply": "read_reply",
    "keys": "keys",
    "resync": "resync",
    "acknowledge": "acknowledge",
    "feedback": "feedback",
    "receipts": "receipts",
    "look": "look",
    "clear": "clear",
    "publish": "publish",
}
"""Capability → the method that it promises."""

T = TypeVar("T")


# --- what the author supplies -----------------------------------------------------------------------------------------


class CannedRow(Struct, frozen=True, kw_only=True):
    """One row that the author puts into the simulated source."""

    record_id: str
    op: Literal["upsert", "withdraw"] = "upsert"
    version: int = 1
    reason: str | None = None
    fields: dict[str, Value]
    readable: bool = True
    """False: the source itself is damaged here."""


class _Canned(Struct, frozen=True, kw_only=True):
    about: str
    rows: tuple[CannedRow, ...]


def canned(name: str) -> tuple[CannedRow, ...]:
    """The rows of one canned input."""
    return msgspec.json.decode(files("adapters").joinpath("canned", f"{name}.json").read_bytes(), type=_Canned).rows


class _Line(ABC):
    """What both kinds of line have."""

    config: ClassVar[Mapping[str, object]] = {}
    """Settings that the adapter takes."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Settings without which it refuses to start."""

    @abstractmethod
    def cut(self) -> None:
        """From now on the other side cannot be reached."""


class SourceLine(_Line):
    """A simulated source, with pages of at most three rows."""

    @abstractmethod
    def connect(self) -> SourceAdapter:
        """A new adapter on the source as it stands."""

    @abstractmethod
    def put(self, rows: Sequence[CannedRow]) -> None:
        """The source now has exactly these rows, in this order, all stated at `AT`, of dataset `canned`."""

    @abstractmethod
    def grow(self, rows: Sequence[CannedRow]) -> None:
        """The source has these rows too, after the others."""

    def reported(self) -> Sequence[RowResult]:
        """What the source was told of its rows (capability `report`)."""
        return ()


class PartnerLine(_Line):
    """A simulated partner."""

    @abstractmethod
    def connect(self) -> PartnerAdapter:
        """A new adapter to the partner."""

    def arrived(self, batch: str) -> SealedBatch | None:
        """The batch as the partner got it (capability `deliver`)."""
        return None

    def effects(self, batch: str) -> int:
        """How often the batch had an effect at the partner."""
        return 0

    def lose_replies(self) -> None:
        """From now on batches arrive and their replies are lost."""

    def redirect(self) -> bool:
        """From now on the partner points elsewhere; False when such a line cannot be redirected."""
        return False

    def followed(self) -> bool:
        """Whether anybody came to where it pointed."""
        return False

    def dawdle(self, seconds: float) -> None:
        """From now on the partner takes so long."""

    def reply_about(self, codes: Sequence[tuple[str, str]]) -> tuple[bytes, Sequence[RowResult]]:
        """A reply of the partner about rows (place, code of the partner), and what it must be read as (capability `reply`)."""
        raise NotImplementedError

    def offer(self, batches: Sequence[SealedBatch]) -> None:
        """These batches lie ready on the line (capability `collect`)."""
        raise NotImplementedError

    def answer_with(self, answer: bytes) -> None:
        """What the partner answers to a question (capability `ask`)."""
        raise NotImplementedError

    hostile: ClassVar[Sequence[bytes]] = (
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        b"PK\x03\x04",
        b"\x1f\x8b\x08\x00",
    )
    """Inputs that `decode` must refuse (capability `decode`)."""
    too_long: ClassVar[int | None] = 5000
    """A text longer than the partner's columns; None where there is no bound."""


# --- the checks -------------------------------------------------------------------------------------------------------


class _Suite:
    """What both suites check."""

    skips: ClassVar[Mapping[str, str]] = {}
    """Check → why it does not apply here."""
    known: ClassVar[frozenset[str]] = frozenset()
    required: ClassVar[tuple[str, ...]] = ()

    def _adapter(self) -> Any:
        raise NotImplementedError

    def _any_line(self) -> _Line:
        raise NotImplementedError

    def _applies(self, *capabilities: str) -> bool:
        """Whether the adapter has these capabilities and the author has not left the check out; skips the test otherwise."""
        check = inspect.stack()[1].function
        missing = [name for name in capabilities if name not in type(self._adapter()).capabilities]
        reason = self.skips.get(check) or (f"no capability {', '.join(missing)}" if missing else None)
        if reason is None:
            return True
        if "pytest" in sys.modules:
            sys.modules["pytest"].skip(reason)
        raise _LeftOut(reason)

    def test_contract_version(self) -> None:
        """The adapter keeps this version of the contract."""
        assert type(self._adapter()).contract_version == CONTRACT_VERSION

    def test_capabilities_match_methods(self) -> None:
        """Every capability is one of the contract's and has its method; the methods that all have are there."""
        adapter = self._adapter()
        capabilities = type(adapter).capabilities
        assert capabilities - self.known == frozenset(), f"unknown capabilities {sorted(capabilities - self.known)}"
        for name in (*self.required, *(METHODS[each] for each in capabilities if each in METHODS)):
            assert callable(getattr(adapter, name, None)), f"no method {name}"

    def test_settings_are_strict(self) -> None:
        """Valid settings are taken, an unknown key is refused, and so is a setting that is needed and missing."""
        config, line = type(self._adapter()).Config, self._any_line()
        taken = msgspec.convert(dict(line.config), config)
        assert config.__struct_config__.frozen, "settings are frozen"
        assert _refuses({**line.config, "no_such_setting": 1}, config), "an unknown key is taken"
        for name in line.needs:
            assert _refuses({key: value for key, value in line.config.items() if key != name}, config), f"{name} may be missing"
        assert type(taken) is config

    def test_import_loads_no_room(self) -> None:
        """Importing the adapter loads the contract and no other room of the gateway."""
        module = type(self._adapter()).__module__
        code = (
            f"import sys; import importlib.util as u; s = u.find_spec({module!r}); m = __import__({module!r}) if s else None; "
            "bad = sorted(n for n in sys.modules if n.startswith('gateway.') and n != 'gateway.adapter_contract'); "
            "sys.exit(', '.join(bad) or 0)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603  # our own interpreter
        assert done.returncode == 0, done.stderr

    def test_close_twice(self) -> None:
        """Closing twice is harmless."""

        async def twice() -> None:
            adapter = self._adapter()
            await adapter.close()
            await adapter.close()

        asyncio.run(twice())

    def test_check_never_raises(self) -> None:
        """`check` tells what is wrong in words, also when the other side is gone."""

        async def look() -> None:
            line = self._any_line()
            adapter: Any = line.connect()  # type: ignore[attr-defined]  # both kinds of line open adapters
            for diagnostic in await adapter.check():
                assert diagnostic.message
            line.cut()
            found = await adapter.check()
            assert any(not each.ok for each in found), "nothing is wrong although the other side is gone"
            assert all(each.remedy for each in found if not each.ok), "what is wrong comes without what to do"
            await adapter.close()

        asyncio.run(look())


def _refuses(settings: Mapping[str, object], config: type[Struct]) -> bool:
    try:
        msgspec.convert(dict(settings), config)
    except msgspec.ValidationError:
        return True
    return False


class _LeftOut(Exception):
    """A check that does not apply, with its reason."""


class SourceAdapterSuite(_Suite):
    """Inherit, and give a `line`."""

    known = SOURCE_CAPABILITIES | PARTNER_CAPABILITIES
    required = ("pull", "check", "close")

    def line(self) -> SourceLine:
        """A new simulated source."""
        raise NotImplementedError

    def _any_line(self) -> _Line:
        return self.line()

    def _adapter(self) -> SourceAdapter:
        return self.line().connect()

    def _filled(self, name: str) -> SourceLine:
        line = self.line()
        line.put(canned(name))
        return line

    # --- nothing lost, doubled, reordered ---

    def test_an_empty_source(self) -> None:
        """A source without rows gives no rows and no error."""
        pages = _walk(self._filled("empty"))
        assert _records(pages) == []

    def test_nothing_is_lost(self) -> None:
        """Every row of the source is given."""
        given = {record.record_id for record in _records(_walk(self._filled("walk")))}
        assert {row.record_id for row in canned("walk")} <= given

    def test_nothing_is_doubled(self) -> None:
        """No row is given twice, and two rows are not made one."""
        ids = [record.record_id for record in _records(_walk(self._filled("twice")))]
        assert len(ids) == len(set(ids)), "a row is given twice"
        walked = [record.record_id for record in _records(_walk(self._filled("walk")))]
        assert len(walked) == len(set(walked)), "a row is given twice"

    def test_order_is_kept(self) -> None:
        """Rows come in the order of the source."""
        expected = {row.record_id: place for place, row in enumerate(canned("walk"))}
        places = [expected[str(record.record_id)] for record in _records(_walk(self._filled("walk"))) if record.record_id in expected]
        assert list(dict.fromkeys(places)) == sorted(set(places))

    def test_more_tells_the_truth(self) -> None:
        """`more` is true on every page but the last."""
        pages = _walk(self._filled("walk"))
        assert [page.more for page in pages] == [True] * (len(pages) - 1) + [False]

    # --- cursors ---

    def test_cursors_are_new(self) -> None:
        """No two pages have one cursor."""
        pages = [page for page in _walk(self._filled("walk")) if page.records or page.unreadable]
        assert len({page.cursor for page in pages}) == len(pages)

    def test_resume_at_every_cursor(self) -> None:
        """From each cursor the walk goes on exactly where that page ended."""
        self._applies("resume")
        line = self._filled("walk")
        pages = _walk(line)
        seen: set[str] = set()
        for at, page in enumerate(pages):
            if page.cursor not in seen:
                assert _ids(_walk(line, page.cursor)) == _ids(pages[at + 1 :]), f"resumed after page {at + 1}"
            seen.add(page.cursor)

    def test_same_cursor_same_page(self) -> None:
        """The same cursor gives the same page again."""
        self._applies("resume")
        line = self._filled("walk")
        first = _walk(line)[0]
        again = [_walk(line, first.cursor)[0] for _ in range(2)]
        assert again[0] == again[1]

    def test_ids_are_stable(self) -> None:
        """Two pulls give a row the same id."""
        line = self._filled("walk")
        assert sorted(_ids(_walk(line))) == sorted(_ids(_walk(line)))

    def test_unknown_cursors_are_refused(self) -> None:
        """A cursor of nobody, and one of the future, is CURSOR_UNKNOWN and final."""
        self._applies("resume")
        line = self._filled("walk")
        last = _walk(line)[-1].cursor
        line.put(canned("one"))
        for cursor in ("no such cursor", "", last):
            error = _error(lambda cursor=cursor: _walk(line, cursor))  # type: ignore[misc]  # bound at once
            assert isinstance(error, AdapterError), f"{cursor!r} is taken"
            assert (error.code, error.transient) == ("CURSOR_UNKNOWN", False)

    def test_a_source_that_grows(self) -> None:
        """Rows that appear during a walk change nothing of what the walk has begun with."""
        line = self._filled("walk")

        async def walk() -> list[Page]:
            adapter = line.connect()
            pages: list[Page] = []
            async for page in adapter.pull(None):
                if not pages:
                    line.grow(canned("growth"))
                pages.append(page)
            await adapter.close()
            return pages

        calm = set(_ids(_walk(self._filled("walk"))))
        ids = _ids(asyncio.run(walk()))
        assert set(ids) >= calm, "a row is lost because others came"
        assert set(ids) - calm <= {row.record_id for row in canned("growth")}, "a row is given that is not there"

    # --- what rows say ---

    def test_withdrawals_are_announced(self) -> None:
        """A row that was taken back comes as a withdrawal with its reason."""
        self._applies("withdrawals")
        taken = [record for record in _records(_walk(self._filled("withdrawn"))) if record.record_id == "src-2"]
        assert [(record.op, record.reason, record.version) for record in taken] == [("withdraw", "revoked", 2)]

    def test_unreadable_rows_are_told(self) -> None:
        """A row that cannot be read is reported with its place, and the rows around it are given."""
        pages = _walk(self._filled("unreadable"))
        told = [result for page in pages for result in page.unreadable]
        assert [result.result for result in told] == ["rejected"]
        assert all(result.place and result.code for result in told)
        assert {"src-1", "src-3"} <= set(_ids(pages))

    def test_places_are_told(self) -> None:
        """Every row says where it stood, and no two stood at one place."""
        places = [record.place for record in _records(_walk(self._filled("one")))]
        assert all(places), "a row without a place"

    def test_numbers_stay_texts(self) -> None:
        """A decimal or code is the text that was sent: no zero is dropped, nothing is parsed."""
        self._values("numbers", "amount")

    def test_blanks_are_kept(self) -> None:
        """Blanks stand where they stood: cleaning is the core's."""
        self._values("blanks", "note")

    def test_null_is_not_empty(self) -> None:
        """Null and the empty text are two things."""
        self._values("nothing", "note")

    def test_words_are_not_coerced(self) -> None:
        """An unknown word of a closed list stays as it is."""
        self._values("words", "note")

    def test_odd_texts_survive(self) -> None:
        """Emoji, markup, edge dates and long texts come whole."""
        self._values("odd", "note")

    def _values(self, name: str, field: str) -> None:
        expected = {row.record_id: row.fields[field] for row in canned(name)}
        for record in _records(_walk(self._filled(name))):
            value = record.fields.get(field, _ABSENT)
            said = expected[str(record.record_id)]
            assert (value, type(value)) == (said, type(said)), f"row {record.record_id}: {field} was changed"

    # --- back to the source ---

    def test_reports_arrive(self) -> None:
        """Every result is given back to the source, with its code."""
        self._applies("report")
        line = self._filled("walk")

        async def tell() -> list[RowResult]:
            adapter = line.connect()
            told: list[RowResult] = []
            async for page in adapter.pull(None):
                results = [
                    RowResult(place=record.place, record_id=record.record_id, result="rejected", code="SCHEMA_TYPE", field="amount")
                    for record in page.records
                ]
                await adapter.report(page.cursor, results)
                told += results
            await adapter.close()
            return told

        told = asyncio.run(tell())
        got = {(result.place, result.code) for result in line.reported()}
        assert {(result.place, result.code) for result in told} <= got

    def test_counts_agree(self) -> None:
        """The counts of a day are those of the rows that were given."""
        self._applies("counts")
        line = self._filled("walk")

        async def count() -> int:
            adapter = line.connect()
            found = await adapter.counts(AT.date())
            await adapter.close()
            return sum(each.rows for each in found)

        assert asyncio.run(count()) == len(canned("walk"))

    # --- when things go wrong ---

    def test_a_dead_source_is_told(self) -> None:
        """A source that cannot be reached is an error, never an empty page."""
        line = self._filled("walk")
        line.cut()
        assert _error(lambda: _walk(line)) is not None, "a dead source looks like an empty one"

    def test_only_adapter_errors_escape(self) -> None:
        """Whatever goes wrong leaves as an AdapterError that says whether another try may help."""
        line = self._filled("walk")
        line.cut()
        error = _error(lambda: _walk(line))
        assert error is None or (isinstance(error, AdapterError) and error.transient), repr(error)

    def test_cancellation_ends_soon(self) -> None:
        """A cancelled pull ends within a second."""
        line = self._filled("walk")

        async def pull() -> None:
            async for _ in line.connect().pull(None):
                await asyncio.sleep(0)

        assert _cancelled_within(pull) <= PATIENCE_S

    def test_no_value_is_told(self) -> None:
        """No value stands in logs, errors or the adapter's repr."""
        line = self._filled("walk")
        values = [str(value) for row in canned("walk") for name, value in row.fields.items() if name in ("document_number", "name")]

        def story() -> None:
            _walk(line)
            line.cut()
            _error(lambda: _walk(line))

        assert not _told(story, line.connect(), values)


class PartnerAdapterSuite(_Suite):
    """Inherit, and give a `line`."""

    known = PARTNER_CAPABILITIES | SOURCE_CAPABILITIES
    required = ("check", "close")

    def line(self) -> PartnerLine:
        """A new simulated partner."""
        raise NotImplementedError

    def _any_line(self) -> _Line:
        return self.line()

    def _adapter(self) -> PartnerAdapter:
        return self.line().connect()

    # --- formats ---

    def test_encoding_keeps_every_value(self) -> None:
        """What was encoded decodes to the same values."""
        self._applies("encode", "decode")
        for name, field in (("numbers", "amount"), ("blanks", "note"), ("odd", "note"), ("words", "note")):
            adapter = self._adapter()
            rows = [row for row in _rows(name) if len(str(row.fields[field])) < 4000]
            said = {row.rid: row.fields[field] for row in rows}
            for record in adapter.decode(adapter.encode(rows)):
                value = record.fields.get(field, _ABSENT)
                expected = said[str(record.record_id)]
                assert (value, type(value)) == (expected, type(expected)), f"{name}: {record.record_id} was changed"

    def test_encoding_keeps_null(self) -> None:
        """Null and the empty text are two things on the line too."""
        self._applies("encode", "decode")
        adapter = self._adapter()
        rows = _rows("nothing")
        assert [record.fields["note"] for record in adapter.decode(adapter.encode(rows))] == [row.fields["note"] for row in rows]

    def test_encoding_keeps_order(self) -> None:
        """Rows stand in the part in the order in which they were given, and none is lost."""
        self._applies("encode", "decode")
        adapter = self._adapter()
        assert [record.record_id for record in adapter.decode(adapter.encode(_rows("walk")))] == [row.rid for row in _rows("walk")]

    def test_encoding_keeps_withdrawals(self) -> None:
        """A withdrawal goes over as a withdrawal, with its reason and version."""
        self._applies("encode", "decode", "withdrawals")
        adapter = self._adapter()
        found = [record for record in adapter.decode(adapter.encode(_rows("withdrawn"))) if record.record_id == "src-2"]
        assert [(record.op, record.reason, record.version) for record in found] == [("withdraw", "revoked", 2)]

    def test_same_rows_same_bytes(self) -> None:
        """Encoding is a function: the same rows give the same bytes."""
        self._applies("encode")
        assert self._adapter().encode(_rows("walk")) == self._adapter().encode(_rows("walk"))

    def test_what_does_not_fit_is_refused(self) -> None:
        """A text that is too long for the partner is refused, never cut."""
        self._applies("encode")
        longest = self.line().too_long
        if longest is not None:
            row = msgspec.structs.replace(_rows("one")[0], fields={"note": "长" * longest})
            error = _error(lambda: self._adapter().encode([row]))
            assert isinstance(error, AdapterError), "a text that is too long is taken"
            assert not error.transient

    def test_hostile_parts_are_refused(self) -> None:
        """What is no part of this format is refused, quickly and with an AdapterError."""
        self._applies("decode")
        for data in self.line().hostile:
            begun = time.monotonic()
            error = _error(lambda data=data: self._adapter().decode(data))  # type: ignore[misc]  # bound at once
            assert isinstance(error, AdapterError), f"{data[:8]!r}: {error!r}"
            assert time.monotonic() - begun < PATIENCE_S

    # --- delivery ---

    def test_bytes_arrive_unchanged(self) -> None:
        """Every part arrives byte for byte; a native line carries manifest, note and checkpoint so too."""
        self._applies("deliver")
        line = self.line()
        sealed = _sealed(1)
        asyncio.run(_deliver(line.connect(), sealed))
        arrived = line.arrived(sealed.batch)
        assert arrived is not None, "nothing arrived"
        assert [_bytes(part) for part in arrived.parts] == [_bytes(part) for part in sealed.parts]
        if "native" in type(line.connect()).capabilities:
            for name in ("manifest", "manifest_note", "checkpoint"):
                assert getattr(arrived, name) == getattr(sealed, name), name

    def test_twice_is_once(self) -> None:
        """A batch delivered again, also eight times at once, has one effect."""
        self._applies("deliver", "idempotent")
        line, sealed = self.line(), _sealed(1)

        async def often() -> None:
            await _deliver(line.connect(), sealed)
            await asyncio.gather(*(_deliver(line.connect(), sealed) for _ in range(8)))

        asyncio.run(often())
        assert line.effects(sealed.batch) == 1

    def test_a_dead_partner_is_told(self) -> None:
        """A partner that cannot be reached is an error, never a success."""
        self._applies("deliver")
        line = self.line()
        line.cut()
        assert _error(lambda: asyncio.run(_deliver(line.connect(), _sealed(1)))) is not None, "a batch to nobody was delivered"

    def test_only_adapter_errors_escape(self) -> None:
        """Whatever goes wrong on the line leaves as a transient AdapterError."""
        self._applies("deliver")
        line = self.line()
        line.cut()
        error = _error(lambda: asyncio.run(_deliver(line.connect(), _sealed(1))))
        assert error is None or (isinstance(error, AdapterError) and error.transient), repr(error)

    def test_a_lost_reply_is_no_success(self) -> None:
        """When the reply is lost nobody says that it came; the core tries again, or a person looks."""
        self._applies("deliver")
        line = self.line()
        line.lose_replies()
        error = _error(lambda: asyncio.run(_deliver(line.connect(), _sealed(1))))
        if line.arrived(_sealed(1).batch) is not None:
            assert error is None or isinstance(error, AdapterError)
            if isinstance(error, AdapterError):
                assert error.outcome_unknown or error.transient

    def test_redirects_are_not_followed(self) -> None:
        """A partner that points elsewhere is refused; nobody goes there."""
        self._applies("deliver")
        line = self.line()
        if line.redirect():
            error = _error(lambda: asyncio.run(_deliver(line.connect(), _sealed(1))))
            assert isinstance(error, AdapterError)
            assert not line.followed(), "the redirect was followed"

    def test_cancellation_ends_soon(self) -> None:
        """A cancelled delivery ends within a second, however slow the partner is."""
        self._applies("deliver")
        line = self.line()
        line.dawdle(30.0)

        async def carry() -> None:
            await _deliver(line.connect(), _sealed(1))

        assert _cancelled_within(carry) <= PATIENCE_S

    def test_no_value_is_told(self) -> None:
        """Nothing of what is carried stands in logs, errors or the adapter's repr."""
        self._applies("deliver")
        line = self.line()

        def story() -> None:
            asyncio.run(_deliver(line.connect(), _sealed(1)))
            line.cut()
            _error(lambda: asyncio.run(_deliver(line.connect(), _sealed(2))))

        assert not _told(story, line.connect(), ["秘密的内容"])

    # --- replies, collections, questions ---

    def test_every_row_has_its_result(self) -> None:
        """Each row of a reply is matched to its place."""
        self._applies("reply")
        line = self.line()
        reply, expected = line.reply_about([("1", "00"), ("2", "10"), ("3", "00")])
        found = line.connect().read_reply(reply)
        assert [result.place for result in found] == [result.place for result in expected]
        assert [result.result for result in found] == [result.result for result in expected]

    def test_unknown_codes_are_held(self) -> None:
        """A code of the partner that nobody knows is held, never taken for a success."""
        self._applies("reply")
        line = self.line()
        reply, _ = line.reply_about([("1", "77")])
        assert [(result.result, result.code) for result in line.connect().read_reply(reply)] == [("held", "77")]

    def test_collecting_loses_nothing(self) -> None:
        """Every batch on the line is given, unchanged and in order."""
        self._applies("collect")
        line = self.line()
        offered = [_sealed(number) for number in range(1, 5)]
        line.offer(offered)
        found = asyncio.run(_collected(line.connect(), None))
        assert [each.batch for each in found] == [each.batch for each in offered]
        for got, sent in zip(found, offered, strict=True):
            assert (got.manifest, got.manifest_note, got.checkpoint) == (sent.manifest, sent.manifest_note, sent.checkpoint)
            assert [_bytes(part) for part in got.parts] == [_bytes(part) for part in sent.parts]

    def test_collecting_goes_on_after_each_batch(self) -> None:
        """From each cursor only later batches come."""
        self._applies("collect")
        line = self.line()
        line.offer([_sealed(number) for number in range(1, 5)])
        found = asyncio.run(_collected(line.connect(), None))
        for at, batch in enumerate(found):
            later = asyncio.run(_collected(line.connect(), batch.cursor))
            assert [each.batch for each in later] == [each.batch for each in found[at + 1 :]]

    def test_unknown_cursors_are_refused(self) -> None:
        """A cursor of nobody is CURSOR_UNKNOWN and final."""
        self._applies("collect")
        line = self.line()
        line.offer([_sealed(1)])
        error = _error(lambda: asyncio.run(_collected(line.connect(), "no such cursor")))
        assert isinstance(error, AdapterError)
        assert (error.code, error.transient) == ("CURSOR_UNKNOWN", False)

    def test_answers_come_as_they_are(self) -> None:
        """The answer to a question is the partner's bytes."""
        self._applies("ask")
        line = self.line()
        line.answer_with(b'{"type":"chengxin-exchange/answer/1","x":" \xe7\xad\x94"}')

        async def ask() -> bytes:
            adapter = line.connect()
            answer = await adapter.ask(b"{}", datetime.now(UTC) + timedelta(seconds=10))
            await adapter.close()
            return answer

        assert asyncio.run(ask()) == b'{"type":"chengxin-exchange/answer/1","x":" \xe7\xad\x94"}'

    def test_a_late_answer_is_an_error(self) -> None:
        """After the deadline there is an error, never an empty or a late answer."""
        self._applies("ask")
        line = self.line()
        line.dawdle(5.0)

        async def ask() -> bytes:
            return await line.connect().ask(b"{}", datetime.now(UTC) + timedelta(seconds=0.2))

        begun = time.monotonic()
        error = _error(lambda: asyncio.run(ask()))
        assert isinstance(error, AdapterError)
        assert time.monotonic() - begun < 0.2 + PATIENCE_S


# --- helpers of the checks --------------------------------------------------------------------------------------------

_ABSENT = object()


def _walk(line: SourceLine, since: str | None = None) -> list[Page]:
    async def walk() -> list[Page]:
        adapter = line.connect()
        try:
            return [page async for page in adapter.pull(since)]
        finally:
            await adapter.close()

    return asyncio.run(walk())


def _records(pages: Sequence[Page]) -> list[SourceRecord]:
    return [record for page in pages for record in page.records]


def _ids(pages: Sequence[Page]) -> list[str]:
    return [str(record.record_id) for record in _records(pages)]


def _error(story: Callable[[], object]) -> BaseException | None:
    try:
        story()
    except Exception as error:  # noqa: BLE001  # which error it is, is what the check asks
        return error
    return None


def _cancelled_within(story: Callable[[], Coroutine[Any, Any, None]]) -> float:
    """Seconds from the cancellation of a story to its end."""

    async def measure() -> float:
        task = asyncio.create_task(story())
        await asyncio.sleep(0.05)
        task.cancel()
        begun = time.monotonic()
        done, _ = await asyncio.wait([task], timeout=PATIENCE_S * 2)
        if not done:
            return PATIENCE_S * 2
        if not task.cancelled():
            task.exception()
        return time.monotonic() - begun

    return asyncio.run(measure())


class _Listening(logging.Handler):
    """Everything that is logged, as text."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(record.getMessage())


def _told(story: Callable[[], None], adapter: object, values: Sequence[str]) -> list[str]:
    """Those of the values that stand in logs, errors or the adapter's repr."""
    listening, root = _Listening(), logging.getLogger()
    level = root.level
    root.addHandler(listening)
    root.setLevel(logging.DEBUG)
    try:
        error = _error(story)
    finally:
        root.removeHandler(listening)
        root.setLevel(level)
    text = "\n".join([*listening.lines, repr(adapter), str(error or "")])
    return [value for value in values if value in text]


def _rows(name: str) -> list[Row]:
    return [
        Row(
            rid=row.record_id,
            v=row.version,
            op="retract" if row.op == "withdraw" else "assert",
            dataset="canned",
            reason=row.reason,
            at=AT,
            fields=row.fields,
        )
        for row in canned(name)
    ]


def _sealed(number: int) -> SealedBatch:
    """A batch as the core would give it; no adapter needs to understand it."""
    data = [f"秘密的内容 {number}/{part}\n".encode() * 50 for part in range(2)]
    stream = "canned-line-2026.canned"
    name = [f"1-{number}-{part:03d}.ndjson" for part in range(2)]
    manifest = json.dumps(
        {
            "type": "chengxin-exchange/manifest/1",
            "sender": "credit.tonghua.example",
            "stream": stream,
            "epoch": 1,
            "seq": number,
            "parts": [{"name": name[part], "bytes": len(data[part]), "digest": f"sha-256:{part}"} for part in range(2)],
        }
    ).encode()
    return SealedBatch(
        batch=f"credit.tonghua.example/x/{stream}/1/{number}",
        manifest=manifest,
        manifest_note=f"note {number}\n\n— a b\n".encode(),
        checkpoint=f"checkpoint {number}\n\n— a b\n".encode(),
        parts=tuple(_part(name[part], data[part], part) for part in range(2)),
    )


def _part(name: str, data: bytes, number: int) -> Part:
    def read() -> Iterator[bytes]:
        for at in range(0, len(data), 64):
            yield data[at : at + 64]

    return Part(name=name, size=len(data), digest=f"sha-256:{number}", read=read)


def _bytes(part: Part) -> bytes:
    return b"".join(part.read())


async def _deliver(adapter: PartnerAdapter, sealed: SealedBatch) -> bytes | None:
    try:
        return await adapter.deliver(sealed)
    finally:
        await adapter.close()


async def _collected(adapter: PartnerAdapter, after: str | None) -> list[Any]:
    try:
        found: AsyncIterator[Any] = adapter.collect(after)
        return [batch async for batch in found]
    finally:
        await adapter.close()


# --- outcomes as data -------------------------------------------------------------------------------------------------


class Outcome(Struct, frozen=True, kw_only=True):
    """What one check came to."""

    suite_version: int = SUITE_VERSION
    check: str
    outcome: Literal["passed", "failed", "skipped"]
    reason: str | None = None


def run(suite: type[SourceAdapterSuite] | type[PartnerAdapterSuite]) -> list[Outcome]:
    """Every check of a suite, in order of name: for reports, and for testing the suite itself."""
    outcomes = []
    for check in sorted(name for name in dir(suite) if name.startswith("test_")):
        try:
            getattr(suite(), check)()
        except AssertionError as error:
            outcomes.append(Outcome(check=check, outcome="failed", reason=str(error)))
        except _LeftOut as reason:
            outcomes.append(Outcome(check=check, outcome="skipped", reason=str(reason)))
        except BaseException as error:  # noqa: BLE001  # pytest's skip is no Exception; anything else is a failure of the check
            skipped = type(error).__name__ == "Skipped"
            outcomes.append(Outcome(check=check, outcome="skipped" if skipped else "failed", reason=str(error) or type(error).__name__))
    return outcomes
