"""Versions of lists: builds, removals that reach every version, period ends, another policy, copies of files."""

import asyncio
import io
import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from gateway.core.errors import (
    DeltaWindow,
    ExchangeError,
    InvalidParameter,
    NotFound,
    RequestError,
    StoreError,
    Unavailable,
    VersionReissued,
    VersionReissuing,
    VersionWithdrawn,
)
from gateway.core.exchange.notes import KeyRing, KnownKey, parse
from gateway.core.publication.versions import document_of, read_checkpoint_text, root_with_removed
from gateway.core.signing import parse_vkey
from gateway.operations import prepare_ends as prepare_ends_room
from gateway.operations import read_versions, version_files
from gateway.operations.build_lists import build, settle_lists
from gateway.operations.kept_versions import withdraw_version
from gateway.operations.prepare_ends import prepare_ends
from gateway.operations.read_versions import Elsewhere, Served
from gateway.operations.reissue_lists import follow
from gateway.operations.render_public import settle
from gateway.operations.verify_list import verify_list
from gateway.operations.withdraw import withdraw
from gateway.services import Services
from gateway.store import lists
from gateway.store.tables import list_files, list_rows
from tests.operations.publishing import REGISTRATIONS, TAX, ask, at, code, firm, household_code, ids, put, read, shop, violation
from tests.operations.test_render_again import change_policy

BLACK = "lists/tax-violations"
FIRST, SECOND, THIRD = "2026-06-02T03:00:00Z", "2026-06-03T03:00:00Z", "2026-06-04T03:00:00Z"
GONE, STAYS = "通化市澄泉商贸有限公司", "通化市示例药业有限公司"


async def listed(services: Services) -> dict[str, str]:
    """Three firms on the black list, and a first version. Record ids by number."""
    made = {}
    rows = [violation(code(2), GONE, "通示税〔2026〕1号"), violation(code(3), "吉林省宝药药材有限公司", "通示税〔2026〕2号")]
    made["gone"], made["stays"] = ids(await put(services, TAX, *rows))
    await put(services, REGISTRATIONS, firm(1, STAYS), shop(7, "东昌区甲某某小吃店"))
    await settle(services)
    await settle_lists(services)
    return made


async def grown(services: Services, made: dict[str, str], moment: str = SECOND) -> None:
    """One more firm, at a later moment, and a second version."""
    async with at(services, moment) as later:
        (made["new"],) = ids(await put(later, TAX, violation(code(4), "通化市第三示例有限公司", "通示税〔2026〕3号")))
        await settle(later)
        await settle_lists(later)


async def named(services: Services) -> list[str]:
    """Names of the versions of the black list, oldest first."""
    return [each.name for each in reversed(await lists.versions(services.store.reads, BLACK))]


async def fetched(services: Services, name: str, collection: str = BLACK) -> tuple[bytes, str]:
    """A file as a client gets it, and where it stood in the end."""
    found = await read_versions.file(services, collection, name)
    if isinstance(found, Elsewhere):
        where = found.url.rpartition("/")[2]
        found = await read_versions.file(services, collection, where)
        name = where
    assert isinstance(found, Served)
    body = found.path.read_bytes()
    assert (len(body), sha256(body).hexdigest()) == (found.size, found.sha256)
    return body, name


async def change(services: Services, start: str, end: str = "latest", form: str = "ndjson") -> bytes:
    """A delta as a client gets it."""
    found = await read_versions.delta(services, BLACK, start, f"{end}.{form}")
    if isinstance(found, Elsewhere):
        *_, start, last = found.url.split("/")
        found = await read_versions.delta(services, BLACK, start, last)
    assert isinstance(found, Served)
    return found.path.read_bytes()


async def manifest(services: Services, name: str = "latest") -> dict[str, Any]:
    """A manifest, held against its checkpoint."""
    body = (await read_versions.one_version(services, BLACK, name)).body
    said: dict[str, Any] = json.loads(body)
    note = parse((await read_versions.checkpoint(services, BLACK, name)).body.decode())
    origin, size, root, digest = read_checkpoint_text(note.text) or ("", 0, "", "")
    assert origin == f"127.0.0.1:8000/v1/{BLACK}/{said['version']}"
    assert (size, root) == (said["size"], said["root"])
    assert bytes.fromhex(sha256(body).hexdigest()).hex() == __import__("base64").b64decode(digest).hex()
    key = services.signers.signing("export", services.clock())
    assert key.verifier.verify(note.text.encode(), note.lines[0].signature)
    lines = (await fetched(services, f"{said['version']}.ndjson"))[0].splitlines()
    gone = [(each["index"], bytes.fromhex(each["commitment"])) for each in said["removed_commitments"]]
    assert root_with_removed(lines, gone)[0] == size
    assert __import__("base64").b64encode(root_with_removed(lines, gone)[1]).decode() == root
    return said


async def test_a_version_follows_a_change_and_nothing_else(town: Services) -> None:
    """One version of all there is; without a change none; after one the next, with the delta between them."""
    made = await listed(town)
    assert [(each["version"], each["rows"]) for each in json.loads((await read_versions.versions(town, BLACK, ask())).body)["items"]] == [
        ((await named(town))[0], 2)
    ]
    assert await settle_lists(town) == []
    await grown(town, made)
    first, second = await named(town)
    said = await manifest(town, "latest")
    assert (said["version"], said["previous"], said["rows"], said["state"], said["issue"]) == (second, first, 3, "current", 1)
    assert (await manifest(town, first))["state"] == "archived"
    before, after = (await fetched(town, f"{first}.ndjson"))[0].splitlines(), (await fetched(town, "latest.ndjson"))[0].splitlines()
    assert [json.loads(row)["id"] for row in after] == sorted(made.values())
    told = [json.loads(each) for each in (await change(town, first)).splitlines()]
    assert [(each["op"], each["row"]["id"]) for each in told] == [("add", made["new"])]
    assert set(after) - set(before) == {row for row in after if made["new"].encode() in row}
    assert "policy_version" not in document_of(after[0])
    assert await change(town, second) == b""
    assert (await change(town, second, form="csv")).startswith(b"op,id,reason,fields_changed,dataset")
    assert (await change(town, second, form="csv")).count(b"\r\n") == 1


async def test_who_leaves_is_gone_from_every_version(town: Services) -> None:
    """From the commit on no old byte is given; then every version is issued again without the row, under the same root."""
    made = await listed(town)
    await grown(town, made)
    first, second = await named(town)
    roots = {name: (await manifest(town, name))["root"] for name in (first, second)}
    old, where = await fetched(town, f"{first}.ndjson")
    await fetched(town, "latest.csv")
    await change(town, first)
    async with at(town, THIRD) as later:
        await withdraw(later, made["gone"], reason="revoked", actor="test")
        for ask in (
            read_versions.file(later, BLACK, where),
            read_versions.one_version(later, BLACK, "latest"),
            read_versions.checkpoint(later, BLACK, first),
            read_versions.delta(later, BLACK, first, f"{second}.ndjson"),
        ):
            with pytest.raises(VersionReissuing):
                await ask
        await settle(later)  # rendered without it, and still not issued again
        with pytest.raises(VersionReissuing):
            await fetched(later, "latest.ndjson")
        await settle_lists(later)
        with pytest.raises(VersionReissued) as raised:
            await read_versions.file(later, BLACK, where)
        assert (raised.value.next_url or "").endswith(f"{first}.r2.ndjson")
        names = await named(later)
        assert names[:2] == [first, second]
        for name in (first, second):
            said = await manifest(later, name)
            assert (said["issue"], said["root"], len(said["removed_commitments"])) == (2, roots[name], 1)
            assert [(each["issue"], each["cause"], each["removed"]) for each in said["issues"]] == [(2, "removal", 1), (1, "built", 0)]
        new = (await fetched(later, f"{second}.ndjson"))[0].splitlines()
        told = [json.loads(each) for each in (await change(later, first, second)).splitlines()]
        assert told[[each["op"] for each in told].index("del")] == {"op": "del", "id": made["gone"], "reason": "removed"}
        put_in = {each["row"]["id"]: each for each in told if each["op"] != "del"}
        kept = [row for row in old.splitlines() if document_of(row)["id"] not in {each.get("id") for each in told}]
        assert sorted([*(document_of(row)["id"] for row in kept), *put_in]) == [document_of(row)["id"] for row in new]
        held = [path for path in later.settings.lists_path.rglob("*") if path.is_file()]
        assert held
        for path in held:
            body = path.read_bytes().replace(b'{"op":"del","id":"%b","reason":"removed"}' % made["gone"].encode(), b"")
            assert GONE.encode() not in body
            assert made["gone"].encode() not in body.replace(f"del,{made['gone']},removed".encode(), b"")
        rows = await later.store.reads.slow(sa.select(list_rows).where(list_rows.c.record_id == made["gone"]))
        assert {(row.collection, row.line) for row in rows} == {(BLACK, None), ("datasets/tax-violations", None)}


async def test_a_period_that_ends_is_seen_by_the_clock_alone(small: Services) -> None:
    """At midnight after the last day nothing of an old version is given, whether or not anybody has written it down."""
    (record,) = ids(await put(small, TAX, violation(code(2), GONE, "通示税〔2026〕1号", 公示截止期="2026-06-05")))
    await settle(small)
    await settle_lists(small)
    _, where = await fetched(small, "latest.ndjson")
    async with at(small, "2026-06-05T15:59:59Z") as last_day:
        await fetched(last_day, where)  # asked again, for some days have passed, and still there
    end = "2026-06-05T16:00:00Z"
    async with at(small, end) as midnight:
        with pytest.raises(VersionReissuing):
            await read_versions.file(midnight, BLACK, where)
        await settle(midnight)
        while await follow(midnight):
            pass
        body, _ = await fetched(midnight, "latest.ndjson")
        assert body == b""
        told = [json.loads(each) for each in (await change(midnight, (await named(midnight))[0])).splitlines()]
        assert told == [{"op": "del", "id": record, "reason": "expired"}]


async def test_the_issue_of_midnight_is_prepared_before_it(town: Services) -> None:
    """Who ends is known before and shown to the last second; the first round of the day issues without them, whatever is rendered."""
    names = {number: f"通化市第{number}示例有限公司" for number in (2, 3, 4)}
    rows = [violation(code(number), name, f"通示税〔2026〕{number}号", 公示截止期="2026-06-05") for number, name in names.items()]
    ended, repaired, longer = ids(await put(town, TAX, *rows))
    (stays,) = ids(await put(town, TAX, violation(code(5), STAYS, "通示税〔2026〕5号")))
    await settle(town)
    await settle_lists(town)
    async with at(town, "2026-06-05T15:30:00Z") as early:
        assert await prepare_ends(early) == 0
    async with at(town, "2026-06-05T15:55:00Z") as evening:
        await settle(evening)
        await settle_lists(evening)
        assert await prepare_ends(evening) == 6  # of the list, and of its dataset
        assert await prepare_ends(evening) == 0
        assert (await fetched(evening, "latest.ndjson"))[0].count(b"\n") == 4
        await withdraw(evening, repaired, reason="revoked", actor="test")
        with pytest.raises(VersionReissuing):
            await fetched(evening, "latest.ndjson")
        await put(evening, TAX, violation(code(4), "通化市第4示例有限公司", "通示税〔2026〕4号", 公示截止期="2026-09-05"))
        await settle(evening)
        await settle_lists(evening)
        body, where = await fetched(evening, "latest.ndjson")
        assert sorted(document_of(line)["id"] for line in body.splitlines()) == sorted([ended, longer, stays])
    async with at(town, "2026-06-05T16:00:00Z") as midnight:
        with pytest.raises(VersionReissuing):
            await read_versions.file(midnight, BLACK, where)
        while await follow(midnight):  # nothing was rendered since
            pass
        for name in await named(midnight):
            lines = (await fetched(midnight, f"{name}.ndjson"))[0].splitlines()
            assert sorted(document_of(line)["id"] for line in lines) == sorted([longer, stays])
        told = [json.loads(each) for each in (await change(midnight, (await named(midnight))[0])).splitlines()]
        assert {(each["id"], each["reason"]) for each in told if each["op"] == "del"} == {(ended, "expired"), (repaired, "removed")}


async def test_a_transfer_that_runs_breaks_off(small: Services) -> None:
    """What was being sent when a row left goes no further than to the sweep, on every machine that has a copy."""
    made = await listed(small)
    found = await read_versions.file(small, BLACK, (await fetched(small, "latest.ndjson"))[1])
    assert isinstance(found, Served)
    async with at(small, SECOND) as later:
        with found.path.open("rb", buffering=0) as sending:
            begun = sending.read(10)
            await withdraw(later, made["gone"], reason="revoked", actor="test")
            await settle(later)
            while await follow(later, at_once=True):
                pass
            assert len(begun) + len(sending.read()) < found.size
        assert not found.path.exists()


async def test_a_narrower_policy_issues_again_with_a_new_tree(small: Services) -> None:
    """Until the rows are as narrow as the policy nothing is given; then each version has an issue of cause `policy`."""
    made = await listed(small)
    await grown(small, made)
    first, second = await named(small)
    before = await manifest(small, first)
    _, where = await fetched(small, f"{first}.ndjson")
    old = (await fetched(small, f"{first}.ndjson"))[0].splitlines()
    async with at(small, THIRD) as later:
        path = "datasets/tax-violations.toml"
        text = dict(await active_files(later))[path].decode()
        marker = next(line for line in text.splitlines() if line.startswith("field.") and "treatment" in line)
        await change_policy(later, path, marker, marker + '\nfield.case_nature = { treatment = "drop" }')
        with pytest.raises(VersionReissuing):
            await read_versions.file(later, BLACK, where)
        await settle(later)
        await settle_lists(later)
        with pytest.raises(VersionReissued):
            await read_versions.file(later, BLACK, where)
        said = await manifest(later, first)
        assert (said["issue"], said["issues"][0]["cause"]) == (2, "policy")
        assert said["root"] != before["root"]
        assert [each["root"] for each in said["issues"]] == [said["root"], before["root"]]
        lines = (await fetched(later, f"{first}.ndjson"))[0].splitlines()
        assert all("case_nature" not in document_of(line)["fields"] for line in lines)
        assert all("case_nature" in document_of(line)["fields"] for line in old)
        delta = [json.loads(each) for each in (await change(later, first, second)).splitlines()]
        assert {each["op"] for each in delta} == {"mod", "add"}
        assert [each["fields_changed"] for each in delta if each["op"] == "mod"] == [["fields.case_nature"]] * 2


async def active_files(services: Services) -> dict[str, bytes]:
    """The policies in force."""
    from gateway.store import policies

    async with services.store.transaction() as tx:
        found = await policies.active(tx)
    assert found is not None
    return dict(found[1])


async def test_copies_are_made_again_and_strays_are_swept(small: Services) -> None:
    """A kill leaves a copy too many or too few: one that lacks is made with the same bytes, one that nobody names goes."""
    await listed(small)
    body, where = await fetched(small, "latest.ndjson")
    folder = small.settings.lists_path / BLACK
    (folder / where).unlink()
    (folder / where.replace(".r1.", ".r9.")).write_bytes(body)
    (folder / "anything").write_bytes(body)
    assert (await fetched(small, "latest.ndjson"))[0] == body
    await settle_lists(small)
    left = {path.name for path in folder.iterdir()}
    assert where in left
    assert not {each for each in left if ".r9." in each or each == "anything"}


async def test_what_another_process_builds_meanwhile_is_no_stray(small: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that is committed, with its copies, while a sweep looks through the store keeps them."""
    made = await listed(small)
    asked, last, before = lists.versions, max(await lists.collections(small.store.reads)), await named(small)

    async def meanwhile(source: Any, collection: str) -> Any:
        found = await asked(source, collection)
        if collection == last and await named(small) == before:
            await grown(small, made)
        return found

    monkeypatch.setattr(version_files.lists, "versions", meanwhile)
    await version_files.sweep(small)
    monkeypatch.undo()
    (new,) = set(await named(small)) - set(before)
    assert list(version_files.folder_of(small, BLACK).glob(f"{new}.*"))


async def test_a_build_that_was_killed_before_its_files_is_finished_by_the_next(small: Services) -> None:
    """A version stands and nothing is noted of its files: the next build makes no version, and notes what the first would have."""
    await listed(small)
    version = await lists.current(small.store.reads, BLACK)
    assert version is not None
    noted = await lists.files(small.store.reads, version)
    assert len(noted) > 3
    async with small.store.transaction() as tx:
        await tx.execute(sa.delete(list_files))
    assert await build(small) == []
    assert await lists.files(small.store.reads, version) == noted


async def test_what_a_killed_first_build_laid_ready_leaves_with_its_record(small: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """No version stands yet, and a record leaves that lies ready: its line is gone, following ends, and the next build is made."""
    made = await put(small, TAX, violation(code(2), GONE, "通示税〔2026〕1号"), violation(code(3), STAYS, "通示税〔2026〕3号"))
    await settle(small)

    async def killed(*_: object) -> None:
        raise StoreError("killed", code="store-unavailable")

    monkeypatch.setattr(lists, "count_ready", killed)
    with pytest.raises(StoreError):
        await build(small, only=BLACK)
    monkeypatch.undo()
    gone, stays = ids(made)
    await withdraw(small, gone, reason="revoked", actor="test")
    await settle(small)
    async with asyncio.timeout(20):
        made_then = await settle_lists(small)
    assert BLACK in {each.collection for each in made_then}
    left = await small.store.reads.all(sa.select(list_rows.c.record_id).where(list_rows.c.collection == BLACK))
    assert [row.record_id for row in left] == [stays]


async def test_a_change_in_the_second_of_a_version_is_in_the_next(town: Services) -> None:
    """Two changes of one second, the build between them: the second change waits for no third, and names go up as text."""
    await listed(town)
    await put(town, TAX, violation(code(4), "通化市第三示例有限公司", "通示税〔2026〕3号"))
    await settle(town)
    await settle_lists(town)
    names = await named(town)
    assert len(names) == 2
    assert names == sorted(names)
    assert (await manifest(town, "latest"))["rows"] == 3
    assert [json.loads(each)["op"] for each in (await change(town, names[0])).splitlines()] == ["add"]


async def test_what_was_told_before_the_window_is_built_all_the_same(small: Services) -> None:
    """Nobody built for longer than changes are kept: the next version has what they told."""
    await listed(small)
    async with at(small, SECOND) as later:
        await put(later, TAX, violation(code(4), "通化市第三示例有限公司", "通示税〔2026〕3号"))
        await settle(later)
    async with at(small, "2026-10-01T03:00:00Z") as much_later:
        await put(much_later, REGISTRATIONS, firm(2, GONE))
        await settle(much_later)
        async with at(small, "2026-10-02T03:00:00Z") as next_day:
            await settle(next_day)
            await settle_lists(next_day)
            assert (await manifest(next_day))["rows"] == 3


async def test_who_is_told_of_on_the_last_evening_is_asked_again(small: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is told of a record takes the mark of its end away, also where the end is the same, or while it is being put there."""
    row = violation(code(2), GONE, "通示税〔2026〕1号", 公示截止期="2026-06-05")
    await put(small, TAX, row)
    await settle(small)
    await settle_lists(small)
    async with at(small, "2026-06-05T15:55:00Z") as evening:
        assert await prepare_ends(evening) == 2
        await put(evening, TAX, row | {"案件性质": "虚开"})
        await settle(evening)
        await settle_lists(evening)
        marked = sa.select(list_rows.c.record_id).where(list_rows.c.leaving.is_not(None))
        assert await evening.store.reads.all(marked) == []
        over = prepare_ends_room._over

        async def meanwhile(*asked: Any, **more: Any) -> list[str]:
            found = await over(*asked, **more)
            await put(evening, TAX, row | {"案件性质": "骗税"})
            await settle(evening)
            while await follow(evening, at_once=True):
                pass
            return found

        monkeypatch.setattr(prepare_ends_room, "_over", meanwhile)
        assert await prepare_ends(evening) == 0
        assert await evening.store.reads.all(marked) == []
        monkeypatch.undo()
        assert await prepare_ends(evening) > 0


async def test_what_is_asked_wrongly_is_told_as_it_is(small: Services) -> None:
    """Formats, versions and issues that never were are not found; B before A is a bad parameter; a withdrawn version is gone."""
    made = await listed(small)
    await grown(small, made)
    first, second = await named(small)
    wrong: list[tuple[str, type[RequestError]]] = [
        ("latest.exe", NotFound), ("latest.r1.ndjson", NotFound), (f"{first}.r0.ndjson", NotFound), (f"{first}.r2.ndjson", NotFound),
        ("20260101000000-1.ndjson", NotFound), ("x.ndjson", NotFound), (f"{first}.", NotFound),
    ]  # fmt: skip
    for name, error in wrong:
        with pytest.raises(error):
            await read_versions.file(small, BLACK, name)
    for start, end, error in (
        (second, f"{first}.ndjson", InvalidParameter), (first, f"{second}.json", NotFound), ("P2D", "latest.ndjson", NotFound),
        ("20250101000000-1", "latest.ndjson", DeltaWindow), (first, f"{second[:-1]}9.ndjson", NotFound),
    ):  # fmt: skip
        with pytest.raises(error):
            await read_versions.delta(small, BLACK, start, end)
    await withdraw_version(small, BLACK, second, by="test")
    with pytest.raises(VersionWithdrawn):
        await fetched(small, f"{second}.ndjson")
    with pytest.raises(VersionWithdrawn):
        await read_versions.ftm_link(small, "tonghua_tax_violations", f"{second}.json")
    assert (await manifest(small, "latest"))["version"] == first
    with pytest.raises(NotFound):
        await read_versions.versions(small, "lists/none", ask())


async def test_deltas_of_durations_and_the_window(small: Services) -> None:
    """A duration stands for the version of that time; versions go when the window has passed them, the one it begins in stays."""
    made = await listed(small)
    await grown(small, made)
    first, second = await named(small)
    async with at(small, "2026-06-03T12:00:00Z") as later:
        found = await read_versions.delta(later, BLACK, "P1D", "latest.ndjson")
        assert isinstance(found, Elsewhere)
        assert found.url.endswith(f"/deltas/{first}/{second}.ndjson")
        found = await read_versions.delta(later, BLACK, "PT8H", "latest.csv")
        assert isinstance(found, Elsewhere)
        assert found.url.endswith(f"/deltas/{second}/{second}.csv")
    async with at(small, "2026-10-01T00:00:00Z") as much_later:
        await put(much_later, TAX, violation(code(5), "通化市第五示例有限公司", "通示税〔2026〕5号"))
        await settle(much_later)
        await settle_lists(much_later)
        assert (await named(much_later))[0] == second
        with pytest.raises(DeltaWindow):
            await read_versions.delta(much_later, BLACK, first, "latest.ndjson")


async def test_versions_come_in_pages(small: Services) -> None:
    """Newest first, there and back again, whatever is built meanwhile; each page with where the window begins."""
    made = await listed(small)
    for day in (3, 4, 5, 6):
        async with at(small, f"2026-06-0{day}T03:00:00Z") as later:
            await put(later, TAX, violation(code(3), "吉林省宝药药材有限公司", "通示税〔2026〕2号", 案件性质=f"虚开{day}"))
            await settle(later)
            await settle_lists(later)
    names = await named(small)
    assert len(names) == 5
    found: list[list[str]] = []
    page = read(await read_versions.versions(small, BLACK, ask(limit="2")))
    while True:
        found.append([each["version"] for each in page["items"]])
        assert page["window_from"] == names[0]
        if page["next"] is None:
            break
        page = read(await read_versions.versions(small, BLACK, ask(cursor=page["next"], limit="2")))
    assert found == [names[:2:-1], names[2:0:-1], names[:1]]
    page = read(await read_versions.versions(small, BLACK, ask(cursor=page["prev"], limit="2")))
    assert [each["version"] for each in page["items"]] == found[1]
    page = read(await read_versions.versions(small, BLACK, ask(cursor=page["prev"], limit="2")))
    assert ([each["version"] for each in page["items"]], page["prev"]) == (found[0], None)
    assert made


async def test_a_delta_is_made_once_and_few_are_kept(small: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks at once waits for the one that is made; another process takes its copy; of all pairs the last asked for are kept."""
    made = await listed(small)
    await grown(small, made)
    first, second = await named(small)
    asked = 0
    whole = lists.rows_of_two

    def counted(*args: Any, **more: Any) -> Any:
        nonlocal asked
        asked += 1
        return whole(*args, **more)

    monkeypatch.setattr(lists, "rows_of_two", counted)
    bodies = await asyncio.gather(*(change(small, first, second) for _ in range(5)))
    assert (asked, len(set(bodies))) == (1, 1)
    monkeypatch.setattr(version_files, "_KNOWN", {})  # as a process that has just started
    assert await change(small, first, second) == bodies[0]
    assert asked == 1
    monkeypatch.setattr(version_files, "KEPT_BETWEEN", 2)
    for start, end, form in ((first, first, "ndjson"), (second, second, "ndjson"), (first, second, "csv"), (first, first, "csv")):
        await change(small, start, end, form)
    assert len(list((small.settings.lists_path / BLACK).glob("*..*"))) == 2
    assert await change(small, first, second) == bodies[0]


async def test_a_delta_is_made_by_one_process(small: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process makes it, a request waits for its copy, and no longer than it may; a lock dies with its holder."""
    made = await listed(small)
    await grown(small, made)
    first, second = await named(small)
    path: list[Path] = []
    flight = version_files._flight

    def seen(of: Path) -> Any:
        path.append(of)
        return flight(of)

    monkeypatch.setattr(version_files, "_flight", seen)
    body = await change(small, first, second)
    path[0].unlink()
    monkeypatch.setattr(version_files, "PATIENCE_S", 0.2)
    name = f"{version_files.UNFINISHED}{sha256(path[0].name.encode()).hexdigest()[:16]}.lock"
    holds = "import fcntl, sys; file = open(sys.argv[1], 'wb'); fcntl.flock(file, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holds, str(path[0].parent / name)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(Unavailable):
            await change(small, first, second)
        assert not path[0].exists()
        monkeypatch.setattr(version_files, "PATIENCE_S", 30.0)
        waits = asyncio.create_task(change(small, first, second))
        await asyncio.sleep(0.2)
        assert not waits.done()
        other.kill()
        assert await waits == body
    assert not list(path[0].parent.glob("*.lock"))


async def test_deltas_come_record_by_record(town: Services) -> None:
    """However few rows are read at once, a record comes whole; what stands alike in both versions is not read at all."""
    made = await listed(town)
    await grown(town, made)
    async with at(town, THIRD) as later:
        await put(later, TAX, violation(code(3), "吉林省宝药药材有限公司", "通示税〔2026〕2号", 案件性质="虚开"))
        await settle(later)
        await settle_lists(later)
        names = {each.name: each.seq for each in await lists.versions(later.store.reads, BLACK)}
        last, _, first = names.values()
        for size in (1, 2, 1000):
            pieces = [piece async for piece in lists.rows_of_two(later.store.reads, BLACK, first, last, size)]
            found = [[row.record_id for row in piece] for piece in pieces]
            assert sorted({each for piece in found for each in piece}) == sorted([made["new"], made["stays"]])
            assert sum(len(set(piece)) for piece in found) == 2


async def test_pandas_applies_a_delta(small: Services) -> None:
    """A version in CSV loads with no arguments; with a delta applied by id it is the next version, cell for cell."""
    made = await listed(small)
    first_csv = pd.read_csv(io.BytesIO((await fetched(small, "latest.csv"))[0]), dtype=str)
    async with at(small, SECOND) as later:
        await put(
            later,
            TAX,
            violation(code(3), "吉林省宝药药材有限公司", "通示税〔2026〕2号", 税务处理处罚情况="追缴税款，并处罚款。"),
            violation(code(4), "通化市第三示例有限公司", "通示税〔2026〕3号"),
        )
        await withdraw(later, made["gone"], reason="revoked", actor="test")
        await settle(later)
        await settle_lists(later)
        first, *_, last = await named(later)
        steps = pd.read_csv(io.BytesIO(await change(later, first, last, "csv")), dtype=str)
        wanted = pd.read_csv(io.BytesIO((await fetched(later, "latest.csv"))[0]), dtype=str)
    assert steps.op.tolist().count("del") == 1
    table = first_csv.set_index("id").drop(index=steps.id, errors="ignore")
    put_in = steps[steps.op != "del"].set_index("id")[table.columns]
    result = pd.concat([table, put_in]).sort_index()
    pd.testing.assert_frame_equal(result, wanted.set_index("id"), check_dtype=False)


async def test_no_household_or_person_stands_in_a_dataset_version(small: Services) -> None:
    """The version of a register has its organisations and nobody else (api.md §3.4–3.5)."""
    await listed(small)
    body = (await fetched(small, "latest.ndjson", f"datasets/{REGISTRATIONS}"))[0].decode()
    assert STAYS in body
    assert "小吃店" not in body
    assert household_code(7)[:14] not in body


async def test_a_file_is_verified_without_us(small: Services) -> None:
    """File, checkpoint and manifest prove each other; another row, key, manifest or a missing commitment is noticed."""
    made = await listed(small)
    await grown(small, made)
    async with at(small, THIRD) as later:
        await withdraw(later, made["gone"], reason="revoked", actor="test")
        await settle(later)
        await settle_lists(later)
        name = (await named(later))[1]
        file, _ = await fetched(later, f"{name}.ndjson")
        said = (await read_versions.one_version(later, BLACK, name)).body
        note = (await read_versions.checkpoint(later, BLACK, name)).body.decode()
        keys = [KnownKey(verifier=parse_vkey(each.signer.vkey), use="export") for each in later.signers.keys if each.use == "export"]
    ring = KeyRing.of("", keys)
    done = verify_list(file, note, ring, manifest=said)
    assert (done.rows, done.size, done.removed, done.manifest) == (2, 3, 1, True)
    wrong: list[tuple[bytes, str, KeyRing, bytes | None, str]] = [
        (file, note, ring, None, "SEQ_ROOT"),
        (file.splitlines(keepends=True)[0], note, ring, None, "SEQ_ROOT"),
        (file.replace("追缴".encode(), "免予".encode()), note, ring, said, "SIG_PART_DIGEST"),
        (file, note, ring, said.replace(b'"rows":2', b'"rows":3'), "SIG_PART_DIGEST"),
        (file, note.replace("\n3\n", "\n4\n"), ring, said, "SIG_INVALID"),
        (file, note, KeyRing.of("", []), said, "SIG_UNKNOWN_KEY"),
        (b"nothing\n", note, ring, None, "SCHEMA_LINE"),
    ]
    for body, text, known, manifest_given, code_ in wrong:
        with pytest.raises(ExchangeError) as raised:
            verify_list(body, text, known, manifest=manifest_given)
        assert raised.value.code == code_
