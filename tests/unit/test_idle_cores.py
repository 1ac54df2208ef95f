"""When cores count as idle."""

import os
from pathlib import Path

import pytest

from app.services.idle_cores import IdleCores, idle_cores


def looks(*runnable: int, threads: int = 1, apart_s: float = 0.001) -> list[bool]:
    counts = iter(runnable)
    cores = IdleCores(lambda: next(counts), cores=4, threads=threads)
    return [cores.look(10 + number * apart_s) == 0 for number in range(len(runnable))]


def test_a_moment_is_not_enough() -> None:
    assert looks(1, 1, 1) == [False, False, True]
    assert looks(1, 9, 1, 1, 9, 1) == [False] * 6


def test_a_look_long_ago_says_nothing() -> None:
    assert looks(1, 1, apart_s=0.0021) == [False, True]
    assert looks(1, 1, apart_s=1.0) == [False, False]


@pytest.mark.parametrize(("threads", "runnable", "is_idle"), [(1, 4, True), (1, 5, False), (3, 2, True), (3, 3, False)])
def test_an_engine_needs_a_core_for_each_of_its_threads(threads: int, runnable: int, is_idle: bool) -> None:
    assert looks(*[runnable] * 3, threads=threads)[-1] is is_idle


def test_what_cannot_be_read_is_not_idle() -> None:
    def fails() -> int:
        raise OSError(24, "Too many open files")

    cores = IdleCores(fails, cores=4, threads=1)
    assert [cores.look(1.0), cores.look(1.002), cores.look(1.004)] == [0.002] * 3


def test_each_step_waits_for_a_while_anew() -> None:
    assert looks(1, 1, 1, 1, 1, apart_s=0.0021) == [False, True, False, True, False]


def test_the_next_look_is_soon() -> None:
    cores = IdleCores(lambda: 1, cores=2, threads=1)
    assert cores.look(5.0) == pytest.approx(0.002)
    assert cores.look(5.0005) == pytest.approx(0.0015)
    assert IdleCores(lambda: 9, cores=2, threads=1).look(5.0) == pytest.approx(0.002)


@pytest.mark.parametrize("text", [None, "", "1.86 1.95", "a b c d/e f", "0.0 0.0 0.0 0/0 0"])
def test_nobody_looks_where_it_is_not_known(tmp_path: Path, text: str | None) -> None:
    loadavg = tmp_path / "loadavg"
    if text is not None:
        loadavg.write_text(text)
    assert idle_cores(threads=1, loadavg=loadavg, quotas=[tmp_path / "none"]) is None


def test_nobody_looks_where_cores_are_shared_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loadavg, quota = tmp_path / "loadavg", tmp_path / "cpu.max"
    loadavg.write_text(f"1.86 1.95 1.45 {os.cpu_count()}/583 41563\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    quota.write_text("max 100000\n")
    cores = idle_cores(threads=1, loadavg=loadavg, quotas=[quota])
    assert cores is not None
    assert [cores.look(1.0), cores.look(1.002)][-1] == 0
    for text, looks_on in [("200000 100000\n", False), ("-1\n", True), ("200000\n", False)]:
        quota.write_text(text)
        assert (idle_cores(threads=1, loadavg=loadavg, quotas=[quota]) is not None) is looks_on
    quota.unlink()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0} - {0})
    assert idle_cores(threads=1, loadavg=loadavg, quotas=[quota]) is None
