"""A folder on an SFTP server as the place of `file_drop`; needs the extra `sftp` (asyncssh), which nothing else loads.

The server's key is the one pinned in the settings, and nobody else's: no known_hosts file, no agent, no configuration of the user, no
certificate, no password is looked for. One connection serves one look at the line. Links are looked for before a name is used; a server
could still show us anything, and all of it is judged by digest and signature afterwards.
"""

import asyncio
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

from msgspec import Meta, Struct

from adapters.drop_place import (
    CALL_S,
    CHUNK,
    FILE_S,
    IN_MEMORY,
    LISTED,
    Entry,
    Where,
    full,
    missing,
    odd,
    rights,
    slow,
    temporary,
    too_long,
    unavailable,
    unrenamed,
)
from gateway.adapter_contract import AdapterError

if TYPE_CHECKING:
    import asyncssh


AT_ONCE = 8
"""Chunks on their way at one time."""


class Sftp(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The server, our login there, and the one key that it must show."""

    host: str
    port: Annotated[int, Meta(ge=1, le=65535)] = 22
    user: str
    key_file: str
    """Our private key, OpenSSH format, without a passphrase, readable by nobody else."""
    host_key: str
    """The server's public key as one line: `ssh-ed25519 AAAA…`."""


class Server:
    """Files under one root of a server."""

    def __init__(self, root: str, login: Sftp) -> None:
        try:
            import asyncssh
        except ImportError as error:
            raise AdapterError(
                "CONFIG", "未安装附加组件 sftp：请执行 pip install 'chengxin-gateway[sftp]'", transient=False, place="sftp"
            ) from error
        self._ssh = asyncssh
        self._root = root.rstrip("/") or "/"
        self._login = login
        try:
            self._host_key = asyncssh.import_public_key(login.host_key)
        except (asyncssh.KeyImportError, ValueError) as error:
            raise AdapterError("CONFIG", "host_key 不是公钥（例如 ssh-ed25519 AAAA…）", transient=False, place="sftp.host_key") from error
        self._connection: asyncssh.SSHClientConnection | None = None
        self._client: asyncssh.SFTPClient | None = None
        self._connecting = asyncio.Lock()
        self._folders: set[Where] = set()

    async def read(self, path: Where, limit: int) -> bytes | None:
        """A whole small file; None when it is not there."""
        async with self._within(path, CALL_S if limit <= IN_MEMORY else FILE_S) as client:
            size = await self._plain(client, path)
            if size is None:
                return None
            if size > limit:
                raise too_long(path)
            async with self._opened(client, path, self._ssh.FXF_READ) as file:
                data = _bytes(await file.read(size + 1))
        if len(data) > limit:
            raise too_long(path)
        return data

    async def size(self, path: Where) -> int | None:
        """How long a file is; None when it is not there."""
        async with self._within(path, CALL_S) as client:
            return await self._plain(client, path)

    async def fetch(self, path: Where, size: int) -> BinaryIO | None:
        """A copy of a file of exactly this length; None when it is not there, or not whole yet."""
        async with self._within(path, FILE_S) as client:
            if await self._plain(client, path) != size:
                return None
            copy: BinaryIO = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # type: ignore[assignment]  # noqa: SIM115  # closed by who reads it
            async with self._opened(client, path, self._ssh.FXF_READ) as file:
                left = size
                while left:
                    async with asyncio.timeout(CALL_S * AT_ONCE):
                        data = await file.read(min(CHUNK * AT_ONCE, left))
                    if not 0 < len(data) <= left:
                        return None  # it ends too soon, or the server gives more than was asked for
                    copy.write(_bytes(data))
                    left -= len(data)
            return copy

    async def write(self, path: Where, chunks: Iterable[bytes]) -> None:
        """Put a file there, with the folders that it needs."""
        async with self._within(path, FILE_S) as client, self._written(client, path, chunks) as written:
            if await self._kind(client, path) not in (None, self._ssh.FILEXFER_TYPE_REGULAR):
                raise odd(path)
            await self._rename(client, written, path)

    @asynccontextmanager
    async def _written(self, client: "asyncssh.SFTPClient", path: Where, chunks: Iterable[bytes]) -> AsyncIterator[Where]:
        """A file beside its place, whole; taken away again if it does not get there."""
        for depth in range(1, len(path)):
            await self._make(client, path[:depth])
        written = (*path[:-1], temporary(path[-1]))
        try:
            await self._fill(client, written, chunks)
            yield written
        except BaseException as error:
            if self._client is None:
                raise  # we have hung up
            none_left = isinstance(error, self._ssh.SFTPFailure) and await self._room(client) == 0  # SFTP 3 has no word for a full disk
            with suppress(self._ssh.Error, OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await client.remove(self._at(written))
            if none_left:
                raise full(path) from error
            raise

    async def _fill(self, client: "asyncssh.SFTPClient", path: Where, chunks: Iterable[bytes]) -> None:
        flags = self._ssh.FXF_WRITE | self._ssh.FXF_CREAT | self._ssh.FXF_EXCL
        async with self._opened(client, path, flags) as file:
            for chunk in chunks:
                for at in range(0, len(chunk), CHUNK * AT_ONCE):
                    async with asyncio.timeout(CALL_S * AT_ONCE):
                        await file.write(chunk[at : at + CHUNK * AT_ONCE])
            with suppress(self._ssh.SFTPOpUnsupported):  # a server that cannot be asked to flush
                await file.fsync()

    async def _rename(self, client: "asyncssh.SFTPClient", written: Where, path: Where) -> None:
        try:
            try:
                await client.posix_rename(self._at(written), self._at(path))
            except self._ssh.SFTPOpUnsupported:
                with suppress(self._ssh.SFTPNoSuchFile):
                    await client.remove(self._at(path))  # such a server does not rename over a file
                await client.rename(self._at(written), self._at(path))
        except self._ssh.SFTPFailure as error:
            if await self._room(client) == 0:
                raise  # no room for a name either
            raise unrenamed(path) from error

    async def remove(self, folder: Where, first: str) -> None:
        """Take a folder away with all files in it, `first` before the others."""
        ssh = self._ssh
        async with self._within(folder, FILE_S) as client:
            if not await self._there(client, folder):
                return
            lie = [each.name for each in await self._listed(client, folder, LISTED) if not each.folder]
            for name in (first, *(name for name in lie if name != first)):
                with suppress(ssh.SFTPNoSuchFile):
                    await client.remove(self._at((*folder, name)))
            with suppress(ssh.SFTPFailure, ssh.SFTPNoSuchFile):  # something else lies in it: without `first` it says nothing
                await client.rmdir(self._at(folder))
            self._folders.discard(folder)

    async def names(self, folder: Where, limit: int) -> list[Entry]:
        """What stands in a folder, at most so many names."""
        async with self._within(folder, CALL_S) as client:
            return await self._listed(client, folder, limit) if await self._there(client, folder) else []

    async def _listed(self, client: "asyncssh.SFTPClient", folder: Where, limit: int) -> list[Entry]:
        found: list[Entry] = []
        async for each in client.scandir(self._at(folder)):
            name = each.filename if isinstance(each.filename, str) else each.filename.decode(errors="replace")
            if name in (".", ".."):
                continue
            kind = each.attrs.type
            found.append(Entry(name, kind == self._ssh.FILEXFER_TYPE_REGULAR, kind == self._ssh.FILEXFER_TYPE_DIRECTORY))
            if len(found) >= limit:
                break
        return [each for each in found if "/" not in each.name or not (each.plain or each.folder)]

    async def free(self) -> int | None:
        """Bytes that can still be written; None where the server does not say."""
        async with self._within((), CALL_S) as client:
            return await self._room(client)

    async def _room(self, client: "asyncssh.SFTPClient") -> int | None:
        try:
            found = await client.statvfs(self._root)
        except self._ssh.SFTPError:
            return None
        return int(found.bavail * found.frsize)

    async def touch(self, path: Where) -> float:
        """Write, rename and remove an empty file; its time as the server has it."""
        async with self._within(path, CALL_S) as client, self._written(client, path, [b"\n"]) as written:
            found = await client.lstat(self._at(written))
            renamed = (*path[:-1], temporary(path[-1]))
            await self._rename(client, written, renamed)  # as every file gets to its place
            await client.remove(self._at(renamed))
            return float(found.mtime or 0)

    async def close(self) -> None:
        """Hang up."""
        self._hang_up()

    @asynccontextmanager
    async def _opened(self, client: "asyncssh.SFTPClient", path: Where, flags: int) -> AsyncIterator["asyncssh.SFTPClientFile"]:
        """An open file; whoever is cancelled meanwhile hangs up and waits for nobody."""
        try:
            file = await client.open(self._at(path), flags, encoding=None, block_size=CHUNK)
            try:
                yield file
            except Exception:
                with suppress(self._ssh.Error, OSError, TimeoutError):
                    async with asyncio.timeout(1):
                        await file.close()
                raise
            await file.close()
        except asyncio.CancelledError:
            self._hang_up()
            raise

    def _hang_up(self) -> None:
        client, connection = self._client, self._connection
        self._client = self._connection = None
        if client is not None:
            client.exit()
        if connection is not None:
            connection.abort()

    # --- the line itself ------------------------------------------------------------------------------------------------

    def _at(self, path: Where) -> str:
        return "/".join((self._root.rstrip("/"), *path))

    async def _kind(self, client: "asyncssh.SFTPClient", path: Where) -> int | None:
        """Of what type a name is, itself and not what it points to; None when it is not there."""
        try:
            return int((await client.lstat(self._at(path))).type)
        except self._ssh.SFTPNoSuchFile:
            return None

    async def _plain(self, client: "asyncssh.SFTPClient", path: Where) -> int | None:
        """The length of a plain file in plain folders; None when it, or one of those, is not there."""
        ssh = self._ssh
        if not await self._there(client, path[:-1]):
            return None
        try:
            found = await client.lstat(self._at(path))
        except ssh.SFTPNoSuchFile:
            return None
        if found.type != ssh.FILEXFER_TYPE_REGULAR:
            raise odd(path)
        return int(found.size or 0)

    async def _there(self, client: "asyncssh.SFTPClient", folder: Where) -> bool:
        """Whether a folder is there, and all above it are folders too."""
        for depth in range(1, len(folder) + 1):
            above = folder[:depth]
            if above not in self._folders:
                kind = await self._kind(client, above)
                if kind is None:
                    return False
                if kind != self._ssh.FILEXFER_TYPE_DIRECTORY:
                    raise odd(above)
                if depth < len(folder):
                    self._folders.add(above)  # that of a batch may go
        return True

    async def _make(self, client: "asyncssh.SFTPClient", folder: Where) -> None:
        if folder in self._folders:
            return
        kind = await self._kind(client, folder)
        if kind is None:
            with suppress(self._ssh.SFTPFailure, self._ssh.SFTPFileAlreadyExists):  # another process was faster
                await client.mkdir(self._at(folder))
            kind = await self._kind(client, folder)
        if kind is None:
            raise unavailable(folder)
        if kind != self._ssh.FILEXFER_TYPE_DIRECTORY:
            raise odd(folder)
        self._folders.add(folder)

    @asynccontextmanager
    async def _within(self, path: Where, seconds: float) -> AsyncIterator["asyncssh.SFTPClient"]:
        """A client that is connected, for so long; what goes wrong meanwhile in words of the contract."""
        try:
            async with asyncio.timeout(seconds):
                yield await self._connected()
        except AdapterError:
            raise
        except TimeoutError as error:
            raise slow(path) from error
        except (self._ssh.Error, OSError, ValueError) as error:  # a key that cannot be read is a ValueError
            raise self._meant(error, path) from error

    async def _connected(self) -> "asyncssh.SFTPClient":
        async with self._connecting:
            if self._client is None:
                self._check_key_file()
                self._connection = await self._connect()
                self._client = await self._connection.start_sftp_client()
                try:
                    root = await self._client.stat(self._root)
                except self._ssh.SFTPNoSuchFile as error:
                    raise missing(self._root) from error
                if root.type != self._ssh.FILEXFER_TYPE_DIRECTORY:
                    raise missing(self._root)
            return self._client

    def _check_key_file(self) -> None:
        try:
            mode = Path(self._login.key_file).stat().st_mode
        except OSError as error:
            raise AdapterError("CONFIG", "登录私钥文件无法读取", transient=False, place="sftp.key_file") from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise AdapterError("CONFIG", "登录私钥文件其他人可读：请执行 chmod 600", transient=False, place="sftp.key_file")

    async def _connect(self) -> "asyncssh.SSHClientConnection":
        login = self._login
        nothing: Any = None
        return await self._ssh.connect(
            login.host,
            login.port,
            username=login.user,
            client_keys=[login.key_file],
            known_hosts=([self._host_key], [], []),
            config=None,
            agent_path=None,
            client_certs=(),
            client_host_keysign=False,
            x509_trusted_certs=nothing,
            x509_trusted_cert_paths=nothing,
            pkcs11_provider=nothing,
            gss_host=None,
            preferred_auth="publickey",
            password_auth=False,
            kbdint_auth=False,
            host_based_auth=False,
            compression_algs=None,
            connect_timeout=CALL_S,
            login_timeout=CALL_S,
            keepalive_interval=10,
            keepalive_count_max=2,
        )

    def _meant(self, error: Exception, path: Where) -> AdapterError:
        ssh = self._ssh
        known: tuple[tuple[type[Exception], Callable[[Where], AdapterError]], ...] = (
            (ssh.HostKeyNotVerifiable, _changed),
            (ssh.KeyExchangeFailed, _changed),
            (ssh.PermissionDenied, _login),
            (ssh.KeyImportError, _key_file),
            (ssh.KeyEncryptionError, _key_file),
            (ssh.SFTPPermissionDenied, rights),
            (ssh.SFTPWriteProtect, rights),
            (ssh.SFTPNoSpaceOnFilesystem, full),
            (ssh.SFTPQuotaExceeded, full),
            (ssh.SFTPNotADirectory, odd),
            (ssh.SFTPLinkLoop, odd),
        )
        return next((make(path) for kind, make in known if isinstance(error, kind)), _gone(path))


def _bytes(data: bytes | str) -> bytes:
    assert isinstance(data, bytes)  # noqa: S101  # no encoding was asked for
    return data


def _gone(path: Where) -> AdapterError:
    return AdapterError("UNAVAILABLE", "无法连接服务器，或连接中断", transient=True, place="/".join(path))


def _changed(path: Where) -> AdapterError:
    return AdapterError("HOST_KEY", "服务器的主机密钥与设置中固定的不同", transient=False, place="sftp.host_key")


def _login(path: Where) -> AdapterError:
    return AdapterError("DROP_LOGIN", "服务器拒绝登录", transient=True, place="sftp.user")


def _key_file(path: Where) -> AdapterError:
    return AdapterError("CONFIG", "登录私钥文件不是无口令的 OpenSSH 私钥", transient=False, place="sftp.key_file")
