"""A ledger under test: the scripts on a real store, their oracle, and a clock that a test sets."""

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.core.errors import DependencyDown
from app.core.gcra import Bucket
from app.core.ledger import Account
from app.core.ledger_types import (
    AccountState,
    Admitted,
    Charge,
    Entry,
    GrantResult,
    Limits,
    Receipt,
    Refused,
    Settlement,
    Terms,
)
from app.stores.redis_client import PATIENT_S, connect
from app.stores.redis_ledger import RedisLedger, account_key, read_entry
from app.stores.redis_wire import RedisWire
from app.stores.script_pipe import Script, ScriptPipe

T = TypeVar("T")
Edit = Callable[[str], str]
PROJECT = "proj_lab"
RETAIN_MS = 60_000
TTL_MS = 10_000
_PATIENCE = 20
START_US = 1_790_000_000_000_000

_SET_CLOCK = """local function set_clock()
  local us = tonumber(redis.call('GET', KEYS[1] .. ':clock'))
  return {math.floor(us / 1000000), us % 1000000}
end
"""
HOLD_PARTS = ("account", "limits", "holds", "deadlines", "journal")


def on_set_clock(text: str) -> str:
    """A script that reads the time from a key, so that tests can set it."""
    return _SET_CLOCK + re.sub(r"(redis\.)?call\('TIME'\)", "set_clock()", text)


def details_of(hold_id: str) -> str:
    return f'{{"request_id":"req_{hold_id}"}}'


@dataclass
class Lab:
    """One account on a store."""

    url: str
    project_id: str = PROJECT
    edit: Edit = on_set_clock
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def __post_init__(self) -> None:
        self.raw = redis.Redis.from_url(self.url)
        self._client = connect(self.url, timeout_s=PATIENT_S)
        self._wire = RedisWire(self.url, timeout_s=PATIENT_S)
        self._pipe = ScriptPipe(self._wire, clock_s=time.monotonic)
        self.ledger = RedisLedger(self._client, self._pipe, retain_ms=RETAIN_MS, edit=self.edit)

    def close(self) -> None:
        self._wire.close()
        self.run(self._client.aclose())
        self.loop.close()
        self.raw.close()

    @contextmanager
    def opened(self) -> Iterator["Lab"]:
        """A further caller of an account that is in use."""
        try:
            yield self
        finally:
            self.close()

    def __enter__(self) -> "Lab":
        self.raw.flushall()
        self.set_clock(START_US)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def ask(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """One call; asked again where a busy machine lost its answer, which its id makes safe."""
        for _ in range(_PATIENCE):
            try:
                return self.run(call())
            except DependencyDown as error:
                cause = error.__cause__
                if isinstance(cause, RedisError) and not isinstance(cause, (RedisConnectionError, RedisTimeoutError)):
                    raise
                time.sleep(0.1)
        return self.run(call())

    def key(self, part: str) -> str:
        return account_key(self.project_id, part)

    def set_clock(self, now_us: int) -> None:
        self.now_us = now_us
        self.raw.set(self.key("account") + ":clock", now_us)

    def advance(self, us: int) -> None:
        self.set_clock(self.now_us + us)

    def grant(self, amount: int, grant_id: str = "g1", details: str = "{}") -> GrantResult:
        return self.ask(lambda: self.ledger.grant(self.project_id, grant_id, amount, details))

    def admit(
        self,
        hold_id: str,
        amount: int,
        tokens: int = 1,
        *,
        terms: Terms | None = None,
        ttl_ms: int = TTL_MS,
        key_id: str = "key_1",
    ) -> Admitted | Refused:
        charge = Charge(hold_id, amount, tokens, key_id, details_of(hold_id))
        return self.ask(lambda: self.ledger.admit(self.project_id, charge, terms or Terms(), ttl_ms=ttl_ms))

    def settle(self, hold_id: str, verb: Settlement, amount: int) -> Receipt | None:
        return self.ask(lambda: self.ledger.settle(self.project_id, hold_id, verb, amount))

    def capture(self, hold_id: str, amount: int) -> Receipt | None:
        return self.settle(hold_id, Settlement.CAPTURE, amount)

    def release(self, hold_id: str, amount: int) -> Receipt | None:
        return self.settle(hold_id, Settlement.RELEASE, amount)

    def undelivered(self, hold_id: str, amount: int) -> Receipt | None:
        return self.settle(hold_id, Settlement.UNDELIVERED, amount)

    def reap(self, limit: int = 1000) -> tuple[int, int]:
        return self.ask(lambda: self.ledger.reap(self.project_id, limit=limit))

    def run_script(self, name: str, args: Sequence[str], keys: Sequence[str] | None = None) -> Any:
        """A script with arguments that the code in between would never send."""
        keys = keys or [self.key(part) for part in HOLD_PARTS]
        return self.ask(lambda: self._pipe.run(Script.of(name, edit=self.edit), keys, args))

    def state(self) -> AccountState:
        return self.run(self.ledger.read_account(self.project_id))

    def journal(self) -> list[Entry]:
        return [read_entry(fields) for _, fields in self.raw.xrange(self.key("journal"))]

    def buckets(self) -> dict[str, Bucket]:
        """Every bucket that was ever charged, by the oracle's name for it."""
        buckets = {}
        of_keys = {f"{key_id.decode()}:": packed for key_id, packed in self.raw.hgetall(self.key("limits")).items()}
        of_project = self.raw.hget(self.key("account"), "limits")
        for prefix, packed in (of_keys | ({"": of_project} if of_project else {})).items():
            numbers = [int(number) for number in packed.split()]
            buckets[f"{prefix}requests"], buckets[f"{prefix}tokens"] = Bucket(*numbers[:2]), Bucket(*numbers[2:])
        return {name: bucket for name, bucket in buckets.items() if bucket.at_us}

    def open_amounts(self) -> list[int]:
        records = self.raw.hvals(self.key("holds"))
        return [int(record.split(b"|")[3]) for record in records if record.startswith(b"o|")]

    def check(self) -> None:
        """Assert the invariants on the store alone."""
        state, journal = self.state(), self.journal()
        balance = state.balance
        assert balance.granted + balance.debt == balance.available + balance.held + balance.captured, f"I1: {balance}"
        assert balance.held == sum(self.open_amounts()), f"I2: {balance}"
        assert state.open_holds == len(self.open_amounts()), "I2"
        assert balance.captured == sum(e.amount_nano_usd for e in journal if e.kind == "capture"), f"I3: {balance}"
        ended = [e.id for e in journal if e.kind in ("capture", "release", "expire")]
        assert len(ended) == len(set(ended)), f"I4: {ended}"
        assert balance.available >= 0, f"I5: {balance}"

    def dump(self) -> dict[str, bytes | None]:
        """Every key of the account as the store keeps it."""
        return {part: self.raw.dump(self.key(part)) for part in (*HOLD_PARTS, "grants")}

    def agrees_with(self, oracle: Account) -> None:
        """Assert that the store and the pure state machine hold the same account."""
        state = self.state()
        assert state.balance == oracle.balance
        assert state.open_holds == oracle.open_count
        assert (state.month, state.month_tokens, state.month_nano_usd) == (
            oracle.month,
            oracle.month_tokens,
            oracle.month_nano_usd,
        )
        assert self.journal() == oracle.journal
        assert self.buckets() == oracle.buckets
        deadlines = {
            member.decode(): int(score)
            for member, score in self.raw.zrange(self.key("deadlines"), 0, -1, withscores=True)
        }
        assert deadlines == oracle.deadlines_ms


def limits(requests: tuple[int, int] | None = None, tokens: tuple[int, int] | None = None) -> Limits:
    return Limits(*(requests or (None, None)), *(tokens or (None, None)))
