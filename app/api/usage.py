"""``GET /v1/usage`` and ``/v1/journal``: balance, limits and usage, and what they came from."""

from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from app.api.admin_wire import BalanceOut, Page
from app.api.caller import authenticate
from app.api.docs import errors_of
from app.api.journal import EntryOut, JournalQuery, journal_of
from app.api.request_record import record_of
from app.api.services import Services
from app.core import errors as e
from app.core.directory import Project
from app.core.journal import Usage
from app.core.rates import Rate
from app.core.settings.tenants import BudgetsSpec, LimitsSpec
from app.services.usage import AccountStanding, UsageReport


class UsageQuery:
    """Which usage is asked for, how it is grouped, and which page of it."""

    def __init__(
        self,
        first_day: Annotated[
            date | None, Query(alias="from", description="First day, in UTC; the first of the month by default.")
        ] = None,
        to: Annotated[date | None, Query(description="Last day, included; today by default.")] = None,
        by: Annotated[
            str,
            Query(
                max_length=64,
                description="Groups, with commas between: day, endpoint, tier, key, user.",
                examples=["day"],
            ),
        ] = "day",
        limit: Annotated[int | None, Query(ge=1, le=1000, description="Rows of a page; all when left out.")] = None,
        after: Annotated[
            str | None, Query(pattern=r"^\d{1,9}$", description="The next_cursor of the page before.")
        ] = None,
    ) -> None:
        self.first_day = first_day
        self.last_day = to
        self.by = by
        self.limit = limit
        self.after = after


class UsageTotal(BaseModel):
    """Charged requests, their tokens and what they cost; refunds are taken off."""

    requests: int
    tokens: int = Field(description="Charged tokens.")
    cached_tokens: int = Field(description="Tokens that came free.")
    amount_nano_usd: int

    @classmethod
    def of(cls, usage: Usage) -> Self:
        """From the domain."""
        return cls(**asdict(usage))


class UsageRow(UsageTotal):
    """Usage of one group; only the fields that were asked for are set."""

    day: str | None = None
    endpoint: str | None = None
    tier: str | None = None
    key: str | None = None
    user: str | None = None


class MonthOut(BaseModel):
    """Of the calendar month in UTC: what counts against the budgets, open holds included."""

    tokens: int
    nano_usd: int
    ends_at: datetime


class RateOut(BaseModel):
    """One rate limit of the project."""

    limit: int = Field(description="What is let in at once from idle.")
    remaining: int
    resets_at: datetime = Field(description="When all of it is there again, if nothing more comes.")

    @classmethod
    def of(cls, rate: Rate | None, at: datetime) -> Self | None:
        """From the domain; None where no limit is set."""
        if rate is None:
            return None
        return cls(limit=rate.limit, remaining=rate.remaining, resets_at=at + timedelta(microseconds=rate.reset_us))


class RatesOut(BaseModel):
    """The project's own rate limits; its keys may have lower ones."""

    requests: RateOut | None = None
    tokens: RateOut | None = None


class AccountOut(BaseModel):
    """Where a project stands."""

    project_id: str
    status: str
    balance: BalanceOut
    open_holds: int
    limits: LimitsSpec
    rates: RatesOut
    budgets: BudgetsSpec
    month: MonthOut

    @classmethod
    def of_standing(cls, standing: AccountStanding, **more: Any) -> Self:
        """From the domain."""
        rates, project = standing.rates, standing.project
        return cls(
            project_id=project.project_id,
            status=project.status,
            balance=BalanceOut.of(standing.account.balance),
            open_holds=standing.account.open_holds,
            limits=LimitsSpec(**asdict(project.limits)),
            rates=RatesOut(
                requests=RateOut.of(rates.requests, standing.at), tokens=RateOut.of(rates.tokens, standing.at)
            ),
            budgets=BudgetsSpec(**asdict(project.budgets)),
            month=MonthOut(
                tokens=standing.month_tokens, nano_usd=standing.month_nano_usd, ends_at=standing.month_ends_at
            ),
            **more,
        )


class UsageOut(AccountOut):
    """Where a project stands, and what it used."""

    from_day: date
    to_day: date
    data: list[UsageRow]
    total: UsageTotal = Field(description="Of all rows, on whatever page.")
    next_cursor: str | None = None

    @classmethod
    def of(cls, report: UsageReport, *, limit: int | None, after: str | None) -> Self:
        """From the domain, cut to a page."""
        first = int(after or 0)
        last = len(report.rows) if limit is None else first + limit
        return cls.of_standing(
            report.standing,
            from_day=report.first_day,
            to_day=report.last_day,
            data=[UsageRow.model_validate(asdict(usage) | group) for group, usage in report.rows[first:last]],
            total=UsageTotal.of(report.total),
            next_cursor=str(last) if last < len(report.rows) else None,
        )


async def usage_of(services: Services, project: Project, asked: UsageQuery) -> UsageOut:
    """A report as it goes over the wire."""
    names = [name for name in asked.by.split(",") if name]
    report = await services.usage.report(project, first_day=asked.first_day, last_day=asked.last_day, by=names)
    return UsageOut.of(report, limit=asked.limit, after=asked.after)


def usage_router(services: Services) -> APIRouter:
    """The tenant's own view."""
    router = APIRouter(tags=["Usage"])

    @router.get(
        "/v1/usage",
        summary="Balance, limits and usage of the key's project",
        responses=errors_of(e.InvalidRequest, e.Unauthenticated, e.DependencyDown, scoped=False),
        response_model_exclude_none=True,
    )
    async def usage(request: Request, asked: Annotated[UsageQuery, Depends()]) -> UsageOut:
        """Up to this moment: what is not in a report is not charged."""
        record_of(request).route = "usage"
        caller = await authenticate(services, request)
        return await usage_of(services, caller.view.project, asked)

    @router.get(
        "/v1/account",
        summary="Balance, limits and budgets of the key's project",
        responses=errors_of(e.Unauthenticated, e.DependencyDown, scoped=False),
        response_model_exclude_none=True,
    )
    async def account(request: Request) -> AccountOut:
        """What `/v1/usage` says besides its rows, for next to nothing."""
        record_of(request).route = "usage"
        caller = await authenticate(services, request)
        return AccountOut.of_standing(await services.usage.standing(caller.view.project))

    @router.get(
        "/v1/journal",
        summary="Every move of the project's money, and every change of it",
        responses=errors_of(e.InvalidRequest, e.Unauthenticated, e.DependencyDown, scoped=False),
    )
    async def journal(request: Request, asked: Annotated[JournalQuery, Depends()]) -> Page[EntryOut]:
        """One UTC day, newest first. A page may be short, or empty, and still have a next one."""
        record_of(request).route = "journal"
        caller = await authenticate(services, request)
        return await journal_of(services, caller.view.project.project_id, asked, for_operator=False)

    return router
