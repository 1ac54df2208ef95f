"""Activity by tier, its percentiles, and the sentences about what is wrong."""

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.core.activity import (
    LATENCY_EDGES_MS,
    MINUTES,
    Lines,
    Outcome,
    Sums,
    View,
    by_tier,
    note,
    note_lines,
    percentile_ms,
)
from app.core.standing import GatewayStanding, ModelStanding, together, troubles
from app.core.tiers import Tier

BOUNDS = {tier.value: 1000 for tier in Tier}


def standing(*, replicas: int = 1, wait_ms: float = 0.0, may_sleep: bool = False, waiting: int = 0) -> ModelStanding:
    return ModelStanding(
        replicas, may_sleep, 100.0, {t.value: waiting for t in Tier}, {t.value: wait_ms for t in Tier}, BOUNDS
    )


def gateway(name: str = "g", model: ModelStanding | None = None, **fields: float) -> GatewayStanding:
    known = {"journal_behind_s": 0.0, "unsettled_holds": 0, **fields}
    return GatewayStanding(name, 0, **known, models={"m": model or standing()})  # type: ignore[arg-type]


def activity(*outcomes: Outcome) -> Sums:
    sums: Sums = {}
    for outcome in outcomes:
        note(sums, outcome)
    return sums


def test_answers_refusals_and_failures_are_kept_apart() -> None:
    found = by_tier(
        [
            activity(Outcome("flex", 200, 12.0, tokens=10, cached_tokens=4, nano_usd=60)),
            activity(Outcome("flex", 429, 1.0), Outcome("flex", 503, 1.0), Outcome("flex", 499, 9.0)),
            activity(Outcome("default", 200, 3.0, tokens=1)),
        ]
    )
    flex = found["flex"]
    assert (flex.requests, flex.refused, flex.failed, flex.left) == (4, 1, 1, 1)
    assert (flex.tokens, flex.cached_tokens, flex.nano_usd) == (6, 4, 60)
    assert found["default"].requests == 1 and set(found) == {"default", "flex"}


@given(st.lists(st.floats(min_value=0.01, max_value=80_000), min_size=1, max_size=300), st.sampled_from([0.5, 0.99]))
def test_percentiles_are_right_to_a_fifth(samples_ms: list[float], share: float) -> None:
    sums = activity(*(Outcome("flex", 200, one) for one in samples_ms))
    found = by_tier([sums])["flex"]
    given_ms = found.p50_ms if share == 0.5 else found.p99_ms
    exact = sorted(samples_ms)[math.ceil(share * len(samples_ms)) - 1]
    assert given_ms is not None
    capped = min(exact, LATENCY_EDGES_MS[-1])
    assert capped / 1.21 - 1.01 <= given_ms <= capped * 1.21 + 1.01


def test_lines_of_batches_count_without_a_latency() -> None:
    sums: Sums = {}
    note_lines(sums, Lines(completed=8, failed=2, tokens=40, cached_tokens=4, nano_usd=180))
    batch = by_tier([sums])["batch"]
    assert (batch.requests, batch.refused, batch.failed, batch.p50_ms) == (10, 0, 2, None)
    assert (batch.tokens, batch.cached_tokens, batch.nano_usd) == (36, 4, 180)


def test_nobody_answered_has_no_percentile() -> None:
    assert percentile_ms({}, 0.5) is None
    assert by_tier([activity(Outcome("flex", 503, 5.0))])["flex"].p99_ms is None


def test_views_end_with_the_present_span() -> None:
    starts = View.HOUR.starts(3600 * 50 + 61)
    assert len(starts) == 60 and starts[-1] == 3600 * 50 + 60
    assert {later - earlier for earlier, later in pairwise(starts)} == {MINUTES.span_s}
    assert View.WEEK.point_s == 3600 and len(View.WEEK.starts(10**9)) % 4 == 0


def test_a_model_stands_as_the_gateway_sees_it_that_sees_most() -> None:
    seen = together([gateway("a", standing(replicas=1, waiting=9)), gateway("b", standing(replicas=2, waiting=1))])
    assert seen["m"].replicas == 2
    seen = together([gateway("a", standing(waiting=1)), gateway("b", standing(waiting=5))])
    assert seen["m"].waiting_tokens["flex"] == 5


def test_all_is_well() -> None:
    calm = by_tier([activity(*[Outcome("default", 200, 5.0)] * 100)])
    assert troubles([gateway()], calm, journal_period_s=5) == []


def test_each_trouble_has_its_sentence_and_the_urgent_come_first() -> None:
    outcomes = [Outcome("default", 503, 5.0)] * 50 + [Outcome("flex", 429, 5.0)] * 50 + [Outcome("none", 401, 1.0)] * 99
    recent = by_tier([activity(*outcomes)])
    found = troubles(
        [gateway("a", standing(wait_ms=1500), journal_behind_s=300, unsettled_holds=3), gateway("b")],
        recent,
        journal_period_s=5,
    )
    text = " ".join(trouble.sentence for trouble in found)
    for part in (
        "100.0% of the default",
        "100% of the flex",
        "300 s ago",
        "3 holds",
        "full for priority",
        "full for flex",
    ):
        assert part in text, part
    assert "not read" not in text, "a client with a wrong key is no trouble of ours"
    urgent = [trouble.is_urgent for trouble in found]
    assert urgent == sorted(urgent, reverse=True) and True in urgent and False in urgent


def test_a_model_without_a_replica_is_urgent_unless_it_may_sleep() -> None:
    asleep = troubles([gateway("a", standing(replicas=0, may_sleep=True))], {}, journal_period_s=5)
    gone = troubles([gateway("a", standing(replicas=0))], {}, journal_period_s=5)
    assert asleep == [] and gone[0].is_urgent and "no replica" in gone[0].sentence
    assert troubles([], {}, journal_period_s=5)[0].is_urgent
