"""Ids drawn in bulk: as long and as different as those drawn one by one."""

from itertools import count

from deployments.fresh_ids import FreshIds


def test_ids_are_never_given_twice() -> None:
    fresh = FreshIds("req_")
    given = [fresh() for _ in range(5000)]
    assert len(set(given)) == 5000
    assert {len(one) for one in given} == {4 + 24}


def test_every_random_byte_is_used_once() -> None:
    numbers = count()

    def source(size: int) -> bytes:
        return b"".join(next(numbers).to_bytes(4, "big") for _ in range(size // 4))

    fresh = FreshIds("", source)
    parts = [bytes.fromhex(fresh()) for _ in range(2000)]
    assert b"".join(parts) == b"".join(n.to_bytes(4, "big") for n in range(2000 * 3))
