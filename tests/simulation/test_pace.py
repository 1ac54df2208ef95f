"""What putting steps off costs where it brings nothing: an engine and a gateway with a core each.

A step of ``n`` items takes ``3.4 + 3.1 n`` ms, as MiniLM does on one core, and the gateway hands
requests on one by one, 1.4 ms each. What it brings on shared cores is for the bench to show.
"""

import heapq
import random
import statistics

import pytest

from app.core.pace import Pacer
from app.core.tiers import Tier

STEP_S, ITEM_S, GATEWAY_S = 0.0034, 0.0031, 0.0014
PATIENCE = 2.0
SEED = 20261121
CROWD = (Tier.DEFAULT, "project")


class Engine:
    """One engine behind one gateway, in virtual time."""

    def __init__(self, pacer: Pacer) -> None:
        self.pacer = pacer
        self.now_s = 0.0
        self.arrivals: list[float] = []
        self.waiting: list[float] = []
        self.latencies_s: list[float] = []
        self.steps = 0

    def run(self, until_s: float, *, clients_return: bool) -> None:
        while self.now_s < until_s and (self.arrivals or self.waiting):
            self.receive()
            wait_s = self.pacer.wait_s(self.now_s) if self.waiting else float("inf")
            if wait_s > 0:
                self.now_s = min(self.now_s + wait_s, self.arrivals[0] if self.arrivals else float("inf"))
                continue
            self.step(clients_return=clients_return)

    def receive(self) -> None:
        while self.arrivals and self.arrivals[0] <= self.now_s:
            came_s = heapq.heappop(self.arrivals)
            self.waiting.append(came_s)
            self.pacer.arrive(CROWD, came_s)

    def step(self, *, clients_return: bool) -> None:
        items, self.waiting = self.waiting, []
        began_s = self.now_s
        self.pacer.begin_step([CROWD] * len(items), waits=lambda _: False, waiting=[0] * 4, now_s=began_s)
        self.now_s += STEP_S + ITEM_S * len(items)
        self.receive()
        self.pacer.end_step(began_s=began_s, ended_s=self.now_s)
        self.steps += 1
        for place, came_s in enumerate(items, 1):
            self.latencies_s.append(self.now_s - came_s)
            if clients_return:
                heapq.heappush(self.arrivals, self.now_s + GATEWAY_S * place)


def closed(clients: int, patience: float, *, seconds: float = 20.0) -> float:
    """Requests a second."""
    engine = Engine(Pacer(patience=patience))
    engine.arrivals = [GATEWAY_S * n for n in range(clients)]
    engine.run(seconds, clients_return=True)
    return len(engine.latencies_s) / seconds


@pytest.mark.parametrize("clients", [2, 3, 8, 16, 64])
def test_an_engine_with_cores_of_its_own_loses_a_quarter_or_less(clients: int) -> None:
    """It should have no patience: one step is computed while the callers of the other are on their way."""
    assert closed(clients, PATIENCE) >= 0.74 * closed(clients, 0.0)


def test_one_caller_at_a_time_is_never_kept_waiting() -> None:
    assert closed(1, PATIENCE) == closed(1, 0.0)


@pytest.mark.parametrize("load", [0.1, 0.3, 0.5, 0.8])
def test_callers_at_random_wait_little_longer(load: float) -> None:
    random_source = random.Random(SEED)
    per_s = load / (STEP_S + ITEM_S)
    latencies = []
    for patience in (0.0, PATIENCE):
        engine, at_s = Engine(Pacer(patience=patience)), 0.0
        for _ in range(5000):
            at_s += random_source.expovariate(per_s)
            heapq.heappush(engine.arrivals, at_s)
        engine.run(1e9, clients_return=False)
        latencies.append(engine.latencies_s)
    medians = [statistics.median(values) * 1000 for values in latencies]
    tails = [statistics.quantiles(values, n=100)[98] * 1000 for values in latencies]
    print(f"seed {SEED}, load {load}: p50 {medians[0]:.1f}, {medians[1]:.1f} ms, p99 {tails[0]:.1f}, {tails[1]:.1f}")
    assert medians[1] <= 1.25 * medians[0]
    assert tails[1] <= 1.5 * tails[0]


def test_when_the_crowd_leaves_the_last_one_is_served_at_once_again() -> None:
    engine = Engine(Pacer(patience=PATIENCE))
    engine.arrivals = [0.0] * 32
    engine.run(1.0, clients_return=True)
    engine.arrivals = [engine.now_s + 0.001]
    engine.waiting = []
    engine.latencies_s.clear()
    engine.run(engine.now_s + 1.0, clients_return=True)
    assert engine.latencies_s[0] < 2 * (STEP_S + 33 * ITEM_S), "the first waits for the crowd once"
    assert engine.latencies_s[3] == pytest.approx(STEP_S + ITEM_S)
