"""Computing the lines of a chunk, until each has an answer."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from app.core.batch.state import Closing
from app.core.directory import Project
from app.core.errors import (
    DeadlineExceeded,
    EmbedgateError,
    EngineError,
    EngineFault,
    ModelProvisioning,
    Unavailable,
)
from app.core.packing import Vector
from app.core.ports import Future
from app.core.tiers import Tier
from app.services.batches.lines import ChunkLine
from app.services.model_runtime import ModelRuntime

_ATTEMPTS = 5
"""Of a line whose computation fails in a way that may be its own fault."""

_ROUND_MS = 600_000
_LOOK_S = 0.5
_AGAIN_S = 1.0

Cut = Callable[[], Closing | None]
"""Why the work on a chunk is to be cut short, once it is."""


async def compute_held(lines: Sequence[ChunkLine], runtime: ModelRuntime, project: Project, cut: Cut) -> Closing | None:
    """Compute what is held, again and again, until each line has an answer.

    Lines that were under way when their replica was lost are sent alone from then on: one of them may be
    what it was lost of.

    Returns:
        Why the work was cut short, if it was.
    """
    attempts: Counter[int] = Counter()
    suspects: set[int] = set()
    while left := [line for line in lines if line.is_open]:
        if closing := cut():
            return closing
        alone = next((line for line in left if line.number in suspects), None)
        sent = [alone] if alone else left
        try:
            futures = runtime.pool.submit(
                [item for line in sent for item in line.items],
                tier=Tier.BATCH,
                project_id=project.project_id,
                weight=project.fair_share_weight,
                timeout_ms=_ROUND_MS,
            )
        except Unavailable:
            await asyncio.sleep(_AGAIN_S)
            continue
        await _until_done(futures, cut)
        rest = iter(futures)
        for line in sent:
            lost = _take(line, [next(rest) for _ in line.items], attempts, is_alone=alone is not None)
            if lost:
                suspects.add(line.number)
        if any(line.is_open for line in sent):
            await asyncio.sleep(_AGAIN_S)
    return None


async def _until_done(futures: Sequence[Future[Vector]], cut: Cut) -> None:
    """Wait for all; what is left when the work is cut short is withdrawn."""
    waiting: set[asyncio.Future[Vector]] = set(futures)  # type: ignore[arg-type]
    try:
        while waiting and not cut():
            _, waiting = await asyncio.wait(waiting, timeout=_LOOK_S)
    finally:
        for future in waiting:
            future.cancel()


def _take(line: ChunkLine, futures: "list[Future[Vector]]", attempts: Counter[int], *, is_alone: bool) -> bool:
    """A line's answer, if it has one; otherwise it stays open.

    Returns:
        Whether its replica was lost.
    """
    vectors = []
    for future in futures:
        if future.cancelled():
            return False
        try:
            vectors.append(future.result())
        except EmbedgateError as error:
            is_lost = isinstance(error, ModelProvisioning)
            if _may_be_its_fault(error) or (is_lost and is_alone):
                attempts[line.number] += 1
                if attempts[line.number] >= _ATTEMPTS or _is_its_fault(error):
                    line.error = error
            return is_lost
    line.vectors = vectors
    return False


def _is_its_fault(error: EmbedgateError) -> bool:
    return isinstance(error, EngineError) and error.fault is EngineFault.BAD_INPUT


def _may_be_its_fault(error: EmbedgateError) -> bool:
    """Whether another attempt is likely to end in the same way."""
    if isinstance(error, EngineError):
        return error.fault not in (EngineFault.DEAD, EngineFault.OVERLOADED)
    return not isinstance(error, (Unavailable, DeadlineExceeded))
