"""Pages for people, read by a parser as browsers read them: no script, right languages, nothing hidden, nothing hostile (api.md §1, §5)."""

from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

import html5lib
import httpx

from gateway.core.publication.receipts import Receipt
from gateway.operations import handle_case
from gateway.operations.asking import Answer
from gateway.operations.query_receipts import Shown
from gateway.operations.render_public import settle
from gateway.operations.show_subject import FieldWords, SubjectShown
from gateway.web import pages
from gateway.web.problem_advice import advice_for
from gateway.web.problems import KINDS, Problem, ProblemError
from tests.web.city import City, Server, served
from tests.web.test_api import problem

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
ALLOWED = {
    "html", "head", "meta", "title", "link", "body", "main", "section", "article", "footer", "header", "h1", "h2", "h3", "p", "code", "a",
    "ul", "li", "dl", "dt", "dd", "strong", "span", "pre", "time", "img",
}  # fmt: skip
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;</p>javascript:alert(1)\u202e{{7*7}}{% raw %}"


def parsed(text: str | bytes) -> Element:
    """A page as a browser reads it; a fault of its HTML is an error."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    tree: Element = parser.parse(text if isinstance(text, str) else text.decode())
    return tree


def words(page: Element) -> str:
    """Everything that stands to be read."""
    return "".join(page.itertext())


def checked(answer: httpx.Response, status: int = 200) -> Element:
    """A page of ours: its header fields and elements are those that a page may have."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8"), answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["ratelimit"]
    page = parsed(answer.content)
    harmless(page)
    return page


def harmless(page: Element) -> None:
    """No script, no handler, no style beside the sheet, no address but of our own; a language, a title and one first heading."""
    for element in page.iter():
        assert element.tag in ALLOWED, element.tag
        for name, value in element.attrib.items():
            assert not name.startswith("on"), name
            assert name != "style"
            if name in ("href", "src"):
                assert value.startswith(("/", "http://127.0.0.1:8000/")), value
    assert page.attrib["lang"] in ("zh-CN", "en")
    title = page.find("head/title")
    assert title is not None
    assert title.text
    assert len(list(page.iter("h1"))) == 1
    assert all(image.attrib["alt"] for image in page.iter("img"))


# --- problems ----------------------------------------------------------------------------------------------------------


def test_every_problem_says_what_it_means_and_what_to_do(server: Server) -> None:
    """Each code has a page with meaning and advice, the English part marked as English; the page may be kept by everybody."""
    for each in server.get("/v1/problems").json()["items"]:
        answer = server.get(each["type"])
        page = checked(answer)
        english = next(element for element in page.iter("section") if element.attrib.get("lang") == "en")
        kind = KINDS[each["code"]]
        advice = advice_for(kind)
        assert all(text in words(page) for text in (each["title_zh"], kind.detail["zh-CN"], advice.zh))
        assert all(text in words(english) for text in (each["title_en"], kind.detail["en"], advice.en))
        assert answer.headers["cache-control"].startswith("public, max-age=300")
    again = server.get("/problems/not-found", if_none_match=server.get("/problems/not-found").headers["etag"])
    assert (again.status_code, again.content) == (304, b"")


def test_a_problem_is_a_page_where_a_page_is_wanted(server: Server) -> None:
    """A browser at a page's address reads HTML in its language; a program there, and everybody under `/v1`, gets the document."""
    page = checked(server.get("/subjects/sub_aaaaaaaaaaaaaaaaaaaaaaaaaa", accept=BROWSER), 404)
    assert page.attrib["lang"] == "zh-CN"
    english = checked(server.get("/subjects/91220502XXT00002X3", accept=BROWSER, accept_language="en"), 400)
    assert english.attrib["lang"] == "en"
    assert "91220502XXT00002X2" in words(english), "what may be meant is offered"
    checked(server.get("/problems/no-such-code", accept=BROWSER), 404)
    problem(server.get("/subjects/sub_aaaaaaaaaaaaaaaaaaaaaaaaaa"), 404, "not-found")
    problem(server.get("/v1/records/rec_aaaaaaaaaaaaaaaaaaaaaaaaaa", accept=BROWSER), 404, "not-found")
    problem(server.get("/subjects/91220502XXT00002X2?q=x"), 400, "unknown-parameter")
    problem(server.get("/verify/rcpt_x", accept="image/png"), 406, "not-acceptable")


def test_hostile_words_stay_words() -> None:
    """Names, values, marks, codes and problems full of markup are shown as they are, and make nothing."""
    document = {
        "id": "sub_x", "uscc": HOSTILE, "name": HOSTILE, "former_names": [HOSTILE], "kind_label": HOSTILE, "status_label": HOSTILE,
        "region_label": HOSTILE, "industry": HOSTILE, "established_on": HOSTILE, "treatments": {HOSTILE: HOSTILE},
        "marks": [{"code": "x", "label": HOSTILE, "since": None}], "links": {"self": "/v1/x", "records": "/v1/y", "timeline": "/v1/z"},
    }  # fmt: skip
    record = {
        "dataset": "d", "kind_label": HOSTILE, "marks": document["marks"], "published_from": None, "publish_until": HOSTILE,
        "source": {"name": HOSTILE}, "basis": [{"text": HOSTILE}], "treatments": {"f": "surname", "g": HOSTILE}, "links": {"self": "/v1/r"},
        "fields": {"f": HOSTILE, "g": [HOSTILE, {"x": HOSTILE}], "h": True, "i": None, HOSTILE: HOSTILE},
    }  # fmt: skip
    shown = SubjectShown(
        subject=document,
        records=[record],
        more=True,
        titles={"d": HOSTILE},
        words={"d": {"f": FieldWords(HOSTILE, {"x": HOSTILE})}},
        answer=Answer(policy_version=1, policy_plan="p", dataset_version="1-1"),
    )
    for language in ("zh-CN", "en"):
        page = parsed(pages.subject(shown, language=language, sample=True))  # type: ignore[arg-type]  # of the two languages
        harmless(page)
        assert words(page).count(HOSTILE) > 15
    receipt = Receipt(id=HOSTILE, issued_at=HOSTILE, answer_sha256=HOSTILE, dataset_version=HOSTILE, policy_version=1)
    harmless(parsed(pages.receipt(Shown(receipt=receipt, note=HOSTILE, overtaken=None), party=HOSTILE, sample=False)))
    told = Problem(
        type="/x", title=HOSTILE, status=400, code="x", detail=HOSTILE, instance=HOSTILE, trace_id="0",
        errors=(ProblemError(parameter=HOSTILE, code="x", detail=HOSTILE),), suggestions=({"code": HOSTILE},),
    )  # fmt: skip
    harmless(parsed(pages.problem(told, "en")))


# --- receipts ----------------------------------------------------------------------------------------------------------


def test_the_page_of_a_receipt_reads_in_both_languages(fresh_city: City) -> None:
    """State, digest and way to check stand in Chinese and in English; nobody keeps the page, no search engine either."""
    with served(fresh_city) as server:
        issued = server.client.post("/v1/receipts", json={"url": "/v1/lists/honours"}).json()
        answer = server.get(issued["verify_uri"], accept=BROWSER)
    page = checked(answer)
    english = next(element for element in page.iter("section") if element.attrib.get("lang") == "en")
    assert "Not changed since" in words(english)
    assert "至今没有变化" in words(page)
    assert "chengxin verify receipt" in words(english)
    assert words(page).count(issued["answer_sha256"]) == 3
    assert issued["note"] in words(page)
    assert [image.attrib["src"] for image in page.iter("img")] == [f"/v1/receipts/{issued['id']}/qr.svg"]
    assert (answer.headers["cache-control"], answer.headers["x-robots-tag"]) == ("no-store", "noindex, noarchive")


# --- subjects ----------------------------------------------------------------------------------------------------------


def subjects(server: Server, count: int = 12) -> Iterator[dict[str, Any]]:
    """Some organisations."""
    yield from server.get(f"/v1/subjects?limit={count}").json()["items"]


def test_the_page_of_a_subject_says_what_the_api_says(server: Server) -> None:
    """Name, code, records with basis, period, source and marks of `/v1`; it is kept as long, and by no search engine."""
    for each in subjects(server):
        assert server.get(f"/v1/subjects/{each['uscc']}").links["alternate"] == {
            "url": f"http://127.0.0.1:8000/subjects/{each['uscc']}", "rel": "alternate", "type": "text/html",
        }  # fmt: skip
        answer = server.get(f"/subjects/{each['uscc']}", accept=BROWSER)
        page = checked(answer)
        text = words(page)
        assert page.find("body/main/article/h1").text == each["name"]  # type: ignore[union-attr]  # there is one
        records = server.get(f"{each['links']['records']}?limit=20").json()["items"]
        assert len(list(page.iter("h3"))) == len(records) > 0
        for record in records:
            shown = [record["source"]["name"], record.get("document_number"), record["publish_until"]]
            shown += [mark["label"] for mark in record["marks"]] + [basis["text"] for basis in record["basis"]]
            assert all(word in text for word in shown if word)
        assert answer.headers["x-robots-tag"] == "noindex, noarchive"
        assert any(element.attrib == {"name": "robots", "content": "noindex, noarchive"} for element in page.iter("meta"))
        assert answer.headers["cache-control"].startswith("public, max-age=")
        assert server.get(f"/subjects/{each['id']}").content == answer.content
        assert server.get(f"/subjects/{each['uscc']}", if_none_match=answer.headers["etag"]).status_code == 304


def test_what_is_not_shown_whole_is_named_with_its_reason(server: Server) -> None:
    """A field that the API names in `treatments` stands on the page by its name, with how it is treated, in either language."""
    penalties = server.get("/v1/records?kind=penalty&limit=100").json()["items"]
    record = next(each for each in penalties if "held" in each["treatments"].values())
    url = f"/subjects/{record['subject']['uscc']}"
    chinese, english = checked(server.get(url)), checked(server.get(url, accept_language="en"))
    assert "违法事实：文本待人工审核，先显示摘要" in words(chinese)
    assert english.attrib["lang"] == "en"
    assert "Facts: the text waits for review" in words(english)


def test_codes_stand_in_words_of_the_language(server: Server) -> None:
    """Each enumeration of a record is told in Chinese or in English, as the dictionary names its values; so are facets."""
    penalties = server.get("/v1/records?kind=penalty&limit=100").json()["items"]
    record = next(each for each in penalties if each["fields"].get("fine_amount") and each["fields"].get("theme"))
    fields = {each["name"]: each for each in server.get(f"/v1/datasets/{record['dataset']}/dictionary").json()["fields"]}
    url = f"/subjects/{record['subject']['uscc']}"
    chinese, english = words(checked(server.get(url))), words(checked(server.get(url, accept_language="en")))
    told = 0
    for name, value in record["fields"].items():
        for code in value.split(";") if name in fields and fields[name]["enum"] and value else ():
            assert fields[name]["enum"][code] in chinese
            assert fields[name]["enum_en"][code] in english
            assert f"{fields[name]['name_en']}{fields[name]['enum'][code]}" not in english
            told += 1
    assert told > 1
    assert "罚款金额（万元）" in chinese
    assert "Fine (10,000 yuan)" in english
    facet = f"/v1/records?dataset={record['dataset']}&limit=1&facet=penalty_type"
    for language, key in (("zh-CN", "enum"), ("en", "enum_en")):
        values = server.get(facet, accept_language=language).json()["facets"]["penalty_type"]["values"]
        assert [each["label"] for each in values] == [fields["penalty_type"][key][each["value"]] for each in values]


def test_a_household_is_shown_as_the_api_shows_it(server: Server, city: City) -> None:
    """By its id, with its code masked; a natural person has no page."""
    token = city.token()
    headers = {"authorization": f"Bearer {token}", "purpose": "dept.supervision"}
    seen = server.get("/v1/records?limit=100&kind=penalty", **headers).json()["items"]
    household = next(each["subject"] for each in seen if each["subject"]["kind"] == "household")
    page = checked(server.get(f"/subjects/{household['id']}"))
    assert server.get(f"/v1/subjects/{household['id']}").json()["uscc"] in words(page)
    assert "92220502**********" in words(page) or "**********" in words(page)
    for person in [each["subject"]["id"] for each in seen if each["subject"]["kind"] == "person"][:1]:
        problem(server.get(f"/subjects/{person}"), 404, "not-found")


def test_marks_stand_in_words_and_a_withdrawn_record_is_gone(fresh_city: City) -> None:
    """An objection is written on the record; when the record goes, the page shows nothing of it, at once."""
    with served(fresh_city) as server:
        record = server.get("/v1/records?kind=penalty&limit=1").json()["items"][0]
        url = f"/subjects/{record['subject']['uscc']}"
        fresh_city.run(lambda services: handle_case.open_dispute(services, record["id"], actor="test"))
        fresh_city.run(settle)
        page = checked(server.get(url))
        assert any(element.text == "异议处理中" for element in page.iter("strong"))
        fresh_city.run(lambda services: handle_case.close_dispute(services, record["id"], upheld=True, actor="test"))
        assert record["document_number"] not in server.get(url).text
