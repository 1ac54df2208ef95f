"""The two halves of the bench: with the real engine, and with one that computes nothing."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from app.core.metric_names import STEP_MS
from tests.bench.load import MODEL, Caller, Running, Sample, Target, new_text, start
from tests.bench.report import NULL, SERVICE
from tests.bench.systems import EngineProcess, NotAvailable, Server, infinity, litellm, vllm_server
from tests.stack import ROOT, Stack

CONNECTIONS = (1, 8, 64)
OPEN_USER = "without-a-ledger"
MANY_INPUTS = 2048
EXPORT_S = 12
"""Until metrics have arrived at the exporter."""


def configuration(folder: Path, testing: str) -> Path:
    """``configs/serve.yaml`` with some settings for tests."""
    text = (ROOT / "configs/serve.yaml").read_text()
    path = folder / "serve.yaml"
    path.write_text(text.replace("      log:\n", f"      testing: {{{testing}}}\n      log:\n") if testing else text)
    return path


def target_of(stack: Stack, name: str) -> Target:
    """The demo endpoint of a running service."""
    path = stack.dev["base_url"].split(str(stack.port))[1] + "/embeddings"
    return Target(name, stack.port, path, stack.dev["api_key"])


class RealEngine:
    """This service, vLLM's server, Infinity and the bare engine, side by side."""

    def __init__(self, folder: Path, stack: Stack, *, rounds: int, seconds: int, say: Console) -> None:
        self.service = target_of(stack, SERVICE)
        self.samples: list[Sample] = []
        self._rounds, self._seconds, self._say = rounds, seconds, say
        self._stack = stack
        self._small = self._second_project()
        self._engine = EngineProcess(folder)
        self._servers: list[Server] = []
        for begin in (vllm_server, infinity):
            try:
                server = begin(folder)
                server.wait()
            except NotAvailable as error:
                say.print(f"skipped: {error}")
                continue
            server.pause()
            self._servers.append(server)

    def run(self) -> None:
        """All rounds."""
        self._engine_steps()
        for number in range(1, self._rounds + 1):
            self._short_texts(number)
            self._many_inputs(number)
            self._tiers(number)
            self._projects(number)
            self._say.print(f"round {number} of {self._rounds} done")

    def stop(self) -> None:
        """End the peers."""
        self._engine.stop()
        for server in self._servers:
            server.stop()

    def _short_texts(self, number: int) -> None:
        for connections in CONNECTIONS:
            turns: list[Callable[[int, int], Sample]] = [self._own, self._bare]
            turns += [partial(self._peer, server) for server in self._servers]
            for turn in turns if number % 2 else turns[::-1]:
                self.samples.append(turn(connections, number))

    def _own(self, connections: int, number: int) -> Sample:
        return self._warmed_up(self.service, connections, number)

    def _peer(self, server: Server, connections: int, number: int) -> Sample:
        server.resume()
        sample = self._warmed_up(server.target, connections, number)
        server.pause()
        return sample

    def _warmed_up(self, target: Target, connections: int, number: int) -> Sample:
        start(target, "", connections, number, 1).result()  # pages and caches come back
        return start(target, "short texts", connections, number, self._seconds).result()

    def _bare(self, items: int, number: int) -> Sample:
        self._engine.ask("rate", items, 1)
        answer = self._engine.ask("rate", items, self._seconds)
        p50_ms = answer["p50_ms"]
        return Sample("short texts", self._engine.name, items, number, answer["items_per_s"], p50_ms, p50_ms)

    def _many_inputs(self, number: int) -> None:
        sample = start(self.service, "32 inputs", 4, number, self._seconds, inputs=32).result()
        self.samples.append(sample)
        bare = self._engine.ask("rate", 64, self._seconds)["items_per_s"] / 32
        self.samples.append(Sample("32 inputs", self._engine.name, 4, number, bare, 0.0, 0.0))
        for encoding_format in ("base64", "float"):
            took_ms = one_large_request(self.service, encoding_format)
            bare_ms = self._engine.ask("once", MANY_INPUTS)["took_ms"]
            for name, ms in ((SERVICE, took_ms), (self._engine.name, bare_ms)):
                self.samples.append(Sample(f"2,048 inputs, {encoding_format}", name, 1, number, 1000 / ms, ms, ms))

    def _engine_steps(self) -> None:
        """How long an engine's step is while flex alone saturates it: what tiers are measured in."""
        time.sleep(EXPORT_S)
        before = step_totals(self._stack)
        start(replace(self.service, tier="flex"), "", 64, 0, 2 * self._seconds).result()
        time.sleep(EXPORT_S)
        total_ms, count = (after - then for after, then in zip(step_totals(self._stack), before, strict=True))
        step_ms = total_ms / count
        self.samples.append(Sample("steps", SERVICE, 64, 0, 1000 / step_ms, step_ms, step_ms))

    def _tiers(self, number: int) -> None:
        def of(tier: str) -> Target:
            return replace(self.service, name=tier, tier=tier)

        self.samples.append(start(of("priority"), "priority alone", 1, number, self._seconds).result())
        longer_s = 2 * self._seconds  # of one caller's few hundred requests the p99 are two or three
        self._together(
            [start(of("flex"), "flood of flex", 64, number, longer_s + 2)],
            [start(of(t), "flood of flex", 1, number, longer_s) for t in ("priority", "default")],
        )
        self._together(
            [start(of("priority"), "flood of priority", 64, number, self._seconds)],
            [start(of("flex"), "flood of priority", 8, number, self._seconds)],
        )

    def _projects(self, number: int) -> None:
        small = self._small
        self.samples.append(start(small, "small project alone", 4, number, self._seconds).result())
        self._together(
            [start(replace(self.service, name="large project"), "two projects", 64, number, self._seconds)],
            [start(small, "two projects", 4, number, self._seconds)],
        )

    def _together(self, *groups: Sequence[Running]) -> None:
        """Loads that run side by side. Those whose shares are compared are of equal length, or one would count
        what it was served alone."""
        self.samples += [running.result() for group in groups for running in group]

    def _second_project(self) -> Target:
        project: dict[str, Any] = self._stack.admin("POST", "/projects", {"name": "Small", "slug": "small"}).json()
        path = f"/projects/{project['project_id']}"
        self._stack.admin("POST", f"{path}/endpoints", {"slug": "embed", "model": MODEL})
        self._stack.admin("POST", f"{path}/grants", {"amount_nano_usd": 10**15, "reason": "bench"})
        key = self._stack.admin("POST", f"{path}/keys", {"name": "bench"}).json()["api_key"]
        return Target("small project", self.service.port, f"/{project['project_id']}/embed/v1/embeddings", key)


class NullEngine:
    """This service around an engine that computes nothing, and LiteLLM before a backend that does the same."""

    def __init__(self, folder: Path, stack: Stack, *, rounds: int, seconds: int, say: Console) -> None:
        self.service = target_of(stack, NULL)
        self.samples: list[Sample] = []
        self._rounds, self._seconds, self._say = rounds, seconds, say
        self._peer: Server | None = None
        try:
            self._peer, self._backend = litellm(folder)
            self._peer.wait()
            self._peer.pause()
        except NotAvailable as error:
            say.print(f"skipped: {error}")
            self._peer = None

    def run(self) -> None:
        """All rounds."""
        for number in range(1, self._rounds + 1):
            for connections in CONNECTIONS:
                self.samples.append(start(self.service, "null engine", connections, number, self._seconds).result())
                cached = start(self.service, "all cached", connections, number, self._seconds, same=True).result()
                self.samples.append(cached)
                if self._peer is not None:
                    self._peer.resume()
                    sample = start(self._peer.target, "null engine", connections, number, self._seconds).result()
                    self.samples.append(sample)
                    self._peer.pause()
            self._say.print(f"round {number} of {self._rounds} done")

    def stop(self) -> None:
        """End the peer."""
        if self._peer is not None:
            self._peer.stop()
            self._backend.terminate()


def step_totals(stack: Stack) -> tuple[float, float]:
    """Milliseconds and number of all engine steps so far."""
    text = httpx.get(f"http://127.0.0.1:{stack.metrics_port}/metrics", timeout=10).text
    sums = (re.findall(rf"(?m)^ray_{STEP_MS}_{what}{{.*}} (\S+)$", text) for what in ("sum", "count"))
    total_ms, count = (sum(map(float, found)) for found in sums)
    return total_ms, count


def one_large_request(target: Target, encoding_format: str) -> float:
    """Milliseconds for a request of 2,048 new texts."""
    caller = Caller(target)
    try:
        return caller.post(input=[new_text() for _ in range(MANY_INPUTS)], encoding_format=encoding_format)
    finally:
        caller.close()
