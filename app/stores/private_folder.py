"""Folders that only this user may enter, in places where others may write."""

import os
import stat
from pathlib import Path


class ForeignFolderError(OSError):
    """Somebody else made the folder, or opened it to others."""


def private_folder(path: Path) -> Path:
    """Create a folder and its parents with mode 0700, and check the folder itself.

    Raises:
        ForeignFolderError: it is a link, belongs to another user, or is open to others.
    """
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ForeignFolderError(f"{path} is not a folder of this user alone (mode 0700); remove it and try again")
    return path
