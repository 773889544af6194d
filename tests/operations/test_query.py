"""Queries as callers ask them: pages, filters, orders, formats, search, households, and the one 404."""

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core.callers.caller import PUBLIC
from gateway.core.errors import InvalidParameter, NotFound, UnknownParameter, UsccInvalid
from gateway.core.publication.forms import forms_of
from gateway.operations import answer_query, read_feed
from gateway.operations.answer_query import (
    find_subjects,
    listings,
    lists,
    one_list,
    record,
    records_page,
    subject_document,
    subject_records,
)
from gateway.operations.render_public import settle
from gateway.operations.withdraw import withdraw
from gateway.services import Services
from gateway.store import feed
from tests.operations.publishing import (
    DEPARTMENT,
    PENALTIES,
    REGISTRATIONS,
    a_town,
    ask,
    code,
    firm,
    household_code,
    ids,
    penalty,
    put,
    read,
    walked,
    whole,
)


@pytest.fixture
async def town(tmp_path: Path, store_url: str) -> AsyncIterator[Services]:
    """A small rendered town, on SQLite and on PostgreSQL."""
    async with a_town(tmp_path, store_url) as (services, _):
        yield services


async def found(services: Services, q: str, **params: str) -> list[str]:
    """Names that a search finds, best first."""
    return [item["name"] for item in read(await find_subjects(services, PUBLIC, ask(q=q, **params)))["items"]]


async def many(services: Services, count: int = 23) -> None:
    """More penalties than one page holds, on a few days."""
    rows = [
        penalty(code(1), "通化市示例药业有限公司", f"通示罚〔2025〕{n:03d}号", day=f"2026-0{1 + n % 4}-1{n % 5}", fine=f"{n % 7}.5")
        for n in range(count)
    ]
    ids(await put(services, PENALTIES, *rows))
    await settle(services)


# --- codes and the one 404 ---------------------------------------------------------------------------------------------


async def test_a_code_is_folded_and_answered_with_its_canonical_address(town: Services) -> None:
    """Lower case and full width lead to the same subject."""
    plain = await subject_document(town, code(1), PUBLIC, "zh-CN")
    folded = await subject_document(town, code(1).lower(), PUBLIC, "zh-CN")
    assert folded.body == plain.body
    assert ("canonical", f"http://127.0.0.1:8000/v1/subjects/{code(1)}") in folded.links


async def test_a_wrong_code_is_told_with_suggestions(town: Services) -> None:
    """The failed check is named, and a public organisation among the suggestions is marked as known."""
    wrong = code(1)[:17] + ("0" if code(1)[17] != "0" else "1")
    with pytest.raises(UsccInvalid) as caught:
        await subject_document(town, wrong, PUBLIC, "zh-CN")
    assert [error.code for error in caught.value.errors] == ["check_digit"]
    assert {"code": code(1), "known": True} in [{"code": each["code"], "known": each["known"]} for each in caught.value.suggestions]
    assert wrong not in str(caught.value)


async def test_absent_and_hidden_are_one_404(town: Services) -> None:
    """A valid code of nobody, an id that never was and a hidden record read alike."""
    for text in (code(99), "sub_aaaaaaaaaaaaaaaaaaaaaaaaaa"):
        with pytest.raises(NotFound) as caught:
            await subject_document(town, text, PUBLIC, "zh-CN")
        assert str(caught.value) == str(NotFound())
    with pytest.raises(NotFound):
        await record(town, "rec_aaaaaaaaaaaaaaaaaaaaaaaaaa", PUBLIC, "zh-CN")
    with pytest.raises(NotFound):
        await subject_records(town, code(99), PUBLIC, ask())
    with pytest.raises(NotFound):
        await one_list(town, "no-such-list", PUBLIC, "zh-CN")


# --- pages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("caller", [PUBLIC, DEPARTMENT])
@pytest.mark.parametrize("sort", ["", "decision_date", "-decision_date", "-decision_date,region"])
async def test_a_walk_has_every_row_once(town: Services, caller: Any, sort: str) -> None:
    """Pages of three give exactly the rows of one page, in the same order, forwards and backwards."""
    await many(town)
    params = {"dataset": PENALTIES, **({"sort": sort} if sort else {})}
    whole_page = read(await records_page(town, caller, ask(limit="100", **params)))["items"]
    rows = await walked(records_page, town, caller=caller, limit="3", **params)
    assert [row["id"] for row in rows] == [row["id"] for row in whole_page]
    assert len({row["id"] for row in rows}) == len(rows) >= 24
    if sort.startswith("-decision_date"):
        assert [row["decision_date"] for row in rows] == sorted((row["decision_date"] for row in rows), reverse=True)
    pages = [read(await records_page(town, caller, ask(limit="10", **params)))]
    while pages[-1]["next"]:
        pages.append(read(await records_page(town, caller, ask(limit="10", cursor=pages[-1]["next"], **params))))
    back = read(await records_page(town, caller, ask(limit="10", cursor=pages[-1]["prev"], **params)))
    assert [row["id"] for row in back["items"]] == [row["id"] for row in pages[-2]["items"]]
    assert pages[0]["prev"] is None


async def test_rows_that_came_later_stay_out_of_a_walk(town: Services) -> None:
    """A walk shows one state; what is accepted meanwhile is for the next one."""
    await many(town, 10)
    first = read(await records_page(town, PUBLIC, ask(limit="4", dataset=PENALTIES)))
    await put(town, PENALTIES, *(penalty(code(2), "通化市澄泉商贸有限公司", f"通示罚〔2024〕{n}号") for n in range(6)))
    await settle(town)
    seen, page = [row["id"] for row in first["items"]], first
    while page["next"]:
        page = read(await records_page(town, PUBLIC, ask(limit="4", cursor=page["next"], dataset=PENALTIES)))
        seen += [row["id"] for row in page["items"]]
        assert page["dataset_version"] == first["dataset_version"]
    assert len(seen) == 11
    assert len(await walked(records_page, town, limit="4", dataset=PENALTIES)) == 17


async def test_equal_state_gives_equal_bytes(town: Services) -> None:
    """The body has no clock, and an ETag is of its bytes."""
    one, two = [await records_page(town, PUBLIC, ask(limit="2")) for _ in range(2)]
    assert (one.body, one.etag) == (two.body, two.etag)
    assert (await records_page(town, PUBLIC, ask(limit="3"))).etag != one.etag


# --- filters -----------------------------------------------------------------------------------------------------------


async def test_filters_of_the_envelope(town: Services) -> None:
    """Kind, dataset, region with its districts, and dates."""
    kinds = {row["kind"] for row in await walked(records_page, town, kind="penalty,blacklist")}
    assert kinds == {"penalty", "blacklist"}
    everything = await walked(records_page, town)
    assert await walked(records_page, town, region="220500") == everything
    assert await walked(records_page, town, region="220600") == []
    assert [row["decision_date"] for row in await walked(records_page, town, decision_date__gte="2026-03-01")] == ["2026-03-02"]
    assert len(await walked(records_page, town, decision_date__isnull="true")) == 3


@pytest.mark.parametrize("caller", [PUBLIC, DEPARTMENT])
async def test_fields_of_a_dataset_filter_with_that_dataset_only(town: Services, caller: Any) -> None:
    """A field is named only beside its one dataset; decimals compare as numbers."""
    await many(town)
    rows = await walked(records_page, town, caller=caller, dataset=PENALTIES, fine_amount__gte="5")
    assert rows
    assert all(float(row["fields"]["fine_amount"]) >= 5 for row in rows)
    with pytest.raises(UnknownParameter):
        await records_page(town, caller, ask(fine_amount__gte="5"))
    ordered = await walked(records_page, town, caller=caller, dataset=PENALTIES, sort="-fine_amount", limit="5")
    amounts = [float(row["fields"]["fine_amount"]) for row in ordered]
    assert amounts == sorted(amounts, reverse=True)
    assert len({row["id"] for row in ordered}) == len(ordered) >= 24


@pytest.mark.parametrize("caller", [PUBLIC, DEPARTMENT])
async def test_whole_values_of_fields_filter(town: Services, caller: Any) -> None:
    """Texts, days and codes by their whole value, several at once, on pages and in exports alike."""
    for params, expected in (
        ({"dataset": REGISTRATIONS, "status": "active"}, 3),
        ({"dataset": REGISTRATIONS, "status": "cancelled,revoked"}, 0),
        ({"dataset": REGISTRATIONS, "established_on": "2016-05-11"}, 3),
        ({"dataset": PENALTIES, "penalty_type": "fine,warning"}, 1),
        ({"dataset": PENALTIES, "theme__isnull": "true"}, 1),
    ):
        rows = await walked(records_page, town, caller=caller, **params)
        organisations = [row for row in rows if row["subject"]["kind"] not in ("household", "person")]
        assert len(organisations) == expected, params
        lines = (await whole(await records_page(town, caller, ask(format_="ndjson", limit="all", **params)))).splitlines()
        assert [json.loads(line)["id"] for line in lines] == [row["id"] for row in rows]
        text = (await whole(await records_page(town, caller, ask(format_="csv", limit="all", **params)))).decode()
        assert [row["id"] for row in csv.DictReader(io.StringIO(text, newline=""))] == [row["id"] for row in rows]


async def test_a_hidden_field_reads_as_one_that_never_was(town: Services) -> None:
    """Filter, order and choice by a hidden field are refused like a name out of the air."""
    for name in ("legal_representative", "id_no", "no_such_field"):
        for params in ({name: "x"}, {"sort": name}, {"fields": f"fields.{name}"}):
            with pytest.raises(UnknownParameter):
                await records_page(town, PUBLIC, ask(dataset=PENALTIES, **params))


async def test_a_stale_row_that_fits_no_more_is_left_out(town: Services) -> None:
    """A row whose record changed after it was rendered is decided on what it says now."""
    before = [row["id"] for row in await walked(records_page, town, dataset=PENALTIES, decision_date="2026-03-02")]
    assert len(before) == 1
    outcome = (await put(town, PENALTIES, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕1号", day="2026-03-03")))[0]
    assert outcome.record_id == before[0]
    assert await walked(records_page, town, dataset=PENALTIES, decision_date="2026-03-02") == []


# --- formats -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("caller", [PUBLIC, DEPARTMENT])
async def test_every_format_has_the_same_rows(town: Services, caller: Any) -> None:
    """JSON, NDJSON and CSV of one question hold the same rows in the same order, on a page and in an export."""
    await many(town)
    for limit in ("100", "all"):
        params = {"dataset": PENALTIES, "limit": limit}
        document = json.loads(await whole(await records_page(town, caller, ask(**params))))
        lines = (await whole(await records_page(town, caller, ask(format_="ndjson", **params)))).splitlines()
        assert [json.loads(line) for line in lines] == document["items"]
        text = (await whole(await records_page(town, caller, ask(format_="csv", **params)))).decode()
        assert "\r\n" in text
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        assert [row["id"] for row in rows] == [item["id"] for item in document["items"]]
        flat = json.loads(await whole(await records_page(town, caller, ask(shape="flat", **params))))["items"]
        assert [{key: "" if value is None else str(value) for key, value in row.items()} for row in flat] == [dict(row) for row in rows]


async def test_an_export_is_the_whole_walk(town: Services) -> None:
    """`limit=all` gives what a walk gives, and the trailer counts it."""
    await many(town)
    lines = (await whole(await records_page(town, PUBLIC, ask(format_="ndjson", limit="all", trailer="1")))).splitlines()
    rows, end = [json.loads(line) for line in lines[:-1]], json.loads(lines[-1])
    assert [row["id"] for row in rows] == [row["id"] for row in await walked(records_page, town)]
    assert end["_end"]["rows"] == len(rows)


@pytest.mark.parametrize(("name", "spelt"), [("trailer", "json"), ("trailer", "csv"), ("excel", "json"), ("excel", "ndjson")])
async def test_what_a_format_does_not_have_is_refused(town: Services, name: str, spelt: Any) -> None:
    """A last line is of NDJSON, Excel's spelling of CSV: of others they would be passed over in silence."""
    more: dict[str, Any] = {"excel": True} if name == "excel" else {"trailer": "1"}
    for story in (answer_query.records_page, find_subjects):
        with pytest.raises(InvalidParameter) as refused:
            await story(town, PUBLIC, ask(limit="1", format_=spelt, **more))
        assert refused.value.errors[0].parameter == name


async def test_excel_cells_are_guarded(town: Services) -> None:
    """What a spreadsheet would run gets an apostrophe, and the file a BOM; the plain file is lossless."""
    await put(town, REGISTRATIONS, firm(11, "通化市示例十一有限公司", 经营范围="=HYPERLINK(1)"))
    await settle(town)
    plain = await whole(await records_page(town, PUBLIC, ask(format_="csv", limit="all", dataset=REGISTRATIONS)))
    guarded = await whole(await records_page(town, PUBLIC, ask(format_="csv", limit="all", dataset=REGISTRATIONS, excel=True)))
    assert b",=HYPERLINK(1)," in plain
    assert guarded.startswith(b"\xef\xbb\xbf")
    assert b",'=HYPERLINK(1)," in guarded


async def test_a_sparse_answer_keeps_id_and_marks(town: Services) -> None:
    """`fields` narrows, but never away from marks."""
    item = read(await records_page(town, PUBLIC, ask(fields="subject.name,decision_date", dataset=PENALTIES)))["items"][0]
    assert list(item) == ["id", "subject", "decision_date", "marks"]
    assert list(item["subject"]) == ["name"]


async def test_english_changes_labels_only(town: Services) -> None:
    """Codes stay; their labels speak the answer's language."""
    chinese = read(await subject_document(town, code(1), PUBLIC, "zh-CN"))
    english = read(await subject_document(town, code(1), PUBLIC, "en"))
    assert (english["kind"], english["kind_label"], english["status_label"]) == ("enterprise", "Enterprise", "Active")
    assert english["region_label"] == "Dongchang District"
    assert {key for key in chinese if chinese[key] != english[key]} == {"kind_label", "status_label", "region_label", "notice"}


# --- search ------------------------------------------------------------------------------------------------------------


async def test_names_are_found_whole_in_part_and_by_one_or_two_characters(town: Services) -> None:
    """Suffix and region may be dropped; two characters suffice, and one finds the beginning of a brand."""
    name = "通化市示例药业有限公司"
    for q in (name, "示例药业", "示例", "通化市示例藥業", "示", "例药", "shili", "slyy", "shiliyaoye"):
        assert name in await found(town, q), q
    assert await found(town, "宝药材") == [], "宝药 and 药材 apart from each other is no hit"
    assert await found(town, "宝药") == ["吉林省宝药药材有限公司"]
    assert (await found(town, "通化"))[:1] != []


async def test_what_is_typed_wrong_is_found_where_nothing_else_is(town: Services) -> None:
    """A homophone, swapped characters, a look-alike, a region written shorter; not beside what is found as typed."""
    for q in ("视力药业", "通化市试例药业有限公司", "例示药业", "示例要业", "示列药业", "通化示例药业"):
        assert (await found(town, q))[:1] == ["通化市示例药业有限公司"], q
    assert await found(town, "澄泉商贸") == ["通化市澄泉商贸有限公司"]


async def test_a_former_name_finds_its_subject(town: Services) -> None:
    """The item says what matched and where."""
    item = read(await find_subjects(town, PUBLIC, ask(q="通化县示例制药厂")))["items"][0]
    assert (item["name"], item["matched_on"]) == ("通化市示例药业有限公司", "former_name")
    item = read(await find_subjects(town, PUBLIC, ask(q="示例")))["items"][0]
    assert item["highlight"] == [[3, 5]]


async def test_nothing_found_says_so(town: Services) -> None:
    """With names of public organisations that may have been meant."""
    answer = read(await find_subjects(town, PUBLIC, ask(q="示例药")))
    assert [item["name"] for item in answer["items"]] == ["通化市示例药业有限公司"]
    answer = read(await find_subjects(town, PUBLIC, ask(q="无此企业")))
    assert answer["items"] == []
    assert answer["notice"]["code"] == "no-results"


async def test_a_search_pages_without_gap(town: Services) -> None:
    """Relevance is an order like any other: pages of two give every hit once."""
    await put(town, REGISTRATIONS, *(firm(20 + n, f"通化市示例{mark}商贸有限公司") for n, mark in enumerate("甲乙丙丁戊")))
    await settle(town)
    rows = await walked(find_subjects, town, q="示例", limit="2")
    assert len({row["id"] for row in rows}) == len(rows) == 6
    assert [row["id"] for row in rows] == [
        row["id"] for row in read(await find_subjects(town, PUBLIC, ask(q="示例", limit="100")))["items"]
    ]


PLACES = ("通化市澄泉{}商贸有限公司", "通化市{}澄泉药业有限公司", "吉林省{}新澄泉建材集团有限公司", "通化县澄泉{}合作社", "澄泉{}")
"""A text at the beginning of a brand, within it, behind another, with another form, and bare."""


async def springs(services: Services) -> dict[str, str]:
    """Thirty firms that one text finds, each at one of these places; name by id of its registration."""
    names = [PLACES[n % len(PLACES)].format(mark) for n, mark in enumerate("甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉戌亥天地玄黄宇宙洪荒")]
    made = ids(await put(services, REGISTRATIONS, *(firm(100 + n, name) for n, name in enumerate(names))))
    await settle(services)
    return dict(zip(made, names, strict=True))


@pytest.mark.parametrize("q", ["澄泉", "澄", "有限", "通化"])
async def test_the_pages_after_a_quick_first_one_go_on_where_it_ended(town: Services, q: str) -> None:
    """The first page is found without looking at all hits, the next with: together every hit once, in one order, back and forth."""
    names = list((await springs(town)).values())
    whole_page = await found(town, q, limit="100")
    if q == "澄泉":
        assert set(names) <= set(whole_page)
    assert len(whole_page) == len(set(whole_page)) > 10, whole_page
    for limit in ("1", "7"):
        pages, cursor = [], {}
        while True:
            page = read(await find_subjects(town, PUBLIC, ask(q=q, limit=limit, **cursor)))
            pages.append([item["name"] for item in page["items"]])
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
        assert [name for each in pages for name in each] == whole_page
        back = pages[-1:]
        while page["prev"] is not None:
            page = read(await find_subjects(town, PUBLIC, ask(q=q, limit=limit, cursor=page["prev"])))
            back.append([item["name"] for item in page["items"]])
        assert back == pages[::-1]


@pytest.mark.parametrize("place", [0, 6, 7, 15, -1], ids=["first", "edge", "next", "later", "last"])
async def test_a_hit_that_leaves_between_two_pages_takes_no_other_with_it(town: Services, place: int) -> None:
    """Whether the last of the page that was read, the first of the next or one further on: every other hit comes, and comes once."""
    made = await springs(town)
    before = await found(town, "澄泉", limit="100")
    page = read(await find_subjects(town, PUBLIC, ask(q="澄泉", limit="7")))
    came = [item["name"] for item in page["items"]]
    assert came == before[:7]
    leaves = [name for name in before if name in made.values()][place]
    await withdraw(town, next(record for record, name in made.items() if name == leaves), reason="revoked", actor="test")
    settled = False
    while page["next"] is not None:
        page = read(await find_subjects(town, PUBLIC, ask(q="澄泉", limit="7", cursor=page["next"])))
        came += [item["name"] for item in page["items"]]
        if not settled:  # once out of the records alone, then out of the index of names too
            await settle(town)
            settled = True
    assert came == [name for name in before if name != leaves or name in before[:7]]


async def test_no_search_operator_can_be_typed(town: Services) -> None:
    """Quotes, stars and words of the engines are text."""
    for q in ('示例" OR "a', "示例*", "示例 AND NOT 药业", "name_norm:示例", "NEAR(示例)", '"', "{示例}", "(示例"):
        if q == '"':
            with pytest.raises(InvalidParameter):
                await find_subjects(town, PUBLIC, ask(q=q))
        else:
            await find_subjects(town, PUBLIC, ask(q=q))


async def test_a_household_is_found_whole_or_not_at_all(town: Services) -> None:
    """By exact name or exact code exactly one masked row, not highlighted; by anything less, nothing."""
    for q in ("东昌区甲某某小吃店", household_code(7)):
        items = read(await find_subjects(town, PUBLIC, ask(q=q)))["items"]
        assert [item["name"] for item in items] == ["东昌区****个体工商户"]
        assert "highlight" not in items[0]
    for q in ("甲某某小吃店", "小吃店", "甲某某", "东昌区甲某某"):
        assert await found(town, q) == [], q
    assert all(item["kind"] != "household" for item in await walked(find_subjects, town))


async def test_a_citizen_number_finds_nothing(town: Services) -> None:
    """It is neither looked up nor suggested upon."""
    answer = read(await find_subjects(town, PUBLIC, ask(q="220599199001010010")))
    assert answer["items"] == []
    assert answer["notice"]["suggestions"] == []


async def test_subjects_are_walked_and_filtered(town: Services) -> None:
    """Organisations only, in order of id, with filters, counts and facets on what is shown."""
    rows = await walked(find_subjects, town, limit="2")
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert len(rows) == 3
    assert [row["name"] for row in await walked(find_subjects, town, list="tax-violations")] == ["通化市澄泉商贸有限公司"]
    answer = read(await find_subjects(town, PUBLIC, ask(region="220500", count="exact", facet="kind,region")))
    assert answer["count"] == {"value": 3, "kind": "exact"}
    assert answer["facets"]["kind"]["values"] == [{"value": "enterprise", "label": "企业", "count": 3}]
    text = (await whole(await find_subjects(town, PUBLIC, ask(format_="csv", limit="all")))).decode()
    assert [row["name"] for row in csv.DictReader(io.StringIO(text, newline=""))] == [row["name"] for row in rows]


# --- lists and the feed ------------------------------------------------------------------------------------------------


async def test_a_page_of_subjects_made_at_this_moment_takes_few_statements(town: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound caller's page asks for some subjects at a time, not for each by itself, and shows each as its own address does."""
    await springs(town)
    asked = 0
    whole = type(town.store.reads).all

    async def counted(*arguments: Any) -> Any:
        nonlocal asked
        asked += 1
        return await whole(*arguments)

    monkeypatch.setattr(type(town.store.reads), "all", counted)
    items = read(await find_subjects(town, DEPARTMENT, ask(limit="100")))["items"]
    assert len(items) > 30
    assert asked < len(items)
    for item in items[::7]:
        alone = read(await subject_document(town, item["id"], DEPARTMENT, "zh-CN"))
        assert {name: value for name, value in alone.items() if name != "notice"} == item


async def test_a_list_says_what_it_is_and_who_stands_on_it(town: Services) -> None:
    """The listing is the record and what the list adds; nothing stands twice."""
    documents = read(await lists(town, PUBLIC, "zh-CN"))["items"]
    assert {each["id"]: each["polarity"] for each in documents} == {
        "abnormal-operations": "black",
        "honours": "red",
        "serious-market-violations": "black",
        "tax-violations": "black",
        "wage-arrears": "black",
    }
    one = read(await one_list(town, "tax-violations", PUBLIC, "zh-CN"))
    items = read(await listings(town, "tax-violations", PUBLIC, ask()))["items"]
    assert one["rows"] == len(items) == 1
    assert (items[0]["list"], items[0]["listed_on"]) == ("tax-violations", "2026-02-10")
    assert "listed_on" not in items[0]["fields"]
    assert items[0]["listing_basis"]


async def test_an_unsigned_burden_lists_nobody(town: Services) -> None:
    """A vouched statement neither lists nor is shown to the public."""
    from tests.operations.publishing import TAX, violation

    (record_id,) = ids(await put(town, TAX, violation(code(3), "吉林省宝药药材有限公司", "通示税〔2026〕2号"), signed=False))
    await settle(town)
    assert len(read(await listings(town, "tax-violations", PUBLIC, ask()))["items"]) == 1
    with pytest.raises(NotFound):
        await record(town, record_id, PUBLIC, "zh-CN")


async def test_the_feed_filters_and_ends(town: Services) -> None:
    """Filters keep what matches, a position beyond the head is refused, and `limit` says whether more follows."""
    listed = read(await read_feed.changes(town, PUBLIC, ask(since="0", list="tax-violations")))
    assert [item["op"] for item in listed["items"]] == ["policy", "add"]
    first = read(await read_feed.changes(town, PUBLIC, ask(since="0", limit="2")))
    assert first["more"] is True
    rest = read(await read_feed.changes(town, PUBLIC, ask(since=str(first["next_since"]))))
    assert rest["more"] is False
    assert rest["items"][0]["seq"] == first["next_since"] + 1
    with pytest.raises(InvalidParameter):
        await read_feed.changes(town, PUBLIC, ask(since=str(rest["next_since"] + 1)))
    with pytest.raises(UnknownParameter):
        await read_feed.changes(town, PUBLIC, ask(since="0", subject=code(1)))
    waited = await read_feed.changes(town, PUBLIC, ask(since=str(rest["next_since"]), wait="1"))
    assert read(waited)["items"] == []
    assert waited.no_store


@pytest.mark.parametrize("named", ["region,region", "region,", ""])
async def test_what_is_counted_or_followed_is_named_once(town: Services, named: str) -> None:
    """A list in a parameter holds nothing twice and nothing empty, facets and filters of the feed like any other."""
    for asking in (find_subjects(town, PUBLIC, ask(facet=named)), read_feed.changes(town, PUBLIC, ask(since="0", kind=named))):
        with pytest.raises(InvalidParameter) as refused:
            await asking
        assert refused.value.errors[0].parameter in ("facet", "kind")


async def test_what_is_shown_no_more_is_followed_to_its_end(town: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset that a policy has hidden may be named while its removals are told, and before; one that never was may not.

    Whoever asks for names that never were makes nobody look through the whole sequence each time.
    """
    looked: list[str] = []

    async def looking(reads: Any, plan_set: str, look: Any = feed.datasets_told) -> Any:
        looked.append(plan_set)
        return await look(reads, plan_set)

    monkeypatch.setattr(feed, "datasets_told", looking)
    for never in ("gone", "gone", "never"):
        with pytest.raises(InvalidParameter):
            await read_feed.changes(town, PUBLIC, ask(since="0", dataset=never))
    assert len(looked) == 1
    name = forms_of(town.policies.current(), PUBLIC.plan_tier, PUBLIC.purpose).name
    async with town.store.transaction() as tx:
        await feed.add(tx, name, [(10**6, "del", "2026-06-01T00:00:00Z", "rec_" + "a" * 26, "gone", "penalty", None, "removed", None)])
    told = read(await read_feed.changes(town, PUBLIC, ask(since="0", dataset="gone")))
    assert [item["op"] for item in told["items"]] == ["policy", "del"]


async def test_validate_is_arithmetic_alone(town: Services) -> None:
    """The vectors of api.md §7.4, and nothing of a citizen number."""
    answer = read(await answer_query.validate_uscc(town, "9I220502XXT00002X2", "zh-CN"))
    assert answer["valid"] is False
    assert {"code": "91220502XXT00002X2", "reason": "letter"} in answer["suggestions"]
    answer = read(await answer_query.validate_uscc(town, "220599199001010016", "zh-CN"))
    assert (answer["code"], answer["parts"], answer["suggestions"]) == (None, None, [])


async def test_what_a_caller_may_see_is_described(town: Services) -> None:
    """Datasets count what an export gives, and a dictionary names only fields whose existence is public."""
    body = read(await answer_query.datasets(town, PUBLIC, "zh-CN"))
    rows = {each["id"]: each["rows"] for each in body["items"]}
    assert rows[PENALTIES] == len(await walked(records_page, town, dataset=PENALTIES))
    public = {field["name"] for field in read(await answer_query.dictionary(town, PENALTIES, PUBLIC, "zh-CN"))["fields"]}
    department = {field["name"] for field in read(await answer_query.dictionary(town, PENALTIES, DEPARTMENT, "zh-CN"))["fields"]}
    assert "id_no" not in public
    assert public < department


async def test_offers_are_of_public_organisations(town: Services) -> None:
    """At most ten, by name or pinyin; a household is never offered, a dataset and a field by their labels."""
    offers = read(await answer_query.suggest(town, PUBLIC, ask(q="slyy")))["items"]
    assert [(each["kind"], each["text"], each["uscc"]) for each in offers] == [("subject", "通化市示例药业有限公司", code(1))]
    for q in ("东昌区甲某某小吃店", household_code(7), "小吃店", "220599199001010016"):
        assert [each for each in read(await answer_query.suggest(town, PUBLIC, ask(q=q)))["items"] if each["kind"] == "subject"] == []
    offers = read(await answer_query.suggest(town, PUBLIC, ask(q="处罚", limit="3")))["items"]
    assert {"kind": "dataset", "text": "行政处罚", "id": PENALTIES, "matched_on": "label"} in offers
    assert len(offers) == 3
    with pytest.raises(InvalidParameter):
        await answer_query.suggest(town, PUBLIC, ask(q="示例", limit="11"))


async def test_a_withdrawn_organisation_is_not_called_known(town: Services) -> None:
    """A code that may be meant is known only while something of it is public now, whatever the renderings still hold."""
    wrong = code(3)[:17] + ("0" if code(3)[17] != "0" else "1")

    async def known() -> list[object]:
        with pytest.raises(UsccInvalid) as caught:
            await subject_document(town, wrong, PUBLIC, "zh-CN")
        return [each["known"] for each in caught.value.suggestions if each["code"] == code(3)]

    assert await known() == [True]
    (row,) = [each for each in await walked(records_page, town) if each["subject"]["uscc"] == code(3)]
    await withdraw(town, row["id"], reason="revoked", actor="officer")
    assert await known() == [False]
    assert await found(town, "宝药") == []
    await settle(town)
    assert await known() == [False]
    assert await found(town, "宝药") == []
