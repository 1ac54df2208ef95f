"""The guides' scripts, run as they stand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import ROOT, Stack

pytestmark = pytest.mark.stack


@pytest.fixture
def folder(stack: Stack, tmp_path: Path) -> Path:
    (tmp_path / ".embedgate").symlink_to(stack.home)
    return tmp_path


def run(name: str, folder: Path) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"tests.examples.{name}"]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_semantic_search(folder: Path) -> None:
    lines = run("semantic_search", folder)
    assert "password" in lines[1] or "authenticator" in lines[1]
    assert "Invoices" in lines[4]


def test_clustering(folder: Path) -> None:
    groups: list[set[str]] = []
    for line in run("clustering", folder):
        if line.startswith("  "):
            groups[-1].add(line.split()[-1])
        else:
            groups.append(set())
    assert sorted(map(len, groups)) == [3, 3, 3]
    assert {"final.", "penalty.", "draw."} in groups


def test_classification(folder: Path) -> None:
    assert [line.split()[0] for line in run("classification", folder)] == ["billing", "technical", "delivery"]


def test_recommendation(folder: Path) -> None:
    chosen = [line for line in run("recommendation", folder) if line.startswith("next:")]
    assert len(chosen) == 3 and not any("steam" in line or "piano" in line for line in chosen)
