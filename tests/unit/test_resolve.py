import dataclasses

import pytest

from app.core.directory import Endpoint, Project, ProjectView
from app.core.errors import (
    EndpointInactive,
    EndpointNotFound,
    InvalidModelId,
    ModelNotDeployed,
    ModelNotEmbedding,
    Unauthenticated,
    UnknownTier,
)
from app.core.tiers import Tier
from app.services.resolve import endpoint_by_model, endpoint_by_slug, require_project, runtime_of, tier_of

ENDPOINT = Endpoint("one", "org/model", "embed", "active", "default", 1000, 10, aliases=("short",))


def view(*endpoints: Endpoint) -> ProjectView:
    return ProjectView(Project("proj_1", "n", "demo", "active", 0), {e.slug: e for e in endpoints})


def change(**fields: object) -> Endpoint:
    return dataclasses.replace(ENDPOINT, **fields)  # type: ignore[arg-type]


def test_models_and_aliases_name_an_endpoint() -> None:
    tenants = view(ENDPOINT)
    assert endpoint_by_model(tenants, "org/model") is endpoint_by_model(tenants, "short") is ENDPOINT
    assert tenants.model_names() == ["org/model", "short"]
    with pytest.raises(EndpointNotFound):
        endpoint_by_model(tenants, "other")
    with pytest.raises(EndpointNotFound):
        endpoint_by_slug(tenants, "other")


def test_an_alias_wins_over_a_model_and_active_over_inactive_and_old_over_new() -> None:
    other = change(slug="two", model="short", aliases=())
    assert endpoint_by_model(view(ENDPOINT, other), "short").slug == "one"
    idle = change(slug="a", status="inactive", created_at_ms=1)
    newer = change(slug="zz", created_at_ms=11)
    twin = change(slug="two")
    assert endpoint_by_model(view(twin, idle, newer, ENDPOINT), "org/model").slug == "one"


def test_states() -> None:
    with pytest.raises(EndpointInactive):
        endpoint_by_slug(view(change(status="inactive")), "one")
    with pytest.raises(ModelNotEmbedding):
        endpoint_by_slug(view(change(task_mode="generate")), "one")


def test_a_key_stays_in_its_project() -> None:
    require_project(view(), "proj_1")
    with pytest.raises(Unauthenticated):
        require_project(view(), "proj_2")


def test_operators_mistakes_are_named() -> None:
    with pytest.raises(InvalidModelId):
        runtime_of(change(model="../etc"), {})
    with pytest.raises(ModelNotDeployed):
        runtime_of(ENDPOINT, {})
    for tier in ("gold", "batch"):
        with pytest.raises(UnknownTier):
            tier_of(change(service_tier=tier), None)


def test_tiers() -> None:
    assert tier_of(change(service_tier="flex"), None) is Tier.FLEX
    assert tier_of(change(service_tier="flex"), Tier.PRIORITY) is Tier.PRIORITY
