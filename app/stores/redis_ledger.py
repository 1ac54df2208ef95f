"""The ledger in Redis: the scripts of ``lua/`` behind the core's port.

Keys of an account, all with its hash tag: ``eg:{id}:account`` (hash of integers; and ``limits``,
level and moment in µs of the project's requests' bucket, and of its tokens'), ``…:limits`` (hash;
a key's id → the same of the key), ``…:holds`` (hash; hold id → record), ``…:deadlines`` (sorted
set; when a hold is due, or an ended one is forgotten), ``…:grants`` (hash; grant id → amount and
details) and ``…:journal`` (stream; kind → id, ``of`` → amount|tokens|key|details).
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis

from app.core.errors import HoldConflict
from app.core.gcra import Bucket
from app.core.ledger_types import (
    AccountState,
    Admitted,
    Balance,
    Charge,
    Entry,
    GrantResult,
    HoldState,
    Receipt,
    Refusal,
    RefusalReason,
    Refused,
    Settlement,
    Terms,
)
from app.stores.redis_client import translated
from app.stores.script_pipe import Script, ScriptPipe

RETAIN_MS = 900_000
"""How long an ended hold is remembered: longer than anyone retries."""

_STATES = {state.value.encode(): state for state in HoldState}
_BUCKETS = 4
_FIELDS = (
    "granted",
    "available",
    "held",
    "captured",
    "debt",
    "open_count",
    "month",
    "month_tokens",
    "month_nano_usd",
    "delinquent",
)


def account_key(project_id: str, part: str) -> str:
    """A key of an account."""
    return f"eg:{{{project_id}}}:{part}"


class RedisLedger:
    """``Ledger`` over one Redis; its keys and scripts would suit a Redis Cluster, its connection does not.

    Args:
        redis: for plain reads.
        pipe: where scripts run.
        retain_ms: how long an ended hold is remembered.
        edit: changes a script's text; for tests that break one on purpose.
    """

    def __init__(
        self, redis: Redis, pipe: ScriptPipe, *, retain_ms: int = RETAIN_MS, edit: Callable[[str], str] = str
    ) -> None:
        self._redis = redis
        self._pipe = pipe
        self._retain_ms = retain_ms
        self._admit, self._settle, self._reap, self._grant = (
            Script.of(name, edit=edit) for name in ("admit", "settle", "reap", "grant")
        )
        self._let_go = Script.of("let_go", edit=edit)

    def admit(
        self, project_id: str, charge: Charge, terms: Terms, *, ttl_ms: int
    ) -> Coroutine[Any, Any, Admitted | Refused]:
        """Check everything, take the hold; see ``app.core.ledger``. Leaves at the call. Raises ``DependencyDown``."""
        sent = self._pipe.run(self._admit, _hold_keys(project_id), _admit_args(charge, terms, ttl_ms))
        return _admission(sent, charge, terms)

    async def admit_all(
        self, project_id: str, charges: Sequence[Charge], terms: Terms, *, ttl_ms: int
    ) -> list[Admitted | Refused]:
        """Do :meth:`admit` for many, in order. After ``DependencyDown`` some may be held, and are found again."""
        calls = [_admit_args(charge, terms, ttl_ms) for charge in charges]
        replies = await self._pipe.run_all(self._admit, _hold_keys(project_id), calls)
        return [_admitted(reply, charge, terms) for reply, charge in zip(replies, charges, strict=True)]

    def settle(
        self, project_id: str, hold_id: str, verb: Settlement, amount_nano_usd: int, *, retain_ms: int | None = None
    ) -> Coroutine[Any, Any, Receipt | None]:
        """End a hold, or say how it ended; None when there is no such hold. Leaves at the call.

        Raises:
            HoldConflict: the amount is not the hold's.
            DependencyDown: whether it was ended is unknown.
        """
        args = [hold_id, verb.value, amount_nano_usd, retain_ms or self._retain_ms]
        return _settlement(self._pipe.run(self._settle, _hold_keys(project_id), args), hold_id, amount_nano_usd)

    async def settle_all(
        self, project_id: str, settlements: Sequence[tuple[str, Settlement, int]], *, retain_ms: int | None = None
    ) -> list[Receipt | None]:
        """Do :meth:`settle` for many holds, each with its verb and amount, in order."""
        calls = [[hold_id, verb.value, amount, retain_ms or self._retain_ms] for hold_id, verb, amount in settlements]
        replies = await self._pipe.run_all(self._settle, _hold_keys(project_id), calls)
        pairs = zip(replies, settlements, strict=True)
        return [_receipt(reply, hold_id, amount) for reply, (hold_id, _, amount) in pairs]

    async def reap(self, project_id: str, *, limit: int) -> tuple[int, int]:
        """Expire due holds and forget old ended ones, at most ``limit``; how many of each."""
        expired, forgotten = await self._pipe.run(self._reap, _hold_keys(project_id), [limit, self._retain_ms])
        return expired, forgotten

    async def let_go(self, project_id: str, hold_ids: Sequence[str]) -> None:
        """Remember ended holds no longer than other ended ones. Raises ``DependencyDown``."""
        keys = [account_key(project_id, part) for part in ("holds", "deadlines")]
        await self._pipe.run(self._let_go, keys, [self._retain_ms, *hold_ids])

    async def grant(self, project_id: str, grant_id: str, amount_nano_usd: int, details: str) -> GrantResult:
        """Add or correct credit, once for each id. Raises ``DependencyDown``."""
        keys = [account_key(project_id, part) for part in ("account", "grants", "journal")]
        reply = await self._pipe.run(self._grant, keys, [grant_id, amount_nano_usd, details])
        return GrantResult(reply.decode())

    async def read_account(self, project_id: str) -> AccountState:
        """Balance, open holds and the month's figures. Raises ``DependencyDown``."""
        async with translated():
            stored = await self._redis.hgetall(account_key(project_id, "account"))
        return account_state(stored)

    async def read_accounts(self, project_ids: Sequence[str]) -> list[AccountState]:
        """Many accounts, in order. Raises ``DependencyDown``."""
        async with translated():
            pipe = self._redis.pipeline(transaction=False)
            for project_id in project_ids:
                pipe.hgetall(account_key(project_id, "account"))
            return [account_state(stored) for stored in await pipe.execute()]


def account_state(stored: Mapping[Any, Any]) -> AccountState:
    """From an account's hash; an account that was never used is all zeros."""
    values = {name: int(stored.get(name.encode(), 0)) for name in _FIELDS}
    buckets = [int(number) for number in stored.get(b"limits", b"0 0 0 0").split()]
    return AccountState(
        balance=Balance(*(values[name] for name in ("granted", "available", "held", "captured", "debt"))),
        open_holds=values["open_count"],
        month=values["month"],
        month_tokens=values["month_tokens"],
        month_nano_usd=values["month_nano_usd"],
        is_delinquent=bool(values["delinquent"]),
        requests_bucket=Bucket(*buckets[:2]),
        tokens_bucket=Bucket(*buckets[2:]),
    )


def written_entry(entry: Entry) -> dict[Any, Any]:
    """An entry as the journal's stream holds it."""
    return {entry.kind: entry.id, "of": f"{entry.amount_nano_usd}|{entry.tokens}||{entry.details}"}


def read_entry(fields: Mapping[bytes, bytes]) -> Entry:
    """An entry of the journal's stream."""
    kind = next(iter(fields))
    amount, tokens, _, details = fields[b"of"].split(b"|", 3)
    return Entry(kind.decode(), fields[kind].decode(), int(amount), int(tokens), details.decode())


def _admit_args(charge: Charge, terms: Terms, ttl_ms: int) -> list[str | int]:
    args: list[str | int] = [charge.hold_id, charge.amount_nano_usd, charge.tokens, ttl_ms, charge.details]
    args.append(charge.key_id)
    args += ["" if budget is None else budget for budget in (terms.monthly_tokens, terms.monthly_nano_usd)]
    for number, quota in enumerate(terms.quotas_in_order(), 1):
        if quota is not None:
            args += [number, quota.per_minute, quota.burst]
    return args


async def _admission(sent: Awaitable[Any], charge: Charge, terms: Terms) -> Admitted | Refused:
    return _admitted(await sent, charge, terms)


async def _settlement(sent: Awaitable[Any], hold_id: str, amount_nano_usd: int) -> Receipt | None:
    return _receipt(await sent, hold_id, amount_nano_usd)


def _admitted(reply: Sequence[Any], charge: Charge, terms: Terms) -> Admitted | Refused:
    levels = [-1] * _BUCKETS
    numbers = [number for number, quota in enumerate(terms.quotas_in_order(), 1) if quota is not None]
    for number, level in zip(numbers, reply[3:], strict=False):
        levels[number - 1] = level
    state = _STATES.get(reply[0])
    if state is not None:
        return Admitted(Receipt(state, reply[1], reply[2]), tuple(levels))
    reason, number, wait_us = RefusalReason(reply[0].decode()), reply[1], reply[2]
    bucket = terms.bucket_names(charge.key_id)[number - 1] if number else ""
    return Refused(Refusal(reason, bucket, wait_us), tuple(levels))


def _receipt(reply: Sequence[Any], hold_id: str, amount_nano_usd: int) -> Receipt | None:
    state = _STATES.get(reply[0])
    if state is not None:
        return Receipt(state, int(reply[1]), int(reply[2]))
    if reply[0] == b"unknown":
        return None
    raise HoldConflict(f"hold {hold_id} is not of {amount_nano_usd} nano-USD: {reply[0].decode()}")


def _hold_keys(project_id: str) -> list[str]:
    tag = f"eg:{{{project_id}}}:"
    return [tag + "account", tag + "limits", tag + "holds", tag + "deadlines", tag + "journal"]
