"""Results of batches as JSON lines, as Parquet or as a NumPy array, written while they come."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from app.cli.admin_client import fail
from app.cli.batch_input import row_of
from app.core.packing import Vector

_AT_ONCE = 1000
Row = tuple[str, Vector]


def rows_of(lines: Iterator[str]) -> Iterator[Row]:
    """``custom_id`` and vector, for each input of each line of an output file."""
    for line in lines:
        document = orjson.loads(line)
        for item in document["response"]["body"]["data"]:
            yield document["custom_id"], _vector(item["embedding"])


def write_parquet(rows: Iterator[Row], path: Path) -> int:
    """Columns ``custom_id`` and ``embedding``; how many rows."""
    from arro3.core import Array, DataType, Field, RecordBatch, RecordBatchReader, Schema, fixed_size_list_array
    from arro3.io import write_parquet as write

    first = next(rows, None)
    if first is None:
        fail("there is nothing to write: no line succeeded")
    dimensions, count = len(first[1]), 0
    schema = Schema(
        [
            Field("custom_id", DataType.utf8(), nullable=False),
            Field("embedding", DataType.list(Field("", DataType.float32(), nullable=True), dimensions)),
        ]
    )

    def batches() -> Iterator[Any]:
        nonlocal count
        gathered = [first]
        while gathered:
            values = Array.from_numpy(np.concatenate([vector for _, vector in gathered]))
            ids = Array([custom_id for custom_id, _ in gathered], type=DataType.utf8())
            yield RecordBatch.from_arrays([ids, fixed_size_list_array(values, dimensions)], schema=schema)
            count += len(gathered)
            gathered = [row for row, _ in zip(rows, range(_AT_ONCE), strict=False)]

    write(RecordBatchReader.from_batches(schema, batches()), str(path))
    return count


def write_numpy(rows: Iterator[Row], path: Path, *, count: int) -> int:
    """A float32 array of ``count`` rows or more; a row that failed is NaN. How many are not.

    Rows stand where the texts stood that ``batch submit --input`` was given, else in the order of the output.
    """
    array: Any = None
    written = 0
    for custom_id, vector in rows:
        if array is None:
            shape = (count, len(vector))
            array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)  # type: ignore[no-untyped-call]
            array[:] = np.nan
        row = row_of(custom_id)
        place = written if row is None else row
        if place >= count or len(vector) != array.shape[1]:
            fail(
                f"{path.name}: the rows do not fit an array; name all batches of the same texts, "
                "or write Parquet, which takes lines with several inputs or sizes"
            )
        array[place] = vector
        written += 1
    if array is None:
        fail("there is nothing to write: no line succeeded")
    array.flush()
    return written


def _vector(embedding: object) -> Vector:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding), "<f4")
    return np.asarray(embedding, np.float32)
