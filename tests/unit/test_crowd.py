"""Lower tiers are refused first, and a place is free again whatever became of its request."""

from contextlib import ExitStack, suppress

import pytest

from app.core.crowd import Crowd
from app.core.errors import CapacityExceeded
from app.core.tiers import Tier


def let_in(crowd: Crowd, stack: ExitStack, tier: Tier) -> int:
    """How many of a tier find room."""
    count = 0
    with suppress(CapacityExceeded):
        while True:
            stack.enter_context(crowd.place(tier))
            count += 1
    return count


def test_lower_tiers_are_refused_first_and_some_room_is_kept() -> None:
    crowd = Crowd(100)
    with ExitStack() as stack:
        assert [let_in(crowd, stack, tier) for tier in reversed(Tier)] == [60, 15, 10, 5]
        with pytest.raises(CapacityExceeded) as caught:
            stack.enter_context(crowd.place(Tier.PRIORITY))
    assert caught.value.retry_after_s
    with ExitStack() as stack:
        assert let_in(crowd, stack, Tier.PRIORITY) == 90


def test_a_failed_request_leaves_its_place() -> None:
    crowd = Crowd(2)
    for _ in range(3):
        with suppress(ValueError), crowd.place(Tier.DEFAULT):
            raise ValueError
