"""The thirty inference channels of policy.md §17, each closed: one test a row, named after it.

Strategy: the sample city is asked over a real socket as its attackers would ask it: the public, a developer's guess, a department
that may see more. What is proven by enumeration or over two stores elsewhere is tried here by hand once more.
"""

import asyncio
import csv
import io
import json
import re
import shutil
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from datetime import date, datetime
from functools import partial
from hashlib import blake2b, sha256
from itertools import pairwise, product
from pathlib import Path
from typing import Any, cast

import openpyxl
import pytest

from gateway.app import create_app
from gateway.core.callers.caller import PUBLIC
from gateway.core.callers.refusals import AssertionRefused
from gateway.core.disclosure.plans import PERSONAL_CLASSES
from gateway.core.disclosure.policy import check_policies
from gateway.core.errors import RequestError
from gateway.core.publication.flat import BOM
from gateway.core.records.model import DatasetId
from gateway.operations import answer_query, read_timeline, syndicate
from gateway.operations.build_lists import settle_lists
from gateway.operations.change_policy import read_folder
from gateway.operations.ingest import ingest
from gateway.operations.issue_token import Posted, believe
from gateway.operations.manage_keys import issue_token
from gateway.operations.render_public import settle
from gateway.operations.set_up import shipped_policies
from gateway.services import open_services
from gateway.store.loading import load
from gateway.web.edge import FrontDoor
from gateway.web.replies import Validators
from tests.callers import Key, assertion, assertion_parts
from tests.doors import ASSERTION_TYPE, ORIGIN, Program, register
from tests.house import CENTRE, make, settings_of, write_settings
from tests.operations import publishing
from tests.operations.publishing import TAX, a_house, ask, at, code, put, read, violation, whole
from tests.operations.test_lists import SECOND, change, fetched, listed, manifest
from tests.operations.test_render_again import change_policy
from tests.web.city import NOW, City, Server, copied, served
from tests.web.test_uploads import HEADER, ROW

PENALTIES = "dataset=administrative-penalties"
CITIZEN = "220599198001010013"
FILE = "datasets/administrative-penalties.toml"
PARTIAL = 'field.id_no = { treatment = { do = "keep", first = 6 }, allow = ["lookup"], budget = "200/day" }'
"""What a department is shown of a person's number for supervision."""
HIDDEN = ("id_no", "legal_representative", "legal_representative_id_no", "remark", "conduct_end", "publish_until_hint")
NEVER = "no_such_field"
DANGEROUS = tuple("=+-@\t\r＝＋－＠")
"""How a cell begins that a spreadsheet would run."""
_LINE = 'field.notified_on = { treatment = "drop" }\n'
NARROWER = ("datasets/tax-violations.toml", _LINE, f'{_LINE}field.case_nature = {{ treatment = "drop" }}\n')
"""The public is not shown the nature of tax cases any more."""


def problem(answer: Any, *, without: str = "") -> dict[str, Any]:
    """A problem without what differs each time, and without the name that was sent."""
    document = json.loads(answer.text.replace(without, "…") if without else answer.text)
    return {name: value for name, value in document.items() if name not in ("instance", "trace_id")}


def records(server: Server, query: str = PENALTIES, **headers: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = server.get(f"/v1/records?{query}&limit=100", **headers).json()["items"]
    return items


def of_kind(items: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(item for item in items if item["subject"]["kind"] == kind)


@pytest.fixture(scope="session")
def person(server: Server, office: Mapping[str, str]) -> dict[str, Any]:
    """A record about a natural person, as the department sees it."""
    return of_kind(records(server, **office), "person")


def exported(server: Server, **headers: str) -> list[dict[str, Any]]:
    """Every record that a caller sees."""
    text = server.get(f"/v1/records.ndjson?{PENALTIES}&limit=all", **headers).text
    return [json.loads(line) for line in text.splitlines()]


def window(value: Any) -> tuple[int, int] | None:
    """How many characters of a masked value are shown in front and at the end; None for one that is not masked."""
    shown = re.fullmatch(r"([^*]*)\*+([^*]*)", value) if isinstance(value, str) else None
    return (len(shown[1]), len(shown[2])) if shown is not None else None


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("how", ["{}=1", "{}__gte=1", "{}__prefix=1", "{}__in=1,2"])
def test_channel_01_filter_on_a_masked_field(server: Server, name: str, how: str) -> None:
    """A hidden field and one that never was give the same 400, but for the name that was sent."""
    hidden = server.get(f"/v1/records?{PENALTIES}&{how.format(name)}")
    never = server.get(f"/v1/records?{PENALTIES}&{how.format(NEVER)}")
    assert hidden.status_code == never.status_code == 400
    assert problem(hidden, without=name) == problem(never, without=NEVER)
    assert problem(hidden)["code"] == "unknown-parameter"


def test_channel_01_masked_is_not_filterable_for_the_department_either(server: Server, office: Mapping[str, str]) -> None:
    """The department sees six digits of an identity number: it cannot filter by them."""
    assert server.get(f"/v1/records?{PENALTIES}&id_no=220599", **office).json()["code"] == "unknown-parameter"


def test_channel_02_equality_lookup(server: Server, person: dict[str, Any]) -> None:
    """Whether a person has a penalty cannot be asked by the public: not by number, not by name, on no path."""
    for path in ("/v1/subjects", "/v1/suggest"):
        assert server.get(f"{path}?q={person['subject']['name']}").json()["items"] == []
        known, unknown = (server.get(f"{path}?q={number}") for number in (CITIZEN, "220599198001010021"))
        assert known.status_code == unknown.status_code == 400
        assert problem(known) == problem(unknown)
    said = {"dataset": "administrative-penalties", "name": "测试人甲"}
    refused, absent = (server.client.post("/v1/lookups", json={**said, "id_no": number}) for number in (CITIZEN, "220599198001010021"))
    assert refused.status_code == absent.status_code == 403
    assert problem(refused) == problem(absent)


def test_channel_02_a_lookup_takes_number_and_name(server: Server, sqlite_city: City, office: Mapping[str, str]) -> None:
    """To a department a person's number under another name, and nobody's number, read alike; less than both whole is refused."""

    async def somebody(services: Any) -> str:
        held = await load(services.store.reads, dataset=DatasetId("administrative-penalties"))
        return next(str(raw["id_no"]) for raw in (each.raw.open() for each in held) if raw.get("id_no"))

    number = sqlite_city.run(somebody)

    def ask(number: str, name: str = "测试人甲", **case: str) -> Any:
        body = {"dataset": "administrative-penalties", "id_no": number, "name": name}
        return server.client.post("/v1/lookups", json=body, headers={**office, **(case or {"case-ref": "CASE-0002"})})

    known, nobody = ask(number), ask("220599198001010021")
    assert known.status_code == nobody.status_code == 200
    assert known.json() == nobody.json()
    assert known.json()["matches"] == []
    assert known.headers.keys() == nobody.headers.keys()
    for part in (number[:14], number[:6] + "*" * 12, number[:-1]):
        assert ask(part).json()["code"] == "invalid-parameter", part
    for name in ("测*", "测%", "测", ""):
        assert ask(number, name).json()["code"] == "invalid-parameter", name
    assert ask(number, accept="application/json").json()["code"] == "case-ref-missing"


@pytest.mark.parametrize("name", HIDDEN)
def test_channel_03_sort_by_a_masked_field(server: Server, name: str) -> None:
    """Sort keys are clear fields; a hidden one and one that never was read alike."""
    hidden, never = (server.get(f"/v1/records?{PENALTIES}&sort={each}") for each in (name, NEVER))
    assert hidden.status_code == never.status_code == 400
    assert problem(hidden, without=name) == problem(never, without=NEVER)


def test_channel_04_default_order(server: Server) -> None:
    """Without a sort the order is that of random ids: neither time nor alphabet."""
    items = records(server)
    assert [item["id"] for item in items] == sorted(item["id"] for item in items)
    for key in ("seq", "decision_date"):
        told = [item[key] for item in items]
        assert told != sorted(told)
        assert told != sorted(told, reverse=True)


def test_channel_05_facets_and_suggestions(server: Server, office: Mapping[str, str], person: dict[str, Any]) -> None:
    """Facets of hidden fields are unknown; suggestions name organisations only; no facet tells fewer than k persons."""
    assert server.get(f"/v1/records?{PENALTIES}&facet=id_no").status_code == 400
    for caller in ({}, office):
        told = server.get(f"/v1/suggest?q={person['subject']['name'][:1]}", **caller).text
        assert person["subject"]["name"] not in told
    facets = server.get(f"/v1/records?{PENALTIES}&facet=severity", **office)
    told = facets.json()["facets"]
    assert told["severity"]["values"]
    for facet in told.values():
        assert all(value["count"] is None or value["count"] >= 5 for value in facet["values"])


def test_channel_06_full_text_search(server: Server, sqlite_city: City, tmp_path: Path) -> None:
    """A name and a number that were redacted out of a text find nothing, though the raw text holds them; an answer has no scores."""
    city = copied(sqlite_city, tmp_path / "gateway")
    hidden = ("张雅婷", "13904350127", "0127")

    firm = server.get("/v1/subjects?kind=enterprise&limit=1").json()["items"][0]

    async def plant(services: Any) -> str:
        row = ROW.format(name=firm["name"], code=firm["uscc"], number=9100, authority=CENTRE)
        row = row.replace("未取得许可", f"联系人{hidden[0]}（电话{hidden[1]}）未取得许可")
        path = tmp_path / "planted.csv"
        path.write_text(HEADER + row, encoding="utf-8")
        receipt = await ingest(services, dataset="administrative-penalties", path=path, authority=CENTRE, officer="测", encoding="utf-8")
        assert receipt.accepted == 1, receipt
        await settle(services)
        held = await load(services.store.reads, dataset=DatasetId("administrative-penalties"))
        raw = [each for each in held if hidden[0] in str(each.raw.open().get("facts"))]
        assert [hidden[1] in str(each.raw.open()["facts"]) for each in raw] == [True], "it stands in the raw text"
        return str(raw[0].record_id)

    record = city.run(plant)
    with served(city) as server:
        headers = {"authorization": f"Bearer {city.token()}", "purpose": "dept.supervision"}
        for caller in ({}, headers):
            shown = server.get(f"/v1/records/{record}", **caller)
            assert caller or shown.status_code == 200, "the public sees the record itself; without a theme the department's grant does not"
            assert not [value for value in hidden[:2] if value in shown.text]
            found = server.get(f"/v1/subjects?q={firm['name']}", **caller).json()["items"]
            assert firm["uscc"] in [each["uscc"] for each in found], "the index knows whom the record is about"
            for value in hidden:
                for path in (f"/v1/records?{PENALTIES}&q={{}}", "/v1/subjects?q={}", "/v1/suggest?q={}"):
                    answer = server.get(path.format(value), **caller)
                    assert answer.json().get("items", []) == [], (path, value)
                    assert "score" not in answer.text
                    assert "highlight" not in answer.text


def test_channel_07_cursors(server: Server, office: Mapping[str, str]) -> None:
    """A cursor tells nothing, and is good for its own query and caller only."""
    url = server.get(f"/v1/records?{PENALTIES}&limit=5&sort=-decision_date").json()["next"]
    cursor = url.rpartition("cursor=")[2]
    assert "rec_" not in cursor
    assert not re.search(r"20[0-9]{2}-", cursor)
    for query, headers in ((f"{PENALTIES}&limit=5&sort=decision_date", {}), (f"{PENALTIES}&limit=5&sort=-decision_date", dict(office))):
        answer = server.get(f"/v1/records?{query}&cursor={cursor}", **headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad-cursor")


def test_channel_08_counts(server: Server, office: Mapping[str, str]) -> None:
    """The public's counts and `rows` are those of organisations, to the last; the department's are rounded, below k suppressed."""
    public = server.get(f"/v1/records?{PENALTIES}&count=exact&limit=100").json()["count"]
    rows = next(each["rows"] for each in server.get("/v1/datasets").json()["items"] if each["id"] == "administrative-penalties")
    seen = exported(server)
    whole = exported(server, **office)
    persons = sum(each["subject"]["kind"] == "person" for each in whole)
    assert persons > 0, "there are persons to be counted"
    assert not [each for each in seen if each["subject"]["kind"] == "person"]
    assert (public["kind"], public["value"]) == ("exact", len(seen))
    assert rows == len(seen) < len(whole)
    count = server.get(f"/v1/records?{PENALTIES}&count=exact", **office).json()["count"]
    assert count["kind"] == "rounded"
    assert count["value"] % 5 == 0
    assert abs(count["value"] - len(whole)) <= 5
    first = min(each["decision_date"] for each in whole)
    assert 0 < sum(each["decision_date"] <= first for each in whole) < 5
    told = server.get(f"/v1/records?{PENALTIES}&count=exact&decision_date__lte={first}", **office).json()["count"]
    assert (told["kind"], told["value"]) == ("suppressed", None)


def test_channel_09_aggregates(server: Server, office: Mapping[str, str]) -> None:
    """There is no aggregate to subtract, for nobody, and of two counts around a person both are rounded."""
    for name, caller in product(("group_by", "sum"), ({}, office)):
        assert server.get(f"/v1/records?{PENALTIES}&{name}=fine_amount", **caller).json()["code"] == "unknown-parameter"
    one = of_kind(records(server, **office), "person")["decision_date"]
    for how in ("gt", "gte"):
        told = server.get(f"/v1/records?{PENALTIES}&count=exact&decision_date__{how}={one}", **office).json()["count"]
        assert told["kind"] in ("rounded", "suppressed")
        assert told["value"] is None or told["value"] % 5 == 0


def test_channel_10_validators(server: Server, office: Mapping[str, str]) -> None:
    """A validator belongs to a plan: the department's and the public's of one record differ, and say nothing of a version."""
    item = of_kind(records(server), "enterprise")
    here, there = server.get(f"/v1/records/{item['id']}"), server.get(f"/v1/records/{item['id']}", **office)
    assert here.headers["etag"] != there.headers["etag"]
    assert "last-modified" not in here.headers
    assert "version" not in here.json()
    assert here.json()["seq"] != 0


def test_channel_11_conditional_requests(server: Server, office: Mapping[str, str]) -> None:
    """A validator of another view never gives 304 and reads like a guess in a 412; it is keyed, so nobody makes one without asking."""
    item = of_kind(records(server), "enterprise")
    for path in (f"/v1/records/{item['id']}", item["subject"]["uri"], f"/v1/records?{PENALTIES}", "/v1/lists/tax-violations"):
        answers = [server.get(path), server.get(path, **office)]
        tags = [answer.headers["etag"] for answer in answers]
        assert len(set(tags)) == 2
        for here, there, who in ((tags[0], tags[1], {}), (tags[1], tags[0], office)):
            assert server.get(path, if_none_match=f'"x", {here}', **who).status_code == 304
            assert server.get(path, if_none_match=f'"x", {there}', **who).status_code == 200
        plain = [made(answer.content).digest()[:12] for answer in answers for made in (sha256, partial(blake2b, digest_size=15))]
        assert not {urlsafe_b64decode(tag[3:-1])[:12] for tag in tags} & set(plain)
    one, other = (Validators(secret).tag("state", "plan", "query") for secret in (b"one", b"other"))
    assert one != other == Validators(b"other").tag("state", "plan", "query")
    file = server.get("/v1/lists/tax-violations/versions/latest.ndjson").headers["location"]
    file = server.get(file).headers.get("location", file)
    refused = [server.get(file, if_match=tag) for tag in (tags[0], tags[1], '"guess"', f'"{sha256(b"guess").hexdigest()}"')]
    assert [answer.status_code for answer in refused] == [412] * 4
    assert len({json.dumps(problem(answer)) for answer in refused}) == 1
    assert server.get(file, if_match=server.get(file).headers["etag"]).status_code == 200
    asked, receipt = server.get("/v1/lists").headers["etag"], {"url": "/v1/lists"}
    writes = [server.client.post("/v1/receipts", json=receipt, headers={"If-Match": tag}) for tag in (asked, tags[1], '"guess"', "", "*")]
    assert [answer.status_code for answer in writes] == [412] * 5
    assert len({json.dumps(problem(answer)) for answer in writes}) == 1


def test_channel_12_length_and_compression(server: Server, office: Mapping[str, str]) -> None:
    """Masks have one length; what a personal plan answers is never compressed."""
    numbers = {item["fields"]["id_no"] for item in records(server, **office) if item["fields"].get("id_no")}
    assert numbers
    assert {len(number) for number in numbers} == {10}
    assert "content-encoding" not in server.get(f"/v1/records?{PENALTIES}&limit=100", accept_encoding="gzip", **office).headers
    assert server.get(f"/v1/records?{PENALTIES}&limit=100", accept_encoding="gzip").headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("path", ["/v1/records?dataset={}", "/v1/subjects/{}", "/v1/records/{}", "/v1/validate/uscc/{}", "/v1/lists/{}"])
def test_channel_13_error_texts(server: Server, path: str) -> None:
    """No error repeats a citizen number that was sent, and none offers one."""
    answer = server.get(path.format(CITIZEN))
    assert CITIZEN not in answer.text
    assert CITIZEN[6:14] not in answer.text


def test_channel_14_absent_and_hidden(server: Server, person: dict[str, Any]) -> None:
    """A record that the public may not see and one that never was are the same 404: bytes and header fields."""
    hidden, absent = f"/v1/records/{person['id']}", "/v1/records/rec_" + "a" * 26
    assert problem(server.get(hidden)) == problem(server.get(absent))
    assert server.get(hidden).headers.keys() == server.get(absent).headers.keys()
    subject = f"/v1/subjects/{person['subject']['id']}"
    assert problem(server.get(subject)) == problem(server.get("/v1/subjects/sub_" + "a" * 26))


def test_channel_15_change_feed(server: Server, office: Mapping[str, str], person: dict[str, Any]) -> None:
    """The public's feed has no item of a record it may not see; its numbers have gaps only where a removal took an earlier item away."""
    items = server.get("/v1/changes?since=0&limit=1000").json()["items"]
    assert person["id"] not in {item.get("record") for item in items}
    removals = sum(item["op"] == "del" for item in items)
    assert items[-1]["seq"] - len(items) <= removals
    for item in items:
        if item["op"] == "del":
            assert set(item) <= {"seq", "op", "at", "dataset", "list", "record", "reason", "reason_label"}
            assert item["reason"] in ("expired", "corrected", "removed")


def test_channel_16_exports(server: Server, person: dict[str, Any]) -> None:
    """An export is the same plan as the page: same rows, fields and values in each format, no person; only Excel's cells are guarded."""
    page = {item["id"]: item for item in records(server)}
    answer = server.get(f"/v1/records.ndjson?{PENALTIES}&limit=all")
    lines = {line["id"]: line for line in map(json.loads, answer.text.splitlines())}
    assert answer.headers["policy-plan"] == server.get(f"/v1/records?{PENALTIES}").headers["policy-plan"]
    assert person["id"] not in lines
    assert page.keys() & lines.keys()
    held = {name for name, line in lines.items() if "held" in line["treatments"].values()}
    dictionary = server.get("/v1/datasets/administrative-penalties/dictionary").json()["fields"]
    withheld = {field["name"] for field in dictionary if "export" not in field["capabilities"]["public"]}
    for name in page.keys() & lines.keys() - held:
        shown, told = page[name]["fields"], lines[name]["fields"]
        assert shown.keys() - told.keys() <= withheld
        assert told == {field: shown[field] for field in told}
    plain, guarded = (server.get(f"/v1/records.csv?{PENALTIES}&limit=all{more}").content for more in ("", "&excel=1"))
    assert not plain.startswith(BOM)
    assert guarded.startswith(BOM)
    rows, safe = (list(csv.reader(io.StringIO(text.decode("utf-8-sig")))) for text in (plain, guarded))
    cells = list(openpyxl.load_workbook(io.BytesIO(server.get(f"/v1/records.xlsx?{PENALTIES}&limit=all").content))["data"].iter_rows())
    assert {row[0] for row in rows[1:]} == lines.keys() == {row[0] for row in safe[1:]} == {row[0].value for row in cells[1:]}
    for row, other in zip(rows, safe, strict=True):
        assert all(mine == cell if cell[:1] not in DANGEROUS else mine == f"'{cell}" for cell, mine in zip(row, other, strict=True))
    texts = [cell for row in cells for cell in row if isinstance(cell.value, str)]
    assert {cell.data_type for cell in texts} == {"s"}
    assert all(cell.quotePrefix for cell in texts if cell.value.startswith(DANGEROUS))


@pytest.fixture(scope="module")
def narrowed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a house gives of a list with two versions before a policy shows less of it, at once after it, and in the end."""

    async def told() -> dict[str, Any]:
        async with a_house(tmp_path_factory.mktemp("narrowed"), "") as first:
            made = await listed(first)
            found: dict[str, Any] = {"old": (await manifest(first))["version"], "stays": made["stays"]}
            async with at(first, SECOND) as services:
                await put(services, TAX, violation(code(5), "通化市示例乙有限公司", "通示税〔2026〕3号"))
                await settle(services)
                await settle_lists(services)
                found["before"] = await manifest(services)
                body, where = await fetched(services, f"{found['old']}.ndjson")
                assert b"case_nature" in body
                await change_policy(services, *NARROWER)
                found["at_once"] = [await refused(services, file) for file in (where, "latest.csv", f"{found['old']}.json")]
                export = await answer_query.records_page(services, PUBLIC, ask(dataset=TAX, limit="all"))
                found["export"] = json.loads(await whole(export))["items"]
                await settle(services)
                await settle_lists(services)
                found["after"], found["plan"] = await manifest(services), services.policies.current().plan_set(TAX, "public", "open.read")
                found["address"] = await refused(services, where)
                found["files"] = [(await fetched(services, f"latest.{each['format']}"))[0] for each in found["after"]["files"]]
                found["old_files"] = [(await fetched(services, f"{found['old']}.{kind}"))[0] for kind in ("ndjson", "csv", "xlsx")]
                found["delta"] = await change(services, found["old"], found["after"]["version"])
                found["feeds"] = [(await syndicate.list_feed(services, "tax-violations", kind, PUBLIC, ask())).body for kind in KINDS]
                subject = read(await answer_query.record(services, made["stays"], PUBLIC, "zh-CN"))["subject"]["id"]
                found["timeline"] = read(await read_timeline.read_timeline(services, subject, PUBLIC, ask()))["items"]
                return found

    return asyncio.run(told())


KINDS: tuple[Any, ...] = ("atom", "json")


async def refused(services: Any, file: str) -> str:
    """Why a file is not given."""
    with pytest.raises(RequestError) as caught:
        await fetched(services, file)
    return caught.value.code


def test_channel_16_files_are_cut_again(narrowed: dict[str, Any]) -> None:
    """A manifest names the plan of its rows; a narrower one holds at once for exports, and no file of before is given beside it."""
    assert narrowed["at_once"] == ["version-reissuing"] * 3
    assert narrowed["export"]
    assert all("case_nature" not in item["fields"] for item in narrowed["export"])
    assert narrowed["before"]["policy_plan"] != narrowed["after"]["policy_plan"] == narrowed["plan"].hash
    assert narrowed["address"] == "version-reissued"
    assert len(narrowed["files"]) == len(narrowed["after"]["files"]) > 4
    assert not [body for body in narrowed["files"] if b"case_nature" in body]


def test_channel_17_children(server: Server, office: Mapping[str, str], person: dict[str, Any]) -> None:
    """Records under a subject come through their own plan: a person's subject shows the public none of them."""
    assert server.get(f"/v1/subjects/{person['subject']['id']}/records").status_code == 404
    assert server.get(f"/v1/subjects/{person['subject']['id']}/records", **office).status_code == 200
    for name in ("include", "expand", "embed"):
        assert server.get(f"/v1/records?{PENALTIES}&{name}=subject").json()["code"] == "unknown-parameter"


def test_channel_18_no_other_way_back(server: Server) -> None:
    """No path or parameter gives an old state of a record, and attachments are none of ours to give."""
    item = of_kind(records(server), "enterprise")
    for path in (f"/v1/records/{item['id']}/versions", f"/v1/records/{item['id']}/history", f"/v1/records/{item['id']}/attachments"):
        assert server.get(path).status_code == 404
    for old in ("version=1", "as_of=2026-01-01T00:00:00Z", "policy_version=1", "seq=1"):
        assert server.get(f"/v1/records/{item['id']}?{old}").json()["code"] == "unknown-parameter"
    assert all("attachment" not in name for name in server.get(f"/v1/datasets/{item['dataset']}/dictionary").text.split('"'))


def test_channel_18_history(narrowed: dict[str, Any]) -> None:
    """What was told under a wider policy is told as the present one says: old versions, deltas, feeds and the timeline."""
    assert narrowed["after"]["version"] != narrowed["old"]
    for body in (*narrowed["old_files"], *narrowed["feeds"], narrowed["delta"].replace(b'"fields.case_nature"', b"")):
        assert b"case_nature" not in body
    assert narrowed["timeline"][-1]["record"] == narrowed["stays"]
    assert "case_nature" not in json.dumps(narrowed["timeline"])


def plans() -> list[Any]:
    """Every plan of the shipped policies."""
    found = check_policies(read_folder(shipped_policies()), version=1, today=date(2026, 6, 1))
    assert found.policies is not None
    return [plan for held in found.policies.plan_sets.values() for plan in held.plans.values()]


def test_channel_19_derived_fields(server: Server) -> None:
    """No plan shows a field that is made of a hidden one better than that one (S7)."""
    shipped = read_folder(shipped_policies())
    files = {name: text for name, text in shipped.items() if name == FILE or "/" not in name}
    lines = shipped["redlines.toml"].split(b"[[exceptions]]")
    files["redlines.toml"] = b"[[exceptions]]".join([lines[0], *(each for each in lines if b"administrative-penalties." in each)])
    twin = b'birth_year = { label = "birth", type = "int", class = "O", derived_from = ["id_no"] }\n'
    files[FILE] = files[FILE].replace(b"remark = {", twin + b"remark = {", 1)
    faults = check_policies(files, version=1, today=date(2026, 6, 1)).errors
    assert {(fault.code, fault.field) for fault in faults} >= {("policy-S7", "birth_year")}
    order = {"drop": 0, "exists": 1, "clear": 3}
    found = check_policies(read_folder(shipped_policies()), version=1, today=date(2026, 6, 1)).policies
    assert found is not None
    for plan in plans():
        for name, described in found.catalogue.datasets[plan.dataset].fields.items():
            for source in described.derived_from:
                here, there = plan.treatments.get(name, "clear"), plan.treatments.get(source, "clear")
                here = here if name in plan.schema["properties"] else "drop"
                there = there if source in plan.schema["properties"] else "drop"
                assert order.get(here, 2) <= order.get(there, 2), (plan.dataset, plan.tier, name)


def test_channel_20_windows_across_tiers(server: Server) -> None:
    """Over all plans of all tiers the shown windows of a field lie within each other (S5): nothing adds up."""
    windows: dict[tuple[str, str], set[tuple[int, int]]] = {}
    for plan in plans():
        for name, cell in plan.reasons.items():
            if type(cell.treatment).__name__ == "Keep":
                windows.setdefault((plan.dataset, name), set()).add((cell.treatment.first, cell.treatment.last))
    assert windows
    for field, found in windows.items():
        chain = sorted(found)
        assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(chain)), (field, chain)


def test_channel_21_union_of_purposes(server: Server, sqlite_city: City, office: Mapping[str, str]) -> None:
    """Two apps of one organisation, granted two purposes, see together of no value more than one of them alone."""

    async def other_app(services: Any) -> str:
        token = await issue_token(services, app="app-2", org=CENTRE, tier="department", purpose="dept.licensing", by="test")
        return str(token.token)

    other = {"authorization": f"Bearer {sqlite_city.run(other_app)}", "purpose": "dept.licensing"}
    one, two = ({each["id"]: each for each in records(server, **headers)} for headers in (office, other))
    parted = []
    for record in one.keys() & two.keys():
        for name in one[record]["fields"].keys() & two[record]["fields"].keys():
            a, b = (window(each[record]["fields"][name]) for each in (one, two))
            if a is not None and b is not None and a != b:
                parted.append(name)
                union = max(a[0], b[0]), max(a[1], b[1])
                assert union in (a, b), (name, a, b)
    assert "id_no" in parted, "the two see different parts of a number"


def test_channel_22_join_across_datasets(server: Server, office: Mapping[str, str]) -> None:
    """A household's decision number stands nowhere in the public's answers: it would lead to the operator (`link_key`)."""
    held = [item for item in exported(server, **office) if item["subject"]["kind"] == "household"]
    seen, shown = next(
        (item, answer)
        for item in held
        if (answer := server.get(f"/v1/records/{item['id']}")).status_code == 200 and item["document_number"]
    )
    under = server.get(f"/v1/subjects/{seen['subject']['uscc']}/records")
    assert seen["id"] in {item["id"] for item in under.json()["items"]}
    for answer in (shown, under):
        assert seen["document_number"] not in answer.text
        assert seen["subject"]["name"] not in answer.text
    for dataset in ("administrative-penalties", "administrative-licences"):
        assert not [item for item in records(server, f"dataset={dataset}") if item["subject"]["kind"] == "household"]
    household = ("administrative-penalties", "public", "individual_business")
    shown = [plan for plan in plans() if (plan.dataset, plan.tier, plan.kind) == household]
    assert shown
    assert all("document_number" not in plan.schema["properties"] for plan in shown)


def test_an_answer_adds_no_code_of_a_household_to_what_was_asked(server: Server, office: Mapping[str, str]) -> None:
    """Whoever asks by the whole code reads it again in the addresses of that page alone, never in a document or its links."""
    code = next(item["subject"]["uscc"] for item in exported(server, **office) if item["subject"]["kind"] == "household")
    document, under = server.get(f"/v1/subjects/{code}"), server.get(f"/v1/subjects/{code}/records")
    assert (document.status_code, under.status_code) == (200, 200)
    assert code not in document.text + document.headers["link"]
    assert code not in json.dumps({name: value for name, value in under.json().items() if name not in ("self", "next", "prev")})


async def test_channel_23_pseudonyms(tmp_path: Path) -> None:
    """Under policies that give a number a pseudonym: no part of the number stands beside it, and no two recipients have one name for it."""
    policies = tmp_path / "policies"
    shutil.copytree(shipped_policies(), policies)
    file = policies / "datasets" / f"{publishing.PENALTIES}.toml"
    text = file.read_text(encoding="utf-8")
    assert text.count(PARTIAL) == 1
    file.write_text(text.replace(PARTIAL, 'field.id_no = { treatment = "pseudonym" }'), encoding="utf-8")
    shutil.rmtree(policies / "tests")  # what they promise is the shipped text's
    settings = settings_of(write_settings(tmp_path / "gateway", policies=policies), CHENGXIN_NOW=NOW)
    await make(settings)
    async with open_services(settings) as services:
        number = publishing.person_number(7)
        row = publishing.person_penalty("测试甲某", number, "通市监罚〔2026〕1号")
        (record,) = publishing.ids(await publishing.put(services, publishing.PENALTIES, row))
        await settle(services)
        names = []
        for org in (publishing.MARKET, "11220500XXT0002281"):
            caller = publishing.department(publishing.granted(publishing.PENALTIES, org=org), org=org)
            answer = await answer_query.record(services, record, caller, "zh-CN")
            names.append(publishing.read(answer)["fields"]["id_no"])
            beside = (await publishing.whole(answer)).decode().replace(names[-1], "")
            assert not [part for part in map("".join, zip(*(number[at:] for at in range(6)), strict=False)) if part in beside]
        assert len({None, *names}) == 3


def test_channel_24_shared_caches(server: Server, office: Mapping[str, str]) -> None:
    """Personal plans are kept nowhere; every answer varies by credential and names its plan."""
    for path in (f"/v1/records?{PENALTIES}", "/v1/changes?since=0", "/v1/datasets"):
        public, bound = server.get(path), server.get(path, **office)
        assert "public" in public.headers["cache-control"]
        assert bound.headers["cache-control"] in ("no-store", "private, max-age=0, must-revalidate")
        assert "Authorization" in public.headers["vary"]
        assert public.headers["policy-plan"] != bound.headers["policy-plan"]
        assert public.headers["etag"] != bound.headers.get("etag")


def test_channel_25_schemas(server: Server) -> None:
    """No document that the public gets names a field that it may not know of."""
    documents = ["/openapi.json", "/openapi.yaml", "/v1/datasets", "/v1/lists"]
    datasets = [each["id"] for each in server.get("/v1/datasets").json()["items"]]
    documents += [f"/v1/datasets/{each}/{what}" for each in datasets for what in ("dictionary", "schema")]
    for path in documents:
        told = server.get(path).text
        assert not [name for name in ("id_no", "legal_representative", "remark") if f'"{name}"' in told], path
    header = server.get(f"/v1/records.csv?{PENALTIES}&limit=1").text.splitlines()[0]
    assert "id_no" not in header
    assert "remark" not in header


def test_channel_26_write_paths(sqlite_city: City, tmp_path: Path) -> None:
    """At the only door that takes an identity, known and unknown apps are told alike: status, body, header fields, statements.

    Failures are counted by network and lock nobody's app.
    """
    city = copied(sqlite_city, tmp_path / "gateway")
    key, stranger = Key("ES256", seed=26), Key("ES256", seed=27)
    at = datetime.fromisoformat(NOW)
    known: str = city.run(lambda services: register(services, key))
    unknown = known[:-6] + ("aaaaaa" if known[-6:] != "aaaaaa" else "bbbbbb")

    def forms() -> dict[str, str]:
        header, claims = assertion_parts(known, key, ORIGIN, at)
        return {
            "known app, wrong key": assertion(known, stranger, ORIGIN, at),
            "known app and key id, wrong signature": stranger.sign(header, claims),
            "unknown app": assertion(unknown, stranger, ORIGIN, at),
            "unknown app, a key id that is known": stranger.sign(header, claims | {"iss": unknown, "sub": unknown}),
        }

    settings = settings_of(city.settings_file, CHENGXIN_NOW=NOW, CHENGXIN_QUOTA_FACTOR="1", CHENGXIN_TRUSTED_PROXIES="1")
    server = Server(cast("FrontDoor", create_app(settings))).start()
    try:
        program = Program(client=server.client, app=known, key=key, now=at)
        assert program.ask_token().status_code == 200, "the known app is let in with its own key"
        answers = {name: program.ask_token(client_assertion=text) for name, text in forms().items()}
        for path in ("/v1/objections", "/v1/me/records", "/v1/sessions", "/login", "/v1/me/bind"):
            assert server.client.post(path, json={}).status_code == 404, "no other door takes an identity"
        wrong = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, "client_assertion": "a.b.c"}
        tried = [server.client.post("/oauth/token", data=wrong).status_code for _ in range(70)]
        assert (tried[0], tried[-1], program.ask_token().status_code) == (400, 429, 429), "a network has sixty failures a minute"
        server.client.headers["X-Forwarded-For"] = "198.51.100.7"
        assert program.ask_token().status_code == 200, "they were nobody's but its own"
    finally:
        server.stop()
    told = {(answer.status_code, answer.text, tuple(sorted(answer.headers.keys() - {"dpop-nonce"}))) for answer in answers.values()}
    assert len(told) == 1, answers
    assert next(iter(told))[:2] == (400, '{"error":"invalid_client"}')

    async def statements(services: Any) -> dict[str, int]:
        counted = {}
        for name, text in forms().items():
            services.store._reads = counting = Counting(services.store.reads)
            form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, "client_assertion": text}
            with pytest.raises(AssertionRefused):
                await believe(services, Posted(path="/oauth/token", form=form, authorization=False), bound=False)
            services.store._reads, counted[name] = counting.inner, counting.asked
        return counted

    counted = city.run(statements)
    assert len(set(counted.values())) == 1, counted
    assert all(counted.values())


class Counting:
    """Reads that are counted."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        self.asked += name in ("all", "one", "slow")
        return getattr(self.inner, name)


def test_channel_27_administrators_see_no_values(server: Server, office: Mapping[str, str], sqlite_city: City) -> None:
    """Previewing a policy shows a synthetic twin: not one value of a real record stands in it."""
    from gateway.operations.preview_policy import preview

    async def told(services: Any) -> str:
        policies = services.policies.current()
        return repr(preview(policies, tier="department", dataset="administrative-penalties", purpose=None, at=date(2026, 6, 1)))

    text = sqlite_city.run(told)
    items = records(server, **office)
    for item in items:
        for value in (item["subject"]["name"], item["subject"]["uscc"], item["document_number"], item["fields"].get("facts")):
            assert value is None or value not in text
    assert len(items) > 20


def test_channel_28_telemetry(server: Server, capsys: pytest.CaptureFixture[str], office: Mapping[str, str]) -> None:
    """Neither logs nor labels hold what was asked: route templates and ids only."""
    server.get(f"/v1/subjects/{CITIZEN}")
    server.get(f"/v1/records?{PENALTIES}&{NEVER}={CITIZEN}", **office)
    told = capsys.readouterr()
    assert CITIZEN not in told.out + told.err
    labels = [value for family in server.app._meter.collect() for sample in family.samples for value in sample.labels.values()]
    assert CITIZEN not in "".join(labels)
    assert not [label for label in labels if "?" in label or "rec_" in label or "9122" in label]


def test_channel_29_rate_headers(sqlite_city: City, office: Mapping[str, str]) -> None:
    """What is left of a caller's quota is moved by its own requests alone, whatever others ask about the same subject."""
    door = create_app(settings_of(sqlite_city.settings_file, CHENGXIN_QUOTA_FACTOR="1", CHENGXIN_NOW=NOW, CHENGXIN_EXCHANGE_POLL_S="0"))
    assert isinstance(door, FrontDoor)
    server = Server(door).start()
    try:
        code = of_kind(records(server), "enterprise")["subject"]["uscc"]

        def left(**headers: str) -> int:
            said = server.get(f"/v1/subjects/{code}", **headers).headers
            assert code not in said["ratelimit"]
            return int(re.search(r'"day";r=(\d+);', said["ratelimit"])[1])  # type: ignore[index]  # the field is always there

        mine, theirs = left(**office), left()
        for _ in range(20):
            server.get(f"/v1/subjects/{code}")
        assert theirs - left() >= 20, "who asks pays"
        assert 0 <= mine - left(**office) <= 1, "and nobody else"
        for _ in range(5):
            left(**office)
        assert 5 <= mine - left(**office) <= 8
    finally:
        server.stop()


def test_channel_30_absent_null_and_empty(server: Server, office: Mapping[str, str]) -> None:
    """A dropped field is absent in every record, whatever its value; what is shown is there, null or not."""
    items = [item for item in records(server) if item["subject"]["kind"] == "enterprise"]
    assert not {name for item in items for name in item["fields"]} & set(HIDDEN)
    shapes = {frozenset(item["fields"]) - {"facts", "content", "violation_type", "legal_basis"} for item in items}
    assert len(shapes) == 1, "which fields are there does not depend on their values"
    assert "" not in {value for item in items for value in item["fields"].values()}


def test_what_the_rows_rest_on_is_classified() -> None:
    """The shipped policies show the public no personal cell but by an exception of redlines.toml."""
    for plan in plans():
        if plan.tier == "public":
            for name, cell in plan.reasons.items():
                shown = type(cell.treatment).__name__
                if cell.class_ in PERSONAL_CLASSES and shown not in ("Drop", "Surname", "Generalise", "Exists"):
                    assert name == "uscc", (plan.dataset, name, shown)
