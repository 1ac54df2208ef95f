"""``embedgate batch``: texts in, vectors out, against a service with a worker."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from arro3.core import Array, DataType, Table
from arro3.io import read_parquet, write_parquet

from tests.stack import Stack

pytestmark = pytest.mark.stack

TEXTS = [f"a text about {word}" for word in ("rivers", "rockets", "bread", "law", "dogs")]


def embedgate(stack: Stack, *arguments: str, status: int = 0) -> str:
    program = str(Path(sys.executable).with_name("embedgate"))
    environment = {**os.environ, "OPENAI_BASE_URL": stack.dev["base_url"], "OPENAI_API_KEY": stack.dev["api_key"]}
    done = subprocess.run(
        [program, "batch", *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def write_texts(folder: Path, kind: str) -> Path:
    path = folder / f"texts.{kind}"
    match kind:
        case "txt":
            path.write_text("\n".join(TEXTS) + "\n")
        case "jsonl":
            path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
        case "csv":
            path.write_text("id,text\n" + "".join(f"{n},{text}\n" for n, text in enumerate(TEXTS)))
        case "parquet":
            write_parquet(Table.from_pydict({"text": Array(TEXTS, type=DataType.utf8())}), str(path))
    return path


WAYS = [("txt", "npy"), ("csv", "parquet"), ("jsonl", "jsonl"), ("parquet", "npy")]


@pytest.mark.parametrize(("kind", "results"), WAYS)
def test_texts_in_and_vectors_out(stack: Stack, tmp_path: Path, kind: str, results: str) -> None:
    path = write_texts(tmp_path, kind)
    printed = embedgate(stack, "submit", "--input", str(path), "--model", stack.dev["model"], "--watch")
    batch_id = printed.split()[0]
    assert f"{batch_id} completed, 5 done, 0 failed" in printed
    output = tmp_path / f"vectors.{results}"
    assert "5 of 5 written" in embedgate(stack, "results", batch_id, "-o", str(output))
    match results:
        case "npy":
            vectors = np.load(output)
        case "parquet":
            rows = [batch.to_struct_array() for batch in read_parquet(str(output))]
            pairs = [row.as_py() for rows_ in rows for row in rows_]
            assert [pair["custom_id"] for pair in pairs] == [f"row-{n:09d}" for n in range(5)]
            vectors = np.array([pair["embedding"] for pair in pairs])
        case _:
            lines = [json.loads(line) for line in output.read_text().splitlines()]
            assert [line["custom_id"] for line in lines] == [f"row-{n:09d}" for n in range(5)]
            return
    assert vectors.shape == (5, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)


def test_a_row_that_fails_is_nan(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("good\n" + "long " * 2000 + "\nalso good\n")
    printed = embedgate(stack, "submit", "--input", str(path), "--model", stack.dev["model"], "--watch")
    batch_id = printed.split()[0]
    assert "2 done, 1 failed" in printed
    output = tmp_path / "vectors.npy"
    told = embedgate(stack, "results", batch_id, "-o", str(output))
    assert "2 of 3 written" in told
    assert "1 failed, first:" in told
    assert np.isnan(np.load(output)[:, 0]).tolist() == [False, True, False]


def test_a_request_file_that_is_bad_is_told_with_its_line(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text("{\n")
    printed = embedgate(stack, "submit", str(path), "--watch", status=1)
    assert "failed" in printed
    assert "line 1: This line is not parseable as valid JSON." in printed
    batch_id = printed.split()[0]
    assert "failed: line 1" in embedgate(stack, "results", batch_id, "-o", str(tmp_path / "x.npy"), status=1)
    assert "Cannot cancel a batch with status 'failed'" in embedgate(stack, "cancel", batch_id, status=1)
    assert batch_id in embedgate(stack, "list")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("submit",), "give a request file"),
        (("submit", "--input", "nothing.txt", "--model", "m"), "there is no file"),
        (("submit", "--input", "{folder}/a.xls", "--model", "m"), "give a .txt"),
        (("submit", "--input", "{folder}/a.csv", "--column", "no", "--model", "m"), "name another with --column"),
        (("submit", "--input", "{folder}/empty.txt", "--model", "m"), "has no texts"),
        (("watch", "batch_" + "0" * 36), "No such Batch"),
    ],
)
def test_what_is_wrong_is_one_sentence(stack: Stack, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    for name, content in (("a.xls", "x"), ("a.csv", "id,text\n1,x\n"), ("empty.txt", "")):
        (tmp_path / name).write_text(content)
    printed = embedgate(stack, *(part.format(folder=tmp_path) for part in arguments), status=1)
    assert says in printed
    assert "Traceback" not in printed
