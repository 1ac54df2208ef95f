"""Holds whose fate this gateway does not know: their call got no answer, and their customer got none.

Each is ended in the customer's favour as soon as the store answers: released when it is open,
refunded when it was captured. What this process cannot finish, because it ends, the deadline of
the hold does.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable

from app.core import metric_names as names
from app.core.errors import DependencyDown, EmbedgateError
from app.core.ledger_types import HoldState, Settlement
from app.core.ports import Ledger, Metrics

logger = logging.getLogger("ray.serve.embedgate")

_RETRY_S = 0.2
_MAX_WAITING = 100_000


class Unsettled:
    """A bounded set of such holds, worked off in the background.

    Args:
        ledger: where they are ended.
        metrics: where their number is shown.
        clock_s: monotonic clock.
        give_up_s: age at which the store has forgotten how the hold ended.
    """

    def __init__(
        self, ledger: Ledger, metrics: Metrics, *, clock_s: Callable[[], float], give_up_s: float = 840
    ) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._clock_s = clock_s
        self._give_up_s = give_up_s
        self._waiting: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._worker: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, project_id: str, hold_id: str) -> None:
        """End a hold in the customer's favour, soon."""
        if len(self._waiting) >= _MAX_WAITING:
            self._waiting.popitem(last=False)
        self._waiting[hold_id] = (project_id, self._clock_s())
        self._metrics.set(names.UNSETTLED_HOLDS, len(self._waiting))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def drained(self) -> None:
        """Wait until nothing is left."""
        while self._worker is not None and not self._worker.done():
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        while self._waiting:
            for hold_id, (project_id, since_s) in list(self._waiting.items()):
                try:
                    receipt = await self._ledger.settle(project_id, hold_id, Settlement.UNDELIVERED, 0)
                    if receipt is not None and receipt.state is HoldState.CAPTURED:
                        logger.error("hold %s of %s stays captured: refund it by hand", hold_id, project_id)
                except DependencyDown:
                    if self._clock_s() - since_s < self._give_up_s:
                        await asyncio.sleep(_RETRY_S)
                        continue
                    logger.error("hold %s of %s is given up: refund it by hand if it was captured", hold_id, project_id)
                except EmbedgateError:
                    logger.exception("hold %s cannot be ended", hold_id)
                self._waiting.pop(hold_id, None)
            self._metrics.set(names.UNSETTLED_HOLDS, len(self._waiting))
