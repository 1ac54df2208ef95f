"""What travels over HTTP, as pydantic models: they parse, and they are the documentation."""

import difflib
import re
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails

from app.core.embedding_request import (
    MAX_ITEMS,
    EmbeddingInput,
    EmbeddingRequest,
    EncodingFormat,
    InputType,
    Truncate,
    parse_input,
)
from app.core.errors import InvalidRequest
from app.core.tiers import Tier

M = TypeVar("M", bound=BaseModel)

_INPUT_SCHEMA = {
    "description": (
        "Text to embed: a string, an array of strings, an array of token ids, or an array of arrays of token ids. "
        f"1 to {MAX_ITEMS} items, none empty. Token ids are embedded as given and must come from the model's own "
        "tokenizer, special tokens included."
    ),
    "oneOf": [
        {"title": "text", "type": "string", "minLength": 1},
        {
            "title": "texts",
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "minItems": 1,
            "maxItems": MAX_ITEMS,
        },
        {"title": "token ids", "type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
        {
            "title": "arrays of token ids",
            "type": "array",
            "items": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
            "minItems": 1,
            "maxItems": MAX_ITEMS,
        },
    ],
}


class Strict(BaseModel):
    """Parses bodies: nothing is converted, nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class EmbeddingBody(Strict):
    """Body of ``POST …/v1/embeddings``. A field that is null counts as absent; an unknown field is refused."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    """Model or alias. On the scoped route the endpoint decides, and this is informational."""
    input: Annotated[EmbeddingInput, PlainValidator(parse_input), WithJsonSchema(_INPUT_SCHEMA)]
    """Text to embed, or token ids."""
    encoding_format: Literal["float", "base64"] | None = None
    """How vectors are written: arrays of numbers (default), or base64 of little-endian float32."""
    dimensions: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Size of the vectors, where the model was trained to be cut; they are renormalised."""
    user: Annotated[str, Field(max_length=512)] | None = None
    """Your end user's identifier, for usage reports."""
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    """Rank in the queue. "auto" means default; absent means the endpoint's own tier."""
    input_type: Literal["query", "document"] | None = None
    """What the text is for; chooses the model's own prompt where it has one."""
    truncate: Literal["none", "end", "start"] | None = None
    """What to cut from an over-long input; "none" (default) refuses it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "all-MiniLM-L6-v2", "input": "The capital of France is Paris."},
                {
                    "model": "all-MiniLM-L6-v2",
                    "input": ["First document", "Second document"],
                    "encoding_format": "base64",
                    "service_tier": "priority",
                },
            ]
        }
    )


class EmbeddingItem(BaseModel):
    """One vector."""

    object: Literal["embedding"] = "embedding"
    index: int = Field(description="Position of the input.")
    embedding: list[float] | str = Field(description="The vector, as numbers or as base64 of little-endian float32.")


class PromptTokensDetails(BaseModel):
    """Where tokens came from."""

    cached_tokens: int = Field(description="Tokens that came from the cache or repeat another item: free.")


class EmbeddingUsage(BaseModel):
    """Tokens that the model was given, special tokens included."""

    prompt_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class EmbeddingResponse(BaseModel):
    """Vectors in input order."""

    object: Literal["list"] = "list"
    data: list[EmbeddingItem]
    model: str = Field(description="The model that really ran.")
    usage: EmbeddingUsage
    service_tier: None = Field(default=None, description="Always null; the tier that served is in x-service-tier.")


class Model(BaseModel):
    """A model or alias that the project can name."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix seconds.")
    owned_by: str


class ModelList(BaseModel):
    """All of them, unpaged."""

    object: Literal["list"] = "list"
    data: list[Model]


class ErrorDetail(BaseModel):
    """What went wrong, for people (message) and programs (code)."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorEnvelope(BaseModel):
    """Every error of the service has this shape."""

    error: ErrorDetail


def parse_object(body: bytes) -> dict[str, Any]:
    """A body that is a JSON object; raises ``InvalidRequest``."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidRequest("The body is not valid JSON in UTF-8.") from None
    return _object(document)


def validated(model: type[M], document: object, *, of_literal: type[InvalidRequest] = InvalidRequest) -> M:
    """A document as a model.

    Args:
        model: what it must be.
        document: parsed JSON.
        of_literal: what is raised for a field that has none of its values.

    Raises:
        InvalidRequest: with one sentence on the first thing that is wrong.
    """
    try:
        return model.model_validate(_object(document))
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        found = invalid_request(detail, model)
        kind = of_literal if detail["type"] == "literal_error" else InvalidRequest
        raise kind(found.message, param=found.param) from None


def _object(document: object) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return document


def parse_embedding_body(body: bytes) -> EmbeddingRequest:
    """Parse a body; raises ``InvalidRequest``."""
    return parse_embedding_document(parse_object(body))


def parse_embedding_document(document: object) -> EmbeddingRequest:
    """Parse a body that is no text any more; raises ``InvalidRequest``."""
    wire = validated(EmbeddingBody, document)
    tier = Tier.DEFAULT if wire.service_tier == "auto" else wire.service_tier and Tier(wire.service_tier)
    return EmbeddingRequest(
        model=wire.model,
        input=wire.input,
        encoding_format=EncodingFormat(wire.encoding_format or "float"),
        dimensions=wire.dimensions,
        user=wire.user,
        tier=tier,
        input_type=InputType(wire.input_type) if wire.input_type else None,
        truncate=Truncate(wire.truncate or "none"),
    )


def invalid_request(detail: ErrorDetails | dict[str, Any], model: type[BaseModel] | None) -> InvalidRequest:
    """One sentence for pydantic's finding; the input itself is never repeated."""
    path = ".".join(str(part)[:64] for part in detail["loc"] if part not in ("body", "query", "path"))
    name = re.sub(r"[^\w.\[\]-]", "?", path)
    context = detail.get("ctx", {})
    match detail["type"]:
        case "missing":
            return InvalidRequest(f"Missing required field: '{name}'.", param=name)
        case "extra_forbidden":
            known = list(model.model_fields) if model else []
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            return InvalidRequest(f"Unknown field: '{name}'.{hint}", param=name)
        case "literal_error":
            return InvalidRequest(f"Invalid '{name}': supported values are {context['expected']}.", param=name)
        case "json_invalid":
            return InvalidRequest("The body is not valid JSON in UTF-8.")
        case _:
            reason = detail["msg"][:1].lower() + detail["msg"][1:]
            return InvalidRequest(
                f"Invalid '{name}': {reason}." if name else f"Invalid body: {reason}.", param=name or None
            )
