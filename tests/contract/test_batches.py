"""``/v1/batches`` as the SDKs and the contract see it; what workers do is tested elsewhere."""

import json
from collections.abc import Iterator

import httpx
import openai
import pytest
import redis

from tests.contract.conftest import Service

NO_SUCH = "batch_" + "0" * 36
TRICKS = [
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e",
    "batch_1",
    "batch_" + "g" * 36,
    "a" * 5000,
    "%00",
    "batch_..%2f" + "0" * 30,
]
GOOD = {"input_file_id": "file-" + "0" * 36, "endpoint": "/v1/embeddings", "completion_window": "24h"}


@pytest.fixture(autouse=True)
def _none_is_open(service: Service) -> Iterator[None]:
    yield
    store = redis.Redis.from_url(service.redis_url)
    store.delete("eg:batches_open", f"eg:{{{service.project_id}}}:batches_open")


def post(service: Service, body: object, path: str = "/v1/batches", key: str | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key or service.api_key}"}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{service.url}{path}", content=content, headers=headers)


def get(service: Service, path: str, key: str | None = None) -> httpx.Response:
    return httpx.get(f"{service.url}{path}", headers={"Authorization": f"Bearer {key or service.api_key}"})


def test_the_sdk_creates_shows_lists_and_cancels(service: Service) -> None:
    client = service.sdk()
    made = [
        client.batches.create(
            input_file_id=GOOD["input_file_id"],
            endpoint="/v1/embeddings",
            completion_window="24h",
            metadata={"n": str(n)},
            output_expires_after={"anchor": "created_at", "seconds": 3600},
        )
        for n in range(3)
    ]
    first = made[0]
    assert (first.object, first.status, first.endpoint) == ("batch", "validating", "/v1/embeddings")
    assert first.expires_at == first.created_at + 86_400
    assert (first.request_counts.total, first.metadata) == (0, {"n": "0"})  # type: ignore[union-attr]
    assert client.batches.retrieve(first.id) == first
    assert [batch.id for batch in client.batches.list(limit=2)] == [batch.id for batch in made[::-1]]
    assert client.batches.list(limit=2).has_more
    assert client.batches.cancel(first.id).status == "cancelling"
    assert client.batches.cancel(first.id).cancelling_at is not None


def test_nulls_are_written(service: Service) -> None:
    body = post(service, GOOD).json()
    nulls = {name for name, value in body.items() if value is None}
    assert nulls >= {"model", "errors", "output_file_id", "error_file_id", "in_progress_at", "completed_at", "metadata"}
    assert body["usage"]["input_tokens_details"] == {"cached_tokens": 0}


@pytest.mark.parametrize("prefix", ["", "/{project}", "/{project}/main"])
def test_under_every_prefix(service: Service, prefix: str) -> None:
    base = prefix.format(project=service.project_id)
    made = post(service, GOOD, f"{base}/v1/batches")
    assert made.status_code == 200
    assert get(service, f"{base}/v1/batches/{made.json()['id']}").json() == made.json()
    assert get(service, f"{base}/v1/batches?limit=1").json()["data"] == [made.json()]


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"endpoint": "/v1/chat/completions"}, "invalid_value", "endpoint"),
        ({"completion_window": "1h"}, "invalid_value", "completion_window"),
        ({"input_file_id": None}, "validation_error", "input_file_id"),
        ({"metadata": {"tags": ["a"]}}, "invalid_type", "metadata.tags"),
        ({"metadata": "x"}, "invalid_type", "metadata"),
        ({"metadata": {str(n): "" for n in range(17)}}, "validation_error", "metadata"),
        ({"metadata": {"k" * 65: ""}}, "validation_error", "metadata"),
        ({"metadata": {"k": "v" * 513}}, "validation_error", "metadata.k"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 60}}, "validation_error", None),
        ({"unknown": 1}, "validation_error", "unknown"),
    ],
)
def test_what_is_wrong_is_said(service: Service, change: dict[str, object], code: str, param: str | None) -> None:
    answer = post(service, {**GOOD, **change})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, code)
    assert param is None or error["param"] == param


def test_a_list_in_the_metadata_is_said_as_the_contract_says_it(service: Service) -> None:
    error = post(service, {**GOOD, "metadata": {"tags": ["a"]}}).json()["error"]
    assert error["message"] == "Invalid type for 'metadata.tags': expected a string, but got an array instead."


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b"\xff"])
def test_what_is_no_object_is_refused(service: Service, body: bytes) -> None:
    assert post(service, body).status_code == 400


@pytest.mark.parametrize("trick", [NO_SUCH, *TRICKS])
def test_ids_that_name_nothing_are_not_found(service: Service, trick: str) -> None:
    for answer in (get(service, f"/v1/batches/{trick}"), post(service, b"", f"/v1/batches/{trick}/cancel")):
        assert answer.status_code in (400, 404, 414)
        assert "error" in answer.json()


def test_another_project_s_key_finds_nothing(service: Service) -> None:
    batch_id = post(service, GOOD).json()["id"]
    other = service.admin("POST", "/projects", {"name": "Other", "slug": "other-of-batches"})
    key = service.admin("POST", f"/projects/{other['project_id']}/keys", {"name": "k"})["api_key"]
    assert get(service, f"/v1/batches/{batch_id}", key).status_code == 404
    assert post(service, b"", f"/v1/batches/{batch_id}/cancel", key).status_code == 404
    assert get(service, "/v1/batches", key).json()["data"] == []
    assert get(service, f"/{service.project_id}/v1/batches/{batch_id}", key).status_code == 401
    assert get(service, f"/v1/batches/{batch_id}").json()["status"] == "validating"


def test_pages_need_a_batch_s_id(service: Service) -> None:
    assert get(service, "/v1/batches?after=file-1").json()["error"]["param"] == "after"
    assert get(service, "/v1/batches?limit=0").status_code == 400
    assert get(service, "/v1/batches?limit=101").status_code == 400


def test_so_many_are_open_at_a_time(service: Service) -> None:
    for _ in range(20):
        assert post(service, GOOD).status_code == 200
    full = post(service, GOOD)
    assert (full.status_code, full.json()["error"]["code"]) == (503, "capacity_exceeded")
    assert "20 open batches" in full.json()["error"]["message"]


@pytest.mark.parametrize("scoped", [False, True])
def test_a_bad_key_is_named_as_its_route_names_it(service: Service, scoped: bool) -> None:
    base = f"/{service.project_id}/main" if scoped else ""
    error = get(service, f"{base}/v1/batches", "eg-bad").json()["error"]
    assert error["code"] == ("authentication_error" if scoped else "invalid_api_key")


def test_the_sdk_s_errors(service: Service) -> None:
    with pytest.raises(openai.NotFoundError):
        service.sdk().batches.retrieve(NO_SUCH)


def test_webhooks_are_set_by_the_operator(service: Service) -> None:
    path = f"/projects/{service.project_id}/webhook"
    assert service.raw_admin("GET", path).status_code == 404
    made = service.admin("PUT", path, {"url": "https://example.com/hook"})
    assert made["secret"].startswith("whsec_")
    assert service.admin("GET", path) == {"object": "webhook", "url": "https://example.com/hook"}
    assert service.admin("PUT", path, {"url": "https://example.com/2"})["secret"] != made["secret"]
    for url in ("ftp://x/", "https://user:pass@host/", "x", "http://a b/"):
        assert service.raw_admin("PUT", path, {"url": url}).status_code == 400
    assert service.admin("DELETE", path)["deleted"]
    assert service.raw_admin("DELETE", path).status_code == 404
    assert service.raw_admin("PUT", "/projects/proj_none/webhook", {"url": "https://a.b/"}).status_code == 404
