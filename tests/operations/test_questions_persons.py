"""A natural person in a mutual query (exchange.md §12, §14): told only where a rule of ours and a ground of the agreement both let it.

No rule that we ship shows a person to another city; the rule here is of this test alone. The person is of the division where nobody lives.
"""

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.core.exchange.questions import SubjectAsked
from gateway.operations.answer_partner import who_asked
from gateway.operations.ask_partner import Inquiry, ask_partners
from gateway.operations.kept_inquiries import end_case, inquiry_log, show_inquiry
from gateway.operations.set_up import shipped_policies
from gateway.operations.shred import shred
from gateway.store import audit, inquiries
from gateway.store.subjects import subject_by_key
from tests.administrators import enrolled
from tests.asking import ASKER, CASE, asking, with_terms
from tests.operations.publishing import PENALTIES, person_number, person_penalty, put
from tests.operations.test_questions_stored import with_a_short_way
from tests.region import BAISHAN, TONGHUA, Cities, Line, a_city, agree

NUMBER, NAME = person_number(7), "测试丁"
RULE = """
[[rules]]
id = "test-penalties-persons"
for = { tiers = ["partner"], purposes = ["mutual.query"], kinds = ["natural"] }
class = { O = "clear", P1 = "clear" }
text = "drop"
field.id_no = { treatment = { do = "keep", first = 6 } }
rows = { within = ["region", "$grant.regions"] }
basis = ["gx", "jl"]
obligations = { audit = "subject", case_ref = "required", rate_class = "partner", cache = "no-store", max_rows = 100, max_rows_day = 1000 }
"""
GROUND = (
    f'natural_persons = {{ allowed = true, datasets = ["{PENALTIES}"], fields = ["CF_WSH", "CF_CFLB", "CF_NR_FK", "CF_XDR_ZJHM"], '
    'basis = [{ text = "《示例条例》第一条" }], assessment = "评估〔2026〕1号", route = "direct" }'
)


def terms(*, ground: bool = True) -> str:
    """The cities may ask one another about penalties, at most four times a day about one subject; of penalties goes no stream."""
    text = with_terms(subject=4)
    text = re.sub(rf'\[\[streams\]\]\ndataset = "{PENALTIES}".*?(?=\[\[streams\]\])', "", text, flags=re.DOTALL)
    return text.replace("natural_persons = { allowed = false }", GROUND) if ground else text


def with_rule(folder: Path) -> Path:
    """The shipped policies with one rule more."""
    policies = shutil.copytree(shipped_policies(), folder / "policies")
    file = policies / "datasets" / f"{PENALTIES}.toml"
    file.write_text(file.read_text(encoding="utf-8") + RULE, encoding="utf-8")
    return policies


@asynccontextmanager
async def towns(folder: Path, *, rule: bool, ground: bool = True) -> AsyncIterator[Cities]:
    """Tonghua with a penalty of a person, and Baishan, which asks it."""
    policies = with_rule(folder) if rule else None
    async with a_city(folder / "th", TONGHUA, policies=policies) as ours, a_city(folder / "bs", BAISHAN, port=8001) as theirs:
        line = Line()
        ours, theirs = (msgspec.structs.replace(one, adapters=line.adapters()) for one in (ours, theirs))
        line.join(ours, theirs)
        await agree(ours, theirs, terms(ground=ground))
        await put(ours, PENALTIES, person_penalty(NAME, NUMBER, "通示罚〔2026〕7号"))
        cities = Cities(ours, theirs, line)
        yield Cities(ours, with_a_short_way(cities, theirs, ours), line)


async def ask(cities: Cities, *, number: str = NUMBER, name: str | None = NAME, **more: Any) -> Inquiry:
    """A question of Baishan's about a person."""
    return await ask_partners(cities.baishan, ASKER, asking(7, subject=SubjectAsked(kind="natural", id_no=number, name=name), **more))


async def trail(cities: Cities) -> list[audit.AuditRow]:
    """Questions of the partner in Tonghua's trail, the first one first."""
    rows = await audit.rows(cities.tonghua.store.reads, audit.Wanted(kind="access", purpose="mutual.query"), limit=1000)
    return [row for row in rows if row.act == "data.asked"]


def digest_at(cities: Cities, number: str) -> str:
    """How the trail names whom a question was about."""
    return cities.tonghua.store.vault.digest("audit-subject", number.encode())[:16].hex()


@pytest.fixture
async def allowed(tmp_path: Path) -> AsyncIterator[Cities]:
    """Rule and ground are there."""
    async with towns(tmp_path, rule=True) as cities:
        yield cities


async def test_a_person_is_told_for_a_case(allowed: Cities) -> None:
    """By whole number and name: a hit, then what rule and agreement both name, signed, kept for the case alone and gone with it."""
    first = await ask(allowed)
    assert (first.total, first.partners[0].records) == ("hit", ())
    second = await ask(allowed, level=2, follows=first.id)
    (record,) = second.partners[0].records
    assert set(record.fields) == {"CF_WSH", "CF_CFLB", "CF_NR_FK"}, "no name, and no number, which no agreement may ask for here"
    assert record.fields["CF_WSH"] == "通示罚〔2026〕7号"
    assert NUMBER not in str(record)
    assert NAME not in str(record)
    assert (await show_inquiry(allowed.baishan, ASKER, second.id, case=CASE)).partners[0].records == (record,)
    assert await end_case(allowed.baishan, ASKER.org, CASE, by="test") == 1
    assert (await show_inquiry(allowed.baishan, ASKER, second.id, case=CASE)).partners[0].records == ()
    said = [each for each in await inquiry_log(allowed.baishan, allowed.baishan.clock()) if each.inquiry in (first.id, second.id)]
    assert {(each.level, each.status, each.case) for each in said} == {(1, "hit", CASE), (2, "hit", CASE)}


async def test_each_look_is_written_down_counted_and_told_to_the_person(allowed: Cities) -> None:
    """The trail names purpose, case, rule and subject before the answer; the day's number ends it; the person reads who asked and why."""
    first = await ask(allowed)
    await ask(allowed, level=2, follows=first.id)
    for _ in range(2):
        await ask(allowed)
    spent = await ask(allowed)
    assert (spent.total, spent.partners[0].code) == ("incomplete", "QUERY_RATE")
    rows = await trail(allowed)
    assert [(row.org, row.case_ref, row.row_count) for row in rows] == [(ASKER.org, CASE, 1)] * 4
    about = digest_at(allowed, NUMBER)
    assert all(row.subjects == (about,) and row.plan_hash for row in rows)
    assert not any(NUMBER in str(row) or NAME in str(row) for row in rows)
    told = await who_asked(allowed.tonghua, NUMBER, by="测试员甲")
    assert sorted(each.level for each in told) == [1, 1, 1, 2]
    assert {(each.by, each.result, each.case) for each in told} == {(BAISHAN, "hit", CASE)}
    assert all(each.basis == "《示例条例》第一条" for each in told)
    assert await who_asked(allowed.tonghua, person_number(8), by="测试员甲") == []


async def test_shredding_reaches_what_partners_told(allowed: Cities) -> None:
    """A person who is shredded here leaves what another city told for a case too; what it told about somebody else stays."""
    await put(allowed.tonghua, PENALTIES, person_penalty("测试戊", person_number(8), "通示罚〔2026〕8号"))
    asked = []
    for number, name in ((NUMBER, NAME), (person_number(8), "测试戊")):
        await put(allowed.baishan, PENALTIES, person_penalty(name, number, "白示罚〔2026〕7号"))
        first = await ask(allowed, number=number, name=name)
        asked.append((await ask(allowed, number=number, name=name, level=2, follows=first.id)).id)
    subject = await subject_by_key(allowed.baishan.store.reads, "id_no", NUMBER, "natural")
    assert subject is not None
    admin = await enrolled(allowed.baishan, "kang", "key-custodian")
    by = await admin.acts("subject.shred", target=subject.subject_id, reason="request")
    await shred(allowed.baishan, subject.subject_id, reason="request", by=by)
    kept = [(await inquiries.of_inquiry(allowed.baishan.store.reads, each))[0].row.lines is not None for each in asked]
    assert kept == [False, True]


async def test_who_does_not_name_the_person_wholly_is_told_nothing(allowed: Cities) -> None:
    """A number without the name, another's name, another number, and a person without a record, all read as nothing there."""
    nameless = await ask(allowed, name=None)
    assert (nameless.partners[0].status, nameless.partners[0].need) == ("need_more", ("name",))
    for said in ({"name": "测试戊"}, {"number": person_number(9)}):
        found = await ask(allowed, **said)
        assert (found.total, found.partners[0].status, found.partners[0].details) == ("no_hit", "no_hit", False)


async def test_without_the_rule_or_the_ground_nothing_is_told(tmp_path: Path) -> None:
    """Our shipped policies show a person to no city, whatever is agreed; with the rule and without a ground the question is refused."""
    async with towns(tmp_path / "policy", rule=False) as cities:
        found = await ask(cities)
        assert (found.total, found.partners[0].status, found.partners[0].details) == ("no_hit", "no_hit", False)
        assert [row.row_count for row in await trail(cities)] == [0]
    async with towns(tmp_path / "agreed", rule=True, ground=False) as cities:
        found = await ask(cities)
        assert (found.total, found.partners[0].code) == ("incomplete", "LAW_PERSON")
