"""A folder of this machine, or one mounted here, as the place of `file_drop`.

Every step goes through the folder that was opened before it, with links refused at each name, so that nobody who may write in the root can
lead us out of it. The root itself may be a link: the operator chose it. Calls run in threads of their own, a few for the whole process:
a share that hangs holds those and nobody else.
"""

import asyncio
import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import BinaryIO, TypeVar

from adapters.drop_place import (
    CALL_S,
    CHUNK,
    FILE_S,
    IN_MEMORY,
    Entry,
    Where,
    missing,
    odd,
    of_errno,
    slow,
    temporary,
    too_long,
)

T = TypeVar("T")

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="file-drop")


class Folder:
    """Files under one root."""

    def __init__(self, root: str) -> None:
        self._root = root

    async def read(self, path: Where, limit: int) -> bytes | None:
        """A whole small file; None when it is not there."""
        return await self._call(self._read, path, limit)

    async def size(self, path: Where) -> int | None:
        """How long a file is; None when it is not there."""
        return await self._call(self._size, path)

    async def fetch(self, path: Where, size: int) -> BinaryIO | None:
        """A copy of a file of exactly this length; None when it is not there, or not whole yet."""
        return await self._call(self._fetch, path, size, seconds=FILE_S)

    async def write(self, path: Where, chunks: Iterable[bytes]) -> None:
        """Put a file there, with the folders that it needs."""
        await self._call(self._write, path, chunks, seconds=FILE_S)

    async def remove(self, folder: Where, first: str) -> None:
        """Take a folder away with all files in it, `first` before the others."""
        await self._call(self._remove, folder, first)

    async def names(self, folder: Where, limit: int) -> list[Entry]:
        """What stands in a folder, at most so many names."""
        return await self._call(self._names, folder, limit)

    async def free(self) -> int | None:
        """Bytes that can still be written."""
        return await self._call(self._free, ())

    async def touch(self, path: Where) -> float:
        """Write and remove an empty file; its time as the place has it."""
        return await self._call(self._touch, path)

    async def close(self) -> None:
        """Nothing is held."""

    # --- the steps themselves, in a thread ------------------------------------------------------------------------------

    async def _call(self, step: Callable[..., T], path: Where, *arguments: object, seconds: float = CALL_S) -> T:
        work = asyncio.get_running_loop().run_in_executor(_threads, lambda: step(path, *arguments))
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError as error:
            raise slow(path) from error
        except OSError as error:
            raise of_errno(error.errno, path) from error

    @contextmanager
    def _at(self, folder: Where, *, make: bool = False) -> Iterator[int | None]:
        """A folder, opened; None when it is not there."""
        try:
            opened = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise missing(self._root) from error
        try:
            for name in folder:
                inner = self._enter(opened, name, make=make)
                if inner is None:
                    yield None
                    return
                os.close(opened)
                opened = inner
            yield opened
        finally:
            os.close(opened)

    def _enter(self, at: int, name: str, *, make: bool) -> int | None:
        try:
            return os.open(name, _FOLDER, dir_fd=at)
        except FileNotFoundError:
            if not make:
                return None
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=at)
        os.fsync(at)
        return os.open(name, _FOLDER, dir_fd=at)

    @contextmanager
    def _opened(self, path: Where) -> Iterator[tuple[int, int] | None]:
        """A plain file and its length; None when it is not there."""
        with self._at(path[:-1]) as at:
            try:
                file = os.open(path[-1], _READ, dir_fd=at) if at is not None else None
            except FileNotFoundError:
                file = None
            if file is None:
                yield None
                return
            try:
                found = os.fstat(file)
                if not stat.S_ISREG(found.st_mode):
                    raise odd(path)
                yield file, found.st_size
            finally:
                os.close(file)

    def _read(self, path: Where, limit: int) -> bytes | None:
        with self._opened(path) as opened:
            if opened is None:
                return None
            file, size = opened
            if size > limit:
                raise too_long(path)
            data = _bounded(file, limit + 1)
            if len(data) > limit:
                raise too_long(path)
            return data

    def _size(self, path: Where) -> int | None:
        with self._opened(path) as opened:
            return None if opened is None else opened[1]

    def _fetch(self, path: Where, size: int) -> BinaryIO | None:
        with self._opened(path) as opened:
            if opened is None or opened[1] != size:
                return None
            copy: BinaryIO = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # type: ignore[assignment]  # noqa: SIM115  # closed by who reads it
            left = size
            while left and (data := os.read(opened[0], min(CHUNK * 8, left))):
                copy.write(data)
                left -= len(data)
            return None if left else copy

    def _write(self, path: Where, chunks: Iterable[bytes]) -> None:
        with self._at(path[:-1], make=True) as at:
            assert at is not None  # noqa: S101  # it was made
            name = temporary(path[-1])
            try:
                self._fill(name, chunks, at)
                self._rename(name, path[-1], at)
            except BaseException:
                with suppress(OSError):
                    os.unlink(name, dir_fd=at)
                raise
            os.fsync(at)

    def _fill(self, name: str, chunks: Iterable[bytes], at: int) -> None:
        """Write a new file and flush it."""
        file = os.open(name, _NEW, 0o666, dir_fd=at)  # as the operator's umask says: another user reads it
        try:
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[os.write(file, view) :]
            os.fsync(file)
        finally:
            os.close(file)

    def _rename(self, name: str, to: str, at: int) -> None:
        """Give a file its own name; whatever plain file bore it is replaced."""
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(os.stat(to, dir_fd=at, follow_symlinks=False).st_mode):
                raise OSError(errno.ELOOP, "no plain file")
        os.rename(name, to, src_dir_fd=at, dst_dir_fd=at)

    def _remove(self, folder: Where, first: str) -> None:
        with self._at(folder) as at:
            if at is None:
                return
            with suppress(FileNotFoundError):
                os.unlink(first, dir_fd=at)
            os.fsync(at)
            with os.scandir(at) as entries:
                lie = [entry.name for entry in entries]
            for name in lie:
                with suppress(FileNotFoundError, IsADirectoryError):
                    os.unlink(name, dir_fd=at)
        with self._at(folder[:-1]) as at:
            if at is not None:
                try:
                    os.rmdir(folder[-1], dir_fd=at)
                except FileNotFoundError:
                    return
                except OSError as error:
                    if error.errno != errno.ENOTEMPTY:
                        raise
                os.fsync(at)

    def _names(self, folder: Where, limit: int) -> list[Entry]:
        found: list[Entry] = []
        with self._at(folder) as at:
            if at is None:
                return found
            with os.scandir(at) as entries:
                for entry in entries:
                    plain, inner = entry.is_file(follow_symlinks=False), entry.is_dir(follow_symlinks=False)
                    found.append(Entry(entry.name, plain, inner))
                    if len(found) >= limit:
                        break
        return found

    def _free(self, _: Where) -> int:
        with self._at(()) as at:
            assert at is not None  # noqa: S101  # the root
            found = os.fstatvfs(at)
            return found.f_bavail * found.f_frsize

    def _touch(self, path: Where) -> float:
        with self._at(path[:-1], make=True) as at:
            assert at is not None  # noqa: S101  # it was made
            name = temporary(path[-1])
            file = os.open(name, _NEW, 0o666, dir_fd=at)
            try:
                os.write(file, b"\n")
                os.fsync(file)
                return os.fstat(file).st_mtime
            finally:
                os.close(file)
                os.unlink(name, dir_fd=at)


def _bounded(file: int, limit: int) -> bytes:
    chunks, left = [], limit
    while left and (data := os.read(file, min(CHUNK * 8, left))):
        chunks.append(data)
        left -= len(data)
    return b"".join(chunks)
