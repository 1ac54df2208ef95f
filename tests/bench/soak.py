"""Minutes of mixed load: nothing grows, nothing is left."""

import contextlib
import json
import re
import socket
import statistics
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from tests.bench.load import MODEL, Target, new_text, start
from tests.bench.phases import configuration, target_of
from tests.stack import Stack

SETTLING_S = 300
"""Until caches are full, allocators have what they need, and the first ended holds are forgotten."""

REMEMBER_S = 120

_EXPORT_S = 11

GROWTH = 0.03
SMALL_BYTES = 2_000_000
"""Growth that counts as none, for processes of a few megabytes."""

_TITLES = (
    "ServeReplica",
    "ServeController",
    "ProxyActor",
    "HAProxyManager",
    "valkey",
    "haproxy",
    "gcs_server",
    "raylet",
)


@dataclass
class Memory:
    """Resident bytes of one process, as read again and again."""

    title: str
    early: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """Between the medians, as a share."""
        if not self.early or not self.late:
            return 0.0
        before, after = statistics.median(self.early), statistics.median(self.late)
        return (after - before) / before if after - before > SMALL_BYTES else 0.0


def soak(folder: Path, *, minutes: int, say: Console) -> dict[str, object]:
    """Run it and show it; returns what is kept of it."""
    config = configuration(folder, "")
    # An ended hold is remembered for a quarter of an hour by default, which is bounded, but longer than this.
    config.write_text(
        config.read_text().replace("      log:\n", f"      ledger: {{remember_s: {REMEMBER_S}}}\n      log:\n")
    )
    stack = Stack(folder / "soak", config=config)
    say.print(f"{minutes} minutes of mixed load, after {SETTLING_S} s to settle …")
    stack.start()
    try:
        target = target_of(stack, "soak")
        start(target, "warm-up", 8, 0, 3).result()
        tasks_before = settled(stack, "embedgate_tasks")
        memories = drive(stack, target, SETTLING_S + minutes * 60)
        time.sleep(10)
        left = {
            "held nano-USD": held(stack),
            "items queued": gauge(stack, "embedgate_queue_items"),
            "tokens under way": gauge(stack, "embedgate_dispatch_tokens"),
            "tasks more than before": max(0.0, settled(stack, "embedgate_tasks") - tasks_before),
        }
        statuses: dict[str, int] = {}
        for line in stack.request_lines():
            statuses[str(line["status"])] = statuses.get(str(line["status"]), 0) + 1
    finally:
        stack.interrupt()
    return show(memories, left, statuses, say)


def drive(stack: Stack, target: Target, seconds: int) -> dict[int, Memory]:
    """Load of all kinds, and the memory of every process meanwhile."""
    began_s = time.monotonic()
    loads = [
        start(target, "soak", 6, 0, seconds),
        start(replace(target, tier="flex"), "soak", 4, 0, seconds, inputs=16, encoding_format="float"),
        start(replace(target, tier="priority"), "soak", 1, 0, seconds),
        start(target, "soak", 2, 0, seconds, same=True),
    ]
    stop = threading.Event()
    rude = threading.Thread(target=misbehave, args=(target, stop))
    rude.start()
    memories: dict[int, Memory] = {}
    while (passed_s := time.monotonic() - began_s) < seconds:
        for process in stack.processes():
            with contextlib.suppress(psutil.Error):
                read(memories, process, passed_s, seconds)
        time.sleep(2)
    stop.set()
    rude.join()
    for load in loads:
        load.result()
    return memories


def read(memories: dict[int, Memory], process: psutil.Process, passed_s: float, seconds: int) -> None:
    """Note the memory of a process that is ours to answer for."""
    words = " ".join(process.cmdline()[:4])
    title = next((title for title in _TITLES if title in words), None)
    if title is None:
        return
    memory = memories.setdefault(process.pid, Memory(words[:48] if title == "ServeReplica" else title))
    if SETTLING_S < passed_s < SETTLING_S + 60:
        memory.early.append(process.memory_info().rss)
    elif passed_s > seconds - 60:
        memory.late.append(process.memory_info().rss)


def misbehave(target: Target, stop: threading.Event) -> None:
    """Callers who go before their answer comes, and bodies that are no requests."""
    body = json.dumps({"model": MODEL, "input": [new_text() for _ in range(64)]}).encode()
    head = (
        f"POST {target.path} HTTP/1.1\r\nHost: embedgate\r\nAuthorization: Bearer {target.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with httpx.Client(headers={"Authorization": f"Bearer {target.key}"}) as client:
        while not stop.wait(0.5):
            with socket.create_connection(("127.0.0.1", target.port)) as caller:
                caller.sendall(head.encode() + body)
                stop.wait(0.02)
            url = f"http://127.0.0.1:{target.port}{target.path}"
            with contextlib.suppress(httpx.HTTPError):
                client.post(url, content=b'{"model": ', timeout=30)


def gauge(stack: Stack, name: str) -> float:
    """Sum over all that export it."""
    text = httpx.get(f"http://127.0.0.1:{stack.metrics_port}/metrics", timeout=10).text
    return sum(float(found[1]) for found in re.finditer(rf"(?m)^ray_{name}(?:{{.*}})? (\S+)$", text))


def settled(stack: Stack, name: str) -> float:
    """A gauge, once two of Ray's exports agree: a process is seen ten seconds after its start."""
    before, now = -1.0, gauge(stack, name)
    while before != now:
        time.sleep(_EXPORT_S)
        before, now = now, gauge(stack, name)
    return now


def held(stack: Stack) -> float:
    """Over all projects."""
    ids = [project["project_id"] for project in stack.admin("GET", "/projects").json()["data"]]
    return float(sum(stack.admin("GET", f"/projects/{one}").json()["balance"]["held"] for one in ids))


def show(
    memories: dict[int, Memory], left: dict[str, float], statuses: dict[str, int], say: Console
) -> dict[str, object]:
    """A table of memory, and what is left."""
    table = Table("process", "MB when settled", "MB at the end", "growth %", "")
    for memory in sorted(memories.values(), key=lambda m: -m.growth):
        if memory.early and memory.late:
            before, after = (statistics.median(part) / 1e6 for part in (memory.early, memory.late))
            holds = "holds" if memory.growth < GROWTH else "does not hold"
            table.add_row(memory.title, f"{before:.1f}", f"{after:.1f}", f"{100 * memory.growth:.1f}", holds)
    say.print(table)
    for name, amount in left.items():
        say.print(f"{name}: {amount:g} ({'holds' if amount == 0 else 'does not hold'})")
    say.print(f"answers by status: {statuses}")
    growths = {
        f"{memory.title} {pid}": memory.growth for pid, memory in memories.items() if memory.early and memory.late
    }
    return {"growth": growths, "left": left, "statuses": statuses}
