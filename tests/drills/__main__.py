"""Break one thing after another under traffic: ``make drills``, or ``python -m tests.drills REGEX``."""

import re
import resource
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.drills import callers, replicas, stores
from tests.drills.drill import Drill, Report, hold
from tests.drills.house import House
from tests.drills.skip import Skip

DRILLS: tuple[Drill, ...] = (*callers.DRILLS, *stores.DRILLS, *replicas.DRILLS)
console = Console(highlight=False, width=160)


def main() -> int:
    """Hold the drills whose names match, and say what callers saw."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    wanted = re.compile(sys.argv[1] if len(sys.argv) > 1 else "")
    chosen = [drill for drill in DRILLS if wanted.search(drill.name)]
    began_s = time.monotonic()
    reports: list[Report] = []
    with House(Path(tempfile.mkdtemp(prefix="embedgate-drills-"))) as house:
        console.print(f"a head, five nodes, a store behind Sentinels: up after {time.monotonic() - began_s:.0f} s")
        for drill in chosen:
            try:
                reports.append(hold(drill, house))
            except Skip as reason:
                console.print(f"{drill.name}: not held, {reason}")
                continue
            console.print(_line(reports[-1]), style="red" if reports[-1].faults else None)
    show(reports)
    if any(report.faults for report in reports):
        console.print(f"logs: {house.home}")
        return 1
    house.free()
    return 0


def _line(report: Report) -> str:
    seen = f"{report.requests} requests, errors {report.errors or 'none'}, longest gap {report.gap_s:.1f} s"
    faults = "".join(f"; {fault}" for fault in report.faults)
    return f"{report.drill.name}: {seen}, whole after {report.recovery_s:.1f} s; {report.verified}{faults}"


def show(reports: list[Report]) -> None:
    """All of them."""
    table = Table("drill", "requests", "errors", "longest gap s", "p99 ms", "whole after s", "ledger off by", "verdict")
    for report in reports:
        table.add_row(
            report.drill.name,
            str(report.requests),
            ", ".join(f"{count} × {name}" for name, count in sorted(report.errors.items())) or "none",
            f"{report.gap_s:.1f}",
            f"{report.p99_ms:.0f}",
            f"{report.recovery_s:.1f}",
            f"{report.difference_nano_usd} n$",
            "; ".join(report.faults) or "passed",
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
