"""What a stretch of Chinese may hold, whatever stands around it: who may be named in it, where, and how likely.

Rules: a stretch is read twice: as the cheapest row of ordinary words (`lexicon`), and with a name at each place where a surname stands.
How much cheaper the words may be, where it is worth to look at what stands around, is said here; every step is linear. A stretch is
remembered under a hash with this process's secret: no text stays in memory for having been read. This room must not look at what
stands around: `people` does.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import repeat
from math import inf
from operator import add
from typing import Final, NamedTuple

from gateway.core.disclosure.lexicon import LONGEST, RARE, RARE_GIVEN, Lexicon, lexicon
from gateway.core.disclosure.name_signs import TRANSLITERATED
from gateway.core.disclosure.places import NICKS
from gateway.core.disclosure.slots import OUTLANDISH, odd
from gateway.core.disclosure.surnames import COMMON


class Known(NamedTuple):
    """Places and weights."""

    names: tuple[tuple[int, list[tuple[int, int, float]]], ...]
    foreign: tuple[tuple[int, int, float], ...]
    strange: bool
    """Names of no usual form may stand here (`slots`)."""


NOTHING: Final = Known((), (), False)
_REMEMBERED: Final = 16_384
_LONGEST_REMEMBERED: Final = 40
_FEW_REMEMBERED: Final = 2
"""Of a stretch with more places nothing is remembered: what somebody sends may not fill the memory."""
_read_before: dict[int, Known] = {}
"""Stretches that were read, for official texts say the same again and again."""
remembered: Final = _read_before.get
"""What a stretch holds by its hash, if it was read before: most that were hold nothing, and need no more than this look."""
_NAME: Final = -1.0
"""Cost of there being a name: below zero, for a name that is not seen is dearer than a word that is taken for one."""
_GIVEN: Final = {1: 1.8, 2: 0.2}
"""Cost of a given name of so many characters."""
_NICK: Final = 4.5
_NO_WORD: Final = 9.0
"""A surname that costs more alone is hardly a word."""
_NEAR: Final = -10.0
"""From here on it is worth to look at what stands around."""
_RIVAL: Final = _NEAR - 6.0
"""What is less likely is not even another reading of a name that is."""
_NEAR_ONE: Final = _NEAR + _NAME + _GIVEN[1] - 0.01
_NEAR_TWO: Final = _NEAR + _NAME + _GIVEN[2] - 0.01
"""What words must cost more than surname and given name at least; a little less, for floating point."""
_SINCE: Final = frozenset("于从自由")
_TIMES: Final = frozenset(one + other for one in "同当次翌前今本去上每" for other in "年月日季周天期晚时")
"""What time something happens at: 于同年九月."""
_COUNTED: Final = 6.0
"""What a numeral costs less before such a character."""
_NOBODY: Final = frozenset("某")
_BORN_AS: Final = frozenset("宝海妹妞娃丫虎柱毛牛狗喜")
"""What a numeral in a given name stands before: 封二宝, 冀四海."""
_HOUSES: Final = frozenset("记")
"""What firms are called after a surname: 李记饭店."""
_NUMERALS: Final = frozenset("一二三四五六七八九十两几数")
_OFFICIAL: Final = 4.0
"""What a word of official texts costs more as a name."""
_ASKING: Final = frozenset(["何时", "何地", "何处", "何种", "何事", "何物"])
"""Who asks so names nobody."""
_FOREIGN: Final = re.compile(f"[{TRANSLITERATED}][{TRANSLITERATED}]{{2,9}}")
_DRUG: Final = frozenset("素酯林唑片胶丸胺酸钠钾酮醇醛碱酶苷腺剂液")


def known(run: str) -> Known:
    """Whoever may be named in a stretch."""
    hidden = hash(run)
    found = _read_before.get(hidden)
    if found is None:
        found = _read(run)
        if len(run) <= _LONGEST_REMEMBERED and len(found.names) + len(found.foreign) <= _FEW_REMEMBERED:
            if len(_read_before) >= _REMEMBERED:
                _read_before.clear()
            _read_before[hidden] = found
    return found


def _read(run: str) -> Known:
    signs = [*run]  # each character is made once, and its hash reckoned once
    table = lexicon(signs)  # takes in the words that begin with them
    families = [*map(table.surnames.get, signs)]
    words = _Words(run, signs, table)
    compounds = () if table.compounds.isdisjoint(words.pairs) else [at for at, pair in enumerate(words.pairs) if pair in table.compounds]
    outlandish = OUTLANDISH.search(run) is not None
    foreign = outlandish and _FOREIGN.search(run) is not None
    names: list[tuple[int, list[tuple[int, int, float]]]] = []
    others: tuple[tuple[int, int, float], ...] = ()
    if compounds or foreign or any(families):
        back = words.back()
        worth = _worth(signs, families, back)
        if worth or compounds or foreign:
            forth = words.forth(len(run) if foreign else max([*compounds[-1:], *(at for at, _ in worth[-1:])]))
            places = [at for at, least in worth if back[0] - forth[at] >= least]
            for at in sorted({*places, *compounds}) if compounds else places:
                some = _at(at, forth, back, words, table)
                if some:
                    names.append((at, some))
            others = tuple(_transliterated(run, forth, table)) if foreign else ()
    strange = odd(run, outlandish=outlandish)
    return Known(tuple(names), others, strange) if names or others or strange else NOTHING


class _Words:
    """One stretch, to be read as ordinary words."""

    __slots__ = ("_costs", "_ending", "_run", "_singles", "_table", "pairs", "signs")

    def __init__(self, run: str, signs: list[str], table: Lexicon) -> None:
        self._run, self._table = run, table
        self.signs = signs
        self.pairs = [*map(add, signs, signs[1:])]
        """Each two characters that stand side by side."""

    def back(self) -> list[float]:
        """The cheapest reading from each place on; it may be asked for behind the end, where nothing is."""
        run, words, signs, size = self._run, self._table.words, self.signs, len(self.signs)
        self._singles = [*map(self._table.alone.get, signs, repeat(RARE))]
        self._costs = [*map(words.get, self.pairs), None]
        self._ending: list[list[tuple[int, float]] | None] = [None] * size
        """By place, how long the words of more than two characters are that end with it, and what they cost."""
        costs = [0.0, 0.0, 0.0]
        one = two = 0.0
        thirds = [*map(self._table.heads.get, self.pairs), None]
        for single, pair, third in zip(reversed(self._singles), reversed(self._costs), reversed(thirds), strict=True):
            best = one + single
            if pair is not None:
                two += pair
                if two < best:
                    best = two
            if third is not None and (at := size + 2 - len(costs)) + 2 < size and signs[at + 2] in third:
                for length in range(3, min(LONGEST, size - at) + 1):
                    cost = words.get(run[at : at + length])
                    if cost is not None:
                        best = min(best, costs[-length] + cost)
                        self._ending[at + length - 1] = [*(self._ending[at + length - 1] or ()), (length, cost)]
            two, one = one, best
            costs.append(best)
        costs.reverse()
        return costs

    def forth(self, last: int) -> list[float]:
        """The cheapest reading up to each place, and to that one; asked for after `back`."""
        costs = [0.0]
        here, by_pair = 0.0, inf
        for single, pair, longer in zip(self._singles[:last], self._costs, self._ending, strict=False):
            best = here + single
            if by_pair < best:
                best = by_pair
            if longer is not None:
                for length, cost in longer:
                    best = min(best, costs[-length] + cost)
            by_pair = inf if pair is None else here + pair
            here = best
            costs.append(best)
        return costs


def _worth(signs: Sequence[str], families: Sequence[float | None], back: Sequence[float]) -> list[tuple[int, float]]:
    """Where surnames of one character stand, each with what the words must cost at least, from there on, for a name to be likely enough.

    Where even the cheapest that is read from there on costs less none is: with what is read before, it costs no less than all.
    """
    given, following = _least_given(), [*signs[1:], "", ""]
    worth = []
    for at, family in enumerate(families):
        if family is not None:
            least = family + given.get(following[at], RARE_GIVEN)
            least = min(least + _NEAR_ONE + back[at + 2], least + given.get(following[at + 1], RARE_GIVEN) + _NEAR_TWO + back[at + 3])
            if signs[at - 1] in NICKS:
                worth.append((at, -inf))
            elif back[at] >= least:
                worth.append((at, least))
    return worth


@cache
def _least_given() -> Mapping[str, float]:
    """What characters of given names cost at least, with a numeral before them or without."""
    given = lexicon("").given
    return {**given, **{sign: given.get(sign, RARE_GIVEN) - _COUNTED for sign in _BORN_AS}}


def _at(at: int, forth: Sequence[float], back: Sequence[float], words: _Words, table: Lexicon) -> list[tuple[int, int, float]]:
    """The names that may begin here: a surname of one or two characters, a given name of one or two, or a nickname.

    Empty when none of them is likely enough for what stands around to count.
    """
    signs, given, size = words.signs, table.given, len(words.signs)
    total, sign = back[0], signs[at]
    before = forth[at]
    pair = words.pairs[at] if at + 1 < size else ""
    best: list[tuple[int, int, float]] = []
    for first, family in ((at + 1, sign), (at + 2, pair)):
        surname = table.surnames.get(family)
        if surname is None:
            continue
        follows = signs[first] if first < size else ""
        if follows in _HOUSES or (sign in _SINCE and first + 1 < size and words.pairs[first] in _TIMES):
            continue
        plain = _OFFICIAL if family is sign and pair in table.official else 0.0
        if follows and follows not in _NOBODY:
            cost = before + _NAME + surname + given.get(follows, RARE_GIVEN)
            if sign != "何" or family + follows not in _ASKING:
                best.append((at, first + 1, total - cost - plain - _GIVEN[1] - back[first + 1]))
            last = signs[first + 1] if first + 1 < size else "某"
            if last not in _NOBODY:
                cost += given.get(last, RARE_GIVEN) + plain / 2
                if last in _BORN_AS and follows in _NUMERALS:
                    cost -= _COUNTED
                best.append((at, first + 2, total - cost - _GIVEN[2] - back[first + 2]))
        if (
            at
            and signs[at - 1] in NICKS
            and (sign in COMMON or table.alone.get(sign, RARE) > _NO_WORD)
            and follows not in _NOBODY
            and signs[at - 1] + family not in table.official
        ):
            best.append((at - 1, first, total - (forth[at - 1] + _NAME + _NICK + surname) - back[first]))
    if not best or max([likely for _, _, likely in best]) < _NEAR:
        return []
    return [name for name in best if name[2] >= _RIVAL]


def _transliterated(run: str, forth: Sequence[float], table: Lexicon) -> Iterator[tuple[int, int, float]]:
    """Names of other languages without a dot: a row of such characters that are no words; they count with somebody's sign beside it."""
    for found in _FOREIGN.finditer(run):
        start, end = found.span()
        word = end - start > 3 and run[start : start + 3] in table.words  # 买买提江: a word of three that is a name
        if (forth[end] - forth[start] < 6.0 * (end - start) and not word) or run[end : end + 1] in _DRUG:
            continue
        yield start, end, -0.8 if end - start < 4 else 2.5
