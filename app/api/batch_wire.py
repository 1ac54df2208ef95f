"""Batches over HTTP: the body that asks for one, the object that shows one."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, PlainValidator, WithJsonSchema

from app.api.wire import Strict, parse_object, validated
from app.core.batch.state import Batch, BatchStatus, LineError
from app.core.errors import InvalidRequest, InvalidType, InvalidValue
from app.core.files import LIFE_S, SHORTEST_LIFE_S
from app.services.batches.service import BatchRequest

ENDPOINT = "/v1/embeddings"
_MAX_PAIRS, _MAX_KEY, _MAX_VALUE = 16, 64, 512
_JSON_TYPES = {dict: "an object", list: "an array", bool: "a boolean", int: "an integer", float: "a number"}


def _metadata(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _wrong_type("metadata", "an object", value)
    if len(value) > _MAX_PAIRS:
        raise InvalidRequest(f"Invalid 'metadata': at most {_MAX_PAIRS} pairs.", param="metadata")
    for key, text in value.items():
        if len(key) > _MAX_KEY:
            raise InvalidRequest(f"Invalid 'metadata': keys have at most {_MAX_KEY} characters.", param="metadata")
        if not isinstance(text, str):
            raise _wrong_type(f"metadata.{key}", "a string", text)
        if len(text) > _MAX_VALUE:
            message = f"Invalid 'metadata.{key}': at most {_MAX_VALUE} characters."
            raise InvalidRequest(message, param=f"metadata.{key}")
    return value


def _wrong_type(param: str, wanted: str, value: object) -> InvalidType:
    got = "null" if value is None else _JSON_TYPES.get(type(value), "a string")
    return InvalidType(f"Invalid type for '{param}': expected {wanted}, but got {got} instead.", param=param)


class OutputExpiresAfter(Strict):
    """How long the output and error file are kept."""

    anchor: Literal["created_at"]
    """From when on: the file's own making."""
    seconds: Annotated[int, Field(ge=SHORTEST_LIFE_S, le=LIFE_S)]
    """For how long."""


_METADATA_SCHEMA = {
    "type": "object",
    "additionalProperties": {"type": "string", "maxLength": _MAX_VALUE},
    "maxProperties": _MAX_PAIRS,
}


class BatchBody(Strict):
    """Body of ``POST /v1/batches``."""

    input_file_id: Annotated[str, Field(min_length=1, max_length=128)]
    """A file of purpose "batch". Whether it is there and good is said by the batch's status and errors."""
    endpoint: Literal["/v1/embeddings"]
    """What each line of the file asks for."""
    completion_window: Literal["24h"]
    """After which what is not done is given up."""
    metadata: Annotated[dict[str, str], PlainValidator(_metadata), WithJsonSchema(_METADATA_SCHEMA)] | None = None
    """Yours: up to 16 pairs of strings."""
    output_expires_after: OutputExpiresAfter | None = None
    """30 days when left out."""


class BatchErrorOut(BaseModel):
    """A fault of the input file."""

    code: str
    message: str
    param: str | None
    line: int | None = Field(description="From 1; null for the file as a whole.")

    @classmethod
    def of(cls, error: LineError) -> Self:
        """From the domain."""
        return cls(code=error.code, message=error.message, param=error.param, line=error.line)


class BatchErrors(BaseModel):
    """What was wrong with the input."""

    object: Literal["list"] = "list"
    data: list[BatchErrorOut]


class RequestCounts(BaseModel):
    """Lines, moving while the batch runs."""

    total: int
    completed: int
    failed: int


class InputTokensDetails(BaseModel):
    """Where tokens came from."""

    cached_tokens: int


class OutputTokensDetails(BaseModel):
    """Always zero."""

    reasoning_tokens: Literal[0] = 0


class BatchUsage(BaseModel):
    """Tokens of lines that succeeded."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: Literal[0] = 0
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    total_tokens: int


class BatchObject(BaseModel):
    """A batch."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: Literal["24h"] = "24h"
    status: BatchStatus
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None

    @classmethod
    def of(cls, batch: Batch) -> Self:
        """From the domain."""
        moments: dict[str, Any] = {
            f"{status}_at": batch.moments_ms[status] // 1000 if status in batch.moments_ms else None
            for status in BatchStatus
            if status is not BatchStatus.VALIDATING
        }
        return cls(
            id=batch.batch_id,
            endpoint=batch.endpoint,
            model=batch.model,
            errors=BatchErrors(data=[BatchErrorOut.of(error) for error in batch.errors]) if batch.errors else None,
            input_file_id=batch.input_file_id,
            status=batch.status,
            output_file_id=batch.output_file_id,
            error_file_id=batch.error_file_id,
            created_at=batch.created_at_ms // 1000,
            expires_at=batch.expires_at_ms // 1000,
            request_counts=RequestCounts(total=batch.lines, completed=batch.completed, failed=batch.failed),
            usage=BatchUsage(
                input_tokens=batch.tokens,
                input_tokens_details=InputTokensDetails(cached_tokens=batch.cached_tokens),
                total_tokens=batch.tokens,
            ),
            metadata=dict(batch.metadata) or None,
            **moments,
        )


class BatchList(BaseModel):
    """A page, newest first; ``after`` = ``last_id`` gives the next one."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


def parse_batch_body(raw: bytes) -> BatchRequest:
    """Parse a body.

    Raises:
        InvalidRequest: with one sentence on the first thing that is wrong.
    """
    body = validated(BatchBody, parse_object(raw), of_literal=InvalidValue)
    life = body.output_expires_after
    return BatchRequest(
        endpoint=body.endpoint,
        input_file_id=body.input_file_id,
        metadata=body.metadata or {},
        output_life_s=life.seconds if life else LIFE_S,
    )
