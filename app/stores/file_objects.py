"""Content of files on the object store: ``files/<project id>/<file id>``."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from app.stores.object_place import ObjectPlace, ObjectWriter


class FileObjects:
    """``FileContents`` on an object store.

    Args:
        place: where they lie.
    """

    def __init__(self, place: ObjectPlace) -> None:
        self._place = place

    def writing(self, project_id: str, file_id: str) -> AbstractAsyncContextManager[ObjectWriter]:
        """Write content piece by piece."""
        return self._place.writing(_path(project_id, file_id))

    def read(self, project_id: str, file_id: str, *, start: int, end: int) -> AsyncIterator[bytes]:
        """Content from ``start`` up to ``end``, piece by piece."""
        return self._place.read(_path(project_id, file_id), start=start, end=end)

    async def delete(self, project_id: str, file_id: str) -> None:
        """Delete content; none is no error."""
        await self._place.delete([_path(project_id, file_id)])


def _path(project_id: str, file_id: str) -> str:
    return f"files/{project_id}/{file_id}"
