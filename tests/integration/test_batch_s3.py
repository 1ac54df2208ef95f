"""A batch whose objects lie in a bucket, through moto's server: also when the bucket is away or says nothing."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from app.core.batch.state import BatchStatus
from tests.batch_house import BatchHouse, lines_of
from tests.integration.test_batch_worker import check_money
from tests.stack import free_port

LINES = 1500


@pytest.fixture(scope="module")
def moto() -> Iterator["subprocess.Popen[bytes]"]:
    port = free_port()
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process.port = port  # type: ignore[attr-defined]
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        try:
            httpx.put(f"http://127.0.0.1:{port}/bucket")
            break
        except httpx.HTTPError:
            time.sleep(0.1)
    yield process
    process.send_signal(signal.SIGCONT)
    process.terminate()
    process.wait(10)


class Road:
    """A way to the bucket that can be closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.is_open = True
        self._writers: set[asyncio.StreamWriter] = set()

    async def begin(self) -> int:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        self.is_open = False
        for writer in self._writers:
            writer.close()

    async def end(self) -> None:
        self.close()
        self._server.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.is_open:
            writer.close()
            return
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        ways = (reader, there_writer), (there_reader, writer)
        self._writers |= {writer, there_writer}
        await asyncio.gather(*(self._copy(*way) for way in ways), return_exceptions=True)
        self._writers -= {writer, there_writer}

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


@pytest.fixture
async def road(moto: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Road]:
    made = Road(moto.port)  # type: ignore[attr-defined]
    port = await made.begin()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    yield made
    await made.end()


@pytest.fixture
async def house(redis_url: str, road: Road) -> AsyncIterator[BatchHouse]:
    made = BatchHouse(redis_url, "s3://bucket/embedgate")
    made.raw.flushall()
    await made.open_tenant()
    yield made
    await made.close()


@pytest.mark.parametrize("trouble", ["none", "closed", "silent"])
async def test_a_bucket(house: BatchHouse, road: Road, moto: "subprocess.Popen[bytes]", trouble: str) -> None:
    gate = asyncio.Semaphore(2)
    house.pool.gate = gate.acquire
    house.worker()
    ref = await house.submit(lines_of([f"text {n}" for n in range(LINES)]))
    await house.until(ref, lambda batch: len(batch.done_chunks) >= 1)
    if trouble == "closed":
        road.close()
    elif trouble == "silent":
        os.kill(moto.pid, signal.SIGSTOP)
    for _ in range(20):
        gate.release()
    await asyncio.sleep(3)
    if trouble == "closed":
        road.is_open = True
    elif trouble == "silent":
        os.kill(moto.pid, signal.SIGCONT)
    batch = await house.until_ended(ref, within_s=60)
    assert (batch.status, batch.completed, batch.failed) == (BatchStatus.COMPLETED, LINES, 0)
    await check_money(house, batch)
    assert [line["custom_id"] for line in await house.lines(batch.output_file_id)] == [
        f"c{n}" for n in range(1, LINES + 1)
    ]
