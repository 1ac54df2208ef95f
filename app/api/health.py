"""``/healthz`` (the process is up) and ``/readyz`` (Redis and an embedder answer)."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from app.api.docs import errors_of
from app.api.request_record import record_of
from app.api.services import Services
from app.core.errors import DependencyDown, ModelProvisioning


class Health(BaseModel):
    """The process is up."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Redis answers and at least one model has a replica."""

    status: Literal["ready"] = "ready"
    models: dict[str, bool]


def health_router(services: Services) -> APIRouter:
    """Routes for probes."""
    router = APIRouter(tags=["Health"])

    @router.get("/healthz", summary="The process is up")
    async def healthz(request: Request) -> Health:
        """Says nothing of Redis or models, so that an outage there restarts no gateway."""
        record_of(request).route = "health"
        return Health()

    @router.get(
        "/readyz",
        summary="Requests can be served",
        responses=errors_of(DependencyDown, ModelProvisioning, scoped=False),
    )
    async def readyz(request: Request) -> Readiness:
        """503 until Redis answers and at least one model has a replica that does, or sleeps until it is asked for."""
        record_of(request).route = "health"
        await services.ping_store()
        models = {model_id: runtime.pool.is_ready for model_id, runtime in services.models.items()}
        if not any(is_ready or services.models[model_id].may_sleep for model_id, is_ready in models.items()):
            raise ModelProvisioning("No model has a replica that answers yet; try again shortly.", retry_after_s=2)
        return Readiness(models=models)

    return router
