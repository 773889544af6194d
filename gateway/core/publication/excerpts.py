"""An excerpt: of a document only the paths that somebody asked for, read from its bytes without making the rest.

Rules: what is read from bytes is what the whole document would have given, key order included; a document of an unforeseen shape is
read whole. Of many alike the first says in which order the keys stand, and what it does not have is read one by one. Columns are
narrowed by the same paths. This room must not know what a path means.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Annotated, Any, TypedDict

import msgspec

from gateway.core.publication.flat import place_of

Document = dict[str, Any]

ALWAYS = ("id", "marks")
"""Stays in every excerpt."""
_DOCUMENT = msgspec.json.Decoder(Document)
_ORDERS = 16
"""So many orders of keys an excerpt remembers."""
_Absent = Annotated[int, msgspec.Meta(gt=1, lt=0)] | msgspec.UnsetType
"""What no value is: a document that has one is of another shape."""

Order = tuple[tuple[str, tuple[str, ...] | None], ...]
"""The keys of an excerpt as they follow each other, each with those of the object that it names a part of."""


class Excerpt:
    """Some dotted paths of a document, at most one object deep."""

    __slots__ = ("_alike", "_decoder", "_parts", "_raw", "_whole")

    def __init__(self, paths: Sequence[str]) -> None:
        self._whole = frozenset((*ALWAYS, *paths))
        parts: dict[str, set[str]] = {}
        for path in paths:
            head, dot, rest = path.partition(".")
            if dot and head not in self._whole:
                parts.setdefault(head, set()).add(rest)
        self._parts = {head: frozenset(names) for head, names in parts.items()}
        self._decoder: msgspec.json.Decoder[Any] | None = None
        self._raw: msgspec.json.Decoder[Any] | None = None
        self._alike: dict[Order, msgspec.json.Decoder[Any]] = {}

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
            self._decoder = msgspec.json.Decoder(self._type(Any))
        try:
            kept: Document = self._decoder.decode(body)
        except msgspec.ValidationError:  # an object here is none in this document
            return self.of(_DOCUMENT.decode(body))
        for head in self._parts:
            if head in kept and not kept[head]:
                del kept[head]
        return kept

    def alike(self, bodies: Sequence[bytes]) -> list[Any]:
        """What an encoder of JSON writes as it would write `read` of each; the values in it are the bytes that they are in the document.

        The documents are alike: of one dataset, and of subjects of one kind, so that keys that two of them have stand in one order.
        """
        decode = self._like(bodies[0]).decode if bodies else None
        found: list[Any] = []
        for body in bodies:
            try:
                found.append(decode(body))  # type: ignore[misc]  # there are bodies
            except msgspec.ValidationError:  # it has other keys than the first
                found.append(self.read(body))
        return found

    def _like(self, body: bytes) -> msgspec.json.Decoder[Any]:
        """A decoder of excerpts with the very keys that this one has, in its order; a document with others is refused."""
        if self._raw is None:
            self._raw = msgspec.json.Decoder(self._type(msgspec.Raw))
        try:
            kept: Document = self._raw.decode(body)
        except msgspec.ValidationError:
            kept = {}
        order: Order = tuple((key, tuple(value) if key in self._parts else None) for key, value in kept.items() if value)
        decoder = self._alike.get(order)
        if decoder is None:
            if len(self._alike) >= _ORDERS:
                self._alike.clear()
            decoder = self._alike[order] = msgspec.json.Decoder(self._ordered(order))
        return decoder

    def _ordered(self, order: Order) -> type[msgspec.Struct]:
        keys = {key: msgspec.Raw if names is None else _struct(dict.fromkeys(names, msgspec.Raw), self._parts[key]) for key, names in order}
        return _struct(keys, self._whole | self._parts.keys())

    def keeps(self, column: str) -> bool:
        """Whether the value of a flat column stands in the excerpt."""
        head, name = place_of(column)
        return name in self._whole if head is None else head in self._whole or f"{head}.{name}" in self._whole

    def _type(self, value: Any) -> Any:
        keys: dict[str, Any] = dict.fromkeys(sorted(self._whole), value)
        for head, names in self._parts.items():
            keys[head] = TypedDict(head, dict.fromkeys(sorted(names), value), total=False)  # type: ignore[operator]  # called, it makes a type
        return TypedDict("excerpt", keys, total=False)  # type: ignore[operator]  # as above


def _struct(keys: Mapping[str, Any], wanted: AbstractSet[str]) -> type[msgspec.Struct]:
    """A type with these keys in this order, all of which must be there, and no other wanted one."""
    absent = sorted(wanted - keys.keys())
    there: list[tuple[str, Any]] = [(f"k{number}", type_) for number, type_ in enumerate(keys.values())]
    missing: list[tuple[str, Any, Any]] = [(f"a{number}", _Absent, msgspec.UNSET) for number in range(len(absent))]
    names = [*(field[0] for field in there), *(field[0] for field in missing)]
    return msgspec.defstruct("Excerpt", [*there, *missing], rename=dict(zip(names, [*keys, *absent], strict=True)), gc=False)


@lru_cache(maxsize=128)
def excerpt_of(paths: tuple[str, ...]) -> Excerpt:
    """The excerpt of these paths; the same ones are asked for again and again."""
    return Excerpt(paths)
