"""What a step costs, as it is learned, and how large the next may be."""

import random

import pytest

from app.core.step_size import StepBounds, StepCost, StepSizer

FIXED_S, TOKEN_S = 0.020, 0.0007


def learned(cost: StepCost | StepSizer, *, steps: int = 300, noise: float = 0.0, seed: int = 1) -> None:
    source = random.Random(seed)
    for _ in range(steps):
        tokens = 24 * source.randint(1, 20)
        cost.record(tokens, (FIXED_S + TOKEN_S * tokens) * (1 + noise * source.expovariate(1)))


def sizer(**bounds: float) -> StepSizer:
    return StepSizer(**({"max_tokens": 8192, "max_s": 1.0, "max_shared_s": 0.02, "max_light_s": 0.006} | bounds))  # type: ignore[arg-type]


def test_both_parts_are_learned() -> None:
    cost = StepCost()
    learned(cost)
    assert cost.tokens_where_fixed_is(0.5) == pytest.approx(FIXED_S / TOKEN_S, abs=1)
    assert cost.tokens_where_fixed_is(0.2) == pytest.approx(4 * FIXED_S / TOKEN_S, abs=1)


@pytest.mark.parametrize("seed", range(5))
def test_a_machine_that_stumbles_does_not_mislead(seed: int) -> None:
    cost = StepCost()
    learned(cost, noise=0.5, seed=seed)
    assert cost.tokens_where_fixed_is(0.5) == pytest.approx(FIXED_S / TOKEN_S, rel=0.5)


def test_steps_of_one_size_tell_nothing_and_take_nothing_back() -> None:
    cost = StepCost()
    for _ in range(100):
        cost.record(24, 0.04)
    assert cost.tokens_where_fixed_is(0.5) is None
    learned(cost)
    known = cost.tokens_where_fixed_is(0.5)
    for _ in range(1000):
        cost.record(24, 0.04)
    assert cost.tokens_where_fixed_is(0.5) == pytest.approx(known, rel=0.5)


def test_before_anything_is_known_a_step_may_be_full() -> None:
    assert sizer().bounds(is_shared=True, tokens_per_s=0.0) == StepBounds(8192, 8192, None)


def test_a_shared_step_is_short_but_its_fixed_cost_is_a_third_of_it_at_most() -> None:
    fast, slow = sizer(), sizer()
    assert fast.bounds(is_shared=True, tokens_per_s=10_000).max_tokens == 200
    learned(slow)
    bounds = slow.bounds(is_shared=True, tokens_per_s=1400)
    assert bounds.max_tokens == pytest.approx(2 * FIXED_S / TOKEN_S, abs=1)
    assert slow.bounds(is_shared=True, tokens_per_s=400).max_tokens == 40, "five times 20 ms' worth, no more"
    assert bounds.light_tokens == 8
    assert bounds.worthwhile_tokens == pytest.approx(FIXED_S / TOKEN_S / 2, abs=1)
    assert slow.bounds(is_shared=False, tokens_per_s=1400).max_tokens == 1400


def test_no_step_passes_its_longest_duration() -> None:
    bounded = sizer(max_s=0.025)
    learned(bounded)
    assert bounded.bounds(is_shared=True, tokens_per_s=1400).max_tokens == 35
    assert bounded.bounds(is_shared=False, tokens_per_s=1400).max_tokens == 35


def test_steps_are_not_cut_for_who_asks_for_little_where_that_is_switched_off() -> None:
    off = sizer(max_light_s=0.02)
    learned(off)
    bounds = off.bounds(is_shared=True, tokens_per_s=1400)
    assert bounds.light_tokens == bounds.max_tokens
