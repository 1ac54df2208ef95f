"""Draws the Grafana dashboard's panels from a real Prometheus: ``python -m tests.kubernetes.render_dashboard``.

The service runs under mixed traffic for a while, Debian's Prometheus scrapes it, each panel's queries are asked as
Grafana would ask them, and what comes back is drawn into ``k8s/dashboard.png``. A query that is refused ends it.
"""

import itertools
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import matplotlib
import openai

from tests.kubernetes.manifests import K8S
from tests.stack import Stack, free_port

DASHBOARD = K8S / "base/dashboards/embedgate.json"
PICTURE = K8S / "dashboard.png"
LASTS_S = 150
STEP_S = 5
RATE_INTERVAL = "20s"
_COLUMNS = 3
_WORDS = Path(__file__).read_text().split()


@contextmanager
def prometheus(folder: Path, target_port: int) -> Iterator[str]:
    """One that scrapes the service every two seconds; its URL."""
    port = free_port()
    job = {"job_name": "embedgate", "static_configs": [{"targets": [f"127.0.0.1:{target_port}"]}]}
    config = folder / "prometheus.yml"
    config.write_text(json.dumps({"global": {"scrape_interval": "2s"}, "scrape_configs": [job]}))
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    log = (folder / "prometheus.log").open("wb")
    process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=log, stdout=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


class Callers:
    """All tiers, texts that come again, a project that runs into its limit, and a batch."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(tier,)) for tier in ("priority", "default", "flex")]

    def __enter__(self) -> "Callers":
        self._limit()
        for thread in self._threads:
            thread.start()
        self._client().batches.create(
            input_file_id=self._client().files.create(file=("b.jsonl", self._lines(400)), purpose="batch").id,
            endpoint="/v1/embeddings",
            completion_window="24h",
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(60)

    def _client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self._stack.bare_url, api_key=self._stack.dev["api_key"], max_retries=0)

    def _limit(self) -> None:
        project = f"/projects/{self._stack.dev['project_id']}"
        price = {"price_nano_usd_per_mtok": 20_000_000}
        self._stack.admin("PATCH", f"{project}/endpoints/{self._stack.dev['endpoint']}", price)
        self._stack.admin(
            "POST", f"{project}/grants", {"amount_nano_usd": 10**11, "reason": "drawn", "grant_id": "drawn"}
        )
        limits = {"requests_per_minute": 900, "request_burst": 60}
        self._stack.admin("PATCH", project, {"limits": limits})

    def _lines(self, count: int) -> bytes:
        body = {"model": self._stack.dev["model"]}
        lines = [
            {"custom_id": str(n), "method": "POST", "url": "/v1/embeddings", "body": {**body, "input": self._text()}}
            for n in range(count)
        ]
        return "\n".join(map(json.dumps, lines)).encode()

    def _text(self) -> str:
        return " ".join(random.choices(_WORDS, k=8))

    def _call(self, tier: str) -> None:
        client = self._client()
        while not self._ending.is_set():
            texts = [self._text(), random.choice(("one that comes again", "and another"))]
            try:
                client.embeddings.create(model=self._stack.dev["model"], input=texts, extra_body={"service_tier": tier})
            except openai.APIStatusError:
                self._ending.wait(0.5)


def ask(url: str, expression: str, *, ends_s: float) -> list[dict[str, Any]]:
    """A range query, as Grafana makes it."""
    query = expression.replace("$__rate_interval", RATE_INTERVAL)
    given = {"query": query, "start": ends_s - LASTS_S, "end": ends_s, "step": STEP_S}
    answer = httpx.get(f"{url}/api/v1/query_range", params=given, timeout=20).json()
    if answer["status"] != "success":
        raise SystemExit(f"Prometheus refuses {query}: {answer}")
    return list(answer["data"]["result"])


def draw(url: str, *, ends_s: float) -> int:
    """Draw all panels; how many of them have data."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]
    rows = -(-len(panels) // _COLUMNS)
    figure, axes = pyplot.subplots(rows, _COLUMNS, figsize=(18, 2.9 * rows), layout="constrained")
    figure.suptitle("Embedgate: the dashboard's panels, drawn from Prometheus")
    filled = 0
    for panel, axis in itertools.zip_longest(panels, axes.flat):
        if panel is None:
            axis.axis("off")
            continue
        series = [(t, one) for t in panel["targets"] for one in ask(url, t["expr"], ends_s=ends_s)]
        for target, one in series:
            points = [(float(at) - ends_s, float(value)) for at, value in one["values"] if value != "NaN"]
            axis.plot(
                *zip(*points, strict=True) if points else ([], []), label=legend(target["legendFormat"], one["metric"])
            )
        filled += bool(series)
        axis.set_title(f"{panel['title']} ({panel['fieldConfig']['defaults']['unit']})", fontsize=9)
        axis.set_xlim(-LASTS_S, 0)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
        if series:
            axis.legend(fontsize=6, loc="upper left")
        else:
            axis.text(0.5, 0.5, "nothing to show", transform=axis.transAxes, ha="center", color="grey")
    figure.savefig(PICTURE, dpi=70)
    return filled


def legend(template: str, labels: Mapping[str, str]) -> str:
    """Grafana's ``{{label}}``."""
    for name, value in labels.items():
        template = template.replace("{{" + name + "}}", value)
    return template


def main() -> int:
    """Serve, scrape, call, draw."""
    if shutil.which("prometheus") is None:
        raise SystemExit("Prometheus is not installed (Debian: apt-get install prometheus)")
    folder = Path(tempfile.mkdtemp(prefix="embedgate-dashboard-"))
    stack = Stack(folder / "home", port=8000)
    stack.start()
    try:
        with prometheus(folder, stack.metrics_port) as url:
            with Callers(stack):
                time.sleep(LASTS_S)
            filled = draw(url, ends_s=time.time())
    finally:
        stack.interrupt()
    sys.stdout.write(f"{PICTURE}: {filled} panels have data\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
