"""A gateway with records that a test names one by one, and its answers as a caller reads them."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from gateway.adapter_contract import SourceRecord
from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.callers.grants import Grant, GrantBasis
from gateway.core.errors import BadCursor
from gateway.core.records.identifiers import citizen_check_character, org_code_check_character, uscc_check_character
from gateway.core.records.intake import AuthorityInfo, IntakeContext, intake
from gateway.core.records.model import DatasetId
from gateway.operations.accept_records import accept_records
from gateway.operations.asking import Answer, Ask, Format, Language, Position
from gateway.operations.render_public import settle
from gateway.services import Services, open_services
from gateway.settings import Clock
from gateway.store.records import Outcome
from tests.house import a_gateway, make, settings_of, write_settings

NOW = "2026-06-02T02:30:00Z"
MARKET = "11220500XXT0001181"
SUPERVISION = "dept.supervision"


def granted(dataset: str, *, regions: tuple[str, ...] = ("220500",), themes: tuple[str, ...] = (), **more: Any) -> Grant:
    """A grant of the market supervision bureau's app for one dataset."""
    said = {"id": f"test.{dataset}", "org": MARKET, "app": "app_test", "purposes": (SUPERVISION,), "from_": date(2026, 1, 1)} | more
    basis = GrantBasis(document="通市监函〔2026〕3号", sha256="0" * 64)
    return Grant(**{"dataset": dataset, "regions": regions, "themes": themes, "until": date(2027, 12, 31), "basis": basis} | said)


def department(*grants: Grant, **more: Any) -> Caller:
    """The market supervision bureau, with these grants."""
    said = {"tier": "department", "purpose": SUPERVISION, "purposes": (SUPERVISION,), "org": MARKET, "app": "app_test"} | more
    return Caller(**{"credential_kind": "token", "assurance": "bound", "grants": grants, "case_ref": "案-2026-1"} | said)


GRANTED = ("administrative-licences", "administrative-penalties", "honours", "registrations", "tax-violations")
DEPARTMENT = department(*map(granted, GRANTED))

REGISTRATIONS, PENALTIES, TAX, HONOURS = "registrations", "administrative-penalties", "tax-violations", "honours"


def code(number: int, *, department: str = "91", division: str = "220502") -> str:
    """A valid code of nobody: organisation body XXT."""
    body = f"XXT{number:05d}"
    front = f"{department}{division}{body}{org_code_check_character(body)}"
    return front + uscc_check_character(front)


def household_code(number: int, division: str = "220502") -> str:
    """A valid code of no household."""
    return code(number, department="92", division=division)


def person_number(number: int) -> str:
    """A valid citizen number of the division where nobody lives."""
    body = f"22059919900101{number:03d}"
    return body + citizen_check_character(body)


@asynccontextmanager
async def a_house(folder: Path, database: str, now: str = NOW) -> AsyncIterator[Services]:
    """An empty gateway under the shipped policies; its clock stands until `at` moves it."""
    async with a_gateway(folder, database=database, CHENGXIN_NOW=now) as services:
        yield services


@asynccontextmanager
async def a_town(folder: Path, database: str) -> AsyncIterator[tuple[Services, dict[str, str]]]:
    """A house with the small town in it, and its record ids by name."""
    settings = settings_of(write_settings(folder, database=database), CHENGXIN_NOW=NOW)
    made = await make(settings, stocked)
    async with open_services(settings) as services:
        yield services, dict(made)


@asynccontextmanager
async def at(services: Services, moment: str) -> AsyncIterator[Services]:
    """The same house at another moment."""
    clock = Clock(fixed=msgspec.convert(moment, type=__import__("datetime").datetime))
    before = services.store.clock
    services.store.clock = clock
    try:
        yield msgspec.structs.replace(services, clock=clock)
    finally:
        services.store.clock = before


async def put(
    services: Services, dataset: str, *rows: Mapping[str, Any], signed: bool = True, region: str = "220500"
) -> list[Outcome]:
    """Take rows in as a department of a region would send them, under the headers of its table."""
    catalogue = services.policies.current().catalogue
    described = catalogue.datasets[DatasetId(dataset)]
    context = IntakeContext(
        dataset=described,
        authorities={MARKET: AuthorityInfo(uscc=MARKET, name="通化市市场监督管理局（示例）", region=region, covers=("*",))},
        sender=MARKET if signed else None,
        officer="测试员甲" if signed else None,
        demo=True,
        now=services.clock(),
        region="220500",
    )
    admitted = [
        intake(SourceRecord(dataset=dataset, record_id=None, as_of=services.clock(), fields=dict(row), place=f"test!R{n}"), context)
        for n, row in enumerate(rows, 2)
    ]
    async with services.store.transaction() as tx:
        return await accept_records(services, tx, admitted, described, actor="test")


def firm(number: int, name: str, **more: Any) -> dict[str, Any]:
    """A registration of a company."""
    return {
        "企业名称": name,
        "统一社会信用代码": code(number),
        "成立日期": "2016-05-11",
        "登记状态": "存续",
        "行政区划代码": "220502",
        **more,
    }


def shop(number: int, name: str, **more: Any) -> dict[str, Any]:
    """A registration of an individual household."""
    return {"企业名称": name, "统一社会信用代码": household_code(number), "成立日期": "2019-05-11", "登记状态": "存续", **more}


def penalty(
    uscc: str, name: str, document: str, *, day: str = "2026-03-02", fine: str = "1.2", kind: str = "法人及非法人组织", **more: Any
) -> dict[str, Any]:
    """A penalty of some weight."""
    return {
        "行政相对人名称": name,
        "行政相对人类别": kind,
        "统一社会信用代码": uscc,
        "行政处罚决定书文号": document,
        "违法行为类型": "超范围经营",
        "违法事实": "超出登记的经营范围从事经营活动。",
        "处罚依据": "《示例条例》第一条",
        "处罚类别": "罚款",
        "处罚内容": "罚款。",
        "罚款金额（万元）": fine,
        "处罚决定日期": day,
        "处罚机关": "通化市市场监督管理局（示例）",
        "处罚机关统一社会信用代码": MARKET,
        "数据来源单位": "通化市市场监督管理局（示例）",
        "数据来源单位统一社会信用代码": MARKET,
        "失信严重程度": "一般",
        "处罚有效期": "2099-12-31",
        "公示截止期": "2027-03-01",
        **more,
    }


def person_penalty(name: str, number: str, document: str, **more: Any) -> dict[str, Any]:
    """A penalty of a natural person of the test division."""
    row = penalty("", name, document, kind="自然人", **more)
    del row["统一社会信用代码"]
    return row | {"证件类型": "身份证", "证件号码": number}


def violation(uscc: str, name: str, document: str, **more: Any) -> dict[str, Any]:
    """A serious tax violation: it lists its subject."""
    return {
        "纳税人名称": name,
        "主体类别": "法人及非法人组织",
        "统一社会信用代码": uscc,
        "案件性质": "偷税",
        "主要违法事实": "少缴税款。",
        "相关法律依据": "《中华人民共和国税收征收管理法》第六十三条",
        "税务处理处罚情况": "追缴税款。",
        "认定文号": document,
        "确认日期": "2026-02-02",
        "列入日期": "2026-02-10",
        "认定单位": "国家税务总局通化市税务局（示例）",
        "认定单位统一社会信用代码": MARKET,
        "数据来源单位": "通化市（示例）",
        "数据来源单位统一社会信用代码": MARKET,
        **more,
    }


class Pages:
    """Cursors in clear, so that a test can read them."""

    def __init__(self, path: str, position: Position | None = None) -> None:
        self._path = path
        self._position = position

    @property
    def asked(self) -> tuple[str, Position | None]:
        """Which page it is."""
        return self._path, self._position

    def position(self, plan: str) -> Position | None:
        """Where the request's cursor stands."""
        return self._position

    def url(self, plan: str, position: Position | None) -> str:
        """The URL of a page; the position stands in it as JSON."""
        return self._path if position is None else f"{self._path}?cursor={msgspec.json.encode(position).decode()}"


def ask(
    path: str = "http://h/v1/x",
    cursor: str | None = None,
    *,
    format_: Format = "json",
    language: Language = "zh-CN",
    excel: bool = False,
    **params: str,
) -> Ask:
    """A request; `cursor` is a URL that an earlier answer gave."""
    position = None
    if cursor is not None:
        if "?cursor=" not in cursor:
            raise BadCursor
        position = msgspec.json.decode(cursor.partition("?cursor=")[2], type=Position)
    return Ask(params=params, language=language, format=format_, excel=excel, pages=Pages(path, position))


def read(answer: Answer) -> Any:
    """The body of a JSON answer."""
    return json.loads(answer.body)


async def whole(answer: Answer) -> bytes:
    """The body of an answer, streamed or not."""
    return answer.body if answer.stream is None else b"".join([part async for part in answer.stream])


async def walked(story: Any, *arguments: Any, caller: Caller = PUBLIC, **params: str) -> list[dict[str, Any]]:
    """All items of a list, page by page."""
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        body = read(await story(*arguments, caller, ask(cursor=cursor, **params)))
        items.extend(body["items"])
        cursor = body["next"]
        if cursor is None:
            return items


def ids(outcomes: Sequence[Outcome]) -> list[str]:
    """Record ids of what was accepted."""
    assert all(outcome.result == "accepted" for outcome in outcomes), outcomes
    return [str(outcome.record_id) for outcome in outcomes]


async def stocked(services: Services) -> dict[str, str]:
    """A small town: companies, a household, a person, penalties, a listing; rendered to the end. Record ids by name."""
    made = {}
    firms = [
        firm(1, "通化市示例药业有限公司", 曾用名="通化县示例制药厂"),
        firm(2, "通化市澄泉商贸有限公司"),
        firm(3, "吉林省宝药药材有限公司"),
    ]
    made["药业"], made["商贸"], made["药材"] = ids(await put(services, REGISTRATIONS, *firms))
    (made["小店"],) = ids(await put(services, REGISTRATIONS, shop(7, "东昌区甲某某小吃店")))
    made["罚单"], made["店罚"], made["人罚"] = ids(
        await put(
            services,
            PENALTIES,
            penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕1号"),
            penalty(household_code(7), "东昌区甲某某小吃店", "通示罚〔2026〕2号", kind="个体工商户"),
            person_penalty("测试甲", person_number(1), "通示罚〔2026〕3号"),
        )
    )
    (made["列名"],) = ids(await put(services, TAX, violation(code(2), "通化市澄泉商贸有限公司", "通示税〔2026〕1号")))
    await settle(services)
    return made
