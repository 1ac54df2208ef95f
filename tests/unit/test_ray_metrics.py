"""Counters and gauges are told in bulk; what is wrong with one series leaves the others alone."""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest

from app.core import metric_names as names
from deployments import metrics
from deployments.metrics import RayMetrics

TOLD: dict[str, list[tuple[float, dict[str, str]]]] = defaultdict(list)


class Told:
    """Stands for any of Ray's metrics; one label is refused, as Ray refuses unknown ones."""

    def __init__(self, name: str, *_: object, **__: object) -> None:
        self.name = name

    def inc(self, value: float, tags: dict[str, str]) -> None:
        if "wrong" in tags.values():
            raise ValueError("unknown")
        TOLD[self.name].append((value, tags))

    set = observe = inc


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Any:
    TOLD.clear()
    monkeypatch.setattr(metrics, "ray_metrics", SimpleNamespace(Counter=Told, Gauge=Told, Histogram=Told))
    monkeypatch.setattr(metrics, "_PERIOD_S", 3600.0)
    return RayMetrics()


def test_counts_are_summed_up_by_their_labels(house: RayMetrics) -> None:
    for status in ("200", "200", "503"):
        house.count(names.REQUESTS, route="e", tier="flex", status=status)
    house.count(names.LOCAL_ADMISSIONS, 0)
    assert not TOLD
    house.tell()
    house.tell()
    assert sorted((value, tags["status"]) for value, tags in TOLD[names.REQUESTS]) == [(1, "503"), (2, "200")]
    assert not TOLD[names.LOCAL_ADMISSIONS]


def test_gauges_are_told_again_and_histograms_at_once(house: RayMetrics) -> None:
    house.set(names.QUEUE_ITEMS, 3, model="m")
    house.set(names.QUEUE_ITEMS, 4, model="m")
    house.observe(names.STEP_MS, 7.0, model="m")
    assert TOLD[names.STEP_MS] == [(7.0, {"model": "m"})]
    house.tell()
    house.tell()
    assert TOLD[names.QUEUE_ITEMS] == [(4, {"model": "m"})] * 2


def test_a_wrong_series_silences_no_other(house: RayMetrics) -> None:
    with pytest.raises(KeyError):
        house.count("embedgate_no_such_metric")
    house.set(names.QUEUE_ITEMS, 1, model="wrong")
    house.set(names.QUEUE_TOKENS, 2, model="m")
    house.tell()
    assert TOLD[names.QUEUE_TOKENS] == [(2, {"model": "m"})]
