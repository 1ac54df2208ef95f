"""``/v1/files``: bare, under ``/{project_id}`` and under the scoped prefix."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal, Self
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from app.api.byte_range import parse_range
from app.api.caller import project_reader
from app.api.docs import errors_of
from app.api.multipart_form import UploadForm
from app.api.services import Services
from app.api.upload_stream import file_pieces
from app.core import errors as e
from app.core.files import FileRecord, check_terms

_ERRORS = errors_of(e.Unauthenticated, e.InvalidRequest, e.RouteNotFound, e.DependencyDown, scoped=False)
_UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "A .jsonl file in UTF-8."},
                        "purpose": {"type": "string", "enum": ["batch"]},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000},
                    },
                }
            }
        },
    }
}

Limit = Annotated[int, Query(ge=1, le=10_000)]


class FileObject(BaseModel):
    """A stored file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: None = None

    @classmethod
    def of(cls, record: FileRecord) -> Self:
        """From the domain."""
        return cls(
            id=record.file_id,
            bytes=record.size_bytes,
            created_at=record.created_at_ms // 1000,
            expires_at=record.expires_at_ms // 1000,
            filename=record.filename,
            purpose=record.purpose,
        )


class FileList(BaseModel):
    """A page; ``after`` = ``last_id`` gives the next one."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    """What is left of a file."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


def files_router(services: Services) -> APIRouter:
    """Routes of the files API, below any prefix."""
    router = APIRouter(tags=["Files"], responses=_ERRORS)
    files = services.files
    project_of = project_reader(services, "files")

    @router.post(
        "/v1/files",
        summary="Upload a file",
        openapi_extra=_UPLOAD_BODY,
        responses=errors_of(e.RequestTooLarge, e.DeadlineExceeded, e.CapacityExceeded, scoped=False),
    )
    async def upload(request: Request) -> FileObject:
        """The file is written to the object store while it comes, and is there whole or not at all."""
        project_id = await project_of(request)
        return FileObject.of(await _receive(services, request, project_id))

    @router.get("/v1/files", summary="Files of the project")
    async def list_files(
        request: Request,
        after: str | None = None,
        limit: Limit = 10_000,
        order: Literal["asc", "desc"] = "desc",
        purpose: str | None = None,
    ) -> FileList:
        """Newest first, unless `order` says otherwise; 1,000 a page at most."""
        project_id = await project_of(request)
        records, has_more = await files.list_page(
            project_id, after=after, limit=limit, newest_first=order == "desc", purpose=purpose
        )
        data = [FileObject.of(record) for record in records]
        ends = (data[0].id, data[-1].id) if data else (None, None)
        return FileList(data=data, first_id=ends[0], last_id=ends[1], has_more=has_more)

    @router.get("/v1/files/{file_id}", summary="One file")
    async def retrieve(request: Request, file_id: str) -> FileObject:
        """Its record, not its content."""
        project_id = await project_of(request)
        return FileObject.of(await files.get(project_id, file_id))

    @router.delete("/v1/files/{file_id}", summary="Delete a file")
    async def delete(request: Request, file_id: str) -> FileDeleted:
        """It is gone at once."""
        project_id = await project_of(request)
        await files.delete(project_id, file_id)
        return FileDeleted(id=file_id)

    @router.get(
        "/v1/files/{file_id}/content",
        summary="A file's content",
        response_class=StreamingResponse,
        responses=errors_of(e.RangeNotSatisfiable, scoped=False),
    )
    async def content(request: Request, file_id: str) -> Response:
        """All of it, or one range of bytes."""
        project_id = await project_of(request)
        record = await files.get(project_id, file_id)
        part = parse_range(request.headers.get("range"), size_bytes=record.size_bytes)
        start, end = part or (0, record.size_bytes)
        pieces = files.content(project_id, record, start=start, end=end)
        first = await anext(pieces, b"")  # a store that is away is said so before the answer begins
        return _stream(_chained(first, pieces), record, start, end, is_part=part is not None)

    return router


async def _receive(services: Services, request: Request, project_id: str) -> FileRecord:
    form = UploadForm(request.headers.get("content-type"), file_field="file")
    async with services.files.receive(project_id) as receipt:
        async for piece in file_pieces(request, form):
            await receipt.write(piece)
        terms = check_terms(
            purpose=form.fields.get("purpose"),
            filename=form.filename or "",
            anchor=form.fields.get("expires_after[anchor]"),
            expires_after_s=form.fields.get("expires_after[seconds]"),
        )
        return await receipt.keep(terms)


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _stream(pieces: AsyncIterator[bytes], record: FileRecord, start: int, end: int, *, is_part: bool) -> Response:
    headers = {
        "content-length": str(end - start),
        "accept-ranges": "bytes",
        "content-disposition": f"attachment; filename*=UTF-8''{quote(record.filename)}",
    }
    if is_part:
        headers["content-range"] = f"bytes {start}-{end - 1}/{record.size_bytes}"
    status = 206 if is_part else 200
    return StreamingResponse(pieces, status, headers=headers, media_type="application/octet-stream")
