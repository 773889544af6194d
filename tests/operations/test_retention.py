"""What was kept long enough: looked for once a day, listed, and erased by a key custodian; nothing of it is left, nothing else goes."""

import asyncio
import hashlib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from gateway.core.disclosure.policy import files_digest
from gateway.core.errors import AdminError, InvalidParameter
from gateway.core.records.model import LifeDates, RecordId
from gateway.operations import erase_due as erasing
from gateway.operations import retention_due
from gateway.operations.erase import erase
from gateway.operations.erase_due import ErasedDue, erase_due
from gateway.operations.handle_case import close_dispute, open_dispute, repair
from gateway.operations.render_public import settle
from gateway.operations.retention_due import DueList, list_due, look, look_through
from gateway.operations.send_batch import send_batch
from gateway.operations.withdraw import withdraw
from gateway.services import Services
from gateway.store import audit, places, policies, states
from gateway.store import retention as rows_of_due
from gateway.store.reads import compiled
from gateway.store.retention import Due, DueDataset
from gateway.store.store import Transaction
from gateway.store.tables import erasures, metadata
from gateway.store.tables import records as rows
from gateway.store.tables import retention_due as due_rows
from tests.administrators import Admin, enrolled
from tests.operations.publishing import PENALTIES, at, code, ids, penalty, person_number, person_penalty, put
from tests.operations.test_erase import dump, holds
from tests.region import PENALTIES as STREAM
from tests.region import Cities, followed

NAME, DOCUMENT = "通化市鸾翔澜沧药业有限公司", "通鸾罚〔2018〕7719号"
LONG_AGO = {"day": "2019-01-01", "处罚有效期": "2019-01-09"}
FIVE_YEARS_AND_A_DAY, FIVE_YEARS = "2021-06-01", "2021-06-02"
"""Last days of sharing, as of 2 June 2026."""
YESTERDAY = date(2026, 6, 1)


def old(number: int, shared_until: str, name: str = "通化市旁邻商贸有限公司", document: str = "", **more: Any) -> dict[str, Any]:
    """A penalty of long ago, whose source said until when it was shown."""
    said = LONG_AGO | {"公示截止期": shared_until} | more
    return penalty(code(number), name, document or f"通旁罚〔2018〕{number}号", **said)


async def fined(services: Services, *rows_: dict[str, Any]) -> list[str]:
    """Take penalties in, and let everything follow; their ids."""
    made = ids(await put(services, PENALTIES, *rows_))
    await settle(services)
    return made


async def act(
    services: Services, admin: Admin, *, until: date = YESTERDAY, most: int | None = None, dry_run: bool = False, dataset: str = PENALTIES
) -> ErasedDue:
    """Erase as a custodian does, who signs what he says."""
    said = {"dataset": dataset, "until": until.isoformat(), "records": most, "dry_run": dry_run}
    by = await admin.acts("retention.erase", **said)
    return await erase_due(services, dataset, until=until, most=most, dry_run=dry_run, by=by)


async def digest(services: Services) -> str:
    """Of every row of every table, but for the trail and the numbers of signed acts."""
    lines = []
    for table in metadata.sorted_tables:
        if not table.name.startswith(("audit", "admin_nonces")):
            async with services.store.transaction() as tx:
                lines += [f"{table.name} {tuple(row)}" for row in await tx.all(sa.select(table).order_by(*table.primary_key))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


async def states_of(services: Services) -> dict[str, str]:
    """Record → state, erased ones too."""
    async with services.store.transaction() as tx:
        return {row.record_id: row.state for row in await tx.all(sa.select(rows.c.record_id, rows.c.state))}


async def otherwise(tx: Transaction, change: Callable[[bytes], bytes]) -> None:
    """Another text of the periods is in force when this transaction ends."""
    files = await policies.files_of(tx, 1)
    files["periods.toml"] = change(files["periods.toml"])
    await policies.activate(tx, await policies.propose(tx, files, files_digest(files), "test"), "test", "test")


async def test_five_years_and_a_day_is_listed_and_five_years_is_not(town: Services):
    """By dataset with number and oldest, by id on a page; a day later the other one too."""
    over, _, elder = await fined(town, old(1, FIVE_YEARS_AND_A_DAY), old(2, FIVE_YEARS), old(3, "2019-01-09"))
    await put(town, PENALTIES, penalty(code(4), "通化市今日商贸有限公司", "通今罚〔2026〕4号"))
    assert (await list_due(town)).looked_on is None
    found = await look_through(town)
    assert found == DueList(
        looked_on=date(2026, 6, 2), datasets=(DueDataset(dataset=PENALTIES, records=2, oldest=date(2024, 1, 9)),)
    )
    page = await list_due(town, dataset=PENALTIES)
    assert [(each.record, each.last_day, each.rule, each.stays) for each in page.items] == [
        (elder, date(2024, 1, 9), "order36-general", None),
        (over, YESTERDAY, "order36-general", None),
    ]
    async with at(town, "2026-06-03T02:30:00Z") as tomorrow:
        assert (await look_through(tomorrow)).datasets[0].records == 3


async def test_pages_go_on_where_the_last_one_ended(small: Services):
    """Each record once, the longest over first; what is no place is refused."""
    made = await fined(small, *(old(number, f"2019-01-0{number}") for number in range(1, 6)))
    await look_through(small)
    told, after = [], None
    while True:
        page = await list_due(small, dataset=PENALTIES, after=after, limit=2)
        told += [each.record for each in page.items]
        after = page.next
        if after is None:
            break
    assert told == made
    place = f"2026-01-01~{made[0]}"
    nowhere = "x", "2026-01-01", "2026-01-01~rec_x", f"20260101~{made[0]}", f"{place}\0", f"{place}\n"
    for words in ({"after": place}, {"dataset": "no-such"}, *({"dataset": PENALTIES, "after": each} for each in nowhere)):
        with pytest.raises(InvalidParameter):
            await list_due(small, **words)
    assert (await list_due(small, dataset=PENALTIES, after=place)).items == ()


async def test_a_page_does_not_pass_those_before_it(small: Services):
    """It begins in the index where the last one ended: a million on the list must not cost a thousand times a thousand pages."""
    plan = await small.store.reads.all(sa.text(f"EXPLAIN QUERY PLAN {compiled(rows_of_due._PAGE).sql.replace('?', 'NULL')}"))
    assert [row.detail.partition("(")[2] for row in plan] == ["dataset=? AND (last_day,record_id)>(?,?) AND last_day<?)"]


async def test_a_look_goes_through_all_once_a_day(small: Services, monkeypatch: pytest.MonkeyPatch):
    """In stretches that are remembered, so that another process goes on; done, it is not begun again before tomorrow."""
    monkeypatch.setattr(retention_due, "CHUNK", 2)
    made = await fined(small, *(old(number, "2019-01-09") for number in range(1, 6)))
    assert await look(small)
    word = await places.place(small.store.reads, retention_due.META)
    assert word == "2026-06-02 1 " + PENALTIES + "/" + sorted(made)[1]
    while await look(small):
        assert await places.place(small.store.reads, retention_due.META) != word
    assert (await list_due(small)).datasets[0].records == len(made)
    before = await digest(small)
    assert not await look(small)
    assert await digest(small) == before
    async with at(small, "2026-06-03T02:30:00Z") as tomorrow:
        assert await look(tomorrow)


async def test_several_processes_look_at_once(town: Services, monkeypatch: pytest.MonkeyPatch):
    """Each stretch is written by one of them; together they find what one finds."""
    monkeypatch.setattr(retention_due, "CHUNK", 2)
    made = await fined(town, *(old(number, "2019-01-09") for number in range(1, 8)))
    for found in await asyncio.gather(*(look_through(town) for _ in range(3))):
        assert found.datasets == (DueDataset(dataset=PENALTIES, records=len(made), oldest=date(2024, 1, 9)),)


async def test_whoever_was_beaten_leaves_the_look_to_the_other(small: Services, monkeypatch: pytest.MonkeyPatch):
    """Two processes do not read every record twice: one of them is told that another looks, and writes nothing."""
    await fined(small, old(1, "2019-01-09"))
    whole = rows_of_due.stretch

    async def beaten(*arguments: Any) -> Any:
        monkeypatch.setattr(retention_due.rows, "stretch", whole)
        read = await whole(*arguments)
        assert await look(small)
        return read

    monkeypatch.setattr(retention_due.rows, "stretch", beaten)
    assert await look(small) is None
    word = await places.place(small.store.reads, retention_due.META)
    while await look(small):
        assert await places.place(small.store.reads, retention_due.META) != word


async def test_whoever_asks_has_all_looked_through_again(small: Services):
    """What came in after today's look is found by one that a person asks for, not by a server's before tomorrow."""
    await fined(small, old(1, "2019-01-09"))
    await look_through(small)
    await fined(small, old(2, "2019-01-09"))
    assert (await look_through(small)).datasets[0].records == 1
    assert (await look_through(small, anew=True)).datasets[0].records == 2


async def test_a_record_that_breaks_the_reckoning_is_kept_and_stops_nothing(small: Services):
    """A day before which the calendar has none: the look goes on behind it."""
    first, last = sorted(await fined(small, old(1, "2019-01-09"), old(2, "2019-01-09")))
    broken = msgspec.json.encode(LifeDates(decision=date(2019, 1, 1), first_publication_here=date(2019, 1, 1), revoked=date.min))
    async with small.store.transaction() as tx:
        await tx.execute(sa.update(rows).where(rows.c.record_id == first).values(dates=broken))
    await look_through(small)
    assert [each.record for each in (await list_due(small, dataset=PENALTIES)).items] == [last]


async def test_what_changed_while_it_was_read_is_left_to_the_next_look(small: Services):
    """Erased, or objected to, between reading and writing: it does not come onto the list."""
    gone, other = await fined(small, old(1, "2019-01-09"), old(2, "2019-01-09"))
    read = await rows_of_due.stretch(small.store.reads, PENALTIES, "", 10)
    said = {
        each.record_id: (Due(record_id=each.record_id, last_day="2024-01-09", rule="x"), each.changed_seq) for each in read
    }
    found = await rows_of_due.compare(small.store.reads, PENALTIES, "", None, said)
    assert len(found.put) == 2
    admin = await enrolled(small, "kang", "key-custodian")
    await erase(small, gone, reason="request", by=await admin.acts("record.erase", target=gone, reason="request"))
    await open_dispute(small, other, actor="test")
    async with small.store.transaction() as tx:
        await rows_of_due.note(tx, found)
    assert await small.store.reads.all(sa.select(due_rows)) == []


async def test_the_list_follows_the_records_and_the_clock(small: Services):
    """What is over no more when it is looked at again leaves the list: a clock that was wrong has done nothing but a list."""
    await fined(small, old(1, FIVE_YEARS_AND_A_DAY), old(2, "2026-06-01"))
    async with at(small, "2050-01-01T02:30:00Z") as wrong:
        assert (await look_through(wrong)).datasets[0].records == 2
    admin = await enrolled(small, "kang", "key-custodian")
    assert (await act(small, admin, dry_run=True)).records == 1, "reckoned again, whatever the list says"
    assert (await look_through(small)).datasets[0].records == 1
    (first,) = (await list_due(small, dataset=PENALTIES)).items
    async with small.store.transaction() as tx:
        await tx.execute(sa.update(rows).where(rows.c.record_id == first.record).values(dates=msgspec.json.encode(LifeDates())))
    assert (await list_due(small, dataset=PENALTIES)).items == ()
    async with at(small, "2026-06-03T02:30:00Z") as tomorrow:
        assert (await look_through(tomorrow)).datasets == ()


async def test_what_no_rule_keeps_any_more_leaves_the_list(small: Services):
    """Another policy, in which no row says how long: the list is made anew, and empty."""
    await fined(small, old(1, "2019-01-09"))
    await look_through(small)
    async with small.store.transaction() as tx:
        await otherwise(tx, lambda text: text.replace(b'retention = { max = "P5Y", start = "sharing_end" }\n', b""))
    assert (await list_due(small)).looked_on is None
    assert await look_through(small) == DueList(looked_on=date(2026, 6, 2), datasets=())
    assert await small.store.reads.all(sa.select(due_rows)) == []


async def test_a_dry_run_changes_nothing(town: Services):
    """It says how many would go, by which row, and what stays; no table is other than before, and no record."""
    over, disputed = await fined(town, old(1, "2019-01-09"), old(2, "2019-01-09"))
    await open_dispute(town, disputed, actor="test")
    await look_through(town)
    admin = await enrolled(town, "kang", "key-custodian")
    before = await digest(town)
    found = await act(town, admin, dry_run=True)
    assert await digest(town) == before
    assert (found.records, found.oldest, found.rules, found.staying) == (1, date(2024, 1, 9), {"order36-general": 1}, 1)
    assert [(each.record, each.stays) for each in found.stay] == [(disputed, "objection")]
    assert set((await states_of(town)).values()) == {"in_force"}
    assert over in {each.record for each in (await list_due(town, dataset=PENALTIES)).items}


async def test_nothing_is_left_of_what_was_erased(town: Services, tmp_path: Path):
    """In no table and no file of the house; the trail says of each record why, by which row, to which day, and no value."""
    over, stays, person = await fined(
        town,
        old(7719, FIVE_YEARS_AND_A_DAY, NAME, DOCUMENT),
        old(2, FIVE_YEARS),
        person_penalty("测试鸾", person_number(7), "通人罚〔2018〕8号", **LONG_AGO, 公示截止期="2019-01-09"),
    )
    words = NAME, code(7719), DOCUMENT, "通人罚〔2018〕8号"
    assert holds(await dump(town), *words[:3]) == set(words[:3])
    await look_through(town)
    admin = await enrolled(town, "kang", "key-custodian")
    done = await act(town, admin, most=2)
    assert (done.records, done.staying, done.dry_run) == (2, 0, False)
    await followed(town)
    assert holds(await dump(town), *words) == set()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert not [word for word in words if word.encode() in path.read_bytes()], path
    assert await states_of(town) == {over: "erased", stays: "in_force", person: "erased"}
    assert (await list_due(town)).datasets == ()
    finished = await town.store.reads.all(sa.select(erasures.c.record_id, erasures.c.done_at))
    assert {row.record_id for row in finished if row.done_at is not None} == {over, person}
    trail = [row for row in await audit.after(town.store.reads, 0, 10_000) if row.act in ("record.erase", "retention.erase")]
    assert [(row.act, row.target, row.actor) for row in trail[1:]] == [
        ("record.erase", f"record/{over}", "admin:kang"),
        ("retention.erase", f"dataset/{PENALTIES}", "admin:kang"),
    ]
    assert trail[1].detail == {"dataset": PENALTIES, "reason": "retention", "rule": "order36-general", "last_day": "2026-06-01"}
    assert trail[2].detail == {"policy": 1, "records": 2, "rules": {"order36-general": 2}, "until": "2026-06-01"}


async def test_the_trail_says_why_of_each_record_of_a_person(small: Services):
    """The key that goes with a person's last record does not take along what was written of the first, when both go together."""
    made = await fined(
        small,
        *(person_penalty("测试鸾", person_number(7), f"通人罚〔2018〕{n}号", **LONG_AGO, 公示截止期="2019-01-09") for n in (8, 9)),
    )
    await look_through(small)
    await act(small, await enrolled(small, "kang", "key-custodian"), most=2)
    trail = [row for row in await audit.after(small.store.reads, 0, 10_000) if row.act == "record.erase"]
    assert {row.target for row in trail} == {f"record/{each}" for each in made}
    assert [row.detail and row.detail["rule"] for row in trail] == ["order36-general"] * 2


async def test_partners_follow_as_after_any_erasure(cities: Cities):
    """A repaired record that was kept for five years goes in both cities; the one beside it stays in both."""
    services = cities.tonghua
    gone, stays = ids(
        await put(services, PENALTIES, penalty(code(7719), NAME, DOCUMENT), penalty(code(2), "通化市旁邻商贸有限公司", "通旁罚〔2026〕2号"))
    )
    await settle(services)
    await send_batch(services, stream=STREAM, at_once=True)
    assert set(await states_of(cities.baishan)) == {gone, stays}
    await repair(services, gone, actor="test")
    await send_batch(services, stream=STREAM, at_once=True)
    aged = LifeDates(decision=date(2020, 1, 10), first_publication_here=date(2020, 1, 11), repair_approved=date(2021, 6, 2))
    async with services.store.transaction() as tx:  # as if it had been long ago
        await tx.execute(
            sa.update(rows).where(rows.c.record_id == gone).values(dates=msgspec.json.encode(aged), changed_at="2021-06-02T02:30:00Z")
        )
    await look_through(services)
    await look_through(cities.baishan)
    assert (await list_due(cities.baishan)).datasets == (), "a partner's record is not theirs to erase"
    admin = await enrolled(services, "kang", "key-custodian")
    assert (await act(services, admin, most=1)).records == 1
    await send_batch(services, stream=STREAM, at_once=True)
    for city in (cities.baishan, services):
        await followed(city)
        assert holds(await dump(city), NAME, DOCUMENT) == set()
        states_ = await states_of(city)
        assert (states_[gone], states_[stays]) == ("erased", "in_force")


async def test_what_is_objected_to_or_not_decided_stays(small: Services):
    """They are named with the reason; when the objection ends the record goes, also if its period ended meanwhile."""
    disputed, held, over = await fined(small, old(1, "2019-01-09"), old(2, "2019-01-09"), old(3, "2019-01-09"))
    await open_dispute(small, disputed, actor="test")
    async with small.store.transaction() as tx:
        await states.set_state(tx, RecordId(held), state="held", op="hold", reason=None, actor="test", hold_code="SUBJ_CONFLICT")
        await states.set_state(tx, RecordId(disputed), state="expired", op="expire", reason="expired", actor="test")
    await look_through(small)
    assert {each.record: each.stays for each in (await list_due(small, dataset=PENALTIES)).items} == {
        disputed: "objection", held: "held", over: None,
    }  # fmt: skip
    admin = await enrolled(small, "kang", "key-custodian")
    done = await act(small, admin, most=1)
    assert (done.records, {each.record: each.stays for each in done.stay}) == (1, {disputed: "objection", held: "held"})
    assert await states_of(small) == {disputed: "expired", held: "held", over: "erased"}
    await close_dispute(small, disputed, upheld=False, actor="test")
    done = await act(small, admin, most=1)
    assert (done.records, [each.record for each in done.stay]) == (1, [held])


async def test_an_objection_upheld_after_the_period_withdraws(cities: Cities):
    """Offices, partners and the one whom it is about were shown the record still; of one that was withdrawn already the mark goes alone."""
    services = cities.tonghua
    said = [penalty(code(number), f"通化市旁邻{number}商贸有限公司", f"通旁罚〔2026〕{number}号") for number in (1, 2, 3)]
    gone, dismissed, corrected = ids(await put(services, PENALTIES, *said))
    await settle(services)
    await send_batch(services, stream=STREAM, at_once=True)
    for each in (gone, dismissed, corrected):
        await open_dispute(services, each, actor="test")
    async with services.store.transaction() as tx:
        for each in (gone, dismissed):
            await states.set_state(tx, RecordId(each), state="expired", op="expire", reason="expired", actor="test")
        await states.set_state(tx, RecordId(corrected), state="retracted", op="retract", reason="corrected", actor="test")
    await settle(services)
    await send_batch(services, stream=STREAM, at_once=True)
    ended = [await close_dispute(services, each, upheld=each != dismissed, actor="test") for each in (gone, dismissed, corrected)]
    assert [each.state for each in ended] == ["retracted", "expired", "retracted"]
    found = await rows_of_due.standing(services.store.reads, (gone, dismissed, corrected))
    assert not any(each.disputed for each in found.values())
    await settle(services)
    (sent,) = await send_batch(services, stream=STREAM, at_once=True)
    assert (sent.state, sent.code) == ("acked", None)
    assert await states_of(services) == {gone: "retracted", dismissed: "expired", corrected: "retracted"}
    assert await states_of(cities.baishan) == {gone: "retracted", dismissed: "in_force", corrected: "retracted"}


async def test_who_may_and_what_has_to_be_said(small: Services):
    """Key custodians alone; a day that is over; the number that a dry run told, and no more than it; a dataset of the policy."""
    await fined(small, old(1, "2019-01-09"), old(2, "2020-01-09"))
    await look_through(small)
    admin, operator = await enrolled(small, "kang", "key-custodian"), await enrolled(small, "ou", "operator")
    before = await digest(small)
    for who, words, code_ in (
        (operator, {"most": 2}, "role-missing"),
        (operator, {"dry_run": True}, "role-missing"),
        (admin, {"most": 2, "until": date(2026, 6, 2)}, "retention-day"),
        (admin, {}, "retention-number"),
        (admin, {"most": 1}, "retention-number"),
    ):
        with pytest.raises(AdminError, match=code_):
            await act(small, who, **words)
    with pytest.raises(InvalidParameter):
        await act(small, admin, most=2, dataset="administrative-penalty")
    assert await digest(small) == before
    assert (await act(small, admin, most=1, until=date(2024, 1, 9))).records == 1, "up to a day: the other was to be kept longer"
    assert (await act(small, admin, most=5, dataset="honours")).records == 0
    assert (await act(small, admin, most=5)).records == 1


@pytest.mark.parametrize("seen", [False, True])
async def test_another_policy_meanwhile_ends_the_act(small: Services, monkeypatch: pytest.MonkeyPatch, seen: bool):
    """What the custodian was told no longer holds, whether another request of this process knows it already: the rest stays."""
    monkeypatch.setattr(erasing, "CHUNK", 1)
    await fined(small, old(1, "2019-01-09"), old(2, "2019-01-09"))
    await look_through(small)
    admin = await enrolled(small, "kang", "key-custodian")
    whole = erasing._erase

    async def then_another(*arguments: Any) -> None:
        await whole(*arguments)
        await otherwise(arguments[0], lambda text: text + b"\n# another text\n")

    async def page(*arguments: Any, **words: Any) -> Any:
        if seen:
            await small.policies.refresh()
        return await whole_page(*arguments, **words)

    whole_page = erasing.rows.page
    monkeypatch.setattr(erasing.rows, "page", page)
    monkeypatch.setattr(erasing, "_erase", then_another)
    with pytest.raises(AdminError, match="retention-number"):
        await act(small, admin, most=2)
    assert sorted((await states_of(small)).values()) == ["erased", "in_force"]


async def test_whatever_erases_a_record_takes_it_off_the_list(small: Services):
    """A single erasure, by request, leaves nothing to do of it."""
    (over,) = await fined(small, old(1, "2019-01-09"))
    await look_through(small)
    admin = await enrolled(small, "kang", "key-custodian")
    await erase(small, over, reason="request", by=await admin.acts("record.erase", target=over, reason="request"))
    assert (await list_due(small)).datasets == ()


async def test_a_slip_in_an_end_makes_nothing_due(small: Services):
    """A department writes 2016 where it was 2036, of what was shown until today: it is hidden, and kept for five years from today."""
    (shown,) = await fined(small, old(1, "2036-05-06", day="2026-04-10"))
    await put(small, PENALTIES, old(1, "2016-05-06", day="2026-04-10"))
    assert (await look_through(small)).datasets == ()
    async with at(small, "2031-06-03T02:30:00Z") as later:
        assert (await look_through(later)).datasets[0].oldest == date(2031, 6, 1)
    assert await states_of(small) == {shown: "in_force"}


async def test_withdrawn_records_have_their_day_too(small: Services):
    """Corrected away today, it is kept for five years from today, whatever its dates lack."""
    (gone,) = await fined(small, old(1, "2027-01-09", day="2026-04-10"))
    await withdraw(small, gone, reason="corrected", actor="test")
    async with at(small, "2031-06-01T15:59:59Z") as last:
        assert (await look_through(last)).datasets == ()
    async with at(small, "2031-06-01T16:00:00Z") as over:
        (found,) = (await look_through(over)).datasets
        assert (found.records, found.oldest) == (1, date(2031, 6, 1))
