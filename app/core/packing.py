"""How token ids and vectors travel between gateway and embedder: bytes, nothing else.

``n`` items are two little-endian int32 arrays: the ``n`` lengths, and all token ids one after the
other. Their vectors are ``n × dimensions`` little-endian float32. Both ends assert what they pack
and what they unpack.
"""

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.errors import InvalidEngineReply

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


def compress_vector(vector: Vector) -> bytes:
    """A vector's float32 numbers without loss: their bytes by significance, then deflate.

    Signs and exponents of numbers of like size repeat; what follows them does not.
    """
    planes = np.ascontiguousarray(vector.astype("<f4", copy=False).view(np.uint8).reshape(-1, 4).T)
    return zlib.compress(planes.tobytes(), 1)


def expand_vector(data: bytes, *, dimensions: int) -> Vector:
    """Undo :func:`compress_vector`; the result is read-only.

    Raises:
        InvalidEngineReply: not a vector of so many dimensions and of length one.
    """
    inflater = zlib.decompressobj()
    try:
        planes = inflater.decompress(data, 4 * dimensions + 1)
        if not inflater.eof:  # the checksum may be left, and nothing else
            planes += inflater.decompress(inflater.unconsumed_tail, 1)
    except zlib.error:
        planes = b""
    if len(planes) != 4 * dimensions or not inflater.eof:
        raise InvalidEngineReply(f"Kept bytes are no vector of {dimensions} numbers. Tell the operator.")
    vector = np.frombuffer(planes, np.uint8).reshape(4, -1).T.copy().view("<f4").reshape(-1)
    check_norms(vector[None])
    vector.setflags(write=False)
    return vector


def cut(vector: Vector, dimensions: int) -> Vector:
    """The first ``dimensions`` numbers, renormalised to length one (Matryoshka truncation)."""
    if dimensions == len(vector):
        return vector
    head = vector[:dimensions]
    return (head / np.linalg.norm(head)).astype(np.float32)
