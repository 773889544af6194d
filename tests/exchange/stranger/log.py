"""The transparency log as anybody reads it: head, tiles and entries out of served files (C2SP tlog-tiles)."""

from collections.abc import Callable, Sequence

from tests.exchange.stranger.formats import VerifierKey, demand, open_note, sha256, unb64

WIDTH = 256
"""Hashes of a whole tile."""


class PublicLog:
    """A log under its URL; `get` fetches a path below it."""

    def __init__(self, origin: str, keys: Sequence[VerifierKey], get: Callable[[str], bytes]) -> None:
        self.get = get
        text, _ = open_note(get("/checkpoint").decode(), keys)
        said, size, root = text.split("\n")[:3]
        demand(said == origin, "SIG_CONTEXT", said)
        self.size, self.root = int(size), unb64(root, "SIG_FORMAT")

    def _file(self, level: str, size: int, index: int) -> bytes:
        """A tile, or the entries beside one, of a row of so many."""
        groups, rest = [f"{index % 1000:03d}"], index // 1000
        while rest:
            groups, rest = [f"x{rest % 1000:03d}", *groups], rest // 1000
        width = min(WIDTH, size - index * WIDTH)
        return self.get(f"/tile/{level}/{'/'.join(groups)}" + (f".p/{width}" if width < WIDTH else ""))

    def entry(self, index: int) -> bytes:
        """One entry."""
        data = self._file("entries", self.size, index // WIDTH)
        for _ in range(index % WIDTH + 1):
            length = int.from_bytes(data[:2], "big")
            entry, data = data[2 : 2 + length], data[2 + length :]
        return entry

    def node(self, level: int, index: int) -> bytes:
        """The hash over 2^level entries, the index-th of them."""
        if level % 8:
            return sha256(b"\1" + self.node(level - 1, 2 * index) + self.node(level - 1, 2 * index + 1))
        tile = self._file(str(level // 8), self.size >> level, index // WIDTH)
        return tile[index % WIDTH * 32 :][:32]

    def span(self, start: int, end: int) -> bytes:
        """The hash over the entries of a subtree (RFC 6962, 2.1)."""
        width = end - start
        if width & (width - 1) == 0:
            return self.node(width.bit_length() - 1, start // width)
        half = start + (1 << (width - 1).bit_length() - 1)
        return sha256(b"\1" + self.span(start, half) + self.span(half, end))

    def path(self, index: int) -> list[bytes]:
        """The inclusion proof of an entry, made out of tiles alone."""
        path, start, end = [], 0, self.size
        while end - start > 1:
            half = start + (1 << (end - start - 1).bit_length() - 1)
            if index < half:
                path.append(self.span(half, end))
                end = half
            else:
                path.append(self.span(start, half))
                start = half
        return path[::-1]
