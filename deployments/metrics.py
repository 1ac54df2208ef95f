"""The service's metrics on Ray's exporter.

A request touches a dozen metrics, and each call into Ray costs some microseconds of the event loop.
So counters are summed up and gauges kept here, and told to Ray once a second by a thread. Gauges
are told again each time, because Ray forgets those that nobody sets. Histograms are told at once: a
second's worth of values would keep the interpreter for longer than a request takes; and they are few,
because Ray's agent records each of their values once more, in Python. What was counted since Ray's last
export, up to ten seconds, is lost with a process.
"""

import logging
import threading
from collections.abc import Callable

from ray.util import metrics as ray_metrics

from app.core.metric_names import METRICS, Kind

logger = logging.getLogger("ray.serve.embedgate")

_PERIOD_S = 1.0

_Labels = tuple[tuple[str, str], ...]


class RayMetrics:
    """``Metrics`` over ``ray.util.metrics``; every name is declared in ``app.core.metric_names``. Thread-safe."""

    def __init__(self) -> None:
        self._counters: dict[str, ray_metrics.Counter] = {}
        self._gauges: dict[str, ray_metrics.Gauge] = {}
        self._histograms: dict[str, ray_metrics.Histogram] = {}
        for metric in METRICS:
            if metric.kind is Kind.COUNTER:
                self._counters[metric.name] = ray_metrics.Counter(metric.name, metric.help, tag_keys=metric.labels)
            elif metric.kind is Kind.GAUGE:
                self._gauges[metric.name] = ray_metrics.Gauge(metric.name, metric.help, tag_keys=metric.labels)
            else:
                self._histograms[metric.name] = ray_metrics.Histogram(
                    metric.name, metric.help, boundaries=list(metric.buckets), tag_keys=metric.labels
                )
        self._lock = threading.Lock()
        self._counted: dict[tuple[ray_metrics.Counter, _Labels], float] = {}
        self._set: dict[tuple[ray_metrics.Gauge, _Labels], float] = {}
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
        self._histograms[name].observe(value, tags=labels)

    def tell(self) -> None:
        """Hand counters and gauges to Ray now."""
        with self._lock:
            counted, self._counted = self._counted, {}
            gauges = dict(self._set)
        for (counter, labels), amount in counted.items():
            if amount > 0:
                _tell(counter.inc, amount, labels)
        for (gauge, labels), value in gauges.items():
            _tell(gauge.set, value, labels)

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
