"""vLLM behind the ``StepEngine`` protocol: pooling runner, task "embed", token ids in."""

import logging
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import EngineError, EngineFault
from app.core.model_card import ModelCard
from app.core.packing import TokenIds
from app.core.settings import ModelSettings

logger = logging.getLogger("ray.serve.embedgate")

_FIRST_WITH_BFLOAT16 = 80
"""Ampere's compute capability, as vLLM writes it."""


class VllmEngine:
    """One vLLM engine, used by one thread. Loading takes seconds; the constructor blocks for them."""

    def __init__(self, settings: ModelSettings, folder: Path, card: ModelCard) -> None:
        # vLLM's own set-up of logging is off (it would silence ours), and its notes on loading are many.
        logging.getLogger("vllm").setLevel(logging.ERROR)
        from vllm import EngineArgs, PoolingParams
        from vllm.inputs import tokens_input
        from vllm.v1.engine.llm_engine import LLMEngine

        self.dimensions = card.dimensions
        engine = settings.engine
        self._engine = LLMEngine.from_engine_args(
            EngineArgs(
                model=str(folder),
                runner="pooling",
                dtype=dtype_of(settings),
                max_model_len=card.max_input_tokens,
                max_num_batched_tokens=max(engine.max_step_tokens, card.max_input_tokens),
                max_num_seqs=engine.max_step_items,
                enforce_eager=engine.enforce_eager,
                gpu_memory_utilization=engine.memory_fraction,
                skip_tokenizer_init=True,
                enable_prefix_caching=False,
                disable_log_stats=True,
            )
        )
        if not settings.num_gpus:
            _close_groups()
        # Without the task some versions answer one vector for each token.
        self._params = PoolingParams(task="embed")
        self._prompt = tokens_input
        self._ids = count()

    def embed(self, items: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Vectors of shape ``(len(items), dimensions)``.

        Raises:
            EngineError: classified by :func:`fault_of`.
        """
        rows: dict[str, int] = {}
        vectors = np.empty((len(items), self.dimensions), np.float32)
        try:
            for row, item in enumerate(items):
                name = str(next(self._ids))
                rows[name] = row
                self._engine.add_request(name, self._prompt(item.tolist()), self._params)
            while self._engine.has_unfinished_requests():
                for output in self._engine.step():
                    self._store(output, rows, vectors)
        except Exception as error:
            self._abandon(rows)
            if isinstance(error, EngineError):
                raise
            logger.exception("vLLM failed")
            raise EngineError(_SENTENCES[fault_of(error)], fault=fault_of(error), retry_after_s=5) from error
        if rows:
            raise EngineError(f"vLLM left {len(rows)} items unanswered.", fault=EngineFault.DEAD)
        return vectors

    def _store(self, output: Any, rows: dict[str, int], vectors: NDArray[np.float32]) -> None:
        row = rows.pop(output.request_id, None)
        if row is None:
            raise EngineError("vLLM answered an item that was not asked for.", fault=EngineFault.DEAD)
        data = output.outputs.data.float().numpy()
        if data.shape != (self.dimensions,):
            raise EngineError(f"vLLM answered a vector of shape {data.shape}.", fault=EngineFault.DEAD)
        vectors[row] = data

    def _abandon(self, rows: dict[str, int]) -> None:
        try:
            self._engine.abort_request(list(rows))
        except Exception:
            logger.exception("vLLM could not abort what was left of a failed step")


def _close_groups() -> None:
    """End torch's process groups, which nobody is in but this engine.

    vLLM opens six pairs of them for a single process too, and for each gloo keeps a thread that wakes a hundred times
    a second: thirteen hundred interruptions of whoever computes. On GPUs, where they hold more than gloo, they stay.
    """
    import torch.distributed
    from vllm.distributed import parallel_state

    groups = [group for reference in parallel_state._groups.values() if (group := reference()) is not None]
    if any(group.world_size > 1 for group in groups):
        return
    for group in groups:
        group.destroy()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def dtype_of(settings: ModelSettings) -> str:
    """The precision that a model is computed with on this machine: vLLM's name of it."""
    if settings.engine.dtype != "auto":
        return settings.engine.dtype
    if settings.num_gpus:
        from vllm.platforms import current_platform

        return "bfloat16" if current_platform.has_device_capability(_FIRST_WITH_BFLOAT16) else "float16"
    import torch

    return cpu_dtype(torch.cpu.get_capabilities())


def cpu_dtype(capabilities: Mapping[str, object]) -> str:
    """bfloat16 where a CPU has instructions for it; elsewhere it is emulated, and much slower than float32.

    Args:
        capabilities: as ``torch.cpu.get_capabilities`` names them.
    """
    has_bfloat16 = any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    return "bfloat16" if has_bfloat16 else "float32"


_SENTENCES = {
    EngineFault.BAD_INPUT: "The model's engine refused the input.",
    EngineFault.OVERLOADED: "The model's engine is overloaded; try again shortly.",
    EngineFault.OUT_OF_MEMORY: "The model's engine ran out of memory; try again shortly, or send less at once.",
    EngineFault.DEAD: "The model's engine died and is being replaced; try again shortly.",
    EngineFault.OTHER: "The model's engine failed.",
}


def fault_of(error: BaseException) -> EngineFault:
    """The class of an engine's exception; the one table that maps them."""
    name = type(error).__name__
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or "out of memory" in str(error).lower():
        return EngineFault.OUT_OF_MEMORY
    if name in ("EngineDeadError", "AcceleratorError") or "CUDA error" in str(error):
        return EngineFault.DEAD  # after such an error a GPU context answers nothing any more
    if isinstance(error, BrokenPipeError | EOFError):
        return EngineFault.DEAD
    if isinstance(error, ValueError | TypeError):
        return EngineFault.BAD_INPUT
    if isinstance(error, TimeoutError):
        return EngineFault.OVERLOADED
    return EngineFault.OTHER
