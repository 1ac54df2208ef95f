"""When an engine should begin its next step.

Callers that wait for an answer before they ask again return together, a little after their step.
Where engines and gateways share cores, an engine that begins with the first of them takes a core
from the gateway that is about to bring the others, and computes many small steps, each with its
fixed cost. So a step is put off for as many items as the last one had of those who had nothing more
waiting: from when the first of them is back (or at once, when others of theirs wait already), for a share of
what long steps took, a tenth of a second at most. An engine that was idle for longer begins at once, and so does one
that has something to do for anybody who was not part of the last step, or who would wait for somebody less
urgent, but for nobody of the same urgency who is still away.

Whether such a wait was worth it is seen in the step that follows: of callers that move together most are in it,
and next to none comes while it is computed; those who come at random come then as ever. Trust grows with the
first, is lost with the second and with a wait in which most did not come, and is the share of the longest wait that a
step is put off. Half a crowd that comes while the other half is computed looks like chance, though, for as long as
neither is waited for: so when trust is gone, a trial now and then waits in full.

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
from dataclasses import dataclass

from app.core.tiers import Flow

_LOSS = 0.5
_GAIN, _GAIN_AT_MOST = 0.015, 0.12
"""Of trust: half of it is lost, or so much gained for each that came back, up to the second. Chance brings a few
back in time now and then, but not many."""

_LEAST = 0.1
"""Of trust: below, a step is put off in trials only."""

_TRIAL_TRUST = 0.5
"""After a trial that showed a crowd, at least."""

_TRIALS_APART = 16, 512
"""Steps after which there was somebody to wait for, from one trial to the next: twice as many after each that showed no
crowd, up to the second."""

_QUIET = 1 / 8
"""Of the items in a step of those who were waited for and have nothing more waiting: as many of theirs at most, or as
the step left out, come while it is computed, if they move together."""

_LONGEST_S = 0.1
"""A wait, at most: callers come back in the time that their gateways need, however long their step was, and
those who left do not come back."""

_MOST, _SILENCE = 3 / 4, 1 / 4
"""Of those who are waited for, and of the longest wait: when most are back and nobody came for so long, the others
left. A wait in which fewer came was in vain."""

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
        self._trust = Trust()
        self._long_step_s = self._ended_s = self._last_came_s = 0.0
        self._crowd: Set[Flow] = frozenset()
        self._awaited: Counter[Flow] = Counter()
        self._company: Counter[Flow] = Counter()
        self._came_meanwhile: Counter[Flow] = Counter()
        self._is_running = self._something_waits = self._others_wait = False
        self._put_off_at_s: float | None = None
        self._verdict: Verdict | None = None

    def gathering(self, now_s: float) -> tuple[Mapping[Flow, int], float]:
        """How many items of each flow the next step waits for, and for how many seconds yet; none while one runs."""
        left_s = 0.0 if self._is_running else self.wait_s(now_s)
        return (self._company, left_s) if left_s else ({}, 0.0)

    def wait_s(self, now_s: float) -> float:
        """Seconds to wait for more items, or, while nothing waits, to be waited with; 0.0 means begin now."""
        share = self._trust.share
        if not self._company or self._others_wait or not share:
            return 0.0
        if self._put_off_at_s is None:
            return max(0.0, self._ended_s + self._longest_s - now_s)
        until_s = self._put_off_at_s + share * self._longest_s
        if self._are_most_back():
            until_s = min(until_s, self._last_came_s + _SILENCE * self._longest_s)
        return max(0.0, until_s - now_s)

    def arrive(self, flow: Flow, now_s: float) -> None:
        """An item came, whether a step is under way or not."""
        if flow not in self._crowd:
            self._others_wait = True
        elif self._is_running:
            self._came_meanwhile[flow] += 1
        elif flow in self._company:
            self._last_came_s = now_s
            self._company[flow] -= 1
            if not self._company[flow]:
                del self._company[flow]
        if self._would_wait_for_less_urgent_only(flow):
            self._others_wait = True
        if not self._something_waits:
            self._something_waits = True
            if not self._is_running and now_s - self._ended_s < self._longest_s:
                self._put_off(now_s)

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
        items = Counter(step)
        spent = {flow: count for flow, count in items.items() if not waits(flow)}
        self._verdict = self._verdict_on_wait(spent, now_s)
        self._put_off_at_s = None
        urgent = next((rank for rank, flows in enumerate(waiting) if flows), len(waiting))
        self._crowd = items.keys()
        self._company = Counter({flow: count for flow, count in spent.items() if flow[0].rank <= urgent})
        self._awaited = self._company.copy()
        self._came_meanwhile.clear()
        self._something_waits = sum(waiting) > 0
        self._others_wait = sum(waiting) > len(items) - len(spent)
        self._is_running = True

    def end_step(self, *, began_s: float, ended_s: float) -> None:
        """It is done. Of a step that failed, and was computed item by item, nothing is learned."""
        if not self._is_running:
            return
        self._is_running = False
        if (verdict := self._verdict) is not None:
            came = sum(self._came_meanwhile[flow] for flow in verdict.flows)
            self._trust.judge(verdict.returned, are_together=came <= verdict.few)
        self._long_step_s = max(ended_s - began_s, _FADES * self._long_step_s)
        self._ended_s = ended_s
        if self._something_waits:
            self._put_off(ended_s)

    def fail_step(self) -> None:
        """It failed: nobody is waited for."""
        self._is_running = False
        self._company.clear()

    def nothing_waits(self) -> None:
        """The queue is empty, be it that those who waited were withdrawn or came too late."""
        self._something_waits = self._others_wait = False
        self._put_off_at_s = None

    @property
    def _longest_s(self) -> float:
        return min(_LONGEST_S, self._patience * self._long_step_s)

    def _put_off(self, now_s: float) -> None:
        if self._company and not self._others_wait:
            self._put_off_at_s = now_s
            self._trust.wait_begins()

    def _would_wait_for_less_urgent_only(self, flow: Flow) -> bool:
        """What came while the last step was computed counts as the return of its own."""
        return all(
            count <= self._came_meanwhile[other]
            for other, count in self._company.items()
            if other[0].rank <= flow[0].rank
        ) and any(other[0].rank > flow[0].rank for other in self._company)

    def _verdict_on_wait(self, spent: Mapping[Flow, int], now_s: float) -> "Verdict | None":
        """None where nothing was put off, the step begins before its time, for others or because it is full, or what
        follows will not show anything, as all who came have more waiting."""
        if self._put_off_at_s is None or self._others_wait or self.wait_s(now_s) > 0:
            return None
        flows = self._awaited.keys() & spent.keys()
        if not self._are_most_back():
            return Verdict(flows, 0, 0)
        few = max(_QUIET * sum(spent[flow] for flow in flows), sum(self._company[flow] for flow in flows))
        return Verdict(flows, self._returned(), few) if flows else None

    def _are_most_back(self) -> bool:
        return self._returned() >= _MOST * self._awaited.total()

    def _returned(self) -> int:
        return self._awaited.total() - self._company.total()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a wait brought, until the step that follows shows whether it was chance.

    Attributes:
        flows: that were waited for, and have nothing more waiting.
        returned: how many of their items came, 0 where most did not.
        few: as many may come while the step is computed, if they move together.
    """

    flows: Set[Flow]
    returned: int
    few: float


class Trust:
    """That those who are waited for come back together. It begins in full."""

    def __init__(self) -> None:
        self._trust = 1.0
        self._trials_apart = self._until_trial = _TRIALS_APART[0]
        self._is_trial = False

    @property
    def share(self) -> float:
        """Of the longest wait that a step may be put off."""
        if self._is_trial:
            return 1.0
        return self._trust if self._trust >= _LEAST else 0.0

    def wait_begins(self) -> None:
        """There is somebody to wait for."""
        if self._trust < _LEAST:
            self._until_trial = max(0, self._until_trial - 1)
            self._is_trial = not self._until_trial

    def judge(self, returned: int, *, are_together: bool) -> None:
        """What became of a wait.

        Args:
            returned: how many came in it; 0 where most did not.
            are_together: whether next to none of them came while the step was computed that followed.
        """
        if not self.share:
            return
        if returned and are_together:
            gained = min(_GAIN_AT_MOST, _GAIN * returned)
            self._trust = min(1.0, max(self._trust + gained, _TRIAL_TRUST if self._is_trial else 0.0))
            self._trials_apart = _TRIALS_APART[0]
        else:
            self._trust *= _LOSS
            if self._is_trial:
                self._trials_apart = min(2 * self._trials_apart, _TRIALS_APART[1])
        self._until_trial, self._is_trial = self._trials_apart, False


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
