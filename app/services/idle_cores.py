"""Whether this machine has cores with nothing to do, as Linux counts those who could run."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

_LOOK_EVERY_S = 0.002
"""And as long cores must be idle: whoever hands work over leaves one idle for a moment too."""

_LOADAVG = Path("/proc/loadavg")
_QUOTAS = Path("/sys/fs/cgroup/cpu.max"), Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
_UNLIMITED = "max", "-1"
_NOT_KNOWN = (AttributeError, IndexError, OSError, ValueError)


class IdleCores:
    """Looks, again and again while somebody asks, whether an engine could begin without taking a core from others.

    Args:
        count_runnable: threads of the machine that could run now, the one that asks included.
        cores: of the machine.
        threads: that the engine computes with.
    """

    def __init__(self, count_runnable: Callable[[], int], *, cores: int, threads: int) -> None:
        self._count_runnable = count_runnable
        self._others = cores - threads
        self._idle_since_s: float | None = None
        self._looked_at_s = 0.0

    def look(self, now_s: float) -> float:
        """Seconds until the next look; 0.0 when there were enough idle cores at each look for a while."""
        if now_s - self._looked_at_s > 2 * _LOOK_EVERY_S:
            self._idle_since_s = None
        self._looked_at_s = now_s
        if not self._are_idle():
            self._idle_since_s = None
            return _LOOK_EVERY_S
        if self._idle_since_s is None:
            self._idle_since_s = now_s
        left_s = max(0.0, self._idle_since_s + _LOOK_EVERY_S - now_s)
        if not left_s:
            self._idle_since_s = None
        return left_s

    def _are_idle(self) -> bool:
        try:
            return self._count_runnable() - 1 <= self._others
        except _NOT_KNOWN:
            return False


def idle_cores(*, threads: int, loadavg: Path = _LOADAVG, quotas: Sequence[Path] = _QUOTAS) -> IdleCores | None:
    """Of this machine; None where they are not this process's to use, or cannot be known: where it was given some of
    them only, or a share of their time, or has no Linux below it."""
    cores = os.cpu_count() or 1
    try:
        is_limited = any(quota.exists() and not quota.read_text().startswith(_UNLIMITED) for quota in quotas)
        if is_limited or len(os.sched_getaffinity(0)) < cores or _runnable(loadavg) < 1:
            return None
    except _NOT_KNOWN:
        return None
    return IdleCores(lambda: _runnable(loadavg), cores=cores, threads=threads)


def _runnable(loadavg: Path) -> int:
    return int(loadavg.read_bytes().split()[3].partition(b"/")[0])
