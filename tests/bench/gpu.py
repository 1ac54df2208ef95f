"""How much of a GPU reaches the callers: the bare engine, vLLM's server, and this service with several replicas on it.

    python -m tests.bench.gpu                               # bge-base's shape; 1, 4, 8, 16 and 32 replicas
    python -m tests.bench.gpu --model bge-large --replicas 8
    python -m tests.bench.gpu --cpu --model tiny --replicas 1 --seconds 1     # a rehearsal without a GPU

First the golden vectors of MiniLM go through the same engine. Weights are random: speed does not depend on them.
Each system has the GPU for itself while it is measured. What was measured is written after each step.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.load import MODEL, Sample, Target, start
from tests.bench.phases import target_of
from tests.bench.random_models import flop_per_token, make
from tests.bench.systems import EngineProcess, NotAvailable, minilm_folder, vllm_server
from tests.stack import Stack

console = Console(highlight=False, width=120)
BATCHES = (1, 8, 64, 256)
LENGTHS = {"short": 24, "long": 480}
STEP_TOKENS = 32_768
STEP_ITEMS = 512
MEMORY_FRACTION = 0.9
THREADS = 4
CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Load:
    """What a round sends: texts of a length, so many in a request, on so many connections."""

    length: str
    inputs: int
    connections: int

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.length}, {self.inputs} a request"

    def tokens_per_s(self, sample: Sample) -> float:
        """Of a round."""
        return sample.requests_per_s * self.inputs * LENGTHS[self.length]


LOADS = (
    Load("short", 1, 64), Load("short", 1, 256), Load("short", 64, 32), Load("long", 1, 64), Load("long", 1, 256),
    Load("long", 16, 32),
)  # fmt: skip


@dataclass
class Bench:
    """One run and what it has measured."""

    arguments: argparse.Namespace
    folder: Path
    model: Path
    document: dict[str, Any] = field(default_factory=dict)

    def settings(self, *, replicas: int, model: Path, compiled: bool) -> dict[str, Any]:
        """A ``ModelSettings``."""
        on_gpu = {"num_gpus": 0.9 / replicas if replicas > 1 else 1, "num_cpus": 0.2}
        engine = {
            "dtype": self.arguments.dtype,
            "enforce_eager": not compiled,
            "memory_fraction": 0.2 if self.arguments.cpu else round(MEMORY_FRACTION / replicas, 3) - 0.002,
            "max_step_tokens": STEP_TOKENS,
            "max_step_items": STEP_ITEMS,
        }
        return {
            "id": MODEL,
            "source": {"path": str(model)},
            "engine": engine,
            "replicas": {"min": replicas, "max": replicas},
            **({} if self.arguments.cpu else on_gpu),
        }

    def keep(self, **found: Any) -> None:
        """Write down what is known so far: a later step may fail."""
        self.document |= found
        (self.arguments.output / "gpu.json").write_text(json.dumps(self.document, indent=1))

    def keep_samples(self, system: str, target: Target) -> None:
        """All loads on one system."""
        seconds = self.arguments.seconds
        start(target, "", 64, 0, 2, threads=THREADS).result()
        for load in LOADS:
            sample = start(
                target, load.name, load.connections, 1, seconds,
                inputs=load.inputs, words=LENGTHS[load.length] - 2, threads=THREADS,
            ).result()  # fmt: skip
            found = {**asdict(sample), "system": system, "tokens_per_s": load.tokens_per_s(sample)}
            self.keep(samples=[*self.document.get("samples", []), found])
            console.print(
                f"{system:32} {load.name:20} {load.connections:4} connections "
                f"{sample.requests_per_s:9.1f} requests/s {found['tokens_per_s']:12.0f} tokens/s "
                f"p50 {sample.p50_ms:8.1f} ms p99 {sample.p99_ms:8.1f} ms, {sample.failed} failed"
            )


@contextmanager
def engine(bench: Bench, model: Path, *, compiled: bool) -> Iterator[EngineProcess]:
    """The engine alone on the GPU."""
    process = EngineProcess(bench.folder, bench.settings(replicas=1, model=model, compiled=compiled))
    try:
        yield process
    finally:
        process.stop()


def golden(bench: Bench) -> None:
    """Correct first."""
    with engine(bench, bench.arguments.minilm or minilm_folder(), compiled=False) as process:
        found = process.ask("golden")
        console.print(
            f"smallest cosine to the golden vectors ({bench.arguments.dtype}): {found['smallest_cosine']:.6f}"
        )
        bench.keep(golden=found)
        if not bench.arguments.cpu:
            bench.keep(chip=process.ask("chip"))
            console.print(bench.document["chip"])


def bare(bench: Bench, *, compiled: bool) -> None:
    """The engine in process."""
    rows = []
    with engine(bench, bench.model, compiled=compiled) as process:
        for length, tokens in LENGTHS.items():
            for items in BATCHES:
                found = process.ask("rate", items, bench.arguments.seconds / 2, tokens)
                row = {"length": length, "items": items, "tokens_per_s": found["items_per_s"] * tokens, **found}
                rows.append(row)
                console.print(
                    f"engine in process{', compiled' if compiled else ''}: {length}, steps of {items}: "
                    f"{found['items_per_s']:.0f} items/s, {row['tokens_per_s']:.0f} tokens/s, {found['p50_ms']:.2f} ms"
                )
    bench.keep(**{"engine_compiled" if compiled else "engine": rows})


def server(bench: Bench, *, compiled: bool) -> None:
    """vLLM's own."""
    more = () if compiled else ("--enforce-eager",)
    running = vllm_server(bench.folder, more, model=bench.model, dtype=bench.arguments.dtype)
    try:
        bench.keep_samples("vLLM's server" + (", compiled" if compiled else ""), running.wait())
    finally:
        running.stop()


def service(bench: Bench, replicas: int, *, compiled: bool) -> None:
    """This service: authentication, limits, holds and cache on."""
    home = bench.folder / f"service-{replicas}-{compiled}"
    config = bench.folder / f"serve-{replicas}.yaml"
    gateways = max(1, CORES // 2)
    arguments: Mapping[str, Any] = {
        "models": [bench.settings(replicas=replicas, model=bench.model, compiled=compiled)],
        "gateway": {"replicas": {"min": gateways, "max": gateways}, "num_cpus": 0.2},
        "batches": {"workers": 0},
        "log": {"requests": "off"},
    }
    application = {
        "name": "embedgate",
        "route_prefix": "/",
        "import_path": "deployments.build:build",
        "args": arguments,
    }
    config.write_text(json.dumps({"proxy_location": "EveryNode", "http_options": {"host": "127.0.0.1", "port": 8000},
                                  "applications": [application]}))  # fmt: skip
    stack = Stack(home, config=config)
    began_s = time.monotonic()
    stack.start()
    try:
        name = f"this service, {replicas} replica{'s' * (replicas > 1)}{', compiled' if compiled else ''}"
        console.print(f"{name}: {gateways} gateways, up after {time.monotonic() - began_s:.0f} s")
        bench.keep_samples(name, target_of(stack, name))
    finally:
        stack.interrupt()


def show(bench: Bench) -> None:
    """Each system's share of the chip."""
    table = Table("system", "load", "connections", "requests/s", "tokens/s", "p50 ms", "p99 ms", "of the chip")
    limit = bench.document.get("chip", {}).get("tflop_per_s")
    for sample in bench.document.get("samples", []):
        length = sample["case"].split(",")[0]
        flop = sample["tokens_per_s"] * flop_per_token(bench.arguments.model, LENGTHS[length])
        table.add_row(
            sample["system"], sample["case"], str(sample["connections"]), f"{sample['requests_per_s']:.0f}",
            f"{sample['tokens_per_s']:.0f}", f"{sample['p50_ms']:.1f}", f"{sample['p99_ms']:.1f}",
            f"{flop / limit / 1e12:.1%}" if limit else "",
        )  # fmt: skip
    console.print(table)


def main() -> int:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bge-base", choices=("tiny", "bge-base", "bge-large"))
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16"))
    parser.add_argument("--replicas", default="1,4,8,16,32")
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--output", type=Path, default=Path("bench-results"))
    parser.add_argument("--minilm", type=Path, help="MiniLM's folder, where its package is not installed")
    parser.add_argument("--parts", help="golden, engine, server, service-1, …; all of them when left out")
    parser.add_argument("--compiled", action="store_true", help="compiled, with CUDA graphs, instead of eager")
    parser.add_argument("--cpu", action="store_true")
    arguments = parser.parse_args()
    names = ["golden", "engine", "server", *(f"service-{number}" for number in arguments.replicas.split(","))]
    chosen = arguments.parts.split(",") if arguments.parts else names
    if unknown := sorted(set(chosen) - set(names)):
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(names)}")
    arguments.output /= time.strftime("gpu-%Y%m%d-%H%M%S")
    arguments.output.mkdir(parents=True)
    folder = Path(tempfile.mkdtemp(prefix="embedgate-gpu-"))
    bench = Bench(arguments, folder, make(arguments.model, folder / "model", tokenizer_of=arguments.minilm))
    try:
        left_out = [name for name in chosen if not measured(bench, name)]
    finally:
        shutil.rmtree(bench.model)
    show(bench)
    return 1 if left_out else 0


def measured(bench: Bench, part: str) -> bool:
    """Whether a part could be measured; the others may work where it does not."""
    compiled = bench.arguments.compiled
    try:
        match part.split("-"):
            case ["golden"]:
                golden(bench)
            case ["engine"]:
                bare(bench, compiled=compiled)
            case ["server"]:
                server(bench, compiled=compiled)
            case [_, replicas]:
                service(bench, int(replicas), compiled=compiled)
    except (NotAvailable, AssertionError, SystemExit) as error:
        console.print(f"{part} is left out: {error}")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
