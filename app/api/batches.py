"""``/v1/batches``: bare, under ``/{project_id}`` and under the scoped prefix."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.api.batch_wire import BatchBody, BatchList, BatchObject, parse_batch_body
from app.api.body import read_body
from app.api.caller import caller_of, project_reader
from app.api.docs import body_schema, errors_of
from app.api.services import Services
from app.core import errors as e

_ERRORS = errors_of(e.Unauthenticated, e.InvalidRequest, e.RouteNotFound, e.DependencyDown, scoped=False)
_MAX_BODY_BYTES = 65_536

Limit = Annotated[int, Query(ge=1, le=100)]


def batches_router(services: Services) -> APIRouter:
    """Routes of the batch API, below any prefix."""
    router = APIRouter(tags=["Batches"], responses=_ERRORS)
    batches = services.batches
    project_of = project_reader(services, "batches")

    @router.post(
        "/v1/batches",
        summary="Create a batch",
        openapi_extra=body_schema(BatchBody),
        responses=errors_of(e.InvalidValue, e.InvalidType, e.RequestTooLarge, e.CapacityExceeded, scoped=False),
    )
    async def create(request: Request) -> BatchObject:
        """It is validated in the background: poll its status, or be told by a webhook."""
        caller = await caller_of(services, request, route="batches")
        asked = parse_batch_body(await read_body(request, max_bytes=_MAX_BODY_BYTES))
        return BatchObject.of(await batches.create(caller.view.project.project_id, caller.key.key_id, asked))

    @router.get("/v1/batches", summary="Batches of the project")
    async def list_batches(request: Request, after: str | None = None, limit: Limit = 20) -> BatchList:
        """Newest first."""
        found, has_more = await batches.list_page(await project_of(request), after=after, limit=limit)
        data = [BatchObject.of(batch) for batch in found]
        ends = (data[0].id, data[-1].id) if data else (None, None)
        return BatchList(data=data, first_id=ends[0], last_id=ends[1], has_more=has_more)

    @router.get("/v1/batches/{batch_id}", summary="One batch")
    async def retrieve(request: Request, batch_id: str) -> BatchObject:
        """Its counts move while it runs."""
        return BatchObject.of(await batches.get(await project_of(request), batch_id))

    @router.post(
        "/v1/batches/{batch_id}/cancel", summary="Cancel a batch", responses=errors_of(e.Conflict, scoped=False)
    )
    async def cancel(request: Request, batch_id: str) -> BatchObject:
        """What is done is kept and charged; the rest is reported in the error file."""
        return BatchObject.of(await batches.cancel(await project_of(request), batch_id))

    return router
