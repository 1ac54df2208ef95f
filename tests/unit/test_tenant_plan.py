from app.core.settings.tenants import BudgetsSpec, EndpointSpec, KeySpec, LimitsSpec, ProjectSpec
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
    assert (
        plan(SPEC, {"name": "Demo", "status": "active", "endpoints": [endpoint]}, [{"name": "ci"}, {"name": "other"}])
        == []
    )


def test_only_differences_are_sent() -> None:
    endpoint = {**SPEC.endpoints[0].model_dump(mode="json"), "timeout_ms": 5}
    changes = plan(SPEC, {"name": "Old", "status": "active", "endpoints": [endpoint]}, [{"name": "ci"}])
    assert [(c.kind, dict(c.values), dict(c.before)) for c in changes] == [
        ("project", {"name": "Demo"}, {"name": "Old"}),
        ("endpoint", {"timeout_ms": 30000}, {"timeout_ms": 5}),
    ]


def test_a_project_may_be_born_disabled() -> None:
    spec = SPEC.model_copy(update={"status": "disabled"})
    assert [(c.action, c.kind) for c in plan(spec, None, [{"name": "ci"}])][:2] == [
        ("create", "project"),
        ("change", "project"),
    ]


def test_limits_and_budgets_that_a_file_names_are_compared_and_others_left() -> None:
    spec = SPEC.model_copy(
        update={
            "limits": LimitsSpec(requests_per_minute=60),
            "budgets": BudgetsSpec(monthly_tokens=5),
            "keys": (KeySpec(name="ci", limits=LimitsSpec(tokens_per_minute=7)),),
        }
    )
    assert [(c.kind, sorted(c.values)) for c in plan(spec, None, [])][1:] == [
        ("project", ["budgets", "limits"]),
        ("endpoint", sorted(SPEC.endpoints[0].model_dump())),
        ("key", ["limits", "name"]),
    ]
    endpoint = SPEC.endpoints[0].model_dump(mode="json")
    project = {"name": "Demo", "status": "active", "endpoints": [endpoint]}
    there = {**project, "limits": spec.limits.model_dump(), "budgets": spec.budgets.model_dump()}
    keys = [{"name": "ci", "limits": spec.keys[0].limits.model_dump()}]
    assert plan(spec, there, keys) == []
    assert plan(SPEC, there, keys) == []
    other = [{"name": "ci", "limits": LimitsSpec().model_dump()}]
    assert [(c.kind, c.name, sorted(c.values)) for c in plan(spec, there, other)] == [("key", "ci", ["limits"])]


def test_a_share_is_set_where_the_file_names_one() -> None:
    spec = ProjectSpec(slug="demo", name="Demo", fair_share_weight=3)
    assert [c.values for c in plan(spec, None, [])] == [{"slug": "demo", "name": "Demo"}, {"fair_share_weight": 3}]
    existing = {"name": "Demo", "status": "active", "fair_share_weight": 3}
    assert plan(spec, existing, []) == []
