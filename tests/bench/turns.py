"""Runs that take turns, A B C C B A: what is compared is compared within one turn.

A machine that others share is half as fast again from one second to the next, even for a bare loop: many short turns, then, instead of
few long ones; the median of the turns' ratios, and what a half of them lie between.
"""

import statistics
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, structs

from tests.bench.load import Load


class Ratio(Struct, frozen=True):
    """Of two runs, over all turns: the median and the quartiles of what one was of the other in the same turn."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.2f}–{self.high:.2f})"


def ratio_of(figures: Iterable[float], limits: Iterable[float]) -> Ratio:
    """Of the figures of some turns and the limits of the same turns; without turns in which the limit was nothing."""
    ratios = [figure / limit for figure, limit in zip(figures, limits, strict=True) if limit]
    if len(ratios) < 2:
        return Ratio(ratios[0], ratios[0], ratios[0])
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, low, high)


class Turns:
    """What was taken in turns, by the names of the runs."""

    def __init__(self, loads: Mapping[str, Sequence[Load]]) -> None:
        self._loads = loads

    def __iter__(self) -> Iterator[str]:
        return iter(self._loads)

    def load(self, name: str) -> Load:
        """The medians of a run, and all its errors."""
        loads = self._loads[name]
        return Load(
            rate=statistics.median(load.rate for load in loads),
            p50_ms=statistics.median(load.p50_ms for load in loads),
            p99_ms=statistics.median(load.p99_ms for load in loads),
            bytes_s=statistics.median(load.bytes_s for load in loads),
            errors=sum(load.errors for load in loads),
        )

    def ratio(self, name: str, limit: str, of: Callable[[Load], float] = lambda load: load.rate) -> Ratio:
        """One run over another of the same turns, in requests a second or what else is asked for."""
        return ratio_of(map(of, self._loads[name]), map(of, self._loads[limit]))

    def raw(self) -> dict[str, list[dict[str, float]]]:
        """Every run of every turn, for the file."""
        return {name: [structs.asdict(load) for load in loads] for name, loads in self._loads.items()}


def take(runs: Mapping[str, Callable[[], Load]], turns: int, *, may_fail: Collection[str] = ()) -> Turns:
    """Each run once to warm up, then in so many turns; RuntimeError where answers were errors, except those of a peer."""
    loads: dict[str, list[Load]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for turn in range(turns):
        for name in list(runs)[:: -1 if turn % 2 else 1]:
            loads[name].append(runs[name]())
    taken = Turns(loads)
    broken = {name: errors for name in runs if name not in may_fail and (errors := taken.load(name).errors)}
    if broken:
        raise RuntimeError(f"errors under load: {broken}")
    return taken
