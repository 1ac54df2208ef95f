"""What routes of the tenant API share: path parameters, and who is calling."""

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


def scoped_endpoint(view: ProjectView, project_id: str, endpoint_slug: str) -> Endpoint:
    """The endpoint of a scoped path, after checking that the path names the key's own project."""
    require_project(view, project_id)
    return endpoint_by_slug(view, endpoint_slug)
