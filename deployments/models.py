"""The models of this cluster, as gateways and batch workers use them."""

import time
from collections.abc import Mapping
from concurrent.futures import Executor

from ray.serve.handle import DeploymentHandle

from app.core.ports import Metrics
from app.core.settings import ModelSettings
from app.link.pool import ReplicaPool
from app.services.model_runtime import ModelRuntime, ModelTokenizer
from app.stores.model_files import load_tokenizer, locate
from deployments.serve_discovery import ServeDiscovery


def open_models(
    models: "tuple[ModelSettings, ...]",
    embedders: Mapping[str, DeploymentHandle],
    *,
    executor: Executor,
    metrics: Metrics,
) -> dict[str, ModelRuntime]:
    """Tokenizers and pools of replicas by model id; the pools look for their replicas from now on.

    Args:
        models: of the configuration.
        embedders: the deployment of each.
        executor: threads that tokenize.
        metrics: of the process.
    """
    return {model.id: _runtime(model, embedders[model.id], executor, metrics) for model in models}


def _runtime(model: ModelSettings, handle: DeploymentHandle, executor: Executor, metrics: Metrics) -> ModelRuntime:
    files = locate(model, weights=False)
    pool = ReplicaPool(
        model_id=model.id,
        dimensions=files.card.dimensions,
        discovery=ServeDiscovery(handle),
        max_wait_ms=model.max_wait.by_tier(),
        metrics=metrics,
        clock_s=time.monotonic,
    )
    tokenizer = ModelTokenizer(load_tokenizer(files.folder), files.card, executor)
    return ModelRuntime(files.card, tokenizer, pool, may_sleep=model.replicas.min == 0)
