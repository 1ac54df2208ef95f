"""What an engine loop tells of its queue and its steps."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.core import metric_names as names
from app.core.ports import Metrics
from app.core.tier_queue import QueuedItem, TierQueue
from app.core.tracing import Tracer


@dataclass(frozen=True, slots=True)
class StepReport:
    """Metrics and, where traces are on, spans of one model's engine."""

    model_id: str
    metrics: Metrics
    tracer: Tracer | None

    def queue(self, queue: TierQueue) -> None:
        """What waits now."""
        self.metrics.set(names.QUEUE_ITEMS, len(queue), model=self.model_id)
        self.metrics.set(names.QUEUE_TOKENS, queue.queued_tokens, model=self.model_id)

    def step(self, step: Sequence[QueuedItem], *, tokens: int, began_s: float, ended_s: float) -> None:
        """A step that was computed."""
        model = self.model_id
        self.metrics.observe(names.STEP_MS, (ended_s - began_s) * 1000, model=model)
        self.metrics.observe(names.STEP_ITEMS, len(step), model=model)
        self.metrics.observe(names.STEP_TOKENS, tokens, model=model)
        if self.tracer is not None:
            self.tracer.step(model, step, began_s=began_s, ended_s=ended_s)
        # The first item of each tier stands for its tier.
        for item in {item.tier: item for item in reversed(step)}.values():
            self.metrics.observe(names.QUEUE_WAIT_MS, (began_s - item.queued_at_s) * 1000, model=model, tier=item.tier)

    def failure(self, fault: str) -> None:
        """A step that failed."""
        self.metrics.count(names.ENGINE_FAILURES, model=self.model_id, fault=fault)
