"""A gateway's files, put together. Knows neither Ray nor vLLM."""

import secrets
import time

from app.core.files import FileBounds
from app.core.settings import FileSettings
from app.services.files import FileService
from app.services.uploads import UploadService
from app.stores.file_objects import FileObjects
from app.stores.object_place import ObjectPlace
from app.stores.redis_client import connect
from app.stores.redis_files import RedisFiles
from app.stores.redis_uploads import RedisUploads
from app.stores.upload_objects import UploadObjects

_THREADS = 8


def open_files(*, redis_url: str, files_url: str, settings: FileSettings) -> FileService:
    """Connect a gateway to the cluster's files.

    Args:
        redis_url: where their records are.
        files_url: where their content lies.
        settings: how much a project may keep.
    """
    return FileService(
        RedisFiles(connect(redis_url)),
        FileObjects(ObjectPlace.of(files_url, threads=_THREADS)),
        bounds=FileBounds(
            max_file_bytes=settings.max_bytes,
            max_files=settings.max_files_per_project,
            max_total_bytes=settings.max_bytes_per_project,
        ),
        random_bytes=secrets.token_bytes,
        wall_s=time.time,
    )


def open_uploads(files: FileService, *, redis_url: str, files_url: str, settings: FileSettings) -> UploadService:
    """Connect a gateway to the cluster's uploads in parts.

    Args:
        files: what they become.
        redis_url: where their records are.
        files_url: where their parts lie.
        settings: how large one may be.
    """
    return UploadService(
        RedisUploads(connect(redis_url)),
        UploadObjects(ObjectPlace.of(files_url, threads=_THREADS)),
        files,
        max_bytes=settings.max_bytes,
        random_bytes=secrets.token_bytes,
        wall_s=time.time,
    )
