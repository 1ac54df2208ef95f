"""Serve's autoscaling of embedders by tokens: the policy that its controller calls."""

from collections.abc import Mapping
from typing import Any

from ray.serve.config import AutoscalingContext

from app.core.scaling import ReplicaStats, replicas_needed

WAITING_TOKENS = "waiting_tokens"
ASKED_PER_S = "asked_per_s"
TOKENS_PER_S = "tokens_per_s"

LOOK_BACK_S = 11.0  # Ray wants it longer than its own interval of 10 s
PUSH_PERIOD = {"RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "2"}
"""Environment of an embedder: how often its figures reach the controller; Ray's default is 10 s."""


class TokenPolicy:
    """Replicas by waiting tokens, asked tokens and measured speed; bounds and delays are Serve's.

    Args:
        target_wait_ms: expected wait that is aimed at.
    """

    def __init__(self, target_wait_ms: float) -> None:
        self._target_wait_s = target_wait_ms / 1000

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """Serve's protocol: how many replicas, and what to remember."""
        if context.current_num_replicas == 0:
            # A gateway that was asked for the model waits in Serve for its first replica.
            return (1 if context.total_num_requests > 0 else 0), {}
        metrics: Mapping[str, Mapping[Any, float]] = context.aggregated_metrics or {}
        waiting, asked, speed = (metrics.get(name, {}) for name in (WAITING_TOKENS, ASKED_PER_S, TOKENS_PER_S))
        stats = [ReplicaStats(waiting[r], asked.get(r, 0.0), speed.get(r, 0.0)) for r in waiting]
        if not stats:
            return context.target_num_replicas, {}
        present = context.target_num_replicas
        return replicas_needed(stats, present=present, target_wait_s=self._target_wait_s), {}
