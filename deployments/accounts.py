"""Everything of a gateway that money flows through, put together. Knows neither Ray nor vLLM."""

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from app.core.ports import Metrics
from app.core.tiers import Tier
from app.services.admission import LedgerAdmission
from app.services.housekeeping import Housekeeping
from app.services.idempotency import Idempotency
from app.services.journal_drain import JournalDrain
from app.services.journal_reader import JournalReader
from app.services.unsettled import Unsettled
from app.services.usage import UsageService
from app.stores.answers import AnswerFiles, RedisAnswerRecords
from app.stores.journal_files import JournalFiles
from app.stores.object_place import ObjectPlace
from app.stores.redis_client import connect
from app.stores.redis_journal import RedisJournal
from app.stores.redis_lease import RedisLease
from app.stores.redis_ledger import RedisLedger
from app.stores.redis_wire import RedisWire
from app.stores.script_pipe import ScriptPipe
from deployments.fresh_ids import FreshIds

_READER_THREADS = 2


@dataclass(frozen=True, slots=True)
class Accounts:
    """A gateway's part in the cluster's accounts."""

    ledger: RedisLedger
    admission: LedgerAdmission
    idempotency: Idempotency
    usage: UsageService
    journal: JournalReader
    unsettled: Unsettled
    housekeeping: Housekeeping


def open_accounts(
    *,
    redis_url: str,
    journal_url: str,
    journal_period_s: float,
    remember_s: int,
    multipliers: Mapping[Tier, int],
    forget: Sequence[Callable[[], Awaitable[bool]]],
    metrics: Metrics,
) -> Accounts:
    """Connect a gateway to the cluster's accounts.

    Args:
        redis_url: where the ledger is.
        journal_url: where its journal and kept answers go.
        journal_period_s: how often.
        remember_s: how long an ended hold is remembered.
        multipliers: price of each tier in thousandths.
        forget: what is tidied up with the accounts.
        metrics: of the process.
    """
    pipe = ScriptPipe(RedisWire(redis_url), clock_s=time.monotonic)
    new_hold_id = FreshIds("hold_")
    ledger = RedisLedger(connect(redis_url), pipe, retain_ms=remember_s * 1000)
    journal = RedisJournal(connect(redis_url), pipe)
    # A connection of its own, so that long sweeps never make a request wait.
    behind = ScriptPipe(RedisWire(redis_url), clock_s=time.monotonic)
    swept = RedisJournal(connect(redis_url), behind)
    place = ObjectPlace.of(journal_url)
    answers = AnswerFiles(place)
    parts = JournalFiles(place)
    unsettled = Unsettled(ledger, metrics, clock_s=time.monotonic, give_up_s=remember_s * 0.9)
    return Accounts(
        ledger=ledger,
        admission=LedgerAdmission(
            ledger,
            unsettled,
            multipliers=multipliers,
            metrics=metrics,
            clock_us=lambda: time.monotonic_ns() // 1000,
            new_hold_id=new_hold_id,
        ),
        idempotency=Idempotency(
            RedisAnswerRecords(pipe),
            answers,
            ledger,
            wall_s=time.time,
            clock_s=time.monotonic,
            new_hold_id=new_hold_id,
        ),
        usage=UsageService(ledger, journal, wall_s=time.time),
        # Threads of its own, so that looking back holds up neither the drain nor answers.
        journal=JournalReader(swept, JournalFiles(ObjectPlace.of(journal_url, threads=_READER_THREADS))),
        unsettled=unsettled,
        housekeeping=Housekeeping(
            ledger=RedisLedger(connect(redis_url), behind, retain_ms=remember_s * 1000),
            journal=swept,
            drain=JournalDrain(swept, parts),
            answers=answers,
            forget=forget,
            metrics=metrics,
            has_lease=RedisLease(connect(redis_url), "eg:housekeeping", owner=secrets.token_hex(8), lasts_ms=5000).take,
            drain_period_s=journal_period_s,
            clock_s=time.monotonic,
            wall_s=time.time,
        ),
    )
