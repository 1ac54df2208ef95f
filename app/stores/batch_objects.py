"""What is kept of a batch while it runs: ``batches/<project id>/<batch id>/in|out/<chunk>``."""

from app.core.batch.refs import BatchRef
from app.stores.object_place import ObjectPlace


class StoredBatchObjects:
    """``BatchObjects`` on an object store.

    Args:
        place: where they lie.
    """

    def __init__(self, place: ObjectPlace) -> None:
        self._place = place

    async def put_input(self, ref: BatchRef, chunk: int, content: bytes) -> None:
        """Keep a chunk's lines."""
        await self._place.put(_path(ref, "in", chunk), content)

    async def get_input(self, ref: BatchRef, chunk: int) -> bytes | None:
        """A chunk's lines; None when they are gone."""
        return await self._place.get(_path(ref, "in", chunk))

    async def create_results(self, ref: BatchRef, chunk: int, content: bytes) -> bool:
        """Keep what became of a chunk; False when somebody did already."""
        return await self._place.create(_path(ref, "out", chunk), content)

    async def get_results(self, ref: BatchRef, chunk: int) -> bytes | None:
        """What became of a chunk; None when nobody knows yet."""
        return await self._place.get(_path(ref, "out", chunk))

    async def delete_all(self, ref: BatchRef) -> None:
        """Delete everything of a batch."""
        await self._place.delete_below(_folder(ref))


def _folder(ref: BatchRef) -> str:
    return f"batches/{ref.project_id}/{ref.batch_id}"


def _path(ref: BatchRef, part: str, chunk: int) -> str:
    return f"{_folder(ref)}/{part}/{chunk:06d}"
