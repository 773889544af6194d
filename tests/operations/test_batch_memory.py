"""What a partner lays down or sends costs no more memory than is agreed: no part before its manifest is believed, and few lines kept."""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.drop_folder import Folder
from gateway.adapter_contract import IncomingBatch, Part
from gateway.core.errors import ExchangeError
from gateway.core.exchange import admitting, batch_lines, manifests
from gateway.operations import judge_lines
from gateway.operations.collect_batches import collect_batches
from gateway.operations.judge_lines import Judging
from gateway.operations.send_batch import send_batch
from gateway.store import inbox, outbox
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, penalty, put
from tests.region import PENALTIES, TONGHUA, Cities, Forger, two_cities


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities; each test says how batches go."""
    async with two_cities(tmp_path / "cities") as both:
        yield both


@pytest.fixture
async def sharing(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities with one folder."""

    def dropped(text: str) -> str:
        said = text.replace('delivery = "push"', 'delivery = "drop"')
        return said.replace('adapter = "https_partner"\n', 'adapter = "file_drop"\nconfig = { root = "/drop", poll_s = 0 }\n')

    (tmp_path / "drop").mkdir()
    async with two_cities(tmp_path / "cities", change=dropped) as both:
        both.line.drop = {"root": str(tmp_path / "drop")}
        yield both


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were copied out of a folder."""
    names: list[str] = []
    before = Folder.fetch

    async def fetch(self: Folder, path: Any, size: int) -> Any:
        names.append(path[-1])
        return await before(self, path, size)

    monkeypatch.setattr(Folder, "fetch", fetch)
    return names


async def tell(cities: Cities) -> None:
    """Two penalties, sealed, and laid down where both share a folder."""
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in (1, 2)]
    await put(cities.tonghua, DATASET, *rows)
    await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)


@pytest.mark.parametrize("note", ["", "another"])
async def test_parts_of_an_unsigned_manifest_are_not_read(sharing: Cities, tmp_path: Path, fetched: list[str], note: str):
    """A list of large parts without a note, or with one that does not fit, copies nothing; a batch that is signed is read as ever."""
    await tell(sharing)
    folder = tmp_path / "drop" / PENALTIES / TONGHUA / "batches" / "1-0000000001"
    good = {path.name: path.read_bytes() for path in folder.iterdir()}
    digest = "sha-256:" + base64.b64encode(bytes(32)).decode()
    parts = [
        {"name": f"1-1-{n:03}.ndjson", "bytes": 2**20, "bytes_raw": 2**20, "lines": 1, "digest": digest, "from": n, "to": n + 1}
        for n in range(12)
    ]
    for part in parts:
        (folder / part["name"]).touch()
        with (folder / part["name"]).open("r+b") as file:
            file.truncate(2**20)
    said: dict[str, Any] = {"parts": parts} if not note else {**json.loads(good["manifest.json"]), "parts": parts}
    (folder / "manifest.json").write_bytes(json.dumps(said).encode())
    (folder / "manifest.note").write_bytes(good["manifest.note"] if note else b"")
    troubles = await collect_batches(sharing.baishan)
    assert troubles[PENALTIES] in ("SCHEMA_MANIFEST", "SIG_INVALID", "SIG_CONTEXT")
    assert fetched == []
    for name, data in good.items():
        (folder / name).write_bytes(data)
    assert await collect_batches(sharing.baishan) == {}
    assert fetched == [name for name in good if ".ndjson" in name], "each once, and no other"


async def test_more_parts_than_agreed_are_not_read(sharing: Cities, fetched: list[str], monkeypatch: pytest.MonkeyPatch):
    """A signed manifest beyond the agreement's limits is refused without its parts."""
    await tell(sharing)

    def refuse(manifest: object, limits: object) -> None:
        raise ExchangeError("more parts than agreed", code="SIZE_PARTS")

    monkeypatch.setattr(admitting, "check_size", refuse)
    assert (await collect_batches(sharing.baishan))[PENALTIES] == "SIZE_PARTS"
    assert fetched == []


async def test_parts_on_a_line_are_not_read_unsigned(tmp_path: Path):
    """What is fetched is not read before its manifest's note is believed."""
    async with two_cities(tmp_path, change=lambda text: text.replace('delivery = "push"', 'delivery = "pull"')) as cities:
        await tell(cities)
        (batch,) = await outbox.waiting_batches(cities.tonghua.store.reads, PENALTIES)
        parts = await outbox.out_parts_of(cities.tonghua.store.reads, PENALTIES, batch.epoch, batch.seq)
        read: list[str] = []

        def part(name: str, data: bytes) -> Part:
            def chunks() -> Iterator[bytes]:
                read.append(name)
                yield data

            return Part(name=name, size=len(data), digest="", read=chunks)

        incoming = IncomingBatch(
            batch=manifests.read_manifest(batch.document.body).id,
            manifest=batch.document.body,
            manifest_note=b"",
            checkpoint=batch.checkpoint.encode(),
            parts=tuple(part(name, data) for name, data in parts),
            cursor="",
        )
        cities.line.fetched.append(incoming)
        assert "SIG_FORMAT" in (await collect_batches(cities.baishan)).values()
        assert read == []
        cities.line.fetched[:] = [msgspec.structs.replace(incoming, manifest_note=batch.document.note.encode())]
        assert await collect_batches(cities.baishan) == {}
        assert set(read) == {name for name, _ in parts}


async def test_lines_beyond_the_bound_are_read_again(cities: Cities, monkeypatch: pytest.MonkeyPatch):
    """A batch of few and long lines is not kept in memory: chunks are small, nothing is prepared, and it comes to the same."""
    sizes: list[int] = []
    before = Judging._judge

    async def judged(self: Judging, source: Any, lines: Any) -> Any:
        assert self.verified.lines is None
        sizes.append(len(lines))
        return await before(self, source, lines)

    monkeypatch.setattr(Judging, "_judge", judged)
    monkeypatch.setattr(batch_lines, "KEPT_BYTES", 100)
    monkeypatch.setattr(judge_lines, "CHUNK_BYTES", 100)
    forger = Forger(cities)
    received = await forger.post(forger.penalty(1), forger.penalty(2), forger.penalty(3))
    assert received.result == "applied"
    assert sizes == [1, 1, 1]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was read of the parts that are kept here, and what was looked at, in order."""
    done: list[str] = []
    read, add = inbox.in_part, batch_lines.LineCheck.add

    async def in_part(source: Any, batch: Any, name: str) -> bytes:
        done.append(f"read {name}")
        return await read(source, batch, name)

    def checked(self: batch_lines.LineCheck, entry: manifests.PartEntry, data: bytes) -> None:
        done.append(f"check {entry.name}")
        add(self, entry, data)

    monkeypatch.setattr(inbox, "in_part", in_part)
    monkeypatch.setattr(batch_lines.LineCheck, "add", checked)
    return done


async def test_kept_parts_are_read_one_by_one(cities: Cities, steps: list[str]):
    """Of a batch that comes in pieces each part is looked at before the next is read from the store."""
    forger = Forger(cities)
    sealed = forger.seal([forger.penalty(number) for number in range(1, 6)], lines_a_part=2)
    for part in sealed.parts:
        assert steps == []
        received = await forger.send(sealed, {part.name: part.data})
    assert received.result == "applied"
    a, b, c = (part.name for part in sealed.parts)
    assert steps == [f"read {a}", f"check {a}", f"read {b}", f"check {b}", f"check {c}"]


async def test_a_staged_epoch_is_read_part_by_part(cities: Cities, steps: list[str], monkeypatch: pytest.MonkeyPatch):
    """The last batch of a new epoch brings in what was staged without holding a part of it longer than it is read."""
    monkeypatch.setattr(batch_lines, "KEPT_BYTES", 1)
    forger = Forger(cities)
    assert (await forger.post(*(forger.penalty(number) for number in range(1, 5)))).result == "applied"
    replaces = forger.anew()
    lines = [forger.penalty(number, v=2) for number in range(1, 5)]
    staged = forger.seal(lines[:3], lines_a_part=2, replaces=replaces, snapshot="part")
    last = forger.seal(lines[3:], snapshot="last")
    steps.clear()
    assert (await forger.send(staged)).result == "quarantined"
    assert (await forger.send(last)).result == "applied"
    a, b = (part.name for part in staged.parts)
    (c,) = (part.name for part in last.parts)
    came = [f"check {a}", f"check {b}", f"check {c}"]
    assert steps == [*came, f"read {a}", f"check {a}", f"read {b}", f"check {b}", f"read {a}", f"read {b}"]
