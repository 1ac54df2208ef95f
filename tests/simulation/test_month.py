"""A simulated month: a seeded workload, a virtual clock, random failures; journal = balances = oracle.

``python -m tests.simulation.test_month --requests 10000000`` runs it at full size; the test runs a
hundredth of it, and a slice of the same workload on the real scripts.
"""

import argparse
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from app.core.journal import JournalLine, Tally
from app.core.ledger import Account
from app.core.ledger_types import Admitted, Charge, GrantResult, HoldState, Receipt, Settlement, Terms
from app.core.money import cost_nano_usd
from app.stores.embedded_redis import EmbeddedRedis
from deployments.preload import jemalloc
from tests.ledger.lab import Lab, limits

START_US = 1_793_491_200_000_000
MONTH_US = 30 * 86_400_000_000
PROJECTS = 1000
RETAIN_MS = 300_000
TTL_MS = 60_000
PRICES = (0, 1, 20_000_000, 130_000_000, 999_999_937)
MULTIPLIERS = (1000, 1000, 1250, 500)
TERMS = (
    Terms(),
    Terms(project=limits(requests=(600, 100), tokens=(10**6, 10**5))),
    Terms(key=limits(tokens=(50_000, 20_000)), monthly_tokens=3 * 10**6),
    Terms(monthly_nano_usd=5 * 10**7),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens to one project."""

    project: int
    now_us: int
    kind: str
    charge: Charge | None = None
    amount: int = 0
    fate: str = ""


@dataclass(slots=True)
class Oracle:
    """What finance would say with paper and pencil: nothing of the ledger's own code."""

    granted: int = 0
    captured: int = 0
    open: dict[str, int] = field(default_factory=dict)


def workload(seed: int, requests: int) -> Iterator[Step]:
    """Requests in the order of time, with grants and corrections among them."""
    source = random.Random(seed)
    for project in range(PROJECTS):
        yield Step(project, START_US, "grant", amount=source.choice((10**6, 10**9, 10**12)))
    now_us = START_US
    mean_us = MONTH_US / requests
    for number in range(requests):
        now_us += int(source.expovariate(1 / mean_us))
        project = min(int(source.paretovariate(0.6)) - 1, PROJECTS - 1)
        if source.random() < 0.0005:
            yield Step(project, now_us, "grant", amount=source.choice((10**8, 5 * 10**9, -(10**7))))
        tokens = int(source.paretovariate(0.8)) * 8 % 8192
        price, multiplier = PRICES[project % len(PRICES)], source.choice(MULTIPLIERS)
        amount = cost_nano_usd(tokens, price_nano_usd_per_mtok=price, multiplier_thousandths=multiplier)
        fate = source.choices(
            ("answered", "fails", "lost answer", "gateway dies", "dies after capture", "settles twice", "settles late"),
            (950, 20, 8, 8, 4, 6, 4),
        )[0]
        charge = Charge(f"h{number}", amount, tokens, f"k{project}.{source.randrange(3)}", "{}")
        yield Step(project, now_us, "request", charge, fate=fate)


def settle(account: Account, charge: Charge, verb: Settlement, now_us: int) -> Receipt | None:
    return account.settle(charge.hold_id, verb, charge.amount_nano_usd, now_us=now_us, retain_ms=RETAIN_MS)


class World:
    """A thousand accounts, their journals as they are read outside, and the oracle."""

    def __init__(self) -> None:
        self.accounts = [Account() for _ in range(PROJECTS)]
        self.tallies = [Tally() for _ in range(PROJECTS)]
        self.oracles = [Oracle() for _ in range(PROJECTS)]
        self.late: list[tuple[int, Charge]] = []
        self.entries = 0
        self.admitted = self.refused = 0

    def take(self, step: Step) -> None:
        account, oracle = self.accounts[step.project], self.oracles[step.project]
        if step.kind == "grant":
            grant_id = f"g{step.now_us}"
            if account.grant(grant_id, step.amount, "{}") is GrantResult.GRANTED:
                oracle.granted += step.amount
        else:
            self._request(step, account, oracle)
        self._publish(step.project)

    def _request(self, step: Step, account: Account, oracle: Oracle) -> None:
        charge, now_us = step.charge, step.now_us
        assert charge is not None
        answer = account.admit(charge, TERMS[step.project % len(TERMS)], now_us=now_us, ttl_ms=TTL_MS)
        if not isinstance(answer, Receipt):
            self.refused += 1
            return
        self.admitted += 1
        oracle.open[charge.hold_id] = charge.amount_nano_usd
        match step.fate:
            case "answered" | "settles twice" | "dies after capture":
                receipt = settle(account, charge, Settlement.CAPTURE, now_us)
                assert receipt is not None and receipt.state is HoldState.CAPTURED
                oracle.captured += oracle.open.pop(charge.hold_id)
                if step.fate == "settles twice":
                    assert settle(account, charge, Settlement.CAPTURE, now_us) == receipt
                    assert settle(account, charge, Settlement.RELEASE, now_us) == receipt
            case "fails":
                settle(account, charge, Settlement.RELEASE, now_us)
                oracle.open.pop(charge.hold_id)
            case "lost answer":
                settle(account, charge, Settlement.CAPTURE, now_us)
                settle(account, charge, Settlement.UNDELIVERED, now_us)
                oracle.captured += charge.amount_nano_usd
                oracle.granted += oracle.open.pop(charge.hold_id)
            case "settles late":
                self.late.append((step.project, charge))
            case _:
                pass

    def sweep(self, now_us: int) -> None:
        """The reaper, and those who settle after it."""
        for project, account in enumerate(self.accounts):
            if account.deadlines_ms:
                account.reap(now_us=now_us, limit=10**9, retain_ms=RETAIN_MS)
                oracle = self.oracles[project]
                still = {charge.hold_id for charge in account.open_holds()} if account.open_count else set()
                oracle.open = {hold_id: amount for hold_id, amount in oracle.open.items() if hold_id in still}
        for project, charge in self.late:
            receipt = settle(self.accounts[project], charge, Settlement.CAPTURE, now_us)
            if (
                receipt is not None
                and receipt.state is HoldState.CAPTURED
                and charge.hold_id in self.oracles[project].open
            ):
                self.oracles[project].captured += self.oracles[project].open.pop(charge.hold_id)
        self.late.clear()
        for project in range(PROJECTS):
            self._publish(project)

    def _publish(self, project: int) -> None:
        account = self.accounts[project]
        for entry in account.journal:
            self.entries += 1
            line = JournalLine(
                f"p{project}", "1793491200000-0", entry.kind, entry.id, entry.amount_nano_usd, entry.tokens, {}
            )
            self.tallies[project].add(line)
        account.journal.clear()

    def check(self) -> None:
        """Journal = balances = oracle, to the nano-dollar."""
        for account, tally, oracle in zip(self.accounts, self.tallies, self.oracles, strict=True):
            assert tally.difference(account.balance, account.open_count) == []
            assert (account.granted, account.captured) == (oracle.granted, oracle.captured)
            assert account.held == sum(oracle.open.values())
            assert account.granted == account.available + account.held + account.captured
            assert account.available >= 0


def simulate(seed: int, requests: int) -> World:
    print(f"seed {seed}")
    world = World()
    sweep_us = START_US
    for step in workload(seed, requests):
        if step.now_us - sweep_us > 120_000_000 and step.now_us - sweep_us > MONTH_US / 2000:
            world.sweep(step.now_us)
            sweep_us = step.now_us
        world.take(step)
    world.check()
    end_us = START_US + 2 * MONTH_US
    world.sweep(end_us)
    world.sweep(end_us + 2 * RETAIN_MS * 1000)
    world.check()
    assert all(account.held == 0 and not account.holds for account in world.accounts)
    return world


def test_a_month() -> None:
    world = simulate(int(os.environ.get("EMBEDGATE_TEST_SEED", random.SystemRandom().randrange(10**6))), 100_000)
    assert world.admitted > 50_000
    assert world.refused > 1000


def test_a_slice_of_it_on_the_scripts(tmp_path: Path) -> None:
    """The busiest project's first two thousand requests, call by call."""
    seed = int(os.environ.get("EMBEDGATE_TEST_SEED", random.SystemRandom().randrange(10**6)))
    print(f"seed {seed}")
    server = EmbeddedRedis(tmp_path, allocator=jemalloc())
    server.start()
    account, count = Account(), 0
    with Lab(server.url) as lab:
        for step in workload(seed, 10**6):
            if step.project != 0:
                continue
            lab.set_clock(step.now_us)
            if step.kind == "grant":
                result = lab.grant(step.amount, f"g{step.now_us}")
                assert result == account.grant(f"g{step.now_us}", step.amount, "{}")
                continue
            charge = step.charge
            assert charge is not None
            details = Charge(charge.hold_id, charge.amount_nano_usd, charge.tokens, charge.key_id, "{}")
            call = lab.ledger.admit(lab.project_id, details, TERMS[1], ttl_ms=TTL_MS)
            answer = lab.run(call)
            expected = account.admit(details, TERMS[1], now_us=step.now_us, ttl_ms=TTL_MS)
            assert (answer.receipt if isinstance(answer, Admitted) else answer.refusal) == expected
            for verb in {"answered": ["capture"], "fails": ["release"], "lost answer": ["capture", "undelivered"]}.get(
                step.fate, []
            ):
                settled = lab.settle(charge.hold_id, Settlement(verb), charge.amount_nano_usd)
                assert settled == account.settle(
                    charge.hold_id, Settlement(verb), charge.amount_nano_usd, now_us=step.now_us, retain_ms=60_000
                )
            count += 1
            if count == 2000:
                break
        lab.agrees_with(account)
        lab.check()
    server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    began_s = time.monotonic()
    done = simulate(options.seed, options.requests)
    print(
        f"{options.requests:,} requests of {PROJECTS:,} projects: {done.admitted:,} admitted, "
        f"{done.refused:,} refused, {done.entries:,} journal entries in {time.monotonic() - began_s:.0f} s; "
        "journal = balances = oracle"
    )
