from app.core.settings.tenants import EndpointSpec, KeySpec, ProjectSpec
from app.services.tenant_plan import plan

SPEC = ProjectSpec(
    slug="demo",
    name="Demo",
    endpoints=(EndpointSpec(slug="e", model="m", aliases=("a",)),),
    keys=(KeySpec(name="ci"),),
)


def test_a_new_project_is_created_with_everything() -> None:
    assert [(c.action, c.kind, c.name) for c in plan(SPEC, None, [])] == [
        ("create", "project", "demo"),
        ("create", "endpoint", "e"),
        ("create", "key", "ci"),
    ]


def test_what_is_there_needs_nothing() -> None:
    endpoint = {**SPEC.endpoints[0].model_dump(mode="json"), "created_at": "2026-01-01"}
    assert plan(SPEC, {"name": "Demo", "status": "active", "endpoints": [endpoint]}, ["ci", "other"]) == []


def test_only_differences_are_sent() -> None:
    endpoint = {**SPEC.endpoints[0].model_dump(mode="json"), "timeout_ms": 5}
    changes = plan(SPEC, {"name": "Old", "status": "active", "endpoints": [endpoint]}, ["ci"])
    assert [(c.kind, dict(c.values), dict(c.before)) for c in changes] == [
        ("project", {"name": "Demo"}, {"name": "Old"}),
        ("endpoint", {"timeout_ms": 30000}, {"timeout_ms": 5}),
    ]


def test_a_project_may_be_born_disabled() -> None:
    spec = SPEC.model_copy(update={"status": "disabled"})
    assert [(c.action, c.kind) for c in plan(spec, None, ["ci"])][:2] == [("create", "project"), ("change", "project")]
