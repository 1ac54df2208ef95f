"""What the scripts must hold to, as functions of a laboratory: run on the real scripts, where they
must pass, and on broken ones, where one of them must fail."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest

from app.core.errors import DependencyDown, HoldConflict
from app.core.gcra import UNITS
from app.core.ledger_types import Admitted, Entry, GrantResult, HoldState, Receipt, RefusalReason, Refused, Terms
from app.core.month import month_ends_s, month_of
from app.stores.redis_ledger import written_entry
from tests.ledger.lab import HOLD_PARTS, RETAIN_MS, TTL_MS, Lab, limits

LARGEST = 2**53 - 1


def held(answer: Admitted | Refused) -> bool:
    return isinstance(answer, Admitted) and answer.receipt.state is HoldState.HELD


def refused(answer: Admitted | Refused) -> RefusalReason:
    assert isinstance(answer, Refused), answer
    return answer.refusal.reason


def duplicates(lab: Lab) -> None:
    """Capture many times, capture and release in either order, another amount under the same id."""
    lab.grant(1000)
    assert held(lab.admit("h1", 300))
    assert held(lab.admit("h1", 300))
    assert refused(lab.admit("h1", 301)) is RefusalReason.CONFLICT
    assert lab.state().balance.held == 300
    first = lab.capture("h1", 300)
    assert first == Receipt(HoldState.CAPTURED, 300, 1)
    for _ in range(3):
        assert lab.capture("h1", 300) == first
        assert lab.release("h1", 300) == first
    with pytest.raises(HoldConflict):
        lab.capture("h1", 299)
    assert isinstance(lab.admit("h1", 300), Admitted)
    assert held(lab.admit("h2", 200))
    released = lab.release("h2", 200)
    assert released == Receipt(HoldState.RELEASED, 200, 1)
    assert lab.capture("h2", 200) == released
    assert lab.capture("never", 1) is None
    assert lab.release("never", 1) is None
    balance = lab.state().balance
    assert (balance.available, balance.held, balance.captured) == (700, 0, 300)
    assert [entry.kind for entry in lab.journal()] == ["grant", "hold", "capture", "hold", "release"]
    lab.check()


def race_of_capture_and_release(lab: Lab) -> None:
    """Many at once: one terminal state, whoever comes first."""
    lab.grant(10**6)
    for n in range(20):
        assert held(lab.admit(f"r{n}", 100))

    def end(n: int) -> None:
        with Lab(lab.url, edit=lab.edit).opened() as other:
            (other.capture if n % 2 else other.release)(f"r{n // 4}", 100)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(end, range(80)))
    balance = lab.state().balance
    assert balance.held == 0
    assert balance.available + balance.captured == 10**6
    lab.check()


def expiry(lab: Lab) -> None:
    """A hold ends at its deadline, not before, in the customer's favour; a capture after that is forfeit."""
    lab.grant(1000)
    terms = Terms(project=limits(tokens=(60, 100)), monthly_tokens=100)
    assert held(lab.admit("h1", 400, 50, terms=terms))
    lab.advance((TTL_MS - 1) * 1000)
    assert lab.reap() == (0, 0)
    assert held(lab.admit("h2", 100, 7, terms=terms))
    lab.advance(1000)
    assert lab.reap() == (1, 0)
    state = lab.state()
    assert (state.balance.available, state.balance.held, state.month_tokens) == (900, 100, 7)
    late = lab.capture("h1", 400)
    assert late == Receipt(HoldState.EXPIRED, 400, 50)
    assert lab.capture("h1", 400) == late
    assert lab.state().balance.captured == 0
    assert [e.kind for e in lab.journal() if e.id == "h1"] == ["hold", "expire", "forfeit"]
    assert lab.capture("h2", 100) == Receipt(HoldState.CAPTURED, 100, 7)
    lab.check()


def captured_at_the_deadline(lab: Lab) -> None:
    """Whoever is first at the very deadline decides; the other learns of it."""
    lab.grant(100)
    for hold_id, capture_first in (("a", True), ("b", False)):
        assert held(lab.admit(hold_id, 10))
        lab.advance(TTL_MS * 1000)
        if capture_first:
            assert lab.capture(hold_id, 10) == Receipt(HoldState.CAPTURED, 10, 1)
            assert lab.reap() == (0, 0)
        else:
            assert lab.reap()[0] == 1
            assert lab.capture(hold_id, 10) == Receipt(HoldState.EXPIRED, 10, 1)
        lab.check()


def a_dead_sweeper(lab: Lab) -> None:
    """Nobody sweeps for an hour: holds stay, and are ended when somebody does; then they are forgotten."""
    lab.grant(1000)
    for n in range(5):
        assert held(lab.admit(f"h{n}", 100))
    lab.advance(3_600_000_000)
    for part in HOLD_PARTS:
        assert lab.raw.ttl(lab.key(part)) in (-1, -2), f"{part} would end by itself"
    assert lab.state().balance.held == 500
    assert lab.capture("h0", 100) == Receipt(HoldState.CAPTURED, 100, 1)
    assert lab.reap(limit=3) == (3, 0)
    assert lab.reap() == (1, 0)
    assert lab.reap() == (0, 0)
    lab.advance(RETAIN_MS * 1000)
    assert lab.reap() == (0, 5)
    assert lab.raw.hlen(lab.key("holds")) == 0
    assert lab.capture("h1", 100) is None
    balance = lab.state().balance
    assert (balance.available, balance.captured) == (900, 100)
    lab.check()


def overspend(lab: Lab, *, workers: int = 8, balance: int = 1000, amount: int = 7) -> None:
    """Many callers and one balance: exactly as many holds as it pays for."""
    lab.grant(balance)

    def worker(number: int) -> int:
        with Lab(lab.url, edit=lab.edit).opened() as other:
            return sum(held(other.admit(f"w{number}.{n}", amount)) for n in range(2 * balance // amount // workers + 1))

    with ThreadPoolExecutor(workers) as pool:
        accepted = sum(pool.map(worker, range(workers)))
    assert accepted == balance // amount
    assert lab.state().balance.available == balance % amount
    lab.check()


def limits_are_exact(lab: Lab) -> None:
    """GCRA: a burst, then one for each interval to the microsecond; a refusal consumes nothing."""
    lab.grant(10**9)
    terms = Terms(project=limits(requests=(7, 3)), key=limits(tokens=(60, 100)))
    for n in range(3):
        assert held(lab.admit(f"h{n}", 1, 10, terms=terms))
    before = lab.dump()
    answer = lab.admit("h3", 1, 10, terms=terms)
    assert isinstance(answer, Refused)
    assert answer.refusal.bucket == "requests"
    assert answer.refusal.wait_us == -(-UNITS // 7)
    assert lab.dump() == before
    lab.advance(answer.refusal.wait_us - 1)
    assert refused(lab.admit("h3", 1, 10, terms=terms)) is RefusalReason.RATE_LIMITED
    lab.advance(1)
    assert held(lab.admit("h3", 1, 10, terms=terms))
    lab.advance(60_000_000)
    answer = lab.admit("h4", 1, 100, terms=terms)
    assert held(answer), "a minute refills sixty tokens, and forty were taken"
    answer = lab.admit("h5", 1, 1, terms=terms)
    assert isinstance(answer, Refused)
    assert (answer.refusal.bucket, answer.refusal.wait_us) == ("key_1:tokens", 1_000_000)
    assert refused(lab.admit("h6", 1, 101, terms=terms)) is RefusalReason.LARGER_THAN_BURST
    assert lab.release("h4", 1) is not None
    assert held(lab.admit("h7", 1, 100, terms=terms)), "what is released is given back"
    lab.check()


def budgets_are_exact(lab: Lab) -> None:
    """A month's budget is spent to the last token, comes back with a release, and anew with the month."""
    lab.grant(10**9)
    terms = Terms(monthly_tokens=10, monthly_nano_usd=1000)
    assert held(lab.admit("h1", 10, 6, terms=terms))
    assert refused(lab.admit("h2", 10, 5, terms=terms)) is RefusalReason.TOKEN_BUDGET
    assert held(lab.admit("h2", 10, 4, terms=terms))
    assert refused(lab.admit("h3", 1, 1, terms=terms)) is RefusalReason.TOKEN_BUDGET
    assert held(lab.admit("free", 0, 0, terms=terms)), "what costs nothing needs no budget"
    lab.release("h2", 10)
    assert refused(lab.admit("h4", 991, 1, terms=terms)) is RefusalReason.MONEY_BUDGET
    assert held(lab.admit("h4", 990, 4, terms=terms))
    month = month_of(lab.now_us)
    end_us = month_ends_s(month) * 1_000_000
    lab.set_clock(end_us - 1)
    assert refused(lab.admit("h5", 0, 1, terms=terms)) is RefusalReason.TOKEN_BUDGET
    lab.set_clock(end_us)
    assert held(lab.admit("h5", 0, 10, terms=terms))
    lab.release("h1", 10)
    assert lab.state().month_tokens == 10, "a hold of last month gives nothing back to this one"
    lab.check()


def garbage(lab: Lab) -> None:
    """Refused without a write: the store's keys are the same to the byte."""
    lab.grant(1000)
    assert held(lab.admit("h1", 100))
    before = lab.dump()
    for amount in (0, 2**53, 2**63 - 1, -(2**60)):
        assert lab.grant(amount, "bad") is not GrantResult.GRANTED
    assert lab.grant(-901, "revoke") is GrantResult.INSUFFICIENT, "what is held stays"
    for raw_amount in ("-1", "1.5", "nan", "", "1e3", "0x10", " 7", "inf"):
        args = ["bad", raw_amount, "1", "1000", "{}", "key_1", "", ""]
        assert lab.run_script("admit", args)[0] == b"amount_out_of_range", raw_amount
    for verb in (lab.capture, lab.release):
        with pytest.raises(HoldConflict):
            verb("h1", 101)
    assert lab.dump() == before
    for part in HOLD_PARTS:
        lab.raw.delete(lab.key(part))
        lab.raw.set(lab.key(part), "of another type")
        wrong = lab.dump()
        with pytest.raises(DependencyDown):
            lab.admit("h2", 1, terms=WITH_LIMITS)
        if part != "limits":  # a capture has nothing to do with them
            with pytest.raises(DependencyDown):
                lab.capture("h1", 100)
        assert lab.dump() == wrong, f"{part} was of another type, and something was written"
        return_to(lab, before)
    for field, value in product(("available", "held", "month_tokens", "open_count", "limits"), ("1.5", "x")):
        lab.raw.hset(lab.key("account"), field, value)
        wrong = lab.dump()
        with pytest.raises(DependencyDown):
            lab.admit("h2", 1)
        if field in ("held", "open_count"):
            with pytest.raises(DependencyDown):
                lab.capture("h1", 100)
        assert lab.dump() == wrong, f"{field} was {value}, and something was written"
        return_to(lab, before)
    lab.raw.hdel(lab.key("account"), "open_count")
    wrong = lab.dump()
    with pytest.raises(DependencyDown):
        lab.capture("h1", 100)
    assert lab.dump() == wrong
    return_to(lab, before)


WITH_LIMITS = Terms(project=limits(requests=(60, 60)))


def return_to(lab: Lab, dump: dict[str, bytes | None]) -> None:
    for part, value in dump.items():
        lab.raw.delete(lab.key(part))
        if value is not None:
            lab.raw.restore(lab.key(part), 0, value)


def overflow(lab: Lab) -> None:
    """Up to 2^53-1 every nano-dollar counts; beyond that nothing is written."""
    assert lab.grant(LARGEST - 5) is GrantResult.GRANTED
    before = lab.dump()
    assert lab.grant(6, "over") is GrantResult.OUT_OF_RANGE
    assert refused(lab.admit("big", 2**53)) is RefusalReason.OUT_OF_RANGE
    assert refused(lab.admit("bigger", 2**63 - 1)) is RefusalReason.OUT_OF_RANGE
    assert refused(lab.admit("tokens", 1, 2**53)) is RefusalReason.OUT_OF_RANGE
    assert lab.dump() == before
    assert lab.grant(5, "rest") is GrantResult.GRANTED
    assert held(lab.admit("h1", LARGEST - 1))
    assert held(lab.admit("h2", 1))
    assert refused(lab.admit("h3", 1)) is RefusalReason.INSUFFICIENT
    assert lab.capture("h1", LARGEST - 1) == Receipt(HoldState.CAPTURED, LARGEST - 1, 1)
    assert lab.release("h2", 1) == Receipt(HoldState.RELEASED, 1, 1)
    balance = lab.state().balance
    assert (balance.granted, balance.available, balance.held, balance.captured) == (LARGEST, 1, 0, LARGEST - 1)
    assert lab.raw.hget(lab.key("account"), "captured") == str(LARGEST - 1).encode()
    assert [e.amount_nano_usd for e in lab.journal() if e.kind == "capture"] == [LARGEST - 1]
    lab.check()


def refunds(lab: Lab) -> None:
    """A caller that got no answer undoes whatever became of its call, once."""
    lab.grant(1000)
    terms = Terms(monthly_tokens=100, project=limits(tokens=(60, 100)))
    assert held(lab.admit("open", 100, 10, terms=terms))
    assert held(lab.admit("paid", 200, 20, terms=terms))
    lab.capture("paid", 200)
    for _ in range(3):
        lab.undelivered("open", 100)
        lab.undelivered("paid", 0)
        lab.undelivered("late", 300)
    state = lab.state()
    assert (state.balance.granted, state.balance.available, state.balance.captured) == (1200, 1000, 200)
    assert (state.month_tokens, state.open_holds) == (0, 0)
    late = lab.admit("late", 300, terms=terms)
    assert isinstance(late, Admitted)
    assert late.receipt.state is HoldState.RELEASED, "a command that arrives after it was given up holds nothing"
    assert [e.kind for e in lab.journal()] == ["grant", "hold", "hold", "capture", "release", "refund"]
    lab.check()


def a_grant_counts_once(lab: Lab) -> None:
    """The same grant again changes nothing; another under its id is a conflict."""
    for _ in range(3):
        assert lab.grant(100) is GrantResult.GRANTED
    assert lab.grant(101) is GrantResult.CONFLICT
    assert lab.grant(100, details='{"reason":"other"}') is GrantResult.CONFLICT
    assert lab.state().balance.granted == 100
    assert [entry.kind for entry in lab.journal()] == ["grant"]


def a_debt_is_paid_first(lab: Lab) -> None:
    """What a rebuild found spent beyond the grants is explicit, and new credit pays it first."""
    lab.grant(100)
    lab.raw.hset(lab.key("account"), mapping={"granted": 100, "available": 0, "captured": 150, "debt": 50})
    lab.raw.xadd(lab.key("journal"), written_entry(Entry("capture", "old", 150, 1, "{}")))
    assert refused(lab.admit("h1", 1)) is RefusalReason.INSUFFICIENT
    assert lab.grant(30, "g2") is GrantResult.GRANTED
    assert (lab.state().balance.debt, lab.state().balance.available) == (20, 0)
    assert lab.grant(30, "g3") is GrantResult.GRANTED
    assert (lab.state().balance.debt, lab.state().balance.available) == (0, 10)
    lab.check()


def delinquent(lab: Lab) -> None:
    """A project past due is refused before anything is consumed."""
    lab.grant(1000)
    lab.raw.hset(lab.key("account"), "delinquent", 1)
    before = lab.dump()
    assert refused(lab.admit("h1", 1)) is RefusalReason.DELINQUENT
    assert refused(lab.admit("h1", 0, 0)) is RefusalReason.DELINQUENT
    assert lab.dump() == before
    lab.raw.hset(lab.key("account"), "delinquent", 0)
    assert held(lab.admit("h1", 1))


def a_clock_that_steps_back(lab: Lab) -> None:
    """After a failover to a store whose clock is behind: no bucket drains twice, no hold ends early."""
    lab.grant(1000)
    terms = Terms(project=limits(requests=(60, 3)))
    assert held(lab.admit("h1", 1, terms=terms))
    assert held(lab.admit("h2", 1, terms=terms))
    moment = lab.buckets()["requests"].at_us
    lab.advance(-3_600_000_000)
    assert held(lab.admit("h3", 1, terms=terms))
    assert refused(lab.admit("h4", 1, terms=terms)) is RefusalReason.RATE_LIMITED
    assert lab.reap() == (0, 0)
    assert lab.buckets()["requests"].at_us >= moment
    lab.advance(3_600_000_000)
    assert refused(lab.admit("h4", 1, terms=terms)) is RefusalReason.RATE_LIMITED
    lab.advance(1_000_000)
    assert held(lab.admit("h4", 1, terms=terms))
    lab.check()


def touches_only_declared_keys(lab: Lab) -> None:
    """Under other names, the scripts leave nothing behind but those names: safe on a Redis Cluster."""
    lab.raw.flushall()
    names = [f"other:{{tag}}:{part}" for part in HOLD_PARTS]
    lab.raw.set(names[0] + ":clock", lab.now_us)
    lab.raw.hset(names[0], "available", 100)
    lab.raw.hset(names[0], "granted", 100)
    lab.run_script("admit", ["h1", "10", "1", "1000", "{}", "key_1", "", "", "1", "60", "60"], keys=names)
    lab.run_script("admit", ["h2", "10", "1", "1000", "{}", "key_1", "", ""], keys=names)
    lab.run_script("settle", ["h1", "capture", "10", "1000"], keys=names)
    lab.run_script("settle", ["h2", "release", "10", "1000"], keys=names)
    lab.run_script("reap", ["10", "1000"], keys=names)
    lab.run_script("grant", ["g", "5", "{}"], keys=[names[0], "other:{tag}:grants", names[4]])
    assert {key.decode() for key in lab.raw.scan_iter()} <= {*names, "other:{tag}:grants", names[0] + ":clock"}


SCENARIOS = (
    duplicates,
    race_of_capture_and_release,
    expiry,
    captured_at_the_deadline,
    a_dead_sweeper,
    overspend,
    limits_are_exact,
    budgets_are_exact,
    garbage,
    overflow,
    refunds,
    a_grant_counts_once,
    a_debt_is_paid_first,
    delinquent,
    a_clock_that_steps_back,
    touches_only_declared_keys,
)
