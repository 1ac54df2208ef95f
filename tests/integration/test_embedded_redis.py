import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import redis

from app.stores.embedded_redis import EmbeddedRedis, socket_path
from deployments.preload import jemalloc


def client_of(folder: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(socket_path(folder)))


def test_data_survives_stop_and_kill(tmp_path: Path) -> None:
    for way in ("stop", "kill"):
        server = EmbeddedRedis(tmp_path)
        server.start()
        client = client_of(tmp_path)
        client.incr("starts")
        client.execute_command("WAITAOF", 1, 0, 2000)
        if way == "stop":
            server.stop()
        else:
            os.kill(client.info("server")["process_id"], signal.SIGKILL)
            while server.is_running:
                time.sleep(0.01)
    server = EmbeddedRedis(tmp_path)
    server.start()
    assert client_of(tmp_path).get("starts") == b"2"
    server.stop()


def test_the_same_owner_starts_it_again_after_it_was_killed(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    server.start()
    for _ in range(2):
        os.kill(client_of(tmp_path).info("server")["process_id"], signal.SIGKILL)
        while server.is_running:
            time.sleep(0.01)
        server.start()
        assert client_of(tmp_path).ping()
    server.stop()


def test_only_this_user_gets_in(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / "data")
    server.start()
    pid = client_of(tmp_path / "data").info("server")["process_id"]
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert socket_path(tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert not [c for c in psutil.Process(pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
    server.stop()


def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    server = EmbeddedRedis(folder)
    server.start()
    assert client_of(folder).ping()
    server.stop()


def test_the_server_ends_with_its_owner_and_a_successor_waits_for_it(tmp_path: Path) -> None:
    code = (
        "from app.stores.embedded_redis import EmbeddedRedis; from pathlib import Path; import time, sys;"
        "EmbeddedRedis(Path(sys.argv[1])).start(); print('up', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path.cwd())
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"up\n"
    client = client_of(tmp_path)
    client.set("kept", "yes")
    first = client.info("server")["process_id"]
    client.close()
    owner.kill()
    owner.wait()
    server = EmbeddedRedis(tmp_path)
    server.start()
    client = client_of(tmp_path)
    assert client.info("server")["process_id"] != first
    assert not psutil.pid_exists(first) or psutil.Process(first).status() == psutil.STATUS_ZOMBIE
    assert client.get("kept") == b"yes"
    server.stop()


@pytest.mark.skipif(jemalloc() is None, reason="Ray's wheel for this platform has no jemalloc")
def test_its_memory_is_of_the_allocator_that_it_was_given(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path, allocator=jemalloc())
    server.start()
    mapped = psutil.Process(client_of(tmp_path).info("server")["process_id"]).memory_maps()
    assert str(jemalloc()) in {one.path for one in mapped}
    server.stop()
