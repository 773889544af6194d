"""The catalogue as other houses read it: rdflib and pyshacl, Frictionless, CSV on the Web, over a real socket.

The published shapes stand beside the project (`../shared/schemas`); where they are not, the test says so.
"""

import json
import os
import re
import tomllib
import warnings
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
import rdflib
from csvw import CSVW
from frictionless import Package, Resource, system
from pyshacl import validate
from rdflib.compare import isomorphic

from gateway.core.disclosure.policy import files_digest
from gateway.operations.build_lists import settle_lists
from gateway.operations.render_public import settle
from gateway.operations.withdraw import withdraw
from gateway.store import lists
from gateway.store import policies as policy_rows
from tests.web.city import City, Server, served

SHAPES = Path(os.environ.get("SHARED_SCHEMAS") or Path(__file__).resolve().parents[3] / "shared" / "schemas") / "dcat-ap-3.0.1"
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")  # rdflib's own reader of JSON-LD
DATASETS = ("administrative-penalties", "honours", "registrations")
POLICIES = Path(__file__).resolve().parents[2] / "policies"
CLASSES = {"O": "open", "B1": "business_contact", "B2": "trade_secret", "P1": "personal", "P2": "identifying", "P3": "sensitive"}
SPELLINGS = {"application/ld+json": "json-ld", "text/turtle": "turtle", "application/rdf+xml": "xml"}
DCAT = rdflib.Namespace("http://www.w3.org/ns/dcat#")
SPDX = rdflib.Namespace("http://spdx.org/rdf/terms#")
SCHEMA = rdflib.Namespace("http://schema.org/")


@pytest.fixture(scope="module")
def open_city(sqlite_city: City) -> Iterator[Server]:
    """A server of the sample city."""
    with served(sqlite_city) as running:
        yield running


def here(server: Server, answer: httpx.Response) -> str:
    """A description with its addresses as this server has them: it listens elsewhere than its settings say."""
    return answer.text.replace("http://127.0.0.1:8000", server.origin)


def read(answer: httpx.Response) -> rdflib.Graph:
    """An answer as a graph, by its own content type."""
    assert answer.status_code == 200, answer.text
    return rdflib.Graph().parse(data=answer.content, format=SPELLINGS[answer.headers["content-type"]])


@pytest.mark.parametrize("path", ["/v1/datasets", *(f"/v1/datasets/{each}" for each in DATASETS)])
def test_three_spellings_are_one_graph(open_city: Server, path: str) -> None:
    """Whichever spelling `Accept` chooses, it is the same graph, with a validator of its own."""
    answers = [open_city.get(path, Accept=media) for media in SPELLINGS]
    graphs = [read(answer) for answer in answers]
    assert len(graphs[0]) > 80
    assert isomorphic(graphs[0], graphs[1])
    assert isomorphic(graphs[1], graphs[2])
    assert len({answer.headers["etag"] for answer in answers}) == len(answers)


def test_the_whole_catalogue_is_a_file_of_each_spelling(open_city: Server) -> None:
    """`/catalog.*` answers by its suffix, whatever is accepted, and says what `/v1/datasets` says."""
    for suffix, media in (("jsonld", "application/ld+json"), ("ttl", "text/turtle"), ("rdf", "application/rdf+xml")):
        answer = open_city.get(f"/catalog.{suffix}", Accept="text/html")
        assert isomorphic(read(answer), read(open_city.get("/v1/datasets", Accept=media)))
        assert answer.headers["cache-control"].startswith("public, max-age=60, must-revalidate")
        in_english = open_city.get(f"/catalog.{suffix}", **{"Accept-Language": "en"})
        assert in_english.content == answer.content
        assert (answer.headers["content-language"], in_english.headers["content-language"]) == ("zh-CN, en", "zh-CN, en")
        again = open_city.get(f"/catalog.{suffix}", **{"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        head = open_city.client.head(f"/catalog.{suffix}")
        assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", answer.headers["etag"])


@pytest.mark.parametrize("path", ["/v1/datasets", "/v1/datasets/honours"])
def test_the_graph_keeps_the_published_shapes(open_city: Server, path: str) -> None:
    """The catalogue, and a dataset alone, keep the SHACL shapes of DCAT-AP 3.0.1, without network."""
    if not SHAPES.is_dir():
        pytest.skip("the shapes of DCAT-AP are not beside the project")
    graph = read(open_city.get(path, Accept="text/turtle"))
    must, may = rdflib.Graph(), rdflib.Graph()
    for shapes, names in ((must, ("shapes.ttl", "range.ttl")), (may, ("shapes_recommended.ttl", "mdr-vocabularies.shape.ttl"))):
        for name in names:
            shapes.parse(SHAPES / name)
    good, _, words = validate(graph, shacl_graph=must, do_owl_imports=False)
    assert good, words
    good, _, words = validate(graph, shacl_graph=may, do_owl_imports=False, allow_warnings=True)  # our publisher is no body of the EU
    assert good, words
    graph.remove((None, rdflib.DCTERMS.title, None))
    assert not validate(graph, shacl_graph=must, do_owl_imports=False)[0]


def test_the_graph_says_what_json_says(open_city: Server) -> None:
    """Datasets, downloads and rights of the graph are those of the JSON answer, in DCAT and in schema.org."""
    graph = read(open_city.get("/v1/datasets", Accept="text/turtle"))
    items = open_city.get("/v1/datasets").json()["items"]
    assert {str(each) for each in graph.objects(None, DCAT.dataset)} == {each["links"]["self"] for each in items}
    for item in items:
        node = rdflib.URIRef(item["links"]["self"])
        assert (node, rdflib.RDF.type, SCHEMA.Dataset) in graph
        assert rdflib.Literal(item["title"], lang="zh") in set(graph.objects(node, SCHEMA.name))
        downloads = {str(url) for each in graph.objects(node, DCAT.distribution) for url in graph.objects(each, DCAT.downloadURL)}
        assert downloads == {each["uri"] for each in item["distributions"]}
        assert open_city.get(str(node), Accept="text/turtle").status_code == 200


def test_files_of_the_latest_version_have_the_digest_that_is_told(fresh_city: City) -> None:
    """Where a dataset has a version its files stand before the live exports, with size and digest once they were made."""
    with served(fresh_city) as server:
        told = server.get("/v1/datasets/honours").json()
        server.get(told["links"]["latest"])  # the manifest: every file of the version is made
        items = server.get("/v1/datasets/honours/distributions").json()["items"]
        assert [each["version"] for each in items] == [told["latest_version"]] * 6 + [None] * 6
        formats = ["csv", "json", "ndjson", "xlsx", "parquet", "msgpack"]
        assert [each["format"] for each in items] == [*formats, *formats]
        for each in items[6:]:
            assert server.get(each["uri"]).headers["content-type"].startswith(each["media_type"])
        for each in items[:6]:
            body = server.get(each["uri"]).content
            assert (len(body), sha256(body).hexdigest()) == (each["bytes"], each["sha256"])
        graph = read(server.get("/v1/datasets/honours", Accept="text/turtle"))
        assert {str(value) for value in graph.objects(None, SPDX.checksumValue)} == {each["sha256"] for each in items[:6]}


def test_versions_are_a_series(fresh_city: City) -> None:
    """Each version that can be taken is a dataset of its own, in one series, after the one before; and the graph keeps its shapes."""
    later = "2026-06-01T03:30:00Z"
    gone = fresh_city.run(one_public_record)
    fresh_city.run(lambda services: withdraw(services, gone, reason="revoked", actor="test"), later)
    fresh_city.run(settle, later)
    fresh_city.run(settle_lists, later)
    with served(fresh_city, later) as server:
        listed = server.get("/v1/datasets/honours/versions").json()["items"]
        names = [each["version"] for each in listed if each["state"] != "withdrawn"]
        assert len(names) == 2
        answer = server.get("/v1/datasets/honours", Accept="text/turtle")
        graph = read(answer)
        node, series = (rdflib.URIRef(f"http://127.0.0.1:8000/v1/datasets/honours{end}") for end in ("", "/versions"))
        newest, oldest = (rdflib.URIRef(f"{series}/{name}") for name in names)
        assert (series, rdflib.RDF.type, DCAT.DatasetSeries) in graph
        assert set(graph.subjects(DCAT.inSeries, series)) == set(graph.objects(node, DCAT.hasVersion)) == {newest, oldest}
        assert set(graph.subject_objects(DCAT.previousVersion)) == {(newest, oldest)}
        assert (*graph.objects(series, DCAT.first), *graph.objects(series, DCAT.last)) == (oldest, newest)
        for address in (series, newest, oldest):
            assert server.get(str(address)).status_code == 200
    if SHAPES.is_dir():
        shapes = rdflib.Graph()
        for name in ("shapes.ttl", "range.ttl"):
            shapes.parse(SHAPES / name)
        good, _, words = validate(graph, shacl_graph=shapes, do_owl_imports=False)
        assert good, words


async def one_public_record(services: Any) -> Any:
    """An honour of an organisation that stands in a version."""
    (row, *_) = await lists.rendered_ids(services.store.reads, "honours", listing=False)
    return row


LICENCE = """
[licences.open]
title = "CC BY 4.0"
url = "https://creativecommons.org/licenses/by/4.0/"
strictness = 1
attribution = "数据来源：诚信通化网"
carve_out = "许可不及于个人信息"
"""


async def licensed(services: Any) -> None:
    """A version in force under which the public's honours stand under a licence."""
    files = dict(await policy_rows.files_of(services.store.reads, 1))
    files["catalogue.toml"] += LICENCE.encode()
    honours = files["datasets/honours.toml"]
    files["datasets/honours.toml"] = honours.replace(b'cache = "public"', b'cache = "public", license = "open"')
    async with services.store.transaction() as tx:
        version = await policy_rows.propose(tx, files, files_digest(files), "test")
        await policy_rows.activate(tx, version, "test", "licence")
    await services.policies.refresh()
    await settle(services)


def test_a_licence_is_told_with_attribution_and_carve_out(fresh_city: City) -> None:
    """Where a policy names a licence, every description carries it, how to name the source, and what is not given."""
    fresh_city.run(licensed)
    uri, rights = "https://creativecommons.org/licenses/by/4.0/", {"数据来源：诚信通化网", "许可不及于个人信息"}
    with served(fresh_city) as server:
        terms = server.get("/v1/datasets/honours").json()["terms"]
        assert (terms["uri"], {terms["attribution"], terms["carve_out"]}) == (uri, rights)
        assert server.get("/v1/datasets/registrations").json()["terms"] is None
        graph = read(server.get("/v1/datasets/honours", Accept="application/rdf+xml"))
        files = set(graph.subjects(rdflib.RDF.type, DCAT.Distribution))
        assert files == set(graph.subjects(rdflib.DCTERMS.license, rdflib.URIRef(uri))) & files
        told = {str(label) for each in graph.objects(None, rdflib.DCTERMS.rights) for label in graph.objects(each, rdflib.RDFS.label)}
        assert told == rights
        package = server.get("/v1/datasets/honours/datapackage.json").json()
        assert [each["path"] for each in package["licenses"]] == [uri]
        assert server.get("/v1/datasets/honours/csv-metadata.json").json()["dc:license"] == {"@id": uri}


@pytest.mark.parametrize("dataset", DATASETS)
def test_frictionless_accepts_description_and_data(open_city: Server, dataset: str, tmp_path: Path) -> None:
    """The data package and every row of the live CSV pass Frictionless, and a row that breaks it does not."""
    with system.use_context(trusted=True):
        (tmp_path / "datapackage.json").write_text(here(open_city, open_city.get(f"/v1/datasets/{dataset}/datapackage.json")))
        package = Package(str(tmp_path / "datapackage.json"))
        report = package.validate()
        assert report.valid, report.flatten(["rowNumber", "fieldName", "type", "note"])[:5]
        rows = open_city.get("/v1/datasets/" + dataset).json()["rows"]
        resource = package.resources[0]
        assert report.tasks[0].stats["rows"] == rows > 0
        broken = open_city.get(f"/v1/records.csv?dataset={dataset}&limit=all").text.replace("rec_", "REC_", 1)
        wrong = Resource(data=broken.encode(), format="csv", schema=resource.schema)
        assert not wrong.validate().valid


@pytest.mark.parametrize("dataset", DATASETS)
def test_csvw_accepts_description_and_data(open_city: Server, dataset: str, tmp_path: Path) -> None:
    """A CSVW processor follows the description to the live CSV, and finds every row as it is described."""
    description = open_city.get(f"/v1/datasets/{dataset}/csv-metadata.json")
    data = open_city.get(f"/v1/records.csv?dataset={dataset}&limit=all")
    described = f'<{description.json()["@id"]}>; rel="describedby"'
    page = f"/v1/records.csv?dataset={dataset}&limit=2"
    assert all(described in answer.headers["link"] for answer in (data, open_city.get(page)))
    assert all("describedby" not in open_city.get(other).headers["link"] for other in (page + "&fields=kind", page + "&excel=1"))
    told = json.loads(here(open_city, description))
    assert told["url"] == str(data.url)
    (tmp_path / "data.csv").write_bytes(data.content)
    (tmp_path / "data.csv-metadata.json").write_text(json.dumps({**told, "url": "data.csv"}), encoding="utf-8")
    table = CSVW(str(tmp_path / "data.csv"), md_url=str(tmp_path / "data.csv-metadata.json"), validate=True)
    assert table.is_valid, table.warnings
    items = open_city.get(f"/v1/records?dataset={dataset}&limit=all").json()["items"]
    rows = list(table.tables[0])
    assert [row["id"] for row in rows] == [each["id"] for each in items]
    (tmp_path / "data.csv").write_bytes(data.content.replace(b"rec_", b"REC_", 1))
    wrong = CSVW(str(tmp_path / "data.csv"), md_url=str(tmp_path / "data.csv-metadata.json"), validate=True)
    with warnings.catch_warnings():  # it warns of what it then says
        warnings.simplefilter("always")
        assert not wrong.is_valid


@pytest.mark.parametrize("collection", ["lists/tax-violations", "lists/honours", "datasets/administrative-penalties"])
def test_versions_are_described_like_live_files(open_city: Server, collection: str, tmp_path: Path) -> None:
    """The CSV of a version names a description that CSVW and Frictionless hold against it, row by row, and a broken row breaks it."""
    data = open_city.client.get(f"/v1/{collection}/versions/latest.csv", follow_redirects=False)
    data = open_city.get(data.headers["location"])
    data = open_city.get(data.headers["location"]) if data.is_redirect else data
    (address,) = re.findall(r'<([^>]+)>; rel="describedby"', data.headers["link"])
    told = open_city.get(address)
    assert (told.status_code, told.json()["@id"]) == (200, address)
    for one in (address, address.replace("csv-metadata", "datapackage"), address.replace("/csv-metadata.json", "")):
        chinese, english = open_city.get(one), open_city.get(one, accept_language="en")
        assert english.content == chinese.content
        assert english.headers["content-language"] == "zh-CN", "what is signed, or describes it, is in one language"
    assert told.json()["url"].endswith(data.request.url.path)
    (tmp_path / "data.csv").write_bytes(data.content)
    (tmp_path / "wrong.csv").write_bytes(data.content.replace(b"rec_", b"REC_", 1))
    tables = []
    for name in ("data", "wrong"):
        (tmp_path / f"{name}.json").write_text(json.dumps({**told.json(), "url": f"{name}.csv"}), encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("always" if name == "wrong" else "error")
            tables.append(CSVW(str(tmp_path / f"{name}.csv"), md_url=str(tmp_path / f"{name}.json"), validate=True))
            assert tables[-1].is_valid is (name == "data"), tables[-1].warnings
    manifest = open_city.get(address.replace("/csv-metadata.json", "")).json()
    assert len(list(tables[0].tables[0])) == manifest["rows"] > 0
    with system.use_context(trusted=True):
        package = here(open_city, open_city.get(address.replace("csv-metadata", "datapackage")))
        (tmp_path / "datapackage.json").write_text(package)
        report = Package(str(tmp_path / "datapackage.json")).validate()
        assert report.valid, report.flatten(["rowNumber", "fieldName", "type", "note"])[:5]
        assert report.tasks[0].stats["rows"] == manifest["rows"]
    assert json.loads(package)["resources"][0]["hash"] == f"sha256:{sha256(data.content).hexdigest()}"


def test_the_dictionary_tells_how_fields_are_classed(server: Server) -> None:
    """In words, as the dataset file classes the field of an organisation: open by law, or a person's name."""
    for dataset in DATASETS:
        file = tomllib.loads((POLICIES / "datasets" / f"{dataset}.toml").read_text(encoding="utf-8"))
        for field in server.get(f"/v1/datasets/{dataset}/dictionary").json()["fields"]:
            given = file["fields"][field["name"]].get("class", "U")
            assert field["sensitivity"] == CLASSES[given if isinstance(given, str) else given["legal"]], field["name"]


def test_schemas_name_fields_in_the_language(server: Server) -> None:
    """As the dictionary does; of the shape nothing changes."""
    for dataset in DATASETS:
        url = f"/v1/datasets/{dataset}/schema"
        names = {each["name"]: each for each in server.get(f"/v1/datasets/{dataset}/dictionary").json()["fields"]}
        chinese, english = server.get(url).json(), server.get(url, accept_language="en").json()
        for one, other in zip(chinese["anyOf"], english["anyOf"], strict=True):
            titles = [{name: shape.pop("title") for name, shape in each["properties"].items()} for each in (one, other)]
            assert one == other
            assert titles[1].get("summary", "Summary") == "Summary"
            for name, told in names.items():
                if name in titles[0]:
                    assert (titles[0][name], titles[1][name]) == (told["name_zh"], told["name_en"])


def test_quality_is_what_anybody_can_count(server: Server) -> None:
    """Rows, completeness and objections per source are those of the download, and every source of it is told."""
    told = server.get("/v1/datasets/administrative-penalties/quality").json()
    rows = server.get("/v1/records?dataset=administrative-penalties&limit=all").json()["items"]
    assert {each["source"]["uscc"] for each in told["items"]} == {row["source"]["uscc"] for row in rows}
    for each in told["items"]:
        of_it = [row for row in rows if row["source"]["uscc"] == each["source"]["uscc"]]
        assert each["rows"] == len(of_it)
        amounts = [row["fields"].get("fine_amount") is not None for row in of_it]
        assert each["completeness"]["fields.fine_amount"] == round(sum(amounts) / len(amounts), 3)
        marked = [row for row in of_it if any(mark["code"] == "objection_in_progress" for mark in row["marks"])]
        assert each["open_objections"] == len(marked)
        assert each["freshness"] == {"target": "P7D", "age": each["freshness"]["age"], "breached": False}
        assert each["rows_rejected"] is None or each["rows_rejected"] % 5 == 0
        assert 0 < each["validity"] <= 1
        assert each["validity_kind"] == ("at_least" if each["rows_rejected"] is None else "rounded")
        assert all(number is None or number % 5 == 0 for number in each["rows_rejected_by"].values())
    assert any(each["rows_rejected_by"] for each in told["items"])
