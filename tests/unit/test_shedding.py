"""Who is given up while it waits: what cannot be served in time, and nobody else."""

import asyncio

import numpy as np
import pytest

from app.core.errors import CapacityExceeded
from app.core.load import Backlog
from app.core.tiers import Tier
from app.link.client import Waiting
from app.link.shedding import Shedding
from tests.fakes import RecordingMetrics

MAX_WAIT_MS = dict.fromkeys(Tier, 10_000)


def made() -> Shedding:
    return Shedding(model_id="m", max_wait_ms=MAX_WAIT_MS, metrics=RecordingMetrics())


def waiting(tier: Tier, *, tokens: int = 10, deadline_s: float = 30.0, project: str = "p") -> Waiting:
    return Waiting(np.ones(tokens, np.int32), tier, project, 1, deadline_s, asyncio.Future())


def backlog(default_tokens: int = 0, *, flex_tokens: int = 500, flex_per_s: float = 10.0) -> Backlog:
    return Backlog(
        tokens=[0, default_tokens, flex_tokens, 0],
        tokens_per_s=100.0,
        available_per_s=[100.0, 100.0, flex_per_s, 1.0],
        projects=[1, 1, 1, 0],
    )


async def test_the_last_of_those_that_cannot_be_served_are_given_up() -> None:
    items = [waiting(Tier.FLEX, deadline_s=30.0 + n / 100) for n in range(50)]
    given_up = made().give_up(backlog(), items, 0.0)
    kept = [item for item in items if item not in given_up]
    assert kept == items[: len(kept)]
    assert 28 <= len(kept) <= 35, "10 tokens a second for 30 s"
    assert all(isinstance(error, CapacityExceeded) and error.retry_after_s for error in given_up.values())


async def test_urgent_work_ahead_counts_and_the_most_urgent_wait_for_nobody() -> None:
    items = [waiting(Tier.FLEX, deadline_s=5.0), waiting(Tier.PRIORITY, tokens=10_000, deadline_s=5.0)]
    assert not made().give_up(backlog(flex_tokens=10), items, 0.0)
    assert list(made().give_up(backlog(default_tokens=450), items, 0.0)) == items[:1]


async def test_a_small_project_is_not_given_up_for_what_a_large_one_piled_up() -> None:
    large = [waiting(Tier.FLEX, deadline_s=20.0) for _ in range(100)]
    small = waiting(Tier.FLEX, deadline_s=25.0, project="small")
    given_up = made().give_up(backlog(), [*large, small], 0.0)
    assert small not in given_up
    assert set(given_up) == set(large), "one request"


async def test_nobody_is_given_up_before_anything_was_measured_or_when_it_is_too_late_anyway() -> None:
    assert not made().give_up(Backlog([9, 9, 9, 9], 0.0, [0.0] * 4, [1] * 4), [waiting(Tier.FLEX)], 0.0)
    assert not made().give_up(backlog(), [waiting(Tier.FLEX, deadline_s=1.0)], 2.0), "its deadline answers it"


async def test_those_who_were_asked_back_count_for_less_urgent_ones() -> None:
    shedding = made()
    flooded = backlog(default_tokens=5000)
    busy = backlog(default_tokens=1)
    refused = 0
    for _ in range(100):
        try:
            shedding.check(flooded, tier=Tier.DEFAULT, own_tokens=5000, tokens=10, now_s=0.0)
        except CapacityExceeded:
            refused += 1
    assert refused == 100
    try:
        shedding.check(busy, tier=Tier.FLEX, own_tokens=0, tokens=1, now_s=0.0)
    except CapacityExceeded as error:
        assert error.retry_after_s
    else:
        raise AssertionError("1,000 tokens will come back and go first")
    shedding.check(busy, tier=Tier.FLEX, own_tokens=0, tokens=1, now_s=20.0)
    shedding.check(busy, tier=Tier.PRIORITY, own_tokens=0, tokens=1, now_s=0.0)


async def test_a_free_refusal_keeps_nobody_out_of_an_idle_engine() -> None:
    shedding = made()
    with pytest.raises(CapacityExceeded):
        shedding.check(backlog(default_tokens=5000), tier=Tier.DEFAULT, own_tokens=5000, tokens=10**6, now_s=0.0)
    shedding.check(backlog(), tier=Tier.FLEX, own_tokens=0, tokens=1, now_s=0.1)
    assert not shedding.give_up(backlog(), [waiting(Tier.FLEX)], 0.1)


async def test_a_large_request_that_has_the_engine_for_itself_is_left_alone() -> None:
    """What was measured may be the speed of small steps, which says little."""
    large = [waiting(Tier.FLEX, tokens=100) for _ in range(1000)]
    assert not made().give_up(backlog(flex_tokens=100_000, flex_per_s=100.0), large, 0.0)


async def test_a_request_is_given_up_whole() -> None:
    request = [waiting(Tier.FLEX, deadline_s=20.0) for _ in range(30)]
    others = [waiting(Tier.FLEX, deadline_s=20.1, project="q") for _ in range(5)]
    given_up = made().give_up(backlog(flex_tokens=350), [*request, *others], 0.0)
    assert list(given_up) == request, "it counts for nothing to those behind it"
