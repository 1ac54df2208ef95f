"""``embedgate batch …``: jobs from a file of texts to a file of vectors."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from app.cli.admin_client import fail
from app.cli.batch_input import texts_of, write_requests
from app.cli.batch_output import Row, rows_of, write_numpy, write_parquet
from app.cli.output import console, is_json, say, show_json
from app.cli.tenant_client import TenantClient

batch_app = typer.Typer(help="Batches: submit, watch, results, cancel, list.", no_args_is_help=True)

_ENDED = ("completed", "failed", "expired", "cancelled")
_PERIOD_S = 1.0

Ids = Annotated[list[str], typer.Argument(metavar="BATCH_ID...")]


@batch_app.command()
def submit(
    file: Annotated[Path | None, typer.Argument(help="A request file (.jsonl); or give --input.")] = None,
    given: Annotated[Path | None, typer.Option("--input", help="Texts: .txt, .jsonl, .csv or .parquet.")] = None,
    column: Annotated[str, typer.Option(help="Which column of --input has the texts.")] = "text",
    model: Annotated[str | None, typer.Option(help="Model of --input's requests.")] = None,
    wait: Annotated[bool, typer.Option("--watch", help="Go on as 'batch watch'.")] = False,
) -> None:
    """Upload and start; prints the batch's id. More than 50,000 texts become several batches."""
    client = TenantClient()
    if (file is None) == (given is None):
        fail("give a request file, or --input with texts")
    with tempfile.TemporaryDirectory() as folder:
        if file is not None:
            if not file.is_file():
                fail(f"there is no file {file}")
            paths: Iterator[Path] = iter([file])
        else:
            assert given is not None
            paths = _request_files(given, column, model or client.model, Path(folder))
        ids: list[str] = []
        try:
            for path in paths:
                ids.append(_create(client, path))
                say(ids[-1])  # at once: should the next one be refused, this one runs
        finally:
            if is_json() and not wait:
                show_json(ids)
    if wait:
        _watch(client, ids)


@batch_app.command()
def watch(batch_ids: Ids) -> None:
    """Show progress, rate and time left until all have ended; exit status 1 unless all are completed."""
    _watch(TenantClient(), batch_ids)


@batch_app.command()
def results(
    batch_ids: Ids,
    output: Annotated[Path, typer.Option("--output", "-o", help=".jsonl, .parquet or .npy")],
) -> None:
    """Write the results of ended batches, in the order of their ids; errors are told."""
    client = TenantClient()
    batches = [client.call("GET", f"/batches/{batch_id}") for batch_id in batch_ids]
    for batch in batches:
        if batch["status"] not in _ENDED:
            fail(f"{batch['id']} is {batch['status']}: wait for its end with 'embedgate batch watch'")
        if batch["status"] == "failed":
            fail(f"{batch['id']} failed: {_first_error(batch)}")
    total = sum(batch["request_counts"]["total"] for batch in batches)
    match output.suffix.lower():
        case ".parquet":
            written = write_parquet(_rows(client, batches), output)
        case ".npy":
            written = write_numpy(_rows(client, batches), output, count=total)
        case ".jsonl":
            written = _write_lines(client, batches, output)
        case _:
            fail(f"{output.name}: name a .jsonl, .parquet or .npy file")
    say(f"{written} of {total} written to {output}")
    if is_json():
        show_json({"written": written, "total": total, "output": str(output)})
    failed = [batch for batch in batches if batch["error_file_id"]]
    for batch in failed:
        with client.lines(batch["error_file_id"]) as lines:
            typer.echo(f"{batch['id']}: {batch['request_counts']['failed']} failed, first: {next(lines, '')}", err=True)


@batch_app.command()
def cancel(batch_ids: Ids) -> None:
    """Stop; what is done is kept and charged."""
    client = TenantClient()
    cancelled: list[dict[str, Any]] = []
    try:
        for batch_id in batch_ids:
            cancelled.append(client.call("POST", f"/batches/{batch_id}/cancel"))
            say(f"{batch_id}: {cancelled[-1]['status']}")
    finally:
        if is_json():
            show_json(cancelled)


@batch_app.command("list")
def list_batches(limit: Annotated[int, typer.Option(min=1, max=100)] = 20) -> None:
    """The newest batches."""
    batches = TenantClient().call("GET", f"/batches?limit={limit}")["data"]
    if is_json():
        show_json(batches)
        return
    table = Table("id", "status", "total", "completed", "failed", "created")
    for batch in batches:
        counts = batch["request_counts"]
        created = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(batch["created_at"]))
        table.add_row(batch["id"], batch["status"], *(f"{counts[n]:,}" for n in counts), created)
    console.print(table)


def _request_files(given: Path, column: str, model: str | None, folder: Path) -> Iterator[Path]:
    if not model:
        fail("name the --model of the requests")
    texts, first_row = texts_of(given, column), 0
    path = folder / "requests.jsonl"
    while count := write_requests(texts, first_row, model, path):
        yield path
        first_row += count
    if not first_row:
        fail(f"{given.name} has no texts")


def _create(client: TenantClient, path: Path) -> str:
    body = {"input_file_id": client.upload(path), "endpoint": "/v1/embeddings", "completion_window": "24h"}
    return str(client.call("POST", "/batches", body)["id"])


def _watch(client: TenantClient, batch_ids: list[str]) -> None:
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(elapsed_when_finished=True),
    )  # fmt: skip
    left = dict.fromkeys(batch_ids)
    ended = []
    with Progress(*columns, console=console, disable=is_json()) as progress:
        tasks = {batch_id: progress.add_task(batch_id, total=None, rate="") for batch_id in left}
        while left:
            for batch_id in list(left):
                batch = client.call("GET", f"/batches/{batch_id}", patience_s=60)
                counts = batch["request_counts"]
                task = next(task for task in progress.tasks if task.id == tasks[batch_id])
                progress.update(
                    task.id,
                    description=f"{batch_id} {batch['status']}",
                    completed=counts["completed"] + counts["failed"],
                    total=counts["total"] or None,
                    rate=f"{task.speed or 0:.0f}/s",
                )
                if batch["status"] in _ENDED:
                    del left[batch_id]
                    ended.append(batch)
            if left:
                time.sleep(_PERIOD_S)
    for batch in ended:
        counts = batch["request_counts"]
        why = f": {_first_error(batch)}" if batch["status"] == "failed" else ""
        say(f"{batch['id']} {batch['status']}, {counts['completed']} done, {counts['failed']} failed{why}")
    if is_json():
        show_json(ended)
    if any(batch["status"] != "completed" for batch in ended):
        raise typer.Exit(1)


def _first_error(batch: dict[str, Any]) -> str:
    error = batch["errors"]["data"][0]
    where = f"line {error['line']}: " if error["line"] else ""
    return f"{where}{error['message']}"


def _lines(client: TenantClient, batches: list[dict[str, Any]]) -> Iterator[str]:
    for batch in batches:
        if batch["output_file_id"]:
            with client.lines(batch["output_file_id"]) as lines:
                yield from lines


def _rows(client: TenantClient, batches: list[dict[str, Any]]) -> Iterator[Row]:
    return rows_of(_lines(client, batches))


def _write_lines(client: TenantClient, batches: list[dict[str, Any]], output: Path) -> int:
    count = 0
    with output.open("w", encoding="utf-8") as file:
        for line in _lines(client, batches):
            file.write(line + "\n")
            count += 1
    return count
