"""Checking a batch's input file, line by line: what must hold before any of it is worked on.

What a line's body says beyond its model is checked when the line is computed: a line fails alone.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from app.core.batch.state import LineError

MAX_ERRORS = 100
"""More are not told: whoever has so many has made one mistake many times."""

_MAX_ID_LENGTH = 512
_MAX_TOLD = 64
_REQUIRED = ("custom_id", "method", "url", "body")


@dataclass(frozen=True, slots=True)
class LineBounds:
    """What one batch may hold."""

    max_lines: int
    max_inputs: int


class InputCheck:
    """Looks at every line of a file, in order, and remembers what is wrong.

    Args:
        url: the batch's endpoint, which every line must name.
        bounds: of the batch.
        serves: whether the project has an endpoint for a model.

    Attributes:
        errors: the first ``MAX_ERRORS`` lines', in order, then those of the file as a whole.
        model: of the first line that names one.
        lines: with something on them.
        inputs: over all lines.
    """

    def __init__(self, *, url: str, bounds: LineBounds, serves: Callable[[str], bool]) -> None:
        self._url = url
        self._bounds = bounds
        self._serves = serves
        self._ids: set[bytes] = set()
        self.errors: list[LineError] = []
        self.model: str | None = None
        self.lines = 0
        self.inputs = 0

    def feed(self, number: int, text: bytes) -> int:
        """Look at a line; ``number`` counts from 1. Empty lines are passed over.

        Returns:
            How many inputs it has; 0 when there is nothing to do for it.
        """
        if not text.strip() or len(self.errors) >= MAX_ERRORS:
            return 0
        self.lines += 1
        inputs_before = self.inputs
        error = self._fault_of(text)
        if error is not None:
            code, message, param = error
            self.errors.append(LineError(code, message, param, number))
        return self.inputs - inputs_before

    @property
    def is_hopeless(self) -> bool:
        """Whether nothing that comes could make a good batch of it, or tell more."""
        bounds = self._bounds
        return len(self.errors) >= MAX_ERRORS or self.lines > bounds.max_lines or self.inputs > bounds.max_inputs

    def too_long(self, number: int, *, max_bytes: int) -> None:
        """A line has more than ``max_bytes``; it is not looked at."""
        self.lines += 1
        self.errors.append(LineError("invalid_request", f"This line is longer than {max_bytes} bytes.", None, number))

    def finish(self) -> None:
        """The file has ended: look at it as a whole."""
        if not self.lines and not self.errors:
            self._whole(
                "empty_file", "The input file is empty. Please ensure that the batch contains at least one request."
            )
        if self.lines > self._bounds.max_lines:
            self._whole("too_many_tasks", f"The file has more than {self._bounds.max_lines} requests.")
        if self.inputs > self._bounds.max_inputs:
            self._whole(
                "too_many_inputs", f"The file has more than {self._bounds.max_inputs} inputs over all requests."
            )

    def _whole(self, code: str, message: str) -> None:
        self.errors.append(LineError(code, message))

    def _fault_of(self, text: bytes) -> tuple[str, str, str | None] | None:
        try:
            line = orjson.loads(text)
        except orjson.JSONDecodeError:
            line = None
        if not isinstance(line, dict):
            return "invalid_json_line", "This line is not parseable as valid JSON.", None
        for name in _REQUIRED:
            if line.get(name) is None:
                return "missing_required_parameter", f"Missing required parameter: '{name}'.", name
        return self._fault_of_head(line) or self._fault_of_body(line["body"])

    def _fault_of_head(self, line: dict[str, Any]) -> tuple[str, str, str] | None:
        custom_id = line["custom_id"]
        if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= _MAX_ID_LENGTH:
            return "invalid_request", f"'custom_id' must be a string of 1 to {_MAX_ID_LENGTH} characters.", "custom_id"
        digest = hashlib.blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if digest in self._ids:
            return (
                "duplicate_custom_id",
                f"The custom_id '{custom_id[:_MAX_TOLD]}' for this request is a duplicate of another request. "
                "The custom_id parameter must be unique for each request in a batch.",
                "custom_id",
            )
        self._ids.add(digest)
        if line["method"] != "POST":
            return "invalid_method", "The method must be 'POST'.", "method"
        if line["url"] != self._url:
            return "invalid_url", "The URL provided for this request does not match the batch endpoint.", "url"
        return None

    def _fault_of_body(self, body: object) -> tuple[str, str, str] | None:
        if not isinstance(body, dict):
            return "invalid_request", "'body' must be a JSON object.", "body"
        model = body.get("model")
        if not isinstance(model, str) or not model:
            return "invalid_request", "Model parameter is required.", "body.model"
        if self.model is None:
            if not self._serves(model):
                message = f"The provided model '{model[:128]}' is not supported by the Batch API."
                return "model_not_found", message, "body.model"
            self.model = model
        if model != self.model:
            return (
                "mismatched_model",
                f"The model '{model[:128]}' for this request does not match the rest of the batch. "
                "Each batch must contain requests for a single model.",
                "body.model",
            )
        self.inputs += inputs_of(body.get("input"))
        return None


def inputs_of(given: object) -> int:
    """How many inputs a body's ``input`` is; what is no input counts as one."""
    if isinstance(given, list) and given and not isinstance(given[0], int):
        return len(given)
    return 1
