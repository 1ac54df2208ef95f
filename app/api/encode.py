"""The embedding response as bytes, written once, at the edge."""

import asyncio
from collections.abc import Callable, Sequence

import orjson
import pybase64

from app.core.embedding_request import EncodingFormat
from app.core.packing import Vector
from app.services.embed import EmbeddingResult

_ITEMS_A_TURN = 64
"""Items written before other requests get a turn of the event loop."""


async def encode_response(result: EmbeddingResult, encoding_format: EncodingFormat) -> bytes:
    """The body: numbers are the shortest that read back as the same float32, base64 is its bytes."""
    write = _writer(encoding_format)
    parts: list[bytes] = []
    for start in range(0, len(result.vectors), _ITEMS_A_TURN):
        if start:
            await asyncio.sleep(0)
        parts.append(_items(result.vectors[start : start + _ITEMS_A_TURN], start, write))
    return _assembled(parts, result.model_id, result.total_tokens, result.cached_tokens)


def encode_now(
    vectors: Sequence[Vector],
    encoding_format: EncodingFormat,
    *,
    model_id: str,
    total_tokens: int,
    cached_tokens: int,
) -> bytes:
    """The same body, for callers that keep nobody waiting."""
    return _assembled([_items(vectors, 0, _writer(encoding_format))], model_id, total_tokens, cached_tokens)


def _writer(encoding_format: EncodingFormat) -> Callable[[Vector], bytes]:
    return _base64 if encoding_format is EncodingFormat.BASE64 else _numbers


def _assembled(parts: Sequence[bytes], model_id: str, total_tokens: int, cached_tokens: int) -> bytes:
    usage = {
        "prompt_tokens": total_tokens,
        "total_tokens": total_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }
    tail = orjson.dumps({"model": model_id, "usage": usage, "service_tier": None})
    return b'{"object":"list","data":[' + b",".join(parts) + b"]," + tail[1:]


def _items(vectors: Sequence[Vector], first: int, write: Callable[[Vector], bytes]) -> bytes:
    return b",".join(
        b'{"object":"embedding","index":%d,"embedding":%b}' % (index, write(vector))
        for index, vector in enumerate(vectors, first)
    )


def _base64(vector: Vector) -> bytes:
    return b'"' + pybase64.b64encode(vector.data) + b'"'


def _numbers(vector: Vector) -> bytes:
    return orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)
