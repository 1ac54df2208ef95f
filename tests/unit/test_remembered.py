"""Made once for all who ask, shown again for a while, and made anew after a failure."""

import asyncio

import pytest

from app.services.remembered import Remembered

VALID_S = 0.2


class Maker:
    def __init__(self, takes_s: float = 0.02) -> None:
        self.takes_s = takes_s
        self.begun = 0
        self.fails = False

    async def make(self) -> int:
        self.begun += 1
        own = self.begun
        await asyncio.sleep(self.takes_s)
        if self.fails:
            raise RuntimeError
        return own


async def test_it_is_shown_again_for_a_while() -> None:
    maker = Maker()
    remembered = Remembered(maker.make, valid_s=VALID_S)
    assert await remembered.get() == await remembered.get() == 1
    await asyncio.sleep(VALID_S)
    assert await remembered.get() == 2


async def test_all_who_ask_meanwhile_get_one_however_long_it_takes() -> None:
    maker = Maker(takes_s=2 * VALID_S)
    remembered = Remembered(maker.make, valid_s=VALID_S)
    assert await asyncio.gather(*(remembered.get() for _ in range(20))) == [1] * 20


async def test_a_failure_is_everybodys_and_not_remembered() -> None:
    maker = Maker()
    remembered = Remembered(maker.make, valid_s=VALID_S)
    maker.fails = True
    found = await asyncio.gather(*(remembered.get() for _ in range(20)), return_exceptions=True)
    assert all(isinstance(one, RuntimeError) for one in found) and maker.begun == 1
    maker.fails = False
    assert await remembered.get() == 2


async def test_the_first_who_asked_may_leave() -> None:
    maker = Maker()
    remembered = Remembered(maker.make, valid_s=VALID_S)
    first = asyncio.create_task(remembered.get())
    await asyncio.sleep(0)
    second = asyncio.create_task(remembered.get())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == 1
    assert maker.begun == 1
