"""The ``Range`` header, as far as this service serves it: one range of bytes (RFC 9110, section 14)."""

import re

from app.core.errors import RangeNotSatisfiable

_ONE_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})\Z")


def parse_range(header: str | None, *, size_bytes: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of what is asked for; None means all of it.

    Several ranges, and what cannot be read, are answered with all of it, as the standard allows.

    Raises:
        RangeNotSatisfiable: the range lies outside.
    """
    match = _ONE_RANGE.match(header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size_bytes - int(last)), size_bytes
    else:
        start, end = int(first), min(size_bytes, int(last) + 1 if last else size_bytes)
        if last and int(last) < int(first):
            return None
    if start >= end:
        raise RangeNotSatisfiable(f"The file has {size_bytes} bytes.", size_bytes=size_bytes)
    return start, end
