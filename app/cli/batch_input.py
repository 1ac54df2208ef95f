"""Request files out of texts: .txt, .jsonl, .csv and .parquet."""

import csv
from collections.abc import Iterator
from pathlib import Path

import orjson

from app.cli.admin_client import fail

MAX_LINES = 50_000
MAX_BYTES = 180_000_000
_ROW = "row-{:09d}"


def row_of(custom_id: str) -> int | None:
    """The row that a line was made of; None for a line that was not made here."""
    number = custom_id.removeprefix("row-")
    return int(number) if number != custom_id and number.isdigit() else None


def texts_of(path: Path, column: str) -> Iterator[str]:
    """The texts of a file, one after another.

    Args:
        path: lines of text, or rows with a column of texts.
        column: its name; a .txt file has none.
    """
    if not path.is_file():
        fail(f"there is no file {path}")
    readers = {".txt": _plain, ".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        fail(f"{path.name}: give a {', '.join(readers)} file")
    try:
        yield from reader(path, column)
    except (UnicodeDecodeError, orjson.JSONDecodeError, csv.Error) as error:
        fail(f"{path.name} cannot be read: {error}")


def write_requests(texts: Iterator[str], first_row: int, model: str, target: Path) -> int:
    """Write a request file of at most ``MAX_LINES`` texts and about ``MAX_BYTES``; how many texts it has."""
    count = 0
    with target.open("wb") as file:
        while count < MAX_LINES and file.tell() < MAX_BYTES and (text := next(texts, None)) is not None:
            line = {
                "custom_id": _ROW.format(first_row + count),
                "method": "POST",
                "url": "/v1/embeddings",
                "body": {"model": model, "input": text, "encoding_format": "base64"},
            }
            file.write(orjson.dumps(line) + b"\n")
            count += 1
    return count


def _plain(path: Path, _: str) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if text := line.rstrip("\r\n"):
                yield text


def _json_lines(path: Path, column: str) -> Iterator[str]:
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                row = orjson.loads(line)
                yield _text(row.get(column) if isinstance(row, dict) else row, path, column)


def _csv(path: Path, column: str) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield _text(row.get(column), path, column)


def _parquet(path: Path, column: str) -> Iterator[str]:
    from arro3.io import read_parquet

    reader = read_parquet(str(path))
    if column not in reader.schema.names:
        fail(f"{path.name} has no column '{column}'; it has {', '.join(reader.schema.names)}")
    for batch in reader:
        for value in batch.column(column):
            yield _text(value.as_py(), path, column)


def _text(value: object, path: Path, column: str) -> str:
    if not isinstance(value, str):
        fail(f"{path.name}: a row has no text in '{column}'; name another with --column")
    return value
