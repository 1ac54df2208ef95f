"""``serve run`` with a Redis of the operator's own, named in the file as the README says."""

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from app.cli.config import check_file
from app.stores.embedded_redis import EmbeddedRedis
from deployments.fast_ingress import FAST_INGRESS
from tests.collector import Collector
from tests.stack import ROOT, free_port

pytestmark = pytest.mark.own_stack
TOKEN = "token-of-the-operator"
TRACE = "a" * 32


def test_the_same_application_is_deployed(tmp_path: Path) -> None:
    store = EmbeddedRedis(tmp_path / "operators-redis")
    store.start()
    port = free_port()
    config = tmp_path / "serve.yaml"
    variables = f"{{REDIS_URL: '{store.url}', EMBEDGATE_ADMIN_TOKEN: {TOKEN}}}"
    collector = Collector()
    text = (ROOT / "configs/serve.yaml").read_text().replace("port: 8000", f"port: {port}")
    text += f"      tracing:\n        otlp_url: {collector.url}\n        follow_callers: true\n"
    config.write_text(text.replace("    args:\n", f"    runtime_env: {{env_vars: {variables}}}\n    args:\n"))
    assert check_file(config) == []
    mark = secrets.token_hex(8)
    environment = {
        **os.environ,
        **FAST_INGRESS,
        "EMBEDGATE_TEST_MARK": mark,
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("serve")), "run", str(config)],
            cwd=ROOT, env=environment, stdout=log, stderr=log, process_group=0,
        )  # fmt: skip
    try:
        use(f"http://127.0.0.1:{port}", tmp_path / "log")
        see_its_trace(collector)
    finally:
        collector.close()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            end_marked(mark)
            store.stop()


def see_its_trace(collector: Collector) -> None:
    """Gateway and embedder tell of one request in one trace."""
    wanted = {
        "embeddings",
        "authenticate",
        "parse",
        "tokenize",
        "admit",
        "embed",
        "settle",
        "serialize",
        "queue",
        "step",
    }
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        spans = [span for span in collector.spans if span.trace_id.hex() == TRACE]
        if wanted <= {span.name for span in spans}:
            break
        time.sleep(0.5)
    assert {span.name for span in spans} == wanted
    (root,) = (span for span in spans if span.name == "embeddings")
    assert root.parent_span_id.hex() == "b" * 16
    assert {span.parent_span_id for span in spans if span is not root} == {root.span_id}
    for span in spans:
        assert root.start_time_unix_nano - 10**7 <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= root.end_time_unix_nano + 10**7


def use(url: str, log: Path) -> None:
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s:
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                break
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    else:
        raise AssertionError(log.read_text(errors="replace")[-4000:])
    admin = httpx.Client(base_url=f"{url}/admin/v1", headers={"Authorization": f"Bearer {TOKEN}"})
    project = admin.post("/projects", json={"name": "Run", "slug": "run"}).json()["project_id"]
    admin.post(f"/projects/{project}/endpoints", json={"slug": "e", "model": "all-MiniLM-L6-v2"})
    key = admin.post(f"/projects/{project}/keys", json={"name": "k"}).json()["api_key"]
    response = httpx.post(
        f"{url}/v1/embeddings",
        json={"model": "all-MiniLM-L6-v2", "input": "hello"},
        headers={"Authorization": f"Bearer {key}", "traceparent": f"00-{TRACE}-{'b' * 16}-01"},
        timeout=30,
    )
    assert response.headers["traceresponse"].startswith(f"00-{TRACE}-")
    assert len(response.json()["data"][0]["embedding"]) == 384
    names = " ".join(" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))
    assert "EmbeddedRedisServer" not in names


def end_marked(mark: str) -> None:
    """End what the test started and Ray left behind."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("EMBEDGATE_TEST_MARK") == mark:
                process.kill()
        except psutil.Error:
            continue
