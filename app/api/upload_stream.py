"""A form's file while it comes, in pieces that its receiver says it has dealt with."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import Request
from starlette.requests import ClientDisconnect

from app.api.body_credit import deal_with
from app.api.multipart_form import UploadForm
from app.core.errors import DeadlineExceeded, InvalidRequest

_SILENT_S = 60


async def file_pieces(request: Request, form: UploadForm) -> AsyncIterator[bytes]:
    """Pieces of the form's file; its fields are there when they have ended.

    Raises:
        InvalidRequest: the body is no such form, or ended early.
        DeadlineExceeded: nothing came for a minute.
    """
    chunks = request.stream()
    try:
        while (chunk := await _next_chunk(chunks)) is not None:
            for piece in form.feed(chunk):
                yield piece
            deal_with(request, len(chunk))
    except ClientDisconnect:
        raise InvalidRequest("The connection ended before the body did.") from None
    form.finish()


async def _next_chunk(chunks: AsyncIterator[bytes]) -> bytes | None:
    try:
        async with asyncio.timeout(_SILENT_S):
            return await anext(chunks, None)
    except TimeoutError:
        raise DeadlineExceeded(f"Nothing came for {_SILENT_S} s; the upload was given up. Try again.") from None
