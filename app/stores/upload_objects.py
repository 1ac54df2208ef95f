"""Parts of uploads on the object store: ``uploads/<project id>/<upload id>/<part id>``."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from app.stores.object_place import ObjectPlace, ObjectWriter


class UploadObjects:
    """``PartContents`` on an object store.

    Args:
        place: where they lie.
    """

    def __init__(self, place: ObjectPlace) -> None:
        self._place = place

    def writing(self, project_id: str, upload_id: str, part_id: str) -> AbstractAsyncContextManager[ObjectWriter]:
        """Write a part piece by piece."""
        return self._place.writing(f"{_folder(project_id, upload_id)}/{part_id}")

    def read(self, project_id: str, upload_id: str, part_id: str, *, size_bytes: int) -> AsyncIterator[bytes]:
        """A part, piece by piece."""
        return self._place.read(f"{_folder(project_id, upload_id)}/{part_id}", start=0, end=size_bytes)

    async def delete_all(self, project_id: str, upload_id: str) -> None:
        """Delete all parts of an upload."""
        await self._place.delete_below(_folder(project_id, upload_id))


def _folder(project_id: str, upload_id: str) -> str:
    return f"uploads/{project_id}/{upload_id}"
