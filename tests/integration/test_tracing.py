"""Traces as a collector gets them: whose they are, what they say, and when there are none."""

import time
from collections.abc import Iterator

import numpy as np
import pytest

from app.core.settings.application import TracingSettings
from app.core.tier_queue import QueuedItem
from app.core.tiers import Tier
from deployments.otel_tracer import OtelTracer
from deployments.tracing import open_tracer
from tests.collector import Collector

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.close()


def tracer(collector: Collector, *, thousandths: int = 1000, follow: bool = True) -> OtelTracer:
    settings = TracingSettings(otlp_url=collector.url, sample_thousandths=thousandths, follow_callers=follow)
    return OtelTracer(settings, service="gateway", clock_s=time.monotonic)


def headers(flags: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (b"traceparent", f"00-{TRACE}-{CALLER}-{flags}".encode())]


def item(trace: str, *, waited_s: float) -> QueuedItem:
    now_s = time.monotonic()
    return QueuedItem(np.ones(3, np.int32), Tier.DEFAULT, now_s - waited_s, now_s + 1, None, trace=trace)


def test_a_request_and_its_stages_are_children_of_the_callers_span(collector: Collector) -> None:
    own = tracer(collector)
    began_s = time.monotonic() - 0.1
    request = own.begin(headers("01"))
    assert request.context.startswith(f"00-{TRACE}-")
    facts = {"request_id": "req_1", "status": 503, "stages_ms": {"parse": 1.0}, "tokens": 7}
    request.end(
        "embeddings", began_s=began_s, ended_s=began_s + 0.1, stages_ms={"parse": 30.0, "embed": 60.0}, facts=facts
    )
    own.close()
    spans = {span.name: span for span in collector.spans}
    assert set(spans) == {"embeddings", "parse", "embed"}
    root = spans["embeddings"]
    assert (root.trace_id.hex(), root.parent_span_id.hex(), root.status.code) == (TRACE, CALLER, 2)
    assert spans["parse"].parent_span_id == spans["embed"].parent_span_id == root.span_id
    lasted_ms = {name: (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6 for name, span in spans.items()}
    assert lasted_ms["parse"] == pytest.approx(30, abs=2)
    assert lasted_ms["embed"] == pytest.approx(60, abs=2)
    assert abs(spans["embed"].start_time_unix_nano - spans["parse"].end_time_unix_nano) < 2e6
    told = {attribute.key for attribute in root.attributes}
    assert told == {"embedgate.request_id", "embedgate.status", "embedgate.tokens"}
    assert collector.services == {"embedgate-gateway"}


def test_a_replica_tells_of_wait_and_step_of_each_traced_request(collector: Collector) -> None:
    own = tracer(collector)
    first, second = own.begin(headers("01")).context, own.begin([]).context
    began_s = time.monotonic()
    items = [item(first, waited_s=0.2), item("", waited_s=0.1), item(first, waited_s=0.1), item(second, waited_s=0.1)]
    own.step("m", items, began_s=began_s, ended_s=began_s + 0.05)
    own.close()
    seen = [(span.name, span.trace_id.hex()) for span in collector.spans if span.name in ("queue", "step")]
    other = second.split("-")[1]
    assert sorted(seen) == sorted([("queue", TRACE), ("step", TRACE), ("queue", other), ("step", other)])
    (step,) = (span for span in collector.spans if (span.name, span.trace_id.hex()) == ("step", TRACE))
    assert {a.key: a.value.int_value for a in step.attributes if a.key != "model"} == {"items": 2, "step_items": 4}


def test_a_callers_no_is_kept(collector: Collector) -> None:
    own = tracer(collector)
    request = own.begin(headers("00"))
    request.end("embeddings", began_s=0.0, ended_s=1.0, stages_ms={"parse": 1.0}, facts={})
    own.close()
    assert (request.context, collector.spans) == ("", [])


def test_so_many_of_those_who_have_not_decided(collector: Collector) -> None:
    own = tracer(collector, thousandths=0)
    assert own.begin([]).context == ""
    assert own.begin(headers("01")).context != ""
    assert own.begin([(b"traceparent", b"00-nonsense")]).context == ""
    own.close()


def test_callers_decide_only_where_they_may(collector: Collector) -> None:
    own = tracer(collector, thousandths=0, follow=False)
    assert own.begin(headers("01")).context == ""
    own.close()
    own = tracer(collector, follow=False)
    assert own.begin(headers("00")).context.startswith(f"00-{TRACE}-")
    own.close()


def test_an_engine_does_not_wait_for_its_report(collector: Collector) -> None:
    own = tracer(collector)
    items = [item(own.begin([]).context, waited_s=0.1) for _ in range(512)]
    began_s = time.monotonic()
    own.step("m", items, began_s=began_s, ended_s=began_s)
    assert time.monotonic() - began_s < 0.01
    own.close()


def test_a_collector_that_is_away_costs_nobody_anything() -> None:
    settings = TracingSettings(otlp_url="http://127.0.0.1:9/v1/traces")
    own = OtelTracer(settings, service="gateway", clock_s=time.monotonic)
    began_s = time.monotonic()
    for _ in range(5000):
        own.begin([]).end("embeddings", began_s=began_s, ended_s=began_s, stages_ms={}, facts={})
    assert time.monotonic() - began_s < 5


def test_off_is_the_default() -> None:
    assert open_tracer(TracingSettings(), service="gateway", clock_s=time.monotonic) is None
