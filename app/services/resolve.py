"""Which endpoint, model and tier a request gets."""

from collections.abc import Mapping

from app.core.directory import Endpoint, ProjectView
from app.core.errors import (
    EndpointInactive,
    EndpointNotFound,
    InvalidModelId,
    InvalidRequest,
    Misconfigured,
    ModelNotDeployed,
    ModelNotEmbedding,
    Unauthenticated,
    UnknownTier,
)
from app.core.model_card import ModelCard, is_model_id
from app.core.tiers import CALLER_TIERS, Tier
from app.services.model_runtime import ModelRuntime


def require_project(view: ProjectView, project_id: str) -> None:
    """Refuse a key outside its own project.

    Raises:
        Unauthenticated: the path names another project; whether that one exists is not said.
    """
    if view.project.project_id != project_id:
        raise Unauthenticated("This API key does not belong to the project in the path.")


def endpoint_by_slug(view: ProjectView, slug: str) -> Endpoint:
    """The endpoint of a scoped route.

    Raises:
        EndpointNotFound, EndpointInactive, ModelNotEmbedding: as named.
    """
    endpoint = view.endpoints.get(slug)
    if endpoint is None:
        raise EndpointNotFound("This project has no endpoint of that name; check the base URL.")
    return usable(endpoint)


def endpoint_by_model(view: ProjectView, model: str) -> Endpoint:
    """The endpoint of a bare route, picked by model or alias.

    Raises:
        EndpointNotFound, EndpointInactive, ModelNotEmbedding: as named.
    """
    endpoint = view.endpoint_for_model(model)
    if endpoint is None:
        raise EndpointNotFound(
            "No endpoint of this project serves that model; GET /v1/models lists what it has.", param="model"
        )
    return usable(endpoint)


def usable(endpoint: Endpoint) -> Endpoint:
    """The endpoint itself, when it takes embedding requests."""
    if endpoint.status != "active":
        raise EndpointInactive("This endpoint is switched off; ask your operator.", retry_after_s=60)
    if endpoint.task_mode != "embed":
        raise ModelNotEmbedding("This endpoint is not for embeddings: its task mode is not 'embed'.")
    return endpoint


def runtime_of(endpoint: Endpoint, models: Mapping[str, ModelRuntime]) -> ModelRuntime:
    """The deployed model behind an endpoint.

    Raises:
        InvalidModelId, ModelNotDeployed: the endpoint's configuration cannot work.
    """
    if not is_model_id(endpoint.model):
        raise InvalidModelId("The endpoint's model id cannot be parsed; tell your operator.")
    runtime = models.get(endpoint.model)
    if runtime is None:
        raise ModelNotDeployed("The endpoint names a model that this cluster does not serve; tell your operator.")
    return runtime


def tier_of(endpoint: Endpoint, wanted: Tier | None) -> Tier:
    """The tier to serve at: the request's, else the endpoint's own.

    Raises:
        UnknownTier: the endpoint's tier is not one that callers may have.
    """
    try:
        own = Tier(endpoint.service_tier)
    except ValueError:
        own = Tier.BATCH
    if own not in CALLER_TIERS:
        raise UnknownTier("The endpoint's service tier is unknown to this cluster; tell your operator.")
    return wanted or own


def dimensions_of(card: ModelCard, wanted: int | None, endpoint: Endpoint) -> int:
    """The size to answer with; an endpoint's own size that its model lacks is not the caller's fault.

    Raises:
        InvalidRequest: the model has no such size.
        Misconfigured: nor has it the endpoint's.
    """
    if wanted is not None or endpoint.dimensions is None:
        return card.check_dimensions(wanted)
    try:
        return card.check_dimensions(endpoint.dimensions)
    except InvalidRequest:
        raise Misconfigured("The endpoint's own 'dimensions' do not fit its model; tell your operator.") from None
