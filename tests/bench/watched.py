"""What consoles that are open cost the embedding path: with the null engine, and a thousand projects to look at.

Each round drives the service three times: looked at by some operators, and before and after that by
nobody, so that the machine's own moods are seen beside what the consoles do.
"""

import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
import psutil
from rich.console import Console

from tests.bench.load import start
from tests.bench.phases import configuration, target_of
from tests.stack import Stack
from tests.thousand_projects import write

OPERATORS = 5
LOOKS_S = {"/admin/v1/overview?view=hour": 5.0, "/admin/v1/totals": 30.0}
"""What an open overview asks for, and how often."""

REST_S = 20
LEAST_NOISE = 0.02


def watched(folder: Path, *, rounds: int, seconds: int, say: Console) -> dict[str, float]:
    """Run it and show it; returns what is kept of it."""
    stack = Stack(folder / "watched", config=configuration(folder, "null_engine_tokens_per_s: 0"))
    say.print("starting the service with a null engine, for those who look at it …")
    stack.start()
    closing = ExitStack()
    try:
        write(stack.redis())
        target = target_of(stack, "watched")
        headers = {"Authorization": f"Bearer {stack.dev['admin_token']}"}
        client = partial(httpx.Client, base_url=stack.root_url, headers=headers, timeout=30)
        browsers = [closing.enter_context(client()) for _ in range(OPERATORS)]
        time.sleep(REST_S)
        at_rest = _cores(stack)
        with operators(browsers):
            cores = _cores(stack) - at_rest
        start(target, "warm-up", 64, 0, 4).result()

        def rate(number: int) -> float:
            sample = start(target, "watched", 64, number, seconds).result()
            if sample.failed:
                raise SystemExit(f"{sample.failed} requests failed while the console's cost was measured")
            return sample.requests_per_s

        ratios, moods, looks = [], [], 0
        for number in range(1, rounds + 1):
            before = rate(number)
            with operators(browsers) as seen:
                looked_at = rate(number)
                looks += seen.count
            after = rate(number)
            ratios.append(2 * looked_at / (before + after))
            moods.append(abs(after / before - 1))
    finally:
        closing.close()
        stack.interrupt()
    ratio, noise = statistics.median(ratios), max(LEAST_NOISE, statistics.median(moods))
    verdict = "holds" if ratio >= 1 - noise else "does not hold"
    say.print(
        f"{OPERATORS} consoles open ({looks} looks): {ratio:.3f} × the throughput that nobody looks at; two rounds "
        f"without any differ by {noise:.3f} ({verdict}); gateway and store take {cores:.3f} of a core for them"
    )
    return {"ratio": ratio, "noise": noise, "looks": looks, "cores": cores}


def _cores(stack: Stack) -> float:
    """Of the gateway and all stores, on average over some seconds without requests."""
    processes = [psutil.Process(pid) for pid in stack.replica_pids("Gateway")]
    processes += [process for process in stack.processes() if "valkey" in process.name()]

    def spent_s() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    began_s = spent_s()
    time.sleep(REST_S)
    return (spent_s() - began_s) / REST_S


class Looks:
    """How often somebody looked."""

    def __init__(self) -> None:
        self.count = 0
        self.failure: Exception | None = None
        self._lock = threading.Lock()

    def add(self) -> None:
        """One more."""
        with self._lock:
            self.count += 1


@contextmanager
def operators(browsers: Sequence[httpx.Client]) -> Iterator[Looks]:
    """Each has the overview open, since another moment than the others."""
    looks, end = Looks(), threading.Event()

    def look(number: int, browser: httpx.Client, path: str, every_s: float) -> None:
        end.wait(every_s * number / len(browsers))
        try:
            while not end.is_set():
                browser.get(path).raise_for_status()
                looks.add()
                end.wait(every_s)
        except httpx.HTTPError as error:
            looks.failure = error

    threads = [
        threading.Thread(target=look, args=(number, browser, path, every_s))
        for number, browser in enumerate(browsers)
        for path, every_s in LOOKS_S.items()
    ]
    for thread in threads:
        thread.start()
    try:
        yield looks
    finally:
        end.set()
        for thread in threads:
            thread.join()
        if looks.failure is not None:
            raise looks.failure
