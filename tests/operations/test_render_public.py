"""The reader of the change log: what it renders, what it tells, and that nothing stale or withdrawn is ever shown."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.core.callers.caller import PUBLIC
from gateway.core.errors import NotFound
from gateway.operations import answer_query, handle_case, read_feed
from gateway.operations.render_public import lag, render_public, settle
from gateway.operations.withdraw import withdraw
from gateway.services import Services
from gateway.store import feed, renderings
from tests.operations.publishing import (
    DEPARTMENT,
    PENALTIES,
    REGISTRATIONS,
    a_house,
    ask,
    at,
    code,
    firm,
    household_code,
    ids,
    penalty,
    person_number,
    person_penalty,
    put,
    read,
    stocked,
)

SEARCHED = "示例", "示例药业", "通化"


@pytest.fixture
async def town(tmp_path: Path, store_url: str) -> AsyncIterator[Services]:
    """An empty gateway, on SQLite and on PostgreSQL."""
    async with a_house(tmp_path, store_url) as services:
        yield services


async def told(services: Services, since: int = 0, caller=PUBLIC, **params: str) -> list[dict]:  # type: ignore[type-arg,no-untyped-def]
    """Items of the change feed."""
    return read(await read_feed.changes(services, caller, ask(since=str(since), limit="1000", **params)))["items"]


async def test_a_registration_becomes_a_subject_and_a_change(town: Services) -> None:
    """What was accepted is shown and told once, under the policy version in force."""
    (record_id,) = ids(await put(town, REGISTRATIONS, firm(1, "通化市示例药业有限公司")))
    await settle(town)
    subject = read(await answer_query.subject_document(town, code(1), PUBLIC, "zh-CN"))
    assert subject["name"] == "通化市示例药业有限公司"
    assert subject["kind"] == "enterprise"
    assert subject["record_counts"]["registration"] == 1
    assert subject["notice"]["code"] == "sample-data"
    items = await told(town)
    assert [item["op"] for item in items] == ["policy", "add"]
    assert items[1]["record"] == record_id
    assert await lag(town) == 0


async def test_the_lane_and_the_office_give_the_same_bytes(town: Services) -> None:
    """A document made live equals the rendered one byte for byte."""
    made = await stocked(town)
    rendered = [(await answer_query.subject_document(town, code(number), PUBLIC, "zh-CN")).body for number in (1, 2, 3)]
    rendered += [(await answer_query.record(town, made[name], PUBLIC, "zh-CN")).body for name in ("药业", "罚单", "列名")]
    rendered += [(await answer_query.find_subjects(town, PUBLIC, ask(q=text, limit="5"))).body for text in SEARCHED]
    async with town.store.transaction() as tx:  # as if the reader had never run
        await renderings.say(tx, renderings.PLAN_META, "")
        await tx.execute(renderings.rendered_subjects.update().values(plan="stale"))
        await tx.execute(renderings.rendered_records.update().values(plan="stale"))
    live = [(await answer_query.subject_document(town, code(number), PUBLIC, "zh-CN")).body for number in (1, 2, 3)]
    live += [(await answer_query.record(town, made[name], PUBLIC, "zh-CN")).body for name in ("药业", "罚单", "列名")]
    live += [(await answer_query.find_subjects(town, PUBLIC, ask(q=text, limit="5"))).body for text in SEARCHED]
    assert live == rendered
    assert [len(read(await answer_query.find_subjects(town, PUBLIC, ask(q=text)))["items"]) for text in SEARCHED] == [1, 1, 2]


async def test_a_repaired_record_is_gone_with_the_commit(town: Services) -> None:
    """Before any reader has run, no exit shows it; afterwards the feed has a neutral tombstone and nothing else of it."""
    made = await stocked(town)
    before = await feed.head(town.store.reads, "public/open.read")
    await handle_case.repair(town, made["罚单"], actor="officer")
    with pytest.raises(NotFound):
        await answer_query.record(town, made["罚单"], PUBLIC, "zh-CN")
    page = read(await answer_query.records_page(town, PUBLIC, ask()))
    assert made["罚单"] not in [item["id"] for item in page["items"]]
    subject = read(await answer_query.subject_document(town, code(1), PUBLIC, "zh-CN"))
    assert subject["record_counts"]["penalty"] == 0
    await render_public(town)
    assert made["罚单"] not in [item.get("record") for item in await told(town)], "not before the next full 30 seconds"
    await settle(town)
    items = [item for item in await told(town) if item.get("record") == made["罚单"]]
    assert [(item["op"], item["reason"], item["at"]) for item in items] == [("del", "removed", "2026-06-02T02:30:30Z")]
    assert items[0]["seq"] > before.seq
    assert set(items[0]) == {"seq", "op", "at", "dataset", "record", "reason", "reason_label"}


async def test_removals_of_one_moment_are_told_in_order_of_id(town: Services) -> None:
    """The order of tombstones says nothing of the order of their causes."""
    rows = [penalty(code(1), "通化市示例药业有限公司", f"通示罚〔2026〕{n}号") for n in range(8)]
    made = ids(await put(town, PENALTIES, *rows))
    await settle(town)
    for record_id in sorted(made, reverse=True):
        await withdraw(town, record_id, reason="corrected", actor="officer")
    await settle(town)
    items = [item for item in await told(town) if item["op"] == "del"]
    assert [item["record"] for item in items] == sorted(made)
    assert {item["reason"] for item in items} == {"corrected"}
    assert len({item["at"] for item in items}) == 1


async def test_a_period_that_ends_is_told_as_expired(town: Services) -> None:
    """At 00:00 UTC+8 after the last day the record is gone by the clock alone, and its tombstone says `expired`."""
    made = await stocked(town)
    shown = read(await answer_query.record(town, made["罚单"], PUBLIC, "zh-CN"))
    assert shown["publish_until"] is not None
    async with at(town, f"{shown['publish_until']}T16:00:00Z") as later:
        with pytest.raises(NotFound):
            await answer_query.record(later, made["罚单"], PUBLIC, "zh-CN")
        page = read(await answer_query.records_page(later, PUBLIC, ask(limit="100")))
        assert made["罚单"] not in [item["id"] for item in page["items"]]
        await settle(later)
        items = [item for item in await told(later) if item.get("record") == made["罚单"]]
        assert [(item["op"], item["reason"]) for item in items] == [("del", "expired")]


async def test_what_is_hidden_moves_no_public_number(town: Services) -> None:
    """A record that only another tier sees changes neither body, ETag nor feed of the public."""
    made = await stocked(town)
    before = await answer_query.record(town, made["罚单"], PUBLIC, "zh-CN"), await answer_query.records_page(town, PUBLIC, ask())
    head = await feed.head(town.store.reads, "public/open.read")
    department = await feed.head(town.store.reads, "department/dept.supervision")
    await put(town, PENALTIES, person_penalty("测试丙", person_number(2), "通示罚〔2026〕9号"))
    await settle(town)
    after = await answer_query.record(town, made["罚单"], PUBLIC, "zh-CN"), await answer_query.records_page(town, PUBLIC, ask())
    assert [(each.body, each.etag, each.dataset_version) for each in after] == [
        (each.body, each.etag, each.dataset_version) for each in before
    ]
    assert await feed.head(town.store.reads, "public/open.read") == head
    assert (await feed.head(town.store.reads, "department/dept.supervision")).seq > department.seq


async def everything(services: Services, made: dict[str, str]) -> list[tuple[bytes, str | None, str | None]]:
    """What the public can see of a town: bytes, validators, versions."""
    answers = [await answer_query.record(services, made[name], PUBLIC, "zh-CN") for name in ("药业", "罚单", "列名")]
    answers += [await answer_query.subject_document(services, code(number), PUBLIC, "zh-CN") for number in (1, 2, 3)]
    answers += [
        await answer_query.records_page(services, PUBLIC, ask()),
        await answer_query.listings(services, "tax-violations", PUBLIC, ask()),
    ]
    answers.append(await read_feed.changes(services, PUBLIC, ask(since="0")))
    return [(answer.body, answer.etag, answer.dataset_version) for answer in answers]


async def test_an_amendment_of_hidden_values_leaves_no_trace(town: Services) -> None:
    """Not a byte that the public can read moves: no number, no mark, no time of receipt; before the reader has run and after."""
    made = await stocked(town)
    before = await everything(town, made)
    async with at(town, "2026-06-02T05:00:00Z") as later:
        await put(later, PENALTIES, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕1号", 法定代表人="测试乙"))
        await put(later, REGISTRATIONS, firm(2, "通化市澄泉商贸有限公司", 法定代表人="测试丙"))
        assert (await everything(later, made)) == before
        await settle(later)
        assert (await everything(later, made)) == before
    async with at(town, "2026-06-02T06:00:00Z") as later:  # nor does a later change bring it to light
        await handle_case.open_dispute(later, made["罚单"], actor="officer")
        live = read(await answer_query.record(later, made["罚单"], PUBLIC, "zh-CN"))
        await settle(later)
        shown = read(await answer_query.record(later, made["罚单"], PUBLIC, "zh-CN"))
        for each in (live, shown):
            assert [mark["code"] for mark in each["marks"]] == ["objection_in_progress"]
            assert each["source"]["received_at"] == "2026-06-02T02:30:00Z"
        assert (await told(later))[-1]["fields_changed"] == ["marks"]
    async with at(town, "2026-06-02T07:00:00Z") as later:  # and one that it can see is marked as what it is
        await put(later, PENALTIES, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕1号", fine="9", 法定代表人="测试乙"))
        live = await answer_query.record(later, made["罚单"], PUBLIC, "zh-CN")
        await settle(later)
        shown = await answer_query.record(later, made["罚单"], PUBLIC, "zh-CN")
        assert [(mark["code"], mark["since"]) for mark in read(shown)["marks"]] == [
            ("objection_in_progress", "2026-06-02T06:00:00Z"),
            ("corrected", "2026-06-02T07:00:00Z"),
        ]
        assert {key: value for key, value in read(live).items() if key != "seq"} == {
            key: value for key, value in read(shown).items() if key != "seq"
        }
        department = read(await answer_query.record(later, made["罚单"], DEPARTMENT, "zh-CN"))
        assert department["fields"]["legal_representative"] == "测试乙"


async def test_an_amendment_names_what_changed(town: Services) -> None:
    """A `mod` lists the paths that a reader will find different, and keeps the earlier `add`."""
    made = await stocked(town)
    await put(town, PENALTIES, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕1号", fine="2.5"))
    await settle(town)
    items = [item for item in await told(town) if item.get("record") == made["罚单"]]
    assert [item["op"] for item in items] == ["add", "mod"]
    assert "fields.fine_amount" in items[1]["fields_changed"]
    shown = read(await answer_query.record(town, made["罚单"], PUBLIC, "zh-CN"))
    assert shown["fields"]["fine_amount"] == "2.500000"
    assert shown["seq"] == items[1]["seq"]


async def test_a_natural_person_leaves_no_public_trace(town: Services) -> None:
    """Neither record, subject, feed nor count knows of a person; the department's plan set does."""
    made = await stocked(town)
    with pytest.raises(NotFound):
        await answer_query.record(town, made["人罚"], PUBLIC, "zh-CN")
    assert made["人罚"] not in [item.get("record") for item in await told(town)]
    assert made["人罚"] in [item.get("record") for item in await told(town, caller=DEPARTMENT)]
    seen = read(await answer_query.record(town, made["人罚"], DEPARTMENT, "zh-CN"))
    assert seen["subject"]["kind"] == "person"
    with pytest.raises(NotFound):
        await answer_query.subject_document(town, seen["subject"]["id"], PUBLIC, "zh-CN")


async def test_nobody_is_told_of_a_household(town: Services) -> None:
    """A walk of the public change feed names no household's record: it is reached by whole code or name only."""
    made = await stocked(town)
    named = {item.get("record") for item in await told(town)}
    assert len(named) > 1
    assert not {made["小店"], made["店罚"]} & named
    await withdraw(town, made["店罚"], reason="revoked", actor="office")
    await settle(town)
    assert made["店罚"] not in {item.get("record") for item in await told(town)}


async def test_a_household_is_masked_and_never_browsed(town: Services) -> None:
    """Reached by its exact code, shown with eight characters and ten stars, and no row of bulk output."""
    made = await stocked(town)
    shown = read(await answer_query.subject_document(town, household_code(7), PUBLIC, "zh-CN"))
    assert shown["uscc"] == "92220502**********"
    assert shown["name"] == "东昌区****个体工商户"
    assert shown["links"]["self"].endswith(shown["id"])
    page = read(await answer_query.records_page(town, PUBLIC, ask(limit="100")))
    assert not {made["小店"], made["店罚"]} & {item["id"] for item in page["items"]}
    assert read(await answer_query.record(town, made["店罚"], PUBLIC, "zh-CN"))["subject"]["kind"] == "household"


async def test_several_readers_do_the_work_once(town: Services) -> None:
    """Readers that run at the same time tell every change exactly once."""
    await put(town, REGISTRATIONS, *(firm(number, f"通化市示例{number}商贸有限公司") for number in range(1, 40)))
    await asyncio.gather(*(settle(town) for _ in range(4)))
    items = await told(town)
    adds = [item["record"] for item in items if item["op"] == "add"]
    assert len(adds) == len(set(adds)) == 39
    assert [item["seq"] for item in items] == list(range(1, 41))


async def test_a_record_that_comes_back_is_told_as_new(town: Services) -> None:
    """Withdrawn and asserted again before anything was told: one `add`, no tombstone left behind."""
    (record_id,) = ids(await put(town, PENALTIES, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕1号")))
    await settle(town)
    await withdraw(town, record_id, reason="no_longer_public", actor="officer")
    await render_public(town)
    outcome = (await put(town, PENALTIES, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕1号", fine="3")))[0]
    await settle(town)
    items = [item for item in await told(town) if item["op"] != "policy"]
    assert [(item["op"], item["record"]) for item in items][-1] == ("add", outcome.record_id)


async def test_a_dispute_marks_the_record_everywhere(town: Services) -> None:
    """The mark stands before the reader has run, and is told as a change of `marks`."""
    made = await stocked(town)
    await handle_case.open_dispute(town, made["列名"], actor="officer")
    live = read(await answer_query.record(town, made["列名"], PUBLIC, "zh-CN"))
    assert [mark["code"] for mark in live["marks"]] == ["objection_in_progress"]
    listed = read(await answer_query.listings(town, "tax-violations", PUBLIC, ask()))["items"]
    assert [mark["code"] for mark in listed[0]["marks"]] == ["objection_in_progress"]
    await settle(town)
    item = [item for item in await told(town) if item.get("record") == made["列名"]][-1]
    assert item["fields_changed"] == ["marks"]
