"""What the services need of the world, as protocols that outer layers implement."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from app.core.ledger_types import (
    AccountState,
    Admitted,
    Charge,
    GrantResult,
    Receipt,
    Refused,
    Settlement,
    Terms,
)
from app.core.packing import TokenIds, Vector
from app.core.rates import Rates
from app.core.tiers import Tier

T_co = TypeVar("T_co", covariant=True)


class Future(Protocol[T_co]):
    """The part of ``asyncio.Future`` that the core speaks of."""

    def done(self) -> bool:
        """Whether it ended."""

    def cancel(self) -> bool:
        """Withdraw it."""

    def cancelled(self) -> bool:
        """Whether it was withdrawn."""

    def result(self) -> T_co:
        """Its outcome."""

    def __await__(self) -> Generator[object, None, T_co]: ...


class EmbedderPool(Protocol):
    """The replicas of one model."""

    @property
    def is_ready(self) -> bool:
        """Whether a replica answered lately."""

    def submit(self, items: Sequence[TokenIds], *, tier: Tier, timeout_ms: int) -> "Sequence[Future[Vector]]":
        """Have items computed; one future each, in order.

        A future ends with a vector of length one or an ``EmbedgateError``. Cancelling it
        withdraws the item, from the replica too when nobody else travels with it.

        Raises:
            CapacityExceeded: too much waits already.
        """


class EmbedderLink(Protocol):
    """One call to some replica of a model."""

    @property
    def is_ready(self) -> bool:
        """Whether a replica answered lately."""

    async def call(self, lengths: bytes, ids: bytes, *, tier: Tier, timeout_ms: int) -> bytes:
        """Send packed items (see ``app.core.packing``) and get packed vectors.

        Raises:
            EmbedgateError: any failure, already in the service's own words.
        """


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """What a request asks to be admitted for; ``charged_tokens`` is exact, not an estimate.

    ``hold_id`` is named by a caller that may ask twice for the same; None takes a fresh one.
    """

    request_id: str
    project_id: str
    endpoint_slug: str
    key_id: str
    user: str | None
    tier: Tier
    charged_tokens: int
    cached_tokens: int
    price_nano_usd_per_mtok: int
    terms: Terms
    timeout_ms: int
    hold_id: str | None = None


class Admission(Protocol):
    """Limits, budget and hold, taken together before any work is dispatched."""

    async def admit(self, request: AdmissionRequest) -> "Hold":
        """Take a hold, or raise what forbids it; nothing is consumed by a refusal."""


class Hold(Protocol):
    """An admitted request: ended exactly once."""

    @property
    def amount_nano_usd(self) -> int:
        """What the request costs."""

    @property
    def rates(self) -> Rates:
        """Where the caller stands with its limits."""

    async def capture(self) -> None:
        """Settle; called when the response is ready and before it is sent.

        Raises:
            EmbedgateError: nothing is charged, and the response must not be sent.
        """

    async def release(self) -> None:
        """Give everything back; called when the request fails, whenever that is. Never raises."""


class Ledger(Protocol):
    """The cluster's accounts; see ``app.core.ledger``. Every method may raise ``DependencyDown``."""

    async def admit(self, project_id: str, charge: Charge, terms: Terms, *, ttl_ms: int) -> Admitted | Refused:
        """Check rates, budgets and balance, and take the hold: all or nothing."""

    async def settle(self, project_id: str, hold_id: str, verb: Settlement, amount_nano_usd: int) -> Receipt | None:
        """End a hold, or say how it ended; None when there is no such hold."""

    async def reap(self, project_ids: Sequence[str], *, limit: int) -> tuple[int, int]:
        """Expire due holds and forget old ended ones; how many of each."""

    async def grant(self, project_id: str, grant_id: str, amount_nano_usd: int, details: str) -> GrantResult:
        """Add or correct credit, once for each id."""

    async def read_account(self, project_id: str) -> AccountState:
        """Balance, open holds and the month's figures."""


class Metrics(Protocol):
    """Counters, gauges and histograms by the names of ``app.core.metric_names``."""

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Record into a histogram."""
