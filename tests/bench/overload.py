"""Three times the capacity, offered for a minute.

The engine pretends to a speed and computes nothing, so that what is measured is what the service
does with more than it can serve, and not how two cores are shared with a load generator.
"""

import json
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from app.core.settings.model import MaxWaitSettings
from app.core.tiers import Tier
from tests.bench.load import start
from tests.bench.open_loop import Order, Report
from tests.bench.phases import configuration, target_of
from tests.stack import ROOT, Stack

TOKENS_PER_S = 1200
"""Of each of two replicas: about 90 requests a second together."""

PARTS = {"priority": 0.1, "default": 0.6, "flex": 0.3}
TIMES = 3


def overload(folder: Path, *, seconds: int, say: Console) -> dict[str, object]:
    """Run it and show it; returns what is kept of it."""
    stack = Stack(folder / "overload", config=configuration(folder, f"null_engine_tokens_per_s: {TOKENS_PER_S}"))
    say.print("starting the service with an engine of a set speed …")
    stack.start()
    try:
        target = target_of(stack, "overload")
        start(target, "warm-up", 8, 0, 3).result()
        peak_per_s = start(target, "peak", 64, 0, 10).result().requests_per_s
        url = f"http://127.0.0.1:{target.port}{target.path}"
        per_s = {tier: TIMES * peak_per_s * part for tier, part in PARTS.items()}
        report = offer(Order(url, target.key, per_s, seconds))
    finally:
        stack.interrupt()
    return show(report, peak_per_s, seconds, say)


def offer(order: Order) -> Report:
    """Run the load in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.open_loop"],
        cwd=ROOT, input=json.dumps(asdict(order)), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return Report(**json.loads(done.stdout))


def show(report: Report, peak_per_s: float, seconds: int, say: Console) -> dict[str, object]:
    """A table by tier and the aims."""
    bounds_ms = MaxWaitSettings().by_tier()
    table = Table("tier", "offered", "refused at first", "p50 ms", "p99 ms", "bound ms")
    kept: dict[str, object] = {"peak_per_s": peak_per_s, "returns": report.returns and max(report.returns)}
    inside = True
    for tier, latencies_ms in report.latencies_ms.items():
        if len(latencies_ms) < 2:
            inside = False
            continue
        p50_ms, p99_ms = statistics.median(latencies_ms), statistics.quantiles(latencies_ms, n=100)[98]
        bound_ms = bounds_ms[Tier(tier)]
        inside = inside and p99_ms <= bound_ms
        figures = [report.offered[tier], report.refused[tier], round(p50_ms), round(p99_ms), bound_ms]
        table.add_row(tier, *map(str, figures))
        kept[tier] = figures
    say.print(table)
    goodput = report.served_while_offered / seconds / peak_per_s
    back = statistics.quantiles(report.returns, n=100)[98] if len(report.returns) > 1 else 0.0
    lines = [
        (f"overload: goodput × the peak of {peak_per_s:.0f}/s", goodput, goodput >= 0.95),
        ("overload: p99 of what was accepted, inside its tier's bound", float(inside), inside),
        ("overload: neither served nor told when to return", float(sum(report.other.values())), not report.other),
    ]
    for name, figure, holds in lines:
        say.print(f"{name}: {figure:.2f} ({'holds' if holds else 'does not hold'})")
    mean = statistics.fmean(report.returns or [0])
    say.print(
        f"whoever was refused came back {mean:.1f} times on average (p99 {back:.0f}) and was served; "
        f"all were after {report.took_s:.0f} s; anything else: {report.other or 'nothing'}"
    )
    return {**kept, "goodput": goodput, "other": report.other, "took_s": report.took_s}
