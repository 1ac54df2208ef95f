"""The collector of cycles in a process that serves."""

import subprocess
import sys

PROGRAM = """
import gc
from deployments.garbage import collect_seldom
imported = len(gc.get_objects())
collect_seldom()
assert gc.get_freeze_count() > imported * 0.9, "what is set up is never looked at again"
before = gc.get_stats()[0]["collections"]
for _ in range(15_000):
    kept = [[] for _ in range(1)]
held = [[] for _ in range(15_000)]
assert gc.get_stats()[0]["collections"] == before, "a request's objects set nothing off"
for _ in range(3):
    held += [[] for _ in range(15_000)]
assert gc.get_stats()[0]["collections"] > before, "cycles are collected all the same"
"""


def test_it_runs_seldom_and_never_looks_at_what_was_set_up() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
