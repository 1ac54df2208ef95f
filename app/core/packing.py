"""How token ids and vectors travel between gateway and embedder: bytes, nothing else.

A call carries ``n`` items as two little-endian int32 arrays: the ``n`` lengths, and all token
ids one after the other; and whose they are, so that projects get fair shares. The answer is
``n × dimensions`` little-endian float32. Both ends
assert what they pack and what they unpack.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from app.core.errors import InvalidEngineReply

Shares = Sequence[tuple[str, int]]
"""Whose items travel in a call: project and number of items, run after run, in the items' order."""

TokenIds = NDArray[np.int32]
"""Shape ``(tokens,)``."""
Vector = NDArray[np.float32]
"""Shape ``(dimensions,)``."""

NORM_TOLERANCE = 1e-2
"""How far from 1 a normalised vector may be: bfloat16 pooling stays within 4e-3."""


def pack_items(items: Sequence[TokenIds]) -> tuple[bytes, bytes]:
    """Pack token ids into ``(lengths, ids)``.

    Raises:
        ValueError: an item is empty.
    """
    lengths = np.fromiter((len(item) for item in items), dtype="<i4", count=len(items))
    if len(items) == 0 or int(lengths.min()) < 1:
        raise ValueError("an empty item cannot be embedded. This is a bug.")
    ids = np.concatenate(items).astype("<i4", copy=False)
    return lengths.tobytes(), ids.tobytes()


def unpack_items(lengths: bytes, ids: bytes) -> list[TokenIds]:
    """Undo :func:`pack_items`.

    Raises:
        ValueError: the two parts do not fit together.
    """
    counts = np.frombuffer(lengths, dtype="<i4")
    flat = np.frombuffer(ids, dtype="<i4")
    if len(counts) == 0 or int(counts.min()) < 1 or int(counts.sum()) != len(flat):
        raise ValueError(f"{len(counts)} lengths do not describe {len(flat)} token ids. This is a bug.")
    return np.split(flat, np.cumsum(counts)[:-1])


def shares_of(projects: Iterable[str]) -> list[tuple[str, int]]:
    """Runs of the same project."""
    return [(project, sum(1 for _ in run)) for project, run in groupby(projects)]


def projects_of(shares: Shares, *, count: int) -> list[str]:
    """The project of each of ``count`` items; "" for those that no share names."""
    named = [project for project, number in shares for _ in range(number)]
    return [*named[:count], *[""] * (count - len(named))]


def unpack_vectors(reply: bytes, *, count: int, dimensions: int) -> NDArray[np.float32]:
    """Read a reply as a ``(count, dimensions)`` array and check every norm.

    Raises:
        InvalidEngineReply: wrong size, or a vector that is not finite and of length one.
    """
    if len(reply) != count * dimensions * 4:
        raise InvalidEngineReply(
            f"The model's replica answered {len(reply)} bytes where {count} vectors of {dimensions} float32 "
            "were expected; nothing was returned. Tell the operator."
        )
    vectors = np.frombuffer(reply, dtype="<f4").reshape(count, dimensions)
    check_norms(vectors)
    return vectors


def check_norms(vectors: NDArray[np.float32]) -> None:
    """Assert that every row of ``(count, dimensions)`` has length one.

    Raises:
        InvalidEngineReply: one does not.
    """
    squares = np.einsum("ij,ij->i", vectors, vectors)
    if not bool(np.all(np.abs(squares - 1.0) <= 2 * NORM_TOLERANCE)):  # NaN compares false
        raise InvalidEngineReply("The model's replica answered a vector that is not of length one. Tell the operator.")


def cut(vector: Vector, dimensions: int) -> Vector:
    """The first ``dimensions`` numbers, renormalised to length one (Matryoshka truncation)."""
    if dimensions == len(vector):
        return vector
    head = vector[:dimensions]
    return (head / np.linalg.norm(head)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class EmbedReply:
    """What a replica answers: vectors, or why there are none.

    Attributes:
        vectors: packed float32, or None.
        failure: an ``EngineFault``, "capacity", "deadline" or "invalid", where there are no vectors.
        message: one sentence on the failure.
    """

    vectors: bytes | None
    failure: str = ""
    message: str = ""
