"""What ``embedgate apply`` would change: the difference between a file and what exists. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.core.settings.tenants import EndpointSpec, ProjectSpec


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


def plan(spec: ProjectSpec, project: Mapping[str, Any] | None, key_names: Sequence[str]) -> list[Change]:
    """Changes that make a project what its spec says; empty when it is that already.

    Args:
        spec: from the file.
        project: the project as the administration shows it, with its endpoints; None when there is none.
        key_names: names of its keys that are not revoked.
    """
    changes: list[Change] = []
    wanted = {"name": spec.name, "status": spec.status}
    if project is None:
        changes.append(Change("create", "project", spec.slug, {"slug": spec.slug, "name": spec.name}))
        if spec.status != "active":
            changes.append(Change("change", "project", spec.slug, {"status": spec.status}, {"status": "active"}))
    else:
        changes += _difference("project", spec.slug, project, wanted)
    existing = {endpoint["slug"]: endpoint for endpoint in (project or {}).get("endpoints", ())}
    for endpoint in spec.endpoints:
        changes += _plan_endpoint(endpoint, existing.get(endpoint.slug))
    changes += [Change("create", "key", key.name, {"name": key.name}) for key in spec.keys if key.name not in key_names]
    return changes


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
