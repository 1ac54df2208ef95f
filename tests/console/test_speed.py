"""The first meaningful paint with a thousand projects and ninety days of usage."""

import statistics
from datetime import UTC, datetime, timedelta

import httpx
import orjson
import pytest

from app.core.directory import Project
from app.core.journal import Usage, UsageKey
from app.stores.redis_client import PATIENT_S, connect
from app.stores.redis_directory import PROJECTS, directory_key
from app.stores.redis_journal import usage_field
from app.stores.redis_ledger import account_key
from tests.console.conftest import Visit, apart
from tests.contract.conftest import ADMIN_TOKEN, Service

MOST_MS = 1000
PROJECTS_COUNT = 1000
DAYS = 90


def project_id(number: int) -> str:
    return f"proj_{number:024x}"


@pytest.fixture(scope="module", autouse=True)
def crowd(service: Service) -> None:
    apart(_crowd(service))


async def _crowd(service: Service) -> None:
    redis = connect(service.redis_url, timeout_s=PATIENT_S)
    today = datetime.now(UTC).date()
    days = [(today - timedelta(days=back)).isoformat() for back in range(DAYS)]
    for number in range(PROJECTS_COUNT):
        own = project_id(number)
        pipe = redis.pipeline(transaction=False)
        pipe.hset(
            directory_key(own), "project", orjson.dumps(Project(own, f"Project {number}", f"p-{number}", "active", 0))
        )
        pipe.zadd(PROJECTS, {own: 0})
        pipe.hset(
            account_key(own, "account"), mapping={"granted": 10**12, "available": 10**12 - number, "captured": number}
        )
        for day in days:
            for tier in ("flex", "default", "priority"):
                for user in ("ann", "bob"):
                    key = UsageKey(day, "main", tier, "key_1", user)
                    usage = Usage(number, 2, 3, 4)
                    value = f"{usage.requests}|{usage.tokens}|{usage.cached_tokens}|{usage.amount_nano_usd}"
                    pipe.hset(account_key(own, f"usage:{key.month}"), usage_field(key).decode(), value)
        await pipe.execute()
    await redis.aclose()


@pytest.mark.parametrize(
    ("path", "meaningful"),
    [
        ("", "#money ~ div dl dd"),
        ("projects", "main tbody tr"),
        (f"projects/{project_id(7)}", "#usage ~ div tbody tr"),
    ],
)
def test_the_first_meaningful_paint(visit: Visit, path: str, meaningful: str) -> None:
    visit.sign_in()
    visit.heading("Overview")
    took_ms = [_paint_ms(visit, path, meaningful) for _ in range(5)]
    print(f"{path or 'overview'}: first meaningful paint after {statistics.median(took_ms):.0f} ms {took_ms}")
    assert statistics.median(took_ms) < MOST_MS


def _paint_ms(visit: Visit, path: str, meaningful: str) -> float:
    """From navigation until what the page is for is on the screen; nothing is in the browser's memory but its cache."""
    visit.page.goto("about:blank")
    visit.page.goto(f"{visit.service.url}/console/#/{path}", wait_until="commit")
    return float(
        visit.page.evaluate(
            """(selector) => new Promise((resolve) => {
                const look = () => document.querySelector(selector)
                    ? requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now())))
                    : setTimeout(look, 5);
                look();
            })""",
            meaningful,
        )
    )


def test_usage_of_ninety_days_is_paged(visit: Visit, service: Service) -> None:
    query = f"from={(datetime.now(UTC).date() - timedelta(days=DAYS - 1)).isoformat()}&by=day,tier,user&limit=100"
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    url = f"{service.url}/admin/v1/projects/{project_id(3)}/usage?{query}"
    rows, after = [], ""
    while True:
        page = httpx.get(url + after, headers=headers).json()
        assert len(page["data"]) <= 100
        rows += page["data"]
        if "next_cursor" not in page:
            break
        after = f"&after={page['next_cursor']}"
    assert len(rows) == DAYS * 6
    assert sum(row["requests"] for row in rows) == page["total"]["requests"]
