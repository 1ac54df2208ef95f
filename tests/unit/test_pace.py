"""Who waits for company and who does not, and who counts as active."""

from collections.abc import Collection

import pytest

from app.core.pace import ActiveFlows, Pacer
from app.core.tiers import Flow, Tier

FLEX, URGENT, OTHER = (Tier.FLEX, "p"), (Tier.PRIORITY, "p"), (Tier.FLEX, "other")


NOBODY = [0] * len(Tier)


def step(pacer: Pacer, *flows: Flow, waiting: Collection[Flow] = (), began_s: float = 0.0, ended_s: float) -> None:
    """Items of these flows are computed; ``waiting`` have more."""
    by_rank = [sum(flow[0] is tier for flow in waiting) for tier in Tier]
    pacer.begin_step(flows, waits=lambda flow: flow in waiting, waiting=by_rank, now_s=began_s)
    pacer.end_step(began_s=began_s, ended_s=ended_s)


def after_a_step(*waiting: Flow) -> Pacer:
    """A step of a sixteenth of a second for a crowd of eight, just ended."""
    pacer = Pacer(patience=1.0)
    step(pacer, *[FLEX] * 8, waiting=waiting, ended_s=0.0625)
    return pacer


def test_those_of_the_last_step_wait_for_each_other() -> None:
    pacer = after_a_step()
    pacer.arrive(FLEX)
    assert pacer.wait_s(0.078125) == 0.046875
    assert pacer.gathering(0.078125) == ({FLEX: 7}, 0.046875)
    for _ in range(7):
        pacer.arrive(FLEX)
    assert pacer.wait_s(0.078125) == 0.0
    assert pacer.gathering(0.078125) == ({}, 0.0)


def test_nobody_else_is_put_off_for_them() -> None:
    pacer = after_a_step()
    pacer.arrive(URGENT)
    assert pacer.wait_s(0.078125) == 0.0
    assert pacer.gathering(0.078125) == ({}, 0.0)


def test_whoever_came_while_the_step_was_computed_is_not_put_off_either() -> None:
    pacer = Pacer(patience=1.0)
    pacer.begin_step([FLEX] * 8, waits=lambda _: False, waiting=NOBODY, now_s=0.0)
    assert pacer.gathering(0.03125) == ({}, 0.0), "nothing waits while a step is computed"
    pacer.arrive(URGENT)
    pacer.end_step(began_s=0.0, ended_s=0.0625)
    assert pacer.wait_s(0.0625) == 0.0


def test_who_has_more_waiting_waits_for_nobody_of_its_own() -> None:
    assert after_a_step(FLEX).wait_s(0.0625) == 0.0


def test_who_was_left_out_of_the_step_is_not_put_off() -> None:
    assert after_a_step(OTHER).wait_s(0.0625) == 0.0


def test_who_has_more_waiting_waits_for_those_who_had_all_in_the_step() -> None:
    """Else a small project would find a step of the large one under way each time that it asks again."""
    pacer = Pacer(patience=1.0)
    step(pacer, FLEX, OTHER, OTHER, waiting=[FLEX], ended_s=0.0625)
    for _ in range(5):
        pacer.arrive(FLEX)
    assert pacer.gathering(0.078125) == ({OTHER: 2}, 0.046875)
    pacer.arrive(OTHER)
    pacer.arrive(OTHER)
    assert pacer.wait_s(0.078125) == 0.0


def test_who_came_back_while_the_step_was_computed_is_not_waited_for() -> None:
    pacer = Pacer(patience=1.0)
    pacer.begin_step([OTHER, OTHER], waits=lambda _: False, waiting=NOBODY, now_s=0.0)
    pacer.arrive(OTHER)
    pacer.end_step(began_s=0.0, ended_s=0.0625)
    assert pacer.gathering(0.0625) == ({OTHER: 1}, 0.0625)


def test_a_step_that_began_early_for_others_is_not_held_against_the_crowd() -> None:
    pacer = after_a_step()
    pacer.arrive(URGENT)
    step(pacer, URGENT, began_s=0.0625, ended_s=0.125)
    assert pacer.gathering(0.125) == ({URGENT: 1}, 0.0625), "full trust"


def test_a_wait_that_was_in_vain_halves_the_next_and_one_that_was_not_lengthens_it() -> None:
    pacer = after_a_step()
    step(pacer, FLEX, began_s=0.125, ended_s=0.1875)
    assert pacer.wait_s(0.1875) == 0.03125
    pacer.arrive(FLEX)
    step(pacer, FLEX, began_s=0.1875, ended_s=0.25)
    assert round(pacer.wait_s(0.25), 6) == 0.033125


def test_who_comes_no_sooner_than_at_random_is_not_worth_a_wait() -> None:
    """As many again as the step had, but in more time than from the last step's end to this one's."""
    pacer = Pacer(patience=2.0)
    step(pacer, FLEX, ended_s=0.01)
    pacer.arrive(FLEX)
    step(pacer, FLEX, began_s=0.0215, ended_s=0.0315)
    assert pacer.wait_s(0.0315) == pytest.approx(0.01), "half of twice a step"


def test_a_long_rest_before_a_step_makes_nobody_quick() -> None:
    pacer = Pacer(patience=2.0)
    step(pacer, FLEX, ended_s=0.01)
    step(pacer, FLEX, began_s=60.0, ended_s=60.01)
    pacer.arrive(FLEX)
    step(pacer, FLEX, began_s=60.2, ended_s=60.21)
    assert pacer.wait_s(60.21) == pytest.approx(0.005), "a quarter of twice a step"


def test_steps_after_which_nobody_is_waited_for_say_nothing_of_such_waits() -> None:
    pacer = after_a_step()
    for _ in range(20):
        step(pacer, FLEX, waiting=[FLEX], ended_s=0.0625)
    step(pacer, FLEX, began_s=0.125, ended_s=0.1875)
    assert pacer.wait_s(0.1875) == 0.03125, "the one wait was in vain"


def test_trust_comes_back_beside_one_who_always_has_more_waiting() -> None:
    pacer = Pacer(patience=1.0)
    for _ in range(50):
        step(pacer, FLEX, OTHER, waiting=[FLEX], ended_s=0.0625)
    step(pacer, FLEX, OTHER, waiting=[FLEX], ended_s=0.0625)
    assert pacer.wait_s(0.0625) == 0.00390625, "a sixteenth"
    for _ in range(32):
        pacer.arrive(OTHER)
        step(pacer, FLEX, OTHER, waiting=[FLEX], ended_s=0.0625)
    assert pacer.wait_s(0.0625) == 0.0625


def test_who_is_more_urgent_waits_for_nobody_less_urgent() -> None:
    pacer = Pacer(patience=1.0)
    step(pacer, URGENT, FLEX, waiting=[URGENT], ended_s=0.0625)
    assert pacer.wait_s(0.0625) == 0.0, "it has more waiting"
    step(pacer, URGENT, FLEX, ended_s=0.0625)
    assert pacer.wait_s(0.0625) == 0.0625
    pacer.arrive(URGENT)
    assert pacer.wait_s(0.0625) == 0.0, "it is back"


def test_nobody_waits_longer_than_callers_take_to_return_however_long_the_step_was() -> None:
    pacer = Pacer(patience=1.0)
    step(pacer, FLEX, FLEX, began_s=1.0, ended_s=4.0)
    pacer.arrive(FLEX)
    assert pacer.wait_s(4.0) == pytest.approx(0.1)


def test_waits_in_vain_grow_shorter_after_long_steps_too() -> None:
    pacer = Pacer(patience=2.0)
    for began_s in range(4):
        step(pacer, FLEX, FLEX, began_s=float(began_s), ended_s=began_s + 1.0)
    assert pacer.wait_s(4.0) == pytest.approx(0.1 / 8)


def test_a_short_step_among_long_ones_is_waited_after_as_long_as_after_those() -> None:
    """A small project's return would else be worth no more than the short step that it shared."""
    pacer = Pacer(patience=1.0)
    step(pacer, FLEX, waiting=[FLEX], ended_s=0.0625)
    step(pacer, FLEX, OTHER, waiting=[FLEX], began_s=0.0625, ended_s=0.0703125)
    assert pacer.gathering(0.0703125) == ({OTHER: 1}, pytest.approx(0.9 * 0.0625))


def test_without_patience_nobody_waits() -> None:
    pacer = Pacer(patience=0.0)
    step(pacer, FLEX, FLEX, ended_s=0.0625)
    assert pacer.wait_s(0.0625) == 0.0


def test_flows_are_active_for_a_second() -> None:
    active = ActiveFlows()
    active.note(FLEX, 0.0)
    active.note(URGENT, 0.5)
    active.note(FLEX, 0.7)
    assert active.count(1.4) == 2
    assert active.count(1.6) == 1
    assert active.count(1.8) == 0
