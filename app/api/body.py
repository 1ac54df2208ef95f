"""Reading a request's body within its bound."""

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from app.core.errors import InvalidRequest, RequestTooLarge

_DRAIN_FACTOR = 4


def bounded(receive: Receive, *, max_bytes: int) -> Receive:
    """A ``receive`` for routes whose framework reads the body; it raises ``RequestTooLarge``."""
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > max_bytes:
            raise RequestTooLarge(f"The body is larger than {max_bytes} bytes.")
        return message

    return counted


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """The whole body.

    A body over the bound is read on for a while and thrown away: most clients look at the
    answer only when they have sent everything.

    Raises:
        RequestTooLarge: it is longer than ``max_bytes``.
        InvalidRequest: it is compressed, or the client left in the middle.
    """
    if request.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise InvalidRequest("Send the body uncompressed, without 'Content-Encoding'.")
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= max_bytes:
                chunks.append(chunk)
            elif size > max_bytes * _DRAIN_FACTOR:
                break
            else:
                chunks.clear()
    except ClientDisconnect:
        raise InvalidRequest("The connection ended before the body did.") from None
    if size > max_bytes:
        raise RequestTooLarge(f"The body is larger than {max_bytes} bytes; split the input over several requests.")
    return b"".join(chunks)
