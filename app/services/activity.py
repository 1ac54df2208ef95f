"""What one gateway saw, told to the cluster's store every few seconds; and what all of them saw, read back."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from app.core.activity import (
    MINUTES,
    Grain,
    Lines,
    Outcome,
    Sums,
    TierActivity,
    View,
    add_all,
    by_tier,
    note,
    note_lines,
)
from app.core.activity_window import Point, Window
from app.core.errors import DependencyDown
from app.core.standing import GatewayStanding, ModelStanding, Trouble, together, troubles
from app.services.remembered import Remembered

logger = logging.getLogger("ray.serve.embedgate")

_PERIOD_S = 2.0
_SILENT_AFTER_S = 10.0
_RECENT_MINUTES = 5
_VALID_S = 2.0
"""For how long an overview is shown again: many tabs cost what one does."""


class ActivityStore(Protocol):
    """Shared by all gateways. Every method may raise ``DependencyDown``; see ``app.stores.redis_activity``."""

    async def add(self, sums: Mapping[str, int], *, now_s: float) -> None:
        """Add counts to the present spans."""

    async def read(self, grain: Grain, starts: Sequence[int]) -> Sequence[Mapping[str, int]]:
        """Counts of some spans, in order."""

    async def report(self, standing: GatewayStanding) -> None:
        """Say how a gateway stands."""

    async def standings(self, *, now_s: float, within_s: float) -> Sequence[GatewayStanding]:
        """Gateways that spoke within the last seconds."""


class ActivityRecorder:
    """Sums up requests as they end, which costs each some microseconds.

    Args:
        store: where the sums go.
        standing: how this gateway stands; None for a process that is none.
        wall_s: Unix time.
    """

    def __init__(
        self, store: ActivityStore, *, standing: Callable[[], GatewayStanding] | None, wall_s: Callable[[], float]
    ) -> None:
        self._store = store
        self._standing = standing
        self._wall_s = wall_s
        self._sums: Sums = {}

    def note(self, outcome: Outcome) -> None:
        """Take a request into account."""
        note(self._sums, outcome)

    def note_lines(self, lines: Lines) -> None:
        """Take lines of a batch into account."""
        note_lines(self._sums, lines)

    async def run_forever(self) -> None:
        """Tell the store until cancelled; what it does not take is told later, at a later time."""
        while True:
            await asyncio.sleep(_PERIOD_S)
            try:
                await self.tell()
            except DependencyDown:
                continue
            except Exception:
                logger.exception("activity is not told")

    async def tell(self) -> None:
        """Tell the store now. A call whose answer is lost may count twice: these are figures to look at."""
        sums, self._sums = self._sums, {}
        try:
            if sums:
                await self._store.add(sums, now_s=self._wall_s())
        except DependencyDown:
            add_all(self._sums, sums)
            raise
        if self._standing is not None:
            await self._store.report(self._standing())


@dataclass(frozen=True, slots=True)
class Overview:
    """The cluster as it stands and as it was.

    Attributes:
        points: each a start in Unix seconds and what was done from then on, by tier.
        total: of all points.
        gateways: that spoke lately.
        models: as they stand.
        troubles: what is wrong now.
    """

    view: View
    points: Sequence[Point]
    total: Mapping[str, TierActivity]
    gateways: int
    models: Mapping[str, ModelStanding]
    troubles: Sequence[Trouble]


class ActivityReader:
    """Reads what all gateways told.

    Args:
        store: where they told it.
        journal_period_s: how often the journal is to leave the store.
        wall_s: Unix time.
    """

    def __init__(self, store: ActivityStore, *, journal_period_s: float, wall_s: Callable[[], float]) -> None:
        self._store = store
        self._journal_period_s = journal_period_s
        self._wall_s = wall_s
        self._windows = {view: Window(view) for view in View}
        self._overviews = {view: Remembered(partial(self._read, view), valid_s=_VALID_S) for view in View}

    async def overview(self, view: View) -> Overview:
        """The present one, or one that is some seconds old. Raises ``DependencyDown``."""
        return await self._overviews[view].get()

    async def _read(self, view: View) -> Overview:
        now_s = self._wall_s()
        window = self._windows[view]
        starts = window.wanted(now_s)
        minutes = View.HOUR.starts(now_s)[-_RECENT_MINUTES:]
        spans, recent, gateways = await asyncio.gather(
            self._store.read(view.grain, starts),
            self._store.read(MINUTES, minutes),
            self._store.standings(now_s=now_s, within_s=_SILENT_AFTER_S),
        )
        # In a thread: a week that nobody looked at before has ten thousands of sums.
        points, total = await asyncio.to_thread(window.show, now_s, dict(zip(starts, spans, strict=True)))
        return Overview(
            view=view,
            points=points,
            total=total,
            gateways=len(gateways),
            models=together(gateways),
            troubles=troubles(gateways, by_tier(recent), journal_period_s=self._journal_period_s),
        )
