"""The law of policy.md §17: two stores that differ only in what the public may not see give the public byte-identical answers.

One city is the sample; the other had more happen to it, all hidden: a person punished, a penalty held, a person's record
disputed. Status, header fields and bytes of every public path are compared, but for `Date` and `Request-Id`.
"""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from gateway.operations import handle_case
from gateway.operations.build_lists import settle_lists
from gateway.operations.ingest import ingest
from gateway.operations.render_public import settle
from tests.house import CENTRE
from tests.web.city import City, Server, copied, served

HEADER = (
    "行政相对人名称,行政相对人类别,统一社会信用代码,证件类型,证件号码,法定代表人,行政处罚决定书文号,违法行为类型,违法事实,处罚依据,处罚类别,处罚内容,"
    "罚款金额（万元）,处罚决定日期,处罚有效期,失信严重程度,处罚机关,处罚机关统一社会信用代码,数据来源单位,数据来源单位统一社会信用代码\n"
)
AUTHORITY = f"通化市信用中心（示例）,{CENTRE},通化市信用中心（示例）,{CENTRE}\n"
PERSON = (
    "测试人甲,自然人,,身份证,220599198001010013,,通示罚〔2026〕901号,无证经营,未取得许可从事经营。,《无证无照经营查处办法》第十三条,罚款,罚款人民币5000元。,"
    f"0.5,2026-05-06,2027-05-06,一般,{AUTHORITY}"
)
PATHS = (
    "/v1",
    "/v1/subjects?limit=100",
    "/v1/subjects.csv?limit=all",
    "/v1/records?limit=50&count=exact&facet=kind,region",
    "/v1/records.ndjson?limit=all&trailer=1",
    "/v1/records?kind=penalty&limit=100&sort=-decision_date",
    "/v1/lists",
    "/v1/lists/honours/listings?limit=all",
    "/v1/lists/tax-violations/listings",
    "/v1/lists/tax-violations/versions",
    "/v1/lists/tax-violations/versions/latest",
    "/v1/lists/tax-violations/versions/latest/checkpoint",
    "/v1/datasets/administrative-penalties/versions/latest",
    "/v1/ftm/catalog.json",
    "/v1/ftm/tonghua_tax_violations/delta.json",
    "/v1/datasets",
    "/v1/datasets/administrative-penalties",
    "/v1/datasets/administrative-penalties/dictionary",
    "/v1/changes?since=0&limit=1000",
    "/v1/subjects?q=绾",
    "/v1/subjects?q=测试人甲",
    "/v1/suggest?q=测试",
    "/v1/subjects?count=exact&facet=kind",
    "/v1/keys",
    "/v1/range",
    "/v1/range/sha256/00?on=name",
    "/openapi.json",
    "/readyz",
)


async def hide_things(services: Any, folder: Path) -> None:
    """Everything that the public must not notice."""
    file = folder / "hidden.csv"
    file.write_text(HEADER + PERSON, encoding="utf-8")
    receipt = await ingest(
        services, dataset="administrative-penalties", path=file, authority=CENTRE, officer="测试员甲", encoding="utf-8", progress=None
    )
    assert receipt.accepted == 1
    await settle(services)
    assert await settle_lists(services) == []


@pytest.fixture
def twins(sqlite_city: City, tmp_path: Path) -> tuple[City, City]:
    """The city, and its twin with a hidden life."""
    city, twin = copied(sqlite_city, tmp_path / "one"), copied(sqlite_city, tmp_path / "gateway")
    twin.run(lambda services: hide_things(services, twin.folder))

    async def dispute(services: Any) -> None:
        await handle_case.open_dispute(services, person, actor="test")
        await settle(services)
        assert await settle_lists(services) == []

    with sqlite3.connect(twin.folder / "data" / "gateway.db") as connection:
        person = connection.execute("SELECT record_id FROM records WHERE kind = 'natural' ORDER BY changed_seq DESC").fetchone()[0]
    connection.close()
    twin.run(dispute)
    return city, twin


def shown(server: Server, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """An answer without what differs each time."""
    answer = server.get(path, **headers)
    own = ("date", "request-id", "ratelimit")
    return answer.status_code, {name: value for name, value in answer.headers.items() if name not in own}, answer.content


def test_hidden_things_move_nothing(twins: tuple[City, City]) -> None:
    """Pages, exports, counts, facets, feeds, versions, validators: equal for the public; the department sees more."""
    one, other = twins
    token, twin_token = one.token(), other.token()
    with served(one) as here, served(other) as there:
        for path in PATHS:
            assert shown(here, path) == shown(there, path), path
        subjects = here.get("/v1/subjects?limit=30").json()["items"]
        for subject in subjects:
            for path in (subject["links"]["self"], f"{subject['links']['records']}?limit=100"):
                assert shown(here, path) == shown(there, path), path
        url: str | None = "/v1/records?limit=40"
        while url:
            page, twin = here.get(url), there.get(url)
            assert page.content == twin.content
            url = page.json()["next"]
        theirs = [
            server.get("/v1/records.ndjson?limit=all&kind=penalty", authorization=f"Bearer {token}").text.count("\n")
            for server, token in ((here, token), (there, twin_token))
        ]
        assert theirs[1] == theirs[0] + 1
