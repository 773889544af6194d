"""Natural persons when an agreement ends (exchange.md §3, §14): what was told of them goes with their keys and indexes, and of nobody else.

No rule that we ship lets a city send another a person; rule and ground here are of this test alone, and nobody lives in the division.
"""

import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec import structs

from gateway.core.records.model import RecordId
from gateway.operations.end_agreement import end_agreements
from gateway.operations.finish_erasures import finish_erasures
from gateway.operations.manage_agreements import change_state, take_notice
from gateway.operations.render_public import settle
from gateway.operations.send_batch import send_batch
from gateway.operations.set_up import shipped_policies
from gateway.store import records, tables
from gateway.store.subjects import stored_value, subject_by_key
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES, ids, person_number, person_penalty, put
from tests.region import AGREEMENT, BAISHAN, TONGHUA, Cities, Line, a_city, agree, template

GUEST, NEIGHBOUR = person_number(7), person_number(8)
RULE = """
[[rules]]
id = "test-penalties-persons"
for = { tiers = ["partner"], purposes = ["exchange.batch"], kinds = ["natural"] }
class = { O = "clear", P1 = "clear" }
text = { do = "redact", profile = "strict", hold = true }
field.id_no = { treatment = "clear" }
rows = { within = ["region", "$grant.regions"] }
basis = ["gx", "jl"]
obligations = { audit = "subject", case_ref = "required", rate_class = "partner", cache = "no-store", max_rows = 100, max_rows_day = 1000 }
"""
GROUND = (
    f'natural_persons = {{ allowed = true, datasets = ["{PENALTIES}"], fields = ["CF_XDR_MC", "CF_XDR_ZJHM"], '
    'basis = [{ text = "《示例条例》第一条" }], assessment = "评估〔2026〕1号", route = "direct" }'
)
OPAQUE = ("changes", "erasures", "records", "rendered_subjects", "subjects")
"""Where the id that nobody can lead back stays: the log, the tombstones, and that there is nothing to show."""
KIND = '  { name = "CF_XDR_LB", type = "enum"'


def terms() -> str:
    """Penalties of persons go with those of firms."""
    text = template().replace("natural_persons = { allowed = false }", GROUND)
    head, stream, rest = re.split(rf'(\[\[streams\]\]\ndataset = "{PENALTIES}".*?\n\]\n)', text, maxsplit=1, flags=re.DOTALL)
    stream = re.sub(r'  \{ name = "CF_XDR_(?!MC|LB).*\n', "", stream.replace('subject_kinds = ["legal"]', 'subject_kinds = ["natural"]'))
    return head + stream.replace(KIND, '  { name = "CF_XDR_ZJHM", type = "id_no", required = false },\n' + KIND) + rest


@pytest.fixture
async def cities(tmp_path: Path, store_url: str) -> AsyncIterator[Cities]:
    """Two cities that may tell each other persons; the one that receives on each kind of database."""
    policies = shutil.copytree(shipped_policies(), tmp_path / "policies")
    file = policies / "datasets" / f"{PENALTIES}.toml"
    file.write_text(file.read_text(encoding="utf-8") + RULE, encoding="utf-8")
    async with (
        a_city(tmp_path / "th", TONGHUA, policies=policies) as ours,
        a_city(tmp_path / "bs", BAISHAN, database=store_url, port=8001, policies=policies) as theirs,
    ):
        line = Line()
        ours, theirs = (structs.replace(one, adapters=line.adapters()) for one in (ours, theirs))
        line.join(ours, theirs)
        both = Cities(ours, theirs, line)
        await agree(ours, theirs, terms())
        yield both


async def everywhere(cities: Cities, word: str) -> set[str]:
    """Columns of Baishan's tables in which a word stands."""
    found = set()
    for table in tables.metadata.sorted_tables:
        for row in await cities.baishan.store.reads.all(sa.select(table)):
            for column in table.columns:
                value = getattr(row, column.name)
                if word in (bytes(value).decode("latin-1") if isinstance(value, bytes | memoryview) else str(value)):
                    found.add(f"{table.name}.{column.name}")
    return found


async def test_a_person_whom_only_the_partner_told_goes_with_its_keys(cities: Cities) -> None:
    """No key, name or index leads to it and no key of its own is left; somebody of whom we hold a record of our own stays as before."""
    told = ids(
        await put(
            cities.tonghua,
            PENALTIES,
            person_penalty("测试丁", GUEST, "通示罚〔2026〕7号"),
            person_penalty("测试戊", NEIGHBOUR, "通示罚〔2026〕8号"),
        )
    )
    await send_batch(cities.tonghua, at_once=True)
    (own,) = ids(await put(cities.baishan, PENALTIES, person_penalty("测试戊", NEIGHBOUR, "白示罚〔2026〕8号")))
    await settle(cities.baishan)
    reads = cities.baishan.store.reads
    guest, neighbour = [await subject_by_key(reads, "id_no", number, "natural") for number in (GUEST, NEIGHBOUR)]
    assert guest is not None
    assert neighbour is not None
    indexed = stored_value(reads.vault, "id_no", GUEST, "natural")
    assert await everywhere(cities, indexed) == {"subjects.known_by", "subject_keys.key_value"}
    notice = await change_state(cities.tonghua, AGREEMENT, "terminated", reason="测试", by="test")
    await take_notice(cities.baishan, notice, by="test")
    assert await end_agreements(cities.baishan) == [AGREEMENT]
    await settle(cities.baishan)
    await finish_erasures(cities.baishan)
    assert await everywhere(cities, indexed) == set()
    assert await everywhere(cities, guest.subject_id) == {f"{each}.subject_id" for each in OPAQUE}
    assert await subject_by_key(reads, "id_no", GUEST, "natural") is None
    still = await subject_by_key(reads, "id_no", NEIGHBOUR, "natural")
    assert still is not None
    assert still.subject_id == neighbour.subject_id
    scopes = {row.scope for row in await reads.all(sa.select(tables.deks.c.scope))}
    assert f"subject:{guest.subject_id}" not in scopes
    assert f"subject:{neighbour.subject_id}" in scopes
    (mine,) = await records.load(reads, ids=[RecordId(own)])
    assert mine.raw.open()["id_no"] == NEIGHBOUR
    states = {row.record_id: row.state for row in await reads.all(sa.select(tables.records.c.record_id, tables.records.c.state))}
    assert {states[each] for each in told} == {"erased"}
    await check_ledger(cities.baishan)
