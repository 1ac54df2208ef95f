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
from app.core.settings import CacheSettings, Settings
from app.core.settings.application import TestingSettings
from app.services.administration import Administration
from app.services.admission_for_tests import OpenAdmissionForTests
from app.services.authenticate import Authenticator
from app.services.embed import EmbedService, EmbedSettings
from app.services.loop_watch import watch_loop
from app.services.vector_cache import VectorCache
from app.services.webhooks import WebhookSettings
from app.stores.redis_client import connect
from app.stores.redis_directory import RedisDirectory
from app.stores.redis_ledger import RedisLedger
from app.stores.redis_vectors import RedisVectors
from app.stores.redis_webhooks import RedisWebhooks
from deployments.accounts import open_accounts
from deployments.batches import open_batches
from deployments.environment import ADMIN_TOKEN_VARIABLE, CACHE_URL_VARIABLE, JOURNAL_URL_VARIABLE, files_url, redis_url
from deployments.fast_ingress import lost_without
from deployments.files import open_files, open_uploads
from deployments.garbage import collect_seldom
from deployments.ingress_headers import new_request_id
from deployments.loopback import keep_internal_port_local
from deployments.metrics import RayMetrics
from deployments.models import open_models
from deployments.overview import open_overview
from deployments.tracing import open_tracer

logger = logging.getLogger("ray.serve.embedgate")


class Gateway:
    """Authenticates, validates, tokenizes, caches, admits and dispatches.

    Args:
        settings: a ``Settings`` as JSON types.
        embedders: the deployment of each model, by id.
        embedded_redis: the store, where no URL names another.
        deployed_with: variables of the environment in which the application was deployed; this
            process's own go before them.
        batch_worker: deployed with the gateways, and never called.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        settings: dict[str, Any],
        embedders: dict[str, DeploymentHandle],
        embedded_redis: DeploymentHandle | None,
        deployed_with: dict[str, str],
        batch_worker: DeploymentHandle | None,  # noqa: ARG002  # what Serve is to deploy must be bound to the ingress
    ) -> None:
        keep_internal_port_local()
        _silence_serve()
        collect_seldom()
        for line in lost_without(os.environ):
            logger.warning(line)
        config = Settings.model_validate(settings)
        metrics = RayMetrics()
        environment = {**deployed_with, **os.environ}
        url = await redis_url(config, environment, embedded_redis)
        directory = RedisDirectory(connect(url))
        stored_at = files_url(config, environment)
        files = open_files(redis_url=url, files_url=stored_at, settings=config.files)
        uploads = open_uploads(files, redis_url=url, files_url=stored_at, settings=config.files)
        accounts = open_accounts(
            redis_url=url,
            journal_url=environment.get(JOURNAL_URL_VARIABLE) or config.journal.url,
            journal_period_s=config.journal.period_s,
            remember_s=config.ledger.remember_s,
            multipliers=config.prices.multipliers(),
            forget=(files.forget_due, uploads.forget_due),
            metrics=metrics,
        )
        watch = watch_loop(metrics, process="gateway", clock_s=time.monotonic)
        loop = asyncio.get_running_loop()
        self._background = [loop.create_task(work) for work in (accounts.housekeeping.run_forever(), watch)]
        executor = ThreadPoolExecutor(config.gateway.tokenizer_threads, thread_name_prefix="tokenize")
        models = open_models(config.models, embedders, executor=executor, metrics=metrics)
        overview = open_overview(
            redis_url=url, accounts=accounts, models=models, journal_period_s=config.journal.period_s
        )
        self._background.append(loop.create_task(overview.recorder.run_forever()))
        shared = await _shared_vectors(config.cache, environment.get(CACHE_URL_VARIABLE) or config.cache.shared_url)
        self._services = Services(
            authenticator=_authenticator(directory, config, metrics),
            embed=EmbedService(
                settings=_embed_settings(config),
                cache=_vector_cache(config.cache, shared),
                shared=shared,
                admission=_admission(accounts.admission, config.testing),
                metrics=metrics,
            ),
            files=files,
            uploads=uploads,
            batches=open_batches(redis_url=url, settings=config.batches),
            webhooks=WebhookSettings(RedisWebhooks(connect(url)), random_bytes=secrets.token_bytes),
            idempotency=accounts.idempotency,
            usage=accounts.usage,
            journal=accounts.journal,
            activity=overview.recorder,
            overview=overview.reader,
            administration=_administration(directory, accounts.ledger, config),
            models=models,
            ping_store=directory.ping,
            admin_token=environment.get(ADMIN_TOKEN_VARIABLE) or None,
            metrics=metrics,
            tracer=open_tracer(config.tracing, service="gateway", clock_s=time.perf_counter),
            log_request=request_logger(config.log),
            clock_s=time.perf_counter,
            new_request_id=new_request_id,
            max_body_bytes=config.gateway.max_body_bytes,
        )

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """The application that Serve runs, built in the replica."""
        return create_application(self._services, version=version("embedgate"), ingress_adds_id=True)


def _silence_serve() -> None:
    """Serve makes a line for each request before it finds that nobody wants it: a twentieth of a request's time.

    Its other lines below a warning go too, whatever level the deployment's logging asks for.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    logger.setLevel(logging.INFO)


def _authenticator(directory: RedisDirectory, config: Settings, metrics: Metrics) -> Authenticator:
    capacity = config.keys.local_view_entries
    return Authenticator(directory, capacity=capacity, clock_s=time.monotonic, wall_s=time.time, metrics=metrics)


def _administration(directory: RedisDirectory, ledger: RedisLedger, config: Settings) -> Administration:
    return Administration(
        directory, ledger, key_prefix=config.keys.prefix, random_bytes=secrets.token_bytes, wall_s=time.time
    )


def _admission(admission: Admission, testing: TestingSettings) -> Admission:
    if not testing.open_admission_user:
        return admission
    logger.warning("TESTING: user %r is neither limited nor charged", testing.open_admission_user)
    return OpenAdmissionForTests(admission, testing.open_admission_user)


async def _shared_vectors(settings: CacheSettings, url: str | None) -> RedisVectors | None:
    if url is None:
        return None
    shared = RedisVectors(url, ttl_s=settings.shared_ttl_s, clock_s=time.monotonic)
    await shared.require_bounded()
    return shared


def _vector_cache(settings: CacheSettings, shared: RedisVectors | None) -> VectorCache:
    return VectorCache(
        max_entries=settings.max_entries,
        max_bytes=settings.max_bytes,
        ttl_s=settings.ttl_s,
        clock_s=time.monotonic,
        share=shared.keep if shared else None,
    )


def _embed_settings(config: Settings) -> EmbedSettings:
    return EmbedSettings(
        max_tokens_per_request=config.request.max_tokens,
        max_ongoing_requests=config.gateway.replicas.max_ongoing_requests,
        share_cache_across_projects=config.cache.scope == "global",
    )


gateway_deployment = serve.deployment(serve.ingress()(Gateway))
