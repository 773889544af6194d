"""Silence what a C library prints on standard error while it is called, without touching descriptor 2, where our log goes.

Rules: with glibc `stderr` is a variable of the C library; while one call lasts it points to a stream in memory that keeps nothing. Python
writes to descriptor 2 itself, so no line of ours is lost, whatever thread writes it. Where there is no such variable nothing is silenced.
This file must not know what is called.
"""

import ctypes
import platform
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

_UNBUFFERED = 2


class Hush:
    """One at a time: whoever enters finds C's standard error as it was, and leaves it so."""

    def __init__(self, libc: ctypes.CDLL) -> None:
        libc.fmemopen.restype = ctypes.c_void_p
        libc.fmemopen.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
        libc.setvbuf.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
        self._stderr = ctypes.c_void_p.in_dll(libc, "stderr")
        self._nowhere = libc.fmemopen(None, 1, b"w")
        if not self._nowhere:
            raise OSError
        libc.setvbuf(self._nowhere, None, _UNBUFFERED, 0)
        self._turn = threading.Lock()

    @contextmanager
    def during(self) -> Iterator[None]:
        """While this lasts, C prints nothing on standard error."""
        with self._turn:
            before = self._stderr.value
            self._stderr.value = self._nowhere
            try:
                yield
            finally:
                self._stderr.value = before


@cache
def _hush() -> Hush | None:
    if platform.libc_ver()[0] != "glibc":
        return None
    try:
        return Hush(ctypes.CDLL(None))
    except (OSError, ValueError, AttributeError):
        return None


def quietly() -> AbstractContextManager[None]:
    """What to enter around a call into a library that prints."""
    hush = _hush()
    return nullcontext() if hush is None else hush.during()
