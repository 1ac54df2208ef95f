"""What an upload in parts is. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.core.errors import InvalidRequest
from app.core.timed_id import PART_IDS

LIFE_MS = 3600 * 1000
MAX_PART_BYTES = 64 * 1024 * 1024
MAX_PARTS = 1000


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that comes in parts.

    Attributes:
        status: "pending", "completed" or "cancelled"; a pending one whose time is over is expired.
        life_s: of the file that it becomes.
        file_id: of that file, once there is one.
    """

    upload_id: str
    filename: str
    purpose: str
    mime_type: str
    size_bytes: int
    life_s: int
    created_at_ms: int
    status: str = "pending"
    file_id: str | None = None

    @property
    def expires_at_ms(self) -> int:
        """After which no part is taken."""
        return self.created_at_ms + LIFE_MS

    def status_at(self, now_ms: int) -> str:
        """As the wire names it."""
        return "expired" if self.status == "pending" and now_ms >= self.expires_at_ms else self.status


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an upload, whose content lies on the object store."""

    part_id: str
    size_bytes: int
    created_at_ms: int


def choose_parts(upload: Upload, known: Mapping[str, Part], part_ids: Sequence[str]) -> list[Part]:
    """The parts of a file, in its order.

    Raises:
        InvalidRequest: a part is unknown or named twice, or together they are of another size.
    """
    for part_id in part_ids:
        if not PART_IDS.could_be(part_id) or part_id not in known:
            raise InvalidRequest("'part_ids' names a part that this upload does not have.", param="part_ids")
    if len(set(part_ids)) != len(part_ids):
        raise InvalidRequest("'part_ids' names a part twice.", param="part_ids")
    chosen = [known[part_id] for part_id in part_ids]
    size_bytes = sum(part.size_bytes for part in chosen)
    if size_bytes != upload.size_bytes:
        raise InvalidRequest(
            f"The parts have {size_bytes} bytes together; the upload was announced with {upload.size_bytes}.",
            param="part_ids",
        )
    return chosen
