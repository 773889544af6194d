"""A field whose texts all wait for a reviewer (`review = true`): at once, at every exit, until each is released."""

import csv
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.core.callers.caller import Caller
from gateway.core.disclosure.explain import explain
from gateway.core.disclosure.redactor import REDACTOR, REVIEWED
from gateway.core.disclosure.views import view
from gateway.core.errors import GatewayError
from gateway.core.records.model import DatasetId, Record, RecordId
from gateway.operations.ingest import ingest
from gateway.operations.render_public import settle
from gateway.operations.rescore_texts import rescore_texts
from gateway.operations.review_text import approve
from gateway.operations.send_batch import send_batch
from gateway.operations.waiting_texts import show, waiting
from gateway.services import Services
from gateway.store import records, renderings, reviews
from tests.core.disclosure.small import NOTICES
from tests.doors import a_grant
from tests.house import CENTRE
from tests.operations.changing import BASE, CASES, Office, an_office, bent
from tests.operations.publishing import MARKET, code, ids, penalty, put
from tests.operations.publishing import PENALTIES as PENALTY
from tests.operations.test_render_again import change_policy
from tests.region import PENALTIES, two_cities

KIND = DatasetId("notices")
FACTS = "销售过期食品，已责令改正。"
REVIEW = bent(
    r'facts = \{ label = "事实", type = "string", length = 2000, class = "O", text = true',
    'facts = { label = "事实", type = "string", length = 2000, class = "O", text = true, review = true',
    files=bent(r', facts = "负责人身份证〔证件号1〕，销售过期食品。"', "", path=CASES),
)
"""Facts wait for a reviewer; nothing else is otherwise."""
REVIEWER = Caller(
    tier="department",
    purpose="dept.supervision",
    purposes=("dept.supervision",),
    credential_kind="token",
    app="desk",
    org=CENTRE,
    grants=(a_grant("desk", "g", KIND),),
    case_ref="通审〔2026〕1号",
)


@pytest.fixture
async def office(store_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    """An office with two notices of one firm, rendered; on each database."""
    async with an_office(tmp_path, store_url) as opened:
        await take_in(opened.services, tmp_path / "notices.csv", 1, 2)
        yield opened


async def take_in(services: Services, path: Path, *numbers: int) -> None:
    """Notices with these numbers, as the authority's own word."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["名称", "类别", "代码", "轻重", "文号", "事实", "罚款", "日期", "区划"])
        for number in numbers:
            firm = ["通化市示例药业有限公司", "法人及非法人组织", "91220502XXT00002X2"]
            rows.writerow([*firm, "一般", f"通示罚〔2026〕{number}号", FACTS, "1.2", "2026-05-01", "220502"])
    receipt = await ingest(services, dataset=KIND, path=path, authority=CENTRE, officer="测试员甲", encoding="utf-8")
    assert receipt.accepted == len(numbers)


async def all_of(services: Services) -> list[Record]:
    """Every notice as it is stored."""
    return await records.load(services.store.reads, dataset=KIND)


async def shown(services: Services) -> list[object]:
    """What the public is shown of the facts of each notice, by a view that is made now."""
    policies = await services.policies.fresh()
    plans = policies.public(KIND)
    assert plans is not None
    views = [view(record, plans.plans[record.kind], policies, services.clock()) for record in await all_of(services)]
    return [None if made is None else made.fields.get("facts", made.treatments["facts"]) for made in views]


async def rendered(services: Services) -> list[bool]:
    """Whether the facts stand in what is rendered of each notice for the public."""
    await settle(services)
    held = await renderings.held(services.store.reads, [record.record_id for record in await all_of(services)])
    return [FACTS.encode() in row.body for row in held.values()]


async def test_a_text_is_hidden_with_the_policy_that_asks_for_review(office: Office) -> None:
    """One person may ask for it, no text is scored again yet, and nobody is shown one any more."""
    assert await shown(office.services) == [FACTS, FACTS]
    await office.narrow(REVIEW)
    assert await shown(office.services) == ["held", "held"]
    assert await rendered(office.services) == [False, False]
    said = explain(await office.services.policies.fresh(), dataset=KIND, tier="public", purpose="open.read", kind="legal", field="facts")
    assert "全部文本均待人工审核后显示" in said.reason
    assert said.steps[-1].startswith("fields.facts.review: ")


async def test_each_text_waits_until_it_is_released(office: Office) -> None:
    """All stand in the queue without a suspicious place; who releases one releases what reads exactly so, and that is rendered."""
    await office.narrow(REVIEW)
    assert await rescore_texts(office.services) == 2
    queue = (await waiting(office.services, REVIEWER)).items
    assert [(item.field, item.residual) for item in queue] == [("facts", 1), ("facts", 1)]
    candidate = await show(office.services, REVIEWER, queue[0].id)
    assert (candidate.text, candidate.doubts, candidate.same_text) == (FACTS, (), 1)
    await approve(office.services, REVIEWER, queue[0].id, same_text=True)
    assert await shown(office.services) == [FACTS, FACTS]
    assert await rendered(office.services) == [True, True]
    assert await rescore_texts(office.services) == 0


async def test_what_is_taken_in_under_review_waits_at_once(office: Office, tmp_path: Path) -> None:
    """A new text is held when it is stored, and under seal: it stands nowhere in clear."""
    await office.narrow(REVIEW)
    await take_in(office.services, tmp_path / "more.csv", 3)
    (new,) = [record for record in await all_of(office.services) if record.version == 1 and record.texts["facts"].redactor == REVIEWED]
    stored = await reviews.one(office.services.store.reads, new.record_id)
    assert stored is not None
    assert (stored.texts["facts"].residual, stored.texts["facts"].strict) == (1, None)
    assert [item.record for item in (await waiting(office.services, REVIEWER)).items] == [new.record_id]


async def test_a_text_written_behind_the_back_of_a_new_policy_is_found(office: Office) -> None:
    """A process that had not heard of the policy yet stores as before: nobody sees it, and whoever renders it has it scored again."""
    await office.narrow(REVIEW)
    await rescore_texts(office.services)
    await settle(office.services)
    first = min(record.record_id for record in await all_of(office.services))
    held = await reviews.one(office.services.store.reads, first)
    assert held is not None
    (whole,) = await reviews.whole(office.services.store.reads, [(held, ("facts",))])
    late = {"facts": type(whole["facts"])(strict=FACTS, third_parties=FACTS, residual=0, redactor=REDACTOR)}
    async with office.services.store.transaction() as tx:
        await reviews.put_texts(tx, [reviews.Put(held=held, texts=late)], reason="test", actor="test")
    assert await shown(office.services) == ["held", "held"]
    assert len((await waiting(office.services, REVIEWER)).items) == 1
    assert await rescore_texts(office.services) == 0
    await settle(office.services)
    assert await rescore_texts(office.services) > 0
    assert len((await waiting(office.services, REVIEWER)).items) == 2
    await settle(office.services)
    assert await rescore_texts(office.services) == 0


async def test_texts_are_shown_again_by_two_persons_and_a_new_score(office: Office) -> None:
    """Where a policy asks for it no more, that widens; what only seemed personal for that reason is in nobody's queue any more."""
    await office.narrow(REVIEW)
    await rescore_texts(office.services)
    made = await office.propose(BASE)
    assert (made.effect.widens, made.effect.needs) == (True, ("approver",))
    with pytest.raises(GatewayError, match="not provably narrower"):
        await office.activate(made.proposal, narrow_only=True)
    await office.approve(made.proposal)
    await office.activate(made.proposal)
    assert await shown(office.services) == ["held", "held"]
    await rescore_texts(office.services)
    assert await shown(office.services) == [FACTS, FACTS]
    assert (await waiting(office.services, REVIEWER)).items == ()
    assert await rendered(office.services) == [True, True]


async def test_what_waits_leaves_the_partners_too(tmp_path: Path) -> None:
    """A record whose text travelled is taken back where the agreement requires that text; released it travels again."""
    async with two_cities(tmp_path) as cities:
        ours, reads = cities.tonghua, cities.baishan.store.reads
        made = ids(await put(ours, PENALTY, penalty(code(1), "通化市测试1商贸有限公司", "通示罚〔2026〕1号")))

        async def there() -> tuple[str, str | None]:
            await rescore_texts(ours)
            await settle(ours)
            await send_batch(ours, stream=PENALTIES, at_once=True)
            (record,) = await records.load(reads, ids=[RecordId(each) for each in made])
            return record.state, record.texts["facts"].strict

        assert await there() == ("in_force", "超出登记的经营范围从事经营活动。")
        facts = 'label = "违法事实", label_en = "Facts", type = "string", length = 5000, required = true, class = "O", text = true'
        await change_policy(ours, "datasets/administrative-penalties.toml", facts, facts + ", review = true")
        await ours.policies.fresh()
        assert (await there())[0] == "retracted"
        desk = replace(REVIEWER, org=MARKET, grants=(a_grant("desk", "g", PENALTY, org=MARKET),))
        (item,) = (await waiting(ours, desk)).items
        await approve(ours, desk, item.id)
        assert await there() == ("in_force", "超出登记的经营范围从事经营活动。")


def test_only_free_text_waits_for_reviewers() -> None:
    """Of another field it is refused with file and line."""
    from gateway.core.errors import PolicyError
    from gateway.core.records.catalogue import read_catalogue

    files = bent(r'phone = \{ label = "电话",', 'phone = { label = "电话", review = true,')
    with pytest.raises(PolicyError, match="only free text waits") as refused:
        read_catalogue(files)
    assert (refused.value.code, refused.value.place.startswith(NOTICES)) == ("policy-parse", True)
