"""Held texts and their reviewers: who sees the queue, what a decision does and when it ends, and another redactor."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.callers.grants import Grant
from gateway.core.disclosure import redaction, redactor
from gateway.core.disclosure.obligations import Obligations
from gateway.core.disclosure.views import view
from gateway.core.errors import CaseRefMissing, Conflict, InvalidParameter, NotFound, NotPermitted, RowBudgetSpent
from gateway.core.records.model import DatasetId, Record, RecordId
from gateway.operations import rescore_texts as rescoring
from gateway.operations import waiting_texts
from gateway.operations.ingest import ingest
from gateway.operations.render_public import settle
from gateway.operations.rescore_texts import rescore_texts
from gateway.operations.review_text import PLACEHOLDER, approve, edit, refuse
from gateway.operations.waiting_texts import OVERDUE, measure, show, waiting
from gateway.sample.generate import SampleFile, write_sample
from gateway.services import Services, open_services
from gateway.store import audit, budgets, changes, records, renderings, reviews
from tests.doors import a_grant
from tests.house import make, settings_of, write_settings

PENALTIES = DatasetId("administrative-penalties")
NOW = "2026-06-02T02:30:00Z"


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> tuple[SampleFile, Callable[[Services], Awaitable[None]]]:
    """The market authority's penalties of a small sample, and the story of taking them in, which is told once and copied."""
    files = write_sample(tmp_path_factory.mktemp("files"), seed=1, subjects=60)
    file = next(file for file in files if file.dataset == PENALTIES and file.encoding == "gb18030")
    return file, lambda services: load(services, file)


@pytest.fixture
async def town(
    tmp_path: Path, store_url: str, sent: tuple[SampleFile, Callable[[Services], Awaitable[None]]]
) -> AsyncIterator[tuple[Services, SampleFile]]:
    """A gateway with those penalties, some texts of which are held; on both databases."""
    file, story = sent
    settings = settings_of(write_settings(tmp_path, database=store_url), CHENGXIN_NOW=NOW)
    await make(settings, story)
    async with open_services(settings) as services:
        yield services, file


async def load(services: Services, file: SampleFile) -> None:
    """The file, once more or for the first time."""
    await ingest(
        services,
        dataset=file.dataset,
        path=file.path,
        authority=file.authority,
        officer=file.officer,
        encoding=file.encoding,
        progress=None,
    )


def reviewer(file: SampleFile, *grants: Grant) -> Caller:
    """An application of the authority whose file it is, granted the penalties of the whole city unless said otherwise."""
    return Caller(
        tier="department",
        purpose="dept.supervision",
        purposes=("dept.supervision",),
        credential_kind="token",
        app="desk",
        org=file.authority,
        grants=grants or (a_grant("desk", "g", org=file.authority),),
        case_ref="通审〔2026〕1号",
    )


async def the(services: Services, record_id: str) -> Record:
    """The record as it stands."""
    return (await records.load(services.store.reads, ids=[RecordId(record_id)]))[0]


async def public_facts(services: Services, record_id: str) -> object:
    """What the public is shown of the facts; `held` when nothing."""
    record = await the(services, record_id)
    policies = services.policies.current()
    plans = policies.public(PENALTIES)
    assert plans is not None
    made = view(record, plans.plans[record.kind], policies, services.clock())
    assert made is not None
    return "held" if made.treatments["facts"] == "held" else made.fields["facts"]


async def first_item(services: Services, caller: Caller) -> str:
    """The first waiting text that the public would see."""
    policies = services.policies.current()
    plans = policies.public(PENALTIES)
    assert plans is not None
    for item in (await waiting(services, caller)).items:
        record = await the(services, item.record)
        if item.field == "facts" and view(record, plans.plans[record.kind], policies, services.clock()) is not None:
            return item.id
    raise AssertionError("nothing of the sample waits")


async def test_only_departments_see_their_own_queue(town: tuple[Services, SampleFile]) -> None:
    """The public, another purpose and another organisation get nothing, and an item of others is a 404."""
    services, file = town
    mine = reviewer(file)
    page = await waiting(services, mine)
    assert page.items
    assert {item.dataset for item in page.items} == {PENALTIES}
    assert (await waiting(services, replace(mine, org="11220500XXT0001009"))).items == ()
    for nobody in (PUBLIC, replace(mine, purpose="dept.registration"), replace(mine, tier="supervisor"), replace(mine, org=None)):
        with pytest.raises(NotPermitted):
            await waiting(services, nobody)
        with pytest.raises(NotPermitted):
            await approve(services, nobody, page.items[0].id)
    with pytest.raises(NotFound):
        await show(services, replace(mine, org="11220500XXT0001009"), page.items[0].id)
    for wrong in ("rec_2222222222222222222222222a~facts", "x", f"{page.items[0].record}~name"):
        with pytest.raises(NotFound):
            await show(services, mine, wrong)


async def test_the_queue_ends_where_the_grants_end(town: tuple[Services, SampleFile]) -> None:
    """Another dataset, another region, a ceiling over the field, another app's grant: not listed, and the one 404 for every act."""
    services, file = town
    wide = reviewer(file)
    items = (await waiting(services, wide)).items
    review = items[0].id
    out_of_reach = (
        a_grant("desk", "g", "honours", org=file.authority, regions=("220581",)),
        a_grant("desk", "g", org=file.authority, regions=("220600",)),
        a_grant("desk", "g", org=file.authority, ceilings={"facts": "drop"}),
        a_grant("desk", "g", org=file.authority, purposes=("dept.licensing",)),
        a_grant("other", "g", org=file.authority),
    )
    for grant in out_of_reach:
        narrow = reviewer(file, grant)
        assert not [item for item in (await waiting(services, narrow)).items if item.field == "facts"], grant
        for act in (
            show(services, narrow, review),
            approve(services, narrow, review),
            approve(services, narrow, review, same_text=True),
            edit(services, narrow, review, [(0, 1)]),
            refuse(services, narrow, review, "x"),
        ):
            with pytest.raises(NotFound):
                await act
    region = (await the(services, items[0].record)).region
    there = reviewer(file, a_grant("desk", "g", org=file.authority, regions=(region,)))
    kept = [item.record for item in (await waiting(services, there)).items]
    assert review in [item.id for item in (await waiting(services, there)).items]
    assert {(await the(services, record)).region for record in kept} == {region}
    first = [item.id for item in (await waiting(services, there, limit=1)).items]
    assert first == [(await waiting(services, there)).items[0].id]  # a page is as long as what is reached, not as what waits


async def test_reviewing_owes_what_reading_owes(town: tuple[Services, SampleFile], monkeypatch: pytest.MonkeyPatch) -> None:
    """A case reference for every act, rows of the organisation's day, and a row of the audit with the subject before anything is done."""
    services, file = town
    mine = reviewer(file)
    left = await first_item(services, mine)
    review = next(item.id for item in (await waiting(services, mine)).items if item.id != left)
    bare = replace(mine, case_ref=None)
    for act in (
        waiting(services, bare),
        show(services, bare, review),
        approve(services, bare, review),
        refuse(services, bare, review, "x"),
    ):
        with pytest.raises(CaseRefMissing):
            await act
    await show(services, mine, review)
    await refuse(services, mine, review, "涉及案外人")
    rows = await audit.rows(services.store.reads, audit.Wanted(kind="access"), limit=1000)
    assert [row.shape for row in rows][-2:] == ["review", "review.refuse"]
    assert all(row.subjects and row.case_ref and row.dataset == PENALTIES for row in rows)

    async def spent(*_: object, **__: object) -> bool:
        return False

    monkeypatch.setattr(budgets, "spend", spent)
    monkeypatch.setattr(waiting_texts, "owed_of", lambda *_: Obligations(max_rows=1, max_rows_day=1))
    for act in (waiting(services, mine), show(services, mine, left), approve(services, mine, left)):
        with pytest.raises(RowBudgetSpent):
            await act
    monkeypatch.undo()
    monkeypatch.setattr(waiting_texts, "owed_of", lambda *_: Obligations(max_rows=1))
    assert len({item.record for item in (await waiting(services, mine)).items}) == 1
    assert await public_facts(services, left.partition("~")[0]) == "held"


async def test_a_candidate_says_what_is_suspicious(town: tuple[Services, SampleFile]) -> None:
    """Redacted text with places; nothing of the raw text that was replaced."""
    services, file = town
    shown = await show(services, reviewer(file), await first_item(services, reviewer(file)))
    assert shown.residual > 0
    assert shown.doubts
    assert all(shown.text[doubt.start : doubt.end] == doubt.text for doubt in shown.doubts)


async def test_pages_of_the_queue_go_on_after_the_last(town: tuple[Services, SampleFile]) -> None:
    """Each text once, whatever the page's size; `after` is what `next` gave."""
    services, file = town
    whole = [item.id for item in (await waiting(services, reviewer(file))).items]
    found: list[str] = []
    after: str | None = None
    while True:
        page = await waiting(services, reviewer(file), after=after, limit=1)
        found += [item.id for item in page.items]
        after = page.next
        if after is None:
            break
    assert sorted(found) == sorted(whole)
    with pytest.raises(InvalidParameter):
        await waiting(services, reviewer(file), after="x")


async def test_a_released_text_is_shown_everywhere_at_once(town: tuple[Services, SampleFile]) -> None:
    """State, change row, decision and audit in one transaction; the public rendering follows; it is out of the queue."""
    services, file = town
    review = await first_item(services, reviewer(file))
    record_id = review.partition("~")[0]
    assert await public_facts(services, record_id) == "held"
    candidate = await show(services, reviewer(file), review)
    head = await changes.head(services.store.reads)
    done = await approve(services, reviewer(file), review)
    assert (done.decision, done.decided) == ("released", 1)
    assert await public_facts(services, record_id) == candidate.text
    change = (await changes.after(services.store.reads, head, 10))[0]
    assert (change.record_id, change.op, change.reason, change.actor) == (record_id, "amend", "text-approve", "app:desk")
    rows = await audit.after(services.store.reads, 0, 1000)
    assert ("app:desk", "text.approve", f"record/{record_id}") in [(row.actor, row.act, row.target) for row in rows]
    await settle(services)
    rendered = (await renderings.held(services.store.reads, [record_id]))[record_id]
    assert candidate.text.encode() in rendered.body
    assert review not in [item.id for item in (await waiting(services, reviewer(file))).items]
    with pytest.raises(NotFound):
        await approve(services, reviewer(file), review)


async def test_a_decision_holds_for_the_same_text_only(town: tuple[Services, SampleFile]) -> None:
    """What is said again unchanged stays released; a text that came out otherwise waits anew."""
    services, file = town
    review = await first_item(services, reviewer(file))
    record_id = review.partition("~")[0]
    await approve(services, reviewer(file), review)
    await load(services, file)
    assert await public_facts(services, record_id) != "held"
    held = await reviews.one(services.store.reads, record_id)
    assert held is not None
    other = replace(held.texts["facts"], strict=held.texts["facts"].strict + "。", decided="")
    async with services.store.transaction() as tx:
        await reviews.put_texts(tx, [reviews.Put(held=held, texts={**held.texts, "facts": other})], reason="test", actor="test")
    assert await public_facts(services, record_id) == "held"
    assert review in [item.id for item in (await waiting(services, reviewer(file))).items]


async def test_an_edit_puts_placeholders_over_places(town: tuple[Services, SampleFile]) -> None:
    """What is left is released; places outside the text or over one another are refused."""
    services, file = town
    review = await first_item(services, reviewer(file))
    candidate = await show(services, reviewer(file), review)
    doubt = candidate.doubts[0]
    for wrong in ([], [(0, len(candidate.text) + 1)], [(3, 3)], [(0, 4), (2, 6)], [(-1, 2)]):
        with pytest.raises(InvalidParameter):
            await edit(services, reviewer(file), review, wrong)
    await edit(services, reviewer(file), review, [(doubt.start, doubt.end)])
    shown = await public_facts(services, review.partition("~")[0])
    assert shown == candidate.text[: doubt.start] + PLACEHOLDER + candidate.text[doubt.end :]
    department = (await the(services, review.partition("~")[0])).texts["facts"].third_parties
    assert department == shown


async def test_a_refused_text_stays_held(town: tuple[Services, SampleFile]) -> None:
    """Out of the queue, and out of sight; a reason is owed."""
    services, file = town
    review = await first_item(services, reviewer(file))
    with pytest.raises(InvalidParameter):
        await refuse(services, reviewer(file), review, " ")
    assert (await refuse(services, reviewer(file), review, "涉及案外人")).decision == "refused"
    assert await public_facts(services, review.partition("~")[0]) == "held"
    assert review not in [item.id for item in (await waiting(services, reviewer(file))).items]


async def test_identical_texts_are_released_together(town: tuple[Services, SampleFile]) -> None:
    """`same_text` decides every text of the organisation that reads exactly so, and no other."""
    services, file = town
    items = (await waiting(services, reviewer(file))).items
    assert len(items) > 1
    first, second = items[0], next(item for item in items if item.record != items[0].record)
    one, two = [await reviews.one(services.store.reads, item.record) for item in (first, second)]
    assert one is not None
    assert two is not None
    same = replace(one.texts[first.field], of=two.texts[second.field].of)
    async with services.store.transaction() as tx:
        await reviews.put_texts(tx, [reviews.Put(held=two, texts={**two.texts, second.field: same})], reason="test", actor="test")
    alike = (await show(services, reviewer(file), first.id)).same_text
    assert alike >= 1
    assert (await approve(services, reviewer(file), first.id, same_text=True)).decided == alike + 1
    left = [item.id for item in (await waiting(services, reviewer(file))).items]
    assert first.id not in left
    assert second.id not in left


async def test_a_record_that_changed_meanwhile_is_a_conflict(town: tuple[Services, SampleFile], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is released of what was not shown so."""
    services, file = town
    review = await first_item(services, reviewer(file))
    real = reviews.one

    async def older(source: object, record_id: str, **gates: object) -> reviews.Held | None:
        held = await real(source, record_id, **gates)  # type: ignore[arg-type]  # passed on as it came
        return None if held is None else replace(held, changed_seq=held.changed_seq - 1)

    monkeypatch.setattr(reviews, "one", older)
    with pytest.raises(Conflict):
        await approve(services, reviewer(file), review)
    monkeypatch.undo()
    assert await public_facts(services, review.partition("~")[0]) == "held"


async def test_the_queue_is_measured(town: tuple[Services, SampleFile]) -> None:
    """Count, age and overdue of each dataset."""
    services, _ = town
    (queue,) = await measure(services)
    assert (queue.dataset, queue.overdue) == (PENALTIES, 0)
    assert queue.records > 0
    assert 0 <= queue.oldest_s < OVERDUE.total_seconds()


async def test_another_redactor_scores_everything_again(town: tuple[Services, SampleFile], monkeypatch: pytest.MonkeyPatch) -> None:
    """Held at once by every plan that holds; scored again in chunks that may be stopped; a release under the former one has ended."""
    services, file = town
    review = await first_item(services, reviewer(file))
    record_id = review.partition("~")[0]
    await approve(services, reviewer(file), review)
    assert await rescore_texts(services) == 0
    assert await public_facts(services, record_id) != "held"

    for room in (redaction, redactor, rescoring):
        monkeypatch.setattr(room, "REDACTOR", "next")
    services.policies.current().memo.clear()  # another redactor comes with another program
    monkeypatch.setattr(rescoring, "CHUNK", 7)
    assert await public_facts(services, record_id) == "held"
    assert await rescore_texts(services, limit=7) == 7  # stopped here, another process goes on
    while await rescore_texts(services, limit=7):
        pass
    everything = await records.load(services.store.reads, dataset=PENALTIES)
    assert {text.redactor for record in everything for text in record.texts.values()} == {"next"}
    assert await public_facts(services, record_id) == "held"
    assert review in [item.id for item in (await waiting(services, reviewer(file))).items]
    assert not any(text.decided for record in everything for text in record.texts.values())
