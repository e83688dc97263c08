"""Exposition: metrics with their samples, in the text formats of Prometheus and OpenMetrics."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import TypeVar

from sidelane.model.errors import MissingExtra

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.core import Metric as Family
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import CollectorRegistry
except ImportError as error:
    raise MissingExtra("Metrics need prometheus-client: install sidelane[metrics].") from error

L = TypeVar("L", str, tuple[str, str])

MAX_LABEL_VALUES = 200
"""Values of one label, or of two together. What has further values is counted as `OTHER`.

So a mistake in names cannot fill a Prometheus.
"""


class Kind(StrEnum):
    """The kinds of metrics."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric, as an expression names it. A histogram has the suffixes `_bucket`, `_sum` and `_count` there."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


class Exposition:
    """Samples of metrics. Samples of a counter or gauge that have the same labels are added up."""

    def __init__(self) -> None:
        self._values: dict[Metric, dict[tuple[str, ...], float]] = {}
        self._histograms: dict[Metric, tuple[Sequence[float], dict[tuple[str, ...], tuple[list[int], float]]]] = {}

    def add(self, metric: Metric, value: float, *labels: str) -> None:
        """Add a value to a counter or gauge."""
        values = self._values.setdefault(metric, {})
        values[labels] = values.get(labels, 0) + value

    def largest(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge, unless it has a larger value."""
        values = self._values.setdefault(metric, {})
        values[labels] = max(values.get(labels, value), value)

    def histogram(
        self, metric: Metric, bounds: Sequence[float], counts: Sequence[int], total: float, *labels: str
    ) -> None:
        """Set a histogram. `counts` has one count for each of the upper `bounds`, and one for what is above."""
        _, samples = self._histograms.setdefault(metric, (bounds, {}))
        samples[labels] = (list(accumulate(counts)), total)

    def encode(self, accept: str) -> tuple[bytes, str]:
        """Return the text with its content type, in the format that an `Accept` field asks for."""
        encoder, content_type = choose_encoder(accept)
        registry = CollectorRegistry()
        registry.register(self)
        return encoder(registry), content_type

    def collect(self) -> Iterator[Family]:
        """Yield the families of prometheus-client."""
        for metric, values in self._values.items():
            family = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
            made = family(metric.name, metric.help, labels=metric.labels)
            for labels, value in values.items():
                made.add_metric(labels, value)
            yield made
        for metric, (bounds, samples) in self._histograms.items():
            histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            names = [*map(str, bounds), "+Inf"]
            for labels, (counts, total) in samples.items():
                histogram.add_metric(labels, list(zip(names, counts, strict=True)), total)
            yield histogram


def bounded(values: Iterable[L], other: L) -> Mapping[L, L]:
    """Return the label or labels of each value: itself, or `other` beyond the first `MAX_LABEL_VALUES` by name."""
    distinct = sorted(set(values))
    return {value: value if number < MAX_LABEL_VALUES else other for number, value in enumerate(distinct)}
