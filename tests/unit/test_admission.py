"""Admission while the store is away: what costs money is refused, what is free is bounded here."""

import asyncio
import dataclasses
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from app.core import metric_names as names
from app.core.errors import DependencyDown, NotAsked, RateLimited
from app.core.ledger_types import Admitted, HoldState, Limits, Receipt, Settlement, Terms
from app.core.ports import AdmissionRequest
from app.core.tiers import Tier
from app.services.admission import LedgerAdmission
from app.services.unsettled import Unsettled
from tests.fakes import FakeClock, RecordingMetrics

REQUEST = AdmissionRequest(
    request_id="req_1",
    project_id="proj_1",
    endpoint_slug="e",
    key_id="key_1",
    user=None,
    tier=Tier.DEFAULT,
    charged_tokens=0,
    cached_tokens=9,
    price_nano_usd_per_mtok=10**9,
    terms=Terms(project=Limits(requests_per_minute=60, request_burst=2)),
    timeout_ms=1000,
)


T = TypeVar("T")


class AwayLedger:
    error: DependencyDown = DependencyDown("away")

    async def admit(self, *_: object, **__: object) -> object:
        raise self.error

    async def settle(
        self, project_id: str, hold_id: str, verb: Settlement, amount: int, *, retain_ms: int | None = None
    ) -> Receipt | None:
        raise self.error


class SlowLedger:
    """Is asked at the call and answers a little later; ``receipts`` are what settling gives."""

    def __init__(self, *receipts: Receipt | DependencyDown | None) -> None:
        self.receipts = list(receipts)
        self.asked: list[str] = []
        self.under_way = self.most_under_way = 0

    def admit(self, *_: object, **__: object) -> Coroutine[Any, Any, Admitted]:
        self._ask("admit")
        return self._answer(Admitted(Receipt(HoldState.HELD, 0, 0), (-1,) * 4))

    def settle(
        self, _project_id: str, _hold_id: str, verb: Settlement, *_: object, **__: object
    ) -> Coroutine[Any, Any, Receipt | None]:
        self._ask(verb.value)
        return self._answer(self.receipts.pop(0))

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)

    async def _answer(self, answer: T | DependencyDown) -> T:
        await asyncio.sleep(0.01)
        self.under_way -= 1
        if isinstance(answer, DependencyDown):
            raise answer
        return answer


class House:
    def __init__(self, ledger: AwayLedger | SlowLedger | None = None) -> None:
        self.ledger = ledger or AwayLedger()
        self.metrics = RecordingMetrics()
        self.clock = FakeClock()
        self.unsettled = Unsettled(self.ledger, self.metrics, clock_s=self.clock)  # type: ignore[arg-type]
        self.admission = LedgerAdmission(
            self.ledger,  # type: ignore[arg-type]
            self.unsettled,
            multipliers=dict.fromkeys(Tier, 1000),
            metrics=self.metrics,
            clock_us=lambda: int(self.clock() * 1_000_000),
            new_hold_id=lambda: "hold_1",
        )


async def test_what_is_free_keeps_its_rate_in_this_gateway_and_is_counted() -> None:
    house = House()
    for _ in range(2):
        hold = await house.admission.admit(REQUEST)
        assert hold.amount_nano_usd == 0
        await hold.capture()
        await hold.release()
    with pytest.raises(RateLimited) as caught:
        await house.admission.admit(REQUEST)
    assert caught.value.wait_us == 1_000_000
    house.clock.advance(1)
    await house.admission.admit(REQUEST)
    assert house.metrics.counts[names.LOCAL_ADMISSIONS] == 3


async def test_what_costs_money_is_refused() -> None:
    house = House()
    with pytest.raises(DependencyDown):
        await house.admission.admit(dataclasses.replace(REQUEST, charged_tokens=1))
    assert len(house.unsettled) == 1, "the ledger may have taken the hold all the same"


async def test_what_was_never_sent_needs_no_undoing() -> None:
    house = House()
    house.ledger.error = NotAsked("away")  # type: ignore[union-attr]
    with pytest.raises(DependencyDown):
        await house.admission.admit(dataclasses.replace(REQUEST, charged_tokens=1))
    assert len(house.unsettled) == 0


CAPTURED = Receipt(HoldState.CAPTURED, 0, 0)
COSTLY = dataclasses.replace(REQUEST, charged_tokens=9)


async def test_what_is_at_hand_is_held_and_settled_in_one_round_trip() -> None:
    ledger = SlowLedger(CAPTURED)
    hold = await House(ledger).admission.admit(REQUEST)
    assert ledger.asked == ["admit", "capture"]
    assert ledger.most_under_way == 2
    await hold.capture()
    assert ledger.asked == ["admit", "capture"]


async def test_what_was_settled_early_is_undone_when_its_answer_fails() -> None:
    house = House(SlowLedger(CAPTURED, Receipt(HoldState.REFUNDED, 0, 0)))
    hold = await house.admission.admit(REQUEST)
    await hold.release()
    assert len(house.unsettled) == 1
    await house.unsettled.drained()
    assert house.ledger.asked == ["admit", "capture", "undelivered"]  # type: ignore[union-attr]


async def test_what_is_given_up_meanwhile_is_undone() -> None:
    house = House(SlowLedger(CAPTURED, Receipt(HoldState.REFUNDED, 0, 0)))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.002):
            await house.admission.admit(REQUEST)
    assert len(house.unsettled) == 1
    await house.unsettled.drained()
    assert house.ledger.asked[-1] == "undelivered"  # type: ignore[union-attr]


@pytest.mark.parametrize("first", [None, DependencyDown("lost")])
async def test_a_capture_that_came_to_nothing_is_asked_for_again(first: DependencyDown | None) -> None:
    ledger = SlowLedger(first, CAPTURED)
    hold = await House(ledger).admission.admit(REQUEST)
    await hold.capture()
    assert ledger.asked == ["admit", "capture", "capture"]


async def test_what_is_to_be_computed_is_settled_when_it_is() -> None:
    ledger = SlowLedger(CAPTURED)
    hold = await House(ledger).admission.admit(COSTLY)
    assert ledger.asked == ["admit"]
    await hold.capture()
    assert ledger.asked == ["admit", "capture"]


@pytest.mark.parametrize("receipt", [CAPTURED, None, DependencyDown("lost")])
async def test_a_capture_that_was_sent_ahead_is_undone_when_its_answer_fails(
    receipt: Receipt | DependencyDown | None,
) -> None:
    house = House(SlowLedger(receipt, Receipt(HoldState.REFUNDED, 0, 0)))
    hold = await house.admission.admit(COSTLY)
    hold.begin_capture()
    await hold.release()
    await house.unsettled.drained()
    assert house.ledger.asked == ["admit", "capture", "undelivered"]  # type: ignore[union-attr]


async def test_a_capture_that_was_sent_ahead_is_asked_for_once() -> None:
    ledger = SlowLedger(CAPTURED)
    hold = await House(ledger).admission.admit(COSTLY)
    hold.begin_capture()
    await hold.capture()
    assert ledger.asked == ["admit", "capture"]


async def test_a_capture_that_was_sent_ahead_in_vain_keeps_the_answer_back_and_is_undone() -> None:
    house = House(SlowLedger(DependencyDown("lost"), Receipt(HoldState.REFUNDED, 0, 0)))
    hold = await house.admission.admit(COSTLY)
    hold.begin_capture()
    with pytest.raises(DependencyDown):
        await hold.capture()
    await house.unsettled.drained()
    assert house.ledger.asked == ["admit", "capture", "undelivered"]  # type: ignore[union-attr]


async def test_unknown_holds_are_given_up_only_when_the_store_has_forgotten_them() -> None:
    house = House()
    house.unsettled.add("proj_1", "hold_1")
    house.clock.advance(839)
    assert len(house.unsettled) == 1
    house.clock.advance(2)
    await house.unsettled.drained()
    assert len(house.unsettled) == 0
