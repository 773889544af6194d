"""What a partner's own format must pass: nothing is changed on the way there and back, and nothing else is taken for it."""

import asyncio
import gzip
import io
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from functools import cache
from unittest import SkipTest

import msgspec

from adapters.conformance.checks import check, given
from adapters.conformance.every import EveryAdapter
from adapters.conformance.lines import AT, PartnerLine, canned
from adapters.conformance.watching import PATIENCE_S, error_of, told
from gateway.adapter_contract import AdapterError, Row, SourceRecord

_ABSENT = object()
MANY = 700
"""Rows of a large part."""
CUTS = 24
"""In how many places a part is cut."""
MEMORY_BOUND = 64 * 1024 * 1024
"""Bytes that a hostile part may make a reader take."""


class Formats(EveryAdapter):
    """Checks of `encode`, `decode`, `read_reply` and the partner's `counts`."""

    def line(self) -> PartnerLine:
        """A new simulated partner."""
        raise NotImplementedError

    @check("encode")
    def test_encoding_keeps_every_value(self) -> None:
        """What was encoded is read as the same values: none trimmed, cut, parsed or coerced."""
        line: PartnerLine = self._line()
        for name, field in (("numbers", "amount"), ("blanks", "note"), ("odd", "note"), ("words", "note")):
            said = {row.record_id: row.fields[field] for row in canned(name)}
            fits = [row for row in line.rows(name) if line.too_long is None or len(str(said[row.rid])) < line.too_long]
            found = {str(record.record_id): record for record in _read(line, fits)}
            for row in fits:
                value = found[row.rid].fields.get(line.column(field), _ABSENT) if row.rid in found else _ABSENT
                assert (value, type(value)) == (said[row.rid], str), f"{name}: {row.rid} was changed"

    @check("encode")
    def test_encoding_keeps_null(self) -> None:
        """Null and the empty text are two things on the line too."""
        line: PartnerLine = self._line()
        found = [record.fields[line.column("note")] for record in _read(line, line.rows("nothing"))]
        assert found == [row.fields["note"] for row in canned("nothing")]

    @check("encode")
    def test_encoding_keeps_order(self) -> None:
        """Rows stand in the part in the order in which they were given, and none is lost or doubled."""
        line: PartnerLine = self._line()
        rows = line.rows("walk")
        assert [record.record_id for record in _read(line, rows)] == [row.rid for row in rows]

    @check("encode")
    def test_many_rows_are_whole(self) -> None:
        """Many rows make a part of all of them, or none: nobody stops at five hundred. Rows that say the same stay as many."""
        line: PartnerLine = self._line()
        alike = line.rows("walk")[0]
        rows = [msgspec.structs.replace(alike, rid=f"src-{at}") for at in range(1, MANY + 1)]
        found: list[str | None] = []
        error = error_of(lambda: found.extend(record.record_id for record in _read(line, rows)))
        if error is None:
            assert found == [row.rid for row in rows], "a row is lost, doubled or moved"
        else:
            assert isinstance(error, AdapterError), repr(error)
            assert not error.transient

    @check("encode")
    def test_encoding_changes_no_row(self) -> None:
        """What is encoded is the core's still: no row, and no value in it, is changed."""
        line: PartnerLine = self._line()
        rows, same = line.rows("walk"), line.rows("walk")
        line.connect().encode(rows)
        assert rows == same, "a row was changed"

    @check("encode", "withdrawals")
    def test_every_withdrawal_is_one(self) -> None:
        """Whatever takes a record back goes over as a withdrawal, an erasure too; or it is refused, never told as a record."""
        line: PartnerLine = self._line()
        row = next(each for each in line.rows("withdrawn") if each.rid == "src-2")
        for op, reason in (("repair", "repaired"), ("expire", "expired"), ("erase", "erased")):
            found: list[SourceRecord] = []
            said = msgspec.structs.replace(row, op=op, reason=reason)
            error = error_of(lambda said=said, found=found: found.extend(_read(line, [said])))  # type: ignore[misc]  # bound at once
            if error is not None:
                assert isinstance(error, AdapterError), repr(error)
                assert not error.transient
                continue
            assert [record.op in ("withdraw", "erase") for record in found] == [True], f"{op} is told as a record"

    @check("encode", "withdrawals")
    def test_encoding_keeps_withdrawals(self) -> None:
        """A withdrawal goes over as a withdrawal, with its reason and version."""
        line: PartnerLine = self._line()
        found = [record for record in _read(line, line.rows("withdrawn")) if record.record_id == "src-2"]
        assert [(record.op, record.reason, record.version) for record in found] == [("withdraw", "revoked", 2)]

    @check("encode")
    def test_same_rows_same_bytes(self) -> None:
        """Encoding is a function: the same rows give the same bytes."""
        line: PartnerLine = self._line()
        assert line.connect().encode(line.rows("walk")) == line.connect().encode(line.rows("walk"))

    @check("encode")
    def test_what_does_not_fit_is_refused(self) -> None:
        """A text that is too long for the partner is refused, never cut."""
        line: PartnerLine = self._line()
        if line.too_long is None:
            raise SkipTest("the partner has no bound: too_long is None")
        longest = line.too_long
        row = line.rows("words")[0]
        named = [name for name, value in row.fields.items() if value == canned("words")[0].fields["note"]]
        row = msgspec.structs.replace(row, fields={**row.fields, named[0]: "长" * longest})
        error = error_of(lambda: line.connect().encode([row]))
        assert isinstance(error, AdapterError), "a text that is too long is taken"
        assert not error.transient

    @check("encode")
    def test_unknown_acts_are_refused(self) -> None:
        """An act that the format does not know is refused, never written as another."""
        line: PartnerLine = self._line()
        row = msgspec.structs.replace(line.rows("one")[0], op="praise")
        error = error_of(lambda: line.connect().encode([row]))
        assert isinstance(error, AdapterError), "an unknown act is taken"
        assert not error.transient

    @check("encode")
    def test_unknown_words_are_refused(self) -> None:
        """A word that the partner's lists do not have is refused, never coerced."""
        line: PartnerLine = self._line()
        foreign = given(line.foreign, "a closed list of the partner's (foreign)")
        row = line.rows("one")[0]
        row = msgspec.structs.replace(row, fields={**row.fields, **foreign})
        error = error_of(lambda: line.connect().encode([row]))
        assert isinstance(error, AdapterError), "a word that the partner does not know is taken"
        assert not error.transient

    @check("decode")
    def test_hostile_parts_are_refused(self) -> None:
        """What is no part of this format is refused with an AdapterError, soon and in little memory."""
        line: PartnerLine = self._line()
        adapter = line.connect()
        _refuses_hostile(adapter.decode, line.hostile)

    @check("encode", "decode")
    def test_half_a_part_says_nothing_else(self) -> None:
        """A part that was cut is refused, or gives the rows before the cut as they were: never another row, never another value."""
        line: PartnerLine = self._line()
        adapter = line.connect()
        part = adapter.encode(line.rows("walk"))
        whole = {record.record_id: record for record in adapter.decode(part)}
        for at in sorted({len(part) * cut // CUTS for cut in range(CUTS)} | {len(part) - 1, len(part) - 2, len(part) - 3}):
            found: list[SourceRecord] = []
            error = error_of(lambda at=at, found=found: found.extend(adapter.decode(part[:at])))  # type: ignore[misc]  # bound at once
            assert error is None or isinstance(error, AdapterError), repr(error)
            assert all(record == whole.get(record.record_id) for record in found), f"cut at byte {at} of {len(part)}, another row came out"

    @check("reply")
    def test_hostile_replies_are_refused(self) -> None:
        """What is no reply is refused with an AdapterError, soon and in little memory."""
        line: PartnerLine = self._line()
        adapter = line.connect()
        _refuses_hostile(adapter.read_reply, line.hostile)

    @check("encode")
    def test_formats_tell_no_value(self) -> None:
        """What is refused is not told: no value stands in the error, the log or the adapter's repr."""
        line: PartnerLine = self._line()
        adapter = line.connect()
        secret = "不可说出" * (line.too_long or 5000)
        row = line.rows("one")[0]
        fields = {name: secret if isinstance(value, str) else value for name, value in row.fields.items()}

        def story() -> None:
            adapter.encode(line.rows("walk"))
            adapter.encode([msgspec.structs.replace(row, fields=fields)])

        names = [str(row.fields["name"]) for row in canned("walk")]
        assert not told(story, adapter, ["不可说出", *names])

    # --- replies and counts ---

    @check("reply")
    def test_every_row_has_its_result(self) -> None:
        """Each row of a reply is matched to its place."""
        line: PartnerLine = self._line()
        reply, expected = line.reply_about([("1", "00"), ("2", "10"), ("3", "00")])
        found = line.connect().read_reply(reply)
        assert [result.place for result in found] == [result.place for result in expected]
        assert [result.result for result in found] == [result.result for result in expected]

    @check("reply")
    def test_a_long_reply_is_read_whole(self) -> None:
        """Each row of a long reply has its result: one refusal among many is not lost."""
        line: PartnerLine = self._line()
        codes = [(str(at), "10" if at == line.long - 1 else "00") for at in range(1, line.long + 1)]
        reply, expected = line.reply_about(codes)
        found = line.connect().read_reply(reply)
        assert [(result.place, result.result) for result in found] == [(result.place, result.result) for result in expected]

    @check("reply")
    def test_unknown_codes_are_held(self) -> None:
        """A code of the partner that nobody knows is held, never taken for a success."""
        line: PartnerLine = self._line()
        reply, _ = line.reply_about([("1", "77")])
        assert [(result.result, result.code) for result in line.connect().read_reply(reply)] == [("held", "77")]

    @check("counts", "deliver")
    def test_counts_agree_with_what_went(self) -> None:
        """The counts of the day are those of the rows that were delivered."""
        line: PartnerLine = self._line()
        sealed = line.batch(1)

        async def count() -> int:
            adapter = line.connect()
            await adapter.deliver(sealed)
            days = {AT.date(), datetime.now(timezone(timedelta(hours=8))).date()}  # of the manifest; of the line's own clock
            found = {(each.dataset, each.day): each.rows for day in days for each in await adapter.counts(day) if each.side == "recv"}
            await adapter.close()
            return sum(found.values())

        assert asyncio.run(count()) == len(line.rows("walk"))


def _read(line: PartnerLine, rows: Sequence[Row]) -> Sequence[SourceRecord]:
    """What the other side reads of rows that were encoded: by the adapter itself, or as the line says that the partner does."""
    adapter = line.connect()
    part = adapter.encode(rows)
    if "decode" in adapter.capabilities:
        return adapter.decode(part)
    return given(line.understood(part), "how the partner reads what is only written (understood)")


@cache
def _bombs() -> tuple[bytes, ...]:
    zeros = bytes(96 * 1024 * 1024)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        made.writestr("../a.txt", zeros)
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    return (
        gzip.compress(zeros, 1),
        archive.getvalue(),
        f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a0 "a">{entities}]><a>&a9;</a>'.encode(),
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        "通化市".encode("gb18030"),
        "通化市".encode("utf-16"),
        b'{"a":1e400}',
        b'{"a":"\\ud800"}',
    )


def _refuses_hostile(read: Callable[[bytes], object], more: Sequence[bytes]) -> None:
    for data in (*more, *_bombs()):
        begun = time.process_time()
        tracemalloc.start()
        try:
            error = error_of(lambda data=data: read(data))  # type: ignore[misc]  # bound at once
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert isinstance(error, AdapterError), f"{data[:8]!r}: {error!r}"
        assert peak < MEMORY_BOUND, f"{data[:8]!r}: {peak >> 20} MiB"
        assert time.process_time() - begun < PATIENCE_S, f"{data[:8]!r}: {time.process_time() - begun:.1f} s"
