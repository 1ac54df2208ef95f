"""The Serve application builder: ``deployments.build:build``, with ``args`` as in ``configs/serve.yaml``."""

import os
from pathlib import Path
from typing import Any

import ray
from pydantic import ValidationError
from ray.serve import Application, Deployment
from ray.serve.config import AutoscalingPolicy

from app.core.settings import ModelSettings, Settings
from app.core.settings.base import Placed
from app.core.settings.batches import BatchSettings
from app.core.settings.replicas import EmbedderReplicaSettings, GatewayReplicaSettings, ReplicaSettings
from deployments.batch_worker import batch_worker_deployment
from deployments.embedded_redis import embedded_redis_deployment
from deployments.embedder import embedder_deployment
from deployments.environment import REDIS_URL_VARIABLE, from_environment
from deployments.gateway import gateway_deployment
from deployments.ingress_headers import IMPORT_PATH
from deployments.preload import engine_libraries
from deployments.scaling import LOOK_BACK_S, PUSH_PERIOD, TokenPolicy

_OPERATION: dict[str, Any] = {
    # Three failures in a row replace a replica: a process that answers nothing is gone after about 20 s.
    "health_check_period_s": 2,
    "health_check_timeout_s": 5,
    "graceful_shutdown_timeout_s": 35,
    "logging_config": {"enable_access_log": False},  # the service writes its own line for each request
}
_LOGGING = {"RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1"}
"""Throughput mode would hold back a thousand lines; without Ray's access log there is little to hold."""

_MEMORY = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "131072"}
"""glibc's own rules keep up to eight arenas a core, and raise the bounds from which it gives memory back: under mixed
load around an engine that computes nothing a gateway grew from 243 to 262 MB, and stays at 240 with these."""


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
    embedders = {model.id: _embedder(model, settings) for model in settings.models}
    url = os.environ.get(REDIS_URL_VARIABLE) or settings.redis.url
    redis = None
    if not url:
        _refuse_many_nodes()
        redis = embedded_redis_deployment.bind(str(Path(settings.redis.data_dir).absolute()))
    for name in ("journal", "files"):  # relative to where the application is deployed, as the store's folder is
        part = getattr(settings, name)
        if "://" not in part.url:
            absolute = part.model_copy(update={"url": str(Path(part.url).absolute())})
            settings = settings.model_copy(update={name: absolute})
    arguments = settings.model_dump(mode="json"), embedders, redis, from_environment()
    gateway = gateway_deployment.options(
        **_scale_gateways(settings.gateway.replicas),
        ray_actor_options={
            **_on(settings.gateway),
            "num_cpus": settings.gateway.num_cpus,
            "runtime_env": {
                "env_vars": {**_LOGGING, **_MEMORY, "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": IMPORT_PATH}
            },
        },
        **_OPERATION,
    )
    return gateway.bind(
        *arguments, _batch_worker(settings.batches).bind(*arguments) if settings.batches.workers else None
    )


def _batch_worker(batches: BatchSettings) -> Deployment:
    return batch_worker_deployment.options(
        num_replicas=batches.workers,
        ray_actor_options={**_on(batches), "num_cpus": batches.num_cpus, "runtime_env": {"env_vars": _LOGGING}},
        **_OPERATION,
    )


def deployment_name(model_id: str) -> str:
    """Serve's name for a model's deployment; '/' is not allowed there."""
    return f"Embedder-{model_id.replace('/', '--')}"


def _embedder(model: ModelSettings, settings: Settings) -> Application:
    deployment = embedder_deployment.options(
        name=deployment_name(model.id),
        **_scale_embedders(model.replicas),
        ray_actor_options={
            **_on(model),
            "num_cpus": model.num_cpus,
            "num_gpus": model.num_gpus,
            "runtime_env": {"env_vars": {**engine_environment(model), **PUSH_PERIOD}},
        },
        **_OPERATION,
    )
    testing = settings.testing
    return deployment.bind(
        model.model_dump(mode="json"), settings.tracing.model_dump(mode="json"), testing.null_engine_tokens_per_s
    )


def _on(placed: Placed) -> dict[str, Any]:
    return {"label_selector": placed.node_labels} if placed.node_labels else {}


def _scale_gateways(replicas: GatewayReplicaSettings) -> dict[str, Any]:
    how = {"target_ongoing_requests": replicas.target_ongoing_requests}
    return {"max_ongoing_requests": replicas.max_ongoing_requests, **_scale(replicas, how)}


def _scale_embedders(replicas: EmbedderReplicaSettings) -> dict[str, Any]:
    policy = AutoscalingPolicy(policy_function=TokenPolicy, policy_kwargs={"target_wait_ms": replicas.target_wait_ms})
    how = {
        "look_back_period_s": LOOK_BACK_S,
        "downscale_to_zero_delay_s": replicas.sleep_after_s,
        "policy": policy,
    }
    return _scale(replicas, how)


def _scale(replicas: ReplicaSettings, how: dict[str, Any]) -> dict[str, Any]:
    placed = {"max_surge_percent": replicas.surge_percent}
    if replicas.max_per_node is not None:
        placed["max_replicas_per_node"] = replicas.max_per_node
    if replicas.min == replicas.max:
        return {"num_replicas": replicas.max, **placed}
    bounds = {"min_replicas": replicas.min, "max_replicas": replicas.max}
    delays = {"upscale_delay_s": replicas.upscale_delay_s, "downscale_delay_s": replicas.downscale_delay_s}
    return {"autoscaling_config": {**bounds, **delays, **how}, **placed}


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
        share = max(1, (os.cpu_count() or 1) // max(1, model.replicas.min))
        environment["OMP_NUM_THREADS"] = str(model.engine.cpu_threads or share)
        if model.engine.preload_allocator and (libraries := engine_libraries()):
            environment["LD_PRELOAD"] = ":".join(libraries)
        environment["THP_MEM_ALLOC_ENABLE"] = "1"  # large pages for the weights: 4 % faster
        # oneDNN keeps code and buffers for each size of step that it has seen, 1,024 by default: 0.7 GB of MiniLM's.
        environment["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = "32"
    return environment


def _refuse_many_nodes() -> None:
    if ray.is_initialized() and sum(bool(node["Alive"]) for node in ray.nodes()) > 1:
        raise ConfigurationError(
            f"this cluster has several nodes and no Redis: set {REDIS_URL_VARIABLE} or args.redis.url. "
            "The embedded one is for a single machine."
        )
