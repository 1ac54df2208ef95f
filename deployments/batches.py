"""Batches, put together: a gateway's part, and a worker's. Knows neither Ray nor vLLM."""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Self

from redis.asyncio import Redis

from app.api.batch_lines import JsonLines
from app.core.activity import Lines
from app.core.batch.input_check import LineBounds
from app.core.directory import Endpoint
from app.core.ports import Metrics
from app.core.settings import Settings
from app.core.settings.batches import BatchSettings
from app.core.tiers import Tier
from app.services.batches.chunk_work import ChunkWork
from app.services.batches.intake import Intake
from app.services.batches.merge import Merge
from app.services.batches.service import BatchService
from app.services.batches.steward import Steward
from app.services.batches.worker import BatchWorker
from app.services.files import FileService
from app.services.model_runtime import ModelRuntime
from app.services.webhooks import WebhookSender
from app.stores.batch_objects import StoredBatchObjects
from app.stores.file_objects import FileObjects
from app.stores.http_post import HttpPost
from app.stores.object_place import ObjectPlace
from app.stores.redis_batches import RedisBatches
from app.stores.redis_chunks import RedisChunks
from app.stores.redis_client import connect
from app.stores.redis_directory import RedisDirectory
from app.stores.redis_files import RedisFiles
from app.stores.redis_ledger import RedisLedger
from app.stores.redis_webhooks import RedisWebhooks
from app.stores.redis_wire import RedisWire
from app.stores.script_pipe import ScriptPipe
from deployments.files import open_files

_STORE_TIMEOUT_S = 2.0
"""Nobody waits for a worker at a socket."""

_THREADS = 16


def open_batches(*, redis_url: str, settings: BatchSettings) -> BatchService:
    """A gateway's part: batches are asked for, shown and cancelled.

    Args:
        redis_url: where they are.
        settings: how many a project may have.
    """
    return BatchService(
        RedisBatches(connect(redis_url)),
        max_open=settings.max_open_per_project,
        max_kept=settings.max_kept_per_project,
        random_bytes=secrets.token_bytes,
        wall_s=time.time,
    )


@dataclass(frozen=True, slots=True)
class _Stores:
    """What a worker reads and writes."""

    redis: Redis
    place: ObjectPlace
    batches: RedisBatches
    queue: RedisChunks
    objects: StoredBatchObjects
    directory: RedisDirectory

    @classmethod
    def at(cls, redis_url: str, files_url: str) -> Self:
        """Connections with patience."""
        redis = connect(redis_url, timeout_s=_STORE_TIMEOUT_S)
        place = ObjectPlace.of(files_url, threads=_THREADS)
        return cls(
            redis, place, RedisBatches(redis), RedisChunks(redis), StoredBatchObjects(place), RedisDirectory(redis)
        )


def open_worker(
    *,
    redis_url: str,
    files_url: str,
    settings: Settings,
    models: Mapping[str, ModelRuntime],
    executor: Executor,
    metrics: Metrics,
    note_lines: Callable[[Lines], None],
    wall_s: Callable[[], float] = time.time,
) -> BatchWorker:
    """A worker, which begins with :meth:`BatchWorker.start`.

    Args:
        redis_url: where batches, files and the ledger are.
        files_url: where content lies.
        settings: of the cluster.
        models: by id.
        executor: threads that parse, tokenize and write lines.
        metrics: of the process.
        note_lines: told of lines as they end.
        wall_s: Unix time.
    """
    stores = _Stores.at(redis_url, files_url)
    owner = f"worker-{secrets.token_hex(8)}"
    changed = asyncio.Event()
    files = open_files(redis_url=redis_url, files_url=files_url, settings=settings.files)
    pipe = ScriptPipe(RedisWire(redis_url, timeout_s=_STORE_TIMEOUT_S), clock_s=time.monotonic)
    work = ChunkWork(
        batches=stores.batches,
        objects=stores.objects,
        ledger=RedisLedger(stores.redis, pipe, retain_ms=settings.ledger.remember_s * 1000),
        read_view=stores.directory.read_view,
        models=models,
        codec=JsonLines(),
        executor=executor,
        metrics=metrics,
        note_lines=note_lines,
        wall_s=wall_s,
        max_tokens=settings.request.max_tokens,
    )
    sender = WebhookSender(RedisWebhooks(stores.redis), HttpPost(), metrics=metrics, wall_s=wall_s)
    steward = Steward(
        batches=stores.batches,
        queue=stores.queue,
        objects=stores.objects,
        intake=_intake(stores, files, settings, models, wall_s),
        merge=Merge(RedisFiles(stores.redis), FileObjects(stores.place), stores.objects, JsonLines(), wall_s=wall_s),
        read_view=stores.directory.read_view,
        on_end=sender.on_end,
        changed=changed,
        owner=owner,
        wall_s=wall_s,
    )
    return BatchWorker(
        steward=steward,
        queue=stores.queue,
        work=work,
        beside=[sender.run_forever],
        metrics=metrics,
        owner=owner,
        models=len(models),
        chunks_at_once=settings.batches.chunks_at_once,
        changed=changed,
        clock_s=time.monotonic,
    )


def _intake(
    stores: _Stores,
    files: FileService,
    settings: Settings,
    models: Mapping[str, ModelRuntime],
    wall_s: Callable[[], float],
) -> Intake:
    return Intake(
        files,
        stores.objects,
        bounds=LineBounds(max_lines=settings.batches.max_lines, max_inputs=settings.batches.max_inputs),
        max_line_bytes=settings.gateway.max_body_bytes,
        multiplier_thousandths=settings.prices.multipliers()[Tier.BATCH],
        serves=lambda endpoint: _serves(endpoint, models),
        wall_s=wall_s,
    )


def _serves(endpoint: Endpoint, models: Mapping[str, ModelRuntime]) -> bool:
    return endpoint.status == "active" and endpoint.task_mode == "embed" and endpoint.model in models
