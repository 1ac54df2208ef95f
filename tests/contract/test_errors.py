"""Every error row that can occur yet, through the real SDK: status, type, code, param, headers."""

import asyncio
import json
import time

import httpx
import openai
import pytest

from app.core import errors as e
from tests.contract.conftest import MAX_BODY_BYTES, Service

BAD, INTERNAL, DOWN = "invalid_request_error", "internal_error", "service_unavailable_error"
MODEL = "all-MiniLM-L6-v2"


def check(error: openai.APIStatusError, status: int, kind: str, code: str, param: str | None = None) -> None:
    assert (error.status_code, error.type, error.code, error.param) == (status, kind, code, param)
    assert error.request_id
    assert error.request_id.startswith("req_")
    headers = error.response.headers
    if status in (429, 503):
        assert 1 <= int(headers["retry-after"]) <= 60
    if status in (402, 409):
        assert headers["x-should-retry"] == "false"
    body = error.response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"].endswith((".", "?"))


def embed(service: Service, *, scoped: str | None, model: str = MODEL, **fields: object) -> openai.APIStatusError:
    client = service.sdk(service.scoped_url(scoped) if scoped else None)
    extra = fields.pop("extra_body", None)
    with pytest.raises(openai.APIStatusError) as caught:
        client.embeddings.create(model=model, input=fields.pop("input", "x"), extra_body=extra, **fields)
    return caught.value


@pytest.mark.parametrize("scoped", [None, "main"])
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "word " * 300}, "input"),
        ({"input": ["word " * 200] * 20}, "input"),
        ({"input": [1, 2, 99_999]}, "input"),
        ({"input": [[1], [2**80]]}, "input"),
        ({"input": [[[[1]]]]}, "input"),
        ({"dimensions": 100}, "dimensions"),
        ({"encoding_format": "md5"}, "encoding_format"),
        ({"extra_body": {"dimension": 3}}, "dimension"),
        ({"extra_body": {"service_tier": "scale"}}, "service_tier"),
        ({"extra_body": {"truncate": "middle"}}, "truncate"),
        ({"extra_body": {"input_type": "title"}}, "input_type"),
        ({"model": ""}, "model"),
    ],
    ids=lambda v: str(v)[:40],
)
def test_400(service: Service, scoped: str | None, fields: dict[str, object], param: str) -> None:
    error = embed(service, scoped=scoped, **dict(fields))
    check(error, 400, BAD, "invalid_input" if scoped else "validation_error", param)


def test_400_not_for_embeddings(service: Service) -> None:
    check(embed(service, scoped="chat"), 400, BAD, "model_not_embedding")
    check(embed(service, scoped=None, model="chat-model"), 400, BAD, "model_not_embedding")


@pytest.mark.parametrize("key", ["", "sk-wrong", "eg_contract_aaaa", "eg_contract_" + "a" * 61])
def test_401(service: Service, key: str) -> None:
    for scoped, code in (("main", "authentication_error"), (None, "invalid_api_key")):
        client = service.sdk(service.scoped_url(scoped) if scoped else None, api_key=key or "none")
        with pytest.raises(openai.AuthenticationError) as caught:
            client.embeddings.create(model=MODEL, input="x")
        check(caught.value, 401, "authentication_error", code)
        assert key not in caught.value.message or not key


def test_401_revoked_expired_foreign_and_missing(service: Service) -> None:
    path = f"/projects/{service.project_id}/keys"
    revoked = service.admin("POST", path, {"name": "r"})
    service.admin("DELETE", f"{path}/{revoked['key_id']}")
    expired = service.admin("POST", path, {"name": "e", "expires_at": _soon()})
    time.sleep(1.1)
    other = service.admin("POST", "/projects", {"name": "O", "slug": f"other-{int(time.time())}"})["project_id"]
    foreign = service.admin("POST", f"/projects/{other}/keys", {"name": "f"})
    for key in (revoked, expired, foreign):
        with pytest.raises(openai.AuthenticationError) as caught:
            service.sdk(service.scoped_url(), api_key=key["api_key"]).embeddings.create(model=MODEL, input="x")
        check(caught.value, 401, "authentication_error", "authentication_error")
    response = httpx.post(f"{service.url}/v1/embeddings", json={"model": MODEL, "input": "x"})
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"


def test_a_revoked_key_and_a_disabled_endpoint_stop_within_a_second(service: Service) -> None:
    path = f"/projects/{service.project_id}"
    key = service.admin("POST", f"{path}/keys", {"name": "brief"})
    client = service.sdk(api_key=key["api_key"])
    client.embeddings.create(model="hasty", input="x")
    service.admin("PATCH", f"{path}/endpoints/hasty", {"status": "inactive"})
    time.sleep(1)
    with pytest.raises(openai.InternalServerError) as caught:
        client.embeddings.create(model="hasty", input="x")
    check(caught.value, 503, DOWN, "endpoint_inactive")
    service.admin("PATCH", f"{path}/endpoints/hasty", {"status": "active"})
    service.admin("DELETE", f"{path}/keys/{key['key_id']}")
    time.sleep(1)
    with pytest.raises(openai.AuthenticationError):
        client.embeddings.create(model="hasty", input="x")


def test_404(service: Service) -> None:
    check(embed(service, scoped="nowhere"), 404, BAD, "endpoint_not_found")
    check(embed(service, scoped=None, model="nothing"), 404, BAD, "model_not_found", "model")
    for path, kind in (("/v1/nothing", "not_found"), ("/", "not_found"), ("/v1/embeddings/", "not_found")):
        response = httpx.post(f"{service.url}{path}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, kind)
    with pytest.raises(openai.NotFoundError) as caught:
        service.sdk().models.retrieve("org/none")
    check(caught.value, 404, BAD, "model_not_found", "model")


def test_405(service: Service) -> None:
    for method, path, allow in (
        ("GET", "/v1/embeddings", "POST"),
        ("DELETE", f"/{service.project_id}/main/v1/embeddings", "POST"),
        ("POST", "/v1/models", "GET"),
        ("PUT", "/admin/v1/projects", "POST"),
    ):
        response = httpx.request(method, f"{service.url}{path}")
        assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")
        assert allow in response.headers["allow"]


@pytest.mark.parametrize("scoped", [None, "hasty"])
def test_408(service: Service, scoped: str | None) -> None:
    service.pool.gate = asyncio.Event().wait
    error = embed(service, scoped=scoped, model="hasty", input=f"late {scoped}")
    check(error, 408, "timeout_error", "timeout")
    time.sleep(0.2)
    assert service.pool.cancelled


def test_409(service: Service) -> None:
    response = service.raw_admin("POST", "/projects", {"name": "Contract", "slug": "contract"})
    assert (response.status_code, response.json()["error"]["code"]) == (409, "conflict")
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 3 * MAX_BODY_BYTES, 20_000_000])
def test_413(service: Service, size: int) -> None:
    response = service.post(b'{"model":"m","input":"' + b"x" * size + b'"}')
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")
    big = service.raw_admin("POST", "/projects", {"name": "x" * 100_000, "slug": "big"})
    assert (big.status_code, big.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("endpoint", "code"), [("absent", "model_not_found"), ("gold", "invalid_tier"), ("broken", "invalid_model_id")]
)
def test_500_of_the_operators_making(service: Service, endpoint: str, code: str) -> None:
    error = embed(service, scoped=endpoint)
    check(error, 500, INTERNAL, code)
    assert error.response.headers["x-should-retry"] == "false"
    bare = {"absent": "absent-model", "gold": "gold", "broken": "broken"}[endpoint]
    check(embed(service, scoped=None, model=bare), 500, INTERNAL, INTERNAL)


def test_500_an_endpoints_own_dimensions_that_do_not_fit(service: Service) -> None:
    path = f"/projects/{service.project_id}/endpoints"
    service.admin("POST", path, {"slug": "odd", "model": MODEL, "aliases": ["odd"], "dimensions": 100})
    time.sleep(1)
    check(embed(service, scoped="odd"), 500, INTERNAL, INTERNAL)
    client = service.sdk(service.scoped_url("odd"))
    assert len(client.embeddings.create(model=MODEL, input="x", dimensions=64).data[0].embedding) == 64


@pytest.mark.parametrize("reply", [b"", b"nonsense", b"\0" * 4 * 384], ids=len)
def test_500_a_reply_that_cannot_be_decoded(service: Service, reply: bytes) -> None:
    service.pool.reply = reply
    check(embed(service, scoped="main", input=f"reply {len(reply)}"), 500, INTERNAL, "invalid_embeddings_response")
    check(embed(service, scoped=None, input=f"reply {len(reply)}"), 500, INTERNAL, INTERNAL)


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        (e.EngineFault.BAD_INPUT, 400, BAD),
        (e.EngineFault.OVERLOADED, 503, DOWN),
        (e.EngineFault.OUT_OF_MEMORY, 503, DOWN),
        (e.EngineFault.DEAD, 503, DOWN),
        (e.EngineFault.OTHER, 500, INTERNAL),
    ],
)
def test_engine_errors_by_class(service: Service, fault: e.EngineFault, status: int, kind: str) -> None:
    service.pool.error = e.EngineError("The engine failed.", fault=fault, retry_after_s=5)
    check(embed(service, scoped="main", input=f"fault {fault}"), status, kind, "engine_error")
    check(embed(service, scoped=None, input=f"fault {fault}"), status, kind, INTERNAL)


def test_500_unexpected_says_nothing_of_itself(service: Service) -> None:
    service.pool.error = RuntimeError("secret detail eg_contract_abc")
    error = embed(service, scoped="main", input="surprise")
    check(error, 500, INTERNAL, INTERNAL)
    assert "secret" not in error.message
    time.sleep(0.2)  # the line is written behind the answer
    assert "secret detail" in str(service.lines[-1]["error"])


def test_503(service: Service) -> None:
    check(embed(service, scoped="idle"), 503, DOWN, "endpoint_inactive")
    service.pool.is_ready = False
    check(embed(service, scoped="main", input="cold"), 503, DOWN, "model_provisioning")
    assert httpx.get(f"{service.url}/readyz").status_code == 503
    service.pool.is_ready = True
    service.pool.error = e.CapacityExceeded("Full; try again.", retry_after_s=7)
    error = embed(service, scoped=None, input="full")
    check(error, 503, DOWN, "capacity_exceeded")
    assert error.response.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe\x00",
        b'{"model":"m","input":"\xff"}',
        b'{"model":"m","input":NaN}',
        b'{"model":"m","input":[Infinity]}',
        b'{"model":"m","input":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"model":"m","input":[' + b"9" * 5000 + b"]}",
        b'{"model":"m","input":"\\ud800"}',
        b'{"model":"m"}',
        b'{"input":"x"}',
        b'{"model":1,"input":"x"}',
        b'{"model":"m","input":"x","input ":"y"}',
        b'{"model":"m","input":[1,2.5]}',
        b'{"model":"m","input":[true]}',
        b'{"model":"m","input":[[1],"x"]}',
    ],
    ids=lambda b: repr(b[:40]),
)
def test_bodies_that_are_wrong_get_the_envelope(service: Service, body: bytes) -> None:
    for scoped, code in ((True, "invalid_input"), (False, "validation_error")):
        response = service.post(body, scoped=scoped)
        assert (response.status_code, response.json()["error"]["code"]) == (400, code)
        assert response.headers["content-type"] == "application/json"


def test_compressed_bodies_are_refused(service: Service) -> None:
    assert service.post(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}).status_code == 400


def test_the_key_is_checked_before_the_body(service: Service) -> None:
    response = service.post(b"{", headers={"Authorization": "Bearer wrong"})
    assert response.status_code == 401
    assert service.raw_admin("POST", "/projects", {"x": 1}, token="wrong").status_code == 401


def test_no_line_of_the_log_holds_a_key_or_an_input(service: Service) -> None:
    service.sdk().embeddings.create(model=MODEL, input="a very private sentence")
    text = json.dumps(service.lines)
    assert service.api_key not in text
    assert "private" not in text


def _soon() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))
