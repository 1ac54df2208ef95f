"""How many replicas are asked for, by hand and over a day."""

import math
import random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve.autoscaling_policy import _apply_delay_logic
from ray.serve.config import AutoscalingConfig

from app.core.scaling import ReplicaStats, replicas_needed
from deployments.scaling import ASKED_PER_S, TOKENS_PER_S, WAITING_TOKENS, TokenPolicy

SEED = 20261121
SPEED = 1000.0


def needed(*stats: ReplicaStats, present: int = 1, target_wait_s: float = 0.5) -> int:
    return replicas_needed(stats, present=present, target_wait_s=target_wait_s)


def test_demand_is_met_with_room_to_spare() -> None:
    assert needed(ReplicaStats(0, 800, SPEED)) == 1
    assert needed(ReplicaStats(0, 801, SPEED)) == 2
    assert needed(*[ReplicaStats(0, 800, SPEED)] * 3) == 3


def test_what_waits_is_worked_off_within_the_target() -> None:
    assert needed(ReplicaStats(500, 0, SPEED)) == 1
    assert needed(ReplicaStats(2000, 400, SPEED)) == 5
    assert needed(ReplicaStats(2000, 400, SPEED), target_wait_s=4) == 1


def test_nothing_asked_needs_nobody_and_nothing_measured_changes_nothing() -> None:
    assert needed(ReplicaStats(0, 0, SPEED), present=3) == 0
    assert needed(ReplicaStats(100, 50, 0), present=3) == 3


@given(
    st.lists(st.builds(ReplicaStats, st.floats(0, 1e9), st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=5),
    st.integers(0, 50),
)
def test_more_work_never_asks_for_fewer(stats: list[ReplicaStats], present: int) -> None:
    more = [ReplicaStats(s.waiting_tokens * 2 + 1, s.asked_per_s * 2 + 1, s.tokens_per_s) for s in stats]
    assert 0 <= needed(*stats, present=present) <= needed(*more, present=present)


def context(**fields: object) -> SimpleNamespace:
    base = {"current_num_replicas": 1, "target_num_replicas": 1, "total_num_requests": 0, "aggregated_metrics": {}}
    return SimpleNamespace(**{**base, **fields})


def test_the_policy_reads_what_replicas_say() -> None:
    policy = TokenPolicy(target_wait_ms=500)
    ids = [ReplicaID(str(n), DeploymentID("d")) for n in range(2)]
    metrics = {
        WAITING_TOKENS: dict.fromkeys(ids, 500.0),
        ASKED_PER_S: dict.fromkeys(ids, 800.0),
        TOKENS_PER_S: dict.fromkeys(ids, SPEED),
    }
    assert policy(context(aggregated_metrics=metrics))[0] == 4
    assert policy(context(target_num_replicas=3))[0] == 3, "no figures yet: no change"
    assert policy(context(current_num_replicas=0))[0] == 0
    assert policy(context(current_num_replicas=0, total_num_requests=1))[0] == 1


class Day:
    """A day in steps of two seconds: demand by the hour, spikes, replicas that take 30 s to start."""

    STEP_S = 2.0
    START_S = 30.0
    BOUNDS = (1, 20)

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self.spikes = [(source.uniform(0, 86_400), source.uniform(3, 6)) for _ in range(6)]
        self.config = AutoscalingConfig(
            min_replicas=1, max_replicas=20, upscale_delay_s=5, downscale_delay_s=300, target_ongoing_requests=1
        )
        self.ready, self.starting = 1, list[float]()
        self.backlog = 0.0
        self.state: dict[str, object] = {}
        self.waits_s: list[float] = []
        self.needed_s = self.paid_s = 0.0
        self.changes = 0

    def demand(self, at_s: float) -> float:
        by_the_hour = 0.3 + 5.0 * max(0.0, math.sin((at_s / 3600 - 6) / 14 * math.pi)) ** 2
        factor = max([height for start_s, height in self.spikes if start_s <= at_s < start_s + 900], default=1.0)
        return min(14.0, by_the_hour * factor) * SPEED * self.source.uniform(0.8, 1.2)

    def run(self) -> None:
        recent: list[tuple[float, float]] = []
        for step in range(int(86_400 / self.STEP_S)):
            at_s = step * self.STEP_S
            self.ready += sum(start_s <= at_s for start_s in self.starting)
            self.starting = [start_s for start_s in self.starting if start_s > at_s]
            asked = self.demand(at_s)
            self.backlog = max(0.0, self.backlog + (asked - self.ready * SPEED) * self.STEP_S)
            self.waits_s.append(self.backlog / (self.ready * SPEED))
            recent = [*recent, (asked, self.backlog)][-5:]
            self.decide(at_s, [sum(column) / len(recent) for column in zip(*recent, strict=True)])
            self.needed_s += asked / SPEED * self.STEP_S
            self.paid_s += (self.ready + len(self.starting)) * self.STEP_S

    def decide(self, at_s: float, average: list[float]) -> None:
        asked, waiting = (value / self.ready for value in average)
        present = self.ready + len(self.starting)
        wanted = needed(*[ReplicaStats(waiting, asked, SPEED)] * self.ready, present=present)
        wanted, self.state = _apply_delay_logic(wanted, present, self.config, self.state, _now=at_s)
        wanted = min(self.BOUNDS[1], max(self.BOUNDS[0], wanted))
        self.changes += wanted != present
        while wanted > self.ready + len(self.starting):
            self.starting.append(at_s + self.START_S)
        while wanted < self.ready + len(self.starting):
            if self.starting:
                self.starting.pop()
            else:
                self.ready -= 1


@pytest.mark.parametrize("seed", range(SEED, SEED + 5))
def test_a_day_with_spikes(seed: int) -> None:
    day = Day(random.Random(seed))
    day.run()
    late = sum(wait_s > 0.5 for wait_s in day.waits_s) / len(day.waits_s)
    print(
        f"seed {seed}: {100 * late:.2f} % of the day over the target, longest wait {max(day.waits_s):.0f} s, "
        f"{day.paid_s / day.needed_s:.2f} times the replicas' time that was needed, {day.changes} changes"
    )
    assert late < 0.02
    assert max(day.waits_s) < 6 * Day.START_S, "a sixfold spike from one moment to the next"
    assert day.paid_s < 2.2 * day.needed_s
    assert day.changes < 24 * 8
