"""What consoles that are open cost the embedding path: with the null engine, and a thousand projects to look at.

Each round drives the service three times: looked at by some operators, and before and after that by
nobody, so that the machine's own moods are seen beside what the consoles do.
"""

import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from rich.console import Console

from tests.bench.load import start
from tests.bench.phases import configuration, target_of
from tests.stack import Stack
from tests.thousand_projects import write

OPERATORS = 5
LOOKS_S = {"/admin/v1/overview?view=hour": 5.0, "/admin/v1/totals": 30.0}
"""What an open overview asks for, and how often."""

LEAST = 0.97
"""Of the throughput that nobody looks at; less would be more than this machine's noise."""


def watched(folder: Path, *, rounds: int, seconds: int, say: Console) -> dict[str, float]:
    """Run it and show it; returns what is kept of it."""
    stack = Stack(folder / "watched", config=configuration(folder, "null_engine_tokens_per_s: 0"))
    say.print("starting the service with a null engine, for those who look at it …")
    stack.start()
    try:
        write(stack.redis())
        target = target_of(stack, "watched")
        start(target, "warm-up", 64, 0, 4).result()

        def rate(number: int) -> float:
            return start(target, "watched", 64, number, seconds).result().requests_per_s

        ratios, moods, looks = [], [], 0
        for number in range(1, rounds + 1):
            before = rate(number)
            with operators(stack) as seen:
                looked_at = rate(number)
                looks += seen.count
            after = rate(number)
            ratios.append(2 * looked_at / (before + after))
            moods.append(after / before)
    finally:
        stack.interrupt()
    ratio, mood = statistics.median(ratios), statistics.median(moods)
    verdict = "holds" if ratio >= LEAST else "does not hold"
    say.print(
        f"{OPERATORS} consoles open ({looks} looks): {ratio:.3f} × the throughput that nobody looks at "
        f"(at least {LEAST}: {verdict}); two rounds without any: {mood:.3f}"
    )
    return {"ratio": ratio, "mood": mood, "looks": looks}


class Looks:
    """How often somebody looked."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        """One more."""
        with self._lock:
            self.count += 1


@contextmanager
def operators(stack: Stack) -> Iterator[Looks]:
    """As many browsers as there are operators, with the overview open, each since another moment."""
    looks, end = Looks(), threading.Event()

    def look(number: int, path: str, every_s: float) -> None:
        end.wait(every_s * number / OPERATORS)
        headers = {"Authorization": f"Bearer {stack.dev['admin_token']}"}
        with httpx.Client(base_url=stack.root_url, headers=headers, timeout=30) as browser:
            while not end.is_set():
                browser.get(path).raise_for_status()
                looks.add()
                end.wait(every_s)

    threads = [
        threading.Thread(target=look, args=(number, path, every_s))
        for number in range(OPERATORS)
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
