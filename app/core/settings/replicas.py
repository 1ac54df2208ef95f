"""How many replicas a deployment has."""

from typing import Self

from pydantic import Field, model_validator

from app.core.settings.base import Knobs


class ReplicaSettings(Knobs):
    """Bounds and delays of autoscaling."""

    min: int = Field(default=1, ge=1, le=1000)
    """Replicas that are always there."""
    max: int = Field(default=1, ge=1, le=1000)
    """Replicas under the heaviest load."""
    upscale_delay_s: float = Field(default=5, ge=0)
    """How long the load must last before replicas are added."""
    downscale_delay_s: float = Field(default=300, ge=0)
    """How long the calm must last before replicas are taken away."""
    max_per_node: int | None = Field(default=None, ge=1, le=100)
    """Replicas on one node, at most, so that a node that dies does not take all of them. Leave room for a rollout's."""
    surge_percent: int = Field(default=25, ge=0, le=100)
    """New replicas that a rollout starts before old ones stop, in percent of all, at least one. Where the cluster has
    no room for them the rollout waits; 0 stops old ones first."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is larger than max ({self.max})")
        return self


class GatewayReplicaSettings(ReplicaSettings):
    """Gateways are scaled by the requests that they have under way."""

    target_ongoing_requests: float = Field(default=64, gt=0)
    """Requests under way for each gateway that the autoscaler aims at."""
    max_ongoing_requests: int = Field(default=4096, ge=1)
    """Requests under way in each gateway, those that wait for their turn included. A few before, requests are
    refused with a Retry-After, lower tiers first; past it they would wait outside, where no tier counts."""

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.target_ongoing_requests > self.max_ongoing_requests:
            raise ValueError(
                "target_ongoing_requests is larger than max_ongoing_requests: the deployment would never scale"
            )
        return self


class EmbedderReplicaSettings(ReplicaSettings):
    """Embedders are scaled by tokens: those asked for, those that wait, and how fast the engines are."""

    min: int = Field(default=1, ge=0, le=1000)
    """Replicas that are always there. 0 lets the model sleep: the first who asks for it gets a 503 with a
    Retry-After while a replica starts."""
    target_wait_ms: int = Field(default=500, ge=10, le=600_000)
    """Expected wait that the autoscaler aims at."""
    sleep_after_s: float = Field(default=900, ge=0)
    """How long nobody must have asked before the last replica goes, where ``min`` is 0."""
