"""Archived versions and what is shown less of: texts held again or redacted harder, values taken back, rows that a policy hides."""

from collections.abc import Awaitable, Callable

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from gateway.core.callers.caller import PUBLIC
from gateway.core.errors import StoreError, VersionReissued, VersionReissuing
from gateway.core.publication.forms import forms_of
from gateway.core.publication.versions import document_of
from gateway.operations import answer_query, read_versions, reissue_lists, version_files
from gateway.operations.build_lists import build, settle_lists
from gateway.operations.collected import collection_of
from gateway.operations.reissue_lists import follow
from gateway.operations.render_public import settle
from gateway.operations.withdraw import withdraw
from gateway.services import Services
from gateway.store import list_issues, lists, reviews
from gateway.store.tables import list_rows
from tests.operations.publishing import TAX, at, code, put, read, violation
from tests.operations.test_lists import BLACK, GONE, THIRD, change, fetched, grown, listed, manifest, named
from tests.operations.test_render_again import change_policy

TELLING_WORDS = "少缴税款。货物由仓管员保管。"

CONDITION = "缴清税款后移出。"


async def two_versions(services: Services) -> dict[str, str]:
    """Two versions, of which the first holds a text that says much."""
    made = await listed(services)
    async with at(services, "2026-06-02T09:00:00Z") as later:
        await say(later, facts=TELLING_WORDS, removal=True)
        await settle(later)
        await settle_lists(later)
    await grown(services, made)
    return made


async def say(services: Services, *, facts: str, removal: bool) -> None:
    """The department says the same decision once more."""
    more = {"移出条件": CONDITION} if removal else {}
    await put(services, TAX, violation(code(2), GONE, "通示税〔2026〕1号", 主要违法事实=facts, **more))


async def texts_of(services: Services, record_id: str, **changed: object) -> None:
    """A reviewer's or a redactor's second thoughts about the facts."""
    held = await reviews.one(services.store.reads, record_id)
    assert held is not None
    other = replace(held.texts["facts"], **changed)
    async with services.store.transaction() as tx:
        await reviews.put_texts(tx, [reviews.Put(held=held, texts={**held.texts, "facts": other})], reason="test", actor="test")


async def held_again(services: Services, record_id: str) -> None:
    """The text is held."""
    await texts_of(services, record_id, residual=1, doubts=((0, 2),), decided="")


async def harder(services: Services, record_id: str) -> None:
    """A later redactor finds what an earlier one did not."""
    await texts_of(services, record_id, strict=TELLING_WORDS.replace("仓管员", "〔人员1〕"))


async def taken_back(services: Services, record_id: str) -> None:
    """The source corrects its statement: one field is not said any more, and one text is shorter."""
    assert record_id
    await say(services, facts="少缴税款。", removal=False)


@pytest.mark.parametrize(
    ("act", "words"), [(held_again, "仓管员"), (harder, "仓管员"), (taken_back, "仓管员")], ids=["held", "harder", "corrected"]
)
async def test_what_is_shown_less_of_is_narrower_in_every_version(
    town: Services, act: Callable[[Services, str], Awaitable[None]], words: str
) -> None:
    """From the commit on no old byte is given; then what said more is issued again, says `redacted`, and has no such word."""
    made = await two_versions(town)
    names = await named(town)
    _, where = await fetched(town, f"{names[1]}.ndjson")
    untouched = await manifest(town, names[0])
    async with at(town, THIRD) as later:
        for name in names[1:]:
            assert words.encode() in (await fetched(later, f"{name}.ndjson"))[0]
            await fetched(later, f"{name}.csv")
        await change(later, names[0], names[1])
        await act(later, made["gone"])
        with pytest.raises(VersionReissuing):
            await read_versions.file(later, BLACK, where)
        with pytest.raises(VersionReissuing):
            await change(later, names[0], names[1])
        await settle(later)
        with pytest.raises(VersionReissuing):
            await read_versions.file(later, BLACK, where)
        await settle_lists(later)
        with pytest.raises(VersionReissued):
            await read_versions.file(later, BLACK, where)
        for name in names[1:]:
            said = await manifest(later, name)
            assert (said["issue"], said["issues"][0]["cause"], said["issues"][0]["removed"]) == (2, "redacted", 0)
            lines = (await fetched(later, f"{name}.ndjson"))[0].splitlines()
            row = next(document_of(line) for line in lines if document_of(line)["id"] == made["gone"])
            assert row["fields"].get("facts") is None
            assert row["fields"]["content"] == "追缴税款。"
            assert (row["removal_conditions"] is None) == (act is taken_back)
            assert words.encode() not in (await fetched(later, f"{name}.csv"))[0] + await change(later, names[0], name)
        # what is held holds everything that was ever said of it; a harder redaction takes only what it took
        assert (await manifest(later, names[0]))["issue"] == untouched["issue"] + (act is held_again)
        latest = (await fetched(later, "latest.ndjson"))[0]
        assert made["gone"].encode() in latest
        for path in later.settings.lists_path.rglob("*"):
            assert path.is_dir() or words.encode() not in path.read_bytes()
        for row in await later.store.reads.slow(sa.select(list_rows).where(list_rows.c.line.is_not(None))):
            assert words.encode() not in row.line
        # the law: any issue of the first, with the current delta, is the current issue of the last
        start = (await fetched(later, f"{names[1]}.ndjson"))[0].splitlines()
        steps = await change(later, names[1])
        assert {document_of(line)["id"] for line in start} <= {document_of(line)["id"] for line in latest.splitlines()}
        assert made["gone"].encode() in steps


async def test_an_ordinary_correction_leaves_versions_as_they_were(small: Services) -> None:
    """Another value in place of an old one, or more text after a text, is history: no version is issued again."""
    await two_versions(small)
    names = await named(small)
    async with at(small, THIRD) as later:
        before = [await fetched(later, f"{name}.ndjson") for name in names]
        await put(
            later,
            TAX,
            violation(code(2), GONE, "通示税〔2026〕1号", 案件性质="虚开", 主要违法事实=TELLING_WORDS + "已改。", 移出条件=CONDITION),
        )
        await settle(later)
        await settle_lists(later)
        assert [await fetched(later, f"{name}.ndjson") for name in names] == before
        assert (await named(later))[:-1] == names


_PUBLIC = 'obligations = { audit = "count", rate_class = "open", cache = "public" }'


async def test_rows_that_a_policy_hides_are_never_readable_after_it(town: Services) -> None:
    """Hidden from the activation on, at every step of taking the policy up, also when the process ends after any of them."""
    await put(town, TAX, violation(code(9), "通化市第九示例有限公司", "通示税〔2026〕9号", 案件性质="骗取出口退税"))
    await listed(town)
    (first,) = await named(town)
    hidden = "第九示例".encode()
    assert hidden in (await fetched(town, f"{first}.ndjson"))[0]
    async with at(town, "2026-06-02T05:00:00Z") as later:
        gate = 'rows = { eq = ["case_nature", "偷税"] }\n'
        await change_policy(later, "datasets/tax-violations.toml", _PUBLIC, gate + _PUBLIC)
        for step in (settle, follow, follow, build, follow, follow, build):
            await step(later)
            try:
                body, where = await fetched(later, f"{first}.ndjson")
            except VersionReissuing:
                continue
            assert hidden not in body
            assert ".r2." in where
        said = await manifest(later, first)
        assert (said["issue"], said["issues"][0]["cause"], said["issues"][0]["removed"], said["rows"]) == (2, "policy", 1, 2)


async def test_versions_come_back_without_a_build(small: Services) -> None:
    """Where nobody builds (`lists_build_s = 0`) versions are held against another policy all the same."""
    await listed(small)
    async with at(small, THIRD) as later:
        gate = 'rows = { eq = ["case_nature", "偷税"] }\n'
        await change_policy(later, "datasets/tax-violations.toml", _PUBLIC, gate + _PUBLIC)
        await settle(later)
        while await follow(later):
            pass
        assert (await fetched(later, "latest.ndjson"))[0].count(b"\n") == 2


async def test_a_kill_between_erasing_and_issuing_leaves_versions_refused(town: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """What left is erased first; until a version has its next issue nothing of it is given, and the next round goes on."""
    made = await two_versions(town)
    first, *_, last = await named(town)
    issues = {name: (await manifest(town, name))["issue"] for name in (first, last)}

    async def killed(*_: object, **__: object) -> None:
        raise StoreError("killed", code="store-unavailable")

    async with at(town, THIRD) as later:
        await withdraw(later, made["gone"], reason="revoked", actor="test")
        await settle(later)
        with monkeypatch.context() as patch:
            patch.setattr(list_issues, "re_issue", killed)
            with pytest.raises(StoreError):
                while await follow(later, at_once=True):
                    pass
        rows = await later.store.reads.slow(sa.select(list_rows).where(list_rows.c.record_id == made["gone"]))
        assert {row.line for row in rows} == {None}
        for name in (first, last):
            with pytest.raises(VersionReissuing):
                await fetched(later, f"{name}.ndjson")
        while await follow(later, at_once=True):
            pass
        for name in (first, last):
            assert made["gone"].encode() not in (await fetched(later, f"{name}.ndjson"))[0]
            assert (await manifest(later, name))["issue"] == issues[name] + 1
        assert [each.pending for each in await lists.versions(later.store.reads, BLACK)] == [None] * 3


async def test_a_version_is_issued_again_for_every_row_that_goes(town: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few rows are looked at together: what says two things in two versions leaves both, and neither is given with it."""
    made = await two_versions(town)
    names = await named(town)
    monkeypatch.setattr(reissue_lists, "CHUNK", 1)
    async with at(town, THIRD) as later:
        for name in names:
            await fetched(later, f"{name}.ndjson")
        await withdraw(later, made["gone"], reason="revoked", actor="test")
        await settle(later)
        while await follow(later, at_once=True):
            pass
        for name in names:
            assert made["gone"].encode() not in (await fetched(later, f"{name}.ndjson"))[0]
            assert (await manifest(later, name))["issues"][0]["cause"] == "removal"


async def test_what_is_read_while_a_version_is_asked_for_is_not_given(small: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal that the reader of lists reads between two looks at a version is seen by one of them."""
    made = await listed(small)
    _, where = await fetched(small, "latest.ndjson")
    leaving = lists.is_leaving

    async with at(small, "2026-06-02T03:00:07Z") as later:
        await withdraw(later, made["gone"], reason="revoked", actor="test")
        await settle(later)

        async def then_read(*asked: object) -> bool:
            said = await leaving(*asked)  # type: ignore[arg-type]  # passed on as they came
            await follow(later)
            return said

        monkeypatch.setattr(lists, "is_leaving", then_read)
        with pytest.raises(VersionReissuing):
            await read_versions.file(later, BLACK, where)


async def test_a_tree_holds_what_left_while_policies_followed_each_other(small: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """One version is issued again under a policy, loses a row, and another policy comes before the other version had its turn."""
    made = await two_versions(small)
    monkeypatch.setattr(reissue_lists, "PLANTED", 1)
    async with at(small, THIRD) as later:
        drop = 'field.case_nature = { treatment = "drop" }\nfield.facts = { allow'
        await change_policy(later, "datasets/tax-violations.toml", "field.facts = { allow", drop)
        await settle(later)
        for act in (None, "revoked"):
            if act is not None:
                await withdraw(later, made["gone"], reason=act, actor="test")
                await settle(later)
            await follow(later, at_once=True)
            while (pending := [each.pending for each in await lists.versions(later.store.reads, BLACK)])[0] is not None:
                await follow(later, at_once=True)
            assert "policy" in pending
        await change_policy(later, "datasets/tax-violations.toml", drop, "field.facts = { allow")
        await settle(later)
        while await follow(later, at_once=True):
            pass
        for name in await named(later):
            await manifest(later, name)


async def test_rows_chosen_by_what_is_hidden_are_shown_by_every_path(small: Services) -> None:
    """A policy that chooses the public's rows by a field, and drops the field: the record is shown before and after it is rendered."""
    made = await listed(small)
    async with at(small, THIRD) as later:
        gate = 'field.case_nature = { treatment = "drop" }\nrows = { eq = ["case_nature", "偷税"] }\n'
        await change_policy(later, "datasets/tax-violations.toml", _PUBLIC, gate + _PUBLIC)
        for step in (settle, settle_lists):
            assert "case_nature" not in read(await answer_query.record(later, made["stays"], PUBLIC, "zh-CN"))["fields"]
            await step(later)
        assert (await fetched(later, "latest.ndjson"))[0].count(b"\n") == 2


async def test_no_copy_of_an_issue_that_is_no_more_stays(small: Services) -> None:
    """Whoever makes a file while its version is issued again leaves nothing behind, nor the rows that it was to be made from."""
    made = await listed(small)
    before = await lists.current(small.store.reads, BLACK)
    assert before is not None
    policies = await small.policies.fresh()
    collection = collection_of(policies, forms_of(policies, "public", "open.read"), BLACK)
    async with at(small, THIRD) as later:
        await withdraw(later, made["gone"], reason="revoked", actor="test")
        await settle(later)
        await settle_lists(later)
        with pytest.raises(VersionReissuing):
            await version_files._file(later, collection, before, "csv")
        assert not list((later.settings.lists_path / BLACK).glob(f"{before.name}.r1.*"))
