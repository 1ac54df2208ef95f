"""Lines of a batch's three files, as the wire writes them."""

from typing import Any

import orjson

from app.api.encode import encode_now
from app.api.errors import answer
from app.api.wire import parse_embedding_document
from app.core.embedding_request import EmbeddingRequest
from app.core.errors import EmbedgateError
from app.services.batches.ports import LineName, LineVectors


class JsonLines:
    """``LineCodec`` of the OpenAI shape."""

    def read(self, text: bytes) -> tuple[str, Any]:
        """A line's ``custom_id`` and body; the line was checked before."""
        line = orjson.loads(text)
        return line["custom_id"], line["body"]

    def parse(self, body: Any) -> EmbeddingRequest:
        """A body as a request; raises ``InvalidRequest``."""
        return parse_embedding_document(body)

    def success(self, name: LineName, given: LineVectors) -> bytes:
        """A line of the output file."""
        body = encode_now(
            given.vectors,
            given.request.encoding_format,
            model_id=given.model_id,
            total_tokens=given.total_tokens,
            cached_tokens=given.cached_tokens,
        )
        return _line(name, 200, body)

    def failure(self, name: LineName, error: EmbedgateError) -> bytes:
        """A line of the error file, for a request that was answered with an error."""
        failed = answer(error, scoped=False)
        return _line(name, failed.status, failed.body)

    def not_executed(self, name: LineName, code: str, message: str) -> bytes:
        """A line of the error file, for a request that nobody made."""
        error = {"code": code, "message": message}
        line = {"id": name.line_id, "custom_id": name.custom_id, "response": None, "error": error}
        return orjson.dumps(line) + b"\n"


def _line(name: LineName, status: int, body: bytes) -> bytes:
    head = orjson.dumps({"id": name.line_id, "custom_id": name.custom_id})[:-1]
    request_id = orjson.dumps(name.request_id)
    response = b'"response":{"status_code":%d,"request_id":%b,"body":%b}' % (status, request_id, body)
    return b"%b,%b,%b}\n" % (head, response, b'"error":null')
