"""How large an engine's next step may be.

A step that one project fills alone may be long. One that several share is short, so that nobody waits
long for others; but each step has a fixed cost, which on a slow CPU takes longer than all that such a
step was meant to take, so it has as many tokens as make that cost a third of it.

Pure; time is an argument. Not thread-safe.
"""

from dataclasses import dataclass

_KEPT = 0.99
"""Of a step's weight at each further step: what the machine does now is what counts."""

_LEAST_SPREAD = 0.01
"""Of the steps' sizes, as the square of their relative deviation: below, the two parts cannot be told apart."""

_FIXED_SHARE = 1 / 3
"""Of a shared step's duration: as much as its fixed cost is meant to take. An eighth was tried, and made a small
project wait for steps of sixty milliseconds where engines share their cores with a gateway."""

_LARGEST_FIXED_SHARE = 2 / 3
"""The same of steps that are kept small, one after the other, for somebody who asks for little. Half was tried: steps
of two texts of each of two projects passed it, and every second one was filled up by the larger project."""

_PROLONGED = 5
"""How far a shared step may pass the duration that is aimed at, for the sake of its fixed cost."""


class StepCost:
    """The fixed part of a step's duration, and the part for each token.

    Fitted by weighted least squares to the steps that were taken, of which older ones are forgotten
    exponentially. A step weighs by the inverse square of its duration, so that relative errors count:
    else the few long ones would hide the fixed part, which small ones show.
    """

    def __init__(self) -> None:
        self._weight = self._x = self._xx = self._y = self._xy = 0.0
        self._fixed_s = self._token_s = 0.0

    def record(self, tokens: int, took_s: float) -> None:
        """Note a step."""
        if took_s <= 0:
            return
        weight = took_s**-2
        terms = (weight, weight * tokens, weight * tokens * tokens, weight * took_s, weight * tokens * took_s)
        self._weight, self._x, self._xx, self._y, self._xy = (
            kept * _KEPT + new
            for kept, new in zip((self._weight, self._x, self._xx, self._y, self._xy), terms, strict=True)
        )
        spread = self._weight * self._xx - self._x**2
        if spread < _LEAST_SPREAD * self._x**2:
            return
        token_s = (self._weight * self._xy - self._x * self._y) / spread
        if token_s > 0:
            self._token_s = token_s
            self._fixed_s = max(0.0, (self._y - token_s * self._x) / self._weight)

    def tokens_where_fixed_is(self, share: float) -> int | None:
        """Tokens of a step whose fixed part is that share of it, above 0; None until both parts are known."""
        return int((1 / share - 1) * self._fixed_s / self._token_s) if self._token_s else None


@dataclass(frozen=True, slots=True)
class StepBounds:
    """Tokens of the next step; see :meth:`app.core.tier_queue.TierQueue.take`."""

    max_tokens: int
    light_tokens: int
    worthwhile_tokens: int | None


class StepSizer:
    """Bounds steps.

    Args:
        max_tokens: of any step.
        max_s: duration that no step is meant to pass.
        max_shared_s: duration of a step that several share.
        max_light_s: duration up to which others fill a step of somebody who asks for little.
    """

    def __init__(self, *, max_tokens: int, max_s: float, max_shared_s: float, max_light_s: float) -> None:
        self._max_tokens = max_tokens
        self._max_s = max_s
        self._max_shared_s = max_shared_s
        self._max_light_s = max_light_s
        self._cost = StepCost()

    def record(self, tokens: int, took_s: float) -> None:
        """Note a step."""
        self._cost.record(tokens, took_s)

    def bounds(self, *, is_shared: bool, tokens_per_s: float) -> StepBounds:
        """Of the next step, at the engine's speed; until that is known, as much as any step may have."""

        def tokens_in(seconds: float) -> int:
            return min(self._max_tokens, max(1, int(tokens_per_s * seconds))) if tokens_per_s else self._max_tokens

        longest = tokens_in(self._max_s)
        if is_shared:
            efficient = self._cost.tokens_where_fixed_is(_FIXED_SHARE) or 0
            efficient = min(efficient, tokens_in(_PROLONGED * self._max_shared_s))
            longest = min(longest, max(efficient, tokens_in(self._max_shared_s)))
        light = tokens_in(self._max_light_s) if self._max_light_s < self._max_shared_s else longest
        return StepBounds(longest, light, self._cost.tokens_where_fixed_is(_LARGEST_FIXED_SHARE))
