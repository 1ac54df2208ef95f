"""One JSON line for each request: never a key, never an input."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson
import structlog

from app.core.settings.application import LogSettings


def request_logger(settings: LogSettings) -> Callable[[Mapping[str, object]], None]:
    """A function that writes one line.

    Args:
        settings: where lines go.
    """
    if settings.requests == "off":
        return lambda _: None
    if settings.requests == "file":
        path = Path(settings.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        target = path.open("ab", buffering=0)
    else:
        target = sys.stdout.buffer  # type: ignore[assignment]
    logger = structlog.wrap_logger(
        structlog.BytesLogger(target),
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=lambda line, **_: orjson.dumps(line)),
        ],
        wrapper_class=structlog.BoundLogger,
        cache_logger_on_first_use=True,
    )

    def write(line: Mapping[str, object]) -> None:
        fields = dict(line)
        logger.info(fields.pop("event", "request"), **fields)

    return write
