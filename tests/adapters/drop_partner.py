"""The other side of a shared folder: lays batches down and reads them as the layout says, without our adapter; a server that misbehaves.

The server speaks real SFTP over a real socket, in a thread of its own: it can hang up, dawdle, tear files, say that its disk is full,
refuse to write, show another host key, and lack what old servers lack. Its files are those of a folder, so links are planted there.
"""

import asyncio
import json
import shutil
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh

from adapters.suite import PartnerLine
from gateway.adapter_contract import Part, SealedBatch

PARTY = "credit.tonghua.example"


def folder_of(root: Path, batch: str) -> Path:
    """Where a batch lies."""
    origin, epoch, seq = batch.rsplit("/", 2)
    sender, _, stream = origin.partition("/x/")
    return root / stream / sender / "batches" / f"{epoch}-{int(seq):010}"


def lay(root: Path, sealed: SealedBatch) -> Path:
    """Put a batch down, as another implementation would."""
    folder = folder_of(root, sealed.batch)
    folder.mkdir(parents=True)
    for part in sealed.parts:
        (folder / part.name).write_bytes(b"".join(part.read()))
    (folder / "checkpoint").write_bytes(sealed.checkpoint)
    (folder / "manifest.note").write_bytes(sealed.manifest_note)
    (folder / "manifest.json").write_bytes(sealed.manifest)
    return folder


def found(root: Path, batch: str) -> SealedBatch | None:
    """The batch that lies under its name, if it does."""
    folder = folder_of(root, batch)
    if not (folder / "manifest.json").exists():
        return None
    known = ("manifest.json", "manifest.note", "checkpoint")
    parts = sorted(each for each in folder.iterdir() if each.name not in known and each.suffix != ".tmp")
    return SealedBatch(
        batch=batch,
        manifest=(folder / "manifest.json").read_bytes(),
        manifest_note=(folder / "manifest.note").read_bytes(),
        checkpoint=(folder / "checkpoint").read_bytes(),
        parts=tuple(_part(each) for each in parts),
    )


def _part(path: Path) -> Part:
    data = path.read_bytes()
    return Part(name=path.name, size=len(data), digest="", read=lambda: iter([data]))


class DropLine(PartnerLine):
    """A folder that two share, wherever it lies; the settings are those of either end."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.renamed: list[str] = []
        """Which files got their names, in order."""

    def cut(self) -> None:
        """The share is not mounted any more."""
        shutil.rmtree(self.root)

    def arrived(self, batch: str) -> SealedBatch | None:
        """As it lies there."""
        return found(self.root, batch)

    def effects(self, batch: str) -> int:
        """A folder with a manifest is an effect."""
        lying = folder_of(self.root, batch).parent
        return sum((each / "manifest.json").exists() for each in lying.iterdir()) if lying.exists() else 0

    def everything(self) -> Sequence[str]:
        """By the folders that have a manifest."""
        found = []
        for path in sorted(self.root.glob("*/*/batches/*/manifest.json")):
            stream, sender, _, number = path.parent.relative_to(self.root).parts
            epoch, _, seq = number.partition("-")
            found.append(f"{sender}/x/{stream}/{epoch}/{int(seq)}")
        return found

    def written(self, batch: str) -> Sequence[str]:
        """In the order in which they got their names; nothing else may lie there."""
        names = {each.name for each in folder_of(self.root, batch).iterdir()}
        assert set(self.renamed) == names, "half-written files were left behind"
        return self.renamed

    def offer(self, batches: Sequence[SealedBatch]) -> None:
        """Laid down."""
        for batch in batches:
            lay(self.root, batch)

    def publish_keys(self, document: bytes) -> bool:
        """Body and note, the note last."""
        said = json.loads(document)
        (self.root / "keys").mkdir(exist_ok=True)
        for end, name in ((".json", "body"), (".note", "note")):
            (self.root / "keys" / (PARTY + end)).write_text(said[name], encoding="utf-8")
        return True

    def leave_receipt(self, stream: str, no: int, receipt: bytes, feedback: bytes) -> bool:
        """Feedback, body and note, the note last."""
        said = json.loads(receipt)
        path = self.root / stream / PARTY / "receipts" / f"{no:010}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".feedback.ndjson").write_bytes(feedback)
        for end, name in ((".json", "body"), (".note", "note")):
            path.with_suffix(end).write_text(said[name], encoding="utf-8")
        return True

    def acknowledged(self, stream: str, no: int) -> tuple[bytes, bytes] | None:
        """As it lies there, or as it would travel."""
        path = self.root / stream / PARTY / "receipts" / f"{no:010}"
        if not path.with_suffix(".note").exists():
            return None
        said = {name: path.with_suffix(end).read_text(encoding="utf-8") for name, end in (("body", ".json"), ("note", ".note"))}
        return json.dumps(said, separators=(",", ":")).encode(), path.with_suffix(".feedback.ndjson").read_bytes()


class Manners:
    """How the server behaves."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.hang_up_after: int | None = None
        """So many calls, then the connection is gone."""
        self.tear = False
        """Only the first bytes of what is written arrive, and the server says that all is well."""
        self.full = False
        self.fails_last = False
        self.stuck = False
        """Nothing may be renamed."""
        """The manifest, which comes last, cannot be renamed."""
        self.read_only = False
        self.old = False
        """No rename over a file, no flush, no free space: extensions that old servers lack."""
        self.calls: list[str] = []
        self.renamed: list[str] = []


class _Files(asyncssh.SFTPServer):
    """Files of the root, with these manners."""

    manners: Manners

    def __init__(self, channel: Any, root: Path, manners: Manners) -> None:
        super().__init__(channel, chroot=str(root).encode())
        self.manners = manners
        self._torn: set[int] = set()

    def _called(self, what: str) -> None:
        manners = self.manners
        manners.calls.append(what)
        if manners.delay_s:
            time.sleep(manners.delay_s)
        if manners.hang_up_after is not None:
            manners.hang_up_after -= 1
            if manners.hang_up_after < 0:
                self.channel.get_connection().abort()
                raise asyncssh.SFTPFailure("gone")

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        """Refused to writers if this server may only be read."""
        self._called("open")
        if self.manners.read_only and pflags & asyncssh.FXF_WRITE:
            raise asyncssh.SFTPPermissionDenied("read only")
        return super().open(path, pflags, attrs)

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        """All of it, the beginning of it, or no room."""
        self._called("write")
        if self.manners.full:
            raise asyncssh.SFTPNoSpaceOnFilesystem("full")
        if self.manners.tear:
            super().write(file_obj, offset, data[: len(data) // 2] if offset == 0 else b"")
            return len(data)
        return super().write(file_obj, offset, data)

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        """As it stands there."""
        self._called("read")
        return super().read(file_obj, offset, size)

    def lstat(self, path: bytes) -> Any:
        """As it stands there."""
        self._called("lstat")
        return super().lstat(path)

    def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Refused if this server may only be read."""
        self._called("mkdir")
        if self.manners.read_only:
            raise asyncssh.SFTPPermissionDenied("read only")
        super().mkdir(path, attrs)

    def rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Plain SFTP 3 does not rename over a file."""
        self._called("rename")
        if self.manners.stuck:
            raise asyncssh.SFTPFailure("cannot")
        if Path(self.map_path(newpath).decode()).exists():
            raise asyncssh.SFTPFailure("exists")
        super().rename(oldpath, newpath)

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Over a file too, if the server knows that."""
        self._called("posix_rename")
        if self.manners.stuck:
            raise asyncssh.SFTPFailure("cannot")
        if self.manners.fails_last and newpath.endswith(b"manifest.json"):
            raise asyncssh.SFTPFailure("cannot")
        if self.manners.old:
            raise asyncssh.SFTPOpUnsupported("old")
        super().posix_rename(oldpath, newpath)
        self.manners.renamed.append(Path(newpath.decode()).name)

    def fsync(self, file_obj: object) -> None:
        """If the server knows that."""
        self._called("fsync")
        if self.manners.old:
            raise asyncssh.SFTPOpUnsupported("old")
        super().fsync(file_obj)

    def statvfs(self, path: bytes) -> Any:
        """If the server knows that."""
        self._called("statvfs")
        if self.manners.old:
            raise asyncssh.SFTPOpUnsupported("old")
        found = asyncssh.SFTPVFSAttrs.from_local(super().statvfs(path))
        if self.manners.full:
            found.bavail = 0
        return found


class _Door(asyncssh.SSHServer):
    """Lets one key in."""

    def __init__(self, key: asyncssh.SSHKey) -> None:
        self.key = key

    def begin_auth(self, username: str) -> bool:
        """Always asked for."""
        return True

    def public_key_auth_supported(self) -> bool:
        """The only way."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """The one user with the one key."""
        return username == "chengxin" and key.public_data == self.key.public_data


class SftpServer:
    """A real server over one folder, in a thread."""

    def __init__(self, root: Path, keys: Path) -> None:
        self.root = root
        self.manners = Manners()
        self.login = asyncssh.generate_private_key("ssh-ed25519")
        self.key_file = keys / "id_ed25519"
        self.login.write_private_key(self.key_file)
        self.key_file.chmod(0o600)
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._listening: asyncssh.SSHAcceptor | None = None
        self.start()

    def start(self) -> None:
        """Listen, under the host key of now, on the port of before."""
        self._listening = self._do(self._listen())
        self.port = self._listening.get_port()

    async def _listen(self) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_host_keys=[self.host_key],
            server_factory=lambda: _Door(self.login),
            sftp_factory=lambda channel: _Files(channel, self.root, self.manners),
            gss_host=None,
        )

    def stop(self) -> None:
        """Nobody listens any more."""
        if self._listening is not None:
            listening, self._listening = self._listening, None
            self._do(self._closed(listening))

    async def _closed(self, listening: asyncssh.SSHAcceptor) -> None:
        listening.close()
        await listening.wait_closed()

    def another_host_key(self) -> None:
        """The same address, and somebody else behind it."""
        self.stop()
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.start()

    def settings(self, root: str = "/") -> dict[str, object]:
        """What an adapter needs to come here."""
        return {
            "root": root,
            "poll_s": 0,
            "sftp": {
                "host": "127.0.0.1",
                "port": self.port,
                "user": "chengxin",
                "key_file": str(self.key_file),
                "host_key": self.host_key.export_public_key().decode().strip(),
            },
        }

    def _do(self, story: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(story, self._loop).result(30)

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


@contextmanager
def serving(root: Path, keys: Path) -> Iterator[SftpServer]:
    """A server for one test, or for many."""
    server = SftpServer(root, keys)
    try:
        yield server
    finally:
        server.close()


class Killed(BaseException):
    """The process is gone."""


async def all_of(found: AsyncIterator[Any]) -> list[Any]:
    """Everything that an iterator gives."""
    return [each async for each in found]
