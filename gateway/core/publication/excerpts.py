"""An excerpt: of a document only the paths that somebody asked for, read from its bytes without making the rest.

Rules: what is read from bytes is what the whole document would have given, key order included; a document of an unforeseen shape is
read whole. Columns are narrowed by the same paths. This room must not know what a path means.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypedDict

import msgspec

from gateway.core.publication.flat import place_of

Document = dict[str, Any]

ALWAYS = ("id", "marks")
"""Stays in every excerpt."""
_DOCUMENT = msgspec.json.Decoder(Document)


class Excerpt:
    """Some dotted paths of a document, at most one object deep."""

    __slots__ = ("_decoder", "_parts", "_whole")

    def __init__(self, paths: Sequence[str]) -> None:
        self._whole = frozenset((*ALWAYS, *paths))
        parts: dict[str, set[str]] = {}
        for path in paths:
            head, dot, rest = path.partition(".")
            if dot and head not in self._whole:
                parts.setdefault(head, set()).add(rest)
        self._parts = {head: frozenset(names) for head, names in parts.items()}
        self._decoder: msgspec.json.Decoder[Any] | None = None

    def of(self, document: Mapping[str, Any]) -> Document:
        """The document with only these paths."""
        kept: Document = {}
        for key, value in document.items():
            if key in self._whole:
                kept[key] = value
            elif key in self._parts and isinstance(value, Mapping):
                inner = {name: each for name, each in value.items() if name in self._parts[key]}
                if inner:
                    kept[key] = inner
        return kept

    def read(self, body: bytes) -> Document:
        """The same, of a document that is still bytes: what is left out is passed over."""
        if self._decoder is None:
            self._decoder = msgspec.json.Decoder(self._type())
        try:
            kept: Document = self._decoder.decode(body)
        except msgspec.ValidationError:  # an object here is none in this document
            return self.of(_DOCUMENT.decode(body))
        for head in self._parts:
            if head in kept and not kept[head]:
                del kept[head]
        return kept

    def keeps(self, column: str) -> bool:
        """Whether the value of a flat column stands in the excerpt."""
        head, name = place_of(column)
        return name in self._whole if head is None else head in self._whole or f"{head}.{name}" in self._whole

    def _type(self) -> Any:
        keys: dict[str, Any] = dict.fromkeys(sorted(self._whole), Any)
        for head, names in self._parts.items():
            keys[head] = TypedDict(head, dict.fromkeys(sorted(names), Any), total=False)  # type: ignore[operator]
        return TypedDict("excerpt", keys, total=False)  # type: ignore[operator]


@lru_cache(maxsize=128)
def excerpt_of(paths: tuple[str, ...]) -> Excerpt:
    """The excerpt of these paths; the same ones are asked for again and again."""
    return Excerpt(paths)
