"""What a stored file is, and what an upload may be. Pure."""

import re
from codecs import getincrementaldecoder
from dataclasses import dataclass
from enum import StrEnum

from app.core.errors import InvalidRequest

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\"\\]")
_MAX_NAME = 255

LIFE_S = 30 * 86_400
"""Of a file whose upload says nothing else, and the longest that it may say."""

SHORTEST_LIFE_S = 3600


class Purpose(StrEnum):
    """What a file is for."""

    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A stored file; its content lies on the object store and never changes."""

    file_id: str
    purpose: str
    filename: str
    size_bytes: int
    created_at_ms: int
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class FileBounds:
    """What one project may keep."""

    max_file_bytes: int
    max_files: int
    max_total_bytes: int


@dataclass(frozen=True, slots=True)
class FileTerms:
    """What an upload says of its file, checked."""

    purpose: Purpose
    filename: str
    life_s: int


def check_terms(
    *, purpose: str | None, filename: str, anchor: str | None = None, expires_after_s: str | None = None
) -> FileTerms:
    """Check the fields of an upload.

    Raises:
        InvalidRequest: naming the field.
    """
    if purpose != Purpose.BATCH:
        raise InvalidRequest("'purpose' must be 'batch'.", param="purpose")
    if not filename.lower().endswith(".jsonl"):
        raise InvalidRequest("Invalid file format for Batch API. Must be .jsonl", param="file")
    if anchor not in (None, "created_at"):
        raise InvalidRequest("'expires_after[anchor]' must be 'created_at'.", param="expires_after")
    life_s = LIFE_S
    if expires_after_s is not None:
        life_s = int(expires_after_s) if re.fullmatch(r"[0-9]{1,9}", expires_after_s) else -1
        if not SHORTEST_LIFE_S <= life_s <= LIFE_S:
            raise InvalidRequest(
                f"'expires_after[seconds]' must be {SHORTEST_LIFE_S} to {LIFE_S}.", param="expires_after"
            )
    return FileTerms(Purpose(purpose), clean_name(filename), life_s)


def clean_name(filename: str) -> str:
    """A name that can stand in a header: no folders, nothing unprintable, not too long."""
    name = _UNPRINTABLE.sub("", re.split(r"[/\\]", filename)[-1]).strip(". ")
    return name[-_MAX_NAME:] or "upload"


class Utf8Check:
    """Whether a stream is UTF-8, piece by piece."""

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")()
        self.is_valid = True

    def feed(self, piece: bytes, *, last: bool = False) -> None:
        """Look at the next piece."""
        if self.is_valid:
            try:
                self._decoder.decode(piece, last)
            except UnicodeDecodeError:
                self.is_valid = False
