"""``embedgate usage``: what a project used, as a table, CSV, JSON lines or Parquet."""

import csv
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.admin_client import AdminClient, fail
from app.cli.output import console, is_json
from app.core.journal import DIMENSIONS

_NUMBERS = ("requests", "tokens", "cached_tokens", "amount_nano_usd")


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


def usage(
    project: Annotated[str, typer.Option("--project", "-p", help="Slug or id of the project.")],
    first_day: Annotated[str | None, typer.Option("--from", help="First day; this month's by default.")] = None,
    last_day: Annotated[str | None, typer.Option("--to", help="Last day, included; today by default.")] = None,
    by: Annotated[str, typer.Option(help="Groups, with commas between: day, endpoint, tier, key, user.")] = "day",
    output_format: Annotated[Format, typer.Option("--format", help="table, csv, jsonl or parquet.")] = Format.TABLE,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file instead of the terminal.")] = None,
) -> None:
    """What a project used. Amounts are whole nano-USD: what its account captured, less what was refunded."""
    client = AdminClient()
    project_id = client.project(project)["project_id"]
    days = "".join(f"&{name}={day}" for name, day in (("from", first_day), ("to", last_day)) if day)
    report = client.call("GET", f"/projects/{project_id}/usage?by={by}{days}")
    groups = [name for name in DIMENSIONS if name in by.split(",")]
    rows = [{name: row.get(name, "") for name in groups} | {n: row[n] for n in _NUMBERS} for row in report["data"]]
    match output_format:
        case Format.TABLE if is_json():
            _text(json.dumps({**report, "data": rows}) + "\n", output)
        case Format.TABLE:
            _table(report, groups, rows, output)
        case Format.CSV:
            _csv([*groups, *_NUMBERS], rows, output)
        case Format.JSONL:
            _text("".join(json.dumps(row) + "\n" for row in rows), output)
        case Format.PARQUET:
            _parquet(groups, rows, output)


def _table(report: dict[str, Any], groups: list[str], rows: list[dict[str, Any]], output: Path | None) -> None:
    table = Table(*groups, title=f"{report['project_id']}, {report['from_day']} to {report['to_day']} (UTC)")
    for name in _NUMBERS:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(Text(row[name]) for name in groups), *(f"{row[name]:,}" for name in _NUMBERS))
    table.add_section()
    table.add_row(*["total", *[""] * len(groups)][: len(groups)], *(f"{report['total'][name]:,}" for name in _NUMBERS))
    balance = ", ".join(f"{name} {amount:,}" for name, amount in report["balance"].items())
    if output is None:
        console.print(table)
        console.print(f"balance in nano-USD: {balance}; {report['open_holds']} open holds")
        return
    with output.open("w") as file:
        Console(file=file, highlight=False, width=200).print(table)


def _csv(columns: list[str], rows: list[dict[str, Any]], output: Path | None) -> None:
    with output.open("w", newline="") if output else sys.stdout as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _text(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text)


def _parquet(groups: list[str], rows: list[dict[str, Any]], output: Path | None) -> None:
    if output is None:
        fail("Parquet is not for a terminal; name a file with --output")
    from arro3.core import Array, DataType
    from arro3.core import Table as ArrowTable
    from arro3.io import write_parquet

    columns: dict[str, Any] = {name: Array([row[name] for row in rows], type=DataType.utf8()) for name in groups}
    columns |= {name: Array([row[name] for row in rows], type=DataType.int64()) for name in _NUMBERS}
    write_parquet(ArrowTable.from_pydict(columns), str(output))
