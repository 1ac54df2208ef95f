"""``GET /v1/models`` and ``GET /v1/models/{model}``, bare and scoped."""

from collections.abc import Iterable

from fastapi import APIRouter, Request

from app.api.caller import EndpointSlug, ProjectId, authenticate, scoped_endpoint
from app.api.docs import errors_of
from app.api.request_record import record_of
from app.api.services import Services
from app.api.wire import Model, ModelList
from app.core import errors as e
from app.core.directory import Endpoint, ProjectView

_BARE_ERRORS = errors_of(e.Unauthenticated, e.DependencyDown, scoped=False)
_SCOPED_ERRORS = errors_of(
    e.Unauthenticated, e.EndpointNotFound, e.EndpointInactive, e.ModelNotEmbedding, e.DependencyDown, scoped=True
)


def models_router(services: Services) -> APIRouter:
    """Routes of the models API."""
    router = APIRouter(tags=["Models"])

    async def authenticated(request: Request, *, scoped: bool) -> ProjectView:
        record = record_of(request)
        record.route, record.scoped = "models", scoped
        return (await authenticate(services, request)).view

    @router.get("/v1/models", summary="Models and aliases of the key's project", responses=_BARE_ERRORS)
    async def list_models(request: Request) -> ModelList:
        """Everything that `model` may name on the bare route."""
        view = await authenticated(request, scoped=False)
        return ModelList(data=[_model(name, view.endpoint_for_model(name), view) for name in view.model_names()])

    @router.get(
        "/v1/models/{model:path}",
        summary="One model or alias",
        responses={**_BARE_ERRORS, **errors_of(e.EndpointNotFound, scoped=False)},
    )
    async def retrieve_model(request: Request, model: str) -> Model:
        """404 when no endpoint of the project answers for that name."""
        view = await authenticated(request, scoped=False)
        return _one(view, model, view.model_names())

    @router.get(
        "/{project_id}/{endpoint_slug}/v1/models", summary="The endpoint's model and aliases", responses=_SCOPED_ERRORS
    )
    async def list_models_scoped(request: Request, project_id: ProjectId, endpoint_slug: EndpointSlug) -> ModelList:
        """What this endpoint is called."""
        view = await authenticated(request, scoped=True)
        endpoint = scoped_endpoint(view, project_id, endpoint_slug)
        return ModelList(data=[_model(name, endpoint, view) for name in _names(endpoint)])

    @router.get(
        "/{project_id}/{endpoint_slug}/v1/models/{model:path}",
        summary="One of the endpoint's names",
        responses=_SCOPED_ERRORS,
    )
    async def retrieve_model_scoped(
        request: Request, project_id: ProjectId, endpoint_slug: EndpointSlug, model: str
    ) -> Model:
        """404 when the endpoint is not called that."""
        view = await authenticated(request, scoped=True)
        endpoint = scoped_endpoint(view, project_id, endpoint_slug)
        return _one(view, model, _names(endpoint), endpoint)

    return router


def _names(endpoint: Endpoint) -> list[str]:
    return sorted({endpoint.model, *endpoint.aliases})


def _one(view: ProjectView, name: str, names: Iterable[str], endpoint: Endpoint | None = None) -> Model:
    if name not in names:
        raise e.EndpointNotFound("This project has no such model; GET /v1/models lists what it has.", param="model")
    return _model(name, endpoint or view.endpoint_for_model(name), view)


def _model(name: str, endpoint: Endpoint | None, view: ProjectView) -> Model:
    created_at_s = endpoint.created_at_ms // 1000 if endpoint else view.project.created_at_s
    return Model(id=name, created=created_at_s, owned_by=view.project.slug)
