"""The running service for tests: started as a person starts it, on ports and in a folder of its own."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import redis

from app.stores.embedded_redis import socket_path
from deployments.local.processes import processes_of

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 180


_PORTS = range(20_000, 30_000)
"""Above Ray's workers' ports, below Serve's and those that the system gives to outgoing connections."""

_given: set[int] = set()
_giving = threading.Lock()


def free_port() -> int:
    """A port that nobody listens on, given once in this process."""
    for port in random.SystemRandom().sample(_PORTS, 1000):
        with _giving, socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if port not in _given:
                probe.bind(("127.0.0.1", port))
                _given.add(port)
                return port
    raise AssertionError("no free port")


@dataclass
class Stack:
    """``make serve`` in a folder of its own."""

    home: Path
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    config: Path = ROOT / "configs/serve.yaml"
    process: subprocess.Popen[bytes] | None = None
    more_environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        log = self.log_path.open("ab")
        command = [sys.executable, "-m", "deployments.local.serve", "--home", str(self.home), "--port", str(self.port)]
        environment = {**os.environ, **self.more_environment, "EMBEDGATE_METRICS_PORT": str(self.metrics_port)}
        self.process = subprocess.Popen(
            [*command, "--config", str(self.config)],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            env=environment,
            process_group=0,
        )
        self.wait_for("Ctrl-C stops everything")

    def wait_for(self, sentence: str, timeout_s: float = START_TIMEOUT_S) -> None:
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            assert self.process is not None
            if sentence in self.output()[self._seen :]:
                self._seen = len(self.output())
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.2)
        raise AssertionError(f"the service did not say {sentence!r}:\n{self.output()[-4000:]}")

    _seen: int = 0

    @property
    def log_path(self) -> Path:
        self.home.mkdir(parents=True, exist_ok=True)
        return self.home / "serve.log"

    def output(self) -> str:
        return self.log_path.read_text(errors="replace")

    def interrupt(self, timeout_s: float = 60) -> int:
        """Ctrl-C, as a terminal sends it: to the supervisor's whole group."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(timeout_s)

    def kill_everything(self) -> None:
        """``kill -9`` of every process of the service, at once."""
        assert self.process is not None
        victims = [*self.processes(), psutil.Process(self.process.pid)]
        for process in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(victims, timeout=10)
        self.process.wait(10)

    def processes(self) -> list[psutil.Process]:
        return processes_of(self.home)

    def replica_pids(self, deployment: str) -> list[int]:
        title = f"ray::ServeReplica:embedgate:{deployment}"
        found = []
        for process in self.processes():
            try:
                if process.cmdline() and process.cmdline()[0].startswith(title):
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found

    @property
    def dev(self) -> dict[str, str]:
        return dict(json.loads((self.home / "dev.json").read_text()))

    @property
    def root_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def bare_url(self) -> str:
        return f"{self.root_url}/v1"

    def admin(self, method: str, path: str, body: object = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.dev['admin_token']}"}
        return httpx.request(method, f"{self.root_url}/admin/v1{path}", json=body, headers=headers, timeout=20)

    def redis(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(socket_path(self.home / "redis")))

    def request_lines(self) -> list[dict[str, object]]:
        """Every request line of every gateway that lived so far."""
        texts = [path.read_text(errors="replace") for path in (self.home / "logs").glob("worker-*.out")]
        lines = [line for text in texts for line in text.splitlines()]
        return [json.loads(line) for line in lines if line.startswith("{") and '"event":"request"' in line]
