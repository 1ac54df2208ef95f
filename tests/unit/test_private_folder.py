from pathlib import Path

import pytest

from app.stores.private_folder import ForeignFolderError, private_folder


def test_it_is_made_and_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert private_folder(folder) == private_folder(folder) == folder
    assert folder.stat().st_mode & 0o777 == 0o700


def test_an_open_folder_or_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open").chmod(0o755)
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("open", "link"):
        with pytest.raises(ForeignFolderError, match="remove it"):
            private_folder(tmp_path / name)
