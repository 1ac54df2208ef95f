"""``Idempotency-Key``: the same key and body within a day gets the first answer, and is charged once.

The first request to come becomes the one who answers; others with its key wait for it. The answer
is kept before it is paid for. If its gateway is killed on the way, the next attempt takes over
when the lease is over, and first undoes what the lost attempt may have held or captured.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass

from app.core.answer_ports import AnswerClaim, AnswerRecords, Answers, AnswerState
from app.core.errors import Conflict, DeadlineExceeded, DependencyDown
from app.core.journal import day_of
from app.core.ledger_types import Settlement
from app.core.ports import Ledger

LEASE_MARGIN_MS = 15_000
_POLL_S = 0.05

Work = Callable[[str], AbstractAsyncContextManager[bytes]]
"""Answers a request under the hold of the given id; it is paid for when the block ends."""


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request with a key: ``body`` is everything that makes it the same request."""

    project_id: str
    key: str
    body: bytes
    timeout_ms: int


class Idempotency:
    """Runs requests once.

    Args:
        records: who answers.
        answers: what was answered.
        ledger: where a lost attempt is undone.
        wall_s: Unix time.
        clock_s: monotonic clock.
        new_hold_id: a fresh id for each attempt.
        lease_margin_ms: how long after its deadline an attempt counts as lost.
    """

    def __init__(
        self,
        records: AnswerRecords,
        answers: Answers,
        ledger: Ledger,
        *,
        wall_s: Callable[[], float],
        clock_s: Callable[[], float],
        new_hold_id: Callable[[], str],
        lease_margin_ms: int = LEASE_MARGIN_MS,
    ) -> None:
        self._records = records
        self._answers = answers
        self._ledger = ledger
        self._wall_s = wall_s
        self._clock_s = clock_s
        self._new_hold_id = new_hold_id
        self._lease_margin_ms = lease_margin_ms

    async def answer(self, request: KeyedRequest, work: Work) -> tuple[bytes, bool]:
        """The answer, and whether it is an earlier one.

        Raises:
            Conflict: the key was used with another body, or its answer is lost.
            DeadlineExceeded: the one who answers took too long.
            EmbedgateError: whatever ``work`` raises; the key may then be tried again.
        """
        hold_id = self._new_hold_id()
        claim = AnswerClaim(
            fingerprint=hashlib.sha256(request.body).hexdigest(),
            hold_id=hold_id,
            day=day_of(int(self._wall_s() * 1000)),
            lease_ms=request.timeout_ms + self._lease_margin_ms,
        )
        deadline_s = self._clock_s() + request.timeout_ms / 1000
        while True:
            state = await self._claim(request, claim)
            match state.state:
                case "claimed":
                    return await self._answer_anew(request, claim, state.lost_hold_ids, work), False
                case "answered":
                    return await self._first_answer(request, state.day), True
                case "conflict":
                    raise Conflict("This Idempotency-Key was used with another body; use a new key for a new request.")
            if self._clock_s() > deadline_s:
                raise DeadlineExceeded("The first request with this Idempotency-Key is still being answered.")
            await asyncio.sleep(_POLL_S)

    async def _claim(self, request: KeyedRequest, claim: AnswerClaim) -> AnswerState:
        try:
            return await self._records.claim(request.project_id, request.key, claim)
        except BaseException:  # it may have been granted, and nobody would use it
            await self._forget(request, claim)
            raise

    async def _answer_anew(
        self, request: KeyedRequest, claim: AnswerClaim, lost_hold_ids: Sequence[str], work: Work
    ) -> bytes:
        try:
            for hold_id in lost_hold_ids:
                await self._ledger.settle(request.project_id, hold_id, Settlement.UNDELIVERED, 0)
            if lost_hold_ids:
                await self._records.undone(request.project_id, request.key, claim.hold_id)
            async with work(claim.hold_id) as answer:
                await self._keep(request, claim, answer)
        except BaseException:
            await self._forget(request, claim)
            raise
        # Should this not reach the store, the next attempt refunds this one and pays itself.
        with suppress(DependencyDown):
            await self._records.finish(request.project_id, request.key, claim.hold_id)
        return answer

    async def _keep(self, request: KeyedRequest, claim: AnswerClaim, answer: bytes) -> None:
        try:
            async with asyncio.timeout(request.timeout_ms / 1000):
                await self._answers.put(_name(request), answer, day=claim.day)
        except TimeoutError:
            raise DependencyDown("The store of answers does not answer; try again shortly.") from None

    async def _forget(self, request: KeyedRequest, claim: AnswerClaim) -> None:
        with suppress(DependencyDown):
            await asyncio.shield(self._records.forget(request.project_id, request.key, claim.hold_id))

    async def _first_answer(self, request: KeyedRequest, day: str) -> bytes:
        answer = await self._answers.get(_name(request), day=day)
        if answer is None:
            raise Conflict("The first answer to this Idempotency-Key is lost; use a new key.")
        return answer


def _name(request: KeyedRequest) -> str:
    return hashlib.sha256(f"{request.project_id}\0{request.key}".encode()).hexdigest()
