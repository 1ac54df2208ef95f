"""How long a request spends in each of its stages."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class StageClock:
    """Durations of a request's stages, in milliseconds."""

    clock_s: Callable[[], float]
    started_s: float = 0.0
    _last_s: float = 0.0
    durations_ms: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start now."""
        self.started_s = self._last_s = self.clock_s()

    def lap(self, stage: str) -> None:
        """End a stage that began where the one before ended."""
        now_s = self.clock_s()
        self.durations_ms[stage] = (now_s - self._last_s) * 1000
        self._last_s = now_s

    def total_ms(self) -> float:
        """Since the start."""
        return (self.clock_s() - self.started_s) * 1000
