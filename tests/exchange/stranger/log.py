"""The transparency log as anybody reads it, section 15 of the wire specification: head, tiles and entries out of served files."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.exchange.stranger.formats import VerifierKey, as_json, b64, demand, open_note, sha256, unb64, unb64u

WIDTH = 256
"""Hashes of a whole tile."""


def tile_path(level: str, index: int, width: int) -> str:
    """Where a tile, or the entries beside one, is served."""
    groups, rest = [f"{index % 1000:03d}"], index // 1000
    while rest:
        groups, rest = [f"x{rest % 1000:03d}", *groups], rest // 1000
    return f"tile/{level}/{'/'.join(groups)}" + (f".p/{width}" if width < WIDTH else "")


def row_of(listing: Mapping[str, Any]) -> bytes:
    """The bytes of a listing that its commitment is over: RFC 8785, of texts, whole numbers and null."""
    links = {name: each for name, each in listing["links"].items() if name != "policy"}
    row = {name: each for name, each in listing.items() if name not in ("salt", "policy_version", "notice")} | {"links": links}

    def ordered(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: ordered(value[name]) for name in sorted(value, key=lambda each: each.encode("utf-16-be"))}
        return [ordered(each) for each in value] if isinstance(value, list) else value

    return as_json(ordered(row))


def commitment(listing: Mapping[str, Any]) -> str:
    """What an entry says of a listing that is shown."""
    return b64(sha256(unb64u(listing["salt"], "SCHEMA_DISCLOSURE") + row_of(listing)))


def cosigned_at(text: str, line: str, witness: VerifierKey) -> int:
    """When a witness cosigned the text of a head, in seconds since 1970."""
    found = re.fullmatch(r"— ([^ ]+) ([A-Za-z0-9+/=]+)\n", line)
    demand(found is not None and found[1] == witness.name, "SIG_UNKNOWN_KEY", line)
    data = unb64(found[2], "SIG_FORMAT")  # type: ignore[index]  # it was demanded
    demand(len(data) == 76 and data[:4] == witness.key_id, "SIG_UNKNOWN_KEY", line)
    time = int.from_bytes(data[4:12], "big")
    demand(witness.verifies(data[12:], f"cosignature/v1\ntime {time}\n{text}".encode()), "SIG_INVALID", line)
    return time


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
        return self.get("/" + tile_path(level, index, min(WIDTH, size - index * WIDTH)))

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
