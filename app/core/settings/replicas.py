"""How many replicas a deployment has."""

from typing import Self

from pydantic import Field, model_validator

from app.core.settings.base import Knobs


class ReplicaSettings(Knobs):
    """Replicas of one deployment, and what Serve's autoscaler aims at."""

    min: int = Field(default=1, ge=1, le=1000)
    """Replicas that are always there."""
    max: int = Field(default=1, ge=1, le=1000)
    """Replicas under the heaviest load."""
    target_ongoing_requests: float = Field(default=64, gt=0)
    """Calls under way for each replica that the autoscaler aims at."""
    max_ongoing_requests: int = Field(default=512, ge=1)
    """Serve's own bound of calls under way for each replica: a backstop, the service sheds before."""
    upscale_delay_s: float = Field(default=5, ge=0)
    """How long the load must last before replicas are added."""
    downscale_delay_s: float = Field(default=300, ge=0)
    """How long the calm must last before replicas are taken away."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is larger than max ({self.max})")
        if self.target_ongoing_requests > self.max_ongoing_requests:
            raise ValueError(
                "target_ongoing_requests is larger than max_ongoing_requests: the deployment would never scale"
            )
        return self
