"""Learns the table of `core/disclosure/likeness` from the corpora: `python -m tests.core.disclosure.learning` writes it anew.

A logistic regression over runs of characters, by stochastic gradient descent: every step in plain floating point and in one order, so
that whoever runs it gets the same table. `… check` tells what it is worth to sentences that it has not learnt from: each tenth of either
corpus, in the order in which they were written, under what was learnt from the nine others.
"""

import math
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from gateway.core.disclosure import likeness
from gateway.core.disclosure.likeness import SCALE, runs_of
from gateway.core.disclosure.spelling import copy_of

CORPORA = Path(__file__).parent / "corpora"
TABLE = Path(likeness.__file__).with_name(likeness.TABLE)
LIMIT = 50
"""In hundredths: of harmless sentences that were not learnt from about two in a hundred are held, of personal ones three in four."""
ROUNDS, RATE, SHRINK, SEED = 10, 0.3, 0.1, 1
LEAST = 2
"""So often a run must stand somewhere."""

Sentence = tuple[list[str], int]
"""Runs, and 1 where something personal is told."""


def corpora() -> tuple[list[Sentence], list[Sentence]]:
    """The harmless sentences and the others."""
    harmless, planted = (
        [line for line in (CORPORA / name).read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
        for name in ("harmless.txt", "planted.tsv")
    )
    personal = [line.partition("\t")[0].replace("\\n", "\n").replace("\\t", "\t") for line in planted]
    return [([*runs_of(copy_of(line))], 0) for line in harmless], [([*runs_of(copy_of(line))], 1) for line in personal]


def learn(sentences: Sequence[Sentence]) -> dict[str, float]:
    """The weights; without a constant, so that what was never met tells nothing either way."""
    often = Counter(run for found, _ in sentences for run in set(found))
    left = [([run for run in found if often[run] >= LEAST], told) for found, told in sentences]
    order = random.Random(SEED)
    weights: defaultdict[str, float] = defaultdict(float)
    for number in range(ROUNDS):
        order.shuffle(left)
        rate = RATE / (1 + number / 2)
        for found, told in left:
            likely = 1 / (1 + math.exp(-max(-30.0, min(30.0, sum(weights[run] for run in found)))))
            step = (told - likely) * rate / math.sqrt(max(1, len(found)))
            for run in found:
                weights[run] += step - SHRINK * rate * weights[run]
    return weights


def table() -> str:
    """What is shipped."""
    harmless, personal = corpora()
    weights = learn([*harmless, *personal])
    by_weight: defaultdict[int, list[str]] = defaultdict(list)
    for run, weight in weights.items():
        if rounded := round(weight * SCALE):
            by_weight[rounded].append(run)
    head = [
        "# Weights of runs of characters, in hundredths, learnt from tests/core/disclosure/corpora by tests/core/disclosure/learning.py:",
        f"# {digest()}",
        f"limit\t{LIMIT}",
    ]
    return "\n".join([*head, *(f"{weight}\t{' '.join(sorted(some))}" for weight, some in sorted(by_weight.items()))]) + "\n"


def digest() -> str:
    """Of the corpora: a table that names another was learnt from others."""
    return sha256(b"".join((CORPORA / name).read_bytes() for name in ("harmless.txt", "planted.tsv"))).hexdigest()


def check() -> Iterator[str]:
    """What is held of each tenth, by what was learnt from the rest."""
    both = corpora()
    held = [0, 0]
    for tenth in range(10):
        parts = [(len(one) * tenth // 10, len(one) * (tenth + 1) // 10) for one in both]
        weights = learn([each for one, (start, end) in zip(both, parts, strict=True) for each in one[:start] + one[end:]])
        for kind, (one, (start, end)) in enumerate(zip(both, parts, strict=True)):
            held[kind] += sum(
                round(sum(weights.get(run, 0.0) for run in found) * SCALE) >= LIMIT for found, _ in one[start:end]
            )
    for kind, name in enumerate(("harmless", "personal")):
        yield f"{name}: {held[kind]} of {len(both[kind])} held"


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        print(*check(), sep="\n")
    else:
        TABLE.write_text(table(), encoding="utf-8")
