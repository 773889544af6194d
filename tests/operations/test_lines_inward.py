"""Lines inward: what a front-end database has for us goes through intake, is kept as it came, and burdens nobody."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec import structs

from adapters.frontend_database_simulator import LOCAL, Province, on
from gateway.core.disclosure.row_language import Attributes
from gateway.core.disclosure.views import closed_gate, view
from gateway.core.exchange.wire import digest_text
from gateway.core.publication.documents import record_head
from gateway.core.records.model import DatasetId, RecordId
from gateway.operations.keep_lines import LineRun, keep_lines
from gateway.operations.line_reports import line_findings, line_streams
from gateway.operations.manage_lines import approve_line, propose_line
from gateway.services import Services, open_services
from gateway.settings import PartnerSetting
from gateway.store import lines, records
from gateway.store.tables import line_replies
from gateway.store.tables import records as record_table
from tests.house import make, settings_of, write_settings
from tests.operations.line_partner import two_persons
from tests.operations.publishing import NOW, PENALTIES, at, code, penalty, put, stocked

COLUMNS = (
    "CF_XDR_MC", "CF_XDR_LB", "CF_XDR_SHXYM", "CF_WSH", "CF_WFXW", "CF_SY", "CF_YJ", "CF_CFLB", "CF_NR", "CF_NR_FK", "CF_JDRQ", "CF_YXQ",
    "CF_CFJG", "CF_CFJGDM", "CF_SJLY", "CF_SJLYDM",
)  # fmt: skip
LINE = f"""\
id = "province-down"
partner = "credit.jl.example"
org = "11220500XXT0001181"
title = "省级平台下发"
direction = "in"
basis = [{{ text = "《吉林省社会信用条例》" }}]
owner = "信用信息中心"
from = 2026-01-01
until = 2026-12-31
[[datasets]]
dataset = "administrative-penalties"
regions = ["220500"]
fields = {list(COLUMNS)}
""".replace("'", '"')
MARKET = "11220500XXT0001181"


async def prepared(services: Services) -> dict[str, str]:
    """The small town and an approved line inward."""
    made = await stocked(services)
    zhang, li = await two_persons(services)
    done = await propose_line(services, LINE.encode(), by=await zhang.acts("line.propose"))
    await approve_line(services, done.id, digest=done.digest, by=await li.acts("line.approve"))
    return made


class Town:
    """A gateway, and the province's database beside it."""

    def __init__(self, services: Services, province: Province, made: dict[str, str]) -> None:
        self.services = services
        self.province = province
        self.made = made

    def put(self, recid: str, v: int = 1, op: str = "upsert", *, minute: int = 0, **instead: Any) -> None:
        """A row of the province's for us."""
        said = {
            "CF_XDR_MC": "通化市澄泉商贸有限公司", "CF_XDR_LB": "法人及非法人组织", "CF_XDR_SHXYM": code(2),
            "CF_WSH": f"省罚〔2026〕{recid}号", "CF_WFXW": "未按规定公示", "CF_SY": "未按规定公示年度报告",
            "CF_YJ": "《企业信息公示暂行条例》第十七条", "CF_CFLB": "罚款",
            "CF_NR": "罚款一万元", "CF_NR_FK": "1.000000", "CF_JDRQ": "2026/03/02", "CF_YXQ": "2099/12/31",
            "CF_CFJG": "通化市市场监督管理局（示例）", "CF_CFJGDM": MARKET, "CF_SJLY": "通化市市场监督管理局（示例）", "CF_SJLYDM": MARKET,
        }  # fmt: skip
        values = said | instead if op == "upsert" else {}
        sjc = datetime(2026, 6, 2, 10, 0, tzinfo=LOCAL).replace(tzinfo=None) + timedelta(minutes=minute)
        self.province.put([{"RECID": recid, "REC_V": v, "OP": op, "DFBM": "220500", "SJC": sjc, **values}])

    async def pull(self, services: Services | None = None) -> LineRun:
        """One round."""
        (run,) = await keep_lines(services or self.services, direction="in", at_once=True)
        return run

    async def record(self, recid: str) -> Any:
        """What became of a row."""
        reads = self.services.store.reads
        key = lines.source_key(reads, "province-down", recid)
        ((record_id, _),) = (await lines.source_records(reads, "province-down", [key])).values()
        (found,) = await records.load(reads, ids=[RecordId(record_id)])
        return found


@asynccontextmanager
async def a_town(folder: Path, database: str) -> AsyncIterator[Town]:
    """The prepared town beside an empty database of the province."""
    settings = settings_of(write_settings(folder, database=database), CHENGXIN_NOW=NOW)
    made = await make(settings, prepared)
    path = folder / "province.db"
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    province = Province(on(engine), PENALTIES, "CX_XZCF", dict.fromkeys(COLUMNS, sa.Text))
    (folder / "url").write_text(f"sqlite:///{path}", encoding="utf-8")
    (folder / "url").chmod(0o400)
    table: Mapping[str, Any] = {"name": "CX_XZCF", "fields": list(COLUMNS), "dates": ["CF_JDRQ", "CF_YXQ"]}
    config: dict[str, object] = {"url": {"file": str(folder / "url")}, "tables": {PENALTIES: table}, "dfbm": "220500", "page_rows": 2}
    partner = PartnerSetting(party="credit.jl.example", adapter="frontend_database", config=config)
    async with open_services(structs.replace(settings, partners=(partner,))) as services:
        yield Town(services, province, made)


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    """Ours on SQLite."""
    async with a_town(tmp_path, "") as found:
        yield found


@pytest.fixture
async def any_town(tmp_path: Path, store_url: str) -> AsyncIterator[Town]:
    """Ours on either database: for what reads or writes our tables in its own way."""
    async with a_town(tmp_path, store_url) as found:
        yield found


async def test_rows_come_in_vouched_and_burden_nobody(town: Town) -> None:
    """They pass intake, bear the trust `vouched`, are shown to nobody as a penalty, and are told to the source row by row."""
    town.put("a")
    town.put("b", CF_XDR_SHXYM="91220502XXT00002XX")
    town.put("c", minute=1)
    run = await town.pull()
    assert (run.rows, run.not_sent, run.state) == (2, {"SUBJ_USCC": 1}, "delivered")
    record = await town.record("a")
    policies = town.services.policies.current()
    plans = policies.public(DatasetId(PENALTIES))
    assert plans is not None
    assert (record.trust, record.state) == ("vouched", "in_force")
    assert closed_gate(record, plans.plans[record.kind], policies, town.services.clock()) == "trust"
    told = {row["RECID"]: (row["FK_ZT"], row["FK_CODE"]) for row in town.province.rows()}
    assert told == {"a": ("00", None), "b": ("10", "SUBJ_USCC"), "c": ("00", None)}
    assert (await town.pull()).rows == 0


async def test_what_nobody_signed_is_shown_as_such(town: Town) -> None:
    """A department reads beside a vouched burden that no authority confirmed it, whatever fields it asks for; the bank is not shown it."""
    town.put("a")
    await town.pull()
    record = await town.record("a")
    policies, now = town.services.policies.current(), town.services.clock()
    shown = policies.plan_set(DatasetId(PENALTIES), "department", "dept.supervision")
    bank = policies.plan_set(DatasetId(PENALTIES), "pboc", "pboc.report")
    assert shown is not None
    assert bank is not None
    seen = view(record, shown.plans[record.kind], policies, now, Attributes(grant_regions=("220500",)))
    assert seen is not None
    head = record_head(seen, "https://credit.tonghua.example")
    assert head.document["marks"] == [{"code": "vouched", "label": "未经机关确认", "since": None}]
    assert closed_gate(record, bank.plans[record.kind], policies, now) == "trust"


async def test_the_doctor_names_the_command_that_tries_a_line_again(town: Town) -> None:
    """A line that comes in is tried again by `exchange pull`, which `exchange send` never does."""
    town.province.run(lambda connection: connection.exec_driver_sql('ALTER TABLE "CX_XZCF" RENAME TO "AWAY"'))
    assert (await town.pull()).code == "SCHEMA_TABLE"
    (found,) = [each for each in await line_findings(town.services, ask=False) if each.code == "line-failing"]
    assert "exchange pull" in (found.remedy_en or "")
    assert "exchange pull" in (found.remedy_zh or "")


async def test_a_page_is_kept_as_it_came(town: Town) -> None:
    """Its bytes stand sealed under our note that they were received, until their time is over; the note stays."""
    town.put("a")
    await town.pull()
    reads = town.services.store.reads
    ((row, data),) = await lines.replies(reads, "province-down")
    assert "省罚〔2026〕a号".encode() in data
    assert row.digest == digest_text(data)
    (stored,) = await reads.all(sa.select(line_replies))
    assert "省罚".encode() not in stored.data
    async with at(town.services, "2026-07-10T03:00:00Z") as later:
        await town.pull(later)
    assert await lines.replies(reads, "province-down") == []
    (stored,) = await reads.all(sa.select(line_replies))
    assert (stored.data, stored.digest, stored.note) == (None, row.digest, row.note)


async def test_versions_and_withdrawals_of_the_source(any_town: Town) -> None:
    """A later version amends, an earlier one says nothing; a withdrawal or erasure without values reaches what this line brought."""
    any_town.put("a")
    any_town.put("z")
    await any_town.pull()
    any_town.put("a", 3, minute=1, CF_NR_FK="2.000000")
    any_town.put("a", 2, minute=2, CF_NR_FK="9.000000")
    await any_town.pull()
    record = await any_town.record("a")
    assert (record.version, record.state) == (2, "in_force")
    other = (await any_town.record("z")).record_id
    any_town.put("a", 4, "withdraw", minute=3)
    any_town.put("z", 2, "erase", minute=3)
    any_town.put("nobody", 1, "withdraw", minute=3)
    run = await any_town.pull()
    assert run.rows == 3
    assert (await any_town.record("a")).state == "retracted"
    (gone,) = await any_town.services.store.reads.all(sa.select(record_table.c.state).where(record_table.c.record_id == other))
    assert gone.state == "erased"
    assert await lines.replies(any_town.services.store.reads, "province-down") == []


async def test_an_older_word_says_nothing_after_a_later_one(any_town: Town) -> None:
    """Whatever their order in a page: the later version stands, and what was taken back before it was ever told stays away."""
    any_town.put("a", 2, CF_NR_FK="2.000000")
    any_town.put("a", 1, minute=1, CF_NR_FK="1.000000")
    any_town.put("b", 2, "withdraw")
    any_town.put("b", 1, minute=1)
    any_town.put("c", 2, "withdraw")
    run = await any_town.pull()
    assert (run.rows, run.not_sent) == (3, {})
    any_town.put("c", 1, minute=2)  # committed late
    assert (await any_town.pull()).rows == 0
    assert str((await any_town.record("a")).raw.open()["fine_amount"]).startswith("2")
    told = {(row["RECID"], row["REC_V"]): row["FK_CODE"] for row in any_town.province.rows()}
    assert {key: told[key] for key in (("a", 1), ("b", 1), ("c", 1))} == dict.fromkeys((("a", 1), ("b", 1), ("c", 1)), "DUP_SAME")
    any_town.put("b", 3, minute=3)
    assert (await any_town.pull()).rows == 1
    assert (await any_town.record("b")).state == "in_force"


async def test_an_erasure_here_reaches_what_was_kept(any_town: Town) -> None:
    """The pages that came before it go, notes stay, and the source cannot bring the record again under its id."""
    any_town.put("a")
    await any_town.pull()
    record = await any_town.record("a")
    async with any_town.services.store.transaction() as tx:
        await records.erase(tx, record.record_id, actor="test")
    any_town.put("a", 2, minute=1)
    run = await any_town.pull()
    assert (run.rows, run.not_sent) == (0, {"SEQ_ERASED": 1})
    assert await lines.replies(any_town.services.store.reads, "province-down") == []


async def test_what_an_authority_has_said_stays(town: Town) -> None:
    """A vouched row neither changes nor takes back a signed record; nor does one outside the line's fields and regions come in."""
    await put(town.services, PENALTIES, penalty(code(2), "通化市澄泉商贸有限公司", "通示罚〔2026〕9号"))
    town.put("a", CF_WSH="通示罚〔2026〕9号", CF_NR_FK="5.000000", CF_CFJGDM="11220500XXT0001181")
    run = await town.pull()
    assert (run.rows, run.not_sent) == (0, {"DUP_OTHER_SOURCE": 1})
    town.put("b")
    await town.pull()
    record = await town.record("b")
    await put(town.services, PENALTIES, penalty(code(2), "通化市澄泉商贸有限公司", "省罚〔2026〕b号"))
    assert (await town.record("b")).trust == "signed"
    town.put("b", 2, "withdraw", minute=5)
    run = await town.pull()
    assert (run.not_sent, (await town.record("b")).state) == ({"SCOPE_OWNER": 1}, record.state)


async def test_a_database_that_is_gone_is_told(town: Town, tmp_path: Path) -> None:
    """The line fails alone, by its code, and goes on where it was."""
    town.put("a")
    await town.pull()
    (tmp_path / "province.db").rename(tmp_path / "away.db")
    run = await town.pull()
    assert run.code == "UNAVAILABLE"
    assert not (tmp_path / "province.db").exists()
    (stream,) = await line_streams(town.services)
    assert (stream.direction, stream.state) == ("in", "UNAVAILABLE")
    (tmp_path / "away.db").rename(tmp_path / "province.db")
    town.put("b", minute=1)
    assert (await town.pull()).rows == 1
