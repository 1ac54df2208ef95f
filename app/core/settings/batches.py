"""Batches: how many workers, and how much in one."""

from pydantic import Field

from app.core.settings.base import Placed


class BatchSettings(Placed):
    """Jobs of many requests, worked off below every other tier."""

    workers: int = Field(default=1, ge=0, le=64)
    """Processes that work on batches; 0 leaves batches waiting."""
    num_cpus: float = Field(default=0.25, ge=0, le=64)
    """CPUs that Ray sets aside for each worker."""
    niceness: int = Field(default=10, ge=0, le=19)
    """How far a worker steps back behind all else on its cores."""
    chunks_at_once: int = Field(default=8, ge=1, le=256)
    """Chunks, of up to 256 lines, that a worker has under way for each model: enough to keep its engines full."""
    max_lines: int = Field(default=50_000, ge=1, le=1_000_000)
    """Lines of one batch."""
    max_inputs: int = Field(default=50_000, ge=1, le=10_000_000)
    """Inputs over all lines of one batch."""
    max_open_per_project: int = Field(default=100, ge=1, le=10_000)
    """Batches of a project that have not ended."""
    max_kept_per_project: int = Field(default=5_000, ge=1, le=1_000_000)
    """Batches of a project that are remembered, for 30 days after their end: each takes some kilobytes of Redis."""
