"""``make bench``: this service against vLLM's server, the bare engine, Infinity and LiteLLM, on this machine.

All are started; one at a time is driven, in changing order, while the peers are suspended (this
service is not: what its cluster costs at rest, some percent of a core, counts against the peers).
Every request carries new texts of 24 tokens, unless the case is about the cache. The load
comes from wrk, a native process of its own.

    make bench                                     # 5 rounds of 5 s, overload, ten minutes' soak, consoles
    make bench ARGS="--rounds 1 --seconds 2 --only real"
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import psutil
from rich.console import Console

from tests.bench.batch import batch
from tests.bench.load import Sample, start
from tests.bench.overload import overload
from tests.bench.paired import Pairs, measure
from tests.bench.phases import OPEN_USER, NullEngine, RealEngine, configuration
from tests.bench.report import Results, plot, show, show_aims
from tests.bench.soak import soak
from tests.bench.watched import watched
from tests.stack import ROOT, Stack

LIMITS_MB = {"gateway": 300, "embedder": 1300}
ADDED_MS = 0.6
PAIRS_PER_ROUND = 400
PHASES = ("real", "null", "batch", "overload", "soak", "watched")
OVERLOAD_S = 60
SOAK_MINUTES = 10
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def memory_mb(stack: Stack) -> dict[str, float]:
    """Resident memory at rest."""
    pids = {"gateway": stack.replica_pids("Gateway")[0], "embedder": stack.replica_pids("Embedder")[0]}
    return {name: psutil.Process(pid).memory_info().rss / 1e6 for name, pid in pids.items()}


def real(folder: Path, arguments: argparse.Namespace) -> tuple[list[Sample], dict[str, float], Pairs]:
    """With the real engine."""
    stack = Stack(folder / "service", config=configuration(folder, f"open_admission_user: {OPEN_USER}"))
    console.print("starting the service …")
    stack.start()
    try:
        time.sleep(5)
        memory = memory_mb(stack)
        console.print("starting the others …")
        phase = RealEngine(folder, stack, rounds=arguments.rounds, seconds=arguments.seconds, say=console)
        drive(phase)
        pairs = PAIRS_PER_ROUND * arguments.rounds
        added = measure(phase.service, user="with-the-ledger!", without=OPEN_USER, pairs=pairs)
    finally:
        stack.interrupt()
    return phase.samples, memory, added


def drive(phase: RealEngine | NullEngine) -> None:
    """Warm up, all rounds, and the end of the peers."""
    try:
        start(phase.service, "warm-up", 8, 0, 3).result()
        phase.run()
    finally:
        phase.stop()


def null(folder: Path, arguments: argparse.Namespace) -> list[Sample]:
    """With an engine that computes nothing."""
    folder.mkdir()
    stack = Stack(folder / "service", config=configuration(folder, "null_engine_tokens_per_s: 0"))
    console.print("starting the service with a null engine …")
    stack.start()
    try:
        phase = NullEngine(folder, stack, rounds=arguments.rounds, seconds=arguments.seconds, say=console)
        drive(phase)
    finally:
        stack.interrupt()
    return phase.samples


def main() -> int:
    """Run, show and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--only", choices=PHASES)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed (apt-get install wrk)")
    folder = Path(tempfile.mkdtemp(prefix="embedgate-bench-"))
    document: dict[str, object] = {
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
    }
    samples: list[Sample] = []
    chosen = (arguments.only,) if arguments.only else PHASES
    if "real" in chosen:
        samples, memory, added = real(folder, arguments)
        document |= {"memory_mb": memory, "added_by_admission": asdict(added)}
    if "null" in chosen:
        samples += null(folder / "null", arguments)
    results = Results(samples)
    show(results, console)
    show_aims(results, console)
    if "batch" in chosen:
        document["batch"] = batch(folder, rounds=arguments.rounds, seconds=arguments.seconds, say=console)
    if "overload" in chosen:
        document["overload"] = overload(folder, seconds=OVERLOAD_S, say=console)
    if "soak" in chosen:
        document["soak"] = soak(folder, minutes=SOAK_MINUTES, say=console)
    if "watched" in chosen:
        document["watched"] = watched(folder, rounds=arguments.rounds, seconds=2 * arguments.seconds, say=console)
    if "real" in chosen:
        for name, resident in memory.items():
            console.print(f"{name}: {resident:.0f} MB resident at rest (bound {LIMITS_MB[name]} MB)")
        console.print(
            f"admission and settlement add {added.added_ms:.2f} ms at one connection (bound {ADDED_MS} ms); "
            f"p50 {added.with_it_p50_ms:.2f} ms with them, {added.without_p50_ms:.2f} ms without"
        )
    kept = ROOT / "bench-results" / time.strftime("%Y%m%d-%H%M%S")
    kept.mkdir(parents=True)
    (kept / "samples.json").write_text(json.dumps({**document, "samples": [asdict(s) for s in samples]}, indent=1))
    if samples:
        plot(results, kept)
    console.print(f"kept in {kept.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
