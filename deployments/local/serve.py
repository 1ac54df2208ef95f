"""``make serve``: the supervisor. It checks the machine, starts the service as a child, and cleans up behind it.

Ctrl-C stops the service in order; a second one ends it at once. Whatever way the child ends, no
process of it stays. What an earlier service left behind, killed or not, is ended first.
"""

import argparse
import contextlib
import errno
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from app.stores.private_folder import private_folder
from deployments.fast_ingress import FAST_INGRESS, HAPROXY_PROGRAM_VARIABLE
from deployments.local.processes import HOME_VARIABLE, end_all

MIN_FREE_BYTES = 512 * 1024**2
_DESCRIPTORS = 65_536
_GOING_S = 15.0
"""For what an earlier run left behind to let go of its ports; some of it belongs to nobody by then."""

SIDE_PORTS = {
    "EMBEDGATE_METRICS_PORT": "9464",
    "RAY_SERVE_HAPROXY_METRICS_PORT": "9101",
    "RAY_SERVE_HAPROXY_STATS_PORT": "8404",
}
"""Ports besides the serving one, by the variable that moves them."""


class StartError(Exception):
    """One sentence that says why the service cannot start."""


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="make serve", description="Run the whole service on this machine.")
    parser.add_argument("--config", type=Path, default=Path("configs/serve.yaml"))
    parser.add_argument("--port", type=int, help="serving port; the configuration's when left out")
    parser.add_argument("--home", type=Path, default=Path(".embedgate"), help="where data and dev.json are kept")
    arguments = parser.parse_args()
    try:
        return supervise(arguments.config, arguments.port, arguments.home.absolute())
    except StartError as error:
        sys.stderr.write(f"embedgate: {error}\n")
        return 1
    except OSError as error:
        sentence = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        sys.stderr.write(f"embedgate: {sentence}\n")
        return 1


def supervise(config: Path, port: int | None, home: Path) -> int:
    """Run the service until it is told to stop; returns the exit status.

    Raises:
        StartError: it cannot start.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not config.is_file():
        raise StartError(f"there is no configuration file {config}.")
    free = shutil.disk_usage(home).free
    if free < MIN_FREE_BYTES:
        raise StartError(
            f"the disk is nearly full: {home} has {free >> 20} MB left, of {MIN_FREE_BYTES >> 20} MB needed."
        )
    lock = (home / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise StartError(f"a service with data in {home} is running already; stop it first.") from None
    count = end_all(home)
    if count:
        sys.stderr.write(f"embedgate: ended {count} processes that an earlier run left behind.\n")
    chosen = _serving_port(config, port)
    within_s = _GOING_S if count else 0.0
    require_free_port(chosen, "or: make serve PORT=" + str(chosen + 1), within_s=within_s)
    for variable, default in SIDE_PORTS.items():
        side_port = int(os.environ.get(variable, default))
        require_free_port(side_port, f"or choose another with {variable}", within_s=within_s)
    return _run_child(config, chosen, home)


def require_free_port(port: int, advice: str, *, within_s: float = 0.0) -> None:
    """Raise ``StartError`` when there is no such port, or somebody listens there and does not go in time."""
    if not 1 <= port <= 65_535:
        raise StartError(f"there is no port {port}; {advice}")
    deadline_s = time.monotonic() + within_s
    while (error := _bind_error(port)) is not None:
        if time.monotonic() >= deadline_s:
            raise StartError(f"port {port} is taken ({error.strerror}); stop what listens there, {advice}")
        time.sleep(0.1)


def _bind_error(port: int) -> OSError | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error
    return None


def _serving_port(config: Path, port: int | None) -> int:
    from app.core.settings.check import check_text
    from app.core.settings.serve_file import ServeFile

    file, problems = check_text(config.read_text(errors="replace"), ServeFile)
    if file is None:
        raise StartError("\n".join([f"{config} is not valid:", *(f"  {problem}" for problem in problems)]))
    return port or file.http_options.port


def _run_child(config: Path, port: int, home: Path) -> int:
    command = [sys.executable, "-m", "deployments.local.service", str(config), str(port), str(home)]
    _raise_descriptor_limit()
    _do_not_preempt()
    # A process group keeps Ctrl-C from it. Not a session: the kernel shares the cores by session first
    # (sched_autogroup), and whoever calls from another one then waits 100 ms for a turn now and then.
    child = subprocess.Popen(command, env=environment_of(home), process_group=0)
    stops = 0

    def on_signal(number: int, frame: object) -> None:  # noqa: ARG001
        nonlocal stops
        stops += 1
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.SIGINT if stops == 1 else signal.SIGKILL)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    status = child.wait()
    end_all(home)
    if stops:
        sys.stderr.write("embedgate: stopped.\n")
        return 0
    if status < 0:
        sys.stderr.write(f"embedgate: the service was killed ({signal.Signals(-status).name}); logs: {home / 'logs'}\n")
    return 1 if status else 0


def environment_of(home: Path) -> dict[str, str]:
    """Of every process of a service on this machine whose data lies in ``home``."""
    root = Path(__file__).resolve().parents[2]
    binary = Path(sys.executable).with_name("embedgate-haproxy")
    # A socket's path is short, so this cannot lie in the home folder.
    scratch = private_folder(private_folder(Path("/tmp") / f"embedgate-{os.getuid()}") / "haproxy")  # noqa: S108
    return {
        **os.environ,
        **FAST_INGRESS,
        HOME_VARIABLE: str(home),
        "PYTHONPATH": os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])]),
        HAPROXY_PROGRAM_VARIABLE: str(binary),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(scratch / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(scratch / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(scratch),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(scratch / "server-state"),
        # A line for each request, read by Python: a twentieth of what a request costs. The gateways count instead.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # Ten times a second each, by default, in the controller and in every replica: a tenth of a core at rest.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.25",
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "500",
        # On one machine nobody else sends traffic here, so there is nothing to wait for.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        # Ray's name for "use the loopback address"; without it every Ray port is open to the network.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "PYTHONUNBUFFERED": "1",
    }


def _raise_descriptor_limit() -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _do_not_preempt() -> None:
    """The service's processes, which inherit it, wait for a free core or the end of a time slice when they wake.

    One machine's cores are shared by engines and all who bring them work, and each message wakes somebody. By
    Linux's default who wakes interrupts who computes: an engine's step of four short texts nineteen times, for
    which it took a quarter more of a core than alone.
    """
    with contextlib.suppress(AttributeError, OSError):  # no Linux, or a sandbox that forbids it
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


if __name__ == "__main__":
    sys.exit(main())
