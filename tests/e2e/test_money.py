"""Money over HTTP, with the real stack: nothing is spent that was not there, nothing is lost, whoever dies."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core.journal import JournalLine
from app.stores.journal_files import JournalFiles
from app.stores.object_place import ObjectPlace
from tests.e2e.spend import TOKENS
from tests.ledger.servers import Server, binary_of
from tests.stack import ROOT, Stack

PRICE = 250_000_000
COST = TOKENS * PRICE // 10**6
N = 300
KILLS = int(os.environ.get("EMBEDGATE_TEST_KILLS", "4"))


class Tenant:
    """A project of its own, with an endpoint that costs 1000 nano-USD a request."""

    def __init__(self, stack: Stack, slug: str, **endpoint: object) -> None:
        self.stack = stack
        self.project_id = stack.admin("POST", "/projects", {"name": slug, "slug": slug}).json()["project_id"]
        fields = {"slug": "e", "model": stack.dev["model"], "price_nano_usd_per_mtok": PRICE, **endpoint}
        assert self.admin("POST", "/endpoints", fields)["price_nano_usd_per_mtok"] == PRICE
        self.key = self.admin("POST", "/keys", {"name": "k"})["api_key"]

    def admin(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        response = self.stack.admin(method, f"/projects/{self.project_id}{path}", body)
        assert response.is_success, response.text
        return dict(response.json())

    def grant(self, amount: int) -> None:
        self.admin("POST", "/grants", {"amount_nano_usd": amount, "reason": "test"})

    def change(self, **fields: object) -> None:
        self.admin("PATCH", "", fields)
        time.sleep(1.1)

    def spend(self, seconds: float, *, processes: int = 4, stop_at_refusal: bool = True) -> "Spending":
        return Spending(self, seconds, processes, stop_at_refusal)

    @property
    def account(self) -> dict[str, Any]:
        return self.admin("GET", "")


class Spending:
    """Sixteen clients in each of some processes."""

    def __init__(self, tenant: Tenant, seconds: float, processes: int, stop_at_refusal: bool) -> None:
        url = f"{tenant.stack.root_url}/{tenant.project_id}/e/v1"
        options = (str(seconds), str(int(stop_at_refusal)))
        # Files, because a pipe that nobody reads would fill up and stop the clients.
        self._outputs = [tempfile.TemporaryFile("w+") for _ in range(processes)]  # noqa: SIM115
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.spend", url, tenant.key, str(n), *options], cwd=ROOT, stdout=output
            )
            for n, output in enumerate(self._outputs)
        ]

    def answers(self) -> list[dict[str, Any]]:
        for process in self._processes:
            assert process.wait(240) == 0
        found = []
        for output in self._outputs:
            output.seek(0)
            found += [json.loads(line) for line in output]
            output.close()
        return found


def spent_to_the_end(tenant: Tenant) -> list[dict[str, Any]]:
    """Sixty-four clients until they are refused; again, should a busy machine have answered some with a 503."""
    answers: list[dict[str, Any]] = []
    for _ in range(5):
        found = tenant.spend(60).answers()
        answers += [a for a in found if a["status"] != 503]
        if len(found) == 64 and all(a["status"] != 200 for a in found):
            return answers
        time.sleep(1)
    raise AssertionError("the clients were never all refused")


def statuses(answers: list[dict[str, Any]]) -> Counter[object]:
    return Counter((a["status"], a.get("code")) if a["status"] != 200 else 200 for a in answers)


def journal_of(stack: Stack, project_id: str) -> list[JournalLine]:
    """Every entry that was written outside; waits until nothing is left inside."""
    store = stack.redis()
    deadline_s = time.monotonic() + 30
    while store.xlen(f"eg:{{{project_id}}}:journal") and time.monotonic() < deadline_s:
        time.sleep(0.2)

    async def read() -> list[JournalLine]:
        files = JournalFiles(ObjectPlace.of(str(stack.home / "journal")))
        found = []
        for ledger_id, parts in (await files.parts()).items():
            for number, day in parts:
                found += await files.read_part(ledger_id, number, day) or []
        return [line for line in found if line.project_id == project_id]

    return asyncio.run(read())


def verify(stack: Stack, redis_url: str | None = None) -> None:
    url = redis_url or f"unix://{stack.redis().connection_pool.connection_kwargs['path']}"
    command = [str(Path(sys.executable).with_name("embedgate")), "ledger", "verify"]
    environment = {**os.environ, "REDIS_URL": url, "EMBEDGATE_JOURNAL_URL": str(stack.home / "journal")}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " 0 projects off" in result.stdout


@pytest.mark.stack
def test_a_balance_is_spent_to_the_last_request(stack: Stack) -> None:
    tenant = Tenant(stack, "spend-balance")
    tenant.grant(N * COST)
    answers = spent_to_the_end(tenant)
    found = statuses(answers)
    assert found[200] == N
    assert set(found) == {200, (402, "insufficient_quota")}
    assert {a["cost"] for a in answers if a["status"] == 200} == {str(COST)}
    account = tenant.account
    assert account["balance"] == {"granted": N * COST, "available": 0, "held": 0, "captured": N * COST, "debt": 0}
    assert account["open_holds"] == 0
    verify(stack)


@pytest.mark.stack
@pytest.mark.parametrize(
    ("field", "value", "refusal"),
    [
        ("limits", {"tokens_per_minute": 1, "token_burst": N * TOKENS}, (429, "rate_limit_exceeded")),
        ("limits", {"requests_per_minute": 1, "request_burst": N}, (429, "rate_limit_exceeded")),
        ("budgets", {"monthly_tokens": N * TOKENS}, (402, "budget_exceeded")),
        ("budgets", {"monthly_nano_usd": N * COST}, (402, "budget_exceeded")),
    ],
    ids=["tokens", "requests", "token-budget", "money-budget"],
)
def test_a_limit_is_used_to_the_last_request(
    stack: Stack, request: pytest.FixtureRequest, field: str, value: object, refusal: tuple[int, str]
) -> None:
    tenant = Tenant(stack, f"spend-{request.node.callspec.id}")
    tenant.grant(10 * N * COST)
    tenant.change(**{field: value})
    began_s = time.monotonic()
    answers = spent_to_the_end(tenant)
    elapsed_min = (time.monotonic() - began_s) / 60
    found = statuses(answers)
    refilled = int(elapsed_min) if field == "limits" and "requests_per_minute" in str(value) else 0
    assert N <= found[200] <= N + refilled, found
    assert set(found) == {200, refusal}
    assert all(1 <= int(a["retry_after"]) <= 60 for a in answers if a["status"] == 429)
    account = tenant.account
    assert (account["balance"]["captured"], account["open_holds"]) == (found[200] * COST, 0)
    verify(stack)


@pytest.mark.stack
@pytest.mark.timeout(900)
def test_gateways_are_killed_at_random_moments(stack: Stack) -> None:
    """No invariant breaks, no hold stays, what was answered is charged, and nothing is charged twice."""
    seed = int(os.environ.get("EMBEDGATE_TEST_SEED", str(random.SystemRandom().randrange(10**6))))
    source = random.Random(seed)
    print(f"seed {seed}")
    tenant = Tenant(stack, "killed", timeout_ms=2000)
    tenant.grant(10**12)
    spending = tenant.spend(KILLS * 5.0, processes=1, stop_at_refusal=False)
    time.sleep(2)
    for _ in range(KILLS):
        for _ in range(200):
            if pids := stack.replica_pids("Gateway"):
                break
            time.sleep(0.05)
        time.sleep(source.uniform(0.5, 3))
        for pid in pids:
            if pid in stack.replica_pids("Gateway"):
                os.kill(pid, signal.SIGKILL)
    answers = spending.answers()
    time.sleep(34)  # the endpoint's deadline, the hold's margin and a round of the reaper
    account = tenant.account
    assert (account["balance"]["held"], account["open_holds"]) == (0, 0), account
    captured = Counter(
        line.details["request_id"] for line in journal_of(stack, tenant.project_id) if line.kind == "capture"
    )
    answered = {a["request_id"] for a in answers if a["status"] == 200}
    print(f"{statuses(answers)}; {len(captured) - len(answered)} captured whose answer was lost with its gateway")
    assert len(answered) > 100
    assert not [a for a in answers if str(a.get("code")).startswith("no envelope")]
    assert answered <= set(captured)
    assert set(captured.values()) == {1}
    assert account["balance"]["captured"] == sum(captured.values()) * COST
    verify(stack)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Server]:
    with Server(binary_of("valkey"), tmp_path / "redis") as server:
        yield server


@pytest.mark.own_stack
@pytest.mark.timeout(300)
def test_the_store_is_away_for_ten_seconds(tmp_path: Path, own_redis: Server) -> None:
    """503 with Retry-After and nothing else, at once; back within two seconds; not a nano-dollar off."""
    stack = Stack(tmp_path / "home", more_environment={"REDIS_URL": own_redis.url})
    stack.start()
    try:
        tenant = Tenant(stack, "outage")
        tenant.grant(10**12)
        spending = tenant.spend(24, processes=1, stop_at_refusal=False)
        time.sleep(4)
        own_redis.stop()
        away_s = time.time()
        time.sleep(10)
        own_redis.start()
        back_s = time.time()
        answers = spending.answers()
        found = statuses(answers)
        print(found)
        assert set(found) <= {200, (503, "capacity_exceeded")}
        assert all(1 <= int(a["retry_after"]) <= 60 for a in answers if a["status"] == 503)
        during = [a["took_s"] for a in answers if away_s + 1 < a["at_s"] < back_s - 1]
        assert during and sorted(during)[len(during) * 95 // 100] < 0.3
        first_s = min(a["at_s"] for a in answers if a["status"] == 200 and a["at_s"] > back_s)
        assert first_s - back_s < 2
        time.sleep(2)
        held = tenant.account["balance"]["held"]
        captured = [line for line in journal_of_url(stack, own_redis, tenant.project_id) if line.kind == "capture"]
        answered = {a["request_id"] for a in answers if a["status"] == 200}
        assert answered <= {line.details["request_id"] for line in captured}
        print(f"first answer {first_s - back_s:.2f} s after the return; {held} nano-USD held until their deadline")
        verify(stack, own_redis.url)
    finally:
        stack.interrupt()


def journal_of_url(stack: Stack, server: Server, project_id: str) -> list[JournalLine]:
    stack.redis = lambda: server.raw  # type: ignore[method-assign]
    return journal_of(stack, project_id)
