"""What goes into the ledger and what comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.core.gcra import Bucket, Quota


@dataclass(frozen=True, slots=True)
class Charge:
    """What a hold is taken for.

    Attributes:
        hold_id: chosen by the caller; the same id is the same hold.
        amount_nano_usd: the exact cost.
        tokens: those that are computed and charged.
        key_id: whose limits apply besides the project's.
        details: JSON for the journal; opaque here, part of the hold's identity.
    """

    hold_id: str
    amount_nano_usd: int
    tokens: int
    key_id: str
    details: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Rates of a project or a key; None is no limit. Bursts default to a minute's worth."""

    requests_per_minute: int | None = None
    request_burst: int | None = None
    tokens_per_minute: int | None = None
    token_burst: int | None = None

    @property
    def requests(self) -> Quota | None:
        """The request rate."""
        return _quota(self.requests_per_minute, self.request_burst)

    @property
    def tokens(self) -> Quota | None:
        """The token rate."""
        return _quota(self.tokens_per_minute, self.token_burst)


@dataclass(frozen=True, slots=True)
class Budgets:
    """What a project may use in a calendar month in UTC; None is no bound."""

    monthly_tokens: int | None = None
    monthly_nano_usd: int | None = None


NO_LIMITS = Limits()
NO_BUDGETS = Budgets()


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which limits a charge is admitted."""

    project: Limits = NO_LIMITS
    key: Limits = NO_LIMITS
    monthly_tokens: int | None = None
    monthly_nano_usd: int | None = None

    def quotas_in_order(self) -> tuple[Quota | None, ...]:
        """The project's requests and tokens, then the key's; None where no limit is set."""
        return self.project.requests, self.project.tokens, self.key.requests, self.key.tokens

    @staticmethod
    def bucket_names(key_id: str) -> tuple[str, ...]:
        """Names of their buckets, in that order."""
        return "requests", "tokens", f"{key_id}:requests", f"{key_id}:tokens"

    def quotas(self, key_id: str) -> Mapping[str, Quota]:
        """Every limit that is set, by the name of its bucket."""
        named = zip(self.bucket_names(key_id), self.quotas_in_order(), strict=True)
        return {name: quota for name, quota in named if quota is not None}

    def quotas_of(self, charge: Charge) -> Mapping[str, tuple[Quota, int]]:
        """Every limit that is set, with what the charge takes of it."""
        return {
            name: (quota, 1 if name.endswith("requests") else charge.tokens)
            for name, quota in self.quotas(charge.key_id).items()
        }


class HoldState(StrEnum):
    """Where a hold stands. All but ``HELD`` are terminal; ``REFUNDED`` is a captured one, given back."""

    HELD = "held"
    CAPTURED = "captured"
    RELEASED = "released"
    EXPIRED = "expired"
    REFUNDED = "refunded"


class Settlement(StrEnum):
    """How a caller ends a hold."""

    CAPTURE = "capture"
    RELEASE = "release"
    UNDELIVERED = "undelivered"


@dataclass(frozen=True, slots=True)
class Receipt:
    """A hold's state and what it is for; the same for every replay."""

    state: HoldState
    amount_nano_usd: int
    tokens: int


class RefusalReason(StrEnum):
    """Why a charge was not admitted."""

    RATE_LIMITED = "rate_limited"
    LARGER_THAN_BURST = "larger_than_burst"
    DELINQUENT = "delinquent"
    TOKEN_BUDGET = "token_budget"  # noqa: S105
    MONEY_BUDGET = "money_budget"
    INSUFFICIENT = "insufficient"
    CONFLICT = "hold_conflict"
    OUT_OF_RANGE = "amount_out_of_range"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal; nothing was consumed.

    Attributes:
        reason: why.
        bucket: the limit that is furthest from letting the charge in.
        wait_us: until it would, if nothing else came.
    """

    reason: RefusalReason
    bucket: str = ""
    wait_us: int = 0


class GrantResult(StrEnum):
    """What became of a grant."""

    GRANTED = "granted"
    CONFLICT = "grant_conflict"
    INSUFFICIENT = "insufficient"
    OUT_OF_RANGE = "amount_out_of_range"


@dataclass(frozen=True, slots=True)
class Balance:
    """An account's money, in nano-USD."""

    granted: int
    available: int
    held: int
    captured: int
    debt: int

    def __add__(self, other: "Balance") -> "Balance":
        return Balance(
            self.granted + other.granted,
            self.available + other.available,
            self.held + other.held,
            self.captured + other.captured,
            self.debt + other.debt,
        )


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account as read at one moment.

    ``month`` is the one that the figures belong to, 0 before the first; the buckets are those of the
    project's requests and tokens as they were last filled.
    """

    balance: Balance
    open_holds: int
    month: int
    month_tokens: int
    month_nano_usd: int
    is_delinquent: bool
    requests_bucket: Bucket
    tokens_bucket: Bucket


@dataclass(frozen=True, slots=True)
class Admitted:
    """A hold was taken, or had been.

    ``levels`` are those of the project's requests and tokens and the key's, -1 where no limit is set.
    """

    receipt: Receipt
    levels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal, with the levels as they stand."""

    refusal: Refusal
    levels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the journal; ``kind`` is grant, hold, capture, release, expire, refund, forfeit or change."""

    kind: str
    id: str
    amount_nano_usd: int
    tokens: int
    details: str


def _quota(per_minute: int | None, burst: int | None) -> Quota | None:
    return None if per_minute is None else Quota(per_minute, burst or per_minute)
