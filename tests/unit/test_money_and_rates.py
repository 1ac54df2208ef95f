"""Arithmetic of money, limits and months, against definitions that are slower and plainer."""

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.gcra import MAX_RATE, UNITS, Bucket, Quota, remaining, reset_us, wait_us
from app.core.money import cost_nano_usd
from app.core.month import month_ends_s, month_of
from app.core.rates import go_duration


@given(st.integers(0, 300_000), st.integers(0, 10**13), st.integers(0, 100_000))
def test_a_cost_is_rounded_up_once(tokens: int, price: int, multiplier: int) -> None:
    exact = Fraction(tokens * price * multiplier, 10**9)
    assert cost_nano_usd(tokens, price_nano_usd_per_mtok=price, multiplier_thousandths=multiplier) == ceil(exact)


def test_known_costs() -> None:
    assert cost_nano_usd(10**6, price_nano_usd_per_mtok=20_000_000, multiplier_thousandths=1000) == 20_000_000
    assert cost_nano_usd(1, price_nano_usd_per_mtok=1, multiplier_thousandths=1) == 1
    assert cost_nano_usd(0, price_nano_usd_per_mtok=10**13, multiplier_thousandths=1250) == 0
    assert cost_nano_usd(3, price_nano_usd_per_mtok=10**9, multiplier_thousandths=1250) == 3750


class ArrivalTimes:
    """GCRA as textbooks have it: a theoretical arrival time, in exact fractions."""

    def __init__(self, quota: Quota) -> None:
        self.interval_us = Fraction(60_000_000, quota.per_minute)
        self.tolerance_us = self.interval_us * quota.burst
        self.arrival_us = Fraction(0)

    def admits(self, cost: int, now_us: int) -> bool:
        following = max(self.arrival_us, Fraction(now_us)) + cost * self.interval_us
        if following - now_us > self.tolerance_us:
            return False
        self.arrival_us = following
        return True


@given(
    st.builds(Quota, st.integers(1, 10**6), st.integers(1, 1000)),
    st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 1200)), max_size=60),
)
def test_a_bucket_admits_what_arrival_times_admit(quota: Quota, steps: list[tuple[int, int]]) -> None:
    textbook, bucket, now_us = ArrivalTimes(quota), Bucket(), 10**15
    for elapsed_us, cost in steps:
        now_us += elapsed_us
        drained = bucket.drained(quota, now_us)
        admitted = cost <= quota.burst and wait_us(drained, quota, cost) == 0
        assert textbook.admits(cost, now_us) is admitted
        if admitted:
            bucket = drained.filled(cost)
        elif cost <= quota.burst:
            waited = drained.drained(quota, now_us + wait_us(drained, quota, cost))
            assert wait_us(waited, quota, cost) == 0
            early = drained.drained(quota, now_us + wait_us(drained, quota, cost) - 1)
            assert wait_us(early, quota, cost) > 0


@given(st.integers(1, MAX_RATE), st.integers(1, MAX_RATE))
def test_levels_stay_exact(per_minute: int, burst: int) -> None:
    quota = Quota(per_minute, burst)
    full = Bucket().filled(burst)
    assert full.level == quota.capacity < 2**53
    assert remaining(full, quota) == 0
    assert remaining(Bucket(), quota) == burst
    assert full.drained(quota, reset_us(full, quota)).level == 0
    assert full.given_back(burst) == Bucket()
    assert Bucket(5, 9).given_back(burst).level == max(0, 5 - burst * UNITS)


def test_quotas_are_bounded() -> None:
    for wrong in ((0, 1), (1, 0), (MAX_RATE + 1, 1), (1, MAX_RATE + 1)):
        with pytest.raises(ValueError, match="between 1 and"):
            Quota(*wrong)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)))
def test_months(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    month = month_of(int(moment.timestamp() * 1_000_000))
    assert month == moment.year * 100 + moment.month
    end = datetime.fromtimestamp(month_ends_s(month), UTC)
    assert (end.day, end.hour, end.minute, end.second) == (1, 0, 0, 0)
    assert (end - timedelta(seconds=1)).month == moment.month


@given(st.integers(0, 10**12))
def test_durations_are_gos(us: int) -> None:
    text = go_duration(us)
    assert re.fullmatch(r"(\d+h)?(\d+m)?[\d.]+s|[\d.]+ms", text)
    units = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1000}
    parts = re.findall(r"([\d.]+)(ms|h|m|s)", text)
    assert sum(Fraction(number) * units[unit] for number, unit in parts) == us


def test_known_durations() -> None:
    wanted = {0: "0s", 120_000: "120ms", 1_000_000: "1s", 66_500_000: "1m6.5s", 3_600_000_000: "1h0m0s"}
    assert {us: go_duration(us) for us in wanted} == wanted
