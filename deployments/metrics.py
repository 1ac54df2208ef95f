"""The service's metrics on Ray's exporter.

A request touches a dozen metrics, and each call into Ray costs some microseconds of the event loop. So
counters and histograms are summed up and gauges kept here, and told to Ray once a second by a thread. Gauges
are told again each time, because Ray forgets those that nobody sets. What was counted in a process's last
second is lost with it.

Ray's own histogram has no way to take many values at once; and its agent records each of them again, at the
middle of its bucket. So a histogram's buckets, sum and count are told as sums of these names, as Prometheus
writes a histogram: exact, and the price is one of a series, not of a value. (Their declared type is a gauge's.)
"""

import logging
import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate

from ray._raylet import Sum as RaySum  # type: ignore[attr-defined]  # a compiled module
from ray.util import metrics as ray_metrics

from app.core.metric_names import METRICS, Kind, Metric

logger = logging.getLogger("ray.serve.embedgate")

_PERIOD_S = 1.0

_Labels = tuple[tuple[str, str], ...]


class Sum(ray_metrics.Metric):
    """What is added up under its own name, where Ray's counters are called ``…_total``."""

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        super().__init__(name, description, tag_keys)
        self._metric = RaySum(name, description, tag_keys)

    def add(self, value: float, tags: dict[str, str]) -> None:
        """Add to it."""
        self._record(value, tags)


class _Tally:
    """What was observed of one series since it was told last: values by bucket, and their sum."""

    __slots__ = ("counts", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.total = 0.0


class _Histogram:
    """The series that Prometheus makes a histogram of; each of its values is above one bound and up to the next."""

    def __init__(self, metric: Metric) -> None:
        self.bounds: Sequence[float] = metric.buckets
        self._le = [*(str(float(bound)) for bound in metric.buckets), "+Inf"]
        self._bucket = Sum(f"{metric.name}_bucket", metric.help, (*metric.labels, "le"))
        self._sum = Sum(f"{metric.name}_sum", metric.help, metric.labels)
        self._count = Sum(f"{metric.name}_count", metric.help, metric.labels)

    def tell(self, labels: _Labels, tally: _Tally) -> None:
        """Hand them to Ray: empty buckets too, because what is not there says nothing, not even zero."""
        for le, count in zip(self._le, accumulate(tally.counts), strict=True):
            _tell(self._bucket.add, count, (*labels, ("le", le)))
        _tell(self._sum.add, tally.total, labels)
        _tell(self._count.add, sum(tally.counts), labels)


class RayMetrics:
    """``Metrics`` over ``ray.util.metrics``; every name is declared in ``app.core.metric_names``. Thread-safe."""

    def __init__(self) -> None:
        self._counters: dict[str, ray_metrics.Counter] = {}
        self._gauges: dict[str, ray_metrics.Gauge] = {}
        self._histograms: dict[str, _Histogram] = {}
        for metric in METRICS:
            if metric.kind is Kind.COUNTER:
                self._counters[metric.name] = ray_metrics.Counter(metric.name, metric.help, tag_keys=metric.labels)
            elif metric.kind is Kind.GAUGE:
                self._gauges[metric.name] = ray_metrics.Gauge(metric.name, metric.help, tag_keys=metric.labels)
            else:
                self._histograms[metric.name] = _Histogram(metric)
        self._lock = threading.Lock()
        self._counted: dict[tuple[ray_metrics.Counter, _Labels], float] = {}
        self._set: dict[tuple[ray_metrics.Gauge, _Labels], float] = {}
        self._observed: dict[tuple[_Histogram, _Labels], _Tally] = {}
        threading.Thread(target=self._tell_forever, name="metrics", daemon=True).start()

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        series = self._counters[name], tuple(labels.items())
        with self._lock:
            self._counted[series] = self._counted.get(series, 0.0) + amount

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        with self._lock:
            self._set[self._gauges[name], tuple(labels.items())] = value

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Record into a histogram."""
        histogram = self._histograms[name]
        series = histogram, tuple(labels.items())
        bucket = bisect_left(histogram.bounds, value)
        with self._lock:
            if (tally := self._observed.get(series)) is None:
                tally = self._observed[series] = _Tally(len(histogram.bounds) + 1)
            tally.counts[bucket] += 1
            tally.total += value

    def tell(self) -> None:
        """Hand everything to Ray now."""
        with self._lock:
            counted, self._counted = self._counted, {}
            observed, self._observed = self._observed, {}
            gauges = dict(self._set)
        for (counter, labels), amount in counted.items():
            if amount > 0:
                _tell(counter.inc, amount, labels)
        for (gauge, labels), value in gauges.items():
            _tell(gauge.set, value, labels)
        for (histogram, labels), tally in observed.items():
            histogram.tell(labels, tally)

    def _tell_forever(self) -> None:
        wake = threading.Event()
        while not wake.wait(_PERIOD_S):
            self.tell()


def _tell(call: Callable[..., None], value: float, labels: _Labels) -> None:
    """One series; what is wrong with it must not silence the others."""
    try:
        call(value, tags=dict(labels))
    except Exception:
        logger.exception("a metric could not be told to Ray")
