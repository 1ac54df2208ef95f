"""``embedgate project|endpoint|key …``: single changes through the administration."""

import secrets
from typing import Annotated, Any

import typer

from app.cli.admin_client import AdminClient, fail
from app.cli.output import is_json, remark, show_fields, show_json, show_table

project_app = typer.Typer(help="Projects: create, list, show, change.", no_args_is_help=True)
endpoint_app = typer.Typer(help="Endpoints of a project: create, list, change.", no_args_is_help=True)
key_app = typer.Typer(help="Keys of a project: create, list, revoke.", no_args_is_help=True)

LimitsOption = Annotated[
    str | None,
    typer.Option(help='All of them, as in "requests_per_minute=60,tokens_per_minute=9000,token_burst=500"; or "none".'),
]
BudgetsOption = Annotated[
    str | None, typer.Option(help='All of them, as in "monthly_tokens=1000000,monthly_nano_usd=5000000000"; or "none".')
]
Price = Annotated[int | None, typer.Option("--price-nano-usd-per-mtok", help="For a million tokens, in nano-USD.")]
Reason = Annotated[str, typer.Option(help="Why, for the journal.")]
Project = Annotated[str, typer.Option("--project", "-p", help="Slug or id of the project.")]


@project_app.command("create")
def create_project(
    slug: str, name: Annotated[str, typer.Option(help="For people; the slug when left out.")] = ""
) -> None:
    """Create a project."""
    show_fields(AdminClient().call("POST", "/projects", {"slug": slug, "name": name or slug}))


@project_app.command("list")
def list_projects() -> None:
    """List all projects."""
    show_table(["project_id", "slug", "name", "status", "created_at"], AdminClient().pages("/projects"))


@project_app.command("show")
def show_project(project: str) -> None:
    """Show a project with its endpoints, by slug or id."""
    found = AdminClient().project(project)
    if is_json():
        show_json(found)
        return
    endpoints = found.pop("endpoints")
    show_fields(found)
    _print_endpoints(endpoints)


@project_app.command("change")
def change_project(
    project: str,
    name: Annotated[str | None, typer.Option(help="For people.")] = None,
    status: Annotated[str | None, typer.Option(help="active, delinquent or disabled.")] = None,
    limits: LimitsOption = None,
    budgets: BudgetsOption = None,
    fair_share_weight: Annotated[int | None, typer.Option(help="Share of a tier beside others, 1 to 100.")] = None,
    reason: Reason = "",
) -> None:
    """Change a project's name, status, limits, budgets or share."""
    client = AdminClient(reason=reason)
    body = _given(
        name=name, status=status, limits=_numbers(limits), budgets=_numbers(budgets),
        fair_share_weight=fair_share_weight,
    )  # fmt: skip
    changed = client.call("PATCH", f"/projects/{client.project(project)['project_id']}", body)
    show_fields({name: value for name, value in changed.items() if name != "endpoints"})


@endpoint_app.command("create")
def create_endpoint(
    slug: str,
    project: Project,
    model: Annotated[str, typer.Option(help="The model that runs.")],
    alias: Annotated[list[str] | None, typer.Option(help="Another name; may be given again.")] = None,
    service_tier: Annotated[str | None, typer.Option(help="flex, default or priority.")] = None,
    timeout_ms: Annotated[int | None, typer.Option(help="A request's deadline in milliseconds.")] = None,
    price: Price = None,
    reason: Reason = "",
) -> None:
    """Create an endpoint."""
    client = AdminClient(reason=reason)
    body = {"slug": slug, **_given(model=model, aliases=alias, service_tier=service_tier, timeout_ms=timeout_ms)}
    body |= _given(price_nano_usd_per_mtok=price)
    show_fields(client.call("POST", f"/projects/{client.project(project)['project_id']}/endpoints", body))


@endpoint_app.command("list")
def list_endpoints(project: Project) -> None:
    """List a project's endpoints."""
    _print_endpoints(AdminClient().project(project)["endpoints"])


@endpoint_app.command("change")
def change_endpoint(
    slug: str,
    project: Project,
    model: Annotated[str | None, typer.Option(help="The model that runs.")] = None,
    alias: Annotated[list[str] | None, typer.Option(help="Replaces the aliases; may be given again.")] = None,
    status: Annotated[str | None, typer.Option(help="active or inactive.")] = None,
    service_tier: Annotated[str | None, typer.Option(help="flex, default or priority.")] = None,
    timeout_ms: Annotated[int | None, typer.Option(help="A request's deadline in milliseconds.")] = None,
    price: Price = None,
    reason: Reason = "",
) -> None:
    """Change an endpoint; it takes effect within a second."""
    client = AdminClient(reason=reason)
    body = _given(model=model, aliases=alias, status=status, service_tier=service_tier, timeout_ms=timeout_ms)
    body |= _given(price_nano_usd_per_mtok=price)
    show_fields(client.call("PATCH", f"/projects/{client.project(project)['project_id']}/endpoints/{slug}", body))


@key_app.command("create")
def create_key(
    name: str,
    project: Project,
    expires_at: Annotated[str | None, typer.Option(help="ISO time with a zone, 2027-01-01T00:00:00Z.")] = None,
    limits: LimitsOption = None,
    reason: Reason = "",
) -> None:
    """Create a key; it is shown this once."""
    client = AdminClient(reason=reason)
    body = {"name": name, **_given(expires_at=expires_at, limits=_numbers(limits))}
    show_fields(client.call("POST", f"/projects/{client.project(project)['project_id']}/keys", body))


@key_app.command("change")
def change_key(
    key_id: str,
    project: Project,
    name: Annotated[str | None, typer.Option(help="For people.")] = None,
    limits: LimitsOption = None,
    reason: Reason = "",
) -> None:
    """Change a key's name or limits; it takes effect within a second."""
    client = AdminClient(reason=reason)
    body = _given(name=name, limits=_numbers(limits))
    show_fields(client.call("PATCH", f"/projects/{client.project(project)['project_id']}/keys/{key_id}", body))


@key_app.command("list")
def list_keys(project: Project) -> None:
    """List a project's keys, revoked ones too."""
    client = AdminClient()
    columns = ["key_id", "name", "created_at", "expires_at", "revoked_at"]
    show_table(columns, client.pages(f"/projects/{client.project(project)['project_id']}/keys"))


@key_app.command("revoke")
def revoke_key(key_id: str, project: Project, reason: Reason = "") -> None:
    """Revoke a key; it is refused everywhere within a second."""
    client = AdminClient(reason=reason)
    show_fields(client.call("DELETE", f"/projects/{client.project(project)['project_id']}/keys/{key_id}"))


@project_app.command("grant")
def grant(
    project: str,
    amount_nano_usd: Annotated[int, typer.Argument(help="Negative to correct; put -- before it.")],
    reason: Annotated[str, typer.Option(help="Why, for the journal.", prompt=True)],
    grant_id: Annotated[str | None, typer.Option(help="Yours, so that granting twice grants once.")] = None,
) -> None:
    """Grant credit in nano-USD (5000000000 is five dollars), or correct it."""
    client = AdminClient(reason=reason)
    grant_id = grant_id or f"grant_{secrets.token_hex(12)}"
    remark(f"grant {grant_id}; should this fail, repeat it with --grant-id {grant_id}")
    body = {"amount_nano_usd": amount_nano_usd, "reason": reason, "grant_id": grant_id}
    show_fields(client.call("POST", f"/projects/{client.project(project)['project_id']}/grants", body))


def _numbers(text: str | None) -> dict[str, int] | None:
    """Of "name=number,…"; empty for "none"."""
    if text is None or text == "none":
        return None if text is None else {}
    pairs = [part.partition("=") for part in text.split(",")]
    if any(not number.strip().isdigit() for _, _, number in pairs):
        fail(f"'{text}' is not of the form name=number,name=number")
    return {name.strip(): int(number) for name, _, number in pairs}


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _print_endpoints(endpoints: Any) -> None:
    columns = ["slug", "model", "aliases", "task_mode", "status", "service_tier", "dimensions", "timeout_ms"]
    columns += ["price_nano_usd_per_mtok"]
    show_table(columns, endpoints)
