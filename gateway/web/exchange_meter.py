"""What operators see of the exchange, by partner: one collector beside the meter of the process, filled once a minute.

Rules: labels are partners, streams, ways and words of closed lists; never a record. This room must not ask the store.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from gateway.operations.measure_exchange import Figures, StreamFigures

if TYPE_CHECKING:
    from prometheus_client import Metric

_STREAM: Final = ("partner", "stream", "way")
_GAUGES: Final = (
    ("waiting", "Batches without an end: out without a final receipt, in not applied"),
    ("waiting_seconds", "How long the oldest batch is out without a final receipt"),
    ("last_batch_age_seconds", "How long ago the latest batch was made"),
    ("stopped", "1 while a stream is stopped or frozen until a person has looked"),
    ("owed", "Lines of the partner that we have still to acknowledge"),
)


def _values(each: StreamFigures) -> tuple[float | None, ...]:
    return each.waiting, each.waiting_s, each.last_batch_s, float(each.stopped), each.owed


class ExchangeMeter:
    """The figures of the last look."""

    def __init__(self) -> None:
        self._figures = Figures(streams=(), batches={}, lines={})

    def show(self, figures: Figures) -> None:
        """From now on these."""
        self._figures = figures

    def collect(self) -> "Iterable[Metric]":
        """The present state, for a scrape."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        gauges = [GaugeMetricFamily(f"chengxin_exchange_{name}", text, labels=_STREAM) for name, text in _GAUGES]
        labels = ("partner", "stream", "what")
        lines = GaugeMetricFamily("chengxin_exchange_unacknowledged", "Lines that the partner has still to acknowledge", labels=labels)
        ages = GaugeMetricFamily("chengxin_exchange_unacknowledged_seconds", "How long the oldest of them is out", labels=labels)
        for each in self._figures.streams:
            for family, value in zip(gauges, _values(each), strict=True):
                if value is not None:
                    family.add_metric((each.partner, each.stream, each.way), value)
            for what, (count, age) in each.debts.items():
                lines.add_metric((each.partner, each.stream, what), count)
                ages.add_metric((each.partner, each.stream, what), age)
        overdue = GaugeMetricFamily("chengxin_exchange_overdue", "Those of them that are late by what was agreed", labels=labels)
        for whose, count in sorted(self._figures.overdue.items()):
            overdue.add_metric(whose, count)
        yield from (*gauges, lines, ages, overdue)
        for name, text, label, counts in (
            ("chengxin_exchange_batches", "Batches by the result of their receipt", "result", self._figures.batches),
            ("chengxin_exchange_lines", "Lines by what came of them", "outcome", self._figures.lines),
        ):
            counted = CounterMetricFamily(name, text, labels=(*_STREAM, label))
            for key, value in sorted(counts.items()):
                counted.add_metric(key, value)
            yield counted
