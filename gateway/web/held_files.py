"""Files that are asked for again and again, held in memory whole for as long as they are.

Rules: only what stands on disk now is given: a copy counts for one file of one size and time, and before each piece it is asked whether
the file is still as long; one that was cut breaks the answer off. A few megabytes in all, nothing of a file that is asked for once, and
nothing of one that nobody asked for within a minute. For files that everybody may have. This room must not know what a file holds.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import BinaryIO, Final

from msgspec import Struct

PIECE: Final = 1 << 18
"""So much is given to the server at once: what it copies for a slow caller stays little."""
LARGEST: Final = 32 << 20
MOST: Final = 64 << 20
"""Bytes held in all, by one process."""
IDLE_S: Final = 60.0

Key = tuple[int, int, int, int]


class _Held(Struct):
    """What is known of a file: that it was asked for, and its pieces once it was asked for again."""

    size: int
    pieces: tuple[bytes, ...] | None = None
    loading: bool = False
    used: bool = True


def _key(file: BinaryIO) -> Key:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _read(file: BinaryIO) -> tuple[bytes, ...]:
    pieces = []
    while piece := file.read(PIECE):
        pieces.append(piece)
    return tuple(pieces)


class HeldFiles:
    """The files of one process, by what they are on disk."""

    def __init__(self) -> None:
        self._files: dict[Key, _Held] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    @property
    def size(self) -> int:
        """Bytes that are held."""
        return sum(each.size for each in self._files.values() if each.pieces is not None)

    async def pieces(self, file: BinaryIO) -> tuple[bytes, ...] | None:
        """The pieces of an open file; None where it is not held (yet), or does not fit."""
        key = _key(file)
        size = key[2]
        held = self._files.get(key)
        if held is None:
            if size <= LARGEST:
                self._files[key] = _Held(size=size)
                self._watch()
            return None
        held.used = True
        if held.pieces is None and not held.loading and self.size + size <= MOST:
            held.loading = True
            try:
                pieces = await asyncio.to_thread(_read, file)
            finally:
                held.loading = False
            if sum(map(len, pieces)) == size and _key(file) == key and self.size + size <= MOST:
                held.pieces = pieces
        return held.pieces

    def _watch(self) -> None:
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(IDLE_S, self._sweep)

    def _sweep(self) -> None:
        """Let go of what was not asked for since the last time."""
        self._sweeping = None
        self._files = {key: held for key, held in self._files.items() if held.used}
        for held in self._files.values():
            held.used = False
        if self._files:
            self._watch()


async def given(file: BinaryIO, pieces: tuple[bytes, ...], size: int) -> AsyncIterator[bytes]:
    """The pieces, as long as the file is as it was."""
    with file:
        for piece in pieces:
            if os.fstat(file.fileno()).st_size != size:
                raise OSError("a copy is shorter than it was")
            yield piece
