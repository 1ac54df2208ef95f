"""What Linux says of threads that could run."""

import os
from pathlib import Path

import pytest

from app.services.idle_cores import has_idle_core

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("runnable", "is_idle"), [(1, True), (CORES, True), (CORES + 1, False), (CORES + 9, False)])
def test_a_core_is_idle_while_fewer_can_run_than_there_are(tmp_path: Path, runnable: int, is_idle: bool) -> None:
    loadavg = tmp_path / "loadavg"
    loadavg.write_text(f"1.86 1.95 1.45 {runnable}/583 41563\n")
    assert has_idle_core(loadavg) is is_idle


@pytest.mark.parametrize("text", [None, "", "1.86 1.95", "a b c d/e f"])
def test_none_is_where_it_is_not_known(tmp_path: Path, text: str | None) -> None:
    loadavg = tmp_path / "loadavg"
    if text is not None:
        loadavg.write_text(text)
    assert not has_idle_core(loadavg)
