"""How busy replicas are, in numbers that can be checked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.load import Backlog, EngineState, Promises, RateMeter, expected_wait_s, total_backlog
from app.core.tiers import Tier

SHARES = {Tier.DEFAULT: 100, Tier.FLEX: 50, Tier.BATCH: 0}


def steady(meter: RateMeter, tokens: dict[Tier, int], *, seconds: float, start_s: float = 0.0) -> float:
    """Steps of 0.1 s, one after the other; returns the time at the end."""
    now_s = start_s
    while now_s < start_s + seconds:
        now_s += 0.1
        meter.record(tokens, busy_s=0.1, now_s=now_s)
    return now_s


def test_a_meter_that_measured_nothing_knows_nothing() -> None:
    meter = RateMeter(SHARES)
    assert meter.tokens_per_s == 0.0
    assert meter.available_per_s(5.0) == [0.0] * 4


def test_speed_is_that_of_the_busy_engine() -> None:
    meter = RateMeter(SHARES)
    for second in range(20):
        meter.record({Tier.DEFAULT: 100}, busy_s=0.1, now_s=float(second))
    assert meter.tokens_per_s == pytest.approx(1000)
    assert meter.available_per_s(100.0) == pytest.approx([1000] * 4), "nobody asked lately: all is free"


def test_a_flood_leaves_lower_tiers_their_share_and_urgent_ones_everything() -> None:
    meter = RateMeter(SHARES)
    now_s = steady(meter, {Tier.DEFAULT: 95, Tier.FLEX: 5}, seconds=20)
    priority, default, flex, batch = meter.available_per_s(now_s)
    assert priority == pytest.approx(1000 - 100 - 50, rel=0.05), "what is owed to lower tiers is not its own"
    assert default == pytest.approx(950, rel=0.05)
    assert flex == pytest.approx(50, rel=0.5)
    assert batch == pytest.approx(0, abs=30)


def test_small_steps_say_little_of_what_an_engine_can_do() -> None:
    meter = RateMeter({})
    for number in range(3600):
        meter.record({Tier.DEFAULT: 10}, busy_s=0.005, now_s=float(number))
    assert meter.tokens_per_s == pytest.approx(2000)
    meter.record({Tier.DEFAULT: 16_000}, busy_s=0.032, now_s=3601.0)
    assert meter.tokens_per_s == pytest.approx(500_000, rel=0.1), "one full step is enough"


def test_a_tier_that_may_starve_waits_long_and_not_for_ever() -> None:
    meter = RateMeter({})
    now_s = steady(meter, {Tier.PRIORITY: 100}, seconds=20)
    assert meter.available_per_s(now_s)[Tier.BATCH.rank] == pytest.approx(1.0)


def test_a_changed_engine_is_believed_soon() -> None:
    meter = RateMeter({})
    now_s = steady(meter, {Tier.DEFAULT: 100}, seconds=60)
    steady(meter, {Tier.DEFAULT: 50}, seconds=15, start_s=now_s)
    assert meter.tokens_per_s == pytest.approx(500, rel=0.3)


def backlog(tokens: list[int], *, per_s: float = 1000.0, projects: int = 1) -> Backlog:
    return Backlog(tokens, per_s, [per_s, per_s / 2, per_s / 10, per_s / 100], [projects] * 4)


def test_urgent_work_is_waited_for_at_full_speed_and_ones_own_tier_at_its_share() -> None:
    load = backlog([500, 1000, 300, 0])
    assert expected_wait_s(load, Tier.PRIORITY, own_tokens=500, tokens=0) == pytest.approx(0.5)
    assert expected_wait_s(load, Tier.DEFAULT, own_tokens=1000, tokens=0) == pytest.approx(0.5 + 2.0)
    assert expected_wait_s(load, Tier.FLEX, own_tokens=300, tokens=0) == pytest.approx(1.5 + 3.0)


def test_a_project_waits_for_its_own_items_and_as_much_of_each_other() -> None:
    load = backlog([0, 1000, 0, 0], projects=4)
    assert expected_wait_s(load, Tier.DEFAULT, own_tokens=0, tokens=10) == pytest.approx(5 * 10 / 500)
    assert expected_wait_s(load, Tier.DEFAULT, own_tokens=40, tokens=10) == pytest.approx(200 / 500)
    assert expected_wait_s(load, Tier.DEFAULT, own_tokens=900, tokens=10) == pytest.approx(1000 / 500)


def test_nothing_is_expected_before_anything_was_measured() -> None:
    assert expected_wait_s(total_backlog([]), Tier.FLEX, own_tokens=10**9, tokens=1) == 0.0


def test_replicas_add_up() -> None:
    one = EngineState(1000.0, [1000.0] * 4, [1, 5, 0, 0])
    total = total_backlog([(one, [1, 2, 3, 4]), (one, [10, 20, 30, 40])])
    assert total == Backlog([11, 22, 33, 44], 2000.0, [2000.0] * 4, [1, 5, 0, 0])


@given(
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 10_000), st.floats(0, 100)), min_size=1, max_size=50),
    st.floats(0, 10_000),
)
def test_promises_are_whole_seconds_from_1_to_60(asked: list[tuple[float, int, float]], per_s: float) -> None:
    promises, now_s = Promises(), 0.0
    for pause_s, tokens, wait_s in asked:
        now_s += pause_s
        answer = promises.retry_after_s(tokens, wait_s=wait_s, bound_s=10, per_s=per_s, now_s=now_s)
        assert 1 <= answer <= 60


def test_refused_requests_are_asked_back_at_the_rate_that_there_is() -> None:
    promises = Promises()
    answers = [promises.retry_after_s(1000, wait_s=10, bound_s=10, per_s=1000, now_s=0.0) for _ in range(40)]
    assert answers == [6 + n for n in range(40)], "one request a second, from when half of the bound is free"
    for _ in range(1000):
        assert promises.retry_after_s(1000, wait_s=10, bound_s=10, per_s=1000, now_s=0.0) <= 60
    assert promises.retry_after_s(1000, wait_s=10, bound_s=10, per_s=1000, now_s=100.0) == 6, (
        "what could not be promised is not remembered"
    )
