"""The law of policy.md §17: two stores that differ only in what a plan does not show give that plan's caller the same bytes.

Two gateways with one clock, one seed and the same keys take in the same department files, but for the cells of columns that a tier is
not shown. Then every caller who may not see them asks everything, in every format, and every status, header field and byte is compared.
"""

import asyncio
import csv
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.operations.ingest import ingest
from gateway.operations.render_public import settle
from gateway.operations.set_up import set_up
from gateway.sample.generate import write_sample
from gateway.settings import Settings
from tests.house import settings_of, write_settings
from tests.web.city import NOW, City, Server, served

SEED = "twins"
SUBJECTS = 24
REMARK = ("备注", "BZ")
REPRESENTATIVE = ("法定代表人", "CF_FRDB")
DOCUMENT = ("证件类型",)
OWN = ("date", "request-id", "ratelimit")
"""Header fields that differ between two answers of one server."""

BLIND: dict[tuple[str, ...], tuple[tuple[str, str], ...]] = {
    # columns → the (tier, purpose) of everybody who is not shown them, of records of any kind
    REMARK: (
        ("public", "open.read"), ("department", "dept.supervision"), ("department", "dept.licensing"), ("partner", "exchange.batch"),
        ("supervisor", "province.report"), ("pboc", "pboc.report"),
    ),
    REPRESENTATIVE: (("public", "open.read"), ("department", "dept.procurement"), ("partner", "mutual.query"), ("pboc", "pboc.report")),
    DOCUMENT: (("public", "open.read"), ("department", "dept.supervision"), ("supervisor", "province.report")),
}  # fmt: skip

NAMES = st.text(alphabet="栎骁翊璟珩瑄菡霏", min_size=2, max_size=3).map(lambda text: "欧阳" + text)
WORDS = st.text(alphabet="甲乙丙丁戊己庚辛13579 ，。身份证电话住址", max_size=40)
KINDS = st.sampled_from(["身份证", "居民身份证", "护照", "其他"])


class Twin(City, kw_only=True):
    """A city whose random ids follow from a seed."""

    def settings(self, now: str = NOW) -> Settings:
        """Its settings at an instant."""
        return settings_of(self.settings_file, CHENGXIN_NOW=now, CHENGXIN_SEED=SEED)


def begin(folder: Path) -> Twin:
    """A gateway with keys, tables and policies."""
    city = Twin(folder=folder, settings_file=write_settings(folder), database="")
    asyncio.run(set_up(city.settings(), by="test"))
    return city


def fill(city: Twin, change: Callable[[str, str], str]) -> None:
    """Take in the sample, with cells changed by (column, value)."""

    async def work(services: Any) -> None:
        for file in write_sample(city.folder / "sample", seed=7, subjects=SUBJECTS):
            if file.path.suffix == ".csv" and file.dataset == "administrative-penalties":
                rewrite(file.path, file.encoding or "utf-8", change)
            await ingest(
                services,
                dataset=file.dataset,
                path=file.path,
                authority=file.authority,
                officer=file.officer,
                encoding=file.encoding,
                progress=None,
            )
        await settle(services)

    city.run(work)


def rewrite(path: Path, encoding: str, change: Callable[[str, str], str]) -> None:
    """The same file with changed cells."""
    text = path.read_bytes().decode(encoding)
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(rows[0])
    writer.writerows([[change(column, cell) for column, cell in zip(rows[0], row, strict=True)] for row in rows[1:]])
    path.write_bytes((mark + out.getvalue()).encode(encoding))


def questions(server: Server, headers: dict[str, str]) -> Iterator[str]:
    """Everything that a caller may ask of what there is."""
    yield from ("/v1", "/openapi.json", "/openapi.yaml", "/v1/me", "/v1/problems", "/v1/keys", "/v1/lists", "/v1/datasets")
    for suffix in ("", ".json", ".ndjson", ".csv"):
        yield f"/v1/records{suffix}?limit=100"
        yield f"/v1/records{suffix}?limit=all&dataset=administrative-penalties"
        yield f"/v1/subjects{suffix}?limit=100"
    yield "/v1/records.csv?dataset=administrative-penalties&limit=all&excel=1"
    yield "/v1/records?dataset=administrative-penalties&limit=50&count=exact&facet=severity&sort=-decision_date"
    yield "/v1/records?dataset=administrative-penalties&shape=flat&limit=100"
    yield "/v1/changes?since=0&limit=1000"
    for text in ("示例", "欧阳", "测试", "栎"):
        yield f"/v1/subjects?q={text}"
        yield f"/v1/suggest?q={text}"
    for each in server.get("/v1/datasets", **headers).json()["items"]:
        for what in ("", "/dictionary", "/schema"):
            yield f"/v1/datasets/{each['id']}{what}"
    for each in server.get("/v1/lists", **headers).json()["items"]:
        yield f"/v1/lists/{each['id']}/listings?limit=100"
        yield f"/v1/lists/{each['id']}/listings.csv?limit=all"
    for record in server.get("/v1/records?dataset=administrative-penalties&limit=100", **headers).json()["items"]:
        yield record["links"]["self"]
        yield record["subject"]["uri"]
        yield f"{record['subject']['uri']}/records?limit=100"
    for name in ("remark", "legal_representative", "legal_representative_id_no", "no_such_field"):
        yield f"/v1/records?dataset=administrative-penalties&{name}=1"
        yield f"/v1/records?dataset=administrative-penalties&sort={name}"


def shown(server: Server, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """An answer without what differs each time."""
    answer = server.get(path, **headers)
    body = answer.content
    if answer.status_code >= 400:  # the number of a request is nobody's secret
        own = answer.headers["request-id"].encode()
        body = body.replace(own, b"")
    return answer.status_code, {name: value for name, value in answer.headers.items() if name not in OWN}, body


@pytest.mark.parametrize(
    ("columns", "values"), [(REMARK, WORDS), (REPRESENTATIVE, NAMES), (DOCUMENT, KINDS)], ids=["remark", "person", "kind"]
)
@settings(max_examples=2, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_a_tier_is_not_shown_moves_no_byte(
    tmp_path_factory: pytest.TempPathFactory, columns: tuple[str, ...], values: st.SearchStrategy[str], data: st.DataObject
) -> None:
    """Whatever stands in a hidden column, every answer to every tier that is not shown it is the same, in every format."""
    folder = tmp_path_factory.mktemp("twins")
    one = begin(folder / "one")
    shutil.copytree(one.folder, folder / "other")
    other = Twin(folder=folder / "other", settings_file=folder / "other" / one.settings_file.name, database="")
    drawn = [data.draw(values) for _ in range(6)]
    seen = 0

    def change(column: str, cell: str) -> str:
        nonlocal seen
        if column not in columns or (columns == DOCUMENT and not cell):
            return cell
        seen += 1
        return drawn[seen % len(drawn)]

    fill(one, lambda _, cell: cell)
    fill(other, change)
    assert seen > 5
    asked = 0
    callers: list[dict[str, str]] = []
    for tier, purpose in BLIND[columns]:
        if tier == "public":
            callers.append({})
            continue
        token = one.token(tier, purpose)
        assert other.token(tier, purpose) == token, "one seed, one stream of random bytes"
        callers.append({"authorization": f"Bearer {token}", "purpose": purpose, "case_ref": "AN-2026-001"})
    with served(one) as here, served(other) as there:
        for headers in callers:
            for path in questions(here, headers):
                assert shown(here, path, headers) == shown(there, path, headers), path
                asked += 1
    assert asked > 100
