"""``kill -9`` under traffic: the service comes back by itself and never answers a wrong vector."""

import os
import signal
import threading
import time
from collections import Counter

import numpy as np
import openai
import psutil
import pytest

from tests.e2e.test_vectors import GOLDEN, MIN_COSINE
from tests.golden.texts import golden_texts
from tests.stack import Stack

pytestmark = pytest.mark.stack


class Traffic:
    """Eight clients that send golden texts in changing company and check every vector."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.stopping = threading.Event()
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.last_success_s = 0.0
        self.threads = [threading.Thread(target=self._run, args=(n,)) for n in range(8)]

    def __enter__(self) -> "Traffic":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)

    def _run(self, number: int) -> None:
        texts = golden_texts()
        source = np.random.default_rng(number)
        client = openai.OpenAI(
            base_url=self.stack.bare_url, api_key=self.stack.dev["api_key"], max_retries=0, timeout=60
        )
        while not self.stopping.is_set():
            # The salt makes every text new, so that the cache hides nothing; it costs little similarity.
            chosen = [int(i) for i in source.integers(0, len(texts), size=3)]
            salted = [texts[i] for i in chosen] + [f"salt {number} {source.integers(1 << 40)}"]
            try:
                response = client.embeddings.create(
                    model=self.stack.dev["model"], input=salted, extra_body={"truncate": "end"}
                )
            except openai.APIStatusError as error:
                self.outcomes[f"{error.status_code} {error.code}"] += 1
                if error.status_code == 503:
                    assert 1 <= int(error.response.headers["retry-after"]) <= 60
                time.sleep(0.2)
                continue
            except openai.APIConnectionError:
                self.outcomes["connection"] += 1
                time.sleep(0.2)
                continue
            self.outcomes["200"] += 1
            self.last_success_s = time.monotonic()
            for index, item in zip(chosen, response.data, strict=False):
                if float(np.dot(item.embedding, GOLDEN["vectors"][index])) < MIN_COSINE:
                    self.wrong.append(texts[index])


def wait_for_new_replica(stack: Stack, deployment: str, old: set[int], timeout_s: float = 90) -> float:
    """Seconds until there is a process that was not there, and a new text is served."""
    began_s = time.monotonic()
    client = openai.OpenAI(base_url=stack.bare_url, api_key=stack.dev["api_key"], max_retries=0, timeout=5)
    while time.monotonic() - began_s < timeout_s:
        if set(stack.replica_pids(deployment)) - old:
            try:
                text = f"is anybody there? {began_s} {time.monotonic()}"
                client.embeddings.create(model=stack.dev["model"], input=text)
                return time.monotonic() - began_s
            except openai.APIError:
                pass
        time.sleep(0.2)
    raise AssertionError(f"no new replica of {deployment} within {timeout_s} s")


def wait_until_ready(stack: Stack, *, embedders: int, timeout_s: float = 60) -> None:
    """Until so many embedders, over the stack's whole life, have said that they are ready."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        logs = "".join(p.read_text(errors="replace") for p in (stack.home / "logs/serve").glob("*.log"))
        if logs.count("all-MiniLM-L6-v2 is ready after") >= embedders:
            return
        time.sleep(0.5)
    raise AssertionError(f"{embedders} embedders were never ready")


def embedder(stack: Stack) -> int:
    """The youngest: one that does not answer any more may still be there."""
    return max(stack.replica_pids("Embedder"), key=lambda pid: psutil.Process(pid).create_time())


def test_the_embedder_is_killed(stack: Stack) -> None:
    with Traffic(stack) as traffic:
        time.sleep(2)
        before = set(stack.replica_pids("Embedder"))
        os.kill(embedder(stack), signal.SIGKILL)
        took_s = wait_for_new_replica(stack, "Embedder", before)
        wait_until_ready(stack, embedders=len(before) + 1)
        back_s = time.monotonic()
        time.sleep(3)
    print(f"serving again after {took_s:.1f} s; {dict(traffic.outcomes)}")
    assert traffic.last_success_s > back_s
    assert not traffic.wrong
    assert set(traffic.outcomes) <= {"200", "503 model_provisioning", "503 internal_error"}
    logs = "".join(p.read_text(errors="replace") for p in (stack.home / "logs/serve").glob("*.log"))
    assert "crashed, marking it unhealthy" in logs


def test_the_engine_hangs(stack: Stack) -> None:
    """A stopped process cannot answer its health check, whatever made it stop."""
    with Traffic(stack) as traffic:
        time.sleep(1)
        victim, before = embedder(stack), set(stack.replica_pids("Embedder"))
        os.kill(victim, signal.SIGSTOP)
        took_s = wait_for_new_replica(stack, "Embedder", before, timeout_s=120)
        time.sleep(3)
    print(f"replaced after {took_s:.1f} s; {dict(traffic.outcomes)}")
    assert not traffic.wrong
    assert embedder(stack) != victim


def test_the_gateway_is_killed(stack: Stack) -> None:
    with Traffic(stack) as traffic:
        time.sleep(1)
        (victim,) = stack.replica_pids("Gateway")
        os.kill(victim, signal.SIGKILL)
        took_s = wait_for_new_replica(stack, "Gateway", {victim})
        back_s = time.monotonic()
        time.sleep(3)
    print(f"serving again after {took_s:.1f} s; {dict(traffic.outcomes)}")
    assert traffic.last_success_s > back_s
    assert not traffic.wrong


def test_the_store_is_killed(stack: Stack) -> None:
    before = stack.admin("GET", f"/projects/{stack.dev['project_id']}").json()
    os.kill(stack.redis().info("server")["process_id"], signal.SIGKILL)
    deadline_s = time.monotonic() + 30
    statuses: Counter[int] = Counter()
    while time.monotonic() < deadline_s:
        response = stack.admin("GET", f"/projects/{stack.dev['project_id']}")
        statuses[response.status_code] += 1
        if response.status_code == 200:
            break
        assert (response.status_code, response.json()["error"]["code"]) == (503, "capacity_exceeded")
        time.sleep(0.2)
    print(dict(statuses))
    assert response.json() == before
