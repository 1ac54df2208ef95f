"""Admission: rates, budgets, standing and the hold, together.

The cost is exact before dispatch, because the tokens are counted at the gateway. While the store
is away, what costs money is refused; what costs nothing is let in under the same rates, kept by
this gateway alone, and counted as such.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import orjson
from cachetools import LRUCache

from app.core import metric_names as names
from app.core.errors import CapacityExceeded, DependencyDown, EmbedgateError, NotAsked
from app.core.gcra import Bucket, wait_us
from app.core.ledger_types import Admitted, Charge, HoldState, Receipt, Refusal, RefusalReason, Refused, Settlement
from app.core.money import cost_nano_usd
from app.core.ports import AdmissionRequest, Hold, Ledger, Metrics
from app.core.rates import Rates, rates_of
from app.core.tiers import Tier
from app.services.refusals import error_of
from app.services.unsettled import Unsettled

HOLD_MARGIN_MS = 30_000
"""A hold outlives its request's deadline by this much: no living gateway settles later."""

_LOCAL_BUCKETS = 100_000


class LedgerHold:
    """A hold on the ledger; see ``Hold``."""

    def __init__(
        self,
        ledger: Ledger,
        unsettled: Unsettled,
        project_id: str,
        charge: Charge,
        *,
        rates: Rates,
        retain_ms: int | None,
    ) -> None:
        self._ledger = ledger
        self._unsettled = unsettled
        self._project_id = project_id
        self._charge = charge
        self._retain_ms = retain_ms
        self._capturing: Coroutine[Any, Any, Receipt | None] | None = None
        self.rates = rates

    @property
    def amount_nano_usd(self) -> int:
        """What the request costs."""
        return self._charge.amount_nano_usd

    def begin_capture(self) -> None:
        """Send the capture."""
        self._capturing = self._settle(Settlement.CAPTURE)

    async def capture(self) -> None:
        """Settle.

        Raises:
            CapacityExceeded: the hold had expired, and nothing is charged.
            DependencyDown: nobody knows; it is undone as soon as the store answers.
        """
        capturing, self._capturing = self._capturing or self._settle(Settlement.CAPTURE), None
        try:
            receipt = await capturing
        except BaseException:
            self.abandon()
            raise
        if receipt is None or receipt.state is not HoldState.CAPTURED:
            raise CapacityExceeded("The request took longer than its hold; nothing was charged. Try again.")

    async def release(self) -> None:
        """Give everything back, now or as soon as the store answers."""
        if self._capturing is not None:
            capturing, self._capturing = self._capturing, None
            try:
                with contextlib.suppress(EmbedgateError):
                    await capturing
            finally:
                self.abandon()
            return
        try:
            await self._settle(Settlement.RELEASE)
        except EmbedgateError:
            self.abandon()

    def abandon(self) -> None:
        """End the hold in the customer's favour, in the background, whatever became of it."""
        self._unsettled.add(self._project_id, self._charge.hold_id)

    def _settle(self, verb: Settlement) -> Coroutine[Any, Any, Receipt | None]:
        charge = self._charge
        return self._ledger.settle(
            self._project_id, charge.hold_id, verb, charge.amount_nano_usd, retain_ms=self._retain_ms
        )


class SettledHold:
    """A hold that was captured as it was taken, because there was nothing to compute; see ``Hold``."""

    def __init__(self, unsettled: Unsettled, project_id: str, hold_id: str, *, rates: Rates) -> None:
        self._unsettled = unsettled
        self._project_id = project_id
        self._hold_id = hold_id
        self.rates = rates
        self.amount_nano_usd = 0

    def begin_capture(self) -> None:
        """Done already."""

    async def capture(self) -> None:
        """Done already."""

    async def release(self) -> None:
        """Undo the capture in the background: the caller got no answer, and neither rate nor usage counts it."""
        self._unsettled.add(self._project_id, self._hold_id)


class FreeHold:
    """The hold of a request that costs nothing, let in while the store was away."""

    def __init__(self, rates: Rates) -> None:
        self.rates = rates
        self.amount_nano_usd = 0

    def begin_capture(self) -> None:
        """Nothing to settle."""

    async def capture(self) -> None:
        """Nothing to settle."""

    async def release(self) -> None:
        """Nothing to give back."""


class LedgerAdmission:
    """``Admission`` on the ledger.

    Args:
        ledger: the cluster's.
        unsettled: takes holds of an unknown fate.
        multipliers: price of each tier in thousandths.
        metrics: where refusals and local admissions are counted.
        clock_us: monotonic clock, for the local bound only.
        new_hold_id: a fresh id for each hold.
    """

    def __init__(
        self,
        ledger: Ledger,
        unsettled: Unsettled,
        *,
        multipliers: Mapping[Tier, int],
        metrics: Metrics,
        clock_us: Callable[[], int],
        new_hold_id: Callable[[], str],
    ) -> None:
        self._ledger = ledger
        self._unsettled = unsettled
        self._multipliers = multipliers
        self._metrics = metrics
        self._clock_us = clock_us
        self._new_hold_id = new_hold_id
        self._local: LRUCache[tuple[str, str], Bucket] = LRUCache(_LOCAL_BUCKETS)

    async def admit(self, request: AdmissionRequest) -> Hold:
        """Take a hold. One for which there is nothing to compute is settled in the same round trip.

        Raises:
            RateLimited, BudgetExceeded, InsufficientQuota, BillingDelinquent: nothing was consumed.
            DependencyDown: the request costs money and the store is away.
        """
        charge = self._charge_for(request)
        is_settled = False
        try:
            if request.charged_tokens:
                answer = await self._take(request, charge)
            else:
                answer, is_settled = await self._take_and_settle(request, charge)
        except asyncio.CancelledError:
            self._unsettled.add(request.project_id, charge.hold_id)
            raise
        except DependencyDown as error:
            if not isinstance(error, NotAsked):
                self._unsettled.add(request.project_id, charge.hold_id)
            if charge.amount_nano_usd:
                raise
            return self._admit_locally(request, charge)
        rates = rates_of(request.terms, answer.levels)
        if isinstance(answer, Refused):
            raise self._refused(answer.refusal, request, charge, rates)
        if answer.receipt.state is not HoldState.HELD:
            raise CapacityExceeded("The request was given up before it was admitted; nothing was charged. Try again.")
        if is_settled:
            return SettledHold(self._unsettled, request.project_id, charge.hold_id, rates=rates)
        return LedgerHold(
            self._ledger, self._unsettled, request.project_id, charge, rates=rates, retain_ms=request.retain_ms
        )

    def _take(self, request: AdmissionRequest, charge: Charge) -> Coroutine[Any, Any, Admitted | Refused]:
        ttl_ms = request.timeout_ms + HOLD_MARGIN_MS
        return self._ledger.admit(request.project_id, charge, request.terms, ttl_ms=ttl_ms)

    async def _take_and_settle(self, request: AdmissionRequest, charge: Charge) -> tuple[Admitted | Refused, bool]:
        """Hold and capture in one round trip, and whether the capture is known to have come about.

        The store runs both in the order of their sending; a capture that found no hold, or whose answer
        was lost, is asked for again by the hold itself. A refused request costs a second, idle script.
        """
        taking = self._take(request, charge)
        capturing = self._ledger.settle(
            request.project_id, charge.hold_id, Settlement.CAPTURE, charge.amount_nano_usd, retain_ms=request.retain_ms
        )
        try:
            answer = await taking
        except BaseException:
            asyncio.ensure_future(capturing).add_done_callback(_look_at)
            raise
        try:
            receipt = await capturing
        except EmbedgateError:
            return answer, False
        return answer, receipt is not None and receipt.state is HoldState.CAPTURED

    def _charge_for(self, request: AdmissionRequest) -> Charge:
        multiplier = self._multipliers[request.tier]
        amount = cost_nano_usd(
            request.charged_tokens,
            price_nano_usd_per_mtok=request.price_nano_usd_per_mtok,
            multiplier_thousandths=multiplier,
        )
        details = {
            "request_id": request.request_id,
            "endpoint": request.endpoint_slug,
            "key_id": request.key_id,
            "user": request.user,
            "tier": request.tier.value,
            "cached_tokens": request.cached_tokens,
            "price_nano_usd_per_mtok": request.price_nano_usd_per_mtok,
            "multiplier_thousandths": multiplier,
        }
        hold_id = request.hold_id or self._new_hold_id()
        return Charge(hold_id, amount, request.charged_tokens, request.key_id, orjson.dumps(details).decode())

    def _refused(self, refusal: Refusal, request: AdmissionRequest, charge: Charge, rates: Rates) -> EmbedgateError:
        self._metrics.count(names.ADMISSION_REFUSALS, reason=refusal.reason.value)
        return error_of(refusal, request.terms, charge, rates)

    def _admit_locally(self, request: AdmissionRequest, charge: Charge) -> Hold:
        """Keep the rates in this process alone: all or nothing, as the store would."""
        now_us = self._clock_us()
        filled: dict[str, Bucket] = {}
        for name, (quota, cost) in request.terms.quotas_of(charge).items():
            bucket = self._local.get((request.project_id, name), Bucket()).drained(quota, now_us)
            needed_us = wait_us(bucket, quota, cost)
            if cost > quota.burst or needed_us:
                reason = RefusalReason.LARGER_THAN_BURST if cost > quota.burst else RefusalReason.RATE_LIMITED
                raise self._refused(Refusal(reason, name, needed_us), request, charge, Rates(None, None))
            filled[name] = bucket.filled(cost)
        for name, bucket in filled.items():
            self._local[request.project_id, name] = bucket
        self._metrics.count(names.LOCAL_ADMISSIONS)
        return FreeHold(Rates(None, None))


def _look_at(task: "asyncio.Task[Any]") -> None:
    """Mark a failure as seen: nobody waits for it any more."""
    if not task.cancelled():
        task.exception()
