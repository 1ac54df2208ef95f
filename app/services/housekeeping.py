"""What any gateway may do for the cluster, one at a time: expire holds, and move the journal out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from app.core import metric_names as names
from app.core.answer_ports import ANSWERS_KEPT_MS, Answers
from app.core.errors import DependencyDown
from app.core.journal import day_of
from app.core.ports import Journal, Ledger, Metrics
from app.services.journal_drain import JournalDrain

logger = logging.getLogger("ray.serve.embedgate")

_PROJECTS_AT_ONCE = 500
_GROUP = 20
_HOLDS_AT_ONCE = 200
_ROUNDS = 50
_PERIOD_S = 0.5
_ANSWERS_PERIOD_S = 3600
_FORGET_PERIOD_S = 60


class Housekeeping:
    """A loop that runs in every gateway and works in the one that has the lease.

    The lease saves work; nothing depends on it, because every step may be done twice.

    Args:
        forget: each deletes some of what has expired, and says whether there may be more.
        has_lease: takes or keeps the lease.
        drain_period_s: time between moves of the journal.
        clock_s: monotonic clock.
        wall_s: Unix time.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        journal: Journal,
        drain: JournalDrain,
        answers: Answers,
        forget: Sequence[Callable[[], Awaitable[bool]]],
        metrics: Metrics,
        has_lease: Callable[[], Awaitable[bool]],
        drain_period_s: float,
        clock_s: Callable[[], float],
        wall_s: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._drain = drain
        self._metrics = metrics
        self._has_lease = has_lease
        self._answers = answers
        self._forget = forget
        self._wall_s = wall_s
        self._drain_period_s = drain_period_s
        self._clock_s = clock_s
        self._reaped_up_to: str | None = None
        self._drained_at_s = float("-inf")
        self._whole_at_s = clock_s()
        self._behind_s = 0.0
        self._tidied_at_s = float("-inf")
        self._forgot_at_s = float("-inf")

    @property
    def journal_behind_s(self) -> float:
        """Seconds since all that waited was last written outside; 0.0 where another gateway sees to it."""
        return self._behind_s

    async def run_forever(self) -> None:
        """Work until cancelled; a store that is away is tried again in the next round."""
        has_lease = False
        while True:
            had_lease, has_lease = has_lease, False
            try:
                has_lease = await self._has_lease()
                if has_lease and not had_lease:
                    self._whole_at_s = self._clock_s()
                if has_lease:
                    await self.reap_some()
                    await self._drain_when_due()
                    await self._forget_answers_when_due()
                    await self._forget_when_due()
            except DependencyDown as error:
                logger.warning("housekeeping waits: %s", error.__cause__ or error)
            except Exception:
                logger.exception("housekeeping failed; it goes on with the next round")
            self._behind_s = self._clock_s() - self._whole_at_s if has_lease else 0.0
            self._metrics.set(names.JOURNAL_BEHIND_S, self._behind_s)
            await asyncio.sleep(_PERIOD_S)

    async def reap_some(self) -> None:
        """Expire due holds of the next projects; all of them come round."""
        page = await self._journal.project_ids(after=self._reaped_up_to, limit=_PROJECTS_AT_ONCE)
        self._reaped_up_to = page[-1] if len(page) == _PROJECTS_AT_ONCE else None
        for start in range(0, len(page), _GROUP):
            group = page[start : start + _GROUP]
            results = await asyncio.gather(*(self._reap(project_id) for project_id in group), return_exceptions=True)
            for project_id, result in zip(group, results, strict=True):
                if isinstance(result, BaseException):
                    logger.error("holds of %s are not expired: %s", project_id, result.__cause__ or result)

    async def _reap(self, project_id: str) -> None:
        for _ in range(_ROUNDS):
            expired, forgotten = await self._ledger.reap(project_id, limit=_HOLDS_AT_ONCE)
            if expired:
                self._metrics.count(names.EXPIRED_HOLDS, expired)
            if expired + forgotten < _HOLDS_AT_ONCE:
                return

    async def _drain_when_due(self) -> None:
        now_s = self._clock_s()
        if now_s - self._drained_at_s < self._drain_period_s:
            return
        moved, has_more = await self._drain.drain()
        if moved:
            self._metrics.count(names.JOURNAL_DRAINED, moved)
        if not has_more:
            self._drained_at_s = self._whole_at_s = now_s

    async def _forget_when_due(self) -> None:
        if self._clock_s() - self._forgot_at_s >= _FORGET_PERIOD_S:
            have_more = [await forget() for forget in self._forget]
            if not any(have_more):
                self._forgot_at_s = self._clock_s()

    async def _forget_answers_when_due(self) -> None:
        if self._clock_s() - self._tidied_at_s < _ANSWERS_PERIOD_S:
            return
        await self._answers.forget_before(day_of(int(self._wall_s() * 1000 - 2 * ANSWERS_KEPT_MS)))
        self._tidied_at_s = self._clock_s()
