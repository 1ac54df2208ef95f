"""The way of embedding requests around the framework's routing, which would cost a tenth of their time.

FastAPI declares and documents the same two routes; what differs is only who finds the handler.
"""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.embeddings import serve_embeddings
from app.api.envelope import send_answer
from app.api.errors import answer_and_note
from app.api.request_record import record_of
from app.api.services import Services

_TAIL = "/v1/embeddings"


class Express:
    """ASGI layer between the envelope and the application."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve an embedding request, or pass anything else on."""
        is_embeddings, named = embeddings_path(scope)
        if not is_embeddings:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            key = request.headers.get("idempotency-key")
            response = await serve_embeddings(self._services, request, key, scope=named)
        except Exception as error:
            await send_answer(answer_and_note(error, record_of(request)), send)
            return
        await response(scope, receive, send)


def embeddings_path(scope: Scope) -> tuple[bool, tuple[str, str] | None]:
    """Whether it is an embedding request, and the project id and endpoint slug where its path names them."""
    if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].endswith(_TAIL):
        return False, None
    before = scope["path"].removesuffix(_TAIL)
    if not before:
        return True, None
    match before.split("/"):
        case ["", project_id, slug] if project_id and slug:
            return True, (project_id, slug)
    return False, None
