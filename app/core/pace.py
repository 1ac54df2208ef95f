"""When an engine should begin its next step, and how long a step should be.

Callers that wait for an answer before they ask again return together, a little after their step.
Where engines and gateways share cores, an engine that begins with the first of them takes a core
from the gateway that is about to bring the others, and computes many small steps, each with its
fixed cost. So after a step it waits for as many items as that step had: for a share of what the step
took, a quarter of a second at most, and for less where such waits were in vain lately. An engine
that was idle for longer begins at once, and so does one that has something to do for anybody else:
only those who were part of a step gain by waiting for each other. Where an engine has its device for
itself, there is nothing to gain: patience is 0 then.

Pure; time is an argument.
"""

from collections.abc import Iterable, Set

Flow = tuple[str, str]
"""A tier and a project: who shares the engine with whom."""

_LOSS = 0.5
_GAIN = 0.1
"""Additive increase, multiplicative decrease: where callers come at random, waiting is given up soon."""

_LONGEST_S = 0.25
"""A wait, at most: callers come back in the time that their gateways need, however long their step was, and
those who left do not come back."""

_ACTIVE_FOR_S = 1.0


class Pacer:
    """Decides how long a step is put off.

    Args:
        patience: longest wait, as a share of the last step's duration (250 ms at most). 0 never waits.
    """

    def __init__(self, *, patience: float) -> None:
        self._patience = patience
        self._trust = 1.0
        self._company = 0
        self._until_s = 0.0
        self._crowd: Set[Flow] = frozenset()
        self._others_wait = False

    def gathering(self, now_s: float) -> tuple[int, float]:
        """How many items the next step waits for, and for how many seconds yet; nothing while one is computed."""
        left_s = self._until_s - now_s
        return (self._company, left_s) if self._company and left_s > 0 and not self._others_wait else (0, 0.0)

    def wait_s(self, waiting_items: int, now_s: float) -> float:
        """Seconds to wait for more items; 0.0 means begin now."""
        if waiting_items >= self._company or self._others_wait:
            return 0.0
        return max(0.0, self._until_s - now_s)

    def arrive(self, flow: Flow) -> None:
        """An item came, whether a step is under way or not."""
        if flow not in self._crowd:
            self._others_wait = True

    def begin_step(self, items: int, flows: Iterable[Flow], *, left_items: int) -> None:
        """A step of so many items of these flows begins; others may be left waiting."""
        if items >= self._company:
            self._trust = min(1.0, self._trust + _GAIN)
        elif not self._others_wait:
            self._trust *= _LOSS
        self._company = 0
        self._crowd = frozenset(flows)
        self._others_wait = left_items > 0

    def end_step(self, items: int, *, began_s: float, ended_s: float) -> None:
        """A step of so many items is done."""
        self._company = items
        self._until_s = ended_s + min(_LONGEST_S, self._patience * self._trust * (ended_s - began_s))


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
