"""The service's own process on one machine: Ray, Serve, the application, a demo project, the banner.

Started by ``deployments.local.serve``, with the environment that it sets.
"""

import ctypes
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.status import Status

from app.core.settings.check import check_text
from app.core.settings.serve_file import ServeFile
from deployments.local.demo import Demo, DemoError, open_demo

_PR_SET_PDEATHSIG = 1
_READY_TIMEOUT_S = 600
console = Console(stderr=True, highlight=False)


class Stopped(Exception):
    """Ctrl-C."""


def main() -> int:
    """``python -m deployments.local.service CONFIG PORT HOME``."""
    config, port, home = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def on_signal(number: int, frame: object) -> None:  # noqa: ARG001
        raise Stopped

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    started = False
    try:
        file, _ = check_text(config.read_text(), ServeFile)
        assert file is not None, "the supervisor checked the file"
        demo = Demo(home, port)
        os.environ["EMBEDGATE_ADMIN_TOKEN"] = demo.admin_token
        with Step("starting Ray"):
            _start_ray(home)
        started = True
        _deploy(file, port, home)
        with Step("asking for a first vector"):
            ready = open_demo(demo, file, deadline_s=time.monotonic() + _READY_TIMEOUT_S)
        console.print(ready.banner(), soft_wrap=True)
        while True:
            time.sleep(3600)
    except Stopped:
        console.print("\nstopping (a few seconds; Ctrl-C again ends it at once) …")
        if started:
            _stop()
        return 0
    except Exception as error:
        console.print(f"embedgate: {_root_of(error)}; logs: {home / 'logs'}", style="red", markup=False)
        return 1


class Step:
    """A line that says what is being done and, at the end, how long it took."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._status = Status(f"{text} …", console=console)
        self._began_s = time.monotonic()

    def __enter__(self) -> "Step":
        if console.is_terminal:
            self._status.start()
        else:
            console.print(f"{self._text} …")
        return self

    def update(self, text: str) -> None:
        """Say more."""
        self._status.update(f"{self._text}: {text} …")

    def __exit__(self, kind: object, *_: object) -> None:
        self._status.stop()
        if kind is None:
            console.print(f"✓ {self._text}: {time.monotonic() - self._began_s:.1f} s", style="green")


def _start_ray(home: Path) -> None:
    import ray

    ray.init(
        address="local",
        num_cpus=max(4, os.cpu_count() or 1),
        _node_ip_address="127.0.0.1",
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=100 * 1024 * 1024,
        _metrics_export_port=int(os.environ.get("EMBEDGATE_METRICS_PORT", "9464")),
    )
    logs = Path(ray._private.worker.global_worker.node.get_logs_dir_path())
    link = home / "logs"
    link.unlink(missing_ok=True)
    link.symlink_to(logs)


def _deploy(file: ServeFile, port: int, home: Path) -> None:
    from ray import serve

    from deployments.build import build

    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # the steps below say the same
    application = file.applications[0]
    arguments = application.args.model_dump(mode="json")
    arguments["redis"]["data_dir"] = str(home / "redis")
    if "://" not in arguments["journal"]["url"]:
        arguments["journal"]["url"] = str(home / "journal")
    if "://" not in arguments["files"]["url"]:
        arguments["files"]["url"] = str(home / "files")
    options = {**file.http_options.model_dump(exclude_none=True), "port": port}
    serve.start(proxy_location=file.proxy_location, http_options=options)
    failure: list[BaseException] = []

    def run() -> None:
        try:
            serve.run(build(arguments), name=application.name, route_prefix=application.route_prefix)
        except BaseException as error:
            failure.append(error)

    with Step("loading the model") as step:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(0.5)
            step.update(_waiting_for(serve, application.name))
        if failure:
            raise DemoError(f"the application did not start: {_root_of(failure[0])}")


def _waiting_for(serve: Any, name: str) -> str:
    try:
        deployments = serve.status().applications[name].deployments
    except Exception:
        return "deploying"
    waiting = [f"{n} {d.status.value.lower()}" for n, d in deployments.items() if d.status.value != "HEALTHY"]
    return ", ".join(waiting) or "almost there"


def _root_of(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _stop() -> None:
    import ray
    from ray import serve

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Ray reports the end of its own actors as failures; the supervisor sees to what is left.
    silence = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(silence, descriptor)
    try:
        serve.shutdown()
        ray.shutdown()
    except Exception:
        logging.getLogger("embedgate").exception("Ray did not stop in order")


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)
