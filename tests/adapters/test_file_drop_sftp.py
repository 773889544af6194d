"""`file_drop` over a real SFTP server: the conformance suite, the pinned host key, and a server that misbehaves in every way it can."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from adapters.file_drop import FileDrop, FileDropConfig
from adapters.suite import PartnerAdapterSuite, PartnerLine
from gateway.adapter_contract import AdapterError
from gateway.adapter_loading import installed_adapters
from gateway.core.errors import SettingsError
from tests.adapters.drop_partner import PARTY, DropLine, Manners, SftpServer, all_of, folder_of, found, lay, serving
from tests.adapters.test_file_drop import PARTIES, SKIPS, STREAM, code_of, sealed

_ROOTS = tempfile.TemporaryDirectory(prefix="served")


@pytest.fixture(scope="module")
def server() -> Iterator[SftpServer]:
    """One server for the file; each test has a root of its own under it."""
    keys = Path(tempfile.mkdtemp(dir=_ROOTS.name))
    with serving(Path(tempfile.mkdtemp(dir=_ROOTS.name)), keys) as running:
        yield running


@pytest.fixture(autouse=True)
def calm(server: SftpServer) -> Iterator[None]:
    """Whatever a test made the server do ends with it."""
    yield
    server.manners = Manners()


class ServerLine(DropLine):
    """A root on the server."""

    config: ClassVar[Mapping[str, object]] = {
        "root": "/drop",
        "sftp": {"host": "files.example", "user": "chengxin", "key_file": "/k", "host_key": "ssh-ed25519 AAAA"},
        **PARTIES,
    }
    needs = ("root",)

    def __init__(self, server: SftpServer) -> None:
        super().__init__(Path(tempfile.mkdtemp(dir=server.root)))
        self.server = server
        server.manners = Manners()
        self.renamed = server.manners.renamed

    def connect(self) -> Any:
        """An adapter to it."""
        return drop(self.server, self.root.name)

    def dawdle(self, seconds: float) -> None:
        """Slow, but not so that the thread of the server outlives the test."""
        self.server.manners.delay_s = min(seconds, 2.0)

    def refuse(self) -> bool:
        """Nothing may be written."""
        self.server.manners.read_only = True
        return True

    def break_off(self) -> bool:
        """The connection is gone after some calls."""
        self.server.manners.hang_up_after = 14
        return True

    def fail_to_keep(self) -> bool:
        """The last file does not get its name."""
        self.server.manners.fails_last = True
        return True

    def heal(self) -> bool:
        """Well again."""
        self.server.manners = Manners()
        return True


class TestServer(PartnerAdapterSuite):
    """The conformance suite over SFTP."""

    skips = SKIPS

    @pytest.fixture(autouse=True)
    def served(self, server: SftpServer) -> None:
        """The server of the file."""
        self.server = server

    def line(self) -> PartnerLine:
        """A new root."""
        return ServerLine(self.server)


def drop(server: SftpServer, root: str, **changed: Any) -> FileDrop:
    """An adapter to a root of the server."""
    settings = server.settings(f"/{root}") | PARTIES
    settings["sftp"] = settings["sftp"] | changed  # type: ignore[operator]  # a table
    return FileDrop(msgspec.convert(settings, FileDropConfig), None)


@pytest.fixture
def root(server: SftpServer) -> Path:
    """A root of this test."""
    return Path(tempfile.mkdtemp(dir=server.root))


async def delivered(server: SftpServer, root: Path, number: int = 1, **changed: Any) -> None:
    """One delivery over a line of its own."""
    line = drop(server, root.name, **changed)
    try:
        await line.deliver(sealed(number))
    finally:
        await line.close()


async def collected(server: SftpServer, root: Path) -> list[Any]:
    """Everything that lies there."""
    line = drop(server, root.name)
    try:
        return await all_of(line.collect(None))
    finally:
        await line.close()


async def told(server: SftpServer, root: Path, **changed: Any) -> dict[str, Any]:
    """What the check says, by what it looked at."""
    line = drop(server, root.name, **changed)
    try:
        return {each.what: each for each in await line.check()}
    finally:
        await line.close()


async def test_the_host_key_is_pinned(server: SftpServer, root: Path) -> None:
    """Behind another key nothing is sent and nothing read, whatever the user's own files of hosts say; the check says what to do."""
    await delivered(server, root)
    before = server.settings()["sftp"]["host_key"]  # type: ignore[index]  # a table
    server.another_host_key()
    calls = len(server.manners.calls)
    assert await code_of(delivered(server, root, 2, host_key=before)) == "HOST_KEY"
    assert len(server.manners.calls) == calls
    said = await told(server, root, host_key=before)
    assert (said["连接"].ok, "中间人" in said["连接"].remedy) == (False, True)
    await delivered(server, root, 2)
    with pytest.raises(AdapterError, match="host_key"):
        drop(server, root.name, host_key="no key")


async def test_who_may_not_log_in_is_told(server: SftpServer, root: Path, tmp_path: Path) -> None:
    """Another user, a key that is not there or open to others, and a server that does not listen: each has its code."""
    assert await code_of(delivered(server, root, user="somebody")) == "DROP_LOGIN"
    assert await code_of(delivered(server, root, key_file=str(tmp_path / "none"))) == "CONFIG"
    opened = tmp_path / "open"
    shutil.copy(server.key_file, opened)
    opened.chmod(0o644)
    assert await code_of(delivered(server, root, key_file=str(opened))) == "CONFIG"
    opened.chmod(0o600)
    opened.write_text("no key")
    assert await code_of(delivered(server, root, key_file=str(opened))) == "CONFIG"
    assert await code_of(delivered(server, root, port=1)) == "UNAVAILABLE"


async def test_a_server_that_hangs_up_anywhere(server: SftpServer, root: Path) -> None:
    """Wherever the connection breaks, nobody sees half a batch, the error may be tried again, and the next attempt ends it."""
    broken = 0
    for calls in range(0, 60, 3):
        place = Path(tempfile.mkdtemp(dir=root))
        inner = Path(root.name) / place.name
        server.manners.hang_up_after = calls
        line = drop(server, str(inner))
        (error,) = await asyncio.gather(line.deliver(sealed()), return_exceptions=True)
        await line.close()
        if error is not None:
            broken += 1
            assert isinstance(error, AdapterError)
            assert (error.code, error.transient) == ("UNAVAILABLE", True)
        server.manners.hang_up_after = None
        lies = found(place, sealed().batch)
        if lies is not None:
            assert [b"".join(part.read()) for part in lies.parts] == [b"".join(part.read()) for part in sealed().parts]
        line = drop(server, str(inner))
        await line.deliver(sealed())
        (got,) = await all_of(line.collect(None))
        assert [b"".join(part.read()) for part in got.parts] == [b"".join(part.read()) for part in sealed().parts]
        await line.close()
    assert broken > 5


async def test_files_that_the_server_tears(server: SftpServer, root: Path) -> None:
    """A server that keeps half of what it was given is seen through by size: the batch is not given as whole, and is written again."""
    server.manners.tear = True
    await delivered(server, root)
    for got in await collected(server, root):
        assert got.parts == ()
    server.manners.tear = False
    shutil.rmtree(folder_of(root, sealed().batch))
    await delivered(server, root)
    part = folder_of(root, sealed().batch) / "1-1-000.ndjson"
    part.write_bytes(part.read_bytes()[:10])
    await delivered(server, root)
    (got,) = await collected(server, root)
    assert len(got.parts) == 2


async def test_a_full_disk_and_a_server_that_may_only_be_read(server: SftpServer, root: Path) -> None:
    """No room and no rights are told as such, and no half file stays."""
    server.manners.full = True
    assert await code_of(delivered(server, root)) == "DROP_FULL"
    assert [each for each in root.rglob("*") if each.is_file()] == []
    assert (await told(server, root))["权限"].remedy == "清理交换目录或扩容"
    server.manners.full, server.manners.read_only = False, True
    assert await code_of(delivered(server, root, 2)) == "DROP_RIGHTS"
    assert (await told(server, root))["权限"].remedy == "请为运行网关的用户授予该目录的读写权限"


async def test_a_server_that_lets_nothing_be_renamed(server: SftpServer, root: Path) -> None:
    """It is told as a right that is missing, by the delivery and by the check alike; no half file stays."""
    server.manners.stuck = True
    assert await code_of(delivered(server, root)) == "DROP_RIGHTS"
    refused = (await told(server, root))["权限"]
    assert (refused.ok, "改名" in refused.message) == (False, True)
    assert [each for each in root.rglob("*") if each.is_file()] == []
    server.manners.stuck = False
    assert (await told(server, root))["权限"].ok
    assert [each for each in root.rglob("*") if each.is_file()] == []


async def test_links_on_the_server_are_not_followed(server: SftpServer, root: Path) -> None:
    """A link in the place of a part, a batch or a stream is refused; nothing is read or written through it."""
    folder = lay(root, sealed())
    part = folder / "1-1-000.ndjson"
    elsewhere = Path(tempfile.mkdtemp(dir=server.root))
    (elsewhere / "secret").write_bytes(part.read_bytes())
    part.unlink()
    part.symlink_to(Path("..") / ".." / ".." / ".." / ".." / elsewhere.name / "secret")
    assert await code_of(collected(server, root)) == "DROP_ODD"
    shutil.rmtree(root / STREAM)
    (root / STREAM).symlink_to(Path("..") / elsewhere.name)
    assert await code_of(delivered(server, root)) == "DROP_ODD"
    assert sorted(each.name for each in elsewhere.iterdir()) == ["secret"]
    assert "已忽略" in (await told(server, root))["读取"].message


async def test_many_names_cost_a_look_nothing(server: SftpServer, root: Path) -> None:
    """A thousand names beside a batch are never listed to find it; the check counts them."""
    lay(root, sealed())
    batches = folder_of(root, sealed().batch).parent
    for number in range(1000):
        (batches / f"9-{number:09}").touch()
    server.manners.calls.clear()
    assert len(await collected(server, root)) == 1
    assert len(server.manners.calls) < 80
    assert "1000 个多余文件" in (await told(server, root))["多余文件"].message


async def test_old_servers_will_do(server: SftpServer, root: Path) -> None:
    """Without rename over a file, flush and free space everything goes as well; a note that was signed anew takes the old one's place."""
    server.manners.old = True
    await delivered(server, root)
    line = drop(server, root.name)
    again = msgspec.structs.replace(sealed(), manifest_note=b"signed anew\n")
    await line.deliver(again)
    (got,) = await all_of(line.collect(None))
    assert got.manifest_note == b"signed anew\n"
    await line.clear(STREAM, 1, 1)
    assert not folder_of(root, sealed().batch).exists()
    await line.publish(f"keys/{PARTY}", b'{"body":"{}","note":"n"}')
    assert {each.what for each in await line.check() if not each.ok} == set()
    await line.close()


async def test_a_slow_server_is_given_up(server: SftpServer, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer in time is an error that says so, and a look at it ends."""
    monkeypatch.setattr("adapters.drop_sftp.CALL_S", 0.3)
    lay(root, sealed())
    server.manners.delay_s = 1.0
    begun = time.monotonic()
    assert await code_of(collected(server, root)) in ("SIZE_TIME", "UNAVAILABLE")
    assert time.monotonic() - begun < 5
    server.manners.delay_s = 0.0
    await asyncio.sleep(1.0)  # the server's thread is through with what it was asked


def test_without_the_extra_the_error_names_it(server: SftpServer) -> None:
    """Where asyncssh is not installed a folder works, and a server is refused with the name of what to install; nothing loads it before."""
    code = (
        "import sys; sys.modules['asyncssh'] = None\n"
        "from adapters.file_drop import FileDrop, FileDropConfig\nimport msgspec\n"
        "FileDrop(FileDropConfig(root='/tmp'), None)\n"
        f"FileDrop(msgspec.convert({server.settings()!r}, FileDropConfig), None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "chengxin-gateway[sftp]" in done.stderr
    seen = "import sys; import adapters.file_drop; sys.exit('asyncssh' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", seen], check=False).returncode == 0


def test_wrong_settings_are_the_settings_error_of_the_house(server: SftpServer) -> None:
    """What the adapter says against its settings comes out as an error of settings, in its own words."""
    bad: dict[str, Any] = server.settings()
    bad["sftp"] = bad["sftp"] | {"host_key": "x"}
    with pytest.raises(SettingsError, match="host_key") as caught:
        installed_adapters().partner("file_drop", bad)
    assert caught.value.code == "adapter-config"


def test_manners_begin_calm() -> None:
    """A server misbehaves only where a test says so."""
    assert not any(vars(Manners()).values())
