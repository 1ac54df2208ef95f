import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import InvalidEngineReply
from app.core.packing import compress_vector, cut, expand_vector, pack_items, unpack_items, unpack_vectors
from tests.fakes import fake_vector

items = st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=20), min_size=1, max_size=20)


@given(items)
def test_items_survive_the_journey(given_items: list[list[int]]) -> None:
    packed = pack_items([np.array(item, np.int32) for item in given_items])
    assert [item.tolist() for item in unpack_items(*packed)] == given_items


@pytest.mark.parametrize(
    ("lengths", "ids"), [(b"", b""), (b"\1\0\0\0", b""), (b"\0\0\0\0", b""), (b"\2\0\0\0", b"\1\0\0\0")]
)
def test_parts_that_do_not_fit_are_refused(lengths: bytes, ids: bytes) -> None:
    with pytest.raises(ValueError, match="bug"):
        unpack_items(lengths, ids)


def test_empty_items_are_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        pack_items([np.array([], np.int32)])


def test_replies_are_checked() -> None:
    good = np.stack([fake_vector([1], 8), fake_vector([2], 8)])
    assert np.array_equal(unpack_vectors(good.tobytes(), count=2, dimensions=8), good)
    for bad in (good.tobytes()[:-1], good[:1].tobytes(), (good * 1.5).tobytes(), (good * np.nan).tobytes(), b""):
        with pytest.raises(InvalidEngineReply):
            unpack_vectors(bad, count=2, dimensions=8)
    zero = good.copy()
    zero[1] = 0
    with pytest.raises(InvalidEngineReply):
        unpack_vectors(zero.tobytes(), count=2, dimensions=8)


@given(st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_kept_vectors_come_back_bit_by_bit(dimensions: int, seed: int) -> None:
    vector = fake_vector([seed % 2**31, seed // 2**31], dimensions)
    kept = compress_vector(vector)
    back = expand_vector(kept, dimensions=dimensions)
    assert back.tobytes() == vector.tobytes()
    for bad in (kept[:-3], kept[1:], zlib.compress(bytes(10**6)), compress_vector(vector * 1.5), b""):
        with pytest.raises(InvalidEngineReply):
            expand_vector(bad, dimensions=dimensions)
    with pytest.raises(InvalidEngineReply):
        expand_vector(kept, dimensions=dimensions + 1)


@given(st.integers(1, 384))
def test_a_cut_vector_has_length_one(dimensions: int) -> None:
    vector = fake_vector([1, 2, 3], 384)
    short = cut(vector, dimensions)
    assert short.dtype == np.float32
    assert short.shape == (dimensions,)
    assert np.linalg.norm(short) == pytest.approx(1, abs=1e-6)
    assert np.allclose(short * np.linalg.norm(vector[:dimensions]), vector[:dimensions], atol=1e-6)
