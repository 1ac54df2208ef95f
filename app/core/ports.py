"""What the services need of the world, as protocols that outer layers implement."""

from collections.abc import Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from app.core.journal import JournalLine, RebuiltAccount, Usage, UsageKey
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
from app.core.standing import ModelStanding
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

    @property
    def is_idle(self) -> bool:
        """Whether one is ready, and no work is known of."""

    def standing(self, *, may_sleep: bool) -> ModelStanding:
        """How the model stands."""

    def check(self, *, tier: Tier, project_id: str, tokens: int) -> None:
        """Refuse what could not be served in time, before anything is held for it.

        Raises:
            ModelProvisioning: no replica is ready.
            CapacityExceeded: the expected wait is longer than the tier's bound.
        """

    def submit(
        self,
        items: Sequence[TokenIds],
        *,
        tier: Tier,
        project_id: str,
        weight: int = 1,
        timeout_ms: int,
        trace: str = "",
    ) -> "Sequence[Future[Vector]]":
        """Have items computed; one future each, in order.

        A future ends with a vector of length one or an ``EmbedgateError``. Cancelling it withdraws the item.

        Args:
            items: token ids.
            tier: their rank.
            project_id: whose they are, who has ``weight`` (from 1) among those of the tier.
            timeout_ms: after which nobody waits any more.
            trace: of the request, see ``app.core.tracing``.

        Raises:
            ModelProvisioning: no replica is ready.
        """


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """What a request asks to be admitted for; ``charged_tokens`` is exact, not an estimate.

    ``hold_id`` is named by a caller that must find the hold again, for ``retain_ms`` after its end;
    None takes a fresh one.
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
    retain_ms: int | None = None


class Admission(Protocol):
    """Limits, budget and hold, taken together."""

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

    def begin_capture(self) -> None:
        """Send the capture ahead of :meth:`capture`, which waits for its answer then; a release undoes it.

        For a response of which nothing but its writing is missing, and that nobody gets a second time. Never raises.
        """

    async def capture(self) -> None:
        """Settle; called when the response is ready and before it is sent.

        Raises:
            EmbedgateError: nothing is charged, and the response must not be sent.
        """

    async def release(self) -> None:
        """Give everything back; called when the request fails, whenever that is. Never raises."""


class Ledger(Protocol):
    """The cluster's accounts; see ``app.core.ledger``. Every method may raise ``DependencyDown``, when awaited."""

    def admit(
        self, project_id: str, charge: Charge, terms: Terms, *, ttl_ms: int
    ) -> Coroutine[Any, Any, Admitted | Refused]:
        """Check rates, budgets and balance, and take the hold: all or nothing. Calls leave as they are made."""

    def settle(
        self, project_id: str, hold_id: str, verb: Settlement, amount_nano_usd: int, *, retain_ms: int | None = None
    ) -> Coroutine[Any, Any, Receipt | None]:
        """End a hold, or say how it ended; None when there is no such hold.

        An ended hold is remembered for ``retain_ms``, or for as long as anyone retries. Calls leave as they are made.
        """

    async def reap(self, project_id: str, *, limit: int) -> tuple[int, int]:
        """Expire due holds and forget old ended ones; how many of each."""

    async def grant(self, project_id: str, grant_id: str, amount_nano_usd: int, details: str) -> GrantResult:
        """Add or correct credit, once for each id."""

    async def read_account(self, project_id: str) -> AccountState:
        """Balance, open holds, the month's figures and the project's buckets."""

    async def read_accounts(self, project_ids: Sequence[str]) -> Sequence[AccountState]:
        """Many accounts, in order."""


@dataclass(frozen=True, slots=True)
class JournalTail:
    """An account at one moment, with the entries that wait then; those up to ``written_up_to`` do not wait."""

    account: AccountState
    waiting: Sequence[JournalLine]
    written_up_to: tuple[int, int]


class Journal(Protocol):
    """What of the journal is still in the cluster's store. Every method may raise ``DependencyDown``."""

    async def ledger_id(self) -> str:
        """The ledger's id, made on first use."""

    async def project_ids(self, *, after: str | None, limit: int) -> Sequence[str]:
        """A page of all projects in order of id."""

    async def position(self) -> tuple[int, str | None]:
        """The part that is next, and the day it was claimed for, if it was."""

    async def claim(self, part: int, day: str) -> str | None:
        """Fix a part's day; whoever was first decides. None when the journal is at another part by now."""

    async def pending(self, *, limit: int) -> tuple[Sequence[JournalLine], bool]:
        """The first entries of every project that wait, about ``limit`` of them, and whether more do."""

    async def finish(self, part: int, lines: Sequence[JournalLine]) -> None:
        """Sum up and trim what a part holds, once for each project, and go on to the next part."""

    async def usage(self, project_id: str, months: Sequence[int]) -> Mapping[UsageKey, Usage]:
        """All usage of some months, up to this moment."""

    async def tail(self, project_id: str) -> "JournalTail":
        """An account and the entries that wait, as of one moment."""

    async def directory_documents(self, project_ids: Sequence[str]) -> Mapping[str, object]:
        """What a rebuild needs of the directory, by name: the cluster's part and these projects."""


class JournalParts(Protocol):
    """The journal outside the cluster's store. Every method may raise ``DependencyDown``."""

    async def create_part(self, ledger_id: str, number: int, day: str, lines: Sequence[JournalLine]) -> bool:
        """Write a part, whole and durable; False when it exists already, and is left as it is."""

    async def read_part(self, ledger_id: str, number: int, day: str) -> Sequence[JournalLine] | None:
        """The entries of a part; None when there is none."""

    async def put_directory(self, ledger_id: str, name: str, document: object) -> None:
        """Replace a document of the directory."""

    async def parts(self) -> Mapping[str, Sequence[tuple[int, str]]]:
        """Numbers and days of all parts in order, by ledger."""

    async def read_directory(self, ledger_id: str) -> Mapping[str, Any]:
        """All documents of a directory, by name."""


class EmptyStore(Protocol):
    """A cluster's store that a rebuild fills. Every method may raise ``DependencyDown``."""

    async def is_empty(self) -> bool:
        """Whether it holds nothing of this service."""

    async def restore_directory(self, ledger_id: str, next_part: int, documents: Mapping[str, Any]) -> None:
        """Put projects, endpoints and keys back, and the journal's position."""

    async def restore_account(self, account: RebuiltAccount) -> None:
        """Put one account back, with its grants, its usage and the journal of what the rebuild released."""


class Metrics(Protocol):
    """Counters, gauges and histograms by the names of ``app.core.metric_names``."""

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Record into a histogram."""
