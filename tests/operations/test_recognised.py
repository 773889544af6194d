"""Mutual recognition end to end between two cities (互认), and the measures that go back (联合奖惩反馈)."""

import json
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from gateway.core.disclosure.policy import files_digest
from gateway.core.disclosure.row_rules import Attributes
from gateway.core.disclosure.views import view
from gateway.core.errors import StoreError
from gateway.core.records.model import RecordId
from gateway.operations.answer_query import record, records_page
from gateway.operations.change_policy import read_folder
from gateway.operations.handle_case import close_dispute, open_dispute, repair
from gateway.operations.keep_exchange import Rounds
from gateway.operations.keep_log import settle_log
from gateway.operations.recognise import follow, review
from gateway.operations.render_public import settle
from gateway.operations.send_batch import send_batch
from gateway.operations.set_up import shipped_policies
from gateway.operations.show_subject import show_subject
from gateway.operations.take_measures import record_measure
from gateway.operations.withdraw import withdraw
from gateway.services import Services
from gateway.settings import AuthoritySetting
from gateway.store import given_receipts, measures, recognitions, records
from gateway.store import policies as policy_rows
from gateway.store.tables import log_entries
from gateway.web import pages
from tests.administrators import hand
from tests.ledger import check_ledger
from tests.operations.confirming import confirm
from tests.operations.publishing import (
    PENALTIES,
    PUBLIC,
    TAX,
    ask,
    code,
    department,
    firm,
    granted,
    ids,
    penalty,
    put,
    read,
    violation,
    walked,
)
from tests.operations.test_exchange import honour
from tests.region import AGREEMENT, BAISHAN, MARKET, TONGHUA, Cities, recognising, two_cities
from tests.untouched import LEDGER, contents, moved


def everything(text: str) -> str:
    """The shipped agreement, in which penalties and list entries are recognised, too."""
    entries = (("honours", "redlist"), ("agency-filings", "agency_filing"), (PENALTIES, "penalty"), (TAX, "blacklist"))
    return recognising(text, *entries)


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities with that agreement in force."""
    async with two_cities(tmp_path, change=everything) as made:
        yield made


def filing(number: int, name: str, **more: Any) -> dict[str, Any]:
    """A row of the filings of agencies."""
    return {
        "机构名称": name,
        "主体类别": "法人及非法人组织",
        "统一社会信用代码": code(number),
        "备案号": f"示信备〔2026〕{number}号",
        "业务类型": "企业征信；信用管理咨询",
        "备案状态": "已备案",
        "备案日期": "2026-05-06",
        "有效期至": "2029-05-05",
        "备案机关": "通化市市场监督管理局（示例）",
        "备案机关统一社会信用代码": MARKET,
        **more,
    }


async def told(cities: Cities) -> None:
    """Both cities say what is new; both ledgers hold."""
    await send_batch(cities.tonghua, at_once=True)
    await send_batch(cities.baishan, at_once=True)
    await check_ledger(cities.tonghua)
    await check_ledger(cities.baishan)


async def decision(cities: Cities, record_id: str) -> Any:
    """What Baishan has decided about a record."""
    return (await recognitions.decisions(cities.baishan.store.reads, [record_id])).get(record_id)


async def standing(services: Services, record_id: str) -> list[tuple[str, str, int]]:
    """The measures that rest on a record, as this city knows them: code, how it stands, on which version."""
    return [(each.code, each.standing, each.v) for each in await measures.measures_about(services.store.reads, [record_id])]


async def put_filing(cities: Cities, number: int = 2, **more: Any) -> str:
    """A filing at Tonghua, told next door."""
    (record_id,) = ids(await put(cities.tonghua, "agency-filings", filing(number, "通化市澄泉信用服务有限公司", **more)))
    await told(cities)
    return record_id


async def test_an_honour_with_a_text_has_its_measure_and_breaks_no_plan(cities: Cities):
    """What the office sees of the record is made of all that its plan shows, the texts too: no field of it fails."""
    (record_id,) = ids(await put(cities.tonghua, "honours", honour(2, "通化市澄泉商贸有限公司", 荣誉内容="连续三年守合同重信用。")))
    await told(cities)
    assert await standing(cities.baishan, record_id) == [("green-channel", "in_effect", 1)]
    assert [dict(each.policies.current().failures) for each in (cities.tonghua, cities.baishan)] == [{}, {}]


async def test_a_filing_counts_next_door_and_says_whose_it_is(cities: Cities):
    """A neutral record takes effect; it is shown with issuer, agreement and as-of; the measure goes back, and is shown there."""
    record_id = await put_filing(cities)
    found = await decision(cities, record_id)
    assert (found.reason, found.effect, found.until) == ("recognised", "filing-accepted", "2028-12-31")
    await settle(cities.baishan)
    document = read(await record(cities.baishan, record_id, PUBLIC, "zh-CN"))
    (mark,) = document["marks"]
    assert (mark["code"], mark["issuer"], mark["agreement"], mark["effect"]) == ("recognised", TONGHUA, AGREEMENT, "filing-accepted")
    assert (mark["as_of"], mark["until"]) == ("2026-06-02T02:30:00Z", "2028-12-31")
    assert document["source"]["issuer"] == TONGHUA
    shown = await show_subject(cities.baishan, code(2), PUBLIC, ask())
    page = pages.subject(shown, language="zh-CN", sample=False).decode()
    assert f"签发方 {TONGHUA} · 协议 {AGREEMENT} · 数据截至 2026-06-02" in page
    assert await standing(cities.baishan, record_id) == [("filing-accepted", "in_effect", 1)]
    assert await standing(cities.tonghua, record_id) == [("filing-accepted", "in_effect", 1)]
    (back,) = await measures.measures_about(cities.tonghua.store.reads, [record_id])
    (line,) = await records.load(cities.tonghua.store.reads, ids=[RecordId(back.record_id)])
    (about,) = await records.load(cities.tonghua.store.reads, ids=[RecordId(record_id)])
    assert (line.issuer, line.category, line.subject_id) == (BAISHAN, "measure", about.subject_id)
    values = line.raw.open()
    assert (values["about_rid"], values["about_v"], values["decision_date"]) == (record_id, 1, "2026-06-02")
    assert values["measure_basis"] == "《吉林省社会信用条例》"
    asking = department(granted("measures", regions=("220500", "220600")))
    (item,) = await walked(records_page, cities.tonghua, caller=asking, dataset="measures", about_rid=record_id)
    assert (item["id"], item["fields"]["outcome"], item["source"]["issuer"]) == (back.record_id, "in_effect", BAISHAN)


ENDS = [("revoked", "lifted"), ("dispute", "suspended"), ("stale", "suspended"), ("struck", "lifted"), ("erased", "lifted")]


@pytest.mark.parametrize(("end", "outcome"), ENDS)
async def test_an_effect_that_ends_takes_its_measure_along(cities: Cities, end: str, outcome: str):
    """A24: withdrawn, struck off, disputed or silent, the effect goes in the commit that brings the news, and the issuer is told so."""
    record_id = await put_filing(cities)
    if end == "revoked":
        await withdraw(cities.tonghua, record_id, reason="revoked", actor="test")
    elif end == "dispute":
        await open_dispute(cities.tonghua, record_id, actor="test")
    elif end == "struck":
        await put(cities.tonghua, "agency-filings", filing(2, "通化市澄泉信用服务有限公司", 备案状态="注销", 注销日期="2026-06-01"))
    elif end == "erased":
        async with cities.tonghua.store.transaction() as tx:
            await records.erase(tx, RecordId(record_id), actor="test")
    if end == "stale":
        cities = cities.at(cities.now + timedelta(hours=49))
        assert await review(cities.baishan) == 1
    else:
        await send_batch(cities.tonghua, at_once=True)
    decided = await decision(cities, record_id)
    assert decided is None if end == "erased" else decided.effect is None
    assert [each[1] for each in await standing(cities.baishan, record_id)] == [outcome], "in the same commit"
    told_of = await measures.measures_about(cities.tonghua.store.reads, [record_id])
    await send_batch(cities.baishan, at_once=True)
    if end == "erased":
        assert await measures.measures_about(cities.tonghua.store.reads, [record_id]) == []
        ids_ = [RecordId(each.record_id) for each in told_of]
        there = [await records.load(each.store.reads, ids=ids_, states=("erased",)) for each in (cities.tonghua, cities.baishan)]
        assert [len(each) for each in there] == [1, 1], "what names whom the erased record named is erased in both cities"
        await check_ledger(cities.tonghua)
        return
    (back,) = await measures.measures_about(cities.tonghua.store.reads, [record_id])
    (line,) = await records.load(cities.tonghua.store.reads, ids=[RecordId(back.record_id)])
    day = "2026-06-02" if outcome == "lifted" else None
    assert (back.standing, line.raw.open()["outcome"], line.raw.open().get("lifted_on")) == (outcome, outcome, day)
    if end == "dispute":
        await close_dispute(cities.tonghua, record_id, upheld=False, actor="test")
    if outcome == "suspended":
        await told(cities)
        await told(cities)
        assert [each[1] for each in await standing(cities.tonghua, record_id)] == ["in_effect"], "and it resumes"
    await check_ledger(cities.tonghua)


async def test_what_left_stands_in_the_log(cities: Cities):
    """A24: an honour of next door that is listed here has entries of its own; withdrawn there, the last one says that it left."""
    (record_id,) = ids(await put(cities.tonghua, "honours", honour(2, "通化市澄泉商贸有限公司")))
    await told(cities)
    await settle(cities.baishan)
    await settle_log(cities.baishan)
    await withdraw(cities.tonghua, record_id, reason="revoked", actor="test")
    await told(cities)
    await settle(cities.baishan)
    await settle_log(cities.baishan)
    rows = await cities.baishan.store.reads.all(sa.select(log_entries).order_by(log_entries.c.idx))
    said = [entry for row in rows if (entry := json.loads(row.entry))["rid"] == record_id]
    assert [entry["op"] for entry in said] == ["list", "remove"]
    assert (await decision(cities, record_id)).reason == "withdrawn"


async def test_a_list_entry_waits_for_a_person(cities: Cities):
    """A listing from next door has no effect and no measure before a named person confirms it; an amendment asks again."""
    row = violation(code(3), "通化市拓岩建材有限公司", "通示税〔2026〕1号", 公布日期="2026-02-10")
    (record_id,) = ids(await put(cities.tonghua, TAX, row))
    await told(cities)
    found = await decision(cities, record_id)
    assert (found.reason, found.consequence) == ("awaiting_confirmation", "task")
    assert await standing(cities.tonghua, record_id) == []
    decided = await confirm(cities.baishan, record_id, by=hand(), basis="《示例条例》第一条")
    assert (decided.reason, decided.effect) == ("recognised", "procurement-limit")
    await told(cities)
    assert await standing(cities.tonghua, record_id) == [("procurement-limit", "in_effect", 1)]
    await put(cities.tonghua, TAX, row | {"税务处理处罚情况": "追缴税款并处罚款。"})
    await told(cities)
    assert (await decision(cities, record_id)).reason == "awaiting_confirmation"
    assert [each[1] for each in await standing(cities.tonghua, record_id)] == ["suspended"]
    await repair(cities.tonghua, record_id, actor="test")
    await told(cities)
    await told(cities)
    assert [each[1] for each in await standing(cities.tonghua, record_id)] == ["lifted"]


async def test_an_officer_takes_a_measure_and_lifts_it(cities: Cities):
    """Joint punishment: a department's own measure needs the confirmed effect, a measure in force, an authority of ours and a name."""
    row = penalty(code(4), "通化市测试4商贸有限公司", "通示罚〔2026〕4号")
    (record_id,) = ids(await put(cities.tonghua, PENALTIES, row))
    await told(cities)
    authority = "11220600XXT000142N"
    bureau = AuthoritySetting(uscc=authority, name="白山市生态环境局（示例）", region="220600")
    office = msgspec.structs.replace(cities.baishan, settings=msgspec.structs.replace(cities.baishan.settings, authorities=(bureau,)))

    async def refused(*, rid: str = record_id, measure: str = "focus-supervision", by: str = "测试员乙", **more: Any) -> str:
        with pytest.raises(StoreError) as caught:
            await record_measure(office, rid, measure, authority=more.pop("authority", authority), by=by, **more)
        return caught.value.code

    assert await refused() == "measure-refused", "nobody has confirmed it"
    await confirm(cities.baishan, record_id, by=hand(), basis="《示例条例》第一条")
    assert await refused(by=" ") == await refused(measure="green-channel") == await refused(measure="nothing") == "measure-refused"
    assert await refused(authority=code(99)) == await refused(standing="lifted") == "measure-refused"
    assert await refused(rid="rec_aaaaaaaaaaaaaaaaaaaaaaaaaa") == "record-unknown"
    taken = await record_measure(office, record_id, "focus-supervision", authority=authority, by="测试员乙")
    assert (taken.standing, taken.ours, taken.partner) == ("in_effect", True, TONGHUA)
    await told(cities)
    both = {("procurement-limit", "in_effect", 1), ("focus-supervision", "in_effect", 1)}
    assert set(await standing(cities.tonghua, record_id)) == both
    await record_measure(office, record_id, "focus-supervision", authority=authority, by="测试员乙", standing="lifted")
    await told(cities)
    assert set(await standing(cities.tonghua, record_id)) == {("procurement-limit", "in_effect", 1), ("focus-supervision", "lifted", 1)}


async def test_our_own_inputs_turn_by_policy_and_time(cities: Cities, tmp_path: Path):
    """An effect ends with its measure's last day; a listing here suspends an honour, which counts again when the listing is over."""
    (record_id,) = ids(await put(cities.tonghua, "honours", honour(2, "通化市澄泉商贸有限公司")))
    await told(cities)
    assert (await decision(cities, record_id)).until == "2027-12-31"
    rounds = Rounds()
    await rounds.run(cities.baishan)
    folder = tmp_path / "policies"
    shutil.copytree(shipped_policies(), folder, ignore=shutil.ignore_patterns("tests", "agreements"))
    file = folder / "catalogue.toml"
    file.write_text(file.read_text(encoding="utf-8").replace('polarity = "red"', 'polarity = "red"\nuntil = 2026-06-10'), encoding="utf-8")
    files = read_folder(folder)
    async with cities.baishan.store.transaction() as tx:
        version = await policy_rows.propose(tx, files, files_digest(files), "test")
        await policy_rows.activate(tx, version, "test", "cap")
    await rounds.run(cities.baishan)
    assert (await decision(cities, record_id)).until == "2026-06-10", "the least of three"
    row = violation(code(2), "通化市澄泉商贸有限公司", "白示税〔2026〕1号", 公示截止期="2026-06-04")
    await put(cities.baishan, TAX, row)
    while await follow(cities.baishan):
        pass
    found = await decision(cities, record_id)
    assert (found.reason, found.review_at) == ("local_negative", "2026-06-04T16:00:00Z")
    cities = cities.at(cities.now + timedelta(days=3))
    await send_batch(cities.tonghua, at_once=True)
    await review(cities.baishan)
    assert (await decision(cities, record_id)).reason == "recognised", "the listing is over"
    cities = cities.at(cities.now + timedelta(days=6))
    await send_batch(cities.tonghua, at_once=True)
    await review(cities.baishan)
    assert (await decision(cities, record_id)).reason == "no_measure", "the measure's last day is over"
    assert [each[1] for each in await standing(cities.baishan, record_id)] == ["lifted"]


async def test_nobody_else_is_told_of_a_measure(cities: Cities):
    """A measure goes to the city whose record it is about, and to no other: the view of a partner shows only what is about its own."""
    record_id = await put_filing(cities)
    (taken,) = await measures.measures_about(cities.baishan.store.reads, [record_id])
    policies = cities.baishan.policies.current()
    plans = policies.plan_set("measures", "partner", "exchange.batch")
    assert plans is not None
    plan = plans.plans["legal"]
    (line,) = await records.load(cities.baishan.store.reads, ids=[RecordId(taken.record_id)])
    seen = [
        view(line, plan, policies, cities.now, Attributes(org_id=org, grant_regions=("220600",)))
        for org in ("11220500XXT0001181", "11220500XXT000126U", None)
    ]
    assert [each is not None for each in seen] == [True, False, False]


def claim(cities: Cities, about: str, uscc: str, **more: Any) -> dict[str, Any]:
    """A row of measures at Baishan that nobody decided: what a careless or lying partner would say."""
    return {
        "ZTMC": "通化市澄泉信用服务有限公司",
        "XYZTLB": "legal",
        "TYSHXYDM": uscc,
        "about_rid": about,
        "about_v": "1",
        "about_org": cities.tonghua.settings.org,
        "measure_code": "filing-accepted",
        "measure_basis": "《示例条例》",
        "applied_on": "2026-06-01",
        "outcome": "in_effect",
        "authority": "白山市市场监督管理局（示例）",
        "authority_code": MARKET,
        **more,
    }


async def test_a_partner_tells_of_measures_on_what_it_was_told(cities: Cities):
    """A measure about a record that was never sent there, about none at all, or about another subject is refused, and nothing is kept."""
    told_of = await put_filing(cities)
    (kept,) = ids(await put(cities.tonghua, "registrations", firm(5, "通化市拓岩建材有限公司")))
    claims = [claim(cities, kept, code(5)), claim(cities, "rec_aaaaaaaaaaaaaaaaaaaaaaaaaa", code(2)), claim(cities, told_of, code(6))]
    for number, row in enumerate(claims):
        await put(cities.baishan, "measures", row | {"measure_code": f"m{number}"}, region="220600")
    before = await contents(cities.tonghua.store)
    await send_batch(cities.baishan, at_once=True)
    assert moved(before, await contents(cities.tonghua.store)) <= LEDGER
    given = await given_receipts.receipts_of(cities.tonghua.store.reads, BAISHAN, f"{AGREEMENT}.measures")
    codes = [json.loads(line)["code"] for line in given[-1].feedback.splitlines()]
    assert sorted(codes) == ["SCOPE_OWNER", "SCOPE_OWNER", "SUBJ_CONFLICT"]
    assert [each[0] for each in await standing(cities.tonghua, told_of)] == ["filing-accepted"]
