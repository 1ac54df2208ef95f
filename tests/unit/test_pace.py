"""Who waits for company and who does not, and who counts as active."""

from collections.abc import Collection

import pytest

from app.core.pace import ActiveFlows, Pacer
from app.core.tiers import Flow, Tier

FLEX, URGENT, OTHER = (Tier.FLEX, "p"), (Tier.PRIORITY, "p"), (Tier.FLEX, "other")


NOBODY = [0] * len(Tier)


def step(
    pacer: Pacer,
    *flows: Flow,
    waiting: Collection[Flow] = (),
    meanwhile: Collection[Flow] = (),
    began_s: float = 0.0,
    ended_s: float,
) -> None:
    """Items of these flows are computed, ``waiting`` have more, and ``meanwhile`` come before the step ends."""
    by_rank = [sum(flow[0] is tier for flow in waiting) for tier in Tier]
    pacer.begin_step(flows, waits=lambda flow: flow in waiting, waiting=by_rank, now_s=began_s)
    for flow in meanwhile:
        pacer.arrive(flow, began_s)
    pacer.end_step(began_s=began_s, ended_s=ended_s)


def after_a_step(*waiting: Flow, meanwhile: Collection[Flow] = ()) -> Pacer:
    """A step of a sixteenth of a second for a crowd of eight, just ended."""
    pacer = Pacer(patience=1.0)
    step(pacer, *[FLEX] * 8, waiting=waiting, meanwhile=meanwhile, ended_s=0.0625)
    return pacer


def crowd_of_two_halves(pacer: Pacer, began_s: float, *, steps: int) -> float:
    """Eight come while the other eight are computed, again and again; when the last of these steps ended."""
    for _ in range(steps):
        began_s += pacer.wait_s(began_s)
        step(pacer, *[FLEX] * 8, meanwhile=[FLEX] * 8, began_s=began_s, ended_s=began_s + 0.0625)
        began_s += 0.0625
    return began_s


def test_those_of_the_last_step_wait_for_each_other_from_when_the_first_is_back() -> None:
    pacer = after_a_step()
    assert pacer.gathering(0.078125) == ({FLEX: 8}, 0.046875)
    pacer.arrive(FLEX, 0.078125)
    assert pacer.wait_s(0.078125) == 0.0625
    assert pacer.gathering(0.078125) == ({FLEX: 7}, 0.0625)
    for _ in range(7):
        pacer.arrive(FLEX, 0.09375)
    assert pacer.wait_s(0.09375) == 0.0
    assert pacer.gathering(0.09375) == ({}, 0.0)


def test_who_is_back_after_a_long_rest_is_served_at_once() -> None:
    pacer = after_a_step()
    pacer.arrive(FLEX, 0.125)
    assert pacer.wait_s(0.125) == 0.0


def test_those_who_wait_already_wait_from_the_end_of_the_step() -> None:
    pacer = after_a_step(meanwhile=[FLEX] * 8)
    assert pacer.gathering(0.078125) == ({FLEX: 8}, 0.046875)


def test_when_most_are_back_and_nobody_comes_any_more_the_others_left() -> None:
    pacer = after_a_step()
    for _ in range(5):
        pacer.arrive(FLEX, 0.078125)
    assert pacer.wait_s(0.078125) == 0.0625
    pacer.arrive(FLEX, 0.09375)
    assert pacer.wait_s(0.09375) == 0.0625 / 4
    assert pacer.wait_s(0.109375) == 0.0


def test_nobody_else_is_put_off_for_them() -> None:
    pacer = after_a_step()
    pacer.arrive(URGENT, 0.0625)
    assert pacer.wait_s(0.078125) == 0.0
    assert pacer.gathering(0.078125) == ({}, 0.0)


def test_a_stranger_who_came_while_the_step_was_computed_is_not_put_off_either() -> None:
    assert after_a_step(meanwhile=[URGENT]).wait_s(0.0625) == 0.0


def test_nothing_waits_while_a_step_is_computed() -> None:
    pacer = Pacer(patience=1.0)
    pacer.begin_step([FLEX] * 8, waits=lambda _: False, waiting=NOBODY, now_s=0.0)
    assert pacer.gathering(0.03125) == ({}, 0.0)


def test_who_has_more_waiting_waits_for_nobody_of_its_own() -> None:
    assert after_a_step(FLEX).wait_s(0.0625) == 0.0


def test_who_was_left_out_of_the_step_is_not_put_off() -> None:
    assert after_a_step(OTHER).wait_s(0.0625) == 0.0


def test_who_has_more_waiting_waits_for_those_who_had_all_in_the_step() -> None:
    """Else a small project would find a step of the large one under way each time that it asks again."""
    pacer = Pacer(patience=1.0)
    step(pacer, FLEX, OTHER, OTHER, waiting=[FLEX], ended_s=0.0625)
    for _ in range(5):
        pacer.arrive(FLEX, 0.0703125)
    assert pacer.gathering(0.078125) == ({OTHER: 2}, 0.046875)
    pacer.arrive(OTHER, 0.078125)
    pacer.arrive(OTHER, 0.078125)
    assert pacer.wait_s(0.078125) == 0.0


def test_a_step_that_began_early_for_others_is_not_held_against_the_crowd() -> None:
    pacer = after_a_step()
    pacer.arrive(FLEX, 0.0625)
    pacer.arrive(URGENT, 0.0625)
    step(pacer, FLEX, URGENT, meanwhile=[FLEX] * 7, began_s=0.0625, ended_s=0.125)
    assert pacer.gathering(0.125) == ({FLEX: 1, URGENT: 1}, 0.0625), "full trust"


def test_a_wait_in_vain_halves_the_next_and_one_for_a_crowd_lengthens_it() -> None:
    pacer = after_a_step(meanwhile=[FLEX])
    step(pacer, FLEX, began_s=0.125, ended_s=0.1875, meanwhile=[FLEX])
    assert pacer.wait_s(0.1875) == 0.03125
    pacer.arrive(FLEX, 0.1875)
    step(pacer, FLEX, FLEX, began_s=0.1875, ended_s=0.25)
    pacer.arrive(FLEX, 0.25)
    assert pacer.wait_s(0.25) == pytest.approx((0.5 + 0.015) * 0.0625)


def test_many_who_return_together_say_more_than_one() -> None:
    pacer = after_a_step(meanwhile=[FLEX])
    step(pacer, *[FLEX] * 8, began_s=0.125, ended_s=0.1875, meanwhile=[FLEX])
    for _ in range(8):
        pacer.arrive(FLEX, 0.1875)
    step(pacer, *[FLEX] * 9, began_s=0.1875, ended_s=0.25, meanwhile=[FLEX])
    assert pacer.wait_s(0.25) == pytest.approx((0.5 + 0.12) * 0.0625)


def test_who_comes_while_a_step_is_computed_as_well_comes_at_random() -> None:
    pacer = after_a_step()
    for _ in range(8):
        pacer.arrive(FLEX, 0.0625)
    step(pacer, *[FLEX] * 8, began_s=0.0625, ended_s=0.125, meanwhile=[FLEX, FLEX])
    assert pacer.wait_s(0.125) == 0.03125


def test_who_always_has_more_waiting_does_not_make_the_crowd_beside_it_look_like_chance() -> None:
    pacer = Pacer(patience=1.0)
    step(pacer, FLEX, OTHER, waiting=[FLEX], ended_s=0.0625)
    pacer.arrive(OTHER, 0.0625)
    step(pacer, FLEX, OTHER, waiting=[FLEX], meanwhile=[FLEX] * 8, began_s=0.0625, ended_s=0.125)
    assert pacer.wait_s(0.125) == 0.0625, "full trust"


def test_when_trust_is_gone_a_trial_finds_a_crowd_of_two_halves_together() -> None:
    pacer = Pacer(patience=1.0)
    ended_s = crowd_of_two_halves(pacer, 0.0, steps=1)
    assert pacer.wait_s(ended_s) == 0.0625
    ended_s = crowd_of_two_halves(pacer, ended_s, steps=4)
    assert pacer.wait_s(ended_s) == 0.0, "both halves look like chance"
    ended_s = crowd_of_two_halves(pacer, ended_s, steps=14)
    assert pacer.wait_s(ended_s) == 0.0
    ended_s = crowd_of_two_halves(pacer, ended_s, steps=1)
    assert pacer.wait_s(ended_s) == 0.0625, "a trial"
    for _ in range(8):
        pacer.arrive(FLEX, ended_s)
    step(pacer, *[FLEX] * 16, began_s=ended_s, ended_s=ended_s + 0.0625)
    pacer.arrive(FLEX, ended_s + 0.0625)
    assert pacer.wait_s(ended_s + 0.0625) == 0.03125


def test_trust_comes_back_beside_one_who_always_has_more_waiting() -> None:
    pacer, ended_s = Pacer(patience=1.0), 0.0
    for _ in range(20):
        began_s = ended_s + pacer.wait_s(ended_s)
        ended_s = began_s + 0.0625
        step(pacer, FLEX, OTHER, waiting=[FLEX], meanwhile=[OTHER], began_s=began_s, ended_s=ended_s)
    assert pacer.wait_s(ended_s) == 0.0625, "a trial"
    for _ in range(35):
        pacer.arrive(OTHER, ended_s)
        began_s, ended_s = ended_s, ended_s + 0.0625
        step(pacer, FLEX, OTHER, waiting=[FLEX], began_s=began_s, ended_s=ended_s)
    assert pacer.wait_s(ended_s) == pytest.approx(0.0625)


def test_steps_after_which_nobody_is_waited_for_say_nothing_of_waits() -> None:
    pacer = after_a_step()
    for number in range(1, 21):
        step(pacer, FLEX, waiting=[FLEX], began_s=0.0625 * number, ended_s=0.0625 * (number + 1))
    step(pacer, FLEX, began_s=1.3125, ended_s=1.375, meanwhile=[FLEX])
    assert pacer.wait_s(1.375) == 0.0625, "full trust"


def test_trials_in_vain_grow_rarer() -> None:
    pacer, ended_s, trials = Pacer(patience=1.0), 0.0, []
    for number in range(200):
        ended_s = crowd_of_two_halves(pacer, ended_s, steps=1)
        if pacer.wait_s(ended_s) > 0:
            trials.append(number)
    assert trials == [0, 1, 2, 3, 19, 51, 115]


def test_a_trial_that_finds_no_crowd_is_not_forgotten_when_a_stranger_comes() -> None:
    pacer = Pacer(patience=1.0)
    ended_s = crowd_of_two_halves(pacer, 0.0, steps=20)
    assert pacer.wait_s(ended_s) == 0.0625, "a trial"
    pacer.arrive(OTHER, ended_s)
    assert pacer.wait_s(ended_s) == 0.0
    ended_s = crowd_of_two_halves(pacer, ended_s, steps=1)
    assert pacer.wait_s(ended_s) == 0.0625


def test_a_wait_for_most_of_whom_nobody_came_was_in_vain_however_quiet_the_next_step_is() -> None:
    """A caller who asks for much and for little in turns."""
    pacer = after_a_step()
    pacer.arrive(FLEX, 0.0625)
    step(pacer, FLEX, began_s=0.125, ended_s=0.1875, meanwhile=[FLEX])
    assert pacer.wait_s(0.1875) == 0.03125


def test_as_many_as_a_step_left_out_may_come_while_it_is_computed() -> None:
    pacer = after_a_step()
    for _ in range(6):
        pacer.arrive(FLEX, 0.0625)
    step(pacer, *[FLEX] * 6, began_s=0.078125, ended_s=0.140625, meanwhile=[FLEX] * 2)
    assert pacer.wait_s(0.140625) == 0.0625, "full trust"


def test_a_step_that_began_early_because_it_was_full_is_not_held_against_the_crowd() -> None:
    pacer = after_a_step(meanwhile=[FLEX] * 8)
    pacer.arrive(FLEX, 0.0625)
    step(pacer, *[FLEX] * 9, meanwhile=[FLEX] * 7, began_s=0.0625, ended_s=0.125)
    assert pacer.wait_s(0.125) == 0.0625, "full trust"


def test_who_was_not_waited_for_says_nothing_of_those_who_were() -> None:
    pacer = Pacer(patience=1.0)
    step(pacer, FLEX, OTHER, waiting=[FLEX], ended_s=0.0625)
    pacer.arrive(OTHER, 0.0625)
    step(pacer, FLEX, OTHER, meanwhile=[FLEX] * 8, began_s=0.0625, ended_s=0.125)
    assert pacer.wait_s(0.125) == 0.0625, "full trust"


@pytest.mark.parametrize("meanwhile", [[URGENT], [URGENT, *[FLEX] * 8], [*[FLEX] * 8, URGENT]])
def test_who_is_more_urgent_and_came_while_the_step_was_computed_waits_for_nobody_less_urgent(
    meanwhile: Collection[Flow],
) -> None:
    pacer = Pacer(patience=1.0)
    step(pacer, URGENT, *[FLEX] * 8, meanwhile=meanwhile, ended_s=0.0625)
    assert pacer.wait_s(0.0625) == 0.0


def test_one_who_came_before_the_end_and_one_after_it_are_two() -> None:
    pacer = Pacer(patience=1.0)
    step(pacer, URGENT, URGENT, *[FLEX] * 8, meanwhile=[URGENT], ended_s=0.0625)
    assert pacer.wait_s(0.0625) == 0.0625
    pacer.arrive(URGENT, 0.0625)
    assert pacer.wait_s(0.0625) == 0.0


def test_those_who_all_have_more_waiting_show_nothing() -> None:
    pacer = after_a_step(meanwhile=[FLEX])
    step(pacer, FLEX, began_s=0.125, ended_s=0.1875, meanwhile=[FLEX])
    pacer.arrive(FLEX, 0.1875)
    step(pacer, FLEX, waiting=[FLEX], began_s=0.1875, ended_s=0.25)
    step(pacer, FLEX, meanwhile=[FLEX], began_s=0.25, ended_s=0.3125)
    assert pacer.wait_s(0.3125) == 0.03125, "no more trust than before"


def test_who_left_is_no_excuse_for_those_of_others_who_come_at_random() -> None:
    pacer = Pacer(patience=1.0)
    step(pacer, *[FLEX] * 12, *[OTHER] * 4, ended_s=0.0625)
    for _ in range(12):
        pacer.arrive(FLEX, 0.0625)
    step(pacer, *[FLEX] * 12, began_s=0.125, ended_s=0.1875, meanwhile=[FLEX] * 4)
    assert pacer.wait_s(0.1875) == 0.03125


def test_a_stranger_who_was_withdrawn_takes_nobodys_company_away() -> None:
    pacer = after_a_step(meanwhile=[URGENT])
    pacer.nothing_waits()
    pacer.arrive(FLEX, 0.0625)
    assert pacer.gathering(0.0625) == ({FLEX: 7}, 0.0625)


def test_when_those_who_waited_are_withdrawn_the_next_one_begins_another_wait() -> None:
    pacer = after_a_step(meanwhile=[FLEX])
    pacer.nothing_waits()
    pacer.arrive(FLEX, 3600.0)
    assert pacer.wait_s(3600.0) == 0.0
    step(pacer, FLEX, began_s=3600.0, ended_s=3600.0625, meanwhile=[FLEX])
    assert pacer.wait_s(3600.0625) == 0.0625, "full trust"


def test_after_a_step_that_failed_nobody_is_waited_for() -> None:
    pacer = Pacer(patience=1.0)
    step(pacer, *[FLEX] * 8, ended_s=0.0625)
    pacer.begin_step([FLEX] * 8, waits=lambda _: False, waiting=NOBODY, now_s=0.0625)
    pacer.fail_step()
    pacer.arrive(FLEX, 0.078125)
    assert pacer.wait_s(0.078125) == 0.0
    pacer.end_step(began_s=0.0625, ended_s=0.125)
    assert pacer.wait_s(0.125) == 0.0


def test_who_is_more_urgent_waits_for_nobody_less_urgent() -> None:
    pacer = Pacer(patience=1.0)
    step(pacer, URGENT, FLEX, waiting=[URGENT], ended_s=0.0625)
    assert pacer.wait_s(0.0625) == 0.0, "it has more waiting"
    step(pacer, URGENT, FLEX, began_s=0.0625, ended_s=0.125)
    assert pacer.wait_s(0.125) == 0.0625
    pacer.arrive(URGENT, 0.125)
    assert pacer.wait_s(0.125) == 0.0, "it is back"


def test_nobody_waits_longer_than_callers_take_to_return_however_long_the_step_was() -> None:
    pacer = Pacer(patience=1.0)
    step(pacer, FLEX, FLEX, began_s=1.0, ended_s=4.0)
    pacer.arrive(FLEX, 4.0)
    assert pacer.wait_s(4.0) == pytest.approx(0.1)


def test_waits_in_vain_grow_shorter_after_long_steps_too() -> None:
    pacer = Pacer(patience=2.0)
    for number in range(4):
        step(pacer, FLEX, FLEX, meanwhile=[FLEX], began_s=1.5 * number, ended_s=1.5 * number + 1.0)
    assert pacer.wait_s(5.5) == pytest.approx(0.1 / 8)


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
    pacer.arrive(FLEX, 0.0625)
    assert pacer.wait_s(0.0625) == 0.0


def test_flows_are_active_for_a_second() -> None:
    active = ActiveFlows()
    active.note(FLEX, 0.0)
    active.note(URGENT, 0.5)
    active.note(FLEX, 0.7)
    assert active.count(1.4) == 2
    assert active.count(1.6) == 1
    assert active.count(1.8) == 0
