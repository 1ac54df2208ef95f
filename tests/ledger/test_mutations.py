"""Each fault, put into the scripts on purpose, is caught by a scenario: the checks can fail.

The first five are those of a real system whose ledger leaked; the others are the usual ways to
get money wrong.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.core.errors import DependencyDown
from app.core.ledger_types import Admitted, Refusal, RefusalReason, Refused, Terms
from app.stores.embedded_redis import EmbeddedRedis
from tests.ledger import scenarios as s
from tests.ledger.lab import Lab, on_set_clock


@dataclass(frozen=True)
class Mutation:
    """A change of the scripts' text, and the scenario that must notice it."""

    name: str
    caught_by: Callable[[Lab], None]
    old: str
    new: str
    only_in: str = ""


MUTATIONS = (
    Mutation(
        "a hold ends by its key's time to live",
        s.a_dead_sweeper,
        "call('ZADD', KEYS[4], math.floor(now / 1000) + ttl_ms, ARGV[1])",
        "call('ZADD', KEYS[4], math.floor(now / 1000) + ttl_ms, ARGV[1]) call('PEXPIRE', KEYS[3], ttl_ms)",
    ),
    Mutation(
        "a capture of a missing hold is fine", s.duplicates, "return {'unknown'}", "return {'captured', amount, 1}"
    ),
    Mutation(
        "a double release is hidden by a clamp",
        s.duplicates,
        "or verb == 'undelivered') and hold.mark == 'o' then\n  account.held = account.held - amount",
        "or verb == 'undelivered') then\n  account.held = math.max(0, account.held - amount)",
    ),
    Mutation(
        "a key's name is made inside",
        s.touches_only_declared_keys,
        "call('XADD', KEYS[5], '*', 'hold'",
        "call('XADD', 'eg:' .. string.match(KEYS[1], '{.*}') .. ':journal', '*', 'hold'",
    ),
    Mutation(
        "the time is a caller's, an hour behind",
        s.expiry,
        "local now = time[1] * 1000000 + time[2]",
        "local now = (time[1] - 3600) * 1000000 + time[2]",
    ),
    Mutation("the balance is not checked", s.overspend, "if amount > available then", "if false then"),
    Mutation(
        "money is a float of fourteen digits",
        s.overflow,
        "'held', held + amount,",
        "'held', string.format('%.14g', held + amount),",
    ),
    Mutation(
        "a hold without a journal entry",
        s.duplicates,
        "call('XADD', KEYS[5], '*', 'hold', ARGV[1], 'of', identity)",
        "",
    ),
    Mutation(
        "a capture without a look at the state",
        s.duplicates,
        "string.sub(record, 1, 2) == 'o|' then\n  local amount, tokens = string.match(record, '^o|",
        "true then\n  local amount, tokens = string.match(record, '^%l|",
    ),
    Mutation(
        "a late capture is charged",
        s.expiry,
        "elseif verb == 'capture' and hold.mark == 'x' then\n  mark, kind = 'l', 'forfeit'",
        "elseif verb == 'capture' and hold.mark == 'x' then\n  account.available = account.available - amount "
        "account.captured = account.captured + amount write_account(KEYS[1], account) mark, kind = 'l', 'capture'",
    ),
    Mutation(
        "a grant counts each time",
        s.a_grant_counts_once,
        "if known then\n  return known == ARGV[2]",
        "if false then\n  return known == ARGV[2]",
    ),
    Mutation(
        "an ended hold is forgotten at once",
        s.captured_at_the_deadline,
        "redis.call('HSET', KEYS[3], hold.id, hold.record)",
        "redis.call('HDEL', KEYS[3], hold.id)",
    ),
    Mutation(
        "a refused request fills the bucket",
        s.limits_are_exact,
        "if worst_us > 0 then\n  return",
        "if worst_us > 0 then\n  call('HSET', KEYS[1], 'limits', string.format('%d %d %d %d', unpack(buckets, 1, 4)))"
        "\n  return",
    ),
    Mutation(
        "a release keeps the rate's tokens",
        s.limits_are_exact,
        "changes = give_back_limits(account, KEYS[2], {hold})\n  mark, kind = 'r'",
        "mark, kind = 'r'",
    ),
    Mutation(
        "a release keeps the budget", s.budgets_are_exact, "give_back_budget(account, hold)\n  changes", "changes"
    ),
    Mutation("a month never ends", s.budgets_are_exact, "month_tokens, month_nano_usd = 0, 0", ""),
    Mutation(
        "a clock that steps back drains",
        s.a_clock_that_steps_back,
        "math.max(at_us, now)",
        "now",
    ),
    Mutation("a hold is taken twice", s.duplicates, "if known then\n  local mark", "if false then\n  local mark"),
    Mutation("a correction takes what is held", s.garbage, "if account.available + amount < 0 then", "if false then"),
    Mutation(
        "sums go beyond 2^53",
        s.overflow,
        "if account.granted + amount > MAX then\n  return 'am",
        "if false then\n  return 'am",
    ),
    Mutation("an amount of any kind", s.garbage, "string.find(text, '^%d+$') and tonumber(text)", "tonumber(text)"),
    Mutation(
        "a count is written as it comes",
        s.garbage,
        "captured % 1 ~= 0 or open_count % 1 ~= 0 then",
        "captured % 1 ~= 0 then",
    ),
    Mutation("types are not checked before", s.garbage, "call('ZCARD', KEYS[4])\n\n", ""),
    Mutation(
        "a write before the journal's",
        s.garbage,
        "call('ZCARD', KEYS[4])\n\n",
        "call('ZCARD', KEYS[4])\n\ncall('HINCRBY', KEYS[1], 'other', 1)\n",
    ),
    Mutation("a refund is paid twice", s.refunds, "mark, kind = 'f', 'refund'", "mark, kind = 'c', 'refund'"),
    Mutation("a debt is forgotten", s.a_debt_is_paid_first, "account.debt = account.debt - paid", ""),
)


CAUGHT = (AssertionError, pytest.fail.Exception, DependencyDown)
"""The last: the scripts' own look at the account stopped it before a write."""


def mutated(mutation: Mutation) -> Callable[[str], str]:
    def edit(text: str) -> str:
        return on_set_clock(text.replace(mutation.old, mutation.new))

    return edit


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    server = EmbeddedRedis(tmp_path_factory.mktemp("mutations"))
    server.start()
    return server.url


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: re.sub(r"\W+", "_", m.name))
def test_a_fault_is_caught(url: str, mutation: Mutation) -> None:
    folder = Path(__file__).resolve().parents[2] / "app/stores/lua"
    assert any(mutation.old in path.read_text() for path in folder.glob("*.lua")), "the mutation no longer applies"
    with Lab(url, edit=mutated(mutation)) as lab, pytest.raises(CAUGHT):
        mutation.caught_by(lab)


class CheckThenWriteLab(Lab):
    """A caller that looks at the balance, and then takes a hold that does not."""

    def admit(self, hold_id: str, amount: int, tokens: int = 1, **more: object) -> Admitted | Refused:
        available = self.state().balance.available
        time.sleep(0.002)
        if amount > available:
            return Refused(Refusal(RefusalReason.INSUFFICIENT), (-1,) * 4)
        return super().admit(hold_id, amount, tokens, terms=Terms())


def test_check_then_write_is_caught(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unchecked = next(m for m in MUTATIONS if m.name == "the balance is not checked")
    monkeypatch.setattr(s, "Lab", CheckThenWriteLab)
    with CheckThenWriteLab(url, edit=mutated(unchecked)) as lab, pytest.raises(AssertionError):
        s.overspend(lab)
