"""A fault at every point where a request waits for the ledger: one terminal state, nothing leaked."""

import asyncio
import itertools
import time
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from app.core.errors import DependencyDown, EmbedgateError
from app.core.ledger_types import Terms
from app.core.ports import AdmissionRequest
from app.core.tiers import Tier
from app.services.admission import HOLD_MARGIN_MS, LedgerAdmission
from app.services.unsettled import Unsettled
from app.stores.redis_client import PATIENT_S
from app.stores.redis_ledger import RedisLedger
from app.stores.redis_wire import RedisWire
from app.stores.script_pipe import ScriptPipe
from tests.fakes import RecordingMetrics
from tests.ledger.lab import RETAIN_MS, Lab, on_set_clock

TIMEOUT_MS = 1000
PRICE = 10**9
TOKENS = 5
COST = 5_000_000


class Crash(BaseException):
    """The process ends here."""


class FaultyWire(RedisWire):
    """Fails one call: "before" it is sent, or "after" it was applied and before its answer was read."""

    def __init__(self, url: str, *, at_call: int, when: str, error: BaseException) -> None:
        super().__init__(url)
        self._calls = itertools.count()
        self._at_call, self._when, self._error = at_call, when, error

    async def call(self, *command: Any) -> Any:
        if command[0] == "EVALSHA" and next(self._calls) == self._at_call:
            if self._when == "before":
                raise self._error
            await super().call(*command)
            raise self._error
        return await super().call(*command)


class Gateway:
    """What a gateway does with money, and nothing else."""

    def __init__(self, lab: Lab, wire: RedisWire) -> None:
        ledger = RedisLedger(
            lab._client, ScriptPipe(wire, clock_s=time.monotonic), retain_ms=RETAIN_MS, edit=on_set_clock
        )
        metrics = RecordingMetrics()
        self.unsettled = Unsettled(ledger, metrics, clock_s=time.monotonic)
        self.admission = LedgerAdmission(
            ledger,
            self.unsettled,
            multipliers=dict.fromkeys(Tier, 1000),
            metrics=metrics,
            clock_us=lambda: 0,
            new_hold_id=lambda: "hold_1",
        )

    async def serve(self, *, fails: bool, ahead: bool = False) -> None:
        request = AdmissionRequest(
            request_id="req_1",
            project_id="proj_lab",
            endpoint_slug="e",
            key_id="key_1",
            user=None,
            tier=Tier.DEFAULT,
            charged_tokens=TOKENS,
            cached_tokens=0,
            price_nano_usd_per_mtok=PRICE * 1000,
            terms=Terms(monthly_tokens=1000),
            timeout_ms=TIMEOUT_MS,
        )
        hold = await self.admission.admit(request)
        assert hold.amount_nano_usd == COST
        if ahead:
            hold.begin_capture()
        if fails:
            await hold.release()
            raise EmbedgateError("the engine failed, or the writing of the answer")
        await hold.capture()


@pytest.mark.parametrize("ahead", [False, True], ids=["", "sent ahead"])
@pytest.mark.parametrize("fails", [False, True], ids=["answered", "engine fails"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at_call", [0, 1], ids=["admit", "settle"])
def test_a_lost_answer(redis_url: str, at_call: int, when: str, fails: bool, ahead: bool) -> None:
    """The gateway lives on: it undoes what it does not know, and charges for nothing that it did not answer."""
    with Lab(redis_url) as lab:
        lab.grant(10**9)
        wire = FaultyWire(redis_url, at_call=at_call, when=when, error=RedisConnectionError("lost"))
        gateway = Gateway(lab, wire)

        async def scene() -> None:
            with pytest.raises(EmbedgateError):
                await gateway.serve(fails=fails, ahead=ahead)
            await asyncio.wait_for(gateway.unsettled.drained(), 5)
            assert len(gateway.unsettled) == 0

        lab.run(scene())
        balance = lab.state().balance
        assert (balance.available, balance.held) == (10**9, 0)
        assert lab.state().month_tokens == 0
        lab.check()


@pytest.mark.parametrize("point", ["before admit", "after admit", "before settle", "after settle"])
def test_the_gateway_dies_and_another_tries_again(redis_url: str, point: str) -> None:
    """Nobody undoes anything; the same id is tried again, and then the deadline does the rest."""
    when, _, name = point.partition(" ")
    with Lab(redis_url) as lab:
        lab.grant(10**9)
        wire = FaultyWire(redis_url, at_call=int(name == "settle"), when=when, error=Crash())

        async def scene() -> None:
            doomed = Gateway(lab, wire)
            with pytest.raises(Crash):
                await doomed.serve(fails=False)
            if doomed.unsettled._worker is not None:
                doomed.unsettled._worker.cancel()

        lab.run(scene())
        captured_before = lab.state().balance.captured

        async def again() -> bool:
            try:
                await Gateway(lab, RedisWire(redis_url, timeout_s=PATIENT_S)).serve(fails=False)
            except EmbedgateError:
                return False
            return True

        answered = lab.run(again())
        assert answered is (captured_before == 0)
        lab.advance((TIMEOUT_MS + HOLD_MARGIN_MS) * 1000)
        lab.reap()
        balance = lab.state().balance
        assert (balance.held, balance.captured) == (0, COST)
        lab.check()


@pytest.mark.parametrize("name", ["admit", "settle"])
def test_a_client_that_leaves_in_the_middle_of_a_call(redis_url: str, name: str) -> None:
    """Cancelled while the ledger works: whatever the ledger did is undone."""
    with Lab(redis_url) as lab:
        lab.grant(10**9)

        class SlowWire(RedisWire):
            seen = 0

            async def call(self, *command: Any) -> Any:
                reply = await super().call(*command)
                if command[0] == "EVALSHA":
                    SlowWire.seen += 1
                    if SlowWire.seen == (1 if name == "admit" else 2):
                        await asyncio.sleep(0.2)
                return reply

        async def scene() -> None:
            gateway = Gateway(lab, SlowWire(redis_url))
            task = asyncio.create_task(gateway.serve(fails=False))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(gateway.unsettled.drained(), 5)

        lab.run(scene())
        balance = lab.state().balance
        assert (balance.available, balance.held) == (10**9, 0)
        lab.check()


def test_a_store_that_hangs_is_given_up_in_time(redis_url: str) -> None:
    """Within 250 ms and a little; those who come after it do not wait at all."""

    class DeafWire(RedisWire):
        async def call(self, *command: Any) -> Any:
            await asyncio.sleep(0.25)
            raise TimeoutError

    with Lab(redis_url) as lab:

        async def scene() -> list[float]:
            gateway = Gateway(lab, DeafWire(redis_url))
            took_s = []

            async def one() -> None:
                began_s = time.monotonic()
                with pytest.raises(DependencyDown):
                    await gateway.serve(fails=False)
                took_s.append(time.monotonic() - began_s)

            for _ in range(20):
                await asyncio.gather(*(one() for _ in range(5)))
            return took_s

        took_s = lab.run(scene())
        assert max(took_s) < 0.4
        assert sorted(took_s)[len(took_s) // 2] < 0.05, "most did not even try"
