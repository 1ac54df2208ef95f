"""The Gateway deployment: Serve's ingress, and the composition root of a gateway process."""

import asyncio
import logging
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from app.api.application import create_application
from app.api.request_log import request_logger
from app.api.services import Services
from app.core.ports import Admission, Metrics
from app.core.settings import ModelSettings, Settings
from app.services.administration import Administration
from app.services.admission_for_tests import OpenAdmissionForTests
from app.services.authenticate import Authenticator
from app.services.dispatch import CallBounds, Dispatcher
from app.services.embed import EmbedService, EmbedSettings
from app.services.model_runtime import ModelRuntime, ModelTokenizer
from app.services.vector_cache import VectorCache
from app.stores.model_files import load_tokenizer, locate
from app.stores.redis_client import connect
from app.stores.redis_directory import RedisDirectory
from deployments.accounts import open_accounts
from deployments.embedder_link import RayEmbedderLink
from deployments.fast_ingress import lost_without
from deployments.ingress_headers import new_request_id
from deployments.loopback import keep_internal_port_local
from deployments.metrics import RayMetrics

ADMIN_TOKEN_VARIABLE = "EMBEDGATE_ADMIN_TOKEN"  # noqa: S105
REDIS_URL_VARIABLE = "REDIS_URL"
JOURNAL_URL_VARIABLE = "EMBEDGATE_JOURNAL_URL"

logger = logging.getLogger("ray.serve.embedgate")


class Gateway:
    """Authenticates, validates, tokenizes, caches, admits and dispatches.

    Args:
        settings: a ``Settings`` as JSON types.
        embedders: the deployment of each model, by id.
        embedded_redis: the store, where no URL names another.
        deployed_with: variables of the environment in which the application was deployed; this
            process's own go before them.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        settings: dict[str, Any],
        embedders: dict[str, DeploymentHandle],
        embedded_redis: DeploymentHandle | None,
        deployed_with: dict[str, str],
    ) -> None:
        keep_internal_port_local()
        for line in lost_without(os.environ):
            logger.warning(line)
        config = Settings.model_validate(settings)
        metrics = RayMetrics()
        environment = {**deployed_with, **os.environ}
        url = await _redis_url(environment.get(REDIS_URL_VARIABLE) or config.redis.url, embedded_redis)
        directory = RedisDirectory(connect(url))
        accounts = open_accounts(
            redis_url=url,
            journal_url=environment.get(JOURNAL_URL_VARIABLE) or config.journal.url,
            journal_period_s=config.journal.period_s,
            multipliers=config.prices.multipliers(),
            metrics=metrics,
        )
        self._housekeeping = asyncio.get_running_loop().create_task(accounts.housekeeping.run_forever())
        self._executor = ThreadPoolExecutor(config.gateway.tokenizer_threads, thread_name_prefix="tokenize")
        models = {model.id: self._runtime(config, model, embedders[model.id], metrics) for model in config.models}
        admission: Admission = accounts.admission
        if config.testing.open_admission_user:
            logger.warning("TESTING: user %r is neither limited nor charged", config.testing.open_admission_user)
            admission = OpenAdmissionForTests(admission, config.testing.open_admission_user)
        cache = VectorCache(
            max_entries=config.cache.max_entries,
            max_bytes=config.cache.max_bytes,
            ttl_s=config.cache.ttl_s,
            clock_s=time.monotonic,
        )
        self._services = Services(
            authenticator=Authenticator(
                directory,
                capacity=config.keys.local_view_entries,
                clock_s=time.monotonic,
                wall_s=time.time,
                metrics=metrics,
            ),
            embed=EmbedService(
                settings=EmbedSettings(
                    max_tokens_per_request=config.request.max_tokens,
                    share_cache_across_projects=config.cache.scope == "global",
                ),
                cache=cache,
                admission=admission,
                metrics=metrics,
            ),
            idempotency=accounts.idempotency,
            usage=accounts.usage,
            administration=Administration(
                directory,
                accounts.ledger,
                key_prefix=config.keys.prefix,
                random_bytes=secrets.token_bytes,
                wall_s=time.time,
            ),
            models=models,
            ping_store=directory.ping,
            admin_token=environment.get(ADMIN_TOKEN_VARIABLE) or None,
            metrics=metrics,
            log_request=request_logger(config.log),
            clock_s=time.perf_counter,
            new_request_id=new_request_id,
            max_body_bytes=config.gateway.max_body_bytes,
        )

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """The application that Serve runs, built in the replica."""
        return create_application(self._services, version=version("embedgate"), ingress_adds_id=True)

    def _runtime(
        self, config: Settings, model: ModelSettings, handle: DeploymentHandle, metrics: Metrics
    ) -> ModelRuntime:
        files = locate(model, weights=False)
        link = RayEmbedderLink(model.id, handle, metrics)
        bounds = CallBounds(
            max_items=config.gateway.max_call_items,
            max_tokens=config.gateway.max_call_tokens,
            max_calls=config.gateway.max_calls_per_tier,
            max_waiting_tokens=config.gateway.max_waiting_tokens,
        )
        dispatcher = Dispatcher(
            model_id=model.id,
            dimensions=files.card.dimensions,
            link=link,
            bounds=bounds,
            metrics=metrics,
            clock_s=time.monotonic,
        )
        tokenizer = ModelTokenizer(load_tokenizer(files.folder), files.card, self._executor)
        return ModelRuntime(files.card, tokenizer, dispatcher)


async def _redis_url(named: str | None, embedded_redis: DeploymentHandle | None) -> str:
    if named:
        return named
    assert embedded_redis is not None, "the builder adds the embedded Redis where no URL is set"
    logger.warning("no %s: everything is kept by the embedded Redis of this machine", REDIS_URL_VARIABLE)
    return str(await embedded_redis.url.remote())


gateway_deployment = serve.deployment(serve.ingress()(Gateway))
