"""What a project used, and what it has left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from app.core.directory import Project
from app.core.errors import InvalidRequest
from app.core.journal import DIMENSIONS, Usage, grouped
from app.core.ledger_types import AccountState
from app.core.month import month_ends_s, month_of
from app.core.ports import Journal, Ledger
from app.core.rates import Rates, project_rates

MAX_DAYS = 400


@dataclass(frozen=True, slots=True)
class AccountStanding:
    """Where a project stands at a moment: its money, the month's figures, its rates."""

    project: Project
    account: AccountState
    month_tokens: int
    month_nano_usd: int
    month_ends_at: datetime
    rates: Rates
    at: datetime


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Usage of some days, by groups, with the account as it stands."""

    standing: AccountStanding
    first_day: date
    last_day: date
    rows: Sequence[tuple[dict[str, str], Usage]]
    total: Usage


class UsageService:
    """Reads the ledger and the journal.

    Args:
        wall_s: Unix time.
    """

    def __init__(self, ledger: Ledger, journal: Journal, *, wall_s: Callable[[], float]) -> None:
        self._ledger = ledger
        self._journal = journal
        self._wall_s = wall_s

    async def report(
        self, project: Project, *, first_day: date | None, last_day: date | None, by: Sequence[str]
    ) -> UsageReport:
        """Usage from a day to a day, both included, in UTC; this month up to now when not said.

        Raises:
            InvalidRequest: unknown groups, or days out of order or too many.
        """
        today = datetime.fromtimestamp(self._wall_s(), UTC).date()
        last = last_day or max(today, first_day or today)
        first = first_day or last.replace(day=1)
        if unknown := [name for name in by if name not in DIMENSIONS]:
            raise InvalidRequest(f"'by' takes {', '.join(DIMENSIONS)}; not '{unknown[0]}'.", param="by")
        if first > last or (last - first).days >= MAX_DAYS:
            raise InvalidRequest(f"'from' must not lie after 'to', and {MAX_DAYS} days at most.", param="from")
        usage = await self._journal.usage(project.project_id, _months(first, last))
        chosen = {key: one for key, one in usage.items() if first.isoformat() <= key.day <= last.isoformat()}
        return UsageReport(
            standing=await self.standing(project),
            first_day=first,
            last_day=last,
            rows=grouped(chosen, by),
            total=sum(chosen.values(), Usage()),
        )

    async def standing(self, project: Project) -> AccountStanding:
        """Where a project stands now, for next to nothing."""
        now_us = int(self._wall_s() * 1_000_000)
        account = await self._ledger.read_account(project.project_id)
        month = month_of(now_us)
        is_current = account.month >= month
        return AccountStanding(
            project=project,
            account=account,
            month_tokens=account.month_tokens if is_current else 0,
            month_nano_usd=account.month_nano_usd if is_current else 0,
            month_ends_at=datetime.fromtimestamp(month_ends_s(max(month, account.month)), UTC),
            rates=project_rates(project.limits, account.requests_bucket, account.tokens_bucket, now_us),
            at=datetime.fromtimestamp(now_us / 1_000_000, UTC),
        )


def _months(first: date, last: date) -> list[int]:
    months = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return [number // 12 * 100 + number % 12 + 1 for number in months]
