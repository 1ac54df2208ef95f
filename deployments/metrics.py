"""The service's metrics on Ray's exporter."""

from ray.util import metrics as ray_metrics

from app.core.metric_names import METRICS, Kind


class RayMetrics:
    """``Metrics`` over ``ray.util.metrics``; every name is declared in ``app.core.metric_names``."""

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

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        self._counters[name].inc(amount, tags=labels)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._gauges[name].set(value, tags=labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Record into a histogram."""
        self._histograms[name].observe(value, tags=labels)
