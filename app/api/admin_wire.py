"""Wire models of ``/admin/v1``."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from app.core.directory import Endpoint, KeyRecord, Project
from app.core.ledger_types import AccountState, Balance
from app.core.money import MAX_AMOUNT_NANO_USD
from app.core.settings.tenants import (
    Aliases,
    BudgetsSpec,
    CallerTier,
    Dimensions,
    EndpointSpec,
    EndpointStatus,
    FairShareWeight,
    LimitsSpec,
    ModelId,
    Name,
    PriceNanoUsdPerMtok,
    ProjectStatus,
    Slug,
    TaskMode,
    TimeoutMs,
)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class _Change(_Body):
    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("name at least one field to change")
        nulls = [name for name in self.model_fields_set if getattr(self, name) is None and name != "dimensions"]
        if nulls:
            raise ValueError(f"{', '.join(sorted(nulls))} cannot be null; leave a field out to keep it")
        return self

    def changes(self) -> dict[str, Any]:
        """What was named in the body."""
        values = {name: getattr(self, name) for name in self.model_fields_set}
        return {n: v.domain() if isinstance(v, LimitsSpec | BudgetsSpec) else v for n, v in values.items()}


class ProjectCreate(_Body):
    """A new project."""

    name: Name
    """For people."""
    slug: Slug
    """Part of every key of the project; it never changes."""


class ProjectChange(_Change):
    """What of a project may change."""

    name: Name | None = None
    """For people."""
    status: ProjectStatus | None = None
    """A disabled project's keys open nothing; a delinquent one gets a 402."""
    limits: LimitsSpec | None = None
    """Rates over all keys; replaces what was set."""
    budgets: BudgetsSpec | None = None
    """Monthly bounds; replaces what was set."""
    fair_share_weight: FairShareWeight | None = None
    """Share of a tier while other projects wait too: 3 gets three times the tokens of 1."""


class EndpointCreate(EndpointSpec):
    """A new endpoint."""


class EndpointChange(_Change):
    """What of an endpoint may change."""

    model: ModelId | None = None
    """The model that runs."""
    aliases: Aliases | None = None
    """Other names; replaces the list."""
    task_mode: TaskMode | None = None
    """Only "embed" endpoints take embedding requests."""
    status: EndpointStatus | None = None
    """An inactive endpoint answers 503."""
    service_tier: CallerTier | None = None
    """The tier of requests that name none."""
    dimensions: Dimensions | None = None
    """Null goes back to the model's native size."""
    timeout_ms: TimeoutMs | None = None
    """A request's deadline."""
    price_nano_usd_per_mtok: PriceNanoUsdPerMtok | None = None
    """Nano-USD for a million charged tokens."""


class KeyCreate(_Body):
    """A new key."""

    name: Name
    """For people."""
    expires_at: Annotated[AwareDatetime, Field(strict=False)] | None = None
    """When it stops working, with a time zone; never, when left out."""
    limits: LimitsSpec | None = None
    """Rates of this key, besides the project's."""


class KeyChange(_Change):
    """What of a key may change."""

    name: Name | None = None
    """For people."""
    limits: LimitsSpec | None = None
    """Rates of this key; replaces what was set."""


class GrantCreate(_Body):
    """Credit, or a correction of it."""

    amount_nano_usd: Annotated[int, Field(ge=-MAX_AMOUNT_NANO_USD, le=MAX_AMOUNT_NANO_USD, examples=[5_000_000_000])]
    """Negative to correct, never below what is held or captured."""
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the journal."""
    grant_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    """Yours, so that sending it twice grants once; made up when left out."""


class BalanceOut(BaseModel):
    """Money in nano-USD: granted + debt = available + held + captured."""

    granted: int
    available: int
    held: int
    captured: int
    debt: int

    @classmethod
    def of(cls, balance: Balance) -> Self:
        """From the domain."""
        return cls(**asdict(balance))


class GrantOut(BaseModel):
    """A grant, and the balance after it."""

    grant_id: str
    amount_nano_usd: int
    balance: BalanceOut


class ProjectOut(BaseModel):
    """A project."""

    project_id: str
    name: str
    slug: str
    status: str
    created_at: datetime
    limits: LimitsSpec
    budgets: BudgetsSpec
    fair_share_weight: int

    @classmethod
    def of(cls, project: Project) -> Self:
        """From the domain."""
        return cls(
            project_id=project.project_id,
            name=project.name,
            slug=project.slug,
            status=project.status,
            created_at=_time(project.created_at_s),
            limits=LimitsSpec(**asdict(project.limits)),
            budgets=BudgetsSpec(**asdict(project.budgets)),
            fair_share_weight=project.fair_share_weight,
        )


class EndpointOut(BaseModel):
    """An endpoint."""

    slug: str
    model: str
    aliases: list[str]
    task_mode: str
    status: str
    service_tier: str
    dimensions: int | None
    timeout_ms: int
    price_nano_usd_per_mtok: int
    created_at: datetime

    @classmethod
    def of(cls, endpoint: Endpoint) -> Self:
        """From the domain."""
        return cls(
            slug=endpoint.slug,
            model=endpoint.model,
            aliases=list(endpoint.aliases),
            task_mode=endpoint.task_mode,
            status=endpoint.status,
            service_tier=endpoint.service_tier,
            dimensions=endpoint.dimensions,
            timeout_ms=endpoint.timeout_ms,
            price_nano_usd_per_mtok=endpoint.price_nano_usd_per_mtok,
            created_at=_time(endpoint.created_at_ms / 1000),
        )


class ProjectRow(ProjectOut):
    """A project with its balance."""

    balance: BalanceOut
    open_holds: int

    @classmethod
    def of_account(cls, project: Project, account: AccountState, **more: Any) -> Self:
        """From the domain."""
        return cls(
            **dict(ProjectOut.of(project)),
            balance=BalanceOut.of(account.balance),
            open_holds=account.open_holds,
            **more,
        )


class ProjectDetail(ProjectRow):
    """A project with its balance and its endpoints."""

    endpoints: list[EndpointOut] = Field(default_factory=list)


class KeyOut(BaseModel):
    """A key, without its secret."""

    key_id: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    limits: LimitsSpec

    @classmethod
    def of(cls, key: KeyRecord) -> Self:
        """From the domain."""
        return cls(
            key_id=key.key_id,
            name=key.name,
            created_at=_time(key.created_at_s),
            expires_at=_time(key.expires_at_s) if key.expires_at_s is not None else None,
            revoked_at=_time(key.revoked_at_s) if key.revoked_at_s is not None else None,
            limits=LimitsSpec(**asdict(key.limits)),
        )


class MintedKeyOut(KeyOut):
    """A new key: the only time that ``api_key`` is shown."""

    api_key: str = ""


Item = TypeVar("Item", bound=BaseModel)


class Page(BaseModel, Generic[Item]):
    """A page; ask for the next with ``after`` set to ``next_cursor``."""

    data: list[Item]
    next_cursor: str | None


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
