"""Load: rounds from wrk, a native process of its own, and single requests that are timed."""

import json
import math
import os
import random
import re
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

MODEL = "all-MiniLM-L6-v2"
# Each is one token of the model's, here and in the script for wrk: a text of 22 words has 24 with its two marks, like
# the engine's own items that it is held against.
_WORDS = (
    *("payment", "customer", "vector", "ocean", "granite", "melody", "theorem"),
    *("garden", "protein", "engine", "harbour", "winter", "signal"),
)
_LENGTH = re.compile(rb"(?is)\r\ncontent-length: *(\d+).*?\r\n\r\n")
SCRIPT = str(Path(__file__).with_name("new_texts.lua"))


@dataclass(frozen=True)
class Target:
    """A server that speaks the OpenAI API."""

    name: str
    port: int
    path: str
    key: str
    user: str = ""
    tier: str = ""


@dataclass(frozen=True)
class Sample:
    """One round of one system. ``case`` names the load."""

    case: str
    system: str
    connections: int
    round: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failed: int = 0
    mean_ms: float = 0.0
    took_s: float = 0.0

    @property
    def settled_per_s(self) -> float:
        """An estimate of the throughput that counts what the round's end cut off, which weighs where few requests
        are served: by Little's law, and at most one more request a connection than were answered."""
        if not self.mean_ms:
            return 0.0
        return min(self.connections / self.mean_ms * 1000, self.requests_per_s + self.connections / self.took_s)


@dataclass
class Running:
    """A load under way; several may run at a time."""

    target: Target
    case: str
    connections: int
    number: int
    process: "subprocess.Popen[str]"

    def result(self) -> Sample:
        """Wait for its end."""
        text, _ = self.process.communicate()
        failed = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
        return Sample(
            case=self.case,
            system=self.target.name,
            connections=self.connections,
            round=self.number,
            requests_per_s=float(_find(r"Requests/sec:\s+([\d.]+)", text)),
            p50_ms=_milliseconds(_find(r"(?m)^\s+50%\s+(\S+)", text)),
            p99_ms=_milliseconds(_find(r"(?m)^\s+99%\s+(\S+)", text)),
            failed=int(failed[1]) if failed else 0,
            took_s=_milliseconds(_find(r"requests in ([\d.]+\w+),", text)) / 1000,
            mean_ms=_milliseconds(_find(r"(?m)^\s+Latency\s+([\d.]+\S+)", text)),
        )


def start(
    target: Target, case: str, connections: int, number: int, seconds: int, *, inputs: int = 1, same: bool = False,
    encoding_format: str = "base64", words: int = 22, threads: int = 1,
) -> Running:  # fmt: skip
    """Begin a round; ``same`` repeats one text, for what is about the cache. A text has ``words`` + 2 tokens."""
    environment = {**os.environ, "BENCH_PATH": target.path, "BENCH_KEY": target.key, "BENCH_MODEL": MODEL}
    environment |= {"BENCH_INPUTS": str(inputs), "BENCH_FORMAT": encoding_format, "BENCH_WORDS": str(words)}
    environment["BENCH_SEED"] = str(random.SystemRandom().randrange(1 << 30))
    chosen = {"BENCH_USER": target.user, "BENCH_TIER": target.tier, "BENCH_SAME": "1" if same else ""}
    environment |= {name: value for name, value in chosen.items() if value}
    command = [
        "wrk",
        f"-t{threads}",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "--timeout",
        "60s",
        "-s",
        SCRIPT,
    ]
    process = subprocess.Popen(
        [*command, f"http://127.0.0.1:{target.port}"], stdout=subprocess.PIPE, text=True, env=environment
    )
    return Running(target, case, connections, number, process)


def new_text() -> str:
    """24 tokens that were never sent before."""
    return " ".join(random.choices(_WORDS, k=22))


class Caller:
    """One connection to a server, on which one embedding request at a time is timed.

    Written on a socket because a client library's reading of headers costs as much as what is
    measured with it: the clock stops when the answer's last byte is there.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._socket = socket.create_connection(("127.0.0.1", target.port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, **body: object) -> float:
        """Milliseconds until the request is answered whole."""
        target = self._target
        content = json.dumps({"model": MODEL, "encoding_format": "base64", **body}).encode()
        head = (
            f"POST {target.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {target.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        began_s = time.perf_counter()
        self._socket.sendall(head.encode() + content)
        answer, end = bytearray(), math.inf
        while len(answer) < end:
            part = self._socket.recv(1 << 20)
            if not part:
                raise SystemExit(f"{target.name} closed the connection")
            answer += part
            if end == math.inf and b"\r\n\r\n" in answer:
                found = _LENGTH.search(answer)
                if found is None:
                    raise SystemExit(f"{target.name} does not say how long its answer is: {bytes(answer[:500])!r}")
                end = found.end() + int(found[1])
        took_ms = (time.perf_counter() - began_s) * 1000
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{target.name} answered {bytes(answer[:500])!r}")
        return took_ms

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def _find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"wrk said something else:\n{text}")
    return match[1]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}[unit]
