"""What ``embedgate apply`` would change: the difference between a file and what exists. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.core.settings.tenants import BudgetsSpec, EndpointSpec, KeySpec, LimitsSpec, ProjectSpec


@dataclass(frozen=True, slots=True)
class Change:
    """One call to the administration.

    Attributes:
        action: "create" or "change".
        kind: "project", "endpoint" or "key".
        name: slug or, for a key, its name.
        values: what is set.
        before: what the changed fields are now.
    """

    action: str
    kind: str
    name: str
    values: Mapping[str, Any]
    before: Mapping[str, Any] = field(default_factory=dict)


def plan(spec: ProjectSpec, project: Mapping[str, Any] | None, keys: Sequence[Mapping[str, Any]]) -> list[Change]:
    """Changes that make a project what its spec says; empty when it is that already.

    Args:
        spec: from the file.
        project: the project as the administration shows it, with its endpoints; None when there is none.
        keys: its keys that are not revoked, as the administration shows them.
    """
    changes: list[Change] = []
    wanted: dict[str, Any] = {"name": spec.name, "status": spec.status}
    wanted |= {n: part.model_dump() for n, part in (("limits", spec.limits), ("budgets", spec.budgets)) if part}
    if spec.fair_share_weight is not None:
        wanted["fair_share_weight"] = spec.fair_share_weight
    if project is None:
        new = {
            "name": spec.name,
            "status": "active",
            "limits": LimitsSpec().model_dump(),
            "budgets": BudgetsSpec().model_dump(),
            "fair_share_weight": 1,
        }
        changes.append(Change("create", "project", spec.slug, {"slug": spec.slug, "name": spec.name}))
        changes += _difference("project", spec.slug, new, wanted)
    else:
        changes += _difference("project", spec.slug, project, wanted)
    existing = {endpoint["slug"]: endpoint for endpoint in (project or {}).get("endpoints", ())}
    for endpoint in spec.endpoints:
        changes += _plan_endpoint(endpoint, existing.get(endpoint.slug))
    by_name = {key["name"]: key for key in keys}
    for key in spec.keys:
        changes += _plan_key(key, by_name.get(key.name))
    return changes


def _plan_key(spec: KeySpec, existing: Mapping[str, Any] | None) -> list[Change]:
    values = spec.model_dump(exclude_none=True)
    if existing is None:
        return [Change("create", "key", spec.name, values)]
    if spec.limits is None:
        return []
    return _difference("key", spec.name, existing, {"limits": spec.limits.model_dump()})


def _plan_endpoint(spec: EndpointSpec, existing: Mapping[str, Any] | None) -> list[Change]:
    values = spec.model_dump(mode="json")
    if existing is None:
        return [Change("create", "endpoint", spec.slug, values)]
    return _difference("endpoint", spec.slug, existing, values)


def _difference(kind: str, name: str, existing: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Change]:
    values = {field_name: value for field_name, value in wanted.items() if existing.get(field_name) != value}
    if not values:
        return []
    return [Change("change", kind, name, values, {field_name: existing.get(field_name) for field_name in values})]
