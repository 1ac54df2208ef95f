"""A gateway's part in what the console shows of the cluster. Knows neither Ray nor vLLM."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from app.core.standing import GatewayStanding
from app.services.activity import ActivityReader, ActivityRecorder
from app.services.model_runtime import ModelRuntime
from app.stores.redis_activity import RedisActivity
from app.stores.redis_client import connect
from deployments.accounts import Accounts


@dataclass(frozen=True, slots=True)
class OverviewParts:
    """What tells the store, and what reads it."""

    recorder: ActivityRecorder
    reader: ActivityReader


def open_overview(
    *, redis_url: str, accounts: Accounts, models: Mapping[str, ModelRuntime], journal_period_s: float
) -> OverviewParts:
    """Connect a gateway to the cluster's activity.

    Args:
        redis_url: where it is kept.
        accounts: of this gateway.
        models: of this gateway.
        journal_period_s: how often the journal is to leave the store.
    """
    gateway_id = secrets.token_hex(8)

    def standing() -> GatewayStanding:
        return GatewayStanding(
            gateway_id=gateway_id,
            at_ms=int(time.time() * 1000),
            journal_behind_s=accounts.housekeeping.journal_behind_s,
            unsettled_holds=len(accounts.unsettled),
            models={name: runtime.pool.standing(may_sleep=runtime.may_sleep) for name, runtime in models.items()},
        )

    store = RedisActivity(connect(redis_url))
    return OverviewParts(
        ActivityRecorder(store, standing=standing, wall_s=time.time),
        ActivityReader(store, journal_period_s=journal_period_s, wall_s=time.time),
    )
