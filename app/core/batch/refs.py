"""Names of batches and of chunks that somebody works on."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class BatchRef:
    """A batch, by its project and its id."""

    project_id: str
    batch_id: str


@dataclass(frozen=True, slots=True)
class ChunkLease:
    """A chunk that this worker has, until it is silent for too long.

    Attributes:
        entry_id: of the queue.
        is_again: whether another had it before.
    """

    ref: BatchRef
    chunk: int
    entry_id: str
    is_again: bool
