"""``/admin/v1``: projects, endpoints and keys, behind the operator's token."""

import hmac
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.routing import APIRoute

from app.api.admin_webhooks import add_webhooks
from app.api.admin_wire import (
    BalanceOut,
    EndpointChange,
    EndpointCreate,
    EndpointOut,
    GrantCreate,
    GrantOut,
    KeyChange,
    KeyCreate,
    KeyOut,
    MintedKeyOut,
    Page,
    ProjectChange,
    ProjectCreate,
    ProjectDetail,
    ProjectOut,
    ProjectRow,
)
from app.api.body import bounded
from app.api.docs import errors_of
from app.api.journal import EntryOut, JournalQuery, journal_of
from app.api.overview import add_overview
from app.api.request_record import record_of
from app.api.services import Services
from app.api.usage import AccountOut, UsageOut, UsageQuery, usage_of
from app.core import errors as e
from app.core.directory import Author, Project
from app.core.ledger_types import Limits

MAX_BODY_BYTES = 65_536

Limit = Annotated[int, Query(ge=1, le=1000, description="Size of the page.")]
After = Annotated[str | None, Query(max_length=200, description="Cursor: the next_cursor of the page before.")]


def _author(
    x_actor: Annotated[
        str, Header(max_length=600, description="Who makes the change, for the journal; percent-encoded UTF-8.")
    ] = "operator",
    x_reason: Annotated[
        str, Header(max_length=4500, description="Why, for the journal; percent-encoded UTF-8, 500 characters.")
    ] = "",
) -> Author:
    return Author(unquote(x_actor)[:200], unquote(x_reason)[:500])


ByWhom = Annotated[Author, Depends(_author)]

_ERRORS = errors_of(
    e.InvalidRequest,
    e.Unauthenticated,
    e.InsufficientQuota,
    e.RouteNotFound,
    e.Conflict,
    e.RequestTooLarge,
    e.DependencyDown,
    scoped=False,
)


def admin_router(services: Services) -> APIRouter:
    """Routes of administration."""

    def require_operator(request: Request) -> None:
        record_of(request).route = "admin"
        if services.admin_token is None:
            raise e.Unauthenticated("Administration is switched off: start the service with EMBEDGATE_ADMIN_TOKEN set.")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given, wanted = token.strip().encode(), services.admin_token.encode()
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, wanted):
            raise e.Unauthenticated("Send the operator's token as 'Authorization: Bearer <token>'.")

    class OperatorRoute(APIRoute):
        """Checks the token before anything of the body is looked at, and bounds the body."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                require_operator(request)
                return await handle(Request(request.scope, bounded(request.receive, max_bytes=MAX_BODY_BYTES)))

            return guarded

    router = APIRouter(prefix="/admin/v1", tags=["Administration"], route_class=OperatorRoute, responses=_ERRORS)
    _add_projects(router, services)
    _add_accounts(router, services)
    _add_endpoints(router, services)
    _add_keys(router, services)
    add_webhooks(router, services)
    add_overview(router, services)
    return router


def _add_projects(router: APIRouter, services: Services) -> None:
    administration = services.administration

    async def detail(project_id: str) -> ProjectDetail:
        view = await administration.view(project_id)
        account = await administration.account(project_id)
        endpoints = [EndpointOut.of(view.endpoints[slug]) for slug in sorted(view.endpoints)]
        return ProjectDetail.of_account(view.project, account, endpoints=endpoints)

    async def rows_of(projects: Sequence[Project]) -> list[ProjectRow]:
        accounts = await administration.accounts([project.project_id for project in projects])
        return [ProjectRow.of_account(*pair) for pair in zip(projects, accounts, strict=True)]

    @router.post("/projects", status_code=201, summary="Create a project")
    async def create_project(body: ProjectCreate, author: ByWhom) -> ProjectOut:
        """409 when the slug is taken."""
        return ProjectOut.of(await administration.create_project(author, name=body.name, slug=body.slug))

    @router.get("/projects", summary="List projects, or find one by slug")
    async def list_projects(
        limit: Limit = 100,
        after: After = None,
        slug: Annotated[str | None, Query(max_length=64, description="Only the project of this slug.")] = None,
    ) -> Page[ProjectRow]:
        """In order of id. With `slug`, at most one."""
        if slug is not None:
            try:
                found = [(await administration.view_by_slug(slug)).project]
            except e.RouteNotFound:
                found = []
            return Page[ProjectRow](data=await rows_of(found), next_cursor=None)
        projects = await administration.list_projects(after=after, limit=limit)
        cursor = projects[-1].project_id if len(projects) == limit else None
        return Page[ProjectRow](data=await rows_of(projects), next_cursor=cursor)

    @router.get("/projects/{project_id}", summary="A project with its endpoints")
    async def get_project(project_id: str) -> ProjectDetail:
        """404 when there is none of that id."""
        return await detail(project_id)

    @router.patch("/projects/{project_id}", summary="Change a project")
    async def update_project(project_id: str, body: ProjectChange, author: ByWhom) -> ProjectDetail:
        """Takes effect within one second everywhere."""
        await administration.update_project(project_id, body.changes(), author)
        return await detail(project_id)


def _add_accounts(router: APIRouter, services: Services) -> None:
    administration = services.administration

    @router.post("/projects/{project_id}/grants", status_code=201, summary="Grant credit, or correct it")
    async def grant(project_id: str, body: GrantCreate, author: ByWhom) -> GrantOut:
        """The same `grant_id` again changes nothing. 402 when a correction goes below what is held or captured."""
        grant_id, account = await administration.grant(
            project_id, body.amount_nano_usd, Author(author.actor, body.reason), grant_id=body.grant_id
        )
        balance = BalanceOut.of(account.balance)
        return GrantOut(grant_id=grant_id, amount_nano_usd=body.amount_nano_usd, balance=balance)

    @router.get("/projects/{project_id}/account", summary="Where it stands", response_model_exclude_none=True)
    async def account(project_id: str) -> AccountOut:
        """As the project itself sees it at `/v1/account`."""
        view = await administration.view(project_id)
        return AccountOut.of_standing(await services.usage.standing(view.project))

    @router.get("/projects/{project_id}/journal", summary="Every move of its money, and every change of it")
    async def journal(project_id: str, asked: Annotated[JournalQuery, Depends()]) -> Page[EntryOut]:
        """As the project itself sees it at `/v1/journal`."""
        await administration.view(project_id)
        return await journal_of(services, project_id, asked, for_operator=True)

    @router.get("/projects/{project_id}/usage", summary="Balance, limits and usage", response_model_exclude_none=True)
    async def usage(project_id: str, asked: Annotated[UsageQuery, Depends()]) -> UsageOut:
        """As the project itself sees it at `/v1/usage`."""
        view = await administration.view(project_id)
        return await usage_of(services, view.project, asked)


def _add_endpoints(router: APIRouter, services: Services) -> None:
    administration = services.administration

    @router.post("/projects/{project_id}/endpoints", status_code=201, summary="Create an endpoint")
    async def create_endpoint(project_id: str, body: EndpointCreate, author: ByWhom) -> EndpointOut:
        """409 when the project has an endpoint of that slug."""
        return EndpointOut.of(await administration.create_endpoint(project_id, body.model_dump(), author))

    @router.patch("/projects/{project_id}/endpoints/{slug}", summary="Change an endpoint")
    async def update_endpoint(project_id: str, slug: str, body: EndpointChange, author: ByWhom) -> EndpointOut:
        """Takes effect within one second everywhere."""
        return EndpointOut.of(await administration.update_endpoint(project_id, slug, body.changes(), author))


def _add_keys(router: APIRouter, services: Services) -> None:
    administration = services.administration

    @router.post("/projects/{project_id}/keys", status_code=201, summary="Create a key")
    async def create_key(project_id: str, body: KeyCreate, author: ByWhom) -> MintedKeyOut:
        """The only time that the key is shown; only its hash is stored."""
        expires_at_s = int(body.expires_at.timestamp()) if body.expires_at else None
        limits = body.limits.domain() if body.limits else Limits()
        minted = await administration.create_key(
            project_id, author, name=body.name, expires_at_s=expires_at_s, limits=limits
        )
        return MintedKeyOut(**dict(KeyOut.of(minted.record)), api_key=minted.api_key)

    @router.get("/projects/{project_id}/keys", summary="List keys")
    async def list_keys(project_id: str, limit: Limit = 100, after: After = None) -> Page[KeyOut]:
        """In order of id; revoked keys stay listed."""
        keys = await administration.list_keys(project_id, after=after, limit=limit)
        cursor = keys[-1].key_id if len(keys) == limit else None
        return Page[KeyOut](data=[KeyOut.of(k) for k in keys], next_cursor=cursor)

    @router.patch("/projects/{project_id}/keys/{key_id}", summary="Change a key")
    async def update_key(project_id: str, key_id: str, body: KeyChange, author: ByWhom) -> KeyOut:
        """Takes effect within one second everywhere."""
        return KeyOut.of(await administration.update_key(project_id, key_id, body.changes(), author))

    @router.delete("/projects/{project_id}/keys/{key_id}", summary="Revoke a key")
    async def revoke_key(project_id: str, key_id: str, author: ByWhom) -> KeyOut:
        """Refused everywhere within one second; revoking twice changes nothing."""
        return KeyOut.of(await administration.revoke_key(project_id, key_id, author))
