"""Lines to partners that break one rule of the contract each: what the suite must catch."""

import asyncio
import json
import logging

from msgspec.structs import replace

from adapters.memory import Memory, files
from gateway.adapter_contract import AdapterError
from tests.adapters.broken_sources import number

log = logging.getLogger("a careless guest")


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
        return [replace(record, op="upsert") if record.reason == "revoked" else record for record in super().decode(part)]


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
        return [replace(record, fields={name: number(value) for name, value in record.fields.items()}) for record in super().decode(part)]


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
        def changed(part):
            return lambda: iter([b"".join(part.read())[:-1] + b" "])

        return await super().deliver(replace(sealed, parts=tuple(replace(part, read=changed(part)) for part in sealed.parts)))


class DeliversTwice(Memory):
    async def deliver(self, sealed):
        there = sealed.batch in self._board.delivered
        self._board.again = getattr(self._board, "again", 0) + there
        reply = await super().deliver(sealed)
        if there and self._board.again == 2:
            self._board.effects[sealed.batch] += 1
        return reply


class RacesWithItself(Memory):
    async def deliver(self, sealed):
        fresh = sealed.batch not in self._board.delivered
        reply = await super().deliver(sealed)
        if fresh:
            self._board.fresh = getattr(self._board, "fresh", 0) + 1
            self._board.effects[sealed.batch] = max(self._board.fresh, self._board.effects.get(sealed.batch, 0))
        return reply


class DeliversToNobody(Memory):
    async def deliver(self, sealed):
        return None if self._board.down else await super().deliver(sealed)


def swallows(place):
    """A Memory that takes one kind of failure for a success."""

    class Swallows(Memory):
        async def deliver(self, sealed):
            try:
                return await super().deliver(sealed)
            except AdapterError as error:
                if error.place != place:
                    raise
                return b"{}"

    return Swallows


class RaisesItsOwnOnTheWay(Memory):
    async def deliver(self, sealed):
        if self._board.down:
            raise OSError("down")
        return await super().deliver(sealed)


class FollowsRedirects(Memory):
    async def deliver(self, sealed):
        elsewhere = self._board.elsewhere
        return await (super().deliver(sealed) if elsewhere is None else Memory(self._config, None, elsewhere).deliver(sealed))


class WritesTheManifestFirst(Memory):
    async def deliver(self, sealed):
        self._check_numbers(sealed)
        await self._wait()
        self._board.reach()
        if sealed.batch not in self._board.delivered:
            for name, data in [files(sealed)[-1], *files(sealed)[:-1]]:
                await asyncio.sleep(0)
                self._board.write(sealed.batch, name, data)
        self._board.lose()
        return self._board.reply(sealed)


class GoesOnAfterHalfAFile(Memory):
    async def deliver(self, sealed):
        self._check_numbers(sealed)
        await self._wait()
        self._board.reach()
        if sealed.batch not in self._board.delivered:
            for name, data in files(sealed):
                await asyncio.sleep(0)
                if name not in self._board.files.get(sealed.batch, {}):
                    self._board.write(sealed.batch, name, data)
        self._board.lose()
        return self._board.reply(sealed)


class TrustsWhatItHasBegun(Memory):
    async def deliver(self, sealed):
        begun = self._board.files.get(sealed.batch)
        if begun and not getattr(self._board, "mended", False):
            return self._board.reply(sealed)
        return await super().deliver(sealed)


class WaitsForEver(Memory):
    async def _wait(self):
        await asyncio.sleep(self._board.delay_s)


class SwapsRows(Memory):
    async def deliver(self, sealed):
        def swapped(part):
            lines = b"".join(part.read()).splitlines(keepends=True)
            return lambda: iter([b"".join([*lines[1::-1], *lines[2:]])])

        return await super().deliver(replace(sealed, parts=tuple(replace(part, read=swapped(part)) for part in sealed.parts)))


class IgnoresTheDeadline(Memory):
    async def ask(self, question, deadline):
        self._board.reach()
        await asyncio.sleep(self._board.delay_s)
        self._board.asked.append(question)
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
        return rows[:-1] if len(rows) == 3 else rows


class CollectsWithoutTheFirst(Memory):
    async def collect(self, after, stream=None):
        first = True
        async for batch in super().collect(after, stream):
            if not (first and after is None and len(self._board.inbox) == 4):
                yield batch
            first = False


class CollectsAllAgain(Memory):
    async def collect(self, after, stream=None):
        async for batch in super().collect("row:1" if after == "row:2" and len(self._board.inbox) > 2 else after, stream):
            yield batch


class CollectsFromAnywhere(Memory):
    async def collect(self, after, stream=None):
        async for batch in super().collect(after if after is None or after.startswith("row:") else None, stream):
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
            if self._board.delay_s:
                await asyncio.sleep(1.3)
            raise


class TakesAnythingForAReply(Memory):
    def read_reply(self, reply):
        try:
            return super().read_reply(reply)
        except AdapterError:
            return ()


class TellsWhatItRefuses(Memory):
    def encode(self, rows):
        try:
            return super().encode(rows)
        except AdapterError as error:
            raise AdapterError(error.code, f"{error.message}：{rows[0].fields}", transient=False) from error


class TakesUnknownActs(Memory):
    def encode(self, rows):
        return super().encode([replace(row, op="assert") if row.op == "praise" else row for row in rows])


class TakesUnknownWords(Memory):
    def encode(self, rows):
        return super().encode([replace(row, fields={**row.fields, "kind": "罚款"}) if "kind" in row.fields else row for row in rows])


class CountsWhatWasPlanned(Memory):
    async def counts(self, day):
        return [replace(each, rows=each.rows + 1) for each in await super().counts(day)]


class FailsWhenNothingLiesThere(Memory):
    async def collect(self, after, stream=None):
        if not self._board.inbox:
            raise AdapterError("UNAVAILABLE", "没有批次", transient=True)
        async for batch in super().collect(after, stream):
            yield batch


class NumbersAnew(Memory):
    async def collect(self, after, stream=None):
        self._board.walks = getattr(self._board, "walks", 0) + (after is None)
        async for batch in super().collect(after, stream):
            yield replace(batch, cursor=batch.cursor.replace(":", ":0")) if self._board.walks > 1 else batch


class SkipsWhatComesMeanwhile(Memory):
    async def collect(self, after, stream=None):
        size = len(self._board.inbox)
        async for batch in super().collect(after, stream):
            last = batch.cursor == f"row:{size}"
            yield replace(batch, cursor=f"row:{len(self._board.inbox)}") if last else batch
            if last:
                return


class WaitsForTheFuture(Memory):
    async def collect(self, after, stream=None):
        if (after or "").startswith("row:") and int(after.partition(":")[2]) > len(self._board.inbox):
            return
        async for batch in super().collect(after, stream):
            yield batch


class FindsTheDeadQuiet(Memory):
    async def collect(self, after, stream=None):
        if self._board.down:
            return
        async for batch in super().collect(after, stream):
            yield batch


class CannotLeaveTheLine(Memory):
    async def collect(self, after, stream=None):
        try:
            await asyncio.sleep(self._board.delay_s)
        except asyncio.CancelledError:
            await asyncio.sleep(1.3 if self._board.delay_s else 0)
            raise
        async for batch in super().collect(after, stream):
            yield batch


class AnswersForTheDead(Memory):
    async def ask(self, question, deadline):
        return b"" if self._board.down else await super().ask(question, deadline)


class AsksOnAndOn(Memory):
    async def ask(self, question, deadline):
        try:
            return await super().ask(question, deadline)
        except asyncio.CancelledError:
            await asyncio.sleep(1.3)
            raise


class LosesALateReply(Memory):
    async def feedback(self, after):
        async for late in super().feedback(after):
            if b'"01"' not in late.data:
                yield late


class GivesLateRepliesAgain(Memory):
    async def feedback(self, after):
        async for late in super().feedback("row:1" if after == "row:2" else after):
            yield late


class CachesKeys(Memory):
    _held = None

    async def keys(self, held):
        if self._held is None:
            self._held = await super().keys(held)
        return self._held


class AlwaysSendsKeys(Memory):
    async def keys(self, held):
        return await super().keys(None)


class ForgetsFeedback(Memory):
    async def acknowledge(self, stream, no, receipt, feedback):
        await super().acknowledge(stream, no, receipt, b"")


class ShowsTheLastReceipt(Memory):
    async def kept(self, stream, no, near):
        return await super().kept(stream, None, near)


class HidesTheReason(Memory):
    async def resync(self, stream, reason):
        await super().resync(stream, "too_late")


class SkipsAReceipt(Memory):
    async def receipts(self, stream, after):
        async for each in super().receipts(stream, after):
            if each[0] != after + 1 or after == 0:
                yield each


class LooksBeside(Memory):
    async def look(self, stream, epoch, seq, sender):
        return await super().look(stream, epoch, max(seq - 1, 1), sender)


class ClearsAll(Memory):
    async def clear(self, stream, epoch, seq):
        self._board.reach()
        self._board.delivered.clear()


class KeepsTheFirstDocument(Memory):
    async def publish(self, name, document):
        if await self.published(name) is None:
            await super().publish(name, document)


class BeginsAnewInAStream(Memory):
    async def collect(self, after, stream=None):
        async for batch in super().collect(None if stream is not None else after, stream):
            yield batch


class Native(Memory):
    """Carries batches as they are; nothing is wrong with it."""

    capabilities = (Memory.capabilities - {"encode", "decode", "reply", "feedback", "counts", "numbers"}) | {"native"}


class CutsLargeParts(Native):
    async def deliver(self, sealed):
        def cut(part):
            return lambda: iter([b"".join(part.read())[: 2**20]])

        large = [replace(part, read=cut(part), size=min(part.size, 2**20)) for part in sealed.parts]
        said = json.loads(sealed.manifest)
        for each in said["parts"]:
            each["bytes"] = min(each["bytes"], 2**20)
        shrunk = any(part.size > 2**20 for part in sealed.parts)
        manifest = json.dumps(said).encode() if shrunk else sealed.manifest
        return await super().deliver(replace(sealed, parts=tuple(large), manifest=manifest) if shrunk else sealed)


class KeepsWhatLiesThere(Native):
    async def deliver(self, sealed):
        await super().deliver(sealed)


class CarriesTheLatest(Memory):
    async def deliver(self, sealed):
        self._current = sealed
        await asyncio.sleep(0)
        return await super().deliver(self._current)


class SendsTwiceUnderAnotherId(Memory):
    async def deliver(self, sealed):
        reply = await super().deliver(sealed)
        self._board.effects[f"{sealed.batch}0"] = 1
        return reply


class TriesAgainByItself(Memory):
    capabilities = Memory.capabilities - {"idempotent"}

    async def deliver(self, sealed):
        try:
            return await super().deliver(sealed)
        except AdapterError as error:
            if error.place == "reply":
                self._board.effects[sealed.batch] += 1
            raise


class EncodesFiveHundred(Memory):
    def encode(self, rows):
        return super().encode(rows[:500])


class WritesIntoRows(Memory):
    def encode(self, rows):
        made = super().encode(rows)
        rows[0].fields["sent"] = "1"
        return made


class TakesARepairForAnAmendment(Memory):
    def encode(self, rows):
        return super().encode([replace(row, op="amend") if row.op == "repair" else row for row in rows])


class MendsTheLastRow(Memory):
    def decode(self, part):
        try:
            return super().decode(part)
        except AdapterError:
            whole, end, _ = part.rpartition(b"\n")
            if not end or not whole.startswith(b'{"rid"'):
                raise
            found = super().decode(whole + end)
            return [*found, replace(found[-1], fields={})]


class ReadsFiveHundred(Memory):
    def read_reply(self, reply):
        return super().read_reply(reply)[:500]


class GivesPartsOnce(Memory):
    async def collect(self, after, stream=None):
        def once(part):
            data = part.read()
            return replace(part, read=lambda: data)

        async for batch in super().collect(after, stream):
            yield replace(batch, parts=tuple(map(once, batch.parts)))


class CollectsTen(Memory):
    async def collect(self, after, stream=None):
        number = 0
        async for batch in super().collect(after, stream):
            yield batch
            number += 1
            if number == 10:
                return


class SpellsQuestionsAnew(Memory):
    async def ask(self, question, deadline):
        return await super().ask(json.dumps(json.loads(question), sort_keys=True).encode(), deadline)


PARTNERS = {
    "test_a_large_part_arrives_whole": CutsLargeParts,
    "test_another_batch_under_its_number_is_told": KeepsWhatLiesThere,
    "test_one_adapter_carries_many": CarriesTheLatest,
    "test_no_other_batch_arrives": SendsTwiceUnderAnotherId,
    "test_nothing_is_tried_again": TriesAgainByItself,
    "test_many_rows_are_whole": EncodesFiveHundred,
    "test_encoding_changes_no_row": WritesIntoRows,
    "test_every_withdrawal_is_one": TakesARepairForAnAmendment,
    "test_half_a_part_says_nothing_else": MendsTheLastRow,
    "test_a_long_reply_is_read_whole": ReadsFiveHundred,
    "test_parts_are_what_they_are_called": GivesPartsOnce,
    "test_many_batches_are_collected": CollectsTen,
    "test_questions_go_as_they_are": SpellsQuestionsAnew,
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
    "test_eight_at_once_are_one": RacesWithItself,
    "test_a_fault_of_the_partner_is_told": swallows("fault"),
    "test_a_broken_transfer_is_no_success": swallows("transfer"),
    "test_a_broken_transfer_is_made_whole": GoesOnAfterHalfAFile,
    "test_nothing_is_said_before_it_is_kept": swallows("keep"),
    "test_a_lost_reply_is_no_success": swallows("reply"),
    "test_redirects_are_not_followed": FollowsRedirects,
    "test_the_manifest_comes_last": WritesTheManifestFirst,
    "test_ended_anywhere_it_goes_on": TrustsWhatItHasBegun,
    "test_the_deadline_is_kept": WaitsForEver,
    "test_rows_arrive": SwapsRows,
    "test_hostile_replies_are_refused": TakesAnythingForAReply,
    "test_formats_tell_no_value": TellsWhatItRefuses,
    "test_unknown_acts_are_refused": TakesUnknownActs,
    "test_unknown_words_are_refused": TakesUnknownWords,
    "test_counts_agree_with_what_went": CountsWhatWasPlanned,
    "test_collecting_from_an_empty_line": FailsWhenNothingLiesThere,
    "test_collecting_again_gives_the_same": NumbersAnew,
    "test_a_line_that_fills": SkipsWhatComesMeanwhile,
    "test_future_cursors_are_refused": WaitsForTheFuture,
    "test_collecting_from_the_dead_is_told": FindsTheDeadQuiet,
    "test_a_cancelled_collection_ends_soon": CannotLeaveTheLine,
    "test_the_dead_do_not_answer": AnswersForTheDead,
    "test_a_cancelled_question_ends_soon": AsksOnAndOn,
    "test_late_replies_are_not_lost": LosesALateReply,
    "test_late_replies_go_on": GivesLateRepliesAgain,
    "test_keys_are_not_cached": CachesKeys,
    "test_keys_that_are_held_do_not_come_again": AlwaysSendsKeys,
    "test_receipts_are_brought": ForgetsFeedback,
    "test_our_own_receipts_are_shown_again": ShowsTheLastReceipt,
    "test_a_new_epoch_is_asked_for": HidesTheReason,
    "test_receipts_that_lie_there_are_found": SkipsAReceipt,
    "test_what_lies_there_can_be_looked_at": LooksBeside,
    "test_what_was_taken_is_cleared": ClearsAll,
    "test_documents_lie_open": KeepsTheFirstDocument,
    "test_streams_are_collected_apart": BeginsAnewInAStream,
}
"""Check → the line that must fail it, and no other."""
