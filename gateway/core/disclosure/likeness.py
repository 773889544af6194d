"""How much a sentence reads like those in which something personal is told: for the residual score, nothing is replaced by it.

The rooms beside this one know words, cues and frames, and what none of them knows would pass. Here no rule stands but a table of weights,
for runs of one to three characters, learnt from the sentences of the corpora, personal ones and harmless ones, by logistic regression
(decision 0062). A sentence counts by the sum of what stands in it.

Rules: a sentence in which something was replaced is left to the rules, for its cue would count again; names of organisations count for
nothing. The table is made by `python -m tests.core.disclosure.learning` and changed by nothing else. This room must not replace anything.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from itertools import chain, repeat
from operator import add
from typing import Final, NamedTuple

from gateway.core.disclosure.digit_runs import Place

TABLE: Final = "likeness.tsv"
SCALE: Final = 100
"""Weights are kept as whole hundredths."""
_ENDS: Final = "。！!？?\n"
_SENTENCE: Final = re.compile(f"[^{_ENDS}]+")
_BREAKS: Final = "，；：、,;:\\s“”\"‘’'《》<>（）()〔〕【】\\[\\]"
_CLAUSE: Final = re.compile(f"[^{_ENDS}{_BREAKS}]+")
_CHINESE: Final = re.compile("[\u3400-\u9fff]")
_SIGNS: Final = re.compile("[0-9A-Z][0-9A-Z]*")
_REMEMBERED: Final = 8192
_weighed: dict[int, int] = {}
"""What clauses weigh at most, for official texts repeat themselves; under hashes with this process's secret, as in `stretches`."""


class _Table(NamedTuple):
    weights: dict[str, int]
    signs: dict[str, int]
    """The same of single characters: a small table is soon looked through."""
    most: dict[str, int]
    """Runs of two characters: their weight, and the greatest that a third one adds."""
    limit: int
    """From here on a sentence is held."""


def likely(copy: str, covered: bytearray, public: bytearray) -> Iterator[Place]:
    """The clause that tells most, of every sentence that reads as if something personal were told in it.

    `covered`: what was replaced; `public`: names of organisations and of laws. Either may be empty.
    """
    limit = _table().limit
    read = copy if not public else "".join("，" if hidden else sign for sign, hidden in zip(copy, public, strict=True))
    if not covered and _most_of_any(_CLAUSE.findall(_plain(read))) < limit:
        return
    for sentence in _SENTENCE.finditer(read):
        start, end = sentence.span()
        if covered and any(covered[start:end]):
            continue
        said = _CLAUSE.findall(_plain(sentence[0]))
        if sum(map(_at_most, said)) >= limit and sum(map(_weight, said)) >= limit:
            clauses = _CLAUSE.finditer(read, start, end)
            yield max(zip(map(_weight, said), clauses, strict=True), key=lambda each: each[0])[1].span()


def _most_of_any(clauses: Iterable[str]) -> int:
    """What any of some clauses weigh together at most."""
    known, total = _weighed.get, 0
    for clause in clauses:
        weight = known(hash(clause))
        if weight is None:
            weight = _at_most(clause)
        if weight > 0:
            total += weight
    return total


def _at_most(clause: str) -> int:
    """What a clause weighs at most: hardly one sentence in fifty need be weighed to the last run of three."""
    known = _weighed.get(hash(clause))
    if known is None:
        known = 0
        if "\u3400" <= clause[0] <= "\u9fff" or _CHINESE.search(clause) is not None:
            signs, table = ["^", *clause, "$"], _table()
            pairs = map(add, signs, signs[1:])
            known = sum(map(table.signs.get, signs, repeat(0))) + sum(map(table.most.get, pairs, repeat(0)))
        if len(_weighed) >= _REMEMBERED:
            _weighed.clear()
        _weighed[hash(clause)] = known
    return known


def _plain(text: str) -> str:
    """With every number, and every foreign word, as one sign."""
    return _SIGNS.sub("0", text)


def runs_of(copy: str) -> Iterator[str]:
    """What has a weight in a copy, clause by clause."""
    for clause in _CLAUSE.findall(_plain(copy)):
        yield from _runs(clause)


def _runs(clause: str) -> Iterator[str]:
    """Each run of up to three characters, the ends of the clause among them; numbers and foreign words alone are the rules' business."""
    if _CHINESE.search(clause) is None:
        return iter(())
    marked = f"^{clause}$"
    pairs = [*map(add, marked, marked[1:])]
    return chain(marked, pairs, map(add, pairs, marked[2:]))


def _weight(clause: str) -> int:
    return sum(map(_table().weights.get, _runs(clause), repeat(0)))


@cache
def _table() -> _Table:
    """As it is shipped: the limit, then each weight with the runs that have it."""
    text = files("gateway.core.disclosure").joinpath(TABLE).read_bytes().decode()
    (_, limit), *rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    weights = {run: int(weight) for weight, some in rows for run in some.split(" ")}
    signs, most = ({run: weight for run, weight in weights.items() if len(run) == size} for size in (1, 2))
    thirds: dict[str, int] = {}
    for run, weight in weights.items():
        if len(run) == 3:
            thirds[run[:2]] = max(weight, thirds.get(run[:2], 0))
    most.update((pair, most.get(pair, 0) + more) for pair, more in thirds.items() if more)
    return _Table(weights, signs, most, int(limit))
