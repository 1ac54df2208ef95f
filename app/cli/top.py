"""``embedgate top``: tiers, models and what is wrong, while they change."""

import contextlib
import time
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from app.cli.admin_client import AdminClient, CallRefused
from app.cli.output import console, is_json, show_json

_TIERS = ("priority", "default", "flex")
_RECENT_POINTS = 5


def top(
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
    period_s: Annotated[float, typer.Option("--every", min=0.5, help="Seconds between two looks.")] = 2.0,
) -> None:
    """Show what the service does now: requests and tokens by tier, models, waits, and what is wrong. Ctrl-C ends it."""
    client = AdminClient()
    if is_json() or once:
        found = client.call("GET", "/overview")
        if is_json():
            show_json(found)
        else:
            console.print(_screen(found))
        return
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while True:
            try:
                screen = _screen(client.ask("GET", "/overview"))
            except CallRefused as error:
                screen = Group(Text(str(error), style="bold red"))
            live.update(screen, refresh=True)
            time.sleep(period_s)


def _screen(found: dict[str, Any]) -> Group:
    troubles = [
        Text(trouble["sentence"], style="bold red" if trouble["is_urgent"] else "yellow")
        for trouble in found["troubles"]
    ]
    calm = [] if troubles else [Text("All is well.", style="green")]
    return Group(_tiers(found), _models(found), *troubles, *calm)


def _tiers(found: dict[str, Any]) -> Table:
    """Of the last minutes: the present one has only begun."""
    points = found["points"][-_RECENT_POINTS:]
    span_s = len(points) * found["point_s"] - found["point_s"] / 2
    table = Table(title=f"The last {len(points)} minutes, {found['gateways']} gateways", title_justify="left")
    for name in ("tier", "requests/s", "tokens/s", "refused", "failed", "p50 ms", "p99 ms"):
        table.add_column(name, justify="left" if name == "tier" else "right")
    for tier in (*_TIERS, "batch", "none"):
        own = [point["tiers"][tier] for point in points if tier in point["tiers"]]
        if not own and tier in ("batch", "none"):
            continue
        rates = (f"{sum(one[name] for one in own) / span_s:,.1f}" for name in ("requests", "tokens"))
        counts = (f"{sum(one[name] for one in own):,}" for name in ("refused", "failed"))
        last = next((one for one in reversed(own) if one["p50_ms"] is not None), None)
        times = (f"{last[name]:,.1f}" if last else "–" for name in ("p50_ms", "p99_ms"))
        table.add_row(tier if tier != "none" else "no valid tier", *rates, *counts, *times)
    return table


def _models(found: dict[str, Any]) -> Table:
    table = Table(title="Models", title_justify="left")
    for name in ("model", "replicas", "tokens/s at full speed", "tokens waiting", *(f"wait {t} ms" for t in _TIERS)):
        table.add_column(name, justify="left" if name == "model" else "right")
    for name, model in found["models"].items():
        replicas = "asleep" if not model["replicas"] and model["may_sleep"] else str(model["replicas"])
        speed = f"{model['tokens_per_s']:,.0f}" if model["tokens_per_s"] else "–"
        waits = (f"{model['wait_ms'][tier]:,.0f}" for tier in _TIERS)
        table.add_row(name, replicas, speed, f"{sum(model['waiting_tokens'].values()):,}", *waits)
    return table
