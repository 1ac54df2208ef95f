"""What the bench shows: a table, the ratios that are aimed at, and plots."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.load import Sample

ENGINE, VLLM, SERVICE, NULL = "engine in process", "vLLM's server", "this service", "this service, null engine"


class Results:
    """Samples by case, system and connections."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = list(samples)

    def of(self, case: str, system: str, connections: int | None = None) -> list[Sample]:
        """Rounds of one system, in order."""
        return [
            s for s in self.samples if s.case == case and s.system == system and connections in (None, s.connections)
        ]

    def median(
        self, case: str, system: str, connections: int | None = None, *, figure: str = "requests_per_s"
    ) -> float:
        """Over the rounds; NaN where there are none."""
        values = [float(getattr(s, figure)) for s in self.of(case, system, connections)]
        return statistics.median(values) if values else float("nan")

    def ratio(
        self, case: str, one: str, other: str, connections: int | None = None, *, figure: str = "requests_per_s"
    ) -> float:
        """Median of the rounds' own ratios."""
        pairs = zip(self.of(case, one, connections), self.of(case, other, connections), strict=False)
        values = [float(getattr(a, figure) / getattr(b, figure)) for a, b in pairs]
        return statistics.median(values) if values else float("nan")


def show(results: Results, console: Console) -> None:
    """All cases."""
    if not results.samples:
        return
    table = Table("case", "connections", "system", "requests/s", "p50 ms", "p99 ms", "not 200")
    seen: dict[tuple[str, int, str], None] = {}
    for sample in results.samples:
        seen.setdefault((sample.case, sample.connections, sample.system))
    for case, connections, system in sorted(seen, key=lambda key: (key[0], key[1])):
        rows = results.of(case, system, connections)
        table.add_row(
            case,
            str(connections),
            system,
            f"{statistics.median(s.requests_per_s for s in rows):.4g}",
            f"{statistics.median(s.p50_ms for s in rows):.1f}",
            f"{statistics.median(s.p99_ms for s in rows):.1f}",
            str(sum(s.failed for s in rows)),
        )
    console.print(table)


def aims(results: Results) -> list[tuple[str, float, str, float]]:
    """What is aimed at: name, figure, "≥" or "≤", bound; those that were not measured are left out."""
    r = results
    step_ms = r.median("steps", SERVICE, figure="p50_ms")
    alone_ms = r.median("priority alone", "priority", figure="p99_ms")
    small_alone, large = r.median("small project alone", "small project"), r.median("two projects", "large project")
    small = r.median("two projects", "small project")
    flex, flood = (r.median("flood of priority", tier, figure="settled_per_s") for tier in ("flex", "priority"))
    found = [
        ("64 connections, × vLLM's server", r.ratio("short texts", SERVICE, VLLM, 64), "≥", 1.30),
        ("64 connections, × the engine", r.ratio("short texts", SERVICE, ENGINE, 64), "≥", 0.75),
        ("8 connections, × vLLM's server", r.ratio("short texts", SERVICE, VLLM, 8), "≥", 1.10),
        (
            "1 connection, p50 × vLLM's server's",
            r.median("short texts", SERVICE, 1, figure="p50_ms") / r.median("short texts", VLLM, 1, figure="p50_ms"),
            "≤",
            1.0,
        ),
        *(
            (f"{n} connections, × Infinity", r.ratio("short texts", SERVICE, "Infinity", n), "≥", 1.0)
            for n in (1, 8, 64)
        ),
        ("32 inputs, 4 connections, × the engine", r.ratio("32 inputs", SERVICE, ENGINE), "≥", 0.92),
        *(
            (f"2,048 inputs, {f}, time × the engine's", 1 / r.ratio(f"2,048 inputs, {f}", SERVICE, ENGINE), "≤", 1.10)
            for f in ("base64", "float")
        ),
        ("null engine, 64 connections, × LiteLLM", r.ratio("null engine", NULL, "LiteLLM", 64), "≥", 15.0),
        (
            "all cached, 64 connections, × LiteLLM",
            r.median("all cached", NULL, 64) / r.median("null engine", "LiteLLM", 64),
            "≥",
            25.0,
        ),
        ("all cached, 1 connection, p50 ms", r.median("all cached", NULL, 1, figure="p50_ms"), "≤", 1.0),
        (
            "priority in a flood of flex: p99 over its own alone, in the flood's engine steps",
            (r.median("flood of flex", "priority", figure="p99_ms") - alone_ms) / step_ms,
            "≤",
            1.5,
        ),
        *(
            (f"default among flex: {p} × {tier}'s", r.ratio("flood of flex", "default", tier, figure=p), sign, 1.0)
            for p in ("p50_ms", "p99_ms")
            for tier, sign in (("priority", "≥"), ("flex", "≤"))
        ),
        (
            "flex in a flood of priority, share of what is served",
            flex / (flex + flood),
            "≥",
            0.05,
        ),
        (
            "small project beside a large one, × the lesser of what it asks and half",
            small / min(small_alone, (small + large) / 2),
            "≥",
            0.9,
        ),
    ]
    return [aim for aim in found if not math.isnan(aim[1])]


def show_aims(results: Results, console: Console) -> None:
    """Each with its bound."""
    if not results.samples:
        return
    table = Table("aim", "figure", "bound", "")
    for name, figure, sign, bound in aims(results):
        holds = figure >= bound if sign == "≥" else figure <= bound
        table.add_row(name, f"{figure:.2f}", f"{sign} {bound:g}", "holds" if holds else "does not hold")
    console.print(table)


def plot(results: Results, folder: Path) -> list[Path]:
    """Throughput and latency against connections, waits by tier, shares by project."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for case in ("short texts", "null engine"):
        systems = list(dict.fromkeys(s.system for s in results.samples if s.case == case))
        if not systems:
            continue
        figure, axes = pyplot.subplots(1, 2, figsize=(11, 4))
        for system in systems:
            points = sorted({s.connections for s in results.of(case, system)})
            rates = [results.median(case, system, n) for n in points]
            axes[0].plot(points, rates, marker="o", label=system)
            for quantile, style in (("p50_ms", "-"), ("p99_ms", ":")):
                values = [results.median(case, system, n, figure=quantile) for n in points]
                axes[1].plot(points, values, style, marker="o", label=f"{system} {quantile[:3]}")
        axes[0].set(title=f"{case}: requests a second", xlabel="connections", xscale="log", ylim=(0, None))
        axes[1].set(title=f"{case}: latency, ms", xlabel="connections", xscale="log", yscale="log")
        for axis in axes:
            axis.legend(fontsize=7)
        paths.append(_save(figure, folder / f"{case.replace(' ', '-')}.png"))
    bars = [
        ("wait-by-tier", "p99 under load, ms", [("priority alone", "priority"), ("flood of flex", "priority"),
                                               ("flood of flex", "default"), ("flood of flex", "flex")], "p99_ms"),
        ("share-by-project", "requests a second", [("small project alone", "small project"),
                                                   ("two projects", "small project"),
                                                   ("two projects", "large project")], "requests_per_s"),
    ]  # fmt: skip
    for name, title, pairs, figure_name in bars:
        values = [results.median(case, system, figure=figure_name) for case, system in pairs]
        if not any(map(math.isnan, values)):
            figure, axis = pyplot.subplots(figsize=(7, 4))
            axis.bar([f"{system}\n({case})" for case, system in pairs], values)
            axis.set(title=title)
            axis.tick_params(axis="x", labelsize=7)
            paths.append(_save(figure, folder / f"{name}.png"))
    return paths


def _save(figure: object, path: Path) -> Path:
    figure.tight_layout()  # type: ignore[attr-defined]
    figure.savefig(path, dpi=120)  # type: ignore[attr-defined]
    return path
