"""What delivery must pass: whole or not at all, once, and never said to be done before it is."""

import asyncio
import time
from contextlib import suppress
from hashlib import sha256
from typing import Any
from unittest import SkipTest

import msgspec

from adapters.conformance.checks import check, given, simulated
from adapters.conformance.every import EveryAdapter
from adapters.conformance.lines import CARRIED, PartnerLine, bytes_of, canned, canned_batch
from adapters.conformance.watching import PATIENCE_S, Ended, cancelled_within, error_of, told
from gateway.adapter_contract import AdapterError, PartnerAdapter, SealedBatch

BOUND_S = 0.5
"""How long a hurried adapter waits for its partner."""
LARGE = 3 * 2**20 + 7
"""Bytes of a large part."""
STEPS = 12
"""At how many moments a delivery is made to end."""


class Delivery(EveryAdapter):
    """Checks of `deliver`."""

    def line(self) -> PartnerLine:
        """A new simulated partner."""
        raise NotImplementedError

    async def _used(self, line: Any, adapter: Any, number: int) -> None:
        """A batch of its own each time; a line that only brings is asked how it is."""
        if "deliver" not in adapter.capabilities:
            await adapter.check()
            return
        await adapter.deliver(line.batch(number))

    @check("deliver")
    def test_bytes_arrive_unchanged(self) -> None:
        """Every part arrives byte for byte; a native line carries manifest, note and checkpoint so too."""
        line: PartnerLine = self._line()
        sealed = line.batch(1)
        adapter = line.connect()
        deliver(adapter, sealed)
        if line.received(sealed.batch) is not None:
            raise SkipTest("the partner keeps rows, not parts: test_rows_arrive")
        arrived = line.arrived(sealed.batch)
        assert arrived is not None, "nothing arrived"
        assert [bytes_of(part) for part in arrived.parts] == [bytes_of(part) for part in sealed.parts], "a part was changed"
        if "native" in adapter.capabilities:
            for name in ("manifest", "manifest_note", "checkpoint"):
                assert getattr(arrived, name) == getattr(sealed, name), f"{name} was changed"

    @check("deliver", "native")
    def test_a_large_part_arrives_whole(self) -> None:
        """Also a part of some megabytes arrives under its name and byte for byte."""
        line: PartnerLine = self._line()
        data = b"".join(sha256(at.to_bytes(4)).digest() for at in range(LARGE // 32 + 1))[:LARGE]
        sealed = canned_batch(1, [data, b"a second part\n"])
        deliver(line.connect(), sealed)
        arrived = line.arrived(sealed.batch)
        assert arrived is not None, "nothing arrived"
        assert {part.name for part in arrived.parts} == {part.name for part in sealed.parts}, "a part has another name"
        assert {part.name: bytes_of(part) for part in arrived.parts}[sealed.parts[0].name] == data, "a large part was cut or changed"

    @check("deliver")
    def test_one_adapter_carries_many(self) -> None:
        """One adapter carries one batch after the other, and two at once, and each arrives as itself."""
        line: PartnerLine = self._line()
        batches = [line.batch(number) for number in range(1, 5)]

        async def carry() -> None:
            adapter = line.connect()
            try:
                for sealed in batches[:2]:
                    await adapter.deliver(sealed)
                await asyncio.gather(*(adapter.deliver(sealed) for sealed in batches[2:]))
            finally:
                await adapter.close()

        asyncio.run(carry())
        for sealed in batches:
            _is_there(line, sealed)
            arrived = line.arrived(sealed.batch)
            if line.received(sealed.batch) is None and arrived is not None:
                others = {bytes_of(part) for each in batches if each is not sealed for part in each.parts}
                assert others.isdisjoint(map(bytes_of, arrived.parts)), "two batches were mixed"

    @check("deliver")
    def test_no_other_batch_arrives(self) -> None:
        """What has an effect is the batch that was given, under its own id and no other."""
        line: PartnerLine = self._line()
        sealed = line.batch(1)
        deliver(line.connect(), sealed)
        assert list(given(line.everything(), "which batches had an effect (everything)")) == [sealed.batch]

    @check("deliver", "native", "idempotent")
    def test_another_batch_under_its_number_is_told(self) -> None:
        """Where the line gives no reply, another batch under a number that lies there is an error, and what lies there stays."""
        line: PartnerLine = self._line()
        first = line.batch(1)
        if deliver(line.connect(), first) is not None:
            raise SkipTest("the partner's reply says what it thinks of it")
        other = msgspec.structs.replace(canned_batch(1, [b"other\n"]), batch=first.batch)
        error = error_of(lambda: deliver(line.connect(), other))
        assert isinstance(error, AdapterError), f"another batch under a used number: {error!r}"
        assert not error.transient
        _is_there(line, first)

    @check("deliver", "encode")
    def test_rows_arrive(self) -> None:
        """Where the partner keeps rows instead of parts, every row is there, in order."""
        line: PartnerLine = self._line()
        sealed = line.batch(1)
        deliver(line.connect(), sealed)
        got = line.received(sealed.batch)
        if got is None:
            raise SkipTest("the partner keeps parts, not rows: test_bytes_arrive_unchanged")
        assert [record.record_id for record in got] == [f"{row.rid}-1" for row in line.rows("walk")]

    @check("deliver")
    def test_the_manifest_comes_last(self) -> None:
        """Nothing of a batch is visible before its manifest, which is written when everything else lies there."""
        line: PartnerLine = self._line()
        sealed = line.batch(1)
        deliver(line.connect(), sealed)
        names = list(given(line.written(sealed.batch), "files that the partner sees one by one (written)"))
        assert names[-1:] == ["manifest.json"], f"{names[-1:]} comes after the manifest"
        assert {part.name for part in sealed.parts} <= set(names[:-1])

    @check("deliver", "idempotent")
    def test_twice_is_once(self) -> None:
        """A batch delivered again and again has one effect."""
        line: PartnerLine = self._line()
        sealed = line.batch(1)
        for _ in range(3):
            deliver(line.connect(), sealed)
        assert line.effects(sealed.batch) == 1

    @check("deliver", "idempotent")
    def test_eight_at_once_are_one(self) -> None:
        """A batch that eight bring at once, none of them before the others, has one effect."""
        line: PartnerLine = self._line()
        sealed = line.batch(1)

        async def at_once() -> None:
            await asyncio.gather(*(_deliver(line.connect(), sealed) for _ in range(8)))

        asyncio.run(at_once())
        assert line.effects(sealed.batch) == 1

    # --- a success is only what is one ---

    @check("deliver")
    def test_a_dead_partner_is_told(self) -> None:
        """A partner that cannot be reached is an error, never a success."""
        line: PartnerLine = self._line()
        sealed = line.batch(1)
        line.cut()
        assert error_of(lambda: deliver(line.connect(), sealed)) is not None, "a batch to nobody was delivered"

    @check("deliver")
    def test_only_adapter_errors_escape(self) -> None:
        """Whatever goes wrong on the line leaves as a transient AdapterError."""
        line: PartnerLine = self._line()
        sealed = line.batch(1)
        line.cut()
        error = error_of(lambda: deliver(line.connect(), sealed))
        assert error is None or (isinstance(error, AdapterError) and error.transient), repr(error)

    @check("deliver")
    def test_a_fault_of_the_partner_is_told(self) -> None:
        """A partner that answers with a fault of its own (5xx) has taken nothing; another try may help."""
        line: PartnerLine = self._line()
        sealed = line.batch(1)
        simulated(line.refuse(), "a fault of the partner (refuse)")
        error = error_of(lambda: deliver(line.connect(), sealed))
        assert isinstance(error, AdapterError), f"a batch that was refused: {error!r}"
        assert error.transient or error.outcome_unknown

    @check("deliver")
    def test_a_broken_transfer_is_no_success(self) -> None:
        """When a transfer ends in its middle nobody says that it came, and half a batch has no effect."""
        line: PartnerLine = self._line()
        sealed = line.batch(1)
        simulated(line.break_off(), "a transfer that ends in its middle (break_off)")
        error = error_of(lambda: deliver(line.connect(), sealed))
        assert isinstance(error, AdapterError), f"half a batch: {error!r}"
        assert error.transient or error.outcome_unknown
        assert line.effects(sealed.batch) == 0, "half a batch had an effect"

    @check("deliver", "idempotent")
    def test_a_broken_transfer_is_made_whole(self) -> None:
        """After a transfer that ended in its middle the next try brings the whole, once."""
        line: PartnerLine = self._line()
        sealed = line.batch(1)
        simulated(line.break_off(), "a transfer that ends in its middle (break_off)")
        error_of(lambda: deliver(line.connect(), sealed))
        simulated(line.heal(), "a line that is well again (heal)")
        deliver(line.connect(), sealed)
        _is_there(line, sealed)
        assert line.effects(sealed.batch) == 1

    @check("deliver")
    def test_nothing_is_said_before_it_is_kept(self) -> None:
        """A batch that the partner takes and then cannot keep is no success."""
        line: PartnerLine = self._line()
        sealed = line.batch(1)
        simulated(line.fail_to_keep(), "a last step that fails (fail_to_keep)")
        error = error_of(lambda: deliver(line.connect(), sealed))
        assert isinstance(error, AdapterError), "acknowledged before it was kept"
        assert error.transient or error.outcome_unknown
        assert line.effects(sealed.batch) == 0

    @check("deliver")
    def test_a_lost_reply_is_no_success(self) -> None:
        """When the reply is lost nobody says that it came: the core tries again, or a person looks."""
        healthy: PartnerLine = self._line()
        reply = deliver(healthy.connect(), healthy.batch(1))
        line: PartnerLine = self._line()
        sealed = line.batch(1)
        simulated(line.lose_replies(), "replies that are lost (lose_replies)")
        error = error_of(lambda: deliver(line.connect(), sealed))
        if reply is not None:
            assert isinstance(error, AdapterError), f"a success without its reply: {error!r}"
            idempotent = "idempotent" in line.connect().capabilities
            assert error.outcome_unknown or (error.transient and idempotent), "nobody would look, and it might go twice"

    @check("deliver")
    def test_nothing_is_tried_again(self) -> None:
        """An adapter whose line is not idempotent tries nothing again: the second time could have a second effect."""
        line: PartnerLine = self._line()
        sealed = line.batch(1)
        if "idempotent" in line.connect().capabilities:
            raise SkipTest("the line is idempotent: a second time has no effect")
        simulated(line.lose_replies(), "replies that are lost (lose_replies)")
        error_of(lambda: deliver(line.connect(), sealed))
        assert line.effects(sealed.batch) <= 1, "it was sent again"

    @check("deliver")
    def test_the_deadline_is_kept(self) -> None:
        """A partner that does not answer within the adapter's own bound is an error, at that bound."""
        line: PartnerLine = self._line()
        sealed = line.batch(1)
        adapter = given(line.hurried(), "a bound of the adapter's own (hurried)")
        line.dawdle(BOUND_S + PATIENCE_S + 0.5)
        begun = time.monotonic()
        error = error_of(lambda: deliver(adapter, sealed))
        assert isinstance(error, AdapterError), repr(error)
        assert error.transient or error.outcome_unknown
        assert time.monotonic() - begun < BOUND_S + PATIENCE_S

    @check("deliver")
    def test_redirects_are_not_followed(self) -> None:
        """A partner that points elsewhere is refused; nobody goes there."""
        line: PartnerLine = self._line()
        sealed = line.batch(1)
        simulated(line.redirect(), "a partner that points elsewhere (redirect)")
        error = error_of(lambda: deliver(line.connect(), sealed))
        assert isinstance(error, AdapterError), repr(error)
        assert not line.followed(), "the redirect was followed"

    # --- ended from outside ---

    @check("deliver")
    def test_cancellation_ends_soon(self) -> None:
        """A cancelled delivery ends within a second, however slow the partner is."""
        line: PartnerLine = self._line()
        sealed = line.batch(1)
        line.dawdle(30.0)

        async def carry() -> None:
            await _deliver(line.connect(), sealed)

        assert cancelled_within(carry, (1, 0)) <= PATIENCE_S

    @check("deliver", "idempotent")
    def test_ended_anywhere_it_goes_on(self) -> None:
        """Ended at any step of a delivery, the next one brings the batch whole, and it has one effect."""
        count = _steps(self._line())
        for at in sorted({count * step // STEPS for step in range(STEPS)}):
            line: PartnerLine = self._line()
            sealed = line.batch(1)
            _end(line, sealed, at)
            assert line.effects(sealed.batch) <= 1
            deliver(line.connect(), sealed)
            assert line.effects(sealed.batch) == 1, f"ended at step {at}"
            _is_there(line, sealed)

    @check("deliver")
    def test_no_value_is_told(self) -> None:
        """Nothing of what is carried stands in logs, errors or the adapter's repr."""
        line: PartnerLine = self._line()
        first, second = line.batch(1), line.batch(2)

        def story() -> None:
            deliver(line.connect(), first)
            line.cut()
            deliver(line.connect(), second)

        names = [str(row.fields["name"]) for row in canned("walk")]
        assert not told(story, line.connect(), [CARRIED, *names])


def deliver(adapter: PartnerAdapter, sealed: SealedBatch) -> bytes | None:
    """Carry one batch, and close."""
    return asyncio.run(_deliver(adapter, sealed))


async def _deliver(adapter: PartnerAdapter, sealed: SealedBatch) -> bytes | None:
    try:
        return await adapter.deliver(sealed)
    finally:
        await adapter.close()


def _is_there(line: PartnerLine, sealed: SealedBatch) -> None:
    """The partner has every part in its length; or, where it keeps rows, every row. That they are unchanged is another check."""
    got = line.received(sealed.batch)
    if got is not None:
        assert len(got) == len(line.rows("walk")), "a row is lost or doubled"
        return
    arrived = line.arrived(sealed.batch)
    assert arrived is not None, "nothing arrived"
    assert [part.size for part in arrived.parts] == [part.size for part in sealed.parts], "a part is lost or cut"


def _steps(line: PartnerLine) -> int:
    """At how many moments a delivery waits for something."""

    async def count() -> int:
        adapter = line.connect()
        story = Ended(adapter.deliver(line.batch(1)), None)
        await story
        await adapter.close()
        return story.steps

    return asyncio.run(count())


def _end(line: PartnerLine, sealed: SealedBatch, at: int) -> None:
    """A delivery that ends at its n-th step."""

    async def run() -> None:
        adapter = line.connect()
        with suppress(asyncio.CancelledError, AdapterError):
            await Ended(adapter.deliver(sealed), at)
        await adapter.close()

    asyncio.run(run())
