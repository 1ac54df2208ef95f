"""When an engine should begin its next step.

Callers that wait for an answer before they ask again return together, a little after their step.
Where engines and gateways share cores, an engine that begins with the first of them takes a core
from the gateway that is about to bring the others, and computes many small steps, each with its
fixed cost. So after a step it waits for as many items as that step had of those who have nothing more
waiting: for a share of what long steps took, a tenth of a second at most, and for less where such waits
were in vain lately. (A wait was worth it if all were back in less than a cycle, from the end of the step before
to the end of this one: those who come at random take about as long to be as many again.) An engine that was
idle for longer begins at once, and so does one that has something to do for anybody who was not part of that
step, or who is more urgent than all that it waits for.

Where a project that has much waiting shares a step with one that has all that it asked for in it, that
wait is what gives the second one its share: it asks again a moment after the step, and would else wait for a
whole step of the first one's each time, which is why the long steps measure the wait, and not the short
one that both have shared. (Iyer and Druschel, "Anticipatory scheduling", SOSP 2001,
call it deceptive idleness, of disks.) Where an engine has its device for itself, steps are short, and
patience is 0.

Pure; time is an argument.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set

from app.core.tiers import Flow

_LOSS = 0.5
_GAIN = 0.03
"""Additive increase, multiplicative decrease: where callers come at random, waiting is given up soon and regained
slowly, for chance brings a few back in time now and then."""

_LEAST = 1 / 16
"""Never quite: an engine that has always something else to do could not find out that callers return again."""

_LONGEST_S = 0.1
"""A wait, at most: callers come back in the time that their gateways need, however long their step was, and
those who left do not come back."""

_FADES = 0.9
"""Of a long step's duration with each that follows, for the bound of a wait."""

_ACTIVE_FOR_S = 1.0


class Pacer:
    """Decides how long a step is put off.

    Args:
        patience: longest wait, as a share of what long steps took lately (100 ms at most). 0 never waits.
    """

    def __init__(self, *, patience: float) -> None:
        self._patience = patience
        self._trust = 1.0
        self._until_s = 0.0
        self._long_step_s = 0.0
        self._ended_s = self._cycle_s = 0.0
        self._crowd: Set[Flow] = frozenset()
        self._company: Counter[Flow] = Counter()
        self._is_put_off = False
        self._others_wait = False

    def gathering(self, now_s: float) -> tuple[Mapping[Flow, int], float]:
        """How many items of each flow the next step waits for, and for how many seconds yet; none while one runs."""
        left_s = self.wait_s(now_s)
        return (self._company, left_s) if left_s else ({}, 0.0)

    def wait_s(self, now_s: float) -> float:
        """Seconds to wait for more items; 0.0 means begin now."""
        if not self._company or self._others_wait:
            return 0.0
        return max(0.0, self._until_s - now_s)

    def arrive(self, flow: Flow) -> None:
        """An item came, whether a step is under way or not."""
        if flow not in self._crowd:
            self._others_wait = True
            return
        if flow in self._company:
            self._company[flow] -= 1
            if not self._company[flow]:
                del self._company[flow]
        if self._company and all(other[0].rank > flow[0].rank for other in self._company):
            self._others_wait = True

    def begin_step(
        self, step: Sequence[Flow], *, waits: Callable[[Flow], bool], waiting: Sequence[int], now_s: float
    ) -> None:
        """A step begins.

        Args:
            step: the flow of each of its items.
            waits: whether a flow has more waiting: nobody needs to wait for its return.
            waiting: how many flows have, by rank of their tier.
            now_s: when it begins.
        """
        if self._is_put_off and not self._company and now_s - self._ended_s <= self._cycle_s:
            self._trust = min(1.0, self._trust + _GAIN)
        elif self._is_put_off and not self._others_wait:
            self._trust = max(_LEAST, self._trust * _LOSS)
        items = Counter(step)
        self._crowd = items.keys()
        spent = {flow: count for flow, count in items.items() if not waits(flow)}
        urgent = next((rank for rank, flows in enumerate(waiting) if flows), len(waiting))
        self._company = Counter({flow: count for flow, count in spent.items() if flow[0].rank <= urgent})
        self._others_wait = sum(waiting) > len(items) - len(spent)
        self._is_put_off, self._until_s = False, 0.0

    def end_step(self, *, began_s: float, ended_s: float) -> None:
        """It is done."""
        self._is_put_off = bool(self._company) and not self._others_wait
        self._long_step_s = max(ended_s - began_s, _FADES * self._long_step_s)
        self._cycle_s = ended_s - began_s + min(began_s - self._ended_s, _LONGEST_S)
        self._ended_s = ended_s
        self._until_s = ended_s + self._trust * min(_LONGEST_S, self._patience * self._long_step_s)


class ActiveFlows:
    """Who asked for something within the last second. Each operation is O(1), amortized."""

    def __init__(self) -> None:
        self._last_s: dict[Flow, float] = {}

    def note(self, flow: Flow, now_s: float) -> None:
        """An item came."""
        self._last_s.pop(flow, None)  # to the end of the order
        self._last_s[flow] = now_s

    def count(self, now_s: float) -> int:
        """How many flows are active."""
        while self._last_s and now_s - next(iter(self._last_s.values())) > _ACTIVE_FOR_S:
            del self._last_s[next(iter(self._last_s))]
        return len(self._last_s)
