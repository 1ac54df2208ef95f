"""What the lines of a batch cost: a hold for each, under an id that its batch and line give.

Whoever works on a line finds the hold that another took before, so a line that is computed twice is
charged once. A hold lives longer than its batch, because its worker may die and nobody be there to
go on for hours; it is ended by whoever knows what became of its line.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence

import orjson

from app.core.batch.chunk import LineHold, line_digest
from app.core.batch.state import Batch
from app.core.directory import Project
from app.core.errors import EmbedgateError
from app.core.ledger_types import Charge, HoldState, Refused, Settlement, Terms
from app.core.money import cost_nano_usd
from app.core.rates import Rates
from app.core.tiers import Tier
from app.services.batches.patience import until_answered
from app.services.batches.ports import BatchLedger
from app.services.refusals import error_of

logger = logging.getLogger("ray.serve.embedgate")

_OUTLIVES_MS = 48 * 3600 * 1000
_ROUNDS = 3


class BatchMoney:
    """The holds of one batch. Waits while the store is away.

    Args:
        ledger: where they are.
        project: who pays. Its rates do not bind a batch, its budgets do.
        batch: validated, so that its price is known.
        now_ms: Unix time.
    """

    def __init__(self, ledger: BatchLedger, project: Project, batch: Batch, *, now_ms: int) -> None:
        self._ledger = ledger
        self._project_id = project.project_id
        self._batch = batch
        self._remember_ms = max(0, batch.expires_at_ms - now_ms) + _OUTLIVES_MS
        budgets = project.budgets
        self._terms = Terms(monthly_tokens=budgets.monthly_tokens, monthly_nano_usd=budgets.monthly_nano_usd)

    async def hold(self, line: LineHold) -> HoldState:
        """Take a line's hold, or find it.

        Returns:
            HELD, or CAPTURED when another worker came that far; any other state means that its chunk
            was settled by somebody else.

        Raises:
            PaymentRequired: the project cannot pay for it.
            HoldConflict: it was taken for something else; a bug.
        """
        (answer,) = await self.hold_all([line])
        if isinstance(answer, EmbedgateError):
            raise answer
        return answer

    async def hold_all(self, lines: Sequence[LineHold]) -> "list[HoldState | EmbedgateError]":
        """:meth:`hold` for each of many lines, in order; what it would raise for one stands in its place."""
        charges = [self._charge(line) for line in lines]
        answers = await until_answered(
            lambda: self._ledger.admit_all(self._project_id, charges, self._terms, ttl_ms=self._remember_ms)
        )
        return [
            error_of(answer.refusal, self._terms, charge, Rates(None, None))
            if isinstance(answer, Refused)
            else answer.receipt.state
            for charge, answer in zip(charges, answers, strict=True)
        ]

    async def charge_all(self, lines: Sequence[LineHold], *, is_wanted: Callable[[], Awaitable[bool]]) -> None:
        """Capture what succeeded and undo the rest.

        Args:
            lines: of the chunk.
            is_wanted: see :meth:`capture`.
        """
        settlements = [
            (self._hold_id(line.number), Settlement.CAPTURE, self.amount_nano_usd(line))
            if line.succeeded
            else (self._hold_id(line.number), Settlement.UNDELIVERED, 0)
            for line in lines
        ]
        receipts = await until_answered(
            lambda: self._ledger.settle_all(self._project_id, settlements, retain_ms=self._remember_ms)
        )
        for line, receipt in zip(lines, receipts, strict=True):
            if line.succeeded and (receipt is None or receipt.state is not HoldState.CAPTURED):
                await self.capture(line, is_wanted=is_wanted)

    async def capture(self, line: LineHold, *, is_wanted: Callable[[], Awaitable[bool]]) -> None:
        """Charge a line that succeeded. One that the store forgot when it crashed is held and charged again.

        Args:
            line: of the chunk.
            is_wanted: whether its chunk is still not counted. One that is was charged, and may be forgotten since.
        """
        for _ in range(_ROUNDS):
            state = await self._settle(line, Settlement.CAPTURE)
            if state is HoldState.CAPTURED:
                return
            if state is not None:
                break
            if not await is_wanted():
                return
            try:
                await self.hold(line)
            except EmbedgateError as error:
                logger.error("line %d of %s cannot be charged again: %s", line.number, self._batch.batch_id, error)
                return
        logger.error("line %d of %s stays uncharged", line.number, self._batch.batch_id)

    async def release(self, line: LineHold) -> None:
        """Give back what was held for a line that is not charged; what was captured stays."""
        await self._settle(line, Settlement.RELEASE)

    async def undo(self, number: int) -> None:
        """Give back what a line may have cost: nobody will hand out what was computed."""
        hold_id = self._hold_id(number)
        await until_answered(lambda: self._ledger.settle(self._project_id, hold_id, Settlement.UNDELIVERED, 0))

    async def let_go(self, lines: Sequence[LineHold]) -> None:
        """Nobody will ask for these any more."""
        hold_ids = [self._hold_id(line.number) for line in lines]
        if hold_ids:
            await until_answered(lambda: self._ledger.let_go(self._project_id, hold_ids))

    async def _settle(self, line: LineHold, verb: Settlement) -> HoldState | None:
        charge = self._charge(line)
        receipt = await until_answered(
            lambda: self._ledger.settle(
                self._project_id, charge.hold_id, verb, charge.amount_nano_usd, retain_ms=self._remember_ms
            )
        )
        return receipt.state if receipt else None

    def _hold_id(self, number: int) -> str:
        return f"{self._batch.batch_id}:{number}"

    def amount_nano_usd(self, line: LineHold) -> int:
        """What a line costs."""
        return cost_nano_usd(
            line.tokens,
            price_nano_usd_per_mtok=self._batch.price_nano_usd_per_mtok,
            multiplier_thousandths=self._batch.multiplier_thousandths,
        )

    def _charge(self, line: LineHold) -> Charge:
        batch = self._batch
        details = {
            "request_id": f"req_{line_digest(batch.batch_id, line.number)}",
            "endpoint": batch.endpoint_slug,
            "key_id": batch.key_id,
            "user": line.user,
            "tier": Tier.BATCH.value,
            "cached_tokens": 0,
            "price_nano_usd_per_mtok": batch.price_nano_usd_per_mtok,
            "multiplier_thousandths": batch.multiplier_thousandths,
            "batch_id": batch.batch_id,
            "line": line.number,
        }
        told = orjson.dumps(details).decode()
        return Charge(self._hold_id(line.number), self.amount_nano_usd(line), line.tokens, batch.key_id, told)
