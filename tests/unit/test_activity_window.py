"""A window that slides shows what reading everything again would show, and reads little."""

import random

import pytest

from app.core.activity import View, by_tier
from app.core.activity_window import Window

START_S = 1_790_000_000


class Store:
    """Spans that grow, those of the last minutes too."""

    def __init__(self, source: random.Random, view: View) -> None:
        self.source = source
        self.view = view
        self.spans: dict[int, dict[str, int]] = {}

    def add(self, now_s: float) -> None:
        for late_s in (0, 1, self.view.grain.span_s):
            span = self.spans.setdefault(self.view.grain.start_of(now_s - late_s), {})
            for _ in range(3):
                tier = self.source.choice(["priority", "default", "flex"])
                for name in (f"{tier}|requests", f"{tier}|tokens", f"{tier}|ms|{self.source.randrange(60)}"):
                    span[name] = span.get(name, 0) + self.source.randrange(1, 50)

    def read(self, starts: list[int]) -> dict[int, dict[str, int]]:
        return {start: dict(self.spans.get(start, {})) for start in starts}


@pytest.mark.parametrize("view", list(View))
def test_what_it_shows_is_what_reading_everything_again_would_show(view: View) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print("seed", seed)
    source = random.Random(seed)
    store, window, now_s = Store(source, view), Window(view), float(START_S)
    count = view.spans_a_point
    for _ in range(120):
        now_s += source.choice([1.0, 3.0, view.grain.span_s, view.grain.span_s * 2.5, -view.grain.span_s * 0.5])
        store.add(now_s)
        points, total = window.show(now_s, store.read(window.wanted(now_s)))
        starts = view.starts(now_s)
        whole = [store.spans.get(start, {}) for start in starts]
        assert total == by_tier(whole)
        assert points == [(starts[n], by_tier(whole[n : n + count])) for n in range(0, len(starts), count)]


def test_only_what_may_grow_is_read_again() -> None:
    window = Window(View.HOUR)
    first = window.wanted(START_S)
    window.show(START_S, {start: {} for start in first})
    assert len(first) == 60
    assert window.wanted(START_S + 1) == first[-3:]
    assert len(window.wanted(START_S + 60)) == 4


def test_a_clock_that_was_ahead_leaves_nothing_out() -> None:
    window, full = Window(View.HOUR), {"flex|requests": 1}
    ahead_s = START_S + 600
    window.show(ahead_s, {start: {} for start in window.wanted(ahead_s)})
    assert len(window.wanted(START_S)) == 60
    _, total = window.show(START_S, dict.fromkeys(window.wanted(START_S), full))
    assert total["flex"].requests == 60


def test_a_store_that_was_restored_is_seen_after_a_while() -> None:
    window, full = Window(View.WEEK), {"flex|requests": 1}
    window.show(START_S, {start: {} for start in window.wanted(START_S)})
    later_s = START_S + 10 * View.WEEK.grain.span_s
    _, total = window.show(later_s, dict.fromkeys(window.wanted(later_s), full))
    assert total["flex"].requests == len(View.WEEK.starts(later_s))
