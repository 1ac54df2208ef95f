"""A cluster on one machine: a head, two nodes for gateways, three for embedders, and a store behind Sentinels.

Each node is a ``ray start`` of its own, with processes and a log of its own, so that a whole one can be killed. The
application is deployed by ``serve deploy``, as an operator does it.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
from ray._common.utils import get_ray_address_file
from ruamel.yaml import YAML

from app.stores.redis_ledger import account_key
from deployments.local.processes import end_all, processes_of
from deployments.local.serve import environment_of
from tests.drills.slow_link import SlowLink
from tests.ledger.servers import Group, Server, binary_of
from tests.stack import ROOT, free_port

MODEL = "all-MiniLM-L6-v2"
PRICE_NANO_USD_PER_MTOK = 20_000_000
CREDIT_NANO_USD = 10**12
NODES = {"gateway-a": 2, "gateway-b": 2, "embedder-a": 2, "embedder-b": 2, "embedder-c": 2}
_STARTS = 3
_ROLLOUT_S = 400
"""Each new replica loads its model beside those that serve."""
_ACTORS = "ray::ServeReplica:embedgate:"


class NodeNotStarted(AssertionError):
    """``ray start`` gave up, with what it said last."""


def wait(holds: Callable[[], object], what: str, *, within_s: float) -> float:
    """Seconds until something holds; fails when it does not in time."""
    began_s = time.monotonic()
    while not holds():
        assert time.monotonic() - began_s < within_s, f"not within {within_s} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - began_s


@dataclass
class House:
    """Everything that runs, and the project that its callers use."""

    home: Path
    port: int = field(default_factory=free_port)
    admin_token: str = field(default_factory=lambda: secrets.token_hex(16))
    environment: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, psutil.Process] = field(default_factory=dict)
    _gcs_port: int = field(default_factory=free_port)
    project_id: str = ""
    api_key: str = ""
    paid_nano_usd: int = 0
    """What drills' own requests cost."""

    def __enter__(self) -> "House":
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _build(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        # Stores have disks of their own where it matters: a rollout's reads and writes must not hold theirs up.
        memory = Path("/dev/shm")
        self._disk = Path(tempfile.mkdtemp(prefix="embedgate-drills-", dir=memory if memory.is_dir() else self.home))
        self.files = self.home / "files"
        self.files.mkdir()
        self.has_own_disk = os.geteuid() == 0
        if self.has_own_disk:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", self.files], check=True)
        self._dashboard_port = free_port()
        self.link = SlowLink()
        self.store = Group(
            self._store_binary(), self._disk / "store", replicas=2, down_after_ms=2500, way_to=self.link.open
        )
        self.store.__enter__()
        self.environment = {
            **environment_of(self.home),
            "REDIS_URL": self.store.url,
            "EMBEDGATE_ADMIN_TOKEN": self.admin_token,
            "EMBEDGATE_JOURNAL_URL": str(self.files / "journal"),
            "EMBEDGATE_FILES_URL": str(self.files / "files"),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",  # several nodes on one address
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "30",
            "RAY_REDIS_ADDRESS": "",
            "RAY_DASHBOARD_ADDRESS": f"http://127.0.0.1:{self._dashboard_port}",
        }
        self._start_head()
        for name, cpus in NODES.items():
            self.start_node(name, cpus)
        self.deploy()
        self._make_project()

    def __exit__(self, *_: object) -> None:
        for process in processes_of(self.home):
            with contextlib.suppress(psutil.Error):
                process.resume()
        end_all(self.home)
        self._forget_cluster()
        self.store.__exit__()
        self._gcs_store.__exit__()
        self.link.close()
        shutil.rmtree(self._disk, ignore_errors=True)
        if self.has_own_disk:
            subprocess.run(["umount", "-l", self.files], check=False)

    def _forget_cluster(self) -> None:
        """``ray start`` notes where its cluster is, and whoever starts Ray later would look for it there."""
        note = Path(get_ray_address_file(None))
        if note.is_file() and note.read_text().strip().endswith(f":{self._gcs_port}"):
            note.unlink()

    def _store_binary(self) -> str:
        """A server that goes before all else, since stores have machines of their own where it matters."""
        script = self.home / "valkey-server"
        # Linux shares cores by session first and by niceness only within one: the session's own counts.
        script.write_text(
            "#!/bin/sh\n"
            """exec setsid sh -c 'echo -10 2>/dev/null >/proc/self/autogroup; exec nice -n -10 "$0" "$@"' """
            f'"{binary_of("valkey")}" "$@" 2>/dev/null\n'
        )
        script.chmod(0o755)
        return str(script)

    # Nodes

    def _start_head(self) -> None:
        self._gcs_store = Server(self._store_binary(), self._disk / "gcs")
        self.environment["RAY_REDIS_ADDRESS"] = f"127.0.0.1:{self._gcs_store.port}"
        self._ray(
            "head", "--head", f"--port={self._gcs_port}", "--num-cpus=0", "--dashboard-host=127.0.0.1",
            f"--dashboard-port={self._dashboard_port}", "--include-dashboard=true",
        )  # fmt: skip

    def start_node(self, name: str, cpus: int = 2, **more_environment: str) -> None:
        """Start a node of a group, again where it fails, as a pod is; and wait until the cluster has it."""
        group = name.split("-", maxsplit=1)[0]
        labels = f"embedgate.io/group={group}"
        address = f"--address=127.0.0.1:{self._gcs_port}"
        for attempt in range(_STARTS):
            try:
                self._ray(name, address, f"--num-cpus={cpus}", f"--labels={labels}", more_environment=more_environment)
            except NodeNotStarted as error:
                print(f"{name} did not start: {str(error).strip().splitlines()[-1]}", flush=True)
                if attempt == _STARTS - 1:
                    raise
                self.kill_node(name)
            else:
                return

    def _ray(self, name: str, *arguments: str, more_environment: Mapping[str, str] | None = None) -> None:
        ports = [f"--{which}={free_port()}" for which in (
            "node-manager-port", "object-manager-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port",
            "runtime-env-agent-port", "metrics-export-port",
        )]  # fmt: skip
        # A head that blocks ends with its control store, and with it HAProxy, which runs on no other node here.
        is_head = "--head" in arguments
        command = [
            str(Path(sys.executable).with_name("ray")), "start", *([] if is_head else ["--block"]),
            "--node-ip-address=127.0.0.1", "--disable-usage-stats", "--object-store-memory=100000000",
            *ports, *arguments,
        ]  # fmt: skip
        log = (self.home / f"{name}.log").open("ab")
        environment = {**self.environment, **(more_environment or {}), "EMBEDGATE_NODE": name}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
        if not is_head:
            self.nodes[name] = psutil.Process(process.pid)
        wait(lambda: self._has_started(name, process), f"{name} runs", within_s=60)

    def _has_started(self, name: str, process: "subprocess.Popen[bytes]") -> bool:
        text = (self.home / f"{name}.log").read_text(errors="replace")
        if process.poll():
            raise NodeNotStarted(text[-3000:])
        return "Ray runtime started" in text

    def kill_node(self, name: str) -> None:
        """``kill -9`` of all that a node runs, at once."""
        own = self.nodes.pop(name)
        victims = [own, *self._marked(name)]
        with contextlib.suppress(psutil.Error):
            victims += own.children(recursive=True)
        for victim in victims:
            with contextlib.suppress(psutil.Error):
                victim.kill()
        psutil.wait_procs(victims, timeout=10)
        (self.home / f"{name}.log").unlink()

    def drain_node(self, name: str) -> float:
        """SIGTERM, as Kubernetes sends it; seconds until the node has left."""
        own = self.nodes.pop(name)
        began_s = time.monotonic()
        own.send_signal(signal.SIGTERM)
        psutil.wait_procs([own], timeout=60)
        self.nodes[name] = own
        took_s = time.monotonic() - began_s
        self.kill_node(name)
        return took_s

    def node_of(self, replica: psutil.Process) -> str:
        """The node that a replica runs on."""
        return replica.environ()["EMBEDGATE_NODE"]

    def _marked(self, name: str) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                environment = process.environ()
                if environment.get("EMBEDGATE_NODE") == name and environment.get("EMBEDGATE_HOME") == str(self.home):
                    found.append(process)
        return found

    def restart_gcs(self, *, away_s: float) -> None:
        """Kill Ray's control store and start it again, a while later, on what it kept outside."""
        (process,) = (p for p in processes_of(self.home) if p.name() == "gcs_server")
        command, environment = process.cmdline(), process.environ()
        process.kill()
        time.sleep(away_s)
        log = (self.home / "gcs.log").open("ab")
        subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def replicas(self, deployment: str) -> list[psutil.Process]:
        """Processes of a deployment's replicas, oldest first."""
        found = []
        for process in processes_of(self.home):
            with contextlib.suppress(psutil.Error):
                if process.cmdline() and process.cmdline()[0].startswith(_ACTORS + deployment):
                    found.append(process)
        return sorted(found, key=lambda process: process.create_time())

    # The application

    def config(self, **changes: Any) -> dict[str, Any]:
        """What is deployed: two gateways, two embedders that have a core's worth each."""
        document = YAML(typ="safe").load((ROOT / "configs/serve.yaml").read_text())
        document["proxy_location"] = "HeadOnly"  # every node is this machine, and a port can be had once
        document["http_options"]["port"] = self.port
        (application,) = document["applications"]
        application["runtime_env"] = {"env_vars": {"EMBEDGATE_RELEASE": str(changes.get("release", 1))}}
        arguments = application["args"]
        gateway, embedder = {"embedgate.io/group": "gateway"}, {"embedgate.io/group": "embedder"}
        arguments["gateway"] |= {"node_labels": gateway, "num_cpus": 0.5, "replicas": {"min": 2, "max": 2}}
        arguments["batches"] = {"node_labels": gateway, "num_cpus": 0.25}
        (model,) = arguments["models"]
        model |= {"node_labels": embedder, "num_cpus": 0.5}
        model["replicas"] = {"min": 2, "max": 2, "max_per_node": 1}
        model["engine"] |= {"cpu_threads": 1, "hang_after_s": 5}
        if changes.get("second_model"):
            arguments["models"].append({**model, "id": "second", "replicas": {"min": 1, "max": 1, "max_per_node": 1}})
        return dict(document)

    def deploy(self, **changes: Any) -> float:
        """``serve deploy``; seconds until all that is asked for runs and nothing else does."""
        file = self.home / "serve.yaml"
        with file.open("w") as stream:
            YAML(typ="safe").dump(self.config(**changes), stream)
        began_s = time.monotonic()
        command = [str(Path(sys.executable).with_name("serve")), "deploy", str(file)]
        result = subprocess.run(
            [*command, "--address", f"http://127.0.0.1:{self._dashboard_port}"], cwd=ROOT, env=self.environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr + result.stdout
        time.sleep(2)
        self.wait_until_healthy(within_s=_ROLLOUT_S)
        return time.monotonic() - began_s

    def wait_until_healthy(self, *, within_s: float = 90) -> float:
        """Seconds until Serve says that every deployment has what it should have."""
        return wait(self._is_healthy, "every deployment is healthy", within_s=within_s)

    def _is_healthy(self) -> bool:
        headers = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        url = f"http://127.0.0.1:{self._dashboard_port}/api/serve/applications/"
        try:
            application = httpx.get(url, headers=headers, timeout=5).json()["applications"]["embedgate"]
        except (httpx.HTTPError, ValueError, KeyError):
            return False
        assert application["status"] != "DEPLOY_FAILED", application["message"]
        return application["status"] == "RUNNING" and all(
            deployment["status"] == "HEALTHY"
            and all(replica["state"] == "RUNNING" for replica in deployment["replicas"])
            for deployment in application["deployments"].values()
        )

    # The project

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def admin(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.admin_token}"}
        url = f"http://127.0.0.1:{self.port}/admin/v1{path}"
        response = httpx.request(method, url, json=body, headers=headers, timeout=20)
        assert response.is_success, response.text
        return dict(response.json())

    def _make_project(self) -> None:
        self.project_id = self.admin("POST", "/projects", {"name": "Drills", "slug": "drills"})["project_id"]
        base = f"/projects/{self.project_id}"
        self.add_endpoint("embed", MODEL)
        self.api_key = self.admin("POST", f"{base}/keys", {"name": "drills"})["api_key"]
        grant = {"amount_nano_usd": CREDIT_NANO_USD, "reason": "drills", "grant_id": "drills"}
        self.admin("POST", f"{base}/grants", grant)

    def add_endpoint(self, slug: str, model: str) -> None:
        """An endpoint that costs something."""
        body = {"slug": slug, "model": model, "price_nano_usd_per_mtok": PRICE_NANO_USD_PER_MTOK}
        self.admin("POST", f"/projects/{self.project_id}/endpoints", body)

    def embed(self, model: str, text: str) -> list[float]:
        """A vector, as the project's callers get it."""
        client = openai.OpenAI(base_url=self.url, api_key=self.api_key, max_retries=2, timeout=30)
        raw = client.embeddings.with_raw_response.create(model=model, input=text)
        self.paid_nano_usd += int(raw.headers["x-cost-nano-usd"])
        return raw.parse().data[0].embedding

    def upload(self, content: bytes) -> int:
        """The status of an upload."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        file = {"file": ("drill.jsonl", content)}
        return httpx.post(
            f"{self.url}/files", data={"purpose": "batch"}, files=file, headers=headers, timeout=30
        ).status_code

    def charged_nano_usd(self) -> int:
        """What the project was charged for its callers' requests, refunds taken off: a refund comes as a grant."""
        account = self.store.current().raw.hgetall(account_key(self.project_id, "account"))
        return CREDIT_NANO_USD - int(account[b"available"]) - int(account[b"held"]) - self.paid_nano_usd

    def verify(self) -> str:
        """The last line of ``embedgate ledger verify``."""
        return self._embedgate("ledger", "verify").strip().splitlines()[-1]

    def _embedgate(self, *arguments: str) -> str:
        command = [str(Path(sys.executable).with_name("embedgate")), *arguments]
        environment = {**self.environment, "EMBEDGATE_URL": f"http://127.0.0.1:{self.port}"}
        result = subprocess.run(command, cwd=self.home, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def free(self) -> None:
        """Take the folder away."""
        shutil.rmtree(self.home, ignore_errors=True)


def environment_with_shifted_clock(folder: Path, seconds: int) -> dict[str, str] | None:
    """Environment of a node whose workers' wall clock is off; None where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "shifted_clock.so"
    source = ROOT / "tests/ledger/shifted_clock.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source], check=True)
    return {"LD_PRELOAD": str(library), "CLOCK_SHIFT_S": str(seconds), "CLOCK_SHIFT_IN": "default_worker.py"}
