"""The names index in memory: the first hits of a Chinese text, as they are found, judged and ranked over the index itself.

Rules: all names or none are held, for among some of them a text finds less; what is held is what the index holds, which is what the
public may see. Of names in which the text stands nothing has to be compared: tier and place say it all (`searching`), so its hits are
read off lists of names by token. Of what is not told so (codes, letters, a text that stands in no name as it was typed, too many names)
nothing is said, and the database is asked. This room must not read the store.

A name is a number, in order of place. They stand in columns, not as objects: some 300 bytes each, and they are let go of at once.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from gateway.core.publication.names import (
    BRAND_MARK,
    CORE_MARK,
    INITIALS_MARK,
    LONGEST_CORE,
    PINYIN_MARK,
    START_MARK,
    TYPED_MARK,
    is_single,
    pairs,
    places_of,
)
from gateway.core.publication.searching import MAX_CANDIDATES, PHRASE, PREFIX, Hit, NameQuery, Step, fitting, ranked

_SPOKEN: Final = frozenset((PINYIN_MARK, INITIALS_MARK, TYPED_MARK))
"""Marks of how a name is spoken: nothing is held of these tokens."""
_MARKS: Final = frozenset((*_SPOKEN, BRAND_MARK, CORE_MARK, START_MARK))
_ID: Final = 30
"""Characters of an id."""
_LOOKED_AT: Final = 2000
"""So many names are looked at for one text at most: some hundred microseconds."""
_EXACT: Final = 100
"""So many names may be the text, or have it as their core: what is more is compared elsewhere."""
_FEW: Final = 64
_FAR: Final = 255
_NAME, _TOKEN, _LISTED = 140, 250, 5
"""What a name, a token, and a name in the list of a token take, bytes; beside the letters of the name."""
_NONE: Final = array("I")


class _Row(Struct, gc=False):
    """A name that is the text, or whose core it is: nobody asks for its tokens."""

    place: int
    subject_id: str
    role: str
    shown: str
    name_norm: str
    core: str
    tokens: str = ""


class HeldNames:
    """All names of the index, put in by place."""

    __slots__ = ("_apart", "_core_at", "_core_size", "_cores", "_ids", "_lists", "_norms", "_places", "size")

    def __init__(self) -> None:
        self._norms: list[str] = []
        self._ids = bytearray()
        self._places = array("q")
        self._core_at, self._core_size = array("B"), array("B")
        self._cores: dict[str, list[int]] = {}
        """By core the names in which it does not stand in one piece: 示例（通化）药业."""
        self._apart: dict[int, tuple[str, str, str]] = {}
        """Role, shown form and core of a name, where these do not follow from the rest."""
        self._lists: dict[str, array[int]] = {}
        """By token the names that hold it."""
        self.size = 0
        """Bytes, about."""

    def __len__(self) -> int:
        return len(self._norms)

    def add(self, place: int, subject_id: str, role: str, shown: str, norm: str, core: str, tokens: str) -> None:
        """The next name by place. Raises ValueError for one that cannot be held."""
        if len(subject_id) != _ID or (self._places and place <= self._places[-1]):
            raise ValueError("no id of ours, or out of order")
        number, at = len(self._norms), norm.find(core)
        whole = 0 <= at <= _FAR >= len(core)
        if not whole:
            self._cores.setdefault(core, []).append(number)
        if not whole or role != "name" or shown != norm:
            self._apart[number] = role, shown, core
        self._norms.append(norm)
        self._ids += subject_id.encode("ascii")
        self._places.append(place)
        self._core_at.append(at if whole else 0)
        self._core_size.append(len(core) if whole else 0)
        lists, listed = self._lists, 0
        for token in tokens.split(" "):
            if token[0] not in _SPOKEN:
                listed += 1
                found = lists.get(token)
                if found is None:
                    lists[token] = array("I", (number,))
                    self.size += _TOKEN
                else:
                    found.append(number)
        self.size += _NAME + 2 * len(norm) + _LISTED * listed

    def first(self, query: NameQuery, most: int) -> list[Hit] | None:
        """The first hits of a text, at most so many; None where this is not the way to tell them."""
        text, core, (step, *others) = query.text, query.core or query.text, query.asked[0]
        if others or not (all(map(is_single, text)) and _MARKS.isdisjoint(text)):
            return None
        every = self._holding(step.tokens)
        cores = every if core == text else self._holding(pairs(core) if len(core) > 1 else [CORE_MARK + core])
        if every is None or cores is None or len(every) > MAX_CANDIDATES:
            return None
        exact = {*self._named(every, text), *self._with_core(cores, core)}
        if len(exact) > _EXACT:
            return None
        found = {hit.subject_id: hit for hit in ranked(query, fitting(query, map(self._row, exact)))} if exact else {}
        alone = query.route == "character"
        for tier, numbers in (PREFIX, self._begun(text, step, every, alone)), (PHRASE, every):
            for number in numbers:
                if len(found) >= most:
                    break
                norm, subject_id = self._norms[number], self._ids[_ID * number : _ID * (number + 1)].decode("ascii")
                if text not in norm:  # its pairs stand apart
                    return None
                if subject_id not in found:
                    role, shown, _ = self._apart.get(number) or ("name", norm, "")
                    found[subject_id] = Hit(
                        subject_id=subject_id,
                        matched_on="name" if role == "name" else "former_name",
                        shown=shown,
                        norm=norm,
                        order=(tier, 0, self._places[number], subject_id),
                    )
        return list(found.values())[:most]

    def _row(self, number: int) -> _Row:
        norm, at = self._norms[number], self._core_at[number]
        role, shown, core = self._apart.get(number) or ("name", norm, norm[at : at + self._core_size[number]])
        return _Row(self._places[number], self._ids[_ID * number : _ID * (number + 1)].decode("ascii"), role, shown, norm, core)

    def _holding(self, tokens: Sequence[str]) -> Sequence[int] | None:
        """The names that hold all of these tokens, by place; None: they are too many to be looked through."""
        lists = [self._lists.get(token, _NONE) for token in tokens]
        if len(lists) == 1:
            return lists[0]
        shortest = min(lists, key=len)
        if len(shortest) > _LOOKED_AT:
            return None
        norms, found = self._norms, list(shortest)
        for token, held in zip(tokens, lists, strict=True):
            if held is not shortest:  # two characters side by side are a token of every name in which they stand
                found = [number for number in found if token in norms[number]]
        return found

    def _begun(self, text: str, step: Step, every: Sequence[int], alone: bool) -> Iterator[int]:
        """Those that begin with the text, or whose core does; of a single character the latter."""
        norms = self._norms
        some = self._lists.get(step.begun, _NONE) if len(step.tokens) == 1 else every
        for number in some:
            if (norms[number].startswith(text) and not alone) or self._core_begins(number, text):
                yield number

    def _core_begins(self, number: int, text: str) -> bool:
        size = self._core_size[number]
        if size:
            return size >= len(text) and self._norms[number].startswith(text, self._core_at[number])
        return number in self._apart and self._apart[number][2].startswith(text)

    def _named(self, held: Sequence[int], text: str) -> list[int]:
        """Those of them that are the text."""
        norms = self._norms
        if len(held) <= _FEW:
            return [number for number in held if norms[number] == text]
        found: list[int] = []
        for size in range(min(len(text), LONGEST_CORE) + 1):  # the place says how long core and name are
            some = self._between(held, *places_of(size, len(text)))
            found += [number for number in some if norms[number] == text]
        return found

    def _with_core(self, held: Sequence[int], core: str) -> list[int]:
        """Those of them whose core is this one, and who else has it."""
        norms, size, at = self._norms, self._core_size, self._core_at
        some = self._between(held, *places_of(len(core)))
        found = [each for each in some if size[each] == len(core) and norms[each].startswith(core, at[each])]
        return found + self._cores.get(core, [])

    def _between(self, held: Sequence[int], first: int, after: int) -> Sequence[int]:
        """Those of them whose place is from one on and before another."""
        places = self._places
        return held[bisect_left(held, bisect_left(places, first)) : bisect_left(held, bisect_left(places, after))]
