"""A view of lately that slides: what cannot change any more is read and added up once.

Pure; time is an argument. Not thread-safe.
"""

from collections.abc import Mapping, Sequence

from app.core.activity import Sums, TierActivity, View, add_all, by_tier

Point = tuple[int, Mapping[str, TierActivity]]
"""A start in Unix seconds, and what was done from then on, by tier."""

_LIVE_POINTS = 3
"""The last ones may still grow: gateways tell their sums late, and by clocks of their own."""

_TRUSTED_SPANS = 10
"""After so many everything is read again: a clock may have been wrong, or a store restored."""


class Window:
    """What is known of a view's spans; forgotten when the clock is set back, and now and then.

    Args:
        view: what is shown.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._first_s = 0
        self._known_since_s = 0.0
        self._spans: dict[int, Mapping[str, int]] = {}
        self._points: list[Point] = []
        self._sums: Sums = {}

    def wanted(self, now_s: float) -> list[int]:
        """Starts of the spans that must be read to :meth:`show` the view at that moment."""
        starts = self._view.starts(now_s)
        trusted_s = _TRUSTED_SPANS * self._view.grain.span_s
        if not 0 <= now_s - self._known_since_s < trusted_s or starts[0] < self._first_s:
            self._spans, self._first_s, self._known_since_s = {}, 0, now_s
        return [start for start in starts if start not in self._spans]

    def show(self, now_s: float, read: Mapping[int, Mapping[str, int]]) -> tuple[list[Point], dict[str, TierActivity]]:
        """Points in order, and all of them together.

        Args:
            now_s: as it was given to :meth:`wanted`.
            read: all the spans that it named, by start.
        """
        starts = self._view.starts(now_s)
        spans = {start: read[start] if start in read else self._spans[start] for start in starts}
        live_from = len(starts) - _LIVE_POINTS * self._view.spans_a_point
        if starts[0] != self._first_s:
            past = starts[:live_from]
            self._spans = {start: spans[start] for start in past}
            self._points = self._points_of(past, spans)
            self._sums = {}
            for start in past:
                add_all(self._sums, spans[start])
            self._first_s = starts[0]
        live = starts[live_from:]
        total = by_tier([self._sums, *(spans[start] for start in live)])
        return [*self._points, *self._points_of(live, spans)], total

    def _points_of(self, starts: Sequence[int], spans: Mapping[int, Mapping[str, int]]) -> list[Point]:
        count = self._view.spans_a_point
        return [
            (starts[first], by_tier(spans[start] for start in starts[first : first + count]))
            for first in range(0, len(starts), count)
        ]
