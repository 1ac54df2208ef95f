"""``GET /admin/v1/overview``: what the cluster does, how it stands, and what is wrong with it."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Literal

import orjson
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from app.api.services import Services
from app.core.activity import View
from app.services.activity import Overview


class TierActivityOut(BaseModel):
    """One tier in a span of time, as gateways counted it."""

    requests: int
    refused: int = Field(description="Answered with 4xx.")
    failed: int = Field(description="Answered with 5xx; of a batch's lines, not completed.")
    left: int = Field(description="Whose callers did not wait.")
    tokens: int = Field(description="Charged tokens.")
    cached_tokens: int
    nano_usd: int
    p50_ms: float | None
    p99_ms: float | None


class PointOut(BaseModel):
    """What was done from a moment on, by tier; tiers without a request are left out."""

    at: datetime
    tiers: dict[str, TierActivityOut]


class ModelOut(BaseModel):
    """How a model stands."""

    replicas: int
    may_sleep: bool
    tokens_per_s: float
    waiting_tokens: dict[str, int]
    wait_ms: dict[str, float]
    max_wait_ms: dict[str, int]


class TroubleOut(BaseModel):
    """Something that is wrong now."""

    is_urgent: bool
    sentence: str


class OverviewOut(BaseModel):
    """The cluster. Activity is for looking at, money is the ledger's."""

    view: str
    point_s: int
    points: list[PointOut]
    total: dict[str, TierActivityOut]
    gateways: int
    models: dict[str, ModelOut]
    troubles: list[TroubleOut]


class TotalsOut(BaseModel):
    """All projects together."""

    projects: int
    open_holds: int
    balance: dict[str, str] = Field(description="As in BalanceOut; digits, since their sum may pass 2^53.")


def add_overview(router: APIRouter, services: Services) -> None:
    """The cluster's routes of administration."""

    @router.get("/overview", summary="Activity by tier, models, and what is wrong now", response_model=OverviewOut)
    async def overview(view: Literal["hour", "day", "week"] = "hour") -> Response:
        """An hour by the minute, a day by the quarter of an hour, or a week by the hour."""
        found = await services.overview.overview(View[view.upper()])
        return Response(_written(found), media_type="application/json")

    @router.get("/totals", summary="The money of all projects together")
    async def totals() -> TotalsOut:
        """Every account is read for it, so it is up to ten seconds old."""
        balance, projects, holds = await services.administration.totals()
        return TotalsOut(projects=projects, open_holds=holds, balance={k: str(v) for k, v in asdict(balance).items()})


def _written(overview: Overview) -> bytes:
    """The bytes of an ``OverviewOut``: its models take ten times as long, and consoles ask every few seconds."""
    points = [{"at": datetime.fromtimestamp(at_s, UTC), "tiers": tiers} for at_s, tiers in overview.points]
    fields = {
        "view": overview.view.name.lower(),
        "point_s": overview.view.point_s,
        "points": points,
        "total": overview.total,
        "gateways": overview.gateways,
        "models": overview.models,
        "troubles": overview.troubles,
    }
    return orjson.dumps(fields, option=orjson.OPT_UTC_Z)
