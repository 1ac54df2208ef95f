"""What the console and ``embedgate top`` look at."""

import secrets
import time

import httpx
import pytest

from app.api.overview import OverviewOut, TotalsOut
from tests.contract.conftest import ADMIN_TOKEN, Service
from tests.contract.test_money import MODEL, Tenant

HEADERS = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


def overview(service: Service, view: str) -> OverviewOut:
    answer = httpx.get(f"{service.url}/admin/v1/overview?view={view}", headers=HEADERS)
    assert answer.headers["content-type"] == "application/json"
    return OverviewOut.model_validate_json(answer.content, strict=False)


@pytest.mark.parametrize(("view", "points"), [("hour", 60), ("day", 96), ("week", 168)])
def test_an_overview_is_what_its_document_says(service: Service, view: str, points: int) -> None:
    deadline_s = time.monotonic() + 10
    while not (found := overview(service, view)).gateways and time.monotonic() < deadline_s:
        time.sleep(0.2)
    assert (found.view, len(found.points)) == (view, points)
    assert [point.at for point in found.points] == sorted(point.at for point in found.points)
    assert MODEL in found.models and found.gateways == 1


def test_a_request_is_seen_within_seconds(service: Service) -> None:
    before = overview(service, "hour").total.get("priority")
    tenant = Tenant(service, credit=10**9)
    body = {"model": MODEL, "input": secrets.token_hex(8), "service_tier": "priority"}
    url = f"{service.url}/v1/embeddings"
    answer = httpx.post(url, json=body, headers={"Authorization": f"Bearer {tenant.key['api_key']}"})
    assert answer.status_code == 200
    deadline_s = time.monotonic() + 6
    while time.monotonic() < deadline_s:
        after = overview(service, "hour").total.get("priority")
        if after and after.requests > (before.requests if before else 0):
            return
        time.sleep(0.2)
    raise AssertionError("the overview did not see the request")


def test_totals_add_up(service: Service) -> None:
    found = TotalsOut.model_validate_json(httpx.get(f"{service.url}/admin/v1/totals", headers=HEADERS).content)
    assert found.projects >= 1
    assert int(found.balance["granted"]) == sum(int(found.balance[n]) for n in ("available", "held", "captured")) - int(
        found.balance["debt"]
    )
