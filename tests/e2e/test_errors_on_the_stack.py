"""What only the whole pipeline can show of errors: HAProxy, Ray and the gateway together."""

import json
import socket
import time

import httpx
import openai
import pytest

from tests.stack import Stack

pytestmark = pytest.mark.stack


def post(stack: Stack, body: bytes, **headers: str) -> httpx.Response:
    sent = {"Authorization": f"Bearer {stack.dev['api_key']}", **headers}
    return httpx.post(f"{stack.bare_url}/embeddings", content=body, headers=sent, timeout=30)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"\xff", 400),
        (b'{"model":"m","input":NaN}', 400),
        (b'{"model":"m","input":' + b"[" * 100_000, 400),
        (b'{"model":"all-MiniLM-L6-v2","input":[99999]}', 400),
        (b'{"model":"all-MiniLM-L6-v2","input":[' + b"9" * 400 + b"]}", 400),
        (b'{"model":"m","input":"' + b"x" * 20_000_000 + b'"}', 413),
    ],
    ids=lambda v: repr(v)[:30],
)
def test_bad_bodies(stack: Stack, body: bytes, status: int) -> None:
    response = post(stack, body)
    assert response.status_code == status, response.text[:300]
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"].startswith("req_")


def test_each_answer_has_one_request_id_and_keeps_the_callers(stack: Stack) -> None:
    for headers, wanted in (({}, "req_"), ({"x-request-id": "mine"}, "mine"), ({"x-request-id": "not ok"}, "req_")):
        response = post(stack, b"{", **headers)
        values = response.headers.get_list("x-request-id")
        assert len(values) == 1
        assert values[0].startswith(wanted)


def test_callers_cannot_steer_ray(stack: Stack) -> None:
    body = b'{"model":"all-MiniLM-L6-v2","input":"steer"}'
    response = post(stack, body, **{"x-request-timeout-seconds": "0.000001", "serve-multiplexed-model-id": "x"})
    assert response.status_code == 200


def test_routes_and_methods(stack: Stack) -> None:
    assert httpx.get(f"{stack.root_url}/nowhere").json()["error"]["code"] == "not_found"
    assert httpx.get(f"{stack.bare_url}/embeddings").json()["error"]["code"] == "method_not_allowed"
    assert httpx.get(f"{stack.root_url}/docs").status_code == 200
    assert httpx.get(f"{stack.root_url}/readyz").json()["status"] == "ready"


def test_what_is_no_http_is_refused(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=10) as connection:
        connection.sendall(b"NONSENSE\r\n\r\n")
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400")


def test_a_deadline_that_passes_in_the_real_pipeline(stack: Stack) -> None:
    project_id = stack.admin("POST", "/projects", {"name": "Hurried", "slug": "hurried"}).json()["project_id"]
    rush = {"slug": "rush", "model": stack.dev["model"], "timeout_ms": 1}
    assert stack.admin("POST", f"/projects/{project_id}/endpoints", rush).status_code == 201
    key = stack.admin("POST", f"/projects/{project_id}/keys", {"name": "test"}).json()["api_key"]
    client = openai.OpenAI(base_url=f"{stack.root_url}/{project_id}/rush/v1", api_key=key, max_retries=0)
    with pytest.raises(openai.APIStatusError) as caught:
        client.embeddings.create(model="x", input=[f"late {n}" for n in range(500)])
    assert (caught.value.status_code, caught.value.code) == (408, "timeout")


def test_a_client_that_leaves_stops_its_work(stack: Stack) -> None:
    def body(texts: int, label: str) -> bytes:
        inputs = [f"{label} {n} " + "word " * 100 for n in range(texts)]
        return json.dumps({"model": stack.dev["model"], "input": inputs}).encode()

    began_s = time.monotonic()
    assert post(stack, body(128, "measured")).status_code == 200
    texts = max(200, min(2048, int(128 * 12 / (time.monotonic() - began_s))))  # twelve seconds of work
    for n in range(3):
        with pytest.raises(httpx.ReadTimeout):
            early = httpx.post(
                f"{stack.bare_url}/embeddings",
                content=body(texts, f"abandoned {n}"),
                headers={"Authorization": f"Bearer {stack.dev['api_key']}"},
                timeout=httpx.Timeout(5, read=0.5),
            )
            print(early.status_code, early.text[:300])
    began_s = time.monotonic()
    response = post(stack, b'{"model":"all-MiniLM-L6-v2","input":"right after"}')
    assert response.status_code == 200
    assert time.monotonic() - began_s < 3, "abandoned work was computed all the same"
