"""The collector of cycles in a process that serves."""

import subprocess
import sys

PROGRAM = """
import gc
from deployments.garbage import collect_seldom
collect_seldom()
gc.collect()
before = gc.get_stats()[0]["collections"]
held = [[] for _ in range(15_000)]
assert gc.get_stats()[0]["collections"] == before, "a request's objects set nothing off"
for _ in range(3):
    held += [[] for _ in range(15_000)]
assert gc.get_stats()[0]["collections"] > before, "cycles are collected all the same"
"""


def test_it_runs_seldom_but_runs() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
