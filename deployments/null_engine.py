"""An engine that computes nothing: for tests and benches of everything around it, never a default."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.packing import TokenIds


class NullEngineForTests:
    """``StepEngine`` that answers one and the same vector.

    Args:
        dimensions: of the vector.
        tokens_per_s: speed that it pretends to have; 0 answers at once.
    """

    def __init__(self, dimensions: int, *, tokens_per_s: float) -> None:
        self.dimensions = dimensions
        self._tokens_per_s = tokens_per_s
        self._row = np.full(dimensions, dimensions**-0.5, np.float32)

    def embed(self, items: Sequence[TokenIds]) -> NDArray[np.float32]:
        """See ``StepEngine``."""
        if self._tokens_per_s:
            time.sleep(sum(map(len, items)) / self._tokens_per_s)
        return np.tile(self._row, (len(items), 1))
