"""Lines to partners that sign nothing: approved by two persons, out of views, committed before they leave, answered row by row."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import gateway
from gateway.adapter_contract import AdapterError, Counts, LateReply, RowResult
from gateway.core.errors import AdminError, ExchangeError
from gateway.core.exchange import notes
from gateway.core.exchange.manifests import read_manifest
from gateway.core.exchange.notes import KeyRing, KnownKey
from gateway.core.exchange.wire import digest_text
from gateway.operations.alarms import standing
from gateway.operations.compare_counts import compare_counts, comparisons
from gateway.operations.deliver_rows import OUTCOME_UNKNOWN
from gateway.operations.handle_case import repair
from gateway.operations.keep_exchange import Rounds
from gateway.operations.keep_lines import LineRun, keep_lines
from gateway.operations.line_reports import as_sent, line_conditions, line_findings, line_report, line_streams
from gateway.operations.lines import approved_lines, as_bytes, as_results, carrier_of, guarded
from gateway.operations.list_overdue import list_overdue
from gateway.operations.manage_lines import approve_line, decide_batch, end_line, list_lines, propose_line
from gateway.services import Services, open_services
from gateway.store import audit, ledger, line_rows, lines, outbox, records
from gateway.store.tables import line_rows as row_table
from gateway.store.tables import out_parts
from tests.administrators import Admin
from tests.house import make, settings_of, write_settings
from tests.operations.line_partner import PROVINCE, Desk, at_desk, line_file, two_persons
from tests.operations.publishing import NOW, PENALTIES, at, code, ids, penalty, put, stocked

STREAM = "province.administrative-penalties"
OF = "datasets.administrative-penalties"


class Office:
    """A town with a line to the province that two persons have approved."""

    def __init__(self, services: Services, desk: Desk, made: dict[str, str]) -> None:
        self.services = services
        self.desk = desk
        self.made = made
        self.zhang: Admin
        self.li: Admin

    async def approve(self, text: bytes) -> None:
        """The operator proposes, the approver approves."""
        done = await propose_line(self.services, text, by=await self.zhang.acts("line.propose"))
        await approve_line(self.services, done.id, digest=done.digest, by=await self.li.acts("line.approve"))

    async def round(self, services: Services | None = None, **more: Any) -> LineRun:
        """One round over the line."""
        (run,) = await keep_lines(services or self.services, **more)
        return run

    def said(self, name: str) -> list[dict[str, Any]]:
        """What the desk was told of a record, version by version."""
        return [row for (rid, _), row in sorted(self.desk.rows.items()) if rid == self.made[name]]


async def prepared(services: Services) -> tuple[dict[str, str], Admin, Admin]:
    """The small town, two administrators, and an approved line for legal persons: once in a process, then copied."""
    made = await stocked(services)
    zhang, li = await two_persons(services)
    done = await propose_line(services, line_file(), by=await zhang.acts("line.propose"))
    await approve_line(services, done.id, digest=done.digest, by=await li.acts("line.approve"))
    return made, zhang, li


@asynccontextmanager
async def an_office(folder: Path, database: str) -> AsyncIterator[Office]:
    """The prepared house with an empty desk beside it."""
    settings = settings_of(write_settings(folder, database=database), CHENGXIN_NOW=NOW)
    made, zhang, li = await make(settings, prepared)
    async with open_services(settings) as services:
        desk = Desk()
        found = Office(at_desk(services, desk), desk, made)
        found.zhang, found.li = (Admin(each.name, each.signer, found.services) for each in (zhang, li))
        yield found


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """An office on SQLite."""
    async with an_office(tmp_path, "") as found:
        yield found


@pytest.fixture
async def any_office(tmp_path: Path, store_url: str) -> AsyncIterator[Office]:
    """An office on either database: for what reads or writes the tables of lines in its own way."""
    async with an_office(tmp_path, store_url) as found:
        yield found


async def test_a_row_goes_out_as_the_view_of_tier_and_purpose(office: Office) -> None:
    """The legal person's penalty goes with the approved fields and no other; household and person stay, by their code."""
    run = await office.round()
    assert (run.sealed, run.rows, run.delivered, run.state, run.not_sent) == (1, 1, 1, "delivered", {"LAW_PERSON": 2})
    ((row,),) = [office.said("罚单")]
    assert (row["op"], row["sent"]) == ("assert", None)
    assert list(row["fields"]) == ["CF_XDR_MC", "CF_XDR_SHXYM", "CF_WSH", "CF_NR_FK", "CF_JDRQ"]
    assert row["fields"]["CF_XDR_SHXYM"] == code(1)
    assert row["fields"]["CF_JDRQ"] == "2026-03-02"
    assert (await office.round()).state == "idle"
    assert sum(office.desk.batches.values()) == 1


async def test_the_manifest_is_signed_over_the_raw_part(office: Office) -> None:
    """The batch names line, version and digest, its leaf is the part's bytes, and the part is sealed at rest."""
    await office.round(deliver=False)
    reads = office.services.store.reads
    (batch,) = await outbox.waiting_batches(reads, STREAM)
    manifest = read_manifest(batch.document.body)
    ((name, data),) = await outbox.out_parts_of(reads, STREAM, 1, 1)
    assert (manifest.format, manifest.range.to, manifest.parts[0].lines, manifest.receiver) == ("part/1", 1, 1, PROVINCE)
    assert (name, manifest.parts[0].digest) == ("1-1-000.bin", digest_text(data))
    (line,) = await approved_lines(office.services)
    assert (manifest.agreement.id, manifest.agreement.version, manifest.agreement.digest) == ("province", 1, line.digest)
    own = [KnownKey(verifier=key.signer.verifier, use=key.use) for key in office.services.signers.keys]
    ring = KeyRing.of(office.services.signers.party, own)
    now = office.services.clock()
    notes.verify_document(batch.document, ring, artefact="manifest", context=manifest.id, use="exchange", first_seen=now)
    (stored,) = await reads.all(sa.select(out_parts.c.data).where(out_parts.c.stream == STREAM))
    assert code(1).encode() not in stored.data


async def test_a_line_takes_two_persons(office: Office) -> None:
    """Nobody approves an own proposal, another text, or without the role; until then the version before governs."""
    wider = line_file(title='"另一条"')
    done = await propose_line(office.services, wider, by=await office.zhang.acts("line.propose"))
    assert [(each.version, each.state) for each in await list_lines(office.services)] == [(1, "active"), (2, "proposed")]
    with pytest.raises(AdminError) as refused:
        await approve_line(office.services, "province", digest="0" * 64, by=await office.li.acts("line.approve"))
    assert refused.value.code == "approval-stale"
    with pytest.raises(AdminError) as refused:
        await approve_line(office.services, "province", digest=done.digest, by=await office.zhang.acts("line.approve"))
    assert refused.value.code == "role-missing"
    await approve_line(office.services, "province", digest=done.digest, by=await office.li.acts("line.approve"))
    assert [(each.version, each.state) for each in await list_lines(office.services)] == [(1, "superseded"), (2, "active")]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (line_file(tier='"partner"', purpose='"exchange.batch"'), "tier"),
        (line_file(tier='"pboc"', purpose='"pboc.report"', kinds='["legal", "natural"]'), f"{OF}.subject_kinds"),
        (line_file(kinds='["natural"]'), f"{OF}.subject_kinds"),
        (line_file(fields=["CF_XDR_MC", "NO_SUCH"]), f"{OF}.fields"),
        (line_file(tier='"pboc"', purpose='"pboc.report"', fields=["CF_FRDB"]), f"{OF}.fields"),
        (line_file(org='"11220500XXT0001182"'), "org"),
        (line_file(purpose='"pboc.report"'), "purpose"),
        (line_file(until="2025-12-31"), "until"),
        (line_file("surplus = 1"), "line"),
        (b"no toml", "line"),
    ],
)
async def test_what_no_line_may_say(office: Office, text: bytes, place: str) -> None:
    """A city's tier, persons without ground, fields that the plan hides, wrong codes and unknown keys are refused with their place."""
    with pytest.raises(AdminError) as refused:
        await propose_line(office.services, text, by=await office.zhang.acts("line.propose"))
    assert (refused.value.code, refused.value.place) == ("line-invalid", place)


async def test_persons_go_with_a_ground_and_an_assessment(office: Office) -> None:
    """With both named, and approved by a second person, the person's penalty goes too, as the plan shows it."""
    more = 'persons = { basis = [{ text = "《吉林省社会信用条例》" }], assessment = "评估〔2026〕1号" }'
    await office.approve(line_file(more, kinds='["legal", "natural"]'))
    run = await office.round()
    assert (run.rows, run.not_sent) == (2, {"SCOPE_KIND": 1})
    assert office.said("人罚")[0]["fields"]["CF_XDR_SHXYM"] is None


async def test_an_amendment_and_a_withdrawal_name_what_the_partner_has(any_office: Office) -> None:
    """A changed view is an amend, a repair a withdrawal without values; both carry what this partner last got."""
    await any_office.round()
    first = any_office.said("罚单")[0]
    await put(any_office.services, PENALTIES, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕1号", fine="3.4"))
    await any_office.round()
    await repair(any_office.services, any_office.made["罚单"], actor="officer", document="示修〔2026〕1号")
    run = await any_office.round()
    assert run.state == "delivered"
    _, amended, gone = any_office.said("罚单")
    assert (amended["op"], amended["sent"], amended["fields"]["CF_NR_FK"]) == ("amend", first["fields"], "3.400000")
    assert (gone["op"], gone["why"], gone["fields"], gone["sent"]) == ("repair", "repaired", {}, amended["fields"])
    assert await ledger.overdue(any_office.services.store.reads, STREAM, now=any_office.services.clock(), hours=-1) is None


async def test_an_erasure_reaches_the_partner_and_leaves_nothing_here(any_office: Office) -> None:
    """What was said is forgotten when the erasure is sealed, and the part with it once it is answered."""
    more = 'persons = { basis = [{ text = "《吉林省社会信用条例》" }], assessment = "评估〔2026〕1号" }'
    await any_office.approve(line_file(more, kinds='["legal", "natural"]'))
    await any_office.round()
    reads, rid = any_office.services.store.reads, any_office.made["人罚"]
    assert [row.said is not None for row in await line_rows.rows_of(reads, STREAM, 1) if row.record_id == rid] == [True]
    async with any_office.services.store.transaction() as tx:
        await records.erase(tx, any_office.made["人罚"], actor="test")
    await any_office.round()
    erased = any_office.said("人罚")[-1]
    assert (erased["op"], erased["fields"], set(erased["sent"])) == ("erase", {}, set(any_office.said("人罚")[0]["fields"]))
    rows = await any_office.services.store.reads.all(sa.select(row_table).where(row_table.c.record_id == any_office.made["人罚"]))
    assert [row.said for row in rows] == [None, None]
    assert await any_office.services.store.reads.all(sa.select(out_parts).where(out_parts.c.stream == STREAM)) == []
    assert await lines.replies(any_office.services.store.reads, "province") == []


async def test_answers_are_matched_kept_and_signed_as_received(any_office: Office) -> None:
    """An unknown code is held and shown, a rejected version is sent again whole when it changes; the reply stands sealed, with our note."""
    await put(any_office.services, PENALTIES, penalty(code(2), "通化市澄泉商贸有限公司", "通示罚〔2026〕9号"))
    any_office.desk.codes[any_office.made["罚单"]] = "E77"
    await any_office.round()
    (report,) = await line_report(any_office.services)
    assert report.rows == {"accepted": 1, "held": 1}
    assert [(row.record, row.version, row.result, row.code) for row in report.not_taken] == [(any_office.made["罚单"], 1, "held", "E77")]
    ((row, data),) = await lines.replies(any_office.services.store.reads, "province")
    assert json.loads(data)[0] == {"line": "1", "code": "E77"}
    assert (row.digest, row.no) == (digest_text(data), 1)
    assert "chengxin-exchange/received/1\nprovince/1\n" in row.note
    any_office.desk.codes.clear()
    await put(any_office.services, PENALTIES, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕1号", fine="3.4"))
    await any_office.round()
    assert [row["op"] for row in any_office.said("罚单")] == ["assert", "assert"]
    assert (await line_report(any_office.services))[0].rows == {"accepted": 2, "held": 1}


async def test_an_answer_that_cannot_be_read_holds_its_rows(office: Office) -> None:
    """The batch has arrived and is not sent again; its rows are held under the failure, and the answer is kept as it came."""
    office.desk.mood = "gibberish"
    run = await office.round()
    assert (run.code, run.waiting, office.desk.batches.total()) == ("ADAPTER_FAILED", 0, 1)
    (report,) = await line_report(office.services)
    assert (report.rows, report.not_taken[0].code) == ({"held": 1}, "ADAPTER_FAILED")
    assert [data for _, data in await lines.replies(office.services.store.reads, "province")] == [b"no answer of ours"]
    office.desk.mood = ""
    await office.round(at_once=True)
    assert office.desk.batches.total() == 1


async def test_late_answers_find_their_rows(any_office: Office) -> None:
    """What is written back later is taken once, by record and version, in whatever order; what is about no row of ours changes nothing."""
    any_office.desk.capabilities = {"encode", "deliver", "feedback", "withdrawals", "idempotent"}
    await any_office.round()
    rid = any_office.made["罚单"]
    assert (await line_report(any_office.services))[0].rows == {"waiting": 1}
    any_office.desk.late = [
        LateReply(cursor="1", data=json.dumps([{"rid": "rec_strange", "v": 1, "code": "00"}]).encode()),
        LateReply(cursor="2", data=json.dumps([{"rid": rid, "v": 1, "code": "10"}]).encode()),
    ]
    await any_office.round()
    await any_office.round()
    (report,) = await line_report(any_office.services)
    assert (report.rows, report.not_taken[0].code) == ({"rejected": 1}, "10")
    assert len(await lines.replies(any_office.services.store.reads, "province")) == 2


async def test_silence_about_rows_is_told(any_office: Office) -> None:
    """Rows without an answer and withdrawals without an acknowledgement are alarmed when their time is up, by partner and stream."""
    any_office.desk.capabilities = {"encode", "deliver", "feedback", "withdrawals", "idempotent"}
    await any_office.round()
    await repair(any_office.services, any_office.made["罚单"], actor="officer", document="示修〔2026〕1号")
    await any_office.round()
    async with at(any_office.services, "2026-06-04T03:00:00Z") as later:
        bad = {each.kind: each.detail for each in await line_conditions(later) if each.bad}
        assert bad["feedback-overdue"] == {"rows": 2}
        assert {"withdrawals-overdue", "withdrawals-overdue-twice"} <= set(bad)
        late, silent = sorted(await list_overdue(later, partner=PROVINCE), key=lambda each: each.lines)
        assert (silent.what, silent.lines, silent.agreed_h, silent.stops) == ("answers", 2, 24, False)
        assert (late.stream, late.what, late.lines, late.age_h, late.agreed_h, late.escalated) == (STREAM, "withdrawals", 1, 48, 24, True)
        codes = {each.code for each in await line_findings(later, ask=True) if not each.ok}
        assert {"feedback-overdue", "withdrawal-overdue"} <= codes


@pytest.mark.parametrize("verdict", ["arrived", "again"])
async def test_a_row_that_was_left_out_of_the_answer_is_overdue_until_a_person_has_found_out(any_office: Office, verdict: Any) -> None:
    """A partner that answers at once or never, and not about a row: named when its time is up; it counts as taken, or is told anew."""
    office, missed = any_office, any_office.made["罚单"]
    await put(office.services, PENALTIES, penalty(code(2), "通化市澄泉商贸有限公司", "通示罚〔2026〕9号"))
    office.desk.silent_about = {missed}
    await office.round()
    (report,) = await line_report(office.services)
    assert report.rows == {"accepted": 1, "waiting": 1}
    assert await list_overdue(office.services) == []
    with pytest.raises(AdminError) as early:
        await decide_batch(office.services, STREAM, verdict, reason="r", by=await office.zhang.acts("line.decide"))
    assert early.value.code == "line-state", "its time is not up"
    async with at(office.services, "2026-06-03T04:00:00Z") as later:
        (late,) = await list_overdue(later)
        assert (late.partner, late.stream, late.what, late.lines, late.escalated) == (PROVINCE, STREAM, "answers", 1, False)
        assert {each.code for each in await line_findings(later, ask=False) if not each.ok} == {"feedback-overdue"}
        zhang = Admin("zhang", office.zhang.signer, later)
        done = await decide_batch(later, STREAM, verdict, reason="已核实", by=await zhang.acts("line.decide"))
        assert (done.decided, done.rows, done.seq) == (verdict, 1, 1)
        assert await list_overdue(later) == []
        office.desk.silent_about = set()
        await office.round(later)
        (report,) = await line_report(later)
        if verdict == "arrived":
            assert report.rows == {"accepted": 1, "untold": 1}
            assert [row["op"] for row in office.said("罚单")] == ["assert"]
        else:
            assert report.rows == {"accepted": 2, "rejected": 1}
            assert [(each.record, each.code) for each in report.not_taken] == [(missed, "NOT_ARRIVED")]
            assert [(row["op"], row["v"]) for row in office.said("罚单")] == [("assert", 1), ("assert", 2)]
        rows = [row for row in await audit.after(later.store.reads, 0, 10_000) if row.act == "line.decide"]
        assert len(rows) == 1


async def test_a_withdrawal_that_did_not_arrive_is_told_anew(any_office: Office) -> None:
    """Left out of the answer, it is owed; `again` says it once more under the next version, as the partner knows the record."""
    office = any_office
    await office.round()
    office.desk.silent_about = {office.made["罚单"]}
    await repair(office.services, office.made["罚单"], actor="officer", document="示修〔2026〕1号")
    await office.round()
    async with at(office.services, "2026-06-03T04:00:00Z") as later:
        assert {each.what for each in await list_overdue(later)} == {"answers", "withdrawals"}
        await decide_batch(later, STREAM, "again", reason="未收到", by=await Admin("zhang", office.zhang.signer, later).acts("line.decide"))
        office.desk.silent_about = set()
        assert (await office.round(later)).rows == 1
        first, *withdrawn = office.said("罚单")
        assert [(row["op"], row["v"]) for row in withdrawn] == [("repair", 2), ("repair", 3)]
        assert withdrawn[1]["sent"] == first["fields"]
        assert await list_overdue(later) == []
        assert (await office.round(later)).rows == 0


async def test_a_lost_answer_stops_the_stream_until_a_person_has_found_out(office: Office) -> None:
    """Without idempotence nothing is sent again by itself; `arrived` counts it as delivered, `again` sends the same bytes once more."""
    office.desk.capabilities -= {"idempotent"}
    office.desk.mood = "lost"
    assert ((await office.round()).state, (await office.round(at_once=True)).code) == ("stopped", OUTCOME_UNKNOWN)
    office.desk.mood = ""
    assert (await office.round(at_once=True)).code == OUTCOME_UNKNOWN
    assert sum(office.desk.batches.values()) == 1
    with pytest.raises(AdminError) as refused:
        await decide_batch(office.services, STREAM, "go", reason="r", by=await office.zhang.acts("line.decide"))
    assert refused.value.code == "line-state"
    said = await decide_batch(office.services, STREAM, "again", reason="省平台未收到", by=await office.zhang.acts("line.decide"))
    assert said.decided == "again"
    assert (await office.round()).delivered == 1
    assert sum(office.desk.batches.values()) == 2
    await put(office.services, PENALTIES, penalty(code(2), "通化市澄泉商贸有限公司", "通示罚〔2026〕9号"))
    office.desk.mood = "lost"
    await office.round()
    await decide_batch(office.services, STREAM, "arrived", reason="已收到", by=await office.zhang.acts("line.decide"))
    assert (await office.round()).waiting == 0
    assert sum(office.desk.batches.values()) == 3


async def test_an_attempt_that_was_cut_off_is_an_unknown_outcome(office: Office) -> None:
    """Killed between the first byte and the answer, a line that is not idempotent stops; an idempotent one sends the same again."""
    await office.round(deliver=False)
    (batch,) = await outbox.waiting_batches(office.services.store.reads, STREAM)
    async with office.services.store.transaction() as tx:
        await outbox.begin_delivery(tx, batch, next_attempt_at=tx.now)
    office.desk.capabilities -= {"idempotent"}
    assert (await office.round()).code == OUTCOME_UNKNOWN
    async with office.services.store.transaction() as tx:
        await outbox.stop_stream(tx, STREAM, 1, None)
        await line_rows.release(tx, batch, state="published", code=None)
    office.desk.capabilities |= {"idempotent"}
    assert (await office.round(at_once=True)).delivered == 1


async def test_the_file_that_the_readme_shows_is_taken(office: Office) -> None:
    """Whoever begins with the README's file of a line is told of no fault in it."""
    readme = (Path(gateway.__file__).parent / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("# a line: the file of `chengxin line propose`")[2].partition("\n")[2].partition("```")[0]
    text = shown.replace('id = "province"', 'id = "another"')
    assert (await propose_line(office.services, text.encode(), by=await office.zhang.acts("line.propose"))).state == "proposed"


@pytest.mark.parametrize(("mood", "said"), [("raises", "ADAPTER_FAILED"), ("huge", "SIZE_BYTES"), ("encode-raises", "ADAPTER_FAILED")])
async def test_whatever_a_guest_does_is_a_failure_of_its_line_alone(office: Office, mood: str, said: str) -> None:
    """A foreign exception or too much output opens the breaker for an hour; nothing is tried before, and no value is in what is told."""
    office.desk.mood = mood
    run = await office.round()
    assert (run.state, run.code) == ("waiting", said)
    office.desk.mood = ""
    before = office.desk.encoded
    assert (await office.round()).code == said
    assert office.desk.encoded == before
    assert [each.detail for each in await line_conditions(office.services) if each.kind == "line-failing" and each.bad] == [{"code": said}]
    async with at(office.services, "2026-06-02T03:31:00Z") as later:
        assert (await office.round(later)).delivered == 1
        assert not [each for each in await line_conditions(later) if each.bad]


async def test_a_withdrawal_is_sealed_while_the_line_is_closed(office: Office) -> None:
    """An open breaker stops deliveries, not what has to be written down; the order of batches holds."""
    await office.round()
    office.desk.mood = "huge"
    await put(office.services, PENALTIES, penalty(code(2), "通化市澄泉商贸有限公司", "通示罚〔2026〕9号"))
    assert ((await office.round()).code, office.desk.batches.total()) == ("SIZE_BYTES", 1)
    office.desk.mood = ""
    await repair(office.services, office.made["罚单"], actor="officer", document="示修〔2026〕1号")
    run = await office.round()
    assert (run.sealed, run.delivered, run.waiting, run.code) == (1, 0, 2, "SIZE_BYTES")
    async with at(office.services, "2026-06-02T03:31:00Z") as later:
        assert (await office.round(later)).delivered == 2


async def test_nothing_a_guest_does_lasts_or_escapes() -> None:
    """A call that does not end is late, and its outcome unknown if something was sent; whatever it raises is its own failure."""
    with pytest.raises(AdapterError) as late:
        await guarded(asyncio.sleep(60), timedelta(milliseconds=20), sent=True)
    assert (late.value.code, late.value.transient, late.value.outcome_unknown) == ("UNAVAILABLE", True, True)

    async def breaks(error: Exception) -> None:
        raise error

    for error, said in ((KeyError("a secret value"), "ADAPTER_FAILED"), (ExchangeError("x", code="SIZE_BYTES"), "SIZE_BYTES")):
        with pytest.raises(AdapterError) as failed:
            await guarded(breaks(error), timedelta(seconds=5))
        assert (failed.value.code, failed.value.transient, "secret" in str(failed.value)) == (said, False, False)
    for given in (None, "text", b"x" * 11):
        with pytest.raises(AdapterError):
            as_bytes(given, 10)
    for given in (None, ["no result"], [RowResult(place="1", record_id=None, result="held")] * 100_001):
        with pytest.raises(AdapterError):
            as_results(given)


async def test_what_one_stream_lacks_keeps_no_other_back(office: Office) -> None:
    """Where the partner has no table for one dataset, rows and withdrawals of the others go out all the same; the line fails by name."""
    both = line_file().decode() + '[[datasets]]\ndataset = "tax-violations"\nregions = ["220500"]\nfields = ["ZTMC"]\n'
    await office.approve(both.encode())
    office.desk.mood = f"no table for {PENALTIES}"
    office.desk.capabilities |= {"feedback"}
    office.desk.late = [LateReply(cursor="1", data=b"[]")]
    first, second = sorted(await keep_lines(office.services), key=lambda run: run.stream)
    assert (first.stream, first.code, first.waiting) == (STREAM, "SCHEMA_TABLE", 1)
    assert (second.stream, second.delivered, second.code) == ("province.tax-violations", 1, None)
    assert [rid for rid, _ in office.desk.rows] == [office.made["列名"]]
    assert len(await lines.replies(office.services.store.reads, "province")) == 2  # its own, and what came later
    state = await lines.state_of(office.services.store.reads, "province")
    assert (state.code, state.closed_until is not None) == ("SCHEMA_TABLE", True)


async def test_a_batch_that_is_refused_as_it_is_stands_in_nobodys_way(any_office: Office) -> None:
    """A person gives it up: what it said is sealed anew, what the format cannot carry by then is only taken back, and withdrawals go on."""
    office, desk = any_office, any_office.desk
    await office.round()
    (long,) = ids(await put(office.services, PENALTIES, penalty(code(2), "通化市澄泉商贸有限公司", "通示罚〔2026〕9号" + "长" * 60)))
    (other,) = ids(await put(office.services, PENALTIES, penalty(code(2), "通化市澄泉商贸有限公司", "通示罚〔2026〕10号")))
    desk.mood = "no table for penalties"
    assert (await office.round()).code == "SCHEMA_TABLE"
    await repair(office.services, office.made["罚单"], actor="officer", document="示修〔2026〕1号")
    desk.mood, desk.longest = "no table for penalties/1/2", 60
    run = await office.round(at_once=True)
    assert (run.waiting, run.code, len(desk.rows)) == (2, "SCHEMA_TABLE", 1)
    done = await decide_batch(office.services, STREAM, "again", reason="对方列宽不足", by=await office.zhang.acts("line.decide"))
    assert (done.decided, done.seq, done.rows) == ("again", 2, 0), "it is about the batch"
    run = await office.round(at_once=True)
    assert (run.waiting, run.code, run.not_sent) == (0, None, {"SCHEMA_LENGTH": 1})
    said = {(rid, row["op"]) for (rid, _), row in desk.rows.items()}
    assert said == {(office.made["罚单"], "assert"), (office.made["罚单"], "repair"), (other, "assert"), (long, "retract")}
    assert (await office.round(at_once=True)).sealed == 0
    with pytest.raises(AdminError) as refused:
        await decide_batch(office.services, STREAM, "again", reason="再来", by=await office.zhang.acts("line.decide"))
    assert refused.value.code == "line-state"


async def test_a_line_that_is_down_is_tried_again_later(office: Office) -> None:
    """A passing failure waits for its time, or for a person; the same bytes go."""
    office.desk.mood = "down"
    assert (await office.round()).code == "UNAVAILABLE"
    office.desk.mood = ""
    assert (await office.round()).delivered == 0
    assert (await office.round(at_once=True)).delivered == 1


async def test_a_row_that_the_format_cannot_carry_is_left_out(office: Office) -> None:
    """The others go; of a record that the partner has already, it is told that what it has is not true any more."""
    await put(office.services, PENALTIES, penalty(code(2), "通化市澄泉商贸有限公司", "通示罚〔2026〕9号"))
    office.desk.longest = 10
    await put(office.services, PENALTIES, penalty(code(3), "吉林省宝药药材有限公司", "短"))
    run = await office.round()
    assert (run.rows, run.not_sent["SCHEMA_LENGTH"]) == (0, 3)
    office.desk.longest = 30
    async with at(office.services, "2026-06-02T05:00:00Z") as later:
        await office.approve(line_file(title='"再来"'))
        assert (await office.round(later)).rows == 3
        office.desk.longest = 10
        await put(later, PENALTIES, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕1号", fine="3.4"))
        await office.round(later)
    assert [row["op"] for row in office.said("罚单")] == ["assert", "retract"]


async def test_a_line_that_cannot_withdraw_sends_nothing(office: Office) -> None:
    """Of every dataset a record may have to leave."""
    office.desk.capabilities -= {"withdrawals"}
    run = await office.round()
    assert (run.code, run.sealed, office.desk.rows) == ("NO_WITHDRAWALS", 0, {})
    assert "NO_WITHDRAWALS" in {each.code for each in await line_findings(office.services, ask=True) if not each.ok}


async def test_after_its_end_a_line_carries_withdrawals_alone(office: Office) -> None:
    """What was told is taken back; nothing new is told, and after ninety days nothing at all."""
    await office.round()
    await end_line(office.services, "province", by=await office.li.acts("line.end"))
    await put(office.services, PENALTIES, penalty(code(2), "通化市澄泉商贸有限公司", "通示罚〔2026〕9号"))
    assert (await office.round()).rows == 0
    await repair(office.services, office.made["罚单"], actor="officer", document="示修〔2026〕1号")
    assert (await office.round()).rows == 1
    assert [row["op"] for row in office.said("罚单")] == ["assert", "repair"]
    async with at(office.services, "2026-09-01T03:00:00Z") as later:
        assert await keep_lines(later) == []


async def test_a_person_lets_each_batch_go_where_the_line_says_so(office: Office) -> None:
    """Nothing leaves before; a withdrawal behind it keeps its place."""
    await office.approve(line_file("confirm = true"))
    assert ((await office.round()).code, office.desk.rows) == ("CONFIRM", {})
    said = await decide_batch(office.services, STREAM, "go", reason="核对无误", by=await office.li.acts("line.decide"))
    assert (said.seq, (await office.round()).delivered) == (1, 1)


async def test_counts_of_a_day_are_compared(any_office: Office) -> None:
    """Once a day, until both sides agree; a difference in number or digest is shown and alarmed."""
    any_office.desk.capabilities |= {"counts"}
    await any_office.round()
    day = date(2026, 6, 2)
    async with at(any_office.services, "2026-06-03T03:00:00Z") as later:
        any_office.desk.told = [Counts(dataset=PENALTIES, day=day, rows=2)]
        await any_office.round(later)
        assert [(each.ours, each.theirs, each.agrees) for each in await comparisons(later, since="2026-06-01")] == [(1, 2, False)]
        bad = [each.detail for each in await line_conditions(later) if each.kind == "counts-differ" and each.bad]
        assert bad == [{"days": ["2026-06-02"]}]
        (line,) = await approved_lines(later)
        async with carrier_of(later, line) as carrier:
            for recv, sent, same in (("a", "b", False), ("a", "a", True)):
                any_office.desk.told = [
                    Counts(dataset=PENALTIES, day=day, rows=1, digest=recv),
                    Counts(dataset=PENALTIES, day=day, rows=1, digest=sent, side="sent"),
                ]
                assert await compare_counts(later, line, carrier) == []  # once a day
                (one,) = await compare_counts(later, line, carrier, at_once=True)
                assert (one.same_digest, one.agrees) == (same, same)
            assert await compare_counts(later, line, carrier, at_once=True) == []  # they agree
        assert not [each for each in await line_conditions(later) if each.bad]


async def test_more_rows_than_a_batch_may_have(office: Office) -> None:
    """They come in several batches, each row once."""
    rows = [penalty(code(number), f"通化市示例{number}号有限公司", f"通示罚〔2026〕{number}号") for number in range(10, 15)]
    await put(office.services, PENALTIES, *rows)
    await office.approve(line_file("rows = 2"))
    run = await office.round()
    assert (run.sealed, run.rows, run.delivered) == (3, 6, 3)
    assert sum(office.desk.batches.values()) == 3


async def test_a_server_keeps_lines_by_itself(office: Office) -> None:
    """A round of the exchange sends what changed; a line that fails is a trouble by its stream, and an alarm until it goes well again."""
    rounds = Rounds()
    assert await rounds.run(office.services) == {}
    assert [row["op"] for row in office.said("罚单")] == ["assert"]
    office.desk.mood = "raises"
    await put(office.services, PENALTIES, penalty(code(2), "通化市澄泉商贸有限公司", "通示罚〔2026〕9号"))
    async with at(office.services, "2026-06-02T02:32:00Z") as later:
        assert await rounds.run(later) == {STREAM: "ADAPTER_FAILED"}
        assert [(each.kind, each.target) for each in await standing(later)] == [("line-failing", f"{PROVINCE}/province")]
    office.desk.mood = ""
    async with at(office.services, "2026-06-02T03:40:00Z") as later:
        assert await rounds.run(later) == {}
        assert await standing(later) == []


async def test_lines_stand_beside_the_streams_of_agreements(office: Office) -> None:
    """Status and send show them in the same shapes."""
    run = await office.round()
    (stream,) = await line_streams(office.services)
    assert (stream.direction, stream.partner, stream.seq, stream.size, stream.state, stream.unread) == ("out", PROVINCE, 1, 1, "open", 0)
    sent = await as_sent(office.services, run)
    assert (sent.state, sent.seq, sent.delivered, sent.lines) == ("acked", 1, 1, 1)


async def test_another_policy_or_line_reads_everything_anew(office: Office) -> None:
    """A line that no longer covers the region takes back what it has told."""
    await office.round()
    text = line_file().decode().replace('regions = ["220500"]', 'regions = ["220600"]').encode()
    await office.approve(text)
    await office.round()
    assert [(row["op"], row["why"]) for row in office.said("罚单")] == [("assert", None), ("retract", "no_longer_public")]
