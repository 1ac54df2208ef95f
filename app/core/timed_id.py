"""Ids that begin with the time of their making and that nobody can guess. Pure."""

import re

from app.core.directory import ID_BYTES


class TimedIds:
    """Ids of one kind: they sort by the millisecond of their making, so a list can go on behind one that is gone.

    Args:
        prefix: of each.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._form = re.compile(re.escape(prefix) + r"[0-9a-f]{36}\Z")

    def new(self, *, now_ms: int, random: bytes) -> str:
        """An id.

        Args:
            now_ms: Unix time.
            random: 12 random bytes.
        """
        assert len(random) == ID_BYTES, "96 bits make it unguessable. This is a bug."
        return f"{self._prefix}{now_ms:012x}{random.hex()}"

    def could_be(self, text: str) -> bool:
        """Whether it could be such an id; anything else, tricks with paths included, names nothing."""
        return self._form.match(text) is not None


BATCH_IDS = TimedIds("batch_")
FILE_IDS = TimedIds("file-")
UPLOAD_IDS = TimedIds("upload_")
PART_IDS = TimedIds("part_")
