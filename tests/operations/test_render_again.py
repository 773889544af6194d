"""Another policy, another day, another process: everything rendered again, resumed where it stopped, and told as it must be."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.core.callers.caller import PUBLIC
from gateway.core.disclosure.policy import files_digest
from gateway.core.errors import SinceTooOld
from gateway.core.publication import forms
from gateway.operations import answer_query, read_feed
from gateway.operations.render_public import lag, render_public, settle
from gateway.services import Services
from gateway.store import feed, policies, renderings
from gateway.store.tables import changes
from tests.operations.publishing import (
    PENALTIES,
    REGISTRATIONS,
    TAX,
    a_house,
    ask,
    at,
    code,
    firm,
    ids,
    penalty,
    put,
    read,
    stocked,
    violation,
    walked,
)


@pytest.fixture
async def town(tmp_path: Path, store_url: str) -> AsyncIterator[Services]:
    """An empty gateway, on SQLite and on PostgreSQL."""
    async with a_house(tmp_path, store_url) as services:
        yield services


async def change_policy(services: Services, path: str, old: str, new: str) -> None:
    """Activate the policies in force with one text replaced."""
    async with services.store.transaction() as tx:
        active = await policies.active(tx)
        assert active is not None
        files = dict(active[1])
        text = files[path].decode()
        assert old in text
        files[path] = text.replace(old, new, 1).encode()
        version = await policies.propose(tx, files, files_digest(files), "test")
        await policies.activate(tx, version, "test", "test")


async def told(services: Services, since: int = 0) -> list[dict]:  # type: ignore[type-arg]
    """Items of the public's change feed."""
    return read(await read_feed.changes(services, PUBLIC, ask(since=str(since), limit="1000")))["items"]  # type: ignore[no-any-return]


_LINE = 'field.effective_until = { treatment = "drop" }'
HIDE_FINE = ("datasets/administrative-penalties.toml", _LINE, _LINE + '\nfield.fine_amount = { treatment = "drop" }')


async def test_a_narrower_policy_hides_at_once(town: Services) -> None:
    """With the activation the field is gone from every answer, before anything is rendered again; then the feed says so."""
    made = await stocked(town)
    head = await feed.head(town.store.reads, "public/open.read")
    await change_policy(town, *HIDE_FINE)
    assert "fine_amount" not in read(await answer_query.record(town, made["罚单"], PUBLIC, "zh-CN"))["fields"]
    listed = {item["id"]: item for item in await walked(answer_query.records_page, town)}
    assert "fine_amount" not in listed[made["罚单"]]["fields"]
    assert {item["policy_version"] for item in listed.values()} == {2}
    # households still show it: the filter is theirs alone, and they stand in no bulk output
    assert await walked(answer_query.records_page, town, dataset=PENALTIES, fine_amount__gte="1") == []
    await settle(town)
    items = await told(town, head.seq)
    assert items[0]["op"] == "policy"
    assert items[0]["policy_version"] == 2
    assert [(item["record"], item["fields_changed"]) for item in items[1:]] == [(made["罚单"], ["fields.fine_amount"])]
    rendered = await answer_query.record(town, made["罚单"], PUBLIC, "zh-CN")
    assert "fine_amount" not in read(rendered)["fields"]
    assert rendered.policy_version == 2


async def test_all_is_rendered_again_piece_by_piece(town: Services) -> None:
    """The walk stands in the store: a process that ends in the middle is followed by one that goes on."""
    await put(town, REGISTRATIONS, *(firm(number, f"通化市示例{number}商贸有限公司") for number in range(1, 31)))
    await settle(town)
    await change_policy(town, *HIDE_FINE)
    assert await render_public(town, limit=7) > 0
    assert await render_public(town, limit=7) > 0
    state = await renderings.reader_state(town.store.reads)
    assert state.again is not None
    assert 0 < state.again < state.position
    assert await lag(town) > 0
    await settle(town)
    state = await renderings.reader_state(town.store.reads)
    assert state.again is None
    for table in (renderings.rendered_records, renderings.rendered_subjects):
        assert len(await town.store.reads.all(sa.select(table.c.plan).distinct())) == 1


async def test_the_same_text_renders_nothing_again(town: Services) -> None:
    """Without a new policy a reader finds nothing to do."""
    await stocked(town)
    assert await render_public(town) == 0


async def test_a_program_that_writes_otherwise_renders_again(town: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that an older program rendered is rendered again under the same policy; feeds say that something general has changed."""
    made = await stocked(town)
    head = await feed.head(town.store.reads, "public/open.read")
    before = await answer_query.record(town, made["罚单"], PUBLIC, "zh-CN")
    monkeypatch.setattr(forms, "WRITTEN", forms.WRITTEN + 1)
    town.policies.current().memo.clear()
    await settle(town)
    after = await answer_query.record(town, made["罚单"], PUBLIC, "zh-CN")
    assert read(before) == read(after)
    assert before.etag != after.etag
    tag = forms.forms_of(town.policies.current(), "public", "open.read").tag
    for table in (renderings.rendered_records, renderings.rendered_subjects):
        assert [row.plan for row in await town.store.reads.all(sa.select(table.c.plan).distinct())] == [tag]
    assert [(item["op"], item["policy_version"]) for item in await told(town, head.seq)] == [("policy", 1)]
    assert await render_public(town) == 0


async def test_records_whose_first_day_has_come_appear(town: Services) -> None:
    """A record published from a later day is told on that day, by the clock alone."""
    (record_id,) = ids(await put(town, PENALTIES, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕1号")))
    async with town.store.transaction() as tx:
        await tx.execute(sa.text("UPDATE records SET publish_from = '2026-07-01'"))
    await settle(town)
    async with at(town, "2026-07-02T02:00:00Z") as later:
        opened = await renderings.opening(later.store.reads, from_day="2026-06-02", to_day="2026-07-02")
        assert [row.record_id for row in opened] == [record_id]
        await settle(later)
        assert (await renderings.reader_state(later.store.reads)).day == "2026-07-02"


async def test_the_window_of_the_feed_ends(town: Services) -> None:
    """Items older than the window go; whoever asks from before is told where the present state is."""
    await stocked(town)
    first = await told(town)
    async with at(town, "2026-10-01T02:00:00Z") as later:
        await put(later, REGISTRATIONS, firm(9, "通化市示例九商贸有限公司"))
        await settle(later)
        with pytest.raises(SinceTooOld) as caught:
            await read_feed.changes(later, PUBLIC, ask(since="1", list="tax-violations"))
        assert caught.value.next_url == "http://127.0.0.1:8000/v1/lists/tax-violations/listings?limit=all"
        kept = await told(later)
        assert {item["seq"] for item in kept}.isdisjoint(item["seq"] for item in first)
        assert kept[-1]["op"] == "add"


async def test_a_subject_is_never_marked_true_beyond_what_was_read(town: Services) -> None:
    """A pass that has read only the first of two changes leaves the subject stale, and its answer has both."""
    await put(town, REGISTRATIONS, firm(1, "通化市示例药业有限公司"))
    await put(town, PENALTIES, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕77号"))
    await settle(town)
    await put(town, TAX, violation(code(1), "通化市示例药业有限公司", "通示税〔2026〕5号"))
    await put(town, PENALTIES, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕78号"))
    assert await lag(town) == 2
    assert await render_public(town, limit=1) == 1
    row = await renderings.subject_by_key(town.store.reads, "uscc", code(1))
    assert row is not None
    assert row.rendered_seq != row.head_seq
    live = await answer_query.subject_document(town, code(1), PUBLIC, "zh-CN")
    counts = read(live)["record_counts"]
    assert (counts["penalty"], counts["blacklist"]) == (2, 1)
    await settle(town)
    row = await renderings.subject_by_key(town.store.reads, "uscc", code(1))
    assert row is not None
    assert row.rendered_seq == row.head_seq
    assert read(await answer_query.subject_document(town, code(1), PUBLIC, "zh-CN"))["record_counts"] == counts


async def test_readers_of_two_processes_tell_every_change_once(town: Services) -> None:
    """Passes prepared on one state: whoever comes second finds the generation moved, writes nothing, and begins again."""
    await put(town, REGISTRATIONS, *(firm(number, f"通化市示例{number}商贸有限公司") for number in range(1, 20)))

    async def reader() -> None:
        while await render_public(town, limit=3):
            pass

    await asyncio.gather(reader(), reader(), reader())
    log = await town.store.reads.all(sa.select(changes.c.record_id))
    items = await told(town)
    assert sorted(item["record"] for item in items if item["op"] == "add") == sorted(row.record_id for row in log)
    assert [item["seq"] for item in items] == list(range(1, len(items) + 1))
