"""Projects, endpoints and keys as an operator writes them down, in a file or in a request."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.core.api_key import SLUG_PATTERN
from app.core.gcra import MAX_RATE
from app.core.ledger_types import Budgets, Limits
from app.core.model_card import MODEL_ID_PATTERN
from app.core.money import MAX_AMOUNT_NANO_USD, MAX_PRICE_NANO_USD_PER_MTOK
from app.core.settings.base import Knobs

Slug = Annotated[str, Field(pattern=SLUG_PATTERN, examples=["search-prod"])]
Name = Annotated[str, Field(min_length=1, max_length=200)]
ModelId = Annotated[str, Field(pattern=MODEL_ID_PATTERN, examples=["all-MiniLM-L6-v2"])]
Aliases = Annotated[tuple[ModelId, ...], Field(max_length=20, strict=False)]
TaskMode = Literal["embed", "generate"]
EndpointStatus = Literal["active", "inactive"]
CallerTier = Literal["flex", "default", "priority"]
Dimensions = Annotated[int, Field(ge=1, le=65_536)]
TimeoutMs = Annotated[int, Field(ge=1, le=60_000)]
PriceNanoUsdPerMtok = Annotated[int, Field(ge=0, le=MAX_PRICE_NANO_USD_PER_MTOK, examples=[20_000_000])]
ProjectStatus = Literal["active", "delinquent", "disabled"]
RatePerMinute = Annotated[int, Field(ge=1, le=MAX_RATE)]
MonthlyAmount = Annotated[int, Field(ge=0, le=MAX_AMOUNT_NANO_USD)]


class LimitsSpec(Knobs):
    """Rates. What is left out or null has no limit; a burst that is left out is a minute's worth."""

    requests_per_minute: RatePerMinute | None = None
    """Requests a minute, on average."""
    request_burst: RatePerMinute | None = None
    """Requests at once, from idle."""
    tokens_per_minute: RatePerMinute | None = None
    """Charged tokens a minute, on average."""
    token_burst: RatePerMinute | None = None
    """Charged tokens at once, from idle; a request with more never passes."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for rate, burst in (("requests_per_minute", "request_burst"), ("tokens_per_minute", "token_burst")):
            if getattr(self, rate) is None and getattr(self, burst) is not None:
                raise ValueError(f"'{burst}' needs '{rate}'")
        return self

    def domain(self) -> Limits:
        """As the ledger reads it."""
        return Limits(**self.model_dump())


class BudgetsSpec(Knobs):
    """What may be used in a calendar month, in UTC. What is left out or null has no bound."""

    monthly_tokens: MonthlyAmount | None = None
    """Charged tokens."""
    monthly_nano_usd: MonthlyAmount | None = None
    """Nano-USD."""

    def domain(self) -> Budgets:
        """As the ledger reads it."""
        return Budgets(**self.model_dump())


class EndpointSpec(Knobs):
    """An endpoint."""

    slug: Slug
    """Part of the scoped path."""
    model: ModelId
    """The model that runs."""
    aliases: Aliases = ()
    """Other names under which callers may ask for it."""
    task_mode: TaskMode = "embed"
    """Only "embed" endpoints take embedding requests."""
    status: EndpointStatus = "active"
    """An inactive endpoint answers 503."""
    service_tier: CallerTier = "default"
    """The tier of requests that name none."""
    dimensions: Dimensions | None = None
    """Size of vectors when the request names none; the model's native size when left out."""
    timeout_ms: TimeoutMs = 30_000
    """A request's deadline."""
    price_nano_usd_per_mtok: PriceNanoUsdPerMtok = 0
    """Nano-USD for a million charged tokens, before the tier's multiplier; 20000000 is two cents."""


class KeySpec(Knobs):
    """A key: made once under its name, and shown once."""

    name: Name
    """For people; a key of that name that is not revoked is not made again."""
    limits: LimitsSpec | None = None
    """Rates of this key, besides the project's; left out, they stay as they are."""


FairShareWeight = Annotated[int, Field(ge=1, le=100)]


class ProjectSpec(Knobs):
    """A tenant."""

    slug: Slug
    """Part of every key of the project; it never changes."""
    name: Name
    """For people."""
    status: ProjectStatus = "active"
    """A disabled project's keys open nothing; a delinquent one gets a 402."""
    limits: LimitsSpec | None = None
    """Rates over all keys; left out, they stay as they are."""
    budgets: BudgetsSpec | None = None
    """Monthly bounds; left out, they stay as they are."""
    fair_share_weight: FairShareWeight | None = None
    """Share of a tier while other projects wait too; left out, it stays as it is, 1 at first."""
    endpoints: Annotated[tuple[EndpointSpec, ...], Field(max_length=100, strict=False)] = ()
    """Endpoints that the file does not name stay as they are."""
    keys: Annotated[tuple[KeySpec, ...], Field(max_length=1000, strict=False)] = ()
    """Keys that the file does not name stay as they are."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _require_distinct("endpoint", [endpoint.slug for endpoint in self.endpoints])
        _require_distinct("key", [key.name for key in self.keys])
        return self


class ProjectsFile(Knobs):
    """What ``embedgate apply`` reads."""

    projects: Annotated[tuple[ProjectSpec, ...], Field(min_length=1, strict=False)]
    """Tenants that must exist."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _require_distinct("project", [project.slug for project in self.projects])
        return self


def _require_distinct(kind: str, names: list[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{kind} named twice: {', '.join(twice)}")
