"""What a batch is, and every change that it may go through. Pure; time is part of each event.

A batch is the fold of its events: ``state = apply(state, event)``. The store keeps the events in
order and the latest state; either can be had from the other's code path, and a test says so. An
event that no longer applies (a chunk that was done twice, a cancellation that came too late)
changes nothing, so that workers which died or were thought dead may say again what they said. Once
a batch is sealed its chunks are fixed: its files are merged from those that are done.

::

    validating ──► in_progress ──► finalizing ──► completed
     │  │  │            │           ▲      └────► expired      (its window closed)
     │  │  └─► failed   │           │
     │  └───────────────┼───────────┘
     └──────────────────┴─► cancelling ─────────► cancelled
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from app.core.errors import Conflict


class BatchStatus(StrEnum):
    """As the wire names them."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


ENDED = frozenset({BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED})

Closing = Literal["cancelled", "expired", "unpaid"]
"""Why a batch hands out no more work: what is done is kept, the rest is reported."""


@dataclass(frozen=True, slots=True)
class LineError:
    """A fault of the input file. ``line`` counts from 1; None means the file as a whole."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Validated:
    """The input is good: one model, so many lines in so many chunks, at the price of this moment.

    ``model`` is what the lines call it, ``model_id`` and ``dimensions`` what their endpoint says now: one batch's
    vectors are of one kind, whatever becomes of the endpoint.
    """

    at_ms: int
    model: str
    endpoint_slug: str
    lines: int
    chunks: int
    price_nano_usd_per_mtok: int
    multiplier_thousandths: int
    model_id: str
    dimensions: int | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The input is not good."""

    at_ms: int
    errors: Sequence[LineError]


@dataclass(frozen=True, slots=True)
class ChunkDone:
    """Every line of a chunk has its result or its error, and both are on the object store."""

    at_ms: int
    chunk: int
    completed: int
    failed: int
    tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Closed:
    """No more work is handed out."""

    at_ms: int
    reason: Closing


@dataclass(frozen=True, slots=True)
class Finalizing:
    """No chunk is being worked on any more; what is not done now will never be."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Output and error file are there; None where there is nothing in one."""

    at_ms: int
    output_file_id: str | None
    error_file_id: str | None


Event = Validated | Refused | ChunkDone | Closed | Finalizing | Finished


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch after some events.

    Attributes:
        key_id: of the key that asked for it.
        moments_ms: when it came into each status but the first.
        sealed_at_ms: when its chunks were fixed: no other can become done.
        done_chunks: numbers of chunks whose results are kept.
        tokens: of lines that succeeded, cached ones included.
    """

    batch_id: str
    key_id: str
    endpoint: str
    input_file_id: str
    created_at_ms: int
    expires_at_ms: int
    output_life_s: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    status: BatchStatus = BatchStatus.VALIDATING
    closing: Closing | None = None
    model: str | None = None
    endpoint_slug: str | None = None
    price_nano_usd_per_mtok: int = 0
    multiplier_thousandths: int = 0
    model_id: str | None = None
    dimensions: int | None = None
    sealed_at_ms: int | None = None
    errors: Sequence[LineError] = ()
    lines: int = 0
    chunks: int = 0
    done_chunks: frozenset[int] = frozenset()
    completed: int = 0
    failed: int = 0
    tokens: int = 0
    cached_tokens: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    moments_ms: Mapping[str, int] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in ENDED

    @property
    def is_sealed(self) -> bool:
        """Whether its chunks are fixed."""
        return self.sealed_at_ms is not None

    @property
    def takes_work(self) -> bool:
        """Whether chunks are to be worked on."""
        return self.status is BatchStatus.IN_PROGRESS and self.closing is None

    @property
    def is_worked_off(self) -> bool:
        """Whether every chunk is done."""
        return self.chunks > 0 and len(self.done_chunks) == self.chunks


def apply(batch: Batch, event: Event) -> Batch:
    """The batch after an event; the same batch where the event does not apply any more."""
    match event:
        case Validated() if batch.status is BatchStatus.VALIDATING:
            return _enter(_found_good(batch, event), BatchStatus.IN_PROGRESS, event.at_ms)
        case Refused() if batch.status is BatchStatus.VALIDATING:
            return _enter(replace(batch, errors=tuple(event.errors)), BatchStatus.FAILED, event.at_ms)
        case ChunkDone():
            return _count(batch, event)
        case Closed() if not (batch.has_ended or batch.is_sealed or batch.closing):
            closed = replace(batch, closing=event.reason)
            return _enter(closed, BatchStatus.CANCELLING, event.at_ms) if event.reason == "cancelled" else closed
        case Finalizing() if not (batch.is_sealed or batch.has_ended) and (batch.closing or batch.is_worked_off):
            sealed = replace(batch, sealed_at_ms=event.at_ms)
            is_cancelling = batch.status is BatchStatus.CANCELLING
            return sealed if is_cancelling else _enter(sealed, BatchStatus.FINALIZING, event.at_ms)
        case Finished() if batch.is_sealed and not batch.has_ended:
            return _end(batch, event)
    return batch


def check_cancel(batch: Batch) -> None:
    """Whether a cancellation makes sense; it may be asked for again.

    Raises:
        Conflict: it is too late.
    """
    if batch.closing in ("expired", "unpaid"):
        raise Conflict(f"Cannot cancel a batch that is ending ({batch.closing}).")
    if batch.status not in (
        BatchStatus.VALIDATING,
        BatchStatus.IN_PROGRESS,
        BatchStatus.CANCELLING,
        BatchStatus.CANCELLED,
    ):
        raise Conflict(f"Cannot cancel a batch with status '{batch.status}'.")


def _found_good(batch: Batch, event: Validated) -> Batch:
    return replace(
        batch,
        model=event.model,
        endpoint_slug=event.endpoint_slug,
        lines=event.lines,
        chunks=event.chunks,
        price_nano_usd_per_mtok=event.price_nano_usd_per_mtok,
        multiplier_thousandths=event.multiplier_thousandths,
        model_id=event.model_id,
        dimensions=event.dimensions,
    )


def _count(batch: Batch, event: ChunkDone) -> Batch:
    if batch.is_sealed or batch.has_ended or event.chunk in batch.done_chunks or not 0 <= event.chunk < batch.chunks:
        return batch
    return replace(
        batch,
        done_chunks=batch.done_chunks | {event.chunk},
        completed=batch.completed + event.completed,
        failed=batch.failed + event.failed,
        tokens=batch.tokens + event.tokens,
        cached_tokens=batch.cached_tokens + event.cached_tokens,
    )


def _end(batch: Batch, event: Finished) -> Batch:
    """Lines that nobody worked on are reported in the error file, and count as failed."""
    if batch.status is BatchStatus.CANCELLING:
        status = BatchStatus.CANCELLED
    else:
        status = BatchStatus.EXPIRED if batch.closing == "expired" else BatchStatus.COMPLETED
    ended = replace(
        batch,
        failed=batch.lines - batch.completed,
        output_file_id=event.output_file_id,
        error_file_id=event.error_file_id,
    )
    return _enter(ended, status, event.at_ms)


def _enter(batch: Batch, status: BatchStatus, at_ms: int) -> Batch:
    return replace(batch, status=status, moments_ms={**batch.moments_ms, status.value: at_ms})
