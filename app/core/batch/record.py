"""Batches and their events as documents: what the store keeps, and what its journal says. Pure."""

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

import orjson

from app.core.batch.state import (
    Batch,
    BatchStatus,
    ChunkDone,
    Closed,
    Event,
    Finalizing,
    Finished,
    LineError,
    Refused,
    Validated,
    apply,
)

_KINDS: dict[str, type[Any]] = {
    "validated": Validated,
    "refused": Refused,
    "chunk_done": ChunkDone,
    "closed": Closed,
    "finalizing": Finalizing,
    "finished": Finished,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def dump_batch(batch: Batch) -> bytes:
    """A batch as JSON."""
    return orjson.dumps({**asdict(batch), "done_chunks": sorted(batch.done_chunks)})


def load_batch(document: bytes) -> Batch:
    """Undo :func:`dump_batch`; fields of a later release are passed over."""
    known = {field.name for field in fields(Batch)}
    found = {name: value for name, value in orjson.loads(document).items() if name in known}
    found["status"] = BatchStatus(found["status"])
    found["done_chunks"] = frozenset(found["done_chunks"])
    found["errors"] = tuple(LineError(**error) for error in found["errors"])
    return Batch(**found)


def dump_event(event: Event) -> bytes:
    """An event as JSON, with its kind."""
    return orjson.dumps({"event": _NAMES[type(event)], **asdict(event)})


def load_event(document: bytes) -> Event:
    """Undo :func:`dump_event`.

    Raises:
        ValueError: a kind that this release does not know.
    """
    found = orjson.loads(document)
    kind = _KINDS.get(found.pop("event"))
    if kind is None:
        raise ValueError("an event of a later release")
    if kind is Refused:
        found["errors"] = tuple(LineError(**error) for error in found["errors"])
    event: Event = kind(**found)
    return event


def replay(first: Batch, events: Iterable[Event]) -> Batch:
    """A batch from its journal."""
    batch = first
    for event in events:
        batch = apply(batch, event)
    return batch
