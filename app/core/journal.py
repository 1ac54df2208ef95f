"""Journal entries outside the ledger: their place in time, their usage, and what they add up to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from app.core.ledger_types import Balance

OTHER_USERS = "(other)"
"""Stands for all users beyond those that a project's month keeps apart."""

DIMENSIONS = ("day", "endpoint", "tier", "key", "user")


@dataclass(frozen=True, slots=True)
class JournalLine:
    """One entry of one project's journal.

    Attributes:
        project_id: whose.
        entry_id: milliseconds since 1970 and a number, as a stream of Redis counts.
        kind: as in ``Entry``.
        id: of the hold, grant or change.
        amount_nano_usd: of the move.
        tokens: charged ones.
        details: what the mover wrote down.
    """

    project_id: str
    entry_id: str
    kind: str
    id: str
    amount_nano_usd: int
    tokens: int
    details: Mapping[str, Any]

    @property
    def order(self) -> tuple[int, int]:
        """Sorts entries of one project."""
        at_ms, _, number = self.entry_id.partition("-")
        return int(at_ms), int(number)

    @property
    def day(self) -> str:
        """The UTC date, like 2026-11-21."""
        return day_of(self.order[0])

    @property
    def month(self) -> int:
        """The UTC month, like 202611."""
        return _month(self.day)


@dataclass(frozen=True, slots=True)
class UsageKey:
    """What usage is kept apart by."""

    day: str
    endpoint: str
    tier: str
    key: str
    user: str

    @property
    def month(self) -> int:
        """The UTC month, like 202611."""
        return _month(self.day)


@dataclass(frozen=True, slots=True)
class Usage:
    """Requests that were charged, their tokens and their money; refunds are taken off."""

    requests: int = 0
    tokens: int = 0
    cached_tokens: int = 0
    amount_nano_usd: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.requests + other.requests,
            self.tokens + other.tokens,
            self.cached_tokens + other.cached_tokens,
            self.amount_nano_usd + other.amount_nano_usd,
        )


def day_of(at_ms: int) -> str:
    """The UTC date of a moment."""
    return _day(at_ms // 86_400_000)


@lru_cache(maxsize=1024)
def _day(number: int) -> str:
    return datetime.fromtimestamp(number * 86_400, UTC).strftime("%Y-%m-%d")


def _month(day: str) -> int:
    return int(day[:4] + day[5:7])


def usage_of(lines: Iterable[JournalLine]) -> dict[UsageKey, Usage]:
    """What captures and refunds add up to."""
    totals: dict[UsageKey, Usage] = {}
    for line in lines:
        if line.kind not in ("capture", "refund"):
            continue
        sign = 1 if line.kind == "capture" else -1
        details = line.details
        key = UsageKey(
            line.day,
            str(details.get("endpoint", "")),
            str(details.get("tier", "")),
            str(details.get("key_id", "")),
            str(details.get("user") or ""),
        )
        one = Usage(sign, sign * line.tokens, sign * int(details.get("cached_tokens", 0)), sign * line.amount_nano_usd)
        totals[key] = totals.get(key, Usage()) + one
    return totals


def grouped(usage: Mapping[UsageKey, Usage], by: Iterable[str]) -> list[tuple[dict[str, str], Usage]]:
    """Usage summed over what is not in ``by``, in the order of its groups."""
    names = tuple(by)
    totals: dict[tuple[str, ...], Usage] = {}
    for key, one in usage.items():
        group = tuple(getattr(key, name) for name in names)
        totals[group] = totals.get(group, Usage()) + one
    return [(dict(zip(names, group, strict=True)), totals[group]) for group in sorted(totals)]


@dataclass(slots=True)
class Tally:
    """What one project's journal says its account must be. Entries come in their order, each once."""

    granted: int = 0
    captured: int = 0
    month: int = 0
    month_tokens: int = 0
    month_nano_usd: int = 0
    open_holds: dict[str, JournalLine] = field(default_factory=dict)
    grants: dict[str, JournalLine] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    _of_this_month: set[str] = field(default_factory=set)

    def add(self, line: JournalLine) -> None:
        """Take one entry into account."""
        match line.kind:
            case "grant":
                if line.id in self.grants:
                    self.faults.append(f"grant {line.id} is journalled twice")
                self.grants[line.id] = line
                self.granted += line.amount_nano_usd
            case "hold":
                self.open_holds[line.id] = line
                self._budget(line, 1)
            case "capture":
                self._close(line)
                self._of_this_month.discard(line.id)
                self.captured += line.amount_nano_usd
            case "release" | "expire":
                self._close(line)
                self._budget(line, -1)
            case "refund":
                self.granted += line.amount_nano_usd
                if line.month == self.month:
                    self._count(line, -1)
            case _:
                pass

    def release_open(self) -> list[JournalLine]:
        """End all open holds in the customer's favour; they are no longer open."""
        released = list(self.open_holds.values())
        for line in released:
            self._budget(line, -1)
        self.open_holds.clear()
        return released

    @property
    def held(self) -> int:
        """The sum over open holds."""
        return sum(line.amount_nano_usd for line in self.open_holds.values())

    def difference(self, balance: Balance, open_holds: int) -> list[str]:
        """What is wrong with an account, a sentence each; empty when it is right to the nano-dollar."""
        wrong = list(self.faults)
        expected = {"granted": self.granted, "captured": self.captured, "held": self.held}
        expected["available"] = self.granted + balance.debt - self.held - self.captured
        for name, value in expected.items():
            stored = getattr(balance, name)
            if stored != value:
                wrong.append(f"{name} is {stored}, off by {stored - value} nano-USD")
        if open_holds != len(self.open_holds):
            wrong.append(f"{open_holds} holds are open, the journal says {len(self.open_holds)}")
        return wrong

    def _close(self, line: JournalLine) -> None:
        if self.open_holds.pop(line.id, None) is None:
            self.faults.append(f"hold {line.id} ends as {line.kind} without being open")

    def _budget(self, line: JournalLine, sign: int) -> None:
        """The month's figures; a hold counts in the month in which it was taken."""
        if sign > 0:
            if line.month > self.month:
                self.month, self.month_tokens, self.month_nano_usd = line.month, 0, 0
                self._of_this_month.clear()
            self._of_this_month.add(line.id)
            self._count(line, 1)
        elif line.id in self._of_this_month:
            self._of_this_month.discard(line.id)
            self._count(line, -1)

    def _count(self, line: JournalLine, sign: int) -> None:
        self.month_tokens = max(0, self.month_tokens + sign * line.tokens)
        self.month_nano_usd = max(0, self.month_nano_usd + sign * line.amount_nano_usd)


@dataclass(frozen=True, slots=True)
class RebuiltAccount:
    """An account as its journal says it was, its open holds released in the customer's favour.

    What was spent beyond the journalled grants becomes a debt.
    """

    project_id: str
    tally: Tally
    usage: Mapping[UsageKey, Usage]
    released: tuple[JournalLine, ...]
    last_entry_id: str

    @property
    def balance(self) -> Balance:
        """Its money."""
        left = self.tally.granted - self.tally.captured
        return Balance(
            granted=self.tally.granted, available=max(0, left), held=0, captured=self.tally.captured, debt=max(0, -left)
        )
