"""``embedgate apply -f projects.yaml``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.admin_client import AdminClient, fail
from app.cli.output import console, is_json, say, show_json
from app.core.settings.check import check_text
from app.core.settings.tenants import ProjectsFile, ProjectSpec
from app.services.tenant_plan import Change, plan


def apply(
    file: Annotated[Path, typer.Option("--file", "-f", help="Projects, endpoints and keys, as YAML.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
) -> None:
    """Create or update what the file names, after showing the difference. What it does not name stays."""
    if not file.is_file():
        fail(f"there is no file {file}")
    wanted, problems = check_text(file.read_text(errors="replace"), ProjectsFile)
    if wanted is None:
        fail("\n".join(f"{file}:{problem}" for problem in problems))
    client = AdminClient()
    changes: list[dict[str, Any]] = []
    try:
        for spec in wanted.projects:
            _apply_project(client, spec, changes, dry_run=dry_run)
    finally:  # keys that were made are shown this once, whatever is refused after them
        if is_json():
            show_json({"is_dry_run": dry_run, "changes": changes})
    if is_json():
        return
    if not changes:
        console.print("nothing to change")
    elif dry_run:
        console.print(f"{len(changes)} changes; nothing was done (--dry-run)")


def _apply_project(client: AdminClient, spec: ProjectSpec, told: list[dict[str, Any]], *, dry_run: bool) -> None:
    """Make the changes of one project, or only show them; ``told`` gets each, with a new key where one was made."""
    project = client.find_project(spec.slug)
    keys = list(client.pages(f"/projects/{project['project_id']}/keys")) if project else []
    valid = [key for key in keys if key["revoked_at"] is None]
    changes = plan(spec, project, valid)
    if changes and not is_json():
        console.print(f"[bold]project {spec.slug}[/bold]")
        for change in changes:
            _show(change)
    project_id = project["project_id"] if project else ""
    for change in changes:
        entry = {"project": spec.slug, "action": change.action, "kind": change.kind, "name": change.name}
        if not dry_run:
            answer = _do(client, project_id, change, {key["name"]: key["key_id"] for key in valid})
            project_id = answer.get("project_id", project_id)
            if "api_key" in answer:
                entry["api_key"] = answer["api_key"]
                say(f"  key '{change.name}' (shown this once): {answer['api_key']}")
        told.append({**entry, "values": dict(change.values)})


def _do(client: AdminClient, project_id: str, change: Change, key_ids: Mapping[str, str]) -> dict[str, Any]:
    """Make one change; what the service answered."""
    values = dict(change.values)
    match change.action, change.kind:
        case "create", "project":
            return client.call("POST", "/projects", values)
        case "change", "project":
            return client.call("PATCH", f"/projects/{project_id}", values)
        case "create", "endpoint":
            return client.call("POST", f"/projects/{project_id}/endpoints", values)
        case "change", "endpoint":
            return client.call("PATCH", f"/projects/{project_id}/endpoints/{change.name}", values)
        case "create", "key":
            return client.call("POST", f"/projects/{project_id}/keys", values)
        case "change", "key":
            return client.call("PATCH", f"/projects/{project_id}/keys/{key_ids[change.name]}", values)
        case _:
            raise AssertionError(f"no such change: {change}")


def _show(change: Change) -> None:
    sign, colour = ("+", "green") if change.action == "create" else ("~", "yellow")
    console.print(f"  [{colour}]{sign} {change.kind} {change.name}[/{colour}]")
    for name, value in change.values.items():
        if change.action == "change":
            console.print(f"      {name}: {_text(change.before.get(name))} → {_text(value)}", markup=False)
        elif name not in ("slug", "name"):
            console.print(f"      {name}: {_text(value)}", markup=False)


def _text(value: Any) -> str:
    return "none" if value is None else str(value)
