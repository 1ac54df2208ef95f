"""Batches: their throughput against the engine in process, and what they do to callers beside them."""

import json
import statistics
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import openai
import psutil
from openai.types import Batch
from rich.console import Console

from tests.bench.engine_alone import MAX_STEP_ITEMS
from tests.bench.load import MODEL, Sample, Target, new_text, start
from tests.bench.phases import EXPORT_S, configuration, step_totals, target_of
from tests.bench.systems import EngineProcess
from tests.stack import Stack

LASTS_S = 25
"""How long the engine in process takes for the lines of a round."""
POLL_S = 0.5
"""Asking ten times a second takes 3 % of two cores from what is measured."""
SMALL, LARGE = 1000, 50_000
ENDED = ("completed", "failed", "expired", "cancelled")


def batch(folder: Path, *, rounds: int, seconds: int, say: Console) -> dict[str, object]:
    """Run it and show it; returns what is kept of it."""
    stack = Stack(folder / "batch", config=configuration(folder, ""))
    say.print("starting the service and an engine beside it …")
    stack.start()
    engine = EngineProcess(folder)
    try:
        client = openai.OpenAI(base_url=stack.dev["base_url"], api_key=stack.dev["api_key"])
        run_batch(client, texts(256))
        lines = min(LARGE, int(engine.ask("rate", MAX_STEP_ITEMS, 2)["items_per_s"] * LASTS_S))
        ratios = [throughput(client, engine, folder, number, lines, say) for number in range(1, rounds + 1)]
        beside = tiers(stack, client, rounds, seconds)
        memory_mb = {lines: memory(stack, client, lines) for lines in (SMALL, LARGE)}
    finally:
        engine.stop()
        stack.interrupt()
    return show(statistics.median(ratios), beside, memory_mb, say)


def texts(count: int) -> list[str]:
    """24 tokens each."""
    return [new_text() for _ in range(count)]


def submit(client: openai.OpenAI, given: Sequence[str]) -> Batch:
    """Upload and create."""
    lines = [
        json.dumps(
            {"custom_id": str(n), "method": "POST", "url": "/v1/embeddings", "body": {"model": MODEL, "input": text}}
        )
        for n, text in enumerate(given)
    ]
    file = client.files.create(file=("bench.jsonl", "\n".join(lines).encode()), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")


def run_batch(client: openai.OpenAI, given: Sequence[str]) -> float:
    """Lines a second, from its making to its end."""
    made = submit(client, given)
    began_s = time.perf_counter()
    while (found := client.batches.retrieve(made.id)).status not in ENDED:
        time.sleep(POLL_S)
    took_s = time.perf_counter() - began_s
    counts = found.request_counts
    assert found.status == "completed", found
    assert counts is not None
    assert counts.completed == len(given), found
    return len(given) / took_s


def throughput(
    client: openai.OpenAI, engine: EngineProcess, folder: Path, number: int, lines: int, say: Console
) -> float:
    """A batch over the engine in process, for the same texts."""
    given = texts(lines)
    path = folder / "texts.json"
    path.write_text(json.dumps(given))
    rates = {}
    for name in ("batch", "engine") if number % 2 else ("engine", "batch"):
        rates[name] = run_batch(client, given) if name == "batch" else engine.ask("file", path)["items_per_s"]
    say.print(f"round {number}, {lines} lines: batch {rates['batch']:.0f}/s, engine in process {rates['engine']:.0f}/s")
    return rates["batch"] / rates["engine"]


def tiers(stack: Stack, client: openai.OpenAI, rounds: int, seconds: int) -> dict[str, float]:
    """Medians over the rounds: p99 of a caller alone, with a batch beside, and the step of the batch alone."""
    target = target_of(stack, "caller")
    figures: dict[str, list[float]] = {}

    def note(name: str, ms: float) -> None:
        figures.setdefault(name, []).append(ms)

    def caller(tier: str) -> Sample:
        return start(Target(tier, target.port, target.path, target.key, tier=tier), tier, 1, 0, seconds).result()

    for _ in range(rounds):
        for tier in ("priority", "default"):
            note(f"{tier} alone", caller(tier).p99_ms)
        made = submit(client, texts(LARGE))
        while client.batches.retrieve(made.id).status != "in_progress":
            time.sleep(0.1)
        time.sleep(EXPORT_S)
        before = step_totals(stack)
        time.sleep(EXPORT_S)
        total_ms, count = (after - then for after, then in zip(step_totals(stack), before, strict=True))
        note("step", total_ms / count)
        for tier in ("priority", "default"):
            note(f"{tier} beside", caller(tier).p99_ms)
        client.batches.cancel(made.id)
        while client.batches.retrieve(made.id).status not in ENDED:
            time.sleep(0.1)
    return {name: statistics.median(values) for name, values in figures.items()}


def memory(stack: Stack, client: openai.OpenAI, lines: int) -> float:
    """The worker's resident memory at its highest during a batch, in MB."""
    worker = psutil.Process(stack.replica_pids("BatchWorker")[0])
    highest, stop = worker.memory_info().rss, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not stop.wait(0.05):
            highest = max(highest, worker.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run_batch(client, texts(lines))
    finally:
        stop.set()
        watcher.join()
    return highest / 1e6


def show(ratio: float, beside: dict[str, float], memory_mb: dict[int, float], say: Console) -> dict[str, object]:
    """The aims."""
    lines = [("batch: lines a second ÷ engine in process", ratio, ratio >= 0.9)]
    for tier in ("priority", "default"):
        steps = (beside[f"{tier} beside"] - beside[f"{tier} alone"]) / beside["step"]
        lines.append((f"batch: p99 of {tier} beside one, in its steps over idle", steps, steps <= 1.5))
    apart = memory_mb[LARGE] - memory_mb[SMALL]
    lines.append((f"batch: worker's memory, {LARGE} lines over {SMALL}, in MB", apart, apart <= 50))
    for name, figure, holds in lines:
        say.print(f"{name}: {figure:.2f} ({'holds' if holds else 'does not hold'})")
    say.print(" ".join(f"{name} {ms:.1f} ms" for name, ms in beside.items()))
    return {"ratio": ratio, "beside": beside, "memory_mb": {str(k): v for k, v in memory_mb.items()}}
