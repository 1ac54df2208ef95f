"""One chunk, from its lease to its place in the batch's journal.

Its lines are held, computed and written as one immutable object; whoever wrote it first, what it
says is then captured and released, and the batch hears of it. Each step may be done twice, by one
worker after another or by two at once. No charge may stay for a chunk that its batch was sealed
without; therefore the batch is asked before the first capture and told after the last.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace

from app.core import metric_names as names
from app.core.activity import Lines
from app.core.batch.chunk import ChunkResults, InputLine, dump_results, load_lines, load_results
from app.core.batch.refs import ChunkLease
from app.core.batch.state import Batch, ChunkDone, Closed
from app.core.directory import Endpoint, ProjectView
from app.core.embedding_request import EmbeddingRequest
from app.core.errors import (
    Conflict,
    EmbedgateError,
    EndpointInactive,
    PaymentRequired,
)
from app.core.ledger_types import HoldState
from app.core.ports import Metrics
from app.services.batches.compute import Cut, compute_held
from app.services.batches.lines import ChunkLine, not_executed, read_lines, write_lines
from app.services.batches.money import BatchMoney
from app.services.batches.patience import until_answered
from app.services.batches.ports import Batches, BatchLedger, BatchObjects, LineCodec
from app.services.model_runtime import ModelRuntime, TokenizedInput
from app.services.resolve import dimensions_of, endpoint_by_slug, runtime_of

logger = logging.getLogger("ray.serve.embedgate")


class ChunkWork:
    """Works on chunks, many at a time.

    Args:
        batches: where the batch hears of it.
        objects: where its lines are, and its results go.
        ledger: where they are paid for.
        read_view: a project as it is now.
        models: by id.
        codec: knows the wire.
        executor: threads that parse, tokenize and write.
        metrics: where lines are counted.
        note_lines: told of them too.
        wall_s: Unix time.
        max_tokens: of one request.
    """

    def __init__(
        self,
        *,
        batches: Batches,
        objects: BatchObjects,
        ledger: BatchLedger,
        read_view: Callable[[str], Awaitable[ProjectView | None]],
        models: Mapping[str, ModelRuntime],
        codec: LineCodec,
        executor: Executor,
        metrics: Metrics,
        note_lines: Callable[[Lines], None],
        wall_s: Callable[[], float],
        max_tokens: int,
    ) -> None:
        self._batches = batches
        self._objects = objects
        self._ledger = ledger
        self._read_view = read_view
        self._models = models
        self._codec = codec
        self._executor = executor
        self._metrics = metrics
        self._note_lines = note_lines
        self._wall_s = wall_s
        self._max_tokens = max_tokens

    async def run(self, lease: ChunkLease, cut: Cut) -> None:
        """Work on a chunk until nothing is left to do for it; dependencies that are away are waited for.

        Raises:
            EmbedgateError: its endpoint is switched off, or not served: try again later.

        Args:
            lease: of the chunk.
            cut: asked now and then.
        """
        batch = await self._present(lease)
        if batch is None or batch.has_ended or lease.chunk in batch.done_chunks:
            return
        view = await until_answered(lambda: self._read_view(lease.ref.project_id))
        if view is None or view.project.status == "disabled":
            raise EndpointInactive("The batch's project is switched off.", retry_after_s=60)
        money = BatchMoney(self._ledger, view.project, batch, now_ms=self._now_ms())
        results = await self._results(lease) or await self._decide(lease, batch, view, money, cut)
        if results is not None:
            await self._settle(lease, results, money)

    async def _decide(
        self, lease: ChunkLease, batch: Batch, view: ProjectView, money: BatchMoney, cut: Cut
    ) -> ChunkResults | None:
        """What becomes of the chunk, written down; None when its batch wants it no more and nobody began with it."""
        if batch.closing and not lease.is_again:
            return None
        content = await until_answered(lambda: self._objects.get_input(lease.ref, lease.chunk))
        if content is None:
            raise Conflict(f"The lines of chunk {lease.chunk} are not on the object store.")
        texts = load_lines(content)
        if batch.closing:
            results = not_executed(batch.batch_id, texts, self._codec, batch.closing)
        else:
            found = await self._compute(lease, batch, texts, view, money, cut)
            if found is None:
                return await self._of_another(lease)
            results = found
        document = dump_results(results)
        if await until_answered(lambda: self._objects.create_results(lease.ref, lease.chunk, document)):
            return results
        return await self._of_another(lease)

    async def _compute(
        self,
        lease: ChunkLease,
        batch: Batch,
        texts: Sequence[InputLine],
        view: ProjectView,
        money: BatchMoney,
        cut: Cut,
    ) -> ChunkResults | None:
        """What becomes of the chunk; None when another decided that meanwhile."""
        named = endpoint_by_slug(view, batch.endpoint_slug or "")
        endpoint = replace(named, model=batch.model_id or named.model, dimensions=batch.dimensions)
        runtime = runtime_of(endpoint, self._models)
        lines: list[ChunkLine] = await self._in_thread(
            lambda: read_lines(batch.batch_id, texts, self._codec, self._tokenizer_of(runtime, endpoint))
        )
        if not await self._hold(lease, lines, money):
            return None
        closing = await compute_held(lines, runtime, view.project, cut)
        results: ChunkResults = await self._in_thread(
            lambda: write_lines(lines, self._codec, model_id=runtime.card.model_id, closing=closing)
        )
        return results

    async def _hold(self, lease: ChunkLease, lines: Sequence[ChunkLine], money: BatchMoney) -> bool:
        """Hold what each line costs; those that cannot be paid for close the batch.

        Returns:
            False when somebody ended a hold, which is done only when it is decided what becomes of the chunk.
        """
        priced = [(line, line.hold) for line in lines if line.hold is not None]
        answers = await money.hold_all([hold for _, hold in priced])
        for (line, _), answer in zip(priced, answers, strict=True):
            if isinstance(answer, EmbedgateError):
                line.error = answer
            else:
                line.is_held = answer in (HoldState.HELD, HoldState.CAPTURED)
        if any(line.hold is not None and not line.is_held and line.error is None for line in lines):
            return False
        if any(isinstance(line.error, PaymentRequired) for line in lines):
            closed = Closed(self._now_ms(), "unpaid")
            await until_answered(lambda: self._batches.say(lease.ref.project_id, lease.ref.batch_id, closed))
        return True

    async def _settle(self, lease: ChunkLease, results: ChunkResults, money: BatchMoney) -> None:
        """Charge what succeeded, give the rest back, and have the chunk counted; or nothing of it is charged."""
        batch = await self._present(lease)
        holds = results.head.holds
        if batch is not None and lease.chunk in batch.done_chunks:
            # Another settled it. What was captured is rightful; what we hold again since it was forgotten is not.
            await asyncio.gather(*(money.release(h) if h.succeeded else money.undo(h.number) for h in holds))
            return
        is_open = batch is not None and not batch.is_sealed and not batch.has_ended
        if is_open and await self._charge(lease, results, money):
            return
        await asyncio.gather(*(money.undo(h.number) for h in holds))

    async def _charge(self, lease: ChunkLease, results: ChunkResults, money: BatchMoney) -> bool:
        async def is_wanted() -> bool:
            batch = await self._present(lease)
            return batch is not None and not batch.is_sealed and lease.chunk not in batch.done_chunks

        head = results.head
        await money.charge_all(head.holds, is_wanted=is_wanted)
        done = ChunkDone(
            self._now_ms(),
            lease.chunk,
            head.completed,
            head.failed,
            tokens=head.total_tokens,
            cached_tokens=head.total_tokens - head.charged_tokens,
        )
        after = await until_answered(lambda: self._batches.say(lease.ref.project_id, lease.ref.batch_id, done))
        if after is None or lease.chunk not in after.done_chunks:
            return False
        await money.let_go(head.holds)
        charged = sum(money.amount_nano_usd(hold) for hold in head.holds if hold.succeeded)
        self._note_lines(Lines(head.completed, head.failed, done.tokens, done.cached_tokens, charged))
        for outcome, count in (("completed", head.completed), ("failed", head.failed)):
            if count:
                self._metrics.count(names.BATCH_LINES, count, outcome=outcome)
        return True

    async def _results(self, lease: ChunkLease) -> ChunkResults | None:
        content = await until_answered(lambda: self._objects.get_results(lease.ref, lease.chunk))
        return load_results(content) if content is not None else None

    async def _of_another(self, lease: ChunkLease) -> ChunkResults:
        results = await self._results(lease)
        if results is None:
            raise Conflict(f"Chunk {lease.chunk} was decided by another worker, and how is not to be found.")
        return results

    async def _present(self, lease: ChunkLease) -> Batch | None:
        return await until_answered(lambda: self._batches.get(lease.ref.project_id, lease.ref.batch_id))

    def _tokenizer_of(
        self, runtime: ModelRuntime, endpoint: Endpoint
    ) -> Callable[[EmbeddingRequest], tuple[TokenizedInput, int]]:
        def tokenize(request: EmbeddingRequest) -> tuple[TokenizedInput, int]:
            dimensions = dimensions_of(runtime.card, request.dimensions, endpoint)
            tokenized = runtime.tokenizer.tokenize_now(
                request.input, input_type=request.input_type, truncate=request.truncate, max_tokens=self._max_tokens
            )
            return tokenized, dimensions

        return tokenize

    async def _in_thread(self, work: Callable[[], object]):  # type: ignore[no-untyped-def]
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _now_ms(self) -> int:
        return int(self._wall_s() * 1000)
