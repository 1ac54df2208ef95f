"""A disk that is full while a batch runs: nothing is lost, and it goes on when there is room."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.core.batch.state import BatchStatus
from tests.batch_house import BatchHouse, lines_of
from tests.integration.test_batch_worker import check_files, check_money

LINES = 700
"""About 3.5 MB of results."""


def mounted(folder: Path, size: str, *options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
async def house(redis_url: str, tmp_path: Path) -> AsyncIterator[BatchHouse]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.getuid() != 0 or not mounted(disk, "2m"):
        pytest.skip("mounting a small disk needs root")
    made = BatchHouse(redis_url, disk)
    made.raw.flushall()
    await made.open_tenant()
    yield made
    await made.close()
    subprocess.run(["umount", "-l", str(disk)], check=True)


async def test_a_full_disk_is_waited_for(house: BatchHouse) -> None:
    house.worker()
    ref = await house.submit(lines_of([f"text {n}" for n in range(LINES)]))
    await asyncio.sleep(3)
    batch = await house.batch(ref)
    assert (batch.status, batch.failed) == (BatchStatus.IN_PROGRESS, 0)
    assert not batch.is_worked_off, "the disk is too large for this test"
    assert mounted(Path(house.files_url), "64m", "remount")
    batch = await house.until_ended(ref)
    assert (batch.status, batch.completed) == (BatchStatus.COMPLETED, LINES)
    await check_money(house, batch)
    await check_files(house, batch)
