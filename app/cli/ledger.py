"""``embedgate ledger …``: the accounts against their journal, straight from the stores."""

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.admin_client import fail
from app.cli.output import is_json, say, show_json
from app.core.errors import EmbedgateError
from app.services.ledger_audit import LedgerAudit
from app.stores.embedded_redis import socket_path
from app.stores.journal_files import JournalFiles
from app.stores.object_place import ObjectPlace
from app.stores.redis_client import PATIENT_S, connect
from app.stores.redis_journal import RedisJournal
from app.stores.redis_rebuild import RedisRebuild
from app.stores.redis_wire import RedisWire
from app.stores.script_pipe import ScriptPipe

ledger_app = typer.Typer(help="Accounts against their journal: verify, rebuild.", no_args_is_help=True)

RedisUrl = Annotated[
    str | None,
    typer.Option("--redis", envvar="REDIS_URL", help="The cluster's Redis; the one of 'make serve' in this folder."),
]
JournalUrl = Annotated[
    str,
    typer.Option("--journal", envvar="EMBEDGATE_JOURNAL_URL", help="Folder or URL of the journal."),
]
_LOCAL_REDIS = Path(".embedgate/redis")
_LOCAL_JOURNAL = ".embedgate/journal"


@ledger_app.command()
def verify(redis: RedisUrl = None, journal: JournalUrl = _LOCAL_JOURNAL) -> None:
    """Recompute every balance from grants and journal; names each project that is off by one nano-dollar."""
    faulty = asyncio.run(_guarded(_verify(_redis_url(redis), journal)))
    if faulty:
        raise typer.Exit(1)


@ledger_app.command()
def rebuild(
    redis: RedisUrl = None,
    journal: JournalUrl = _LOCAL_JOURNAL,
    ledger: Annotated[str | None, typer.Option(help="Which ledger, where the journal holds several.")] = None,
) -> None:
    """Fill an empty Redis with projects, keys and accounts from the journal. Open holds are released."""
    asyncio.run(_guarded(_rebuild(_redis_url(redis), journal, ledger)))


async def _verify(redis_url: str, journal_url: str) -> int:
    projects = entries = 0
    faults: dict[str, list[str]] = {}
    async for verdict in _audit(redis_url, journal_url).verify():
        projects += 1
        entries += verdict.entries
        if verdict.faults:
            faults[verdict.project_id] = list(verdict.faults)
        for fault in verdict.faults:
            say(f"{verdict.project_id}: {fault}")
    if is_json():
        show_json({"projects": projects, "entries": entries, "off": faults})
    say(f"{projects} projects, {entries} entries, {len(faults)} projects off")
    return len(faults)


async def _rebuild(redis_url: str, journal_url: str, ledger_id: str | None) -> int:
    store = RedisRebuild(connect(redis_url, timeout_s=PATIENT_S))
    restored = []
    async for account in _audit(redis_url, journal_url).rebuild(store, ledger_id):
        balance = account.balance
        restored.append({"project_id": account.project_id, "released": len(account.released), **asdict(balance)})
        say(
            f"{account.project_id}: available {balance.available}, captured {balance.captured}, "
            f"{len(account.released)} open holds released" + (f", debt {balance.debt}" if balance.debt else "")
        )
    if is_json():
        show_json(restored)
    return 0


def _audit(redis_url: str, journal_url: str) -> LedgerAudit:
    redis = connect(redis_url, timeout_s=PATIENT_S)
    journal = RedisJournal(redis, ScriptPipe(RedisWire(redis_url, timeout_s=PATIENT_S), clock_s=time.monotonic))
    return LedgerAudit(journal, JournalFiles(ObjectPlace.of(journal_url)))


async def _guarded(work: Coroutine[Any, Any, int]) -> int:
    try:
        return await work
    except EmbedgateError as error:
        fail(error.message)


def _redis_url(url: str | None) -> str:
    if url:
        return url
    if not socket_path(_LOCAL_REDIS).exists():
        fail("set REDIS_URL, or run this where 'make serve' runs")
    return f"unix://{socket_path(_LOCAL_REDIS)}"
