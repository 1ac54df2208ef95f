"""What an operator sees: metrics, logs, ports, memory, the command line."""

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import psutil
import pytest

from app.core.metric_names import METRICS, Kind
from tests.stack import ROOT, Stack

pytestmark = pytest.mark.stack


def embed(stack: Stack, **fields: object) -> httpx.Response:
    body = {"model": stack.dev["model"], "input": "hello", **fields}
    return httpx.post(
        f"{stack.bare_url}/embeddings",
        json=body,
        headers={"Authorization": f"Bearer {stack.dev['api_key']}", "x-request-id": str(fields.get("user", "none"))},
        timeout=30,
    )


def test_metrics_come_out_of_rays_exporter(stack: Stack) -> None:
    for n in range(3):
        assert embed(stack, input=[f"metric {n}", "metric", "metric"]).status_code == 200
    rare = {"embedgate_embedder_retries", "embedgate_engine_failures", "embedgate_admission_refusals"}
    rare |= {
        "embedgate_shed_requests",
        "embedgate_local_admissions",
        "embedgate_unsettled_holds",
        "embedgate_expired_holds",
        "embedgate_batch_lines",
        "embedgate_webhooks",
    }
    wanted = {f"ray_{m.name}{'_total' if m.kind is Kind.COUNTER else ''}": m for m in METRICS if m.name not in rare}
    deadline_s = time.monotonic() + 30
    missing, rows = set(wanted), list[str]()
    while missing and time.monotonic() < deadline_s:
        text = httpx.get(f"http://127.0.0.1:{stack.metrics_port}/metrics").text
        # Not all at one moment: Ray drops a gauge that nobody set for a while.
        missing = {n for n in missing if f"\n{n}{{" not in text and f"\n{n}_bucket{{" not in text}
        rows += text.splitlines()
        time.sleep(1)
    assert not missing
    for name, metric in wanted.items():
        line = next(row for row in rows if row.startswith((f"{name}{{", f"{name}_bucket{{")))
        assert all(f'{label}="' in line for label in metric.labels), line


def test_a_request_is_counted_once_and_never_again(stack: Stack) -> None:
    """Ray's agent adds up what it is told; told a total again, it would count forever."""

    def counted() -> tuple[float, ...]:
        time.sleep(11)  # Ray exports every ten seconds
        rows = httpx.get(f"http://127.0.0.1:{stack.metrics_port}/metrics").text.splitlines()
        found = []
        for name in ("request_ms_count", "requests_total", 'stage_ms_total{stage="embed"'):
            family, _, label = f"ray_embedgate_{name}".partition("{")
            mine = [r for r in rows if r.startswith(f"{family}{{") and 'tier="flex"' in r and label in r]
            found.append(sum(float(row.rpartition(" ")[2]) for row in mine))
        return tuple(found)

    before, again = counted(), counted()
    while before != again:
        before, again = again, counted()
    for n in range(5):
        assert embed(stack, input=f"counted {n}", service_tier="flex").status_code == 200
    after, later = counted(), counted()
    assert [x - y for x, y in zip(later, before, strict=True)][:2] == [5, 5]
    assert later[2] > before[2]
    assert counted() == later, after


def test_one_line_a_request_without_keys_or_inputs(stack: Stack) -> None:
    response = embed(stack, input=["private words", "private words"], user="log-check", service_tier="flex")
    assert response.headers["x-request-id"] == "log-check"
    time.sleep(0.5)
    lines = [line for line in stack.request_lines() if line["request_id"] == "log-check"]
    assert len(lines) == 1
    (line,) = lines
    assert (line["project_id"], line["endpoint"], line["tier"]) == (stack.dev["project_id"], "embed", "flex")
    assert (line["tokens"], line["cached_tokens"], line["status"]) == (8, 4, 200)
    assert set(line["stages_ms"]) == {"authenticate", "parse", "tokenize", "admit", "embed", "settle", "serialize"}
    everything = "".join(p.read_text(errors="replace") for p in (stack.home / "logs").rglob("*.*") if p.is_file())
    assert "private words" not in everything
    assert stack.dev["api_key"].rpartition("_")[2] not in everything


def test_nothing_listens_beyond_loopback(stack: Stack) -> None:
    for process in stack.processes():
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                address = connection.laddr.ip.removeprefix("::ffff:")
                assert address in ("127.0.0.1", "::1"), f"{process.name()} listens on {connection.laddr}"


def test_secrets_are_the_owners_alone(stack: Stack) -> None:
    assert (stack.home / "dev.json").stat().st_mode & 0o777 == 0o600
    assert stack.home.stat().st_mode & 0o077 == 0
    assert set(stack.dev) == {"base_url", "project_id", "endpoint", "model", "api_key", "admin_token"}
    assert all(isinstance(value, str) for value in stack.dev.values())


def test_only_hashes_are_in_the_store(stack: Stack) -> None:
    secret = stack.dev["api_key"].rpartition("_")[2].encode()
    for path in (stack.home / "redis").rglob("*.aof"):
        assert secret not in path.read_bytes()


def run_cli(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "EMBEDGATE_URL": stack.root_url,
        "EMBEDGATE_ADMIN_TOKEN": stack.dev["admin_token"],
    }
    command = [str(Path(sys.executable).with_name("embedgate")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)


def test_apply_shows_changes_once(stack: Stack) -> None:
    file = str(ROOT / "configs/projects.example.yaml")
    dry = run_cli(stack, "apply", "-f", file, "--dry-run")
    assert "+ project search" in dry.stdout
    assert "nothing was done" in dry.stdout
    assert not stack.admin("GET", "/projects?slug=search").json()["data"]
    first = run_cli(stack, "apply", "-f", file)
    assert first.returncode == 0, first.stderr
    key = next(word for word in first.stdout.split() if word.startswith("eg_search_"))
    assert run_cli(stack, "apply", "-f", file).stdout == "nothing to change\n"
    response = httpx.post(
        f"{stack.bare_url}/embeddings",
        json={"model": "text-embedding-3-small", "input": "x"},
        headers={"Authorization": f"Bearer {key}"},
    )
    assert response.status_code == 200


def test_single_changes(stack: Stack) -> None:
    def ok(*arguments: str) -> str:
        result = run_cli(stack, *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    ok("project", "create", "cli", "--name", "By hand")
    ok("endpoint", "create", "e", "-p", "cli", "--model", stack.dev["model"], "--alias", "short")
    created = ok("key", "create", "k", "-p", "cli")
    key = next(word for word in created.split() if word.startswith("eg_cli_"))
    key_id = next(word for word in created.split() if word.startswith("key_") and word != "key_id")
    assert "short" in ok("endpoint", "list", "-p", "cli")
    assert key_id in ok("key", "list", "-p", "cli")
    headers = {"Authorization": f"Bearer {key}"}
    body = {"model": "short", "input": "x"}
    assert httpx.post(f"{stack.bare_url}/embeddings", json=body, headers=headers).status_code == 200
    ok("key", "revoke", key_id, "-p", "cli")
    time.sleep(1)
    assert httpx.post(f"{stack.bare_url}/embeddings", json=body, headers=headers).status_code == 401
    assert "By hand" in ok("project", "show", "cli")
    refused = run_cli(stack, "project", "create", "cli")
    assert (refused.returncode, refused.stderr) == (1, "embedgate: A project of that slug exists already.\n")
    assert run_cli(stack, "endpoint", "list", "-p", "nobody").stderr == "embedgate: there is no project 'nobody'\n"


def test_guesses_cost_redis_nothing(stack: Stack) -> None:
    embed(stack)
    client = stack.redis()
    before = client.info("commandstats")["cmdstat_hgetall"]["calls"]  # a project's directory is read with it
    good = stack.dev["api_key"]
    for n in range(200):
        forged = good[:-6] + f"{n:06d}".translate(str.maketrans("0189", "abcd"))
        response = httpx.get(f"{stack.bare_url}/models", headers={"Authorization": f"Bearer {forged}"})
        assert response.status_code == 401
    spent = client.info("commandstats")["cmdstat_hgetall"]["calls"] - before
    assert spent < 20, f"200 guesses cost {spent} reads"


def test_nobody_interrupts_who_computes(stack: Stack) -> None:
    if os.sched_getscheduler(0) not in (os.SCHED_OTHER, os.SCHED_BATCH):
        pytest.skip("the service keeps the policy that it was started under")
    policies = Counter[int]()
    for process in stack.processes():
        with contextlib.suppress(OSError):  # it, or a thread of it, ended meanwhile
            for thread in Path(f"/proc/{process.pid}/task").iterdir():
                policies[os.sched_getscheduler(int(thread.name))] += 1
    assert policies.keys() == {os.SCHED_BATCH}
    embedders = stack.replica_pids("Embedder-all-MiniLM-L6-v2")
    assert embedders
    for pid in embedders:
        names = {thread.read_text().strip() for thread in Path(f"/proc/{pid}/task").glob("*/comm")}
        assert len(names) > 1
        assert not any("gloo" in name for name in names)


def test_memory_at_rest(stack: Stack) -> None:
    limits_mb = {"Gateway": 300, "Embedder-all-MiniLM-L6-v2": 1300}
    for deployment, limit in limits_mb.items():
        pid = stack.replica_pids(deployment)[-1]
        resident = psutil.Process(pid).memory_info().rss / 1e6
        print(f"{deployment}: {resident:.0f} MB resident")
        assert resident <= limit
