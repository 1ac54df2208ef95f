"""The Serve application builder: ``deployments.build:build``, with ``args`` as in ``configs/serve.yaml``."""

import os
import sys
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import ray
from pydantic import ValidationError
from ray.serve import Application

from app.core.settings import ModelSettings, Settings
from app.core.settings.replicas import ReplicaSettings
from deployments.embedded_redis import embedded_redis_deployment
from deployments.embedder import embedder_deployment
from deployments.gateway import ADMIN_TOKEN_VARIABLE, JOURNAL_URL_VARIABLE, REDIS_URL_VARIABLE, gateway_deployment
from deployments.ingress_headers import IMPORT_PATH

_OPERATION: dict[str, Any] = {
    # Three failures in a row replace a replica: a process that answers nothing is gone after about 20 s.
    "health_check_period_s": 2,
    "health_check_timeout_s": 5,
    "graceful_shutdown_timeout_s": 35,
    "logging_config": {"enable_access_log": False},  # the service writes its own line for each request
}
_LOGGING = {"RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1"}
"""Throughput mode would hold back a thousand lines; without Ray's access log there is little to hold."""


class ConfigurationError(Exception):
    """The arguments cannot work; the message lists every reason."""


def build(args: dict[str, Any]) -> Application:
    """The application: a gateway, an embedder for each model, and a Redis where none is named.

    Raises:
        ConfigurationError: the arguments are not a valid ``Settings``.
    """
    try:
        settings = Settings.model_validate(args)
    except ValidationError as error:
        raise ConfigurationError(f"configuration refused; run 'embedgate config check' on the file:\n{error}") from None
    embedders = {model.id: _embedder(model) for model in settings.models}
    url = os.environ.get(REDIS_URL_VARIABLE) or settings.redis.url
    redis = None
    if not url:
        _refuse_many_nodes()
        redis = embedded_redis_deployment.bind(str(Path(settings.redis.data_dir).absolute()))
    if "://" not in settings.journal.url:  # relative to where the application is deployed, as the store's folder is
        folder = str(Path(settings.journal.url).absolute())
        settings = settings.model_copy(update={"journal": settings.journal.model_copy(update={"url": folder})})
    gateway = gateway_deployment.options(
        **_scale(settings.gateway.replicas),
        ray_actor_options={
            "num_cpus": settings.gateway.num_cpus,
            "runtime_env": {"env_vars": {**_LOGGING, "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": IMPORT_PATH}},
        },
        **_OPERATION,
    )
    return gateway.bind(settings.model_dump(mode="json"), embedders, redis, _from_environment())


def _from_environment() -> dict[str, str]:
    """What the gateways need of the environment in which the application is deployed.

    It travels with the application, because their processes inherit the cluster's environment,
    not that of the shell in which ``serve run`` was typed.
    """
    names = (REDIS_URL_VARIABLE, JOURNAL_URL_VARIABLE, ADMIN_TOKEN_VARIABLE)
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def deployment_name(model_id: str) -> str:
    """Serve's name for a model's deployment; '/' is not allowed there."""
    return f"Embedder-{model_id.replace('/', '--')}"


def _embedder(model: ModelSettings) -> Application:
    deployment = embedder_deployment.options(
        name=deployment_name(model.id),
        **_scale(model.replicas),
        ray_actor_options={
            "num_cpus": model.num_cpus,
            "num_gpus": model.num_gpus,
            "runtime_env": {"env_vars": engine_environment(model)},
        },
        **_OPERATION,
    )
    return deployment.bind(model.model_dump(mode="json"))


def _scale(replicas: ReplicaSettings) -> dict[str, Any]:
    if replicas.min == replicas.max:
        return {"num_replicas": replicas.max, "max_ongoing_requests": replicas.max_ongoing_requests}
    return {
        "max_ongoing_requests": replicas.max_ongoing_requests,
        "autoscaling_config": {
            "min_replicas": replicas.min,
            "max_replicas": replicas.max,
            "target_ongoing_requests": replicas.target_ongoing_requests,
            "upscale_delay_s": replicas.upscale_delay_s,
            "downscale_delay_s": replicas.downscale_delay_s,
        },
    }


def engine_environment(model: ModelSettings) -> dict[str, str]:
    """Environment of an embedder's process; vLLM and OpenMP read theirs before any of our code runs."""
    environment = {
        **_LOGGING,
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0" if model.engine.in_process else "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_CONFIGURE_LOGGING": "0",  # its set-up would silence our loggers
        "TOKENIZERS_PARALLELISM": "false",
    }
    if model.num_gpus == 0:
        # Ray would set the threads from num_cpus, and leave the engine with one.
        share = max(1, (os.cpu_count() or 1) // model.replicas.min)
        environment["OMP_NUM_THREADS"] = str(model.engine.cpu_threads or share)
        if model.engine.preload_allocator and (libraries := _preloadable()):
            environment["LD_PRELOAD"] = ":".join(libraries)
        environment["THP_MEM_ALLOC_ENABLE"] = "1"  # large pages for the weights: 4 % faster
    return environment


def _preloadable() -> list[str]:
    """Intel's OpenMP from its wheel, and tcmalloc where the machine has it."""
    openmp = Path(sys.prefix) / "lib" / "libiomp5.so"
    libraries = [str(openmp)] if openmp.is_file() else []
    if tcmalloc := find_library("tcmalloc_minimal"):
        libraries.append(tcmalloc)
    return libraries


def _refuse_many_nodes() -> None:
    if ray.is_initialized() and sum(bool(node["Alive"]) for node in ray.nodes()) > 1:
        raise ConfigurationError(
            f"this cluster has several nodes and no Redis: set {REDIS_URL_VARIABLE} or args.redis.url. "
            "The embedded one is for a single machine."
        )
