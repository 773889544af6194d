"""The public API over a real socket, on both databases: paths, formats, cursors, validators, callers (api.md §1–§7)."""

import csv
import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from gateway.web.api.routes import ROUTES
from gateway.web.describe import Described
from gateway.web.negotiation import EVENTS
from tests.web.city import City, Server, served

PENALTIES = "dataset=administrative-penalties"
TABLES = ("/v1/subjects", "/v1/records", "/v1/lists/honours/listings", f"/v1/records?{PENALTIES}", "/v1/subjects?q=绾")
PLAIN = (
    "/v1",
    "/v1/me",
    "/v1/keys",
    "/v1/problems",
    "/v1/lists",
    "/v1/lists/honours",
    "/v1/lists/honours/versions",
    "/v1/lists/honours/versions/latest",
    "/v1/datasets/honours/versions/latest",
    "/v1/ftm/catalog.json",
    "/v1/datasets",
    "/v1/datasets/honours",
    "/v1/datasets/honours/dictionary",
    "/v1/validate/uscc/91220502XXT00002X2",
    "/v1/changes?since=0",
    "/v1/suggest?q=绾",
)


def joined(path: str, query: str) -> str:
    """A path with one more parameter."""
    return f"{path}{'&' if '?' in path else '?'}{query}"


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem in an answer, checked for what every problem has."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, f"http://127.0.0.1:8000/problems/{code}")
    assert body["instance"] == f"urn:request:{answer.headers['request-id']}"
    return body


def walk(server: Server, path: str, **headers: str) -> list[dict[str, Any]]:
    """All rows, page by page."""
    rows: list[dict[str, Any]] = []
    url, states = path, set()
    while url:
        page = server.get(url, **headers).json()
        rows += page["items"]
        states.add((page["dataset_version"], page["policy_version"]))
        url = page["next"]
    assert len(states) == 1
    return rows


# --- lists and cursors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TABLES)
def test_a_walk_misses_nothing_and_repeats_nothing(server: Server, path: str) -> None:
    """Pages of seven, an export in each format: the same rows in the same order."""
    rows = walk(server, joined(path, "limit=7"))
    ids = [row["id"] for row in rows]
    assert len(ids) == len(set(ids)) > 0
    base, _, query = path.partition("?")
    full = f"?{query}&limit=all" if query else "?limit=all"
    lines = server.get(f"{base}.ndjson{full}").text.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ids
    assert [row["id"] for row in server.get(f"{base}.json{full}").json()["items"]] == ids
    table = list(csv.reader(io.StringIO(server.get(f"{base}.csv{full}").text)))
    assert [row[0] for row in table[1:]] == ids
    assert table[0][0] == "id"
    assert {len(row) for row in table} == {len(table[0])}


@pytest.mark.parametrize("path", TABLES)
def test_formats_of_one_page_hold_the_same_rows(server: Server, path: str) -> None:
    """By suffix and by Accept, JSON, NDJSON and CSV show one page alike."""
    base, _, query = path.partition("?")
    asked = joined(path, "limit=5")
    page = server.get(asked)
    ids = [row["id"] for row in page.json()["items"]]
    for suffix, media in ((".ndjson", "application/x-ndjson"), (".csv", "text/csv")):
        by_suffix = server.get(joined(f"{base}{suffix}{'?' + query if query else ''}", "limit=5"), accept="application/json")
        by_accept = server.get(asked, accept=media)
        assert by_suffix.headers["content-type"].partition(";")[0] == by_accept.headers["content-type"].partition(";")[0] == media
        found = (
            [json.loads(line)["id"] for line in by_suffix.text.splitlines()]
            if media.endswith("ndjson")
            else [row[0] for row in csv.reader(io.StringIO(by_suffix.text))][1:]
        )
        assert found == ids
        assert by_suffix.text == by_accept.text
        assert by_suffix.headers["etag"] != page.headers["etag"]


def test_the_way_back_is_the_way_there(server: Server) -> None:
    """`prev` leads through the same pages in reverse, to a first page without `prev`."""
    pages, url = [], "/v1/records?limit=9"
    while url:
        page = server.get(url).json()
        pages.append(page)
        url = page["next"]
    back = []
    url = pages[-1]["prev"]
    while url:
        page = server.get(url).json()
        back.append([row["id"] for row in page["items"]])
        url = page["prev"]
    assert back == [[row["id"] for row in page["items"]] for page in pages[-2::-1]]


def test_links_stand_in_the_header_too(server: Server) -> None:
    """CSV and NDJSON page by `Link`."""
    answer = server.get("/v1/records.csv?limit=3")
    following = answer.links["next"]["url"]
    assert following.startswith("http://127.0.0.1:8000/v1/records.csv?limit=3&cursor=c1.")
    assert server.get(following).headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.links["first"]["url"] == "http://127.0.0.1:8000/v1/records.csv?limit=3"


def test_self_is_the_page_itself(server: Server) -> None:
    """`self` of any page gives that page again, byte for byte."""
    first = server.get("/v1/records?limit=3")
    second = server.get(first.json()["next"])
    assert first.json()["self"] == "http://127.0.0.1:8000/v1/records?limit=3"
    assert second.json()["self"] == first.json()["next"]
    assert server.get(second.json()["self"]).content == second.content


def test_cursors_are_bound(server: Server, city: City) -> None:
    """Tampered, another query, another path, another caller: one and the same problem; spelling out a default changes nothing."""
    url = server.get("/v1/records?limit=3").json()["next"]
    cursor = url.split("cursor=")[1]
    assert server.get(f"/v1/records?cursor={cursor}&limit=3&count=none").status_code == 200
    swapped = cursor[:20] + ("A" if cursor[20] != "A" else "B") + cursor[21:]
    for bad in (
        f"/v1/records?limit=3&cursor={swapped}",
        f"/v1/records?limit=4&cursor={cursor}",
        f"/v1/subjects?limit=3&cursor={cursor}",
        f"/v1/records?limit=3&kind=penalty&cursor={cursor}",
        "/v1/records?limit=3&cursor=c1.AAAA",
        "/v1/records?limit=3&cursor=",
    ):
        body = problem(server.get(bad), 400, "bad-cursor")
        assert "errors" not in body
    problem(server.get(url, authorization=f"Bearer {city.token()}"), 400, "bad-cursor")
    for more in (f"cursor={cursor}", "count=exact", "facet=region"):  # of an export nobody would be told them
        problem(server.get(f"/v1/records?limit=all&{more}"), 400, "invalid-parameter")
    assert server.get("/v1/records.csv?limit=all&count=none").status_code == 200


def test_an_old_cursor_says_where_to_begin_again(server: Server, fresh_city: City) -> None:
    """After the day after next one's own cursor is 410, with the first page as `next`."""
    with served(fresh_city, now="2026-06-03T15:59:59Z") as later:
        url = server.get("/v1/records?limit=3").json()["next"]
        with served(fresh_city) as earlier:
            url = earlier.get("/v1/records?limit=3").json()["next"]
        assert later.get(url).status_code == 200
    with served(fresh_city, now="2026-06-03T16:00:00Z") as too_late:
        assert problem(too_late.get(url), 410, "cursor-expired")["next"] == "http://127.0.0.1:8000/v1/records?limit=3"


# --- strictness -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PLAIN, *TABLES, "/openapi.json", "/openapi.yaml", "/docs", "/problems/not-found"])
def test_unknown_and_repeated_parameters_are_refused(server: Server, path: str) -> None:
    """On every path: an unknown name, a token in the URL, a name given twice."""
    for name in ("nope", "access_token", "api_key"):
        body = problem(server.get(joined(path, f"{name}=s3cret")), 400, "unknown-parameter")
        assert body["errors"][0]["parameter"] == name
        assert "s3cret" not in json.dumps(body)
    problem(server.get(joined(path, "nope=1&nope=2")), 400, "repeated-parameter")


def test_a_hidden_field_reads_like_one_that_never_was(server: Server) -> None:
    """The same bytes but for the name and the ids."""
    for how in ("{}=1", "sort={}", "fields={}", "{}__gte=1", "facet={}"):
        hidden, never = (server.get(f"/v1/records?{PENALTIES}&{how.format(name)}") for name in ("id_no", "xx_no"))
        assert hidden.status_code == never.status_code == 400
        told = [json.loads(answer.text.replace(name, "NAME")) for answer, name in ((hidden, "id_no"), (never, "xx_no"))]
        for body in told:
            del body["instance"], body["trace_id"]
        assert told[0] == told[1]


@pytest.mark.parametrize("path", ["/v1/records?dataset=", "/v1/changes?since=0&dataset="])
def test_a_dataset_outside_the_purpose_reads_like_none_and_says_what_may_be_wrong(server: Server, path: str) -> None:
    """One that the public is not shown and one that never was: the same words, and they name the purpose."""
    told = [problem(server.get(path + each), 400, "invalid-parameter")["errors"] for each in ("measures", "nowhere")]
    assert told[0] == told[1]
    assert told[0][0]["detail"] == "没有这个数据集，或者它不在此使用目的的范围之内。"


def counted(server: Server, path: str, name: str) -> dict[str, tuple[str, int]]:
    """One facet of an answer: value → label and count."""
    facet = server.get(path).json()["facets"][name]
    assert facet["timed_out"] is False
    return {each["value"]: (each["label"], each["count"]) for each in facet["values"]}


def test_facets_are_those_that_the_dictionary_offers(server: Server) -> None:
    """Of one dataset its own fields, with the dictionary's words, beside any filter; a name without the right is an unknown one."""
    rows = walk(server, f"/v1/records?{PENALTIES}&limit=100")
    types = Counter(code for row in rows for code in set((row["fields"]["penalty_type"] or "").split(";")) - {""})
    found = counted(server, f"/v1/records?{PENALTIES}&limit=1&facet=penalty_type,kind", "penalty_type")
    assert {value: number for value, (_, number) in found.items()} == types
    assert found["fine"][0] == "罚款"
    fined = sum("fine" in (row["fields"]["penalty_type"] or "").split(";") for row in rows)
    path = f"/v1/records?{PENALTIES}&penalty_type=fine&limit=1&count=exact&facet=kind,dataset"
    assert counted(server, path, "kind") == {"penalty": ("行政处罚", server.get(path).json()["count"]["value"])}
    assert fined >= 1
    assert counted(server, "/v1/records?facet=dataset&limit=1", "dataset")["administrative-penalties"] == ("行政处罚", len(rows))
    for name in ("id_no", "xx_no", "facts"):
        assert problem(server.get(f"/v1/records?{PENALTIES}&facet={name}"), 400, "unknown-parameter")["errors"][0]["parameter"] == "facet"


def test_facets_of_a_search(server: Server) -> None:
    """What a text finds is counted by kind as the whole register is; labels are in the answer's language."""
    path = "/v1/subjects?q=通化&count=exact&limit=1&facet=kind"
    found = counted(server, path, "kind")
    assert sum(number for _, number in found.values()) == server.get(path).json()["count"]["value"] >= 1
    assert found["enterprise"][0] == "企业"
    problem(server.get("/v1/subjects?q=通化&facet=name"), 400, "unknown-parameter")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=1e1",
        "limit=-1",
        "limit=１",
        "sort=id,id,id",
        "count=some",
        "shape=round",
        "excel=2",
        "decision_date__gte=yesterday",
        "q=",
        "kind=" + ",".join(["x"] * 51),
        "facet=a,b,c,d,e,f",
    ],
)
def test_broken_bounds_are_invalid_parameters(server: Server, query: str) -> None:
    """Each names its parameter and repeats no value."""
    answer = server.get(f"/v1/records?{query}")
    assert answer.status_code == 400
    assert answer.json()["code"] in ("invalid-parameter", "unknown-parameter")
    assert answer.json()["errors"][0]["parameter"]


def test_suffix_and_accept(server: Server) -> None:
    """The suffix wins; an unknown suffix is 404; nothing acceptable is 406 and names the types; a star is JSON."""
    assert server.get("/v1/records.csv?limit=1", accept="application/json").headers["content-type"].startswith("text/csv")
    for path in ("/v1/records.ods", "/v1/records.", "/v1/lists.csv", "/v1/lists/honours.csv", "/v1/records.json.csv", "/v1.json"):
        problem(server.get(path), 404, "not-found")
    for path in (*PLAIN, *TABLES):
        if path.endswith(".json"):  # the name says the format, and wins
            assert server.get(path, accept="image/png").headers["content-type"] == "application/json"
            continue
        body = problem(server.get(path, accept="image/png"), 406, "not-acceptable")
        assert "application/json" in body["acceptable"]
    assert server.get("/v1/records?limit=1", accept="text/*").headers["content-type"].startswith("text/csv")
    assert server.get("/v1/records?limit=1", accept="*/*").headers["content-type"] == "application/json"
    code = server.get("/v1/subjects?limit=1").json()["items"][0]["uscc"]
    assert server.get(f"/v1/subjects/{code}.json").json()["uscc"] == code
    problem(server.get(f"/v1/subjects/{code}.csv"), 404, "not-found")
    problem(server.get(f"/v1/subjects/{code}.pdf"), 404, "not-found")


@pytest.mark.parametrize("path", [*PLAIN, *TABLES, "/openapi.json", "/docs", "/healthz", "/readyz"])
def test_head_options_and_slash_everywhere(server: Server, path: str) -> None:
    """HEAD has the GET's header fields, OPTIONS names the methods, a trailing slash is nobody's path, other methods are refused."""
    full, head = server.get(path), server.client.head(path)
    assert head.status_code == full.status_code == 200
    assert head.content == b""
    differing = {"date", "request-id", "ratelimit", "request-cost"}
    assert {k: v for k, v in head.headers.items() if k not in differing} == {k: v for k, v in full.headers.items() if k not in differing}
    base = path.partition("?")[0]
    options = server.client.options(base)
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    problem(server.get(f"{base}/"), 404, "not-found")
    refused = server.client.post(base, content=b"{}")
    problem(refused, 405, "method-not-allowed")
    assert refused.headers["allow"] == "GET, HEAD, OPTIONS"


def one_of(server: Server) -> dict[str, str]:
    """Of paths that want one of several parameters, one that answers."""
    listed = server.get("/v1/lists/tax-violations/listings?limit=1").json()["items"][0]["id"]
    return {"/v1/log/proof": f"record={listed}"}


def test_every_path_of_the_document_exists(server: Server) -> None:
    """No operation is described that is not served."""
    for handler in ROUTES:
        described = handler.opt.get("described")
        if isinstance(described, Described) and described.method == "get" and "{" not in handler.opt["template"]:
            if described.tag == "审核":  # for reviewers alone: test_reviews
                continue
            known = {"id": server.get("/v1/subjects?limit=1").json()["items"][0]["uscc"]}
            query = "&".join(f"{each.name}={known.get(each.name, each.example)}" for each in described.takes if each.required)
            query = one_of(server).get(handler.opt["template"], query)
            ask = server.client.head if EVENTS in described.media else server.get  # a stream has no end
            assert ask(f"{handler.opt['template']}?{query}").status_code == 200, handler.opt["template"]


def test_answers_have_the_shapes_of_the_document(server: Server, city: City) -> None:
    """What is sent decodes strictly as what is described, for the public and for a department, in both languages."""
    subject = server.get("/v1/subjects?limit=1").json()["items"][0]["uscc"]
    record = server.get("/v1/records?limit=1").json()["items"][0]["id"]
    examples = {"subject": subject, "record": record, "list_id": "tax-violations", "dataset": "honours"}
    examples |= {"code": "91220502XXT00002X2", "kind": "type"}
    examples |= {"policy": "1", "before": "1", "after": "1", "version": "latest"}
    examples["receipt"] = server.client.post("/v1/receipts", json={"url": "/v1/lists"}).json()["id"]
    examples["name"] = server.get("/v1/ftm/catalog.json").json()["datasets"][0]["name"]
    token = f"Bearer {city.token()}"
    for handler in ROUTES:
        described = handler.opt.get("described")
        if not isinstance(described, Described) or described.gives is None or described.method != "get":
            continue
        if described.tag == "审核":  # for reviewers alone: test_reviews
            continue
        if not set(re.findall(r"{(\w+):str}", handler.opt["template"])) <= set(examples):  # of what a test makes first: its own tests
            continue
        path = re.sub(r"{(\w+):str}", lambda match: examples[match[1]], handler.opt["template"])
        query = "&".join(f"{each.name}={each.example}" for each in described.takes if each.required)
        query = one_of(server).get(handler.opt["template"], query)
        decoder = msgspec.json.Decoder(described.gives)
        for headers in ({}, {"accept_language": "en"}, {"authorization": token}):
            answer = server.get(f"{path}?{query}", **headers)
            assert answer.status_code == 200, path
            decoder.decode(answer.content)


def test_a_caller_reads_his_rows_of_the_matrix(server: Server) -> None:
    """Field by field what the public may see, linked from `/v1/me`; a dataset unknown or unseen is refused alike, a parameter too."""
    link = server.get("/v1/me").json()["links"]["effective_fields"]
    assert link == "http://127.0.0.1:8000/v1/me/fields"
    answer = server.get("/v1/me/fields?dataset=administrative-penalties")
    assert answer.headers["cache-control"] == "no-store"
    rows = answer.json()["items"]
    assert {row["tier"] for row in rows} == {"public"}
    code = next(row for row in rows if (row["field"], row["subject_kind"]) == ("uscc", "individual_business"))
    assert (code["treatment"], code["capabilities"]) == ("keep(8,0)", ["lookup"])
    assert code["basis"]
    assert "remark" not in {row["field"] for row in rows}
    (fault,) = problem(server.get("/v1/me/fields?dataset=secrets"), 400, "invalid-parameter")["errors"]
    assert fault["parameter"] == "dataset"
    problem(server.get("/v1/me/fields?tier=department"), 400, "unknown-parameter")


# --- header fields and validators -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PLAIN, *TABLES])
def test_header_fields_of_answers(server: Server, path: str) -> None:
    """Validators, cache times, policy, state, language, robots and sample mark."""
    answer = server.get(path)
    headers = answer.headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["vary"] == "Accept, Accept-Encoding, Accept-Language, Authorization"
    assert headers["content-language"] == "zh-CN"
    assert len(headers["request-id"]) == 32
    if path in ("/v1/me", "/v1/keys", "/v1/problems"):
        return
    assert headers["policy-version"] == "1"
    assert len(headers["policy-plan"].strip('"')) == 64
    assert headers["etag"].startswith('W/"')
    assert headers["cache-control"].startswith("public, max-age=60, must-revalidate")
    assert headers["sample-data"] == "?1"
    if not path.startswith(("/v1/validate", "/v1/datasets/honours/dictionary")):
        assert headers["dataset-version"].partition("-")[0].isdigit()
    if not path.startswith(("/v1/datasets", "/v1?")) and path != "/v1":
        assert headers["x-robots-tag"] == "noindex, noarchive"


@pytest.mark.parametrize("path", [each for each in (*PLAIN, *TABLES, "/openapi.json", "/openapi.yaml", "/docs") if each != "/v1/me"])
def test_conditional_requests(server: Server, path: str) -> None:
    """The tag again gives 304 with the 200's header fields; another language or query has another tag."""
    full = server.get(path)
    etag = full.headers["etag"]
    for wanted in (etag, etag.removeprefix("W/"), f'"x", {etag}', "*"):
        same = server.get(path, if_none_match=wanted)
        assert (same.status_code, same.content) == (304, b"")
        differing = {"date", "request-id", "ratelimit", "request-cost", "content-length"}
        assert {k: v for k, v in same.headers.items() if k not in differing} == {
            k: v for k, v in full.headers.items() if k not in differing
        }
    assert server.get(path, if_none_match='W/"other"').status_code == 200
    assert server.get(path).headers["etag"] == etag


def test_equal_tag_equal_bytes(server: Server) -> None:
    """Asked twice, an answer has the same tag and bytes; languages and formats have different ones."""
    path = "/v1/records?limit=5"
    first, again, english = server.get(path), server.get(path), server.get(path, accept_language="en")
    assert (first.headers["etag"], first.content) == (again.headers["etag"], again.content)
    assert english.headers["etag"] != first.headers["etag"]
    assert english.headers["content-language"] == "en"
    assert english.json()["items"][0]["kind_label"].isascii()
    assert [row["id"] for row in english.json()["items"]] == [row["id"] for row in first.json()["items"]]


def test_nothing_is_kept_past_midnight(fresh_city: City) -> None:
    """Fifteen seconds before the legal day ends, answers may be kept for fifteen seconds."""
    with served(fresh_city, now="2026-06-01T15:59:45Z") as late:
        code = late.get("/v1/subjects?limit=1").json()["items"][0]["uscc"]
        for path in ("/v1/records?limit=1", f"/v1/subjects/{code}", "/v1/lists"):
            assert late.get(path).headers["cache-control"].startswith("public, max-age=15,")


def test_compression_is_honest(server: Server) -> None:
    """A gzip body where it is wanted and worth it, with the same content and tag; `q=0` is a no; exports too."""
    path = "/v1/records?limit=20"
    plain, packed = (
        server.client.get(path, headers={"accept-encoding": "identity"}),
        server.client.get(path, headers={"accept-encoding": "gzip"}),
    )
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content
    assert packed.headers["etag"] == plain.headers["etag"]
    assert "content-encoding" not in server.client.get(path, headers={"accept-encoding": "gzip;q=0"}).headers
    with server.client.stream("GET", "/v1/records.ndjson?limit=all", headers={"accept-encoding": "gzip"}) as answer:
        body = b"".join(answer.iter_raw())
    assert gzip.decompress(body) == server.client.get("/v1/records.ndjson?limit=all", headers={"accept-encoding": "identity"}).content


# --- subjects and codes ---------------------------------------------------------------------------------------------------


def test_a_subject_by_every_spelling(server: Server) -> None:
    """Case, width and blanks are folded and the canonical address is named; by id it is the same document."""
    item = server.get("/v1/subjects?limit=1").json()["items"][0]
    code = item["uscc"]
    plain = server.get(f"/v1/subjects/{code}")
    assert "canonical" not in plain.links
    for spelling in (code.lower(), f" {code}", "".join(chr(ord(each) + 0xFEE0) for each in code), f"{code[:8]} {code[8:]}"):
        folded = server.get(f"/v1/subjects/{spelling}")
        assert folded.content == plain.content
        assert folded.links["canonical"]["url"] == f"http://127.0.0.1:8000/v1/subjects/{code}"
    assert server.get(f"/v1/subjects/{item['id']}").content == plain.content
    assert plain.json()["links"]["self"] == f"http://127.0.0.1:8000/v1/subjects/{code}"


def test_wrong_codes_are_told_why(server: Server) -> None:
    """400 with the fault and candidates; what starts like an id is 404; unknown subjects and their records read alike."""
    body = problem(server.get("/v1/subjects/91220502XXT00002X3"), 400, "uscc-invalid")
    assert body["errors"] == [{"parameter": "subject", "code": "check_digit", "detail": "第 18 位校验码不符"}]
    assert body["suggestions"][0]["code"] == "91220502XXT00002X2"
    problem(server.get("/v1/subjects/sub_nobody"), 404, "not-found")
    problem(server.get("/v1/subjects/abc"), 400, "uscc-invalid")
    unknown = [problem(server.get(f"/v1/subjects/91350100M000100Y43{more}"), 404, "not-found") for more in ("", "/records")]
    assert {tuple(body[key] for key in ("type", "title", "status", "code", "detail")) for body in unknown} == {
        ("http://127.0.0.1:8000/problems/not-found", "未找到", 404, "not-found", "没有可以显示的内容。")
    }


def test_persons_are_nobody(server: Server, sqlite_city: City) -> None:
    """A value shaped like a citizen number is not echoed, suggested upon or found."""
    number = "22059920000101001X"
    for path in (
        f"/v1/subjects?q={number}",
        f"/v1/subjects/{number}",
        f"/v1/validate/uscc/{number}",
        f"/v1/suggest?q={number}",
        f"/v1/records?{number}=1",
        f"/v1/subjects/{number}/records",
    ):
        answer = server.get(path)
        assert number not in answer.text
        assert number not in str(answer.headers)
        body = answer.json()
        assert not body.get("items")
        assert not body.get("suggestions")


@pytest.mark.parametrize(
    "number", ["220599198001010013", "２２０５９９198001010013", "220599-19800101-0013", "220599800101001", "甲220599198001010013"]
)
def test_whole_citizen_numbers_are_refused(server: Server, number: str) -> None:
    """In any query and any path but the check of codes: 400 with its own code, nothing echoed, whatever the parameter means."""
    for path in (
        f"/v1/subjects?q={number}",
        f"/v1/suggest?q={number}",
        f"/v1/records?document_number={number}",
        f"/v1/records?fields={number}",
        f"/v1/records?{number}=1",
        f"/v1/lists?x={number}",
        f"/v1/changes?since=0&list={number}",
        f"/v1/me?who={number}",
        f"/v1/validate/uscc/91220502XXT00002X2?q={number}",
        f"/v1/records/{number}",
        f"/v1/datasets/{number}",
        f"/v1/lists/{number}/listings",
        f"/openapi.json?x={number}",
    ):
        answer = server.get(path)
        body = problem(answer, 400, "invalid-parameter")
        assert [error["code"] for error in body["errors"]] == ["citizen-number"], path
        assert number not in answer.text + str(answer.headers)
    answer = server.get(f"/v1/subjects/{number}")
    problem(answer, 400, "uscc-invalid")
    assert number not in answer.text
    checked = server.get(f"/v1/validate/uscc/{number}").json()
    assert (checked["code"], checked["parts"], checked["suggestions"]) == (None, None, [])


def test_what_is_no_citizen_number_is_answered(server: Server) -> None:
    """Dates beside one another, a registration number, a wrong check character: no reason to refuse; the last is in no link."""
    dates = "decision_date__gte=2026-01-01&decision_date__lte=2026-06-30"
    assert server.get(f"/v1/records?dataset=administrative-penalties&{dates}").status_code == 200
    assert server.get("/v1/subjects?q=220500000012349").status_code == 200
    answer = server.get("/v1/subjects?q=22059920000101001X")
    assert answer.status_code == 200
    assert "22059920000101001X" not in answer.text + str(answer.headers)


@pytest.mark.parametrize(
    ("code", "valid"),
    [
        ("91350100M000100Y43", True),
        ("91220500XXT000011D", True),
        ("11220500XXT0001181", True),
        ("91220502XXT00002X2", True),
        ("53220000XXT0001508", True),
        ("91220501XXT0016390", True),
        ("N2220521XXT000169X", True),
        ("Y1220500XXT0001776", True),
        ("A1220500XXT001217H", True),
        ("91220502XXT00109XG", True),
        ("91220502XXT000025P", True),
        ("91220502xxt00002x2", True),
        ("９１２２０５０２ＸＸＴ００００２Ｘ２", True),
        ("91350100M000100Y4Z", False),
        ("91350100M000100Y34", False),
        ("9I220502XXT00002X2", False),
        ("91220502XXT0OOO2X2", False),
        ("91220502XXT00002", False),
        ("91220502XXT00002X3", False),
    ],
)
def test_validate_is_arithmetic(server: Server, code: str, valid: bool) -> None:
    """The published vectors, always 200."""
    answer = server.get(f"/v1/validate/uscc/{code}")
    assert answer.status_code == 200
    assert answer.json()["valid"] is valid
    assert list(answer.json()["checks"]) == ["length", "alphabet", "structure", "check_digit", "inner_check_digit"]
    if not valid and len(code) == 18:
        assert answer.json()["suggestions"]


def test_fields_and_datasets_are_offered_in_the_readers_language(server: Server) -> None:
    """By the words of either language; a field says of which dataset it is, for several are called alike."""
    for language, name, title in (("zh-CN", "处罚决定日期", "行政处罚"), ("en", "Decided on", "Administrative penalties")):
        for text in ("处罚决定日期", "decided on"):
            asked = {"q": text, "kind": "field"}
            items = server.client.get("/v1/suggest", params=asked, headers={"accept-language": language}).json()["items"]
            wanted = {"kind": "field", "text": name, "id": "administrative-penalties.decision_date", "matched_on": "label"}
            assert {**wanted, "dataset": "administrative-penalties", "dataset_label": title} in items, (language, text)
        offered = server.client.get("/v1/suggest", params={"q": "penalties", "kind": "dataset"}, headers={"accept-language": language})
        assert [each["text"] for each in offered.json()["items"]] == [title]


def test_short_chinese_queries_find(server: Server) -> None:
    """One character of a brand, two of them, a whole name, a code."""
    name = server.get("/v1/subjects?q=绾").json()["items"][0]["name"]
    assert any(row["name"] == name for row in walk(server, "/v1/subjects?q=绾&limit=100"))
    brand = name[name.index("绾") : name.index("绾") + 2]
    found = walk(server, f"/v1/subjects?q={brand}&limit=100")
    assert found
    assert all(brand in row["name"] for row in found)
    whole = server.get(f"/v1/subjects?q={name}&limit=1").json()["items"][0]
    assert whole["name"] == name
    assert whole["matched_on"] == "name"
    by_code = server.get(f"/v1/subjects?q={whole['uscc']}").json()["items"]
    assert [row["id"] for row in by_code] == [whole["id"]]
    nothing = server.get("/v1/subjects?q=璈璈璈").json()
    assert nothing["items"] == []
    assert nothing["notice"]["code"] == "no-results"
    assert server.get("/v1/suggest?q=绾").json()["items"][0]["text"].find("绾") >= 0


# --- records, lists, changes ------------------------------------------------------------------------------------------------


def test_filters_filter(server: Server) -> None:
    """By kind, division with its districts, dates and dictionary fields; every row shown meets them."""
    penalties = walk(server, f"/v1/records?{PENALTIES}&limit=50")
    assert {row["kind"] for row in penalties} == {"penalty"}
    assert walk(server, "/v1/records?kind=penalty&limit=50") == penalties
    since = sorted(row["decision_date"] for row in penalties)[len(penalties) // 2]
    later = walk(server, f"/v1/records?{PENALTIES}&decision_date__gte={since}&limit=50")
    assert later == [row for row in penalties if row["decision_date"] >= since]
    fined = walk(server, f"/v1/records?{PENALTIES}&fine_amount__gte=1&limit=50")
    assert fined == [row for row in penalties if float(row["fields"]["fine_amount"] or 0) >= 1]
    assert fined, "a filter that lets nothing pass shows nothing"
    for sort in ("", "&sort=-decision_date", "&sort=fine_amount"):
        counted = server.get(f"/v1/records?{PENALTIES}&fine_amount__gte=1&count=exact&limit=3{sort}").json()["count"]
        assert counted == {"value": len(fined), "kind": "exact"}
    city = walk(server, "/v1/records?region=220500&limit=100")
    district = walk(server, "/v1/records?region=220502&limit=100")
    assert len(city) > len(district)
    assert all(row["region"].startswith("2205") for row in city)
    by_date = [row["decision_date"] for row in walk(server, f"/v1/records?{PENALTIES}&sort=-decision_date&limit=11")]
    assert by_date == sorted(by_date, reverse=True)


def test_one_record_and_its_subject(server: Server) -> None:
    """Every address in a record leads somewhere; an unknown record is 404."""
    row = server.get(f"/v1/records?{PENALTIES}&limit=1").json()["items"][0]
    alone = server.get(row["links"]["self"])
    assert {key: value for key, value in alone.json().items() if key != "notice"} == row
    subject = server.get(row["subject"]["uri"]).json()
    assert subject["record_counts"]["penalty"] >= 1
    of_it = walk(server, f"{subject['links']['records']}?limit=2")
    assert row in of_it
    assert sum(subject["record_counts"].values()) == len(of_it)
    problem(server.get("/v1/records/rec_2222222222222222222222222a"), 404, "not-found")
    problem(server.get("/v1/records/x"), 404, "not-found")


def test_the_root_leads_everywhere(server: Server) -> None:
    """Each link of the root answers, the catalogue and the API document among them; the stream is open for whoever waits."""
    links = server.get("/v1").json()["links"]
    assert {"subjects", "lists", "openapi", "catalog"} <= links.keys()
    for name, address in links.items():
        if name != "stream":
            assert server.get(address).status_code == 200, name


def test_a_record_says_what_happened_to_it_and_why_it_is_shown_so(server: Server, city: City) -> None:
    """`links.history` is its subject's timeline, in which it stands; `links.policy` the cells of its dataset under its policy version."""
    bound = {"authorization": f"Bearer {city.token()}", "purpose": "dept.supervision"}
    for headers in ({}, bound):
        rows = server.get(f"/v1/records?{PENALTIES}&limit=100", **headers).json()["items"]
        kinds = {row["subject"]["kind"]: row for row in rows}
        assert len(kinds) >= 2
        assert ("person" in kinds) == bool(headers)
        for row in kinds.values():
            assert row["links"]["history"] == row["subject"]["uri"] + "/timeline"
            assert row["id"] in {event["record"] for event in server.get(row["links"]["history"], **headers).json()["items"]}
            assert f"/v1/policies/{row['policy_version']}/matrix?" in row["links"]["policy"]
            cells = server.get(row["links"]["policy"], **headers).json()["items"]
            assert {cell["dataset"] for cell in cells} == {row["dataset"]}
    listing = server.get("/v1/lists/tax-violations/listings?limit=1").json()["items"][0]
    assert server.get(listing["links"]["history"]).status_code == 200
    sparse = server.get(f"/v1/records?{PENALTIES}&limit=1&fields=links.policy").json()["items"][0]
    assert sparse["links"].keys() == {"policy"}


def test_lists_and_their_listings(server: Server) -> None:
    """`rows` is what the export gives; an unknown list is 404 with all its paths."""
    for held in server.get("/v1/lists").json()["items"]:
        assert server.get(held["links"]["self"]).json()["id"] == held["id"]
        rows = walk(server, f"{held['links']['listings']}?limit=13")
        assert len(rows) == held["rows"]
        assert {row["list"] for row in rows} <= {held["id"]}
    for path in ("/v1/lists/nobody", "/v1/lists/nobody/listings", "/v1/datasets/nobody", "/v1/datasets/nobody/dictionary"):
        problem(server.get(path), 404, "not-found")


def test_changes_lead_to_every_record(server: Server) -> None:
    """Read from zero to the head, the feed names every public record once; beyond the head is refused; `wait` holds."""
    seen: dict[str, str] = {}
    since, more = 0, True
    while more:
        page = server.get(f"/v1/changes?since={since}&limit=200").json()
        assert all(item["seq"] > since for item in page["items"])
        seen |= {item["record"]: item["op"] for item in page["items"] if "record" in item}
        since, more = page["next_since"], page["more"]
    public = {row["id"] for row in walk(server, "/v1/records?limit=100")}
    assert public <= set(seen)
    problem(server.get(f"/v1/changes?since={since + 1}"), 400, "invalid-parameter")
    problem(server.get("/v1/changes"), 400, "invalid-parameter")
    held = server.get(f"/v1/changes?since={since}&wait=1")
    assert held.json()["items"] == []
    assert held.elapsed.total_seconds() >= 1
    assert held.headers["cache-control"] == "no-store"
    only = server.get("/v1/changes?since=0&list=honours&limit=1000").json()["items"]
    assert {item.get("list", "honours") for item in only} == {"honours"}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/changes?since=0&list=honors",
        "/v1/changes?since=0&dataset=honours,honors",
        "/v1/changes?since=0&kind=honour",
        "/v1/changes/stream?list=honors",
        "/v1/records?list=honors",
        "/v1/suggest?q=测试&kind=person",
    ],
)
def test_a_misspelt_choice_is_refused(sqlite_server: Server, path: str) -> None:
    """Who follows a list that there is not would hear nothing, for ever, and take it for quiet."""
    body = problem(sqlite_server.get(path), 400, "invalid-parameter")
    assert body["errors"][0]["parameter"] == path.rpartition("&")[2].rpartition("?")[2].partition("=")[0]


# --- callers ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer x",
        "Bearer cxt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "Basic dXNlcjpwYXNz",
        "cxt_x",
        "Bearer a b",
        "DPoP cxt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "Bearer cxk_live_x_y_z",
        "Bearer " + "x" * 5000,
    ],
)
def test_a_bad_credential_never_becomes_the_public(server: Server, authorization: str) -> None:
    """Malformed, unknown, of another scheme: 401 with the scheme to use, on data paths and on the lane's path."""
    code = server.get("/v1/subjects?limit=1").json()["items"][0]["uscc"]
    for path in ("/v1/me", f"/v1/subjects/{code}", "/v1/records?limit=1"):
        answer = server.get(path, authorization=authorization)
        problem(answer, 401, "credentials-invalid")
        assert "Bearer realm=" in answer.headers["www-authenticate"]


def test_two_credentials_are_none(server: Server, city: City) -> None:
    """Two Authorization fields are refused, even if both are good."""
    token = f"Bearer {city.token()}"
    problem(server.client.get("/v1/me", headers=[("Authorization", token), ("Authorization", token)]), 401, "credentials-invalid")


def test_a_token_ends(fresh_city: City) -> None:
    """Ten minutes, then it reads like an unknown one."""
    token = fresh_city.token()
    with served(fresh_city, now="2026-06-01T02:39:59Z") as before:
        assert before.get("/v1/me", authorization=f"Bearer {token}").status_code == 200
    with served(fresh_city, now="2026-06-01T02:40:00Z") as after:
        problem(after.get("/v1/me", authorization=f"Bearer {token}"), 401, "credentials-invalid")


def test_a_department_sees_its_own_plan(server: Server, city: City) -> None:
    """More than the public, under another plan, kept by nobody, compressed for nobody; persons too, and never for the public."""
    token = f"Bearer {city.token()}"
    me = server.get("/v1/me", authorization=token).json()
    assert (me["tier"], me["purpose"], me["credential"]) == ("department", "dept.supervision", "token")
    public, own = server.get(f"/v1/records?{PENALTIES}&limit=5"), server.get(f"/v1/records?{PENALTIES}&limit=5", authorization=token)
    assert own.headers["policy-plan"] != public.headers["policy-plan"]
    assert own.headers["cache-control"] == "no-store"
    assert own.headers["etag"] != public.headers["etag"]
    sent = {"authorization": token, "accept-encoding": "gzip", "case-ref": "2026-0001"}
    packed = server.client.get(f"/v1/records?{PENALTIES}&limit=20", headers=sent)
    assert "content-encoding" not in packed.headers
    theirs = walk(server, f"/v1/records?{PENALTIES}&limit=50", authorization=token)
    ours = walk(server, f"/v1/records?{PENALTIES}&limit=50")
    assert {row["id"] for row in ours} < {row["id"] for row in theirs}
    hidden = next(row for row in theirs if row["subject"]["kind"] == "person")
    problem(server.get(f"/v1/records/{hidden['id']}"), 404, "not-found")
    assert server.get(f"/v1/records/{hidden['id']}", authorization=token).status_code == 200


def test_purposes_are_checked(server: Server, city: City) -> None:
    """A purpose that the token does not have is 403; open.read is everybody's and answers as the public, privately."""
    token = f"Bearer {city.token()}"
    problem(server.get("/v1/me", authorization=token, purpose="exchange.batch"), 403, "not-permitted")
    problem(server.get("/v1/me", purpose="dept.supervision"), 403, "not-permitted")
    problem(server.get("/v1/me", purpose="<x>"), 403, "not-permitted")
    assert server.get("/v1/me", authorization=token, purpose="dept.supervision").json()["purpose"] == "dept.supervision"
    path = "/v1/records?limit=5"
    public, same = server.get(path), server.get(path, authorization=token, purpose="open.read")
    assert same.json()["items"] == public.json()["items"]
    assert same.headers["cache-control"] == "private, max-age=0, must-revalidate"
    assert server.get(path, purpose="open.read").content == public.content


# --- house ------------------------------------------------------------------------------------------------------------------


def test_documents_are_served(server: Server) -> None:
    """OpenAPI as committed, with the fields that the caller sees; its page under a strict content policy; each problem's page."""
    from gateway.app import openapi_document

    committed, served = json.loads(openapi_document()), server.get("/openapi.json").json()
    assert served["paths"] == committed["paths"]
    assert set(committed["components"]["schemas"]) < set(served["components"]["schemas"])
    assert server.get("/openapi.yaml").headers["content-type"] == "application/yaml"
    page = server.get("/docs", accept="text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    said = {"zh-CN": ("请求正文", "至多 63 个字符", "名称与代码核对"), "en": ("Request body", "at most 63 characters", "Match names")}
    for language, words in said.items():
        page = server.get("/docs", accept="text/html", accept_language=language)
        assert page.headers["content-language"] == language
        assert f'<html lang="{language}">' in page.text
        matching = page.text.partition('id="matchNames"')[2].partition("</section>")[0]
        assert all(word in matching for word in words)
        assert "示例药业公司" in matching, "a request as it may be sent"
        assert ("使用目的，凭证有多个目的时必填。" in matching) == (language == "zh-CN") != ("Purpose of use." in matching)
        assert "mapping" in page.text.partition('id="submitMatchJob"')[2].partition("</section>")[0], "and each member of a form"
    style = server.get("/docs/style.css")
    assert style.headers["content-type"] == "text/css; charset=utf-8"
    assert "section { overflow-x: auto; }" in style.text, "a narrow page moves its tables, and breaks no name of a parameter"
    both = server.get("/problems/not-found", accept="text/html", accept_language="en")
    assert "未找到" in both.text
    assert both.headers["content-language"] == "zh-CN, en"
    problem(server.get("/problems/nobody"), 404, "not-found")
    assert server.get("/problems/nobody", accept="text/html").status_code == 404
    codes = {item["code"]: item["status"] for item in server.get("/v1/problems").json()["items"]}
    assert codes["not-found"] == 404
    assert len(codes) > 25


def test_health(server: Server) -> None:
    """The process runs; it can answer; neither is kept."""
    assert server.get("/healthz").json() == {"status": "ok"}
    ready = server.get("/readyz")
    assert ready.json() == {"ready": True, "checks": {"store": "ok", "migrations": "ok", "policy": "ok", "readers": "ok"}}
    assert ready.headers["cache-control"] == "no-store"


@pytest.fixture
def empty(tmp_path: Any) -> Iterator[Server]:
    """A gateway with tables and keys, and no policy in force."""
    import asyncio

    from gateway.operations.manage_keys import create_keys
    from gateway.services import open_services
    from tests.house import settings_of, write_settings

    settings_file = write_settings(tmp_path / "gateway")
    settings = settings_of(settings_file)
    create_keys(settings)

    async def migrate() -> None:
        async with open_services(settings, migrate=True):
            pass

    asyncio.run(migrate())
    with served(City(folder=tmp_path / "gateway", settings_file=settings_file, database="")) as running:
        yield running


def test_without_a_policy_nothing_is_shown(empty: Server) -> None:
    """503 `no-active-policy` on data paths, not ready, alive."""
    for path in ("/v1", "/v1/subjects", "/v1/subjects/91350100M000100Y43", "/v1/changes?since=0"):
        answer = empty.get(path)
        problem(answer, 503, "no-active-policy")
        assert answer.headers["retry-after"] == "60"
    ready = empty.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"]["policy"] == "no-active-policy"
    assert empty.get("/healthz").status_code == 200
    assert empty.get("/v1/problems").status_code == 200
