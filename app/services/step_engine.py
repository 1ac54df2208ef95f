"""What an engine loop works with: the engine, the bounds of its steps, and whoever is told of outcomes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.errors import EmbedgateError
from app.core.packing import TokenIds
from app.core.tier_queue import QueuedItem


class StepEngine(Protocol):
    """An engine that computes one step at a time, on one thread."""

    dimensions: int

    def embed(self, items: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Vectors of shape ``(len(items), dimensions)``, each of length one.

        Raises:
            EngineError: with its fault; after DEAD no further step is asked for.
        """


@dataclass(frozen=True, slots=True)
class LoopBounds:
    """Bounds of a step, how long it is put off (see ``app.core.pace``), when it counts as hanging, and how far
    the thread steps back behind all else on its cores."""

    max_step_items: int
    max_step_tokens: int
    hang_after_s: float
    patience: float
    max_step_s: float
    max_shared_step_s: float
    max_light_step_s: float
    niceness: int = 0


class Outcomes(Protocol):
    """Whoever is told, on the event loop, what became of each item."""

    def computed(self, items: Sequence[QueuedItem], vectors: NDArray[np.float32]) -> None:
        """A step is done; ``vectors`` has a row for each of its items."""

    def failed(self, items: Sequence[QueuedItem], error: EmbedgateError) -> None:
        """Items that will have no vector."""
