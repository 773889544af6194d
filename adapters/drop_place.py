"""What `file_drop` asks of the place where files lie, be it a folder or a server; both speak this one protocol.

Rules:
- A path is a tuple of names that `file_drop` has built; a place never makes a name of its own but that of a file being written, which
  ends in `.tmp` and is never read.
- Only plain files in plain folders are read or written: a symbolic link, a device or a pipe in their place is refused (`DROP_ODD`).
- A file is written whole under another name, flushed, and then renamed; nobody sees half of it under its own name.
- Every call ends: time, bytes and rate are bounded. What goes wrong is an AdapterError; no message repeats what a file holds.
"""

import errno
import os
from collections.abc import Iterable
from typing import BinaryIO, Protocol

from msgspec import Struct

from gateway.adapter_contract import AdapterError

Where = tuple[str, ...]

CALL_S = 30.0
"""For one small call."""
FILE_S = 600.0
"""For one part."""
CHUNK = 32 * 1024
"""Read or written at a time: at least so many bytes in `CALL_S`, which is 1 KiB a second."""
IN_MEMORY = 2**20
"""A part up to this size waits in memory for the core, a larger one in a temporary file."""
LISTED = 10_000
"""Names that are read at most of one folder."""


class Entry(Struct, frozen=True):
    """One name of a folder, and whether it is a plain file or a folder."""

    name: str
    plain: bool
    folder: bool


class Place(Protocol):
    """Where files lie."""

    async def read(self, path: Where, limit: int) -> bytes | None:
        """A whole small file; None when it is not there.

        Raises AdapterError SIZE_BYTES when it is longer than `limit`.
        """
        ...

    async def size(self, path: Where) -> int | None:
        """How long a file is; None when it is not there."""
        ...

    async def fetch(self, path: Where, size: int) -> BinaryIO | None:
        """A copy of a file of exactly this length; None when it is not there, or not whole yet."""
        ...

    async def write(self, path: Where, chunks: Iterable[bytes]) -> None:
        """Put a file there, with the folders that it needs."""
        ...

    async def remove(self, folder: Where, first: str) -> None:
        """Take a folder away with all files in it, `first` before the others."""
        ...

    async def names(self, folder: Where, limit: int) -> list[Entry]:
        """What stands in a folder, at most so many names: for reports, never for finding what to read."""
        ...

    async def free(self) -> int | None:
        """Bytes that can still be written; None where the place does not say."""
        ...

    async def touch(self, path: Where) -> float:
        """Write and remove an empty file whose name ends in `.tmp`; its time as the place has it, seconds since 1970."""
        ...

    async def close(self) -> None:
        """Let go of everything; twice is harmless."""
        ...


def temporary(name: str) -> str:
    """Under which name a file is written: two processes never write into one."""
    return f"{name}.{os.urandom(4).hex()}.tmp"


def missing(root: str) -> AdapterError:
    """The root itself is not there: a share that is not mounted must not look like one in which nothing lies."""
    return AdapterError("DROP_MISSING", "交换目录不存在或未挂载", transient=True, place=root)


def odd(path: Where) -> AdapterError:
    """Something else than a plain file or folder."""
    return AdapterError("DROP_ODD", "此处不是普通文件或目录（符号链接、设备等），已忽略", transient=True, place="/".join(path))


def full(path: Where) -> AdapterError:
    """No room."""
    return AdapterError("DROP_FULL", "交换目录空间已满", transient=True, place="/".join(path))


def rights(path: Where) -> AdapterError:
    """Not allowed."""
    return AdapterError("DROP_RIGHTS", "没有读写权限", transient=True, place="/".join(path))


def unrenamed(path: Where) -> AdapterError:
    """Files may be written and not get to their place."""
    return AdapterError("DROP_RIGHTS", "服务器拒绝改名：文件可以写入，却不能到位", transient=True, place="/".join(path))


def slow(path: Where) -> AdapterError:
    """Too slow."""
    return AdapterError("SIZE_TIME", "交换目录响应过慢", transient=True, place="/".join(path))


def unavailable(path: Where) -> AdapterError:
    """Anything else."""
    return AdapterError("UNAVAILABLE", "交换目录无法读写", transient=True, place="/".join(path))


def too_long(path: Where) -> AdapterError:
    """Longer than what it may be."""
    return AdapterError("SIZE_BYTES", "文件过大", transient=False, place="/".join(path))


def of_errno(number: int | None, path: Where) -> AdapterError:
    """What an error of the operating system means here."""
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return full(path)
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return rights(path)
    if number in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO):
        return odd(path)
    return unavailable(path)
