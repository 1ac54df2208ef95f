"""What batches need of the stores, and of whoever knows the wire."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from app.core.batch.refs import BatchRef, ChunkLease
from app.core.batch.state import Batch, Event
from app.core.embedding_request import EmbeddingRequest
from app.core.errors import EmbedgateError
from app.core.ledger_types import Admitted, Charge, Receipt, Refused, Settlement, Terms
from app.core.packing import Vector


class Batches(Protocol):
    """Batches and their journals; see ``app.stores.redis_batches``. Every method may raise ``DependencyDown``."""

    async def create(self, project_id: str, batch: Batch, *, max_open: int, max_kept: int) -> None:
        """Store a new batch; raises ``CapacityExceeded`` when the project has too many."""

    async def get(self, project_id: str, batch_id: str) -> Batch | None:
        """A batch; None when there is none."""

    async def page(self, project_id: str, *, after: str | None, limit: int) -> list[Batch]:
        """Batches, newest first, from the one behind ``after``."""

    async def say(self, project_id: str, batch_id: str, event: Event) -> Batch | None:
        """Apply an event; the batch after it, or None when there is none."""

    async def active(self) -> "Sequence[tuple[BatchRef, int]]":
        """Every batch that somebody must look at, with the millisecond of its making."""

    async def rest(self, ref: BatchRef, *, until_ms: int) -> None:
        """Nobody need look at a batch before ``until_ms``, when it is to be forgotten."""

    async def due(self, *, now_ms: int, limit: int) -> Sequence[BatchRef]:
        """Batches that are to be forgotten."""

    async def forget(self, ref: BatchRef) -> None:
        """Take a batch and its journal away."""

    async def take_lease(self, ref: BatchRef, owner: str, *, lasts_ms: int) -> bool:
        """Take or keep the lease of a batch's own work; False when another has it."""

    async def leave_lease(self, ref: BatchRef, owner: str) -> None:
        """Let others have it."""


class ChunkQueue(Protocol):
    """Chunks that wait or are being worked on, by batch. Every method may raise ``DependencyDown``."""

    async def feed(self, ref: BatchRef, chunks: Sequence[int]) -> None:
        """Put chunks in, if none waits and none is being worked on."""

    async def lease(self, ref: BatchRef, *, owner: str, stale_ms: int) -> ChunkLease | None:
        """Take a chunk whose worker was silent for ``stale_ms``, or one that waits."""

    async def keep(self, lease: ChunkLease, *, owner: str) -> None:
        """Say that it is still being worked on."""

    async def done(self, lease: ChunkLease, *, owner: str) -> None:
        """Take it out, unless another has it by now."""

    async def give_back(self, lease: ChunkLease, *, owner: str) -> None:
        """Let others have it at once."""

    async def is_empty(self, ref: BatchRef) -> bool:
        """Whether none waits and none is being worked on."""

    async def drop(self, ref: BatchRef) -> None:
        """Forget the batch's queue."""


class BatchObjects(Protocol):
    """A batch's chunks on the object store. Every method may raise ``DependencyDown``."""

    async def put_input(self, ref: BatchRef, chunk: int, content: bytes) -> None:
        """Keep a chunk's lines."""

    async def get_input(self, ref: BatchRef, chunk: int) -> bytes | None:
        """A chunk's lines; None when they are gone."""

    async def create_results(self, ref: BatchRef, chunk: int, content: bytes) -> bool:
        """Keep what became of a chunk; False when somebody did already."""

    async def get_results(self, ref: BatchRef, chunk: int) -> bytes | None:
        """What became of a chunk; None when nobody knows yet."""

    async def delete_all(self, ref: BatchRef) -> None:
        """Delete everything of a batch."""


@dataclass(frozen=True, slots=True)
class LineVectors:
    """A line's answer: vectors in input order, at the size that was asked for."""

    request: EmbeddingRequest
    vectors: Sequence[Vector]
    model_id: str
    total_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class LineName:
    """How a line of an output or error file names itself."""

    line_id: str
    custom_id: str
    request_id: str


class LineCodec(Protocol):
    """Lines of the three files as the wire writes them."""

    def read(self, text: bytes) -> tuple[str, Any]:
        """A line's ``custom_id`` and body."""

    def parse(self, body: Any) -> EmbeddingRequest:
        """A body as a request; raises ``InvalidRequest``."""

    def success(self, name: LineName, answer: LineVectors) -> bytes:
        """A line of the output file."""

    def failure(self, name: LineName, error: EmbedgateError) -> bytes:
        """A line of the error file, for a request that was answered with an error."""

    def not_executed(self, name: LineName, code: str, message: str) -> bytes:
        """A line of the error file, for a request that nobody made."""


class BatchLedger(Protocol):
    """The part of the ledger that batches use, and one thing more. Every method may raise ``DependencyDown``."""

    async def admit_all(
        self, project_id: str, charges: Sequence[Charge], terms: Terms, *, ttl_ms: int
    ) -> Sequence[Admitted | Refused]:
        """``admit`` for each of many, in order; ``DependencyDown`` says nothing of any of them."""

    async def settle_all(
        self, project_id: str, settlements: Sequence[tuple[str, Settlement, int]], *, retain_ms: int | None = None
    ) -> Sequence[Receipt | None]:
        """``settle`` for each of many holds, named with verb and amount, in order."""

    async def settle(
        self, project_id: str, hold_id: str, verb: Settlement, amount_nano_usd: int, *, retain_ms: int | None = None
    ) -> Receipt | None:
        """See ``Ledger``."""

    async def let_go(self, project_id: str, hold_ids: Sequence[str]) -> None:
        """Remember ended holds no longer than other ended ones."""
