"""The credit ledger as a pure state machine: one account, its holds, its limits and its journal.

This is the specification. The scripts in ``app/stores/lua`` do the same inside the store, and the
tests drive both with the same calls and compare every reply, every balance and every journal
entry. Amounts are integer nano-USD, time is in microseconds and comes in as an argument.

Invariants, after every call:

1. ``granted + debt = available + held + captured``
2. ``held`` = the sum over open holds, of which there are ``open_count``
3. ``captured`` = the sum over captures in the journal
4. a hold has one terminal state; the first wins, and every later attempt gets its receipt
5. ``available >= 0``; what was spent beyond the grants stands in ``debt``

A hold whose deadline passed is released in the customer's favour. The policy for a capture that
comes after that is *forfeit*: nothing is charged, the attempt is journalled once, and the caller
must not hand out what it computed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from app.core.gcra import Bucket, wait_us
from app.core.ledger_types import (
    Balance,
    Charge,
    Entry,
    GrantResult,
    HoldState,
    Receipt,
    Refusal,
    RefusalReason,
    Settlement,
    Terms,
)
from app.core.money import MAX_AMOUNT_NANO_USD
from app.core.month import month_of


class _Mark(StrEnum):
    """A hold's record in the store, by its first letter."""

    OPEN = "o"
    CAPTURED = "c"
    RELEASED = "r"
    EXPIRED = "x"
    FORFEITED = "l"
    REFUNDED = "f"
    VOID = "v"


_STATES = {
    _Mark.OPEN: HoldState.HELD,
    _Mark.CAPTURED: HoldState.CAPTURED,
    _Mark.RELEASED: HoldState.RELEASED,
    _Mark.EXPIRED: HoldState.EXPIRED,
    _Mark.FORFEITED: HoldState.EXPIRED,
    _Mark.REFUNDED: HoldState.REFUNDED,
    _Mark.VOID: HoldState.RELEASED,
}


@dataclass(frozen=True, slots=True)
class _Record:
    mark: _Mark
    charge: Charge
    month: int
    charged_buckets: tuple[str, ...]

    def receipt(self) -> Receipt:
        return Receipt(_STATES[self.mark], self.charge.amount_nano_usd, self.charge.tokens)


@dataclass(slots=True)
class Account:
    """One project's money and limits. Mutable, and not safe for threads."""

    granted: int = 0
    available: int = 0
    held: int = 0
    captured: int = 0
    debt: int = 0
    month: int = 0
    month_tokens: int = 0
    month_nano_usd: int = 0
    open_count: int = 0
    is_delinquent: bool = False
    buckets: dict[str, Bucket] = field(default_factory=dict)
    holds: dict[str, _Record] = field(default_factory=dict)
    deadlines_ms: dict[str, int] = field(default_factory=dict)
    grants: dict[str, tuple[int, str]] = field(default_factory=dict)
    journal: list[Entry] = field(default_factory=list)

    @property
    def balance(self) -> Balance:
        """The account's money."""
        return Balance(self.granted, self.available, self.held, self.captured, self.debt)

    def grant(self, grant_id: str, amount_nano_usd: int, details: str) -> GrantResult:
        """Add credit, or correct it with a negative amount. The same id again changes nothing.

        A correction never goes below what is held or captured. New credit pays a debt first.
        """
        known = self.grants.get(grant_id)
        if known is not None:
            return GrantResult.GRANTED if known == (amount_nano_usd, details) else GrantResult.CONFLICT
        if amount_nano_usd == 0 or abs(amount_nano_usd) > MAX_AMOUNT_NANO_USD:
            return GrantResult.OUT_OF_RANGE
        if self.granted + amount_nano_usd > MAX_AMOUNT_NANO_USD:
            return GrantResult.OUT_OF_RANGE
        if self.available + amount_nano_usd < 0:
            return GrantResult.INSUFFICIENT
        self.granted += amount_nano_usd
        self._credit(amount_nano_usd)
        self.grants[grant_id] = (amount_nano_usd, details)
        self.journal.append(Entry("grant", grant_id, amount_nano_usd, 0, details))
        return GrantResult.GRANTED

    def admit(self, charge: Charge, terms: Terms, *, now_us: int, ttl_ms: int) -> Receipt | Refusal:
        """Check rates, budgets, standing and balance, and take the hold: all, or nothing is consumed.

        The same hold again gets its receipt and consumes nothing; the same id for something else
        is a conflict.
        """
        known = self.holds.get(charge.hold_id)
        if known is not None:
            if known.mark is not _Mark.VOID and known.charge != charge:
                return Refusal(RefusalReason.CONFLICT)
            return known.receipt()
        if charge.amount_nano_usd > MAX_AMOUNT_NANO_USD or charge.tokens > MAX_AMOUNT_NANO_USD:
            return Refusal(RefusalReason.OUT_OF_RANGE)
        if self.is_delinquent:
            return Refusal(RefusalReason.DELINQUENT)
        filled: dict[str, Bucket] = {}
        worst = Refusal(RefusalReason.RATE_LIMITED)
        for name, (quota, cost) in terms.quotas_of(charge).items():
            if cost > quota.burst:
                return Refusal(RefusalReason.LARGER_THAN_BURST, bucket=name)
            bucket = self.buckets.get(name, Bucket()).drained(quota, now_us)
            needed_us = wait_us(bucket, quota, cost)
            if needed_us > worst.wait_us:
                worst = replace(worst, bucket=name, wait_us=needed_us)
            filled[name] = bucket.filled(cost)
        if worst.wait_us:
            return worst
        month = max(self.month, month_of(now_us))
        carried = month == self.month
        month_tokens = (self.month_tokens if carried else 0) + charge.tokens
        month_nano_usd = (self.month_nano_usd if carried else 0) + charge.amount_nano_usd
        if terms.monthly_tokens is not None and charge.tokens and month_tokens > terms.monthly_tokens:
            return Refusal(RefusalReason.TOKEN_BUDGET)
        if terms.monthly_nano_usd is not None and charge.amount_nano_usd and month_nano_usd > terms.monthly_nano_usd:
            return Refusal(RefusalReason.MONEY_BUDGET)
        if charge.amount_nano_usd > self.available:
            return Refusal(RefusalReason.INSUFFICIENT)
        if month_tokens > MAX_AMOUNT_NANO_USD:
            return Refusal(RefusalReason.OUT_OF_RANGE)
        self.available -= charge.amount_nano_usd
        self.held += charge.amount_nano_usd
        self.open_count += 1
        self.month, self.month_tokens, self.month_nano_usd = month, month_tokens, month_nano_usd
        self.buckets.update(filled)
        record = _Record(_Mark.OPEN, charge, month, tuple(filled))
        self.holds[charge.hold_id] = record
        self.deadlines_ms[charge.hold_id] = now_us // 1000 + ttl_ms
        self._write("hold", record)
        return record.receipt()

    def settle(
        self, hold_id: str, verb: Settlement, amount_nano_usd: int, *, now_us: int, retain_ms: int
    ) -> Receipt | None:
        """End a hold, or say how it ended before; None when there is no such hold.

        ``CAPTURE`` and ``RELEASE`` do nothing to a hold that ended. ``UNDELIVERED`` is for a caller
        that does not know what became of its call and gave its customer nothing: it releases what
        is open, and refunds what was captured, whatever ``amount_nano_usd`` says; a refund that would
        take the grants past ``MAX_AMOUNT_NANO_USD`` is not made, and the hold stays captured.

        Raises:
            ValueError: the amount is not the hold's.
        """
        record = self.holds.get(hold_id)
        if record is None:
            if verb is Settlement.UNDELIVERED:
                void = Charge(hold_id, 0, 0, "", "")
                self._end(_Record(_Mark.VOID, void, 0, ()), _Mark.VOID, now_us, retain_ms)
            return None
        if record.mark is _Mark.VOID:
            return record.receipt()
        if verb is not Settlement.UNDELIVERED and amount_nano_usd != record.charge.amount_nano_usd:
            raise ValueError("hold_conflict")
        amount_nano_usd = record.charge.amount_nano_usd
        match verb, record.mark:
            case Settlement.CAPTURE, _Mark.OPEN:
                self.held -= amount_nano_usd
                self.captured += amount_nano_usd
                record = self._end(record, _Mark.CAPTURED, now_us, retain_ms)
                self._write("capture", record)
            case ((Settlement.RELEASE | Settlement.UNDELIVERED), _Mark.OPEN):
                self._give_back(record)
                record = self._end(record, _Mark.RELEASED, now_us, retain_ms)
                self._write("release", record)
            case Settlement.UNDELIVERED, _Mark.CAPTURED if self.granted + amount_nano_usd <= MAX_AMOUNT_NANO_USD:
                self.granted += amount_nano_usd
                self._credit(amount_nano_usd)
                self._give_back_limits(record)
                record = self._end(record, _Mark.REFUNDED, now_us, retain_ms)
                self._write("refund", record)
            case Settlement.CAPTURE, _Mark.EXPIRED:
                record = self._end(record, _Mark.FORFEITED, now_us, retain_ms)
                self._write("forfeit", record)
            case _:
                pass
        return record.receipt()

    def reap(self, *, now_us: int, limit: int, retain_ms: int) -> tuple[int, int]:
        """Expire due holds and forget old terminal ones; how many of each. The earliest come first."""
        now_ms = now_us // 1000
        due = sorted((deadline, hold_id) for hold_id, deadline in self.deadlines_ms.items() if deadline <= now_ms)
        expired = forgotten = 0
        for _, hold_id in due[:limit]:
            record = self.holds[hold_id]
            if record.mark is _Mark.OPEN:
                self._give_back(record)
                self._write("expire", self._end(record, _Mark.EXPIRED, now_us, retain_ms))
                expired += 1
            else:
                del self.holds[hold_id], self.deadlines_ms[hold_id]
                forgotten += 1
        return expired, forgotten

    def open_holds(self) -> Iterator[Charge]:
        """Holds that are not ended."""
        return (record.charge for record in self.holds.values() if record.mark is _Mark.OPEN)

    def check(self) -> None:
        """Assert the invariants."""
        assert self.granted + self.debt == self.available + self.held + self.captured, "I1"
        assert self.held == sum(charge.amount_nano_usd for charge in self.open_holds()), "I2"
        assert self.open_count == sum(1 for _ in self.open_holds()), "I2"
        assert self.captured == sum(e.amount_nano_usd for e in self.journal if e.kind == "capture"), "I3"
        assert self.available >= 0, "I5"

    def _credit(self, amount_nano_usd: int) -> None:
        """Make an amount available, a debt first; a negative one takes it away."""
        paid = min(self.debt, max(0, amount_nano_usd))
        self.debt -= paid
        self.available += amount_nano_usd - paid

    def _give_back(self, record: _Record) -> None:
        self.held -= record.charge.amount_nano_usd
        self._credit(record.charge.amount_nano_usd)
        self._give_back_limits(record)

    def _give_back_limits(self, record: _Record) -> None:
        if record.month == self.month:
            self.month_tokens = max(0, self.month_tokens - record.charge.tokens)
            self.month_nano_usd = max(0, self.month_nano_usd - record.charge.amount_nano_usd)
        for name in record.charged_buckets:
            cost = 1 if name.endswith("requests") else record.charge.tokens
            if name in self.buckets:
                self.buckets[name] = self.buckets[name].given_back(cost)

    def _end(self, record: _Record, mark: _Mark, now_us: int, retain_ms: int) -> _Record:
        self.open_count -= record.mark is _Mark.OPEN
        ended = replace(record, mark=mark)
        self.holds[record.charge.hold_id] = ended
        self.deadlines_ms[record.charge.hold_id] = now_us // 1000 + retain_ms
        return ended

    def _write(self, kind: str, record: _Record) -> None:
        charge = record.charge
        self.journal.append(Entry(kind, charge.hold_id, charge.amount_nano_usd, charge.tokens, charge.details))
