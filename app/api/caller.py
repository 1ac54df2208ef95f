"""What routes of the tenant API share: path parameters, and who is calling."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Path, Request

from app.api.request_record import record_of
from app.api.services import Services
from app.core.directory import Endpoint, ProjectView
from app.services.authenticate import Caller
from app.services.resolve import endpoint_by_slug, require_project

ProjectId = Annotated[str, Path(description="The project's id, proj_…", examples=["proj_0123456789abcdef01234567"])]
EndpointSlug = Annotated[str, Path(description="The endpoint's slug in that project", examples=["my-endpoint"])]


async def authenticate(services: Services, request: Request) -> Caller:
    """The caller, noted for the log line.

    Raises:
        Unauthenticated, DependencyDown: as named.
    """
    caller = await services.authenticator.authenticate(request.headers.get("authorization"))
    record = record_of(request)
    record.project_id = caller.view.project.project_id
    record.key_id = caller.key.key_id
    return caller


async def caller_of(services: Services, request: Request, *, route: str) -> Caller:
    """The caller, on a route that may stand below a project's or an endpoint's path.

    Raises:
        Unauthenticated, EndpointNotFound, EndpointInactive, DependencyDown: as named.
    """
    record = record_of(request)
    record.route = route
    record.scoped = "endpoint_slug" in request.path_params
    caller = await authenticate(services, request)
    project_id, slug = (request.path_params.get(name) for name in ("project_id", "endpoint_slug"))
    if project_id is not None:
        require_project(caller.view, project_id)
    if slug is not None:
        endpoint_by_slug(caller.view, slug)
    return caller


def project_reader(services: Services, route: str) -> Callable[[Request], Awaitable[str]]:
    """The caller's project, as a router's handlers ask for it."""

    async def project_of(request: Request) -> str:
        return (await caller_of(services, request, route=route)).view.project.project_id

    return project_of


async def below_project(project_id: ProjectId) -> None:
    """Documents the path of a router that is included below a project's."""


async def below_endpoint(project_id: ProjectId, endpoint_slug: EndpointSlug) -> None:
    """Documents the path of a router that is included below an endpoint's."""


def scoped_endpoint(view: ProjectView, project_id: str, endpoint_slug: str) -> Endpoint:
    """The endpoint of a scoped path, after checking that the path names the key's own project."""
    require_project(view, project_id)
    return endpoint_by_slug(view, endpoint_slug)
