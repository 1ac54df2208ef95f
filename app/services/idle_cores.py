"""Whether one of this machine's cores has nothing to do."""

import os
from pathlib import Path

_LOADAVG = Path("/proc/loadavg")


def has_idle_core(loadavg: Path = _LOADAVG) -> bool:
    """Whether fewer threads than this process may use cores could run now, the one that asks left out.

    Linux counts those of the whole machine: in a container that was given a few of many cores, next to never true.
    False where it is not known.
    """
    try:
        runnable = int(loadavg.read_bytes().split()[3].partition(b"/")[0])
    except (OSError, ValueError, IndexError):
        return False
    return runnable - 1 < len(os.sched_getaffinity(0))
