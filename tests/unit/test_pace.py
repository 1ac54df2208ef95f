"""Who waits for company and who does not, and who counts as active."""

from app.core.pace import ActiveFlows, Pacer

FLEX, URGENT = ("flex", "p"), ("priority", "p")


def after_a_step(items: int = 8, *, left_items: int = 0) -> Pacer:
    """A step of an eighth of a second for a crowd, just ended."""
    pacer = Pacer(patience=1.0)
    for _ in range(items):
        pacer.arrive(FLEX)
    pacer.begin_step(items, [FLEX] * items, left_items=left_items)
    pacer.end_step(items, began_s=0.0, ended_s=0.125)
    return pacer


def test_those_of_the_last_step_wait_for_each_other() -> None:
    pacer = after_a_step()
    pacer.arrive(FLEX)
    assert pacer.wait_s(1, 0.15625) == 0.09375
    assert pacer.gathering(0.15625) == (8, 0.09375)
    assert pacer.wait_s(8, 0.15625) == 0.0


def test_nobody_else_is_put_off_for_them() -> None:
    pacer = after_a_step()
    pacer.arrive(URGENT)
    assert pacer.wait_s(1, 0.15625) == 0.0
    assert pacer.gathering(0.15625) == (0, 0.0)


def test_whoever_came_while_the_step_was_computed_is_not_put_off_either() -> None:
    pacer = Pacer(patience=1.0)
    pacer.begin_step(8, [FLEX] * 8, left_items=0)
    pacer.arrive(URGENT)
    pacer.end_step(8, began_s=0.0, ended_s=0.125)
    assert pacer.wait_s(1, 0.125) == 0.0


def test_what_the_last_step_left_is_not_put_off() -> None:
    assert after_a_step(left_items=1).wait_s(1, 0.125) == 0.0


def test_a_step_that_began_early_for_others_is_not_held_against_the_crowd() -> None:
    pacer = after_a_step()
    pacer.arrive(URGENT)
    pacer.begin_step(1, [URGENT], left_items=0)
    pacer.end_step(1, began_s=0.125, ended_s=0.25)
    assert pacer.gathering(0.25) == (1, 0.125)
    pacer.begin_step(8, [URGENT], left_items=0)
    pacer.end_step(8, began_s=0.25, ended_s=0.375)
    pacer.arrive(URGENT)
    assert pacer.wait_s(1, 0.375) == 0.125, "full trust"
    pacer.begin_step(1, [URGENT], left_items=0)
    pacer.end_step(1, began_s=0.375, ended_s=0.5)
    assert pacer.gathering(0.5) == (1, 0.0625), "that wait was in vain"


def test_nobody_waits_longer_than_callers_take_to_return_however_long_the_step_was() -> None:
    pacer = after_a_step()
    pacer.begin_step(8, [FLEX] * 8, left_items=0)
    pacer.end_step(8, began_s=1.0, ended_s=4.0)
    pacer.arrive(FLEX)
    assert pacer.wait_s(1, 4.0) == 0.25


def test_flows_are_active_for_a_second() -> None:
    active = ActiveFlows()
    active.note(FLEX, 0.0)
    active.note(URGENT, 0.5)
    active.note(FLEX, 0.7)
    assert active.count(1.4) == 2
    assert active.count(1.6) == 1
    assert active.count(1.8) == 0
