"""The layer outside of Ray's own ingress code, in each gateway.

Ray lets callers steer it through headers (its deadline, which ends in plain text; its handling of
disconnects) and makes up request ids of its own. This layer takes the first away and makes the second ours.
Embedding requests go past that code, and are ended here when their clients leave.
Serve imports :func:`middlewares` by the path in ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH``.
"""

import asyncio
from collections.abc import Callable

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.body_credit import meter
from app.api.express import embeddings_path
from app.api.request_record import CALLERS_ID
from deployments.departure import Departure
from deployments.fresh_ids import FreshIds
from deployments.shortcut import Shortcut, shortcut_through

IMPORT_PATH = "deployments.ingress_headers:middlewares"

_REQUEST_ID = b"x-request-id"
_STEERING = frozenset(
    {
        b"x-request-timeout-seconds",
        b"x-request-disconnect-disabled",
        b"serve-multiplexed-model-id",
        b"serve_multiplexed_model_id",
        b"x-session-id",
    }
)


class IngressHeaders:
    """ASGI middleware: only headers that concern the service get through, and each request has a valid id.

    Args:
        app: Serve's ingress.
        find_shortcut: given the ingress, the way past it for embedding requests, if there is one.
    """

    def __init__(self, app: ASGIApp, *, find_shortcut: Callable[[ASGIApp], Shortcut | None]) -> None:
        self._app = app
        self._shortcut = find_shortcut(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            given = b""
            kept = []
            for name, value in scope["headers"]:
                if name == _REQUEST_ID:
                    given = value
                elif name not in _STEERING:
                    kept.append((name, value))
            request_id = given.decode() if CALLERS_ID.match(given) else new_request_id()
            scope["headers"] = [*kept, (_REQUEST_ID, request_id.encode())]
            if self._shortcut is not None and embeddings_path(scope)[0] and self._shortcut.is_open():
                await self._serve_while_the_client_stays(self._shortcut, scope, receive, send, request_id)
                return
            receive = meter(scope, receive)
        await self._app(scope, receive, send)

    @staticmethod
    async def _serve_while_the_client_stays(
        shortcut: Shortcut, scope: Scope, receive: Receive, send: Send, request_id: str
    ) -> None:
        departure = Departure(receive, send)
        try:
            await shortcut.serve(scope, departure.receive, departure.send, request_id=request_id)
        except asyncio.CancelledError:
            if not departure.has_left:
                raise
        finally:
            departure.end()


new_request_id = FreshIds("req_")
"""A fresh id of a request."""


def middlewares() -> list[Middleware]:
    """What Serve puts around its ingress."""
    return [Middleware(IngressHeaders, find_shortcut=shortcut_through)]
