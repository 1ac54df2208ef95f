"""Finding and ending every process of a local service, however it was started and whatever it became.

Each process of the service inherits ``EMBEDGATE_HOME``. Workers that rewrite their own title lose
that mark, so the children of marked processes count too; and so does whoever writes to the logs of
the service's Ray session, because a child whose parent died is nobody's.
"""

import contextlib
import os
import time
from pathlib import Path

import psutil

HOME_VARIABLE = "EMBEDGATE_HOME"
_TERM_TIMEOUT_S = 8


def processes_of(home: Path) -> list[psutil.Process]:
    """All living processes of the service whose data lies in ``home``, this one and its parents excluded."""
    own = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    found: dict[int, psutil.Process] = {}
    logs = str((home / "logs").resolve())
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(HOME_VARIABLE) == str(home) or _writes_below(process, logs):
                found[process.pid] = process
    for process in list(found.values()):
        with contextlib.suppress(psutil.Error):
            found.update((child.pid, child) for child in process.children(recursive=True))
    return [p for pid, p in found.items() if pid not in own and _is_alive(p)]


def _writes_below(process: psutil.Process, folder: str) -> bool:
    return any(file.path.startswith(f"{folder}/") for file in process.open_files())


def end_all(home: Path) -> int:
    """End what is left of a service: politely first, so that the store writes out its file.

    Returns:
        How many processes there were.
    """
    first = processes_of(home)
    for process in first:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    psutil.wait_procs(first, timeout=_TERM_TIMEOUT_S)
    deadline_s = time.monotonic() + 10
    # One that rewrote its own title is no longer found once its parent is gone.
    while (left := {*processes_of(home), *filter(_is_alive, first)}) and time.monotonic() < deadline_s:
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=2)
    return len(first)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
