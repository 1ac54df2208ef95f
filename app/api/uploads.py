"""``/v1/uploads``: files in parts; bare, under ``/{project_id}`` and under the scoped prefix."""

from typing import Annotated, Literal, Self

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from app.api.body import read_body
from app.api.caller import project_reader
from app.api.docs import body_schema, errors_of
from app.api.files import FileObject
from app.api.multipart_form import UploadForm
from app.api.services import Services
from app.api.upload_stream import file_pieces
from app.api.wire import M, Strict, parse_object, validated
from app.core import errors as e
from app.core.files import FileRecord, check_terms
from app.core.uploads import MAX_PART_BYTES, Part, Upload

_ERRORS = errors_of(e.Unauthenticated, e.InvalidRequest, e.RouteNotFound, e.Conflict, e.DependencyDown, scoped=False)
_MAX_BODY_BYTES = 1024 * 1024
_PART_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["data"],
                    "properties": {
                        "data": {"type": "string", "format": "binary", "description": f"Up to {MAX_PART_BYTES} bytes."}
                    },
                }
            }
        },
    }
}


class UploadExpiresAfter(Strict):
    """How long the file is kept."""

    anchor: Literal["created_at"]
    """From when on."""
    seconds: int
    """For how long: an hour to thirty days."""


class UploadBody(Strict):
    """Body of ``POST /v1/uploads``."""

    filename: Annotated[str, Field(min_length=1, max_length=1000)]
    """Ends with .jsonl."""
    purpose: str
    """Only "batch"."""
    bytes: Annotated[int, Field(ge=1)]
    """Of all parts together."""
    mime_type: Annotated[str, Field(max_length=255)]
    """Yours; nothing depends on it."""
    expires_after: UploadExpiresAfter | None = None
    """30 days when left out."""


class CompleteBody(Strict):
    """Body of ``POST /v1/uploads/{upload_id}/complete``."""

    part_ids: Annotated[list[str], Field(min_length=1, max_length=10_000)]
    """In the order of the file."""
    md5: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{32}$")] | None = None
    """Of the file, to be checked."""


class UploadObject(BaseModel):
    """An upload; ``file`` is there once it is completed."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: str
    file: FileObject | None

    @classmethod
    def of(cls, upload: Upload, record: FileRecord | None = None) -> Self:
        """From the domain."""
        return cls(
            id=upload.upload_id,
            bytes=upload.size_bytes,
            created_at=upload.created_at_ms // 1000,
            expires_at=upload.expires_at_ms // 1000,
            filename=upload.filename,
            purpose=upload.purpose,
            status=upload.status,
            file=FileObject.of(record) if record else None,
        )


class PartObject(BaseModel):
    """A part of an upload."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


def uploads_router(services: Services) -> APIRouter:
    """Routes of the uploads API, below any prefix."""
    router = APIRouter(tags=["Uploads"], responses=_ERRORS)
    uploads = services.uploads
    project_of = project_reader(services, "uploads")

    @router.post(
        "/v1/uploads",
        summary="Announce a file that comes in parts",
        openapi_extra=body_schema(UploadBody),
        responses=errors_of(e.RequestTooLarge, e.CapacityExceeded, scoped=False),
    )
    async def create(request: Request) -> UploadObject:
        """It takes parts for an hour."""
        project_id = await project_of(request)
        body = await _body(request, UploadBody)
        life = body.expires_after
        terms = check_terms(
            purpose=body.purpose,
            filename=body.filename,
            anchor=life.anchor if life else None,
            expires_after_s=str(life.seconds) if life else None,
        )
        return UploadObject.of(await uploads.create(project_id, terms, size_bytes=body.bytes, mime_type=body.mime_type))

    @router.post(
        "/v1/uploads/{upload_id}/parts",
        summary="Add a part",
        openapi_extra=_PART_BODY,
        responses=errors_of(e.RequestTooLarge, e.DeadlineExceeded, scoped=False),
    )
    async def add_part(request: Request, upload_id: str) -> PartObject:
        """Parts may come in any order, and at the same time."""
        project_id = await project_of(request)
        async with uploads.receive_part(project_id, upload_id) as (part, receipt):
            form = UploadForm(request.headers.get("content-type"), file_field="data")
            async for piece in file_pieces(request, form):
                await receipt.write(piece)
        return _part(part, upload_id)

    @router.post(
        "/v1/uploads/{upload_id}/complete",
        summary="Make the file of its parts",
        openapi_extra=body_schema(CompleteBody),
        responses=errors_of(e.RequestTooLarge, e.CapacityExceeded, scoped=False),
    )
    async def complete(request: Request, upload_id: str) -> UploadObject:
        """The parts must have as many bytes together as were announced. Asked again, it is the same file."""
        project_id = await project_of(request)
        body = await _body(request, CompleteBody)
        return UploadObject.of(*await uploads.complete(project_id, upload_id, body.part_ids, md5=body.md5))

    @router.post("/v1/uploads/{upload_id}/cancel", summary="Give an upload up")
    async def cancel(request: Request, upload_id: str) -> UploadObject:
        """Its parts are deleted."""
        return UploadObject.of(await uploads.cancel(await project_of(request), upload_id))

    return router


def _part(part: Part, upload_id: str) -> PartObject:
    return PartObject(id=part.part_id, created_at=part.created_at_ms // 1000, upload_id=upload_id)


async def _body(request: Request, model: type[M]) -> M:
    return validated(model, parse_object(await read_body(request, max_bytes=_MAX_BODY_BYTES)))
