"""``embedgate apply -f projects.yaml``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from app.cli.admin_client import AdminClient, fail
from app.core.settings.check import check_text
from app.core.settings.tenants import ProjectsFile, ProjectSpec
from app.services.tenant_plan import Change, plan

console = Console(highlight=False)


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
    total = sum(_apply_project(client, spec, dry_run=dry_run) for spec in wanted.projects)
    if not total:
        console.print("nothing to change")
    elif dry_run:
        console.print(f"{total} changes; nothing was done (--dry-run)")


def _apply_project(client: AdminClient, spec: ProjectSpec, *, dry_run: bool) -> int:
    project = client.find_project(spec.slug)
    keys = list(client.pages(f"/projects/{project['project_id']}/keys")) if project else []
    valid = [key for key in keys if key["revoked_at"] is None]
    changes = plan(spec, project, valid)
    if changes:
        console.print(f"[bold]project {spec.slug}[/bold]")
    for change in changes:
        _show(change)
    if not dry_run:
        project_id = project["project_id"] if project else ""
        for change in changes:
            project_id = _do(client, project_id, change, {key["name"]: key["key_id"] for key in valid})
    return len(changes)


def _do(client: AdminClient, project_id: str, change: Change, key_ids: Mapping[str, str]) -> str:
    """Make one change; returns the project's id, which a creation makes known."""
    values = dict(change.values)
    match change.action, change.kind:
        case "create", "project":
            return str(client.call("POST", "/projects", values)["project_id"])
        case "change", "project":
            client.call("PATCH", f"/projects/{project_id}", values)
        case "create", "endpoint":
            client.call("POST", f"/projects/{project_id}/endpoints", values)
        case "change", "endpoint":
            client.call("PATCH", f"/projects/{project_id}/endpoints/{change.name}", values)
        case "create", "key":
            minted = client.call("POST", f"/projects/{project_id}/keys", values)
            console.print(f"  key '{change.name}' (shown this once): {minted['api_key']}", soft_wrap=True)
        case "change", "key":
            client.call("PATCH", f"/projects/{project_id}/keys/{key_ids[change.name]}", values)
        case _:
            raise AssertionError(f"no such change: {change}")
    return project_id


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
