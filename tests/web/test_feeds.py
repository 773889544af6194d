"""Feeds for feed readers: Atom as feedparser reads it, RFC by RFC, JSON Feed, archive pages, and what is forgotten on every page."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import defusedxml.ElementTree
import feedparser
import httpx
import pytest

from gateway import __version__
from gateway.app import create_app
from gateway.core.publication import syndication
from gateway.core.publication.syndication import Channel, Entry, Gone
from gateway.operations import syndicate
from gateway.operations.render_public import settle
from gateway.operations.withdraw import withdraw
from gateway.services import Services, open_services
from gateway.web.api.routes import ROUTES
from gateway.web.changelog import CHANGELOG
from gateway.web.describe import Described
from tests.house import PLAIN
from tests.web.city import City, Server
from tests.web.serving import serving

LIST = "tax-violations"
A = "{http://www.w3.org/2005/Atom}"
AT = "{http://purl.org/atompub/tombstones/1.0}"
FH = "{http://purl.org/syndication/history/1.0}"
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def valid(body: bytes) -> ET.Element:
    """An Atom document that has what RFC 4287 and RFC 6721 demand."""
    root: ET.Element = defusedxml.ElementTree.fromstring(body)
    assert root.tag == f"{A}feed"
    for name in ("id", "title", "updated"):
        assert len(root.findall(f"{A}{name}")) == 1, name
    assert root.find(f"{A}author/{A}name") is not None
    assert len([link for link in root.findall(f"{A}link") if link.get("rel") == "self"]) == 1
    assert [link.get("type") for link in root.findall(f"{A}link") if link.get("rel") == "alternate"] == ["application/json"]
    seen: set[str | None] = set()
    for entry in root.findall(f"{A}entry"):
        for name in ("id", "title", "updated", "content"):
            found = entry.findall(f"{A}{name}")
            assert len(found) == 1, name
            assert found[0].text
        kinds = [link.get("type") for link in entry.findall(f"{A}link") if link.get("rel") == "alternate"]
        assert "application/json" in kinds
        assert len(set(kinds)) == len(kinds)
        assert INSTANT.fullmatch(entry.findtext(f"{A}updated") or "")
        assert entry.findtext(f"{A}id") not in seen
        seen.add(entry.findtext(f"{A}id"))
    for gone in root.findall(f"{AT}deleted-entry"):
        assert (gone.get("ref") or "").startswith("tag:")
        assert INSTANT.fullmatch(gone.get("when") or "")
        assert gone.findtext(f"{AT}comment") in ("expired", "corrected", "removed")
        assert gone.get("ref") not in seen
    assert all((each.findtext(f"{A}updated") or "") <= (root.findtext(f"{A}updated") or "") for each in root.findall(f"{A}entry"))
    return root


def ids(root: ET.Element) -> list[str]:
    """The ids of the entries, in order."""
    return [entry.findtext(f"{A}id") or "" for entry in root.findall(f"{A}entry")]


def gone_from(root: ET.Element) -> list[str]:
    """What is told to have left."""
    return [gone.get("ref") or "" for gone in root.findall(f"{AT}deleted-entry")]


def older(root: ET.Element) -> str | None:
    """The page before."""
    return next((link.get("href") for link in root.findall(f"{A}link") if link.get("rel") == "prev-archive"), None)


def test_a_list_is_a_feed_that_a_stock_reader_takes(server: Server) -> None:
    """Feedparser finds nothing wrong; every listing is an entry with a stable id, title, categories, a page and a document."""
    answer = server.get(f"/v1/feeds/{LIST}.atom")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/atom+xml; charset=utf-8")
    assert answer.headers["x-robots-tag"] == "noindex, noarchive"
    listings = {row["id"]: row for row in server.get(f"/v1/lists/{LIST}/listings?limit=all").json()["items"]}
    assert listings
    root = valid(answer.content)
    feed = feedparser.parse(answer.content)
    assert not feed.bozo
    assert feed.version == "atom10"
    assert feed.feed.title == server.get(f"/v1/lists/{LIST}").json()["name"]
    assert {entry.id.rpartition("/")[2] for entry in feed.entries} == listings.keys()
    assert len(ids(root)) == len(listings)
    for entry in feed.entries:
        listing = listings[entry.id.rpartition("/")[2]]
        assert entry.id == f"tag:127.0.0.1,2026:record/{listing['id']}"
        assert entry.link == listing["subject"]["uri"].replace("/v1/", "/")  # the page that people read
        assert [each.href for each in entry.links if each.type == "application/json"] == [listing["links"]["self"]]
        assert listing["subject"]["name"] in entry.title
        assert {tag.term for tag in entry.tags} >= {LIST, "blacklist", *(mark["code"] for mark in listing["marks"])}
        assert all(mark["label"] in entry.content[0].value for mark in listing["marks"])
    numbers = [listings[entry.id.rpartition("/")[2]]["seq"] for entry in feed.entries]
    assert numbers == sorted(numbers, reverse=True)
    assert server.get(f"/v1/feeds/{LIST}.atom", if_none_match=answer.headers["etag"]).status_code == 304
    archived = server.get(f"/v1/feeds/{LIST}.atom?page=0")
    assert valid(archived.content).find(f"{FH}archive") is not None
    for each in (answer, archived, server.get("/v1/feeds/datasets.atom")):
        named = valid(each.content).find(f"{{{syndication.POLICY}}}policy")
        assert named is not None
        assert named.attrib == {"version": each.headers["policy-version"], "plan": each.headers["policy-plan"].strip('"')}
    head = server.client.head(f"/v1/feeds/{LIST}.atom")
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", answer.headers["etag"])


def test_the_same_feed_as_json(sqlite_server: Server) -> None:
    """JSON Feed 1.1: the required members, the same ids, and what is ours under `_credit`."""
    answer = sqlite_server.get(f"/v1/feeds/{LIST}.json")
    assert answer.headers["content-type"] == "application/feed+json"
    feed = answer.json()
    assert feed["version"] == "https://jsonfeed.org/version/1.1"
    assert feed["feed_url"].endswith(f"/v1/feeds/{LIST}.json")
    assert str(feed["_credit"]["policy_version"]) == answer.headers["policy-version"]
    assert f'"{feed["_credit"]["policy_plan"]}"' == answer.headers["policy-plan"]
    assert [item["id"] for item in feed["items"]] == ids(valid(sqlite_server.get(f"/v1/feeds/{LIST}.atom").content))
    for item in feed["items"]:
        assert item["content_text"]
        assert INSTANT.fullmatch(item["date_modified"])
        assert item["_credit"].keys() == {"seq", "op", "reason", "marks", "uri"}
        assert sqlite_server.get(urlsplit(item["url"]).path, accept="text/html").headers["content-type"] == "text/html; charset=utf-8"
        assert item["_credit"]["op"] in ("add", "mod")


def test_the_other_feeds(server: Server) -> None:
    """The datasets, and what changes in this API itself; both valid, both conditional."""
    datasets = server.get("/v1/feeds/datasets.atom")
    known = {each["id"] for each in server.get("/v1/datasets").json()["items"]}
    assert {each.rpartition("/")[2] for each in ids(valid(datasets.content))} == known
    changelog = server.get("/v1/feeds/changelog.atom")
    assert ids(valid(changelog.content))
    for answer in (datasets, changelog):
        assert not feedparser.parse(answer.content).bozo
        assert server.get(answer.request.url.path, if_none_match=answer.headers["etag"]).status_code == 304


def test_the_changelog_tells_of_every_operation() -> None:
    """Each is told of once as added, what will go as deprecated; entries begin with a version and stand newest first."""
    known = [each for route in ROUTES if isinstance(each := route.opt.get("described"), Described) and each.public]
    told = {kind: [name for change in CHANGELOG if change.kind == kind for name in change.operations] for kind in ("added", "deprecated")}
    assert sorted(told["added"]) == sorted({each.operation_id for each in known})
    assert sorted(told["deprecated"]) == sorted({each.operation_id for each in known if each.deprecated is not None})
    assert len({change.id for change in CHANGELOG}) == len(CHANGELOG)
    assert [change.at for change in CHANGELOG] == sorted((change.at for change in CHANGELOG), reverse=True)
    assert any(change.id.startswith(f"{__version__}-") for change in CHANGELOG)


@pytest.mark.parametrize(
    "path",
    ["nothing.atom", "honours", "honours.rss", "datasets.json", "honours.atom?page=99999", "datasets.atom?page=0", "changelog.atom?page=0"],
)
def test_what_is_no_feed_is_not_found(sqlite_server: Server, path: str) -> None:
    """An unknown list, suffix or page."""
    assert sqlite_server.get(f"/v1/feeds/{path}").status_code == 404


def test_a_page_is_a_number(sqlite_server: Server) -> None:
    """Anything else is told with its place; an unknown parameter is refused."""
    answer = sqlite_server.get(f"/v1/feeds/{LIST}.atom?page=-1")
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (400, "page")
    assert sqlite_server.get(f"/v1/feeds/{LIST}.atom?limit=3").json()["code"] == "unknown-parameter"


def test_who_comes_with_a_duty_reads_changes(sqlite_server: Server, sqlite_city: City) -> None:
    """Feeds tell what the public sees; a department is told so, whatever the list."""
    office = {"authorization": f"Bearer {sqlite_city.token()}", "purpose": "dept.supervision"}
    for name in (LIST, "nothing", "datasets"):
        assert sqlite_server.get(f"/v1/feeds/{name}.atom", **office).json()["code"] == "not-permitted"
    assert sqlite_server.get(f"/v1/feeds/{LIST}.atom", authorization=office["authorization"], purpose="open.read").status_code == 200


def test_english_is_given_to_who_wants_it(sqlite_server: Server) -> None:
    """Words by Accept-Language; ids and addresses stay."""
    chinese, english = (sqlite_server.get(f"/v1/feeds/{LIST}.atom", accept_language=language) for language in ("zh", "en"))
    assert ids(valid(chinese.content)) == ids(valid(english.content))
    assert english.headers["content-language"] == "en"
    assert "Shown until: " in english.text
    assert "公示至：" in chinese.text
    name = sqlite_server.get(f"/v1/lists/{LIST}", accept_language="en").json()["name"]
    assert name.isascii()
    assert name in {each["name"] for each in sqlite_server.get("/v1/lists", accept_language="en").json()["items"]}
    assert feedparser.parse(english.content).feed.title == name
    assert sqlite_server.get(f"/v1/feeds/{LIST}.json", accept_language="en").json()["title"] == name
    assert name in {each["title"] for each in sqlite_server.get("/v1/ftm/catalog.json", accept_language="en").json()["datasets"]}
    assert feedparser.parse(chinese.content).feed.title == sqlite_server.get(f"/v1/lists/{LIST}").json()["name"] != name


# --- pages and removals ------------------------------------------------------------------------------------------------


class Town(NamedTuple):
    """A served city that another process changes."""

    client: httpx.AsyncClient
    other: Services

    async def pages(self, kind: str = "atom") -> list[bytes]:
        """The live document and every page of its archive."""
        found: list[bytes] = []
        url: str | None = f"/v1/feeds/{LIST}.{kind}"
        while url is not None:
            answer = await self.client.get(url.removeprefix("http://127.0.0.1:8000"))
            assert answer.status_code == 200, answer.text
            found.append(answer.content)
            url = older(valid(answer.content)) if kind == "atom" else answer.json().get("next_url")
        return found


@pytest.fixture
async def town(fresh_city: City, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Town]:
    """The city, with pages of two changes."""
    monkeypatch.setattr(syndicate, "LIVE", 2)
    settings = fresh_city.settings()
    async with (
        open_services(settings) as other,
        serving(create_app(settings)) as origin,
        httpx.AsyncClient(base_url=origin, timeout=30, verify=PLAIN) as client,
    ):
        yield Town(client, other)


async def test_the_archive_has_every_listing(town: Town) -> None:
    """Live document and pages together are the whole list, in Atom and JSON Feed; pages say that they are pages, and do not move."""
    listings = (await town.client.get(f"/v1/lists/{LIST}/listings?limit=all")).json()["items"]
    pages = [valid(page) for page in await town.pages()]
    assert len(pages) > 2
    assert {entry for page in pages for entry in ids(page)} == {f"tag:127.0.0.1,2026:record/{row['id']}" for row in listings}
    assert len(ids(pages[0])) == 2
    assert pages[0].find(f"{FH}archive") is None
    assert len({page.findtext(f"{A}id") for page in pages}) == 1
    for page in pages[1:]:
        assert page.find(f"{FH}archive") is not None
        current = [link.get("href") for link in page.findall(f"{A}link") if link.get("rel") == "current"]
        assert current == [f"http://127.0.0.1:8000/v1/feeds/{LIST}.atom"]
    items = [item["id"] for page in await town.pages("json") for item in json.loads(page)["items"]]
    assert set(items) == {entry for page in pages for entry in ids(page)}


async def test_who_leaves_leaves_every_page(town: Town) -> None:
    """A removal takes the entry from its page at once, and is then told on every page, by id and reason alone; nothing moves back."""
    before = await town.pages()
    record = ids(valid(before[-1]))[-1]
    name = record.rpartition("/")[2]
    listing = (await town.client.get(f"/v1/records/{name}")).json()
    await withdraw(town.other, name, reason="revoked", actor="test")
    unread = await town.pages()  # before any reader of the log has seen it
    assert all(record not in ids(valid(page)) for page in unread)
    await settle(town.other)
    after = [valid(page) for page in await town.pages()]
    assert all(record not in ids(page) for page in after)
    assert all(record in gone_from(page) for page in after)
    told = b"".join(await town.pages()) + b"".join(await town.pages("json"))
    assert listing["subject"]["name"].encode() not in told
    assert name.encode() in told
    for early, late in zip([valid(page) for page in before], after, strict=False):
        assert (early.findtext(f"{A}updated") or "") <= (late.findtext(f"{A}updated") or "")
    stands = {entry.findtext(f"{A}id"): entry.findtext(f"{A}updated") for page in before for entry in valid(page).findall(f"{A}entry")}
    for page in after:
        for entry in page.findall(f"{A}entry"):
            assert (entry.findtext(f"{A}updated") or "") >= (stands[entry.findtext(f"{A}id")] or "")
    gone = [item for item in json.loads((await town.pages("json"))[0])["items"] if item["id"] == record]
    assert [item["_credit"]["op"] for item in gone] == ["del"]
    assert gone[0]["_credit"]["reason"] == "removed"
    assert "title" not in gone[0]


async def test_removals_are_told_for_a_month(fresh_city: City) -> None:
    """After 31 days a removal stands on no page any more, and `updated` has not gone back."""

    async def leave(services: Services) -> None:
        rows = (await services.store.reads.all(sa_listed()))[:1]
        await withdraw(services, rows[0].record_id, reason="revoked", actor="test")
        await settle(services)

    def sa_listed() -> Any:
        import sqlalchemy as sa

        from gateway.store.tables import rendered_records

        return sa.select(rendered_records.c.record_id).where(rendered_records.c.list == LIST).order_by(rendered_records.c.record_id)

    await asyncio.to_thread(fresh_city.run, leave)
    found = {}
    for now in ("2026-06-02T02:30:00Z", "2026-07-01T02:30:00Z", "2026-07-03T02:30:00Z"):
        settings = fresh_city.settings(now)
        async with serving(create_app(settings)) as origin, httpx.AsyncClient(base_url=origin, verify=PLAIN) as client:
            found[now] = valid((await client.get(f"/v1/feeds/{LIST}.atom")).content)
    assert [len(gone_from(root)) for root in found.values()] == [1, 1, 0]
    times = [root.findtext(f"{A}updated") or "" for root in found.values()]
    assert times == sorted(times)


def test_hostile_texts_are_texts() -> None:
    """Markup, entities and characters that XML may not hold do no harm; a reader gets the text."""
    entry = Entry(id="tag:h,2026:record/r", title="<b>&amp;\x0b]]>\ud7ff", text="a\x00b\ufffe<script>", updated="2026-01-01T00:00:00Z", url="http://h/?a=1&b=2")
    gone = Gone(id="tag:h,2026:record/x", when="2026-01-01T00:00:00Z", reason="removed")
    channel = Channel(
        id="tag:h,2026:list/l", title="t", subtitle="s", author="a", language="en", updated="2026-01-01T00:00:00Z", self_url="http://h/f",
        current_url="http://h/f", home_url="http://h/", entries=(entry,), gone=(gone,),
    )  # fmt: skip
    root = valid(syndication.atom(channel))
    assert root.findtext(f"{A}entry/{A}title") == "<b>&amp;]]>\ud7ff"
    assert root.findtext(f"{A}entry/{A}content") == "ab<script>"
