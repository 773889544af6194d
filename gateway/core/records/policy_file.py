"""One TOML file of the `policies/` folder: parsed within bounds, and every error with its line.

Rules: at most 2 MiB a file, 16 MiB in all, nested 16 deep, looked at before anything is parsed; a file that no room reads is refused.
The core gets bytes by path; reading the folder is the operation's work. This room must not know what the values mean.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from gateway.core.errors import PolicyError
from gateway.core.toml import DAYS, TomlFault, parse

MAX_FILE = 2 * 1024 * 1024
MAX_FOLDER = 16 * 1024 * 1024
REMEMBERED = 64 * 1024
"""Bytes of a file whose values are kept for whoever reads the same text next; ours have less."""
KNOWN_FILES = re.compile(
    r"(?:tiers|purposes|periods|redlines|catalogue)\.toml|README\.md"
    r"|(?:datasets|lists|agreements)/[a-z][a-z0-9_.-]{0,62}\.toml|agreements/[^/]+\.(?:json|note)|agreements/README\.md"
    r"|tests/(?:fixtures/)?[A-Za-z0-9][A-Za-z0-9_.-]{0,98}\.toml|tests/README\.md"
)
"""Every path that may stand in the folder; the other rooms read theirs by the same names."""

StructT = TypeVar("StructT")

_TABLE = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*(?:"([^"]+)"|'([^']+)'|([A-Za-z0-9_-]+))\s*[.=]""")
_PART = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*""")
_UNKNOWN_FIELD = re.compile("unknown field `([^`]+)`")
_JSON_PATH = re.compile(r"\.([A-Za-z0-9_-]+)|\[([0-9]+)\]|\[(\.\.\.)\]")


def _dotted(text: str) -> tuple[str, ...]:
    return tuple(next(part for part in match if part) for match in _PART.findall(text) if any(match))


class _Lines:
    """On which line what stands in a file: the keys and headers, and what headers stand around, each by where it was first."""

    __slots__ = ("_around", "_places")

    def __init__(self, text: bytes) -> None:
        self._places: dict[tuple[str | int, ...], int] = {}
        self._around: dict[tuple[str | int, ...], int] = {}
        here: tuple[str | int, ...] = ()
        counts: dict[tuple[str, ...], int] = {}
        for number, line in enumerate(text.decode("utf-8", "replace").splitlines(), 1):
            if table := _TABLE.match(line):
                names = _dotted(table[2])
                if table[1] == "[[":
                    counts[names] = counts.get(names, -1) + 1
                    here = (*names, counts[names])
                else:
                    here = names
                place = here
                for depth in range(1, len(here)):
                    self._around.setdefault(here[:depth], number)
            elif key := _KEY.match(line):
                place = (*here, next(part for part in key.groups() if part))
            else:
                continue
            self._places.setdefault(place, number)

    def of(self, path: Sequence[str | int]) -> int | None:
        wanted = tuple(path)
        whole = [number for number in (self._places.get(wanted), self._around.get(wanted)) if number is not None]
        if wanted and whole:
            return min(whole)
        return next((self._places[wanted[:depth]] for depth in range(len(wanted) - 1, 0, -1) if wanted[:depth] in self._places), None)


def line_of(text: bytes, path: Sequence[str | int]) -> int | None:
    """The line on which the value at a path begins, or the nearest thing around it; None when nothing of it is found.

    `("rules", 2, "class")` is the key `class` of the third `[[rules]]`.
    """
    return _Lines(text).of(path)


class PolicyFile:
    """One TOML file of the folder: its values, and the errors that say where something in it stands."""

    __slots__ = ("_lines", "name", "text", "values")

    def __init__(self, name: str, text: bytes) -> None:
        self.name = name
        self.text = text
        self.values: dict[str, Any] = _remembered(name, text) if len(text) <= REMEMBERED else _parse(name, text)
        self._lines: _Lines | None = None

    def line(self, *path: str | int) -> int:
        """The line on which the value at a path begins, or the nearest thing around it; the first when nothing of it is found."""
        if self._lines is None:  # a file of cases asks some hundred times, most files never
            self._lines = _Lines(self.text)
        return self._lines.of(path) or 1

    def error(self, detail: str, *path: str | int, code: str = "policy-parse", field: str | None = None, rule: str | None = None,
              hint: str | None = None) -> PolicyError:
        """An error about the value at a path."""
        return PolicyError(detail, code=code, file=self.name, line=self.line(*path), field=field, rule=rule,
                           hint=hint or "every key and its values stand in policies/README.md")

    def only(self, allowed: Iterable[str]) -> None:
        """Refuse top-level keys other than these."""
        for key in sorted(self.values.keys() - set(allowed)):
            raise self.error(f"unknown key `{key}`", key, hint="every key stands in policies/README.md")

    def convert(self, value: object, to: type[StructT], *path: str | int, field: str | None = None, rule: str | None = None) -> StructT:
        """A value as a Struct.

        Raises PolicyError policy-parse with file and line.
        """
        try:
            return msgspec.convert(value, to, builtin_types=DAYS)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at `")
            deeper: list[str | int] = []
            for name, index, _ in _JSON_PATH.findall(where):
                if not name and not index:
                    break
                deeper.append(name or int(index))
            if unknown := _UNKNOWN_FIELD.search(message):
                deeper.append(unknown[1])
            spot = where.rstrip("`").removeprefix("$")
            raise self.error(f"{message}{f' in `{spot}`' if spot else ''}", *path, *deeper, field=field, rule=rule,
                             hint="every key and its values stand in policies/README.md") from None

    def table(self, key: str, *, required: bool = False) -> dict[str, Any]:
        """A top-level table."""
        value = self.values.get(key, {})
        if not isinstance(value, dict) or (required and not value):
            raise self.error(f"`[{key}]` must be a table" if value else f"`[{key}]` is missing", key)
        return value

    def tables(self, key: str) -> list[dict[str, Any]]:
        """A top-level list of tables."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise self.error(f"`{key}` must be a list of tables", key)
        return value


@lru_cache(maxsize=128)
def _remembered(name: str, text: bytes) -> dict[str, Any]:
    """The values of a text, for everybody to read and nobody to change: two versions of a folder differ in a file or two."""
    return _parse(name, text)


def _parse(name: str, text: bytes) -> dict[str, Any]:
    if len(text) > MAX_FILE:
        raise PolicyError("a policy file over 2 MiB", file=name, hint="split it")
    try:
        return parse(text)
    except TomlFault as fault:
        raise PolicyError(fault.detail, file=name, line=fault.line, hint=fault.hint) from None


def check_folder(files: Mapping[str, bytes]) -> None:
    """Refuse files that no room reads, and a folder that is too large.

    Raises PolicyError policy-parse.
    """
    for name in sorted(files):
        if not KNOWN_FILES.fullmatch(name):
            raise PolicyError("no policy file of this name exists", file=name, hint="the names stand in policies/README.md")
    if sum(map(len, files.values())) > MAX_FOLDER:
        raise PolicyError("a policy folder over 16 MiB", hint="fixtures belong to tests/")
