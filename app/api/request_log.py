"""One JSON line for each request: never a key, never an input."""

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

import orjson

from app.core.settings.application import LogSettings

_AS_A_LINE = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z


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
        target: BinaryIO = path.open("ab", buffering=0)
    else:
        target = sys.stdout.buffer
    return partial(_write, target)


def _write(target: BinaryIO, line: Mapping[str, object]) -> None:
    target.write(orjson.dumps({**line, "timestamp": datetime.now(UTC)}, option=_AS_A_LINE))
    target.flush()
