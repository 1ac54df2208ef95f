"""A thousand projects with ninety days of usage, written as the service would have written them."""

from datetime import UTC, datetime, timedelta

import orjson
import redis

from app.core.directory import Project
from app.core.journal import Usage, UsageKey
from app.stores.redis_directory import PROJECTS, directory_key
from app.stores.redis_journal import usage_field
from app.stores.redis_ledger import account_key

COUNT = 1000
DAYS = 90


def project_id(number: int) -> str:
    """The id of one of them."""
    return f"proj_{number:024x}"


def write(store: redis.Redis) -> None:
    """Write them all; each has six rows of usage a day."""
    today = datetime.now(UTC).date()
    days = [(today - timedelta(days=back)).isoformat() for back in range(DAYS)]
    for number in range(COUNT):
        own = project_id(number)
        pipe = store.pipeline(transaction=False)
        project = Project(own, f"Project {number}", f"p-{number}", "active", 0)
        pipe.hset(directory_key(own), "project", orjson.dumps(project))
        pipe.zadd(PROJECTS, {own: 0})
        account = {"granted": 10**12, "available": 10**12 - number, "captured": number}
        pipe.hset(account_key(own, "account"), mapping=account)
        for day in days:
            for tier in ("flex", "default", "priority"):
                for user in ("ann", "bob"):
                    key = UsageKey(day, "main", tier, "key_1", user)
                    usage = Usage(number, 2, 3, 4)
                    value = f"{usage.requests}|{usage.tokens}|{usage.cached_tokens}|{usage.amount_nano_usd}"
                    pipe.hset(account_key(own, f"usage:{key.month}"), usage_field(key).decode(), value)
        pipe.execute()
