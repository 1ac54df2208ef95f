"""The FastAPI application, put together from its routers."""

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from app.api.admin import admin_router
from app.api.batch_wire import BatchBody
from app.api.batches import batches_router
from app.api.caller import below_endpoint, below_project
from app.api.console import mount_console
from app.api.docs import install
from app.api.documents import add_documents
from app.api.embeddings import embeddings_router
from app.api.envelope import Envelope
from app.api.errors import answer_and_note
from app.api.express import Express
from app.api.files import files_router
from app.api.health import health_router
from app.api.models import models_router
from app.api.request_record import record_of
from app.api.services import Services
from app.api.uploads import CompleteBody, UploadBody, uploads_router
from app.api.usage import usage_router
from app.api.wire import EmbeddingBody, invalid_request
from app.core.errors import EmbedgateError, InvalidRequest, MethodNotAllowed, RouteNotFound

_DESCRIPTION = """
Text (or token ids) in, vectors out, on the OpenAI shape. Point an OpenAI SDK's `base_url` at
`/v1` (the key names the project) or at `/{project_id}/{endpoint_slug}/v1`, and keep the rest.

Guides and references: [concepts](/docs/concepts.md), [migrating](/docs/migrating.md), [guides](/docs/guides.md),
[prices](/docs/pricing.md), [operations](/docs/operations.md), [settings](/docs/settings.md),
[metrics](/docs/metrics.md), [errors](/docs/errors.md), [changing the code](/docs/changing-the-code.md).
The console is at [/console](/console/).

Every error has the envelope `{"error": {"message", "type", "param", "code"}}`; every answer
carries `x-request-id`; every 429 and 503 carries `retry-after`.
"""


_TAGS = ("Embeddings", "Models", "Files", "Uploads", "Batches", "Usage", "Administration", "Health")


def create_application(services: Services, *, version: str, ingress_adds_id: bool = False) -> ASGIApp:
    """The ASGI application of one gateway.

    Args:
        services: its collaborators.
        version: for the documentation.
        ingress_adds_id: whether a layer outside puts ``x-request-id`` on responses already.
    """
    app = FastAPIOffline(
        docs_url="/docs",
        redoc_url=None,
        title="Embedgate",
        version=version,
        description=_DESCRIPTION,
        redirect_slashes=False,
        openapi_tags=[{"name": name} for name in _TAGS],
    )
    mount_console(app)
    add_documents(app)
    for router in (
        health_router(services),
        admin_router(services),
        models_router(services),
        usage_router(services),
        embeddings_router(services),
    ):
        app.include_router(router)
    for router in (files_router(services), uploads_router(services), batches_router(services)):
        app.include_router(router)
        app.include_router(router, prefix="/{project_id}", dependencies=[Depends(below_project)])
        app.include_router(router, prefix="/{project_id}/{endpoint_slug}", dependencies=[Depends(below_endpoint)])
    _add_handlers(app)
    install(app, (EmbeddingBody, BatchBody, UploadBody, CompleteBody))
    return Envelope(Express(app, services), services, ingress_adds_id=ingress_adds_id)


def _add_handlers(app: FastAPI) -> None:
    async def on_error(request: Request, error: Exception) -> Response:
        failed = answer_and_note(error, record_of(request))
        return Response(failed.body, status_code=failed.status, headers=dict(failed.headers))

    async def on_http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return await on_error(request, _from_framework(request, error))

    async def on_validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return await on_error(request, invalid_request(error.errors()[0], None))

    app.add_exception_handler(EmbedgateError, on_error)
    app.add_exception_handler(Exception, on_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, on_validation_error)


def _from_framework(request: Request, error: HTTPException) -> EmbedgateError:
    if isinstance(error.__cause__, EmbedgateError):
        return error.__cause__
    if error.status_code == 404:
        return RouteNotFound("There is no such route; GET /docs shows what there is.")
    if error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "")
        return MethodNotAllowed(f"Not allowed to {request.method} here; allowed: {allow}.", allow=allow)
    return InvalidRequest("The request could not be read.")
