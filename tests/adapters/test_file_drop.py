"""`file_drop` in a folder: the conformance suite, the layout, what is refused on the way, and a death at every step."""

import asyncio
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from adapters.drop_folder import Folder
from adapters.drop_place import Where
from adapters.file_drop import FileDrop, FileDropConfig
from adapters.suite import PartnerAdapterSuite, PartnerLine, canned_batch
from gateway.adapter_contract import AdapterError, SealedBatch
from gateway.core.exchange.wire import digest_text
from tests.adapters.drop_partner import PARTY, DropLine, Killed, all_of, folder_of, found, lay

STREAM = "canned-line-2026.canned"
PARTIES: Mapping[str, object] = {"ours": PARTY, "partner": PARTY, "incoming": [STREAM]}
"""Both ways at once: what is laid down and what is looked for is of one sender."""


_ROOTS = tempfile.TemporaryDirectory(prefix="drops")


class SlowFolder(Folder):
    """A share that takes its time."""

    def __init__(self, root: str, seconds: float) -> None:
        super().__init__(root)
        self.seconds = seconds

    async def read(self, path: Where, limit: int) -> bytes | None:
        """After a while."""
        await asyncio.sleep(self.seconds)
        return await super().read(path, limit)


class WatchedFolder(Folder):
    """A share that is looked at as it fills."""

    def __init__(self, root: str, renamed: list[str]) -> None:
        super().__init__(root)
        self.renamed = renamed

    def _rename(self, name: str, to: str, at: int) -> None:
        super()._rename(name, to, at)
        self.renamed.append(to)


class FullFolder(Folder):
    """A share without room."""

    def _fill(self, name: str, chunks: Iterable[bytes], at: int) -> None:
        super()._fill(name, [b"x"], at)
        raise OSError(28, "no space left")


class BrokenFolder(Folder):
    """A share that breaks after some files."""

    def __init__(self, root: str, names: int) -> None:
        super().__init__(root)
        self.left = names

    def _rename(self, name: str, to: str, at: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(5, "broken")
        super()._rename(name, to, at)


class FolderLine(DropLine):
    """A folder of this machine."""

    config: ClassVar[Mapping[str, object]] = {"root": "/srv/drop", **PARTIES}
    needs = ("root",)

    def __init__(self) -> None:
        super().__init__(Path(tempfile.mkdtemp(dir=_ROOTS.name)))
        self.place: Folder = WatchedFolder(str(self.root), self.renamed)

    def connect(self) -> Any:
        """An adapter on the folder."""
        return drop(self.root, self.place)

    def dawdle(self, seconds: float) -> None:
        """Slow."""
        self.place = SlowFolder(str(self.root), seconds)

    def refuse(self) -> bool:
        """No room."""
        self.place = FullFolder(str(self.root))
        return True

    def break_off(self) -> bool:
        """After two files."""
        self.place = BrokenFolder(str(self.root), 2)
        return True

    def fail_to_keep(self) -> bool:
        """At the manifest, which is the fifth."""
        self.place = BrokenFolder(str(self.root), 4)
        return True

    def heal(self) -> bool:
        """Well again."""
        self.place = Folder(str(self.root))
        return True


FUTURE = "a sender clears what was taken: a number that does not lie there is no sign that it never did; the core's ledger knows"
SKIPS: Mapping[str, str] = {
    "test_future_cursors_are_refused": FUTURE,
    "test_a_lost_reply_is_no_success": "a folder gives no reply: receipts are looked for",
    "test_redirects_are_not_followed": "a folder points nowhere else, and symbolic links are ignored (below)",
    "test_the_deadline_is_kept": "the line waits for nobody; how long a delivery may take is the core's",
}


class TestFolder(PartnerAdapterSuite):
    """The conformance suite in a folder."""

    skips = SKIPS

    def line(self) -> PartnerLine:
        """A new folder."""
        return FolderLine()


def sealed(number: int = 1) -> SealedBatch:
    """A canned batch."""
    return canned_batch(number)


def drop(root: Path, place: Folder | None = None, **changed: Any) -> FileDrop:
    """An adapter on a folder."""
    return FileDrop(msgspec.convert({"root": str(root), **PARTIES, **changed}, FileDropConfig), None, place=place)


async def code_of(story: Any) -> str:
    """The code with which a story fails."""
    with pytest.raises(AdapterError) as caught:
        await story
    return caught.value.code


async def test_the_layout_is_that_of_the_wire(tmp_path: Path) -> None:
    """Every file of a batch, a receipt and a document stands under the name that the wire specification gives it, and no other."""
    line = drop(tmp_path)
    assert await line.deliver(sealed()) is None
    await line.acknowledge(STREAM, 7, b'{"body":"{}","note":"n"}', b'{"i":0}\n')
    await line.publish(f"keys/{PARTY}", b'{"body":"{1}","note":"n"}')
    await line.publish("agreements/canned-line-2026-3", b'{"body":"{2}","note":"n"}')
    lying = sorted(str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*") if each.is_file())
    batch, receipts = f"{STREAM}/{PARTY}/batches/1-0000000001", f"{STREAM}/{PARTY}/receipts/0000000007"
    assert lying == sorted(
        [f"{batch}/{name}" for name in ("1-1-000.ndjson", "1-1-001.ndjson", "checkpoint", "manifest.json", "manifest.note")]
        + [f"{receipts}{end}" for end in (".feedback.ndjson", ".json", ".note")]
        + [f"keys/{PARTY}.json", f"keys/{PARTY}.note"]
        + ["agreements/canned-line-2026-3.json", "agreements/canned-line-2026-3.note"]
    )
    assert await all_of(line.receipts(STREAM, 6)) == [(7, b'{"body":"{}","note":"n"}', b'{"i":0}\n')]
    assert await line.published("agreements/canned-line-2026-3") == b'{"body":"{2}","note":"n"}'
    assert await line.keys(None) == b'{"body":"{1}","note":"n"}'
    assert await line.keys(digest_text(b"{1}")) == b"", "still the one that is held"
    assert await line.keys(digest_text(b"{2}")) != b""
    await line.clear(STREAM, 1, 1)
    assert not folder_of(tmp_path, sealed().batch).exists()
    await line.clear(STREAM, 1, 1)


async def test_bytes_under_a_name_never_change(tmp_path: Path) -> None:
    """Another manifest under a number, and another receipt, are forks: neither is written over what lies there."""
    line = drop(tmp_path)
    await line.deliver(sealed())
    other = msgspec.structs.replace(sealed(), manifest=sealed().manifest + b" ")
    assert await code_of(line.deliver(other)) == "SEQ_FORK"
    assert found(tmp_path, sealed().batch).manifest == sealed().manifest  # type: ignore[union-attr]  # it lies there
    await line.acknowledge(STREAM, 1, b'{"body":"a","note":"n"}', b"")
    await line.acknowledge(STREAM, 1, b'{"body":"a","note":"n2"}', b"")
    assert await code_of(line.acknowledge(STREAM, 1, b'{"body":"b","note":"n"}', b"")) == "SEQ_FORK"
    assert await all_of(line.receipts(STREAM, 0)) == [(1, b'{"body":"a","note":"n2"}', b"")]


class Counting(Folder):
    """A folder whose process dies at the n-th step of writing."""

    def __init__(self, root: str, dies_at: int) -> None:
        super().__init__(root)
        self.left = dies_at

    def _step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed

    def _write(self, path: Where, chunks: Iterable[bytes]) -> None:
        with self._at(path[:-1], make=True) as at:  # as in the folder itself, but nobody is left to tidy up
            assert at is not None
            name = path[-1] + ".dead.tmp"
            (Path(f"/proc/self/fd/{at}") / name).unlink(missing_ok=True)
            self._step()
            self._fill(name, self._each(chunks), at)
            self._step()
            self._rename(name, path[-1], at)
            self._step()

    def _each(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        for chunk in chunks:
            self._step()
            yield chunk


async def test_a_death_at_every_step_of_a_delivery(tmp_path: Path) -> None:
    """Whatever was written when the process died, the reader sees no batch before all of it lies there, and the next attempt ends it."""
    died = 0
    for step in range(1, 500):
        root = tmp_path / str(step)
        root.mkdir()
        try:
            await drop(root, Counting(str(root), step)).deliver(sealed())
        except Killed:
            died += 1
        else:
            break
        reader = await all_of(drop(root).collect(None))
        manifest = folder_of(root, sealed().batch) / "manifest.json"
        assert len(reader) == manifest.exists()
        if reader:
            assert [b"".join(part.read()) for part in reader[0].parts] == [b"".join(part.read()) for part in sealed().parts]
        await drop(root).deliver(sealed())
        (got,) = await all_of(drop(root).collect(None))
        for name in ("manifest", "manifest_note", "checkpoint"):
            assert getattr(got, name) == getattr(sealed(), name)
        assert [b"".join(part.read()) for part in got.parts] == [b"".join(part.read()) for part in sealed().parts]
    assert died >= 50, "every chunk, flush and rename is a step"


async def test_what_is_not_whole_waits(tmp_path: Path) -> None:
    """Without its manifest a batch is not there; a part that is cut or missing is not given, and comes once it is whole."""
    folder = lay(tmp_path, sealed())
    manifest, part = folder / "manifest.json", folder / "1-1-001.ndjson"
    whole = part.read_bytes()
    manifest.rename(folder / "manifest.json.tmp")
    assert await all_of(drop(tmp_path).collect(None)) == []
    (folder / "manifest.json.tmp").rename(manifest)
    for cut in (whole[:-1], b"", whole + b"x"):
        part.write_bytes(cut)
        (got,) = await all_of(drop(tmp_path).collect(None))
        assert [each.name for each in got.parts] == ["1-1-000.ndjson"]
    part.unlink()
    (got,) = await all_of(drop(tmp_path).collect(None))
    assert [each.name for each in got.parts] == ["1-1-000.ndjson"]
    part.write_bytes(whole)
    (got,) = await all_of(drop(tmp_path).collect(None))
    assert [b"".join(each.read()) for each in got.parts][1] == whole


async def test_names_come_from_numbers(tmp_path: Path) -> None:
    """A manifest that names files elsewhere, or of another batch, gets none of them; files beside are never read."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 10)
    root = tmp_path / "root"
    outside = ("../../../../secret", "/etc/hostname", str(secret), "1-1-000.ndjson/../x")
    for name in (*outside, "1-2-000.ndjson", "1-1-001.ndjson", "checkpoint"):
        said = json.loads(sealed().manifest) | {"parts": [{"name": name, "bytes": 10, "digest": "sha-256:0"}]}
        folder = lay(root, msgspec.structs.replace(sealed(), manifest=json.dumps(said).encode()))
        (got,) = await all_of(drop(root).collect(None))
        assert got.parts == (), name
        shutil.rmtree(folder)
    for broken in (b"", b"{}", b'{"parts":[1]}', b"[" * 100_000, b'{"parts":[{"name":1,"bytes":"x","digest":null}]}', b"\xff"):
        folder = lay(root, msgspec.structs.replace(sealed(), manifest=broken))
        (got,) = await all_of(drop(root).collect(None))
        assert (got.manifest, got.parts) == (broken, ()), "the core says what it is"
        shutil.rmtree(folder)


async def test_links_and_devices_are_ignored_and_told(tmp_path: Path) -> None:
    """A link, a pipe or a socket in the place of a file or folder is never followed, to read or to write; the check counts them."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    root = tmp_path / "root"
    folder = lay(root, sealed())
    part = folder / "1-1-000.ndjson"
    for plant in (lambda: part.symlink_to("/etc/hostname"), lambda: os.mkfifo(part), part.mkdir, lambda: _bind(part)):
        shutil.rmtree(part) if part.is_dir() else part.unlink()
        plant()
        assert await code_of(all_of(drop(root).collect(None))) == "DROP_ODD"
    shutil.rmtree(folder)
    folder.symlink_to(lay(elsewhere, sealed()))
    assert await code_of(all_of(drop(root).collect(None))) == "DROP_ODD"
    assert await code_of(drop(root).deliver(sealed())) == "DROP_ODD"
    found_odd = {each.what: each for each in await drop(root).check() if not each.ok}
    assert "1 个符号链接" in found_odd["多余文件"].message
    shutil.rmtree(root / STREAM)
    (root / STREAM).symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    assert await code_of(drop(root).deliver(sealed(2))) == "DROP_ODD"
    assert sorted(elsewhere.rglob("*")) == before, "nothing is written through a link"


def _bind(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(here)


async def test_surplus_is_counted_up_to_a_bound(tmp_path: Path) -> None:
    """However many names lie beside the batches, a look reads none of them, and the check counts up to its bound."""
    lay(tmp_path, sealed())
    batches = folder_of(tmp_path, sealed().batch).parent
    for number in range(300):
        (batches / f"x{number}").touch()
    assert len(await all_of(drop(tmp_path).collect(None))) == 1
    (told,) = [each for each in await drop(tmp_path).check() if each.what == "多余文件"]
    assert "300 个多余文件" in told.message
    assert len(await Folder(str(tmp_path)).names((STREAM, PARTY, "batches"), 100)) == 100


async def test_a_new_epoch_is_found_when_the_old_one_ends(tmp_path: Path) -> None:
    """The next number comes first, then the first of a later epoch; a cursor that is nobody's is refused."""
    for batch in ("1/1", "1/2", "3/1", "3/2"):
        lay(tmp_path, msgspec.structs.replace(sealed(), batch=f"{PARTY}/x/{STREAM}/{batch}"))
    got = await all_of(drop(tmp_path).collect(None, STREAM))
    assert [each.batch.rsplit("/", 2)[1:] for each in got] == [["1", "1"], ["1", "2"], ["3", "1"], ["3", "2"]]
    (later,) = await all_of(drop(tmp_path).collect(got[2].cursor, STREAM))
    assert later.batch == got[3].batch
    for bad in ('{"other.stream":[1,0]}', f'{{"{STREAM}":[0,0]}}', "[]"):
        assert await code_of(all_of(drop(tmp_path).collect(bad, STREAM))) == "CURSOR_UNKNOWN"


async def test_what_an_older_epoch_still_brings(tmp_path: Path) -> None:
    """Asked for behind a number, it comes in order, beyond a gap too, and nothing of another epoch."""
    for batch in ("1/1", "1/2", "1/4", "2/1", "2/5"):
        lay(tmp_path, msgspec.structs.replace(sealed(), batch=f"{PARTY}/x/{STREAM}/{batch}"))
    got = await all_of(drop(tmp_path).collect_behind(STREAM, 1, 1))
    assert [each.batch.rsplit("/", 2)[1:] for each in got] == [["1", "2"], ["1", "4"]]
    assert await all_of(drop(tmp_path).collect_behind(STREAM, 1, 4)) == []


async def test_what_lies_beyond_a_gap_comes_and_moves_no_cursor(tmp_path: Path) -> None:
    """A number that is missing hides nothing: what follows is given each time, until the gap is closed and all of it comes in order."""
    for seq in (1, 3, 4, 20):
        lay(tmp_path, sealed(seq))
    got = await all_of(drop(tmp_path).collect(None, STREAM))
    assert [int(each.batch.rsplit("/", 1)[1]) for each in got] == [1, 3, 4]
    assert got[1].cursor == got[2].cursor == got[0].cursor
    folder_of(tmp_path, sealed(5).batch).symlink_to("/etc")
    lay(tmp_path, sealed(2))
    later = drop(tmp_path).collect(got[2].cursor, STREAM)
    assert [int((await anext(later)).batch.rsplit("/", 1)[1]) for _ in range(3)] == [2, 3, 4]
    assert await code_of(anext(later)) == "DROP_ODD"


async def test_what_is_wrong_with_the_folder_has_a_code_and_a_remedy(tmp_path: Path) -> None:
    """No folder, no room, no rights, no absolute path: each is told in Chinese with what to do, and a full disk leaves no half file."""
    gone = tmp_path / "gone"
    assert await code_of(drop(gone).deliver(sealed())) == "DROP_MISSING"
    assert await code_of(all_of(drop(gone).collect(None))) == "DROP_MISSING"
    (told,) = await drop(gone).check()
    assert (told.ok, told.remedy) == (False, "检查 root 设置，确认目录存在且已挂载")
    assert not gone.exists(), "a share that is not mounted is not made"
    assert await code_of(drop(tmp_path, FullFolder(str(tmp_path))).deliver(sealed())) == "DROP_FULL"
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []
    told_full = {each.what: each for each in await drop(tmp_path, FullFolder(str(tmp_path))).check()}
    assert told_full["连接"].ok
    with pytest.raises(AdapterError, match="绝对路径"):
        drop(Path("relative"))
    with pytest.raises(AdapterError, match="不是数据流名称"):
        drop(tmp_path, incoming=["../../etc"])
    with pytest.raises(AdapterError, match="参与方"):
        drop(tmp_path, ours="../x")
    assert await code_of(drop(tmp_path).publish("keys/../../x", b"{}")) == "CONFIG"


async def test_all_is_well_is_told_too(tmp_path: Path) -> None:
    """Folder, room, rights, clock and the partner's keys, each by name."""
    await drop(tmp_path).publish(f"keys/{PARTY}", b'{"body":"{}","note":"n"}')
    found_all = await drop(tmp_path).check()
    assert {each.what for each in found_all} == {"连接", "空间", "权限", "时钟", "密钥文件"}
    assert all(each.ok for each in found_all)
    assert not list(tmp_path.rglob("*.tmp"))
    alone = await drop(tmp_path, partner="", incoming=[]).check()
    assert "密钥文件" not in {each.what for each in alone}, "of no partner nothing is said"
