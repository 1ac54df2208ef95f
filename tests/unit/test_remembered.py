"""Made once for all who ask, shown again for a while, and made anew after a failure."""

import asyncio

import pytest

from app.services.remembered import Remembered


class Maker:
    def __init__(self) -> None:
        self.made = 0
        self.now_s = 100.0
        self.fails = False

    async def make(self) -> int:
        await asyncio.sleep(0.01)
        if self.fails:
            raise RuntimeError
        self.made += 1
        return self.made


async def test_all_who_ask_meanwhile_get_one() -> None:
    maker = Maker()
    remembered = Remembered(maker.make, valid_s=5, clock_s=lambda: maker.now_s)
    assert await asyncio.gather(*(remembered.get() for _ in range(20))) == [1] * 20
    maker.now_s += 4.9
    assert await remembered.get() == 1
    maker.now_s += 0.1
    assert await remembered.get() == 2


async def test_a_clock_that_was_set_back_keeps_nothing_alive() -> None:
    maker = Maker()
    remembered = Remembered(maker.make, valid_s=5, clock_s=lambda: maker.now_s)
    await remembered.get()
    maker.now_s -= 3600
    assert await remembered.get() == 2


async def test_a_failure_is_not_remembered() -> None:
    maker = Maker()
    remembered = Remembered(maker.make, valid_s=5, clock_s=lambda: maker.now_s)
    maker.fails = True
    with pytest.raises(RuntimeError):
        await remembered.get()
    maker.fails = False
    assert await remembered.get() == 1
