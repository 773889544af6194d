"""A policy changes while everybody asks: each answer stands under one plan set, whole, and says which."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import create_app
from gateway.core.callers.caller import PUBLIC
from gateway.core.disclosure import policy
from gateway.core.errors import Unavailable
from gateway.operations.answering import begin
from gateway.operations.pinned import hides, while_permitted
from gateway.operations.set_up import set_up
from gateway.services import Services, open_services
from gateway.store import policies as policy_rows
from tests.house import PLAIN, make, settings_of, write_settings
from tests.operations.changing import BASE, NARROW, Files, write_folder
from tests.web.city import City, fill
from tests.web.serving import serving

FIELD = "evaluation_year"
LIST = "/v1/records?dataset=honours&limit=20"


async def put_in_force(services: Services, files: Files, name: str) -> int:
    """Another version in force, as another process does it."""
    from gateway.core.disclosure.policy import files_digest

    async with services.store.transaction() as tx:
        version = await policy_rows.propose(tx, files, files_digest(files), "test")
        await policy_rows.activate(tx, version, "test", name)
    return version


def narrowed(files: Files) -> dict[str, bytes]:
    """The shipped policies; the public does not see one field of honours."""
    old = b'id = "honours-open-legal"\n'
    text = files["datasets/honours.toml"]
    assert old in text
    return dict(files) | {"datasets/honours.toml": text.replace(old, old + b'field.evaluation_year = { treatment = "drop" }\n')}


def shows(value: Any) -> bool:
    """Whether the field stands anywhere in a document."""
    if isinstance(value, dict):
        return FIELD in value or any(map(shows, value.values()))
    return isinstance(value, list) and any(map(shows, value))


async def test_every_answer_stands_under_one_plan_set(store_url: str, tmp_path: Path) -> None:
    """Activated back and forth under load: header, document and fields of every answer agree, in the lane, lists, exports and feed."""
    city: City = await asyncio.to_thread(fill, tmp_path / "city", store_url, 60)
    settings = city.settings()
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(open_services(settings))
        origin = await stack.enter_async_context(serving(create_app(settings)))
        async with httpx.AsyncClient(base_url=origin, timeout=60, verify=PLAIN) as client:
            found = (await client.get(LIST)).json()["items"]
            assert any(shows(item) for item in found)
            subject = next(item["subject"] for item in found if shows(item) and item["subject"].get("uscc"))
            paths = [
                LIST,
                "/v1/records.ndjson?dataset=honours&limit=all",
                f"/v1/subjects/{subject['uscc']}",
                f"/v1/subjects/{subject['id']}/records?dataset=honours",
                "/v1/datasets/honours",
            ]
            wide = await policy_rows.files_of(other.store.reads, 1)
            names: dict[tuple[str, str], set[str]] = {}
            answers: dict[str, int] = {}
            done = asyncio.Event()

            async def hammer(place: int) -> None:
                while not done.is_set():
                    place += 1
                    path = paths[place % len(paths)]
                    try:
                        answer = await client.get(path)
                    except httpx.RemoteProtocolError:  # an export that was cut off by the narrowing
                        assert path.endswith("limit=all")
                        continue
                    if answer.status_code == 503:
                        assert path.endswith("limit=all")
                        continue
                    assert answer.status_code == 200, (path, answer.status_code)
                    version = answer.headers["policy-version"]
                    names.setdefault((path, version), set()).add(answer.headers["policy-plan"])
                    answers[version] = answers.get(version, 0) + 1
                    lines = [json.loads(line) for line in answer.text.splitlines()] if "ndjson" in path else [answer.json()]
                    said = {line["policy_version"] for line in lines if "policy_version" in line}
                    assert said <= {int(version)}, path
                    if path != "/v1/datasets/honours" and version == "2":
                        assert not any(map(shows, lines)), path
                    if path == LIST and version == "1":
                        assert any(map(shows, lines)), path

            tasks = [asyncio.create_task(hammer(place)) for place in range(6)]
            for turn in range(6):
                version = await put_in_force(other, narrowed(wide) if turn % 2 == 0 else wide, f"turn-{turn}")
                before = answers.get(str(version), 0)
                for _ in range(600):
                    await asyncio.sleep(0.05)
                    if answers.get(str(version), 0) >= before + 5 or any(task.done() for task in tasks):
                        break
            done.set()
            await asyncio.gather(*tasks)
    assert set(answers) == {"1", "2"}
    assert all(len(plans) == 1 for plans in names.values())
    assert names[LIST, "1"] != names[LIST, "2"]


@pytest.fixture
async def services(store_url: str, tmp_path: Path) -> AsyncIterator[Services]:
    """A gateway with the small policy in force, on each database."""
    folder = write_folder(tmp_path / "rules", BASE)
    settings = settings_of(write_settings(tmp_path, database=store_url, policies=folder), CHENGXIN_NOW="2026-06-01T00:00:00Z")

    await make(settings)
    async with open_services(settings) as opened:
        yield opened


async def parts() -> AsyncIterator[bytes]:
    """An export of three chunks."""
    for part in (b"1", b"2", b"3"):
        yield part


async def test_an_export_breaks_off_when_something_is_hidden(services: Services) -> None:
    """After a narrowing no further chunk leaves; the next export is cut under the new plans."""
    scene = await begin(services, PUBLIC, "zh-CN")
    stream = while_permitted(scene, parts())
    assert await anext(stream) == b"1"
    await put_in_force(services, NARROW, "narrow")
    with pytest.raises(Unavailable):
        await anext(stream)
    again = while_permitted(await begin(services, PUBLIC, "zh-CN"), parts())
    assert [part async for part in again] == [b"1", b"2", b"3"]


async def test_an_export_goes_on_when_only_more_is_shown(services: Services) -> None:
    """After a widening it ends under the plan set that it began with."""
    await put_in_force(services, NARROW, "narrow")
    scene = await begin(services, PUBLIC, "zh-CN")
    stream = while_permitted(scene, parts())
    assert await anext(stream) == b"1"
    await put_in_force(services, BASE, "wide")
    assert [part async for part in stream] == [b"2", b"3"]
    assert scene.policies.version == 2 != services.policies.version


async def test_what_is_hidden_from_others_tears_nobody(services: Services) -> None:
    """A narrowing for the department does not concern the public's export, nor the other way round."""
    wide = services.policies.current()
    await put_in_force(services, NARROW, "narrow")
    narrow = await services.policies.fresh()
    assert await hides(wide, narrow, "public", "open.read")
    assert not await hides(wide, narrow, "department", "dept.supervision")
    assert not await hides(narrow, wide, "public", "open.read")


async def test_a_version_is_compiled_once_and_off_the_loop(tmp_path: Path, sqlite_url: str) -> None:
    """Twenty who ask after a narrowing wait for one compilation and get its value; who asks for nothing new is answered meanwhile."""
    path = write_settings(tmp_path, database=sqlite_url)
    settings = settings_of(path, CHENGXIN_NOW="2026-06-01T00:00:00Z")
    await set_up(settings, by="test")
    async with open_services(settings) as services:
        before = services.policies.current()
        await put_in_force(services, narrowed(await policy_rows.files_of(services.store.reads, 1)), "narrow")
        policy._compiled.cache_clear()  # as in a process that did not activate it
        asked = [asyncio.create_task(services.policies.fresh()) for _ in range(20)]
        given_up = asyncio.create_task(services.policies.fresh())
        turns = 0
        while not all(task.done() for task in asked):
            if turns == 5:
                given_up.cancel()
                assert services.policies.current() is before, "whoever has a value goes on under it"
            await asyncio.sleep(0.01)
            turns += 1
        values = {id(task.result()) for task in asked}
        assert values == {id(services.policies.current())}, "one value: compiled once"
        assert services.policies.version == 2
        assert turns > 5, "the loop went on"
        assert await hides(before, services.policies.current(), "public", "open.read")


async def test_an_activation_during_a_compilation_is_compiled_next(tmp_path: Path, sqlite_url: str) -> None:
    """Whoever asks in the very turn of the loop in which an older version is ready goes on to the newest, and holds nobody up."""
    settings = settings_of(write_settings(tmp_path, database=sqlite_url), CHENGXIN_NOW="2026-06-01T00:00:00Z")
    await set_up(settings, by="test")
    async with open_services(settings) as services:
        wide = await policy_rows.files_of(services.store.reads, 1)
        await put_in_force(services, narrowed(wide), "narrow")
        policy._compiled.cache_clear()
        async with services.store.transaction() as tx:
            await policy_rows.activate(tx, 1, "test", "wide again")
            asked = [asyncio.create_task(services.policies.fresh())]
            for _ in range(3):
                await asyncio.sleep(0)
        assert not asked[0].done(), "the version before is being compiled still"
        while not asked[0].done():  # in each turn of the loop somebody asks
            await asyncio.sleep(0)
            asked.append(asyncio.create_task(services.policies.fresh()))
        assert {policies.version for policies in await asyncio.gather(*asked)} == {1}
