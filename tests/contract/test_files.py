"""Files over HTTP: whole or not at all, bounded, and nobody else's."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.contract.conftest import Service

FORM = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
LINES = b'{"custom_id":"1"}\n' * 100


@pytest.fixture
def url(service: Service) -> str:
    return f"{service.url}/v1/files"


@pytest.fixture
def headers(service: Service) -> dict[str, str]:
    return {"Authorization": f"Bearer {service.api_key}"}


@pytest.fixture(autouse=True)
def _no_files_left(service: Service) -> Iterator[None]:
    yield
    for file in service.sdk().files.list():
        service.sdk().files.delete(file.id)
    assert on_the_store(service) == []


def on_the_store(service: Service) -> list[Path]:
    return [path for path in service.files.rglob("*") if path.is_file()]


def upload(service: Service, content: bytes = LINES, name: str = "batch.jsonl") -> str:
    return service.sdk().files.create(file=(name, content), purpose="batch").id


def test_the_sdk_uploads_finds_reads_and_deletes(service: Service) -> None:
    client = service.sdk()
    before_s = int(time.time())
    file = client.files.create(file=("lines.jsonl", LINES), purpose="batch")
    assert re.fullmatch(r"file-[0-9a-f]{36}", file.id)
    assert (file.object, file.bytes, file.filename, file.purpose) == ("file", len(LINES), "lines.jsonl", "batch")
    assert file.status == "processed"
    assert before_s <= file.created_at <= before_s + 5
    assert file.expires_at == file.created_at + 30 * 86_400
    assert client.files.retrieve(file.id) == file
    assert client.files.wait_for_processing(file.id) == file
    assert client.files.content(file.id).read() == LINES
    assert [f.id for f in client.files.list(purpose="batch")] == [file.id]
    assert not list(client.files.list(purpose="batch_output"))
    assert client.files.delete(file.id).deleted
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            call(file.id)
        assert caught.value.body == {
            "message": f"No such File object: {file.id}", "type": "invalid_request_error", "param": "id",
            "code": "not_found",
        }  # fmt: skip


def test_every_prefix_serves_the_same_files(service: Service) -> None:
    file_id = upload(service)
    for base in (f"{service.url}/v1", f"{service.url}/{service.project_id}/v1", service.scoped_url()):
        client = service.sdk(base)
        assert client.files.retrieve(file_id).id == file_id
        assert client.files.content(file_id).read() == LINES
    with pytest.raises(openai.NotFoundError) as caught:
        service.sdk(service.scoped_url("nowhere")).files.retrieve(file_id)
    assert caught.value.code == "endpoint_not_found"


def test_content_that_is_not_there_is_said_so_before_the_answer_begins(
    service: Service, url: str, headers: dict[str, str]
) -> None:
    file_id = upload(service)
    (place,) = on_the_store(service)
    place.unlink()
    response = httpx.get(f"{url}/{file_id}/content", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "capacity_exceeded")
    assert int(response.headers["retry-after"]) >= 1


def test_pages_go_on_behind_files_that_are_gone(service: Service) -> None:
    client = service.sdk()
    ids = []
    for n in range(7):
        ids.append(upload(service, name=f"{n}.jsonl"))
        time.sleep(0.002)
    assert [f.id for f in client.files.list(limit=3)] == ids[::-1]
    assert [f.id for f in client.files.list(limit=3, order="asc")] == ids
    first = client.files.list(limit=3)
    assert (len(first.data), first.has_more) == (3, True)
    for file in first.data:
        client.files.delete(file.id)
    assert [f.id for f in first.get_next_page().data] == ids[1:4][::-1]
    page = client.files.list(limit=4, order="asc")
    assert (len(page.data), page.has_more) == (4, False)


@pytest.mark.parametrize(
    ("fields", "name", "content", "message"),
    [
        ({"purpose": "assistants"}, "a.jsonl", b"{}", "'purpose' must be 'batch'."),
        ({}, "a.jsonl", b"{}", "'purpose' must be 'batch'."),
        ({"purpose": "batch"}, "a.txt", b"{}", "Invalid file format for Batch API. Must be .jsonl"),
        ({"purpose": "batch"}, "a.jsonl", b"\xff\xfe", "Invalid file for Batch API. Must be utf-8 encoded"),
        ({"purpose": "batch"}, "a.jsonl", "ü".encode()[:1], "Invalid file for Batch API. Must be utf-8 encoded"),
        ({"purpose": "batch", "expires_after[seconds]": "60"}, "a.jsonl", b"{}", "3600 to 2592000"),
        ({"purpose": "batch", "expires_after[seconds]": "1e9"}, "a.jsonl", b"{}", "3600 to 2592000"),
        ({"purpose": "batch", "expires_after[anchor]": "last_use"}, "a.jsonl", b"{}", "created_at"),
        ({"purpose": "batch", "x": "y" * 5000}, "a.jsonl", b"{}", "4096"),
    ],
)
def test_bad_uploads_leave_nothing(
    service: Service, url: str, headers: dict[str, str], fields: dict[str, str], name: str, content: bytes, message: str
) -> None:
    response = httpx.post(url, headers=headers, data=fields, files={"file": (name, content)})
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]
    assert on_the_store(service) == []


def test_bodies_that_are_no_form_are_refused(url: str, headers: dict[str, str]) -> None:
    for content_type, body in (
        ("application/json", b"{}"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"nonsense"),
        ("multipart/form-data; boundary=b", FORM + b"ab"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n',
        ),
    ):
        response = httpx.post(url, headers={**headers, "Content-Type": content_type}, content=body)
        assert response.status_code == 400, body
        assert response.json()["error"]["message"]


def test_files_are_bounded_in_size_and_number(service: Service) -> None:
    client = service.sdk()
    upload(service, b"x" * 2_000_000)
    with pytest.raises(openai.APIStatusError) as caught:
        upload(service, b"x" * 2_000_001)
    assert caught.value.status_code == 413
    for _ in range(4):
        upload(service, b"x" * 2_000_000)
    with pytest.raises(openai.BadRequestError, match="10000000 bytes"):
        upload(service, b"x")
    for file in client.files.list():
        client.files.delete(file.id)
    for _ in range(50):
        upload(service, b"x")
    with pytest.raises(openai.BadRequestError, match="50 files already"):
        upload(service, b"x")


def test_an_upload_that_ends_early_leaves_nothing(service: Service) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n' + b"x" * 500_000
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: e\r\nAuthorization: Bearer {service.api_key}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body) * 3}\r\n\r\n"
    )
    address = service.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1]))) as caller:
        caller.sendall(head.encode() + body)
        time.sleep(0.2)
    deadline_s = time.monotonic() + 5
    while on_the_store(service) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert on_the_store(service) == []
    assert not service.sdk().files.list().data


@pytest.mark.parametrize(
    ("asked", "status", "expected", "shown"),
    [
        ("bytes=0-9", 206, slice(0, 10), "bytes 0-9/1800"),
        ("bytes=1790-", 206, slice(1790, 1800), "bytes 1790-1799/1800"),
        ("bytes=-10", 206, slice(1790, 1800), "bytes 1790-1799/1800"),
        ("bytes=5-99999", 206, slice(5, 1800), "bytes 5-1799/1800"),
        ("bytes=1800-", 416, None, "bytes */1800"),
        ("bytes=-0", 416, None, "bytes */1800"),
        ("bytes=9-5", 200, slice(0, 1800), None),
        ("bytes=0-1,5-6", 200, slice(0, 1800), None),
        ("lines=1-2", 200, slice(0, 1800), None),
    ],
)
def test_ranges(
    service: Service, url: str, headers: dict[str, str], asked: str, status: int, expected: slice, shown: str | None
) -> None:
    response = httpx.get(f"{url}/{upload(service)}/content", headers={**headers, "Range": asked})
    assert response.status_code == status
    assert response.headers.get("content-range") == shown
    if expected is not None:
        assert response.content == LINES[expected]
        assert response.headers["content-length"] == str(len(response.content))


def test_another_project_sees_nothing(service: Service) -> None:
    file_id = upload(service)
    other = service.admin("POST", "/projects", {"name": "Other", "slug": f"other-{time.time_ns()}"})
    key = service.admin("POST", f"/projects/{other['project_id']}/keys", {"name": "k"})["api_key"]
    client = service.sdk(api_key=key)
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            call(file_id)
    assert not client.files.list().data
    assert client.files.list(after=file_id).data == []
    assert service.sdk().files.content(file_id).read() == LINES


@pytest.mark.parametrize(
    "trick",
    ["..", "../x", "..%2f..%2fjournal", "file-..%2f" + "0" * 33, "%00", "file-" + "g" * 36, "a/b", "file-" + "0" * 36],
)
def test_tricks_with_paths_are_not_found(service: Service, headers: dict[str, str], trick: str) -> None:
    for method, tail in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        address = service.url.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1]))) as caller:
            caller.sendall(
                f"{method} /v1/files/{trick}{tail} HTTP/1.1\r\nHost: e\r\nConnection: close\r\n"
                f"Authorization: {headers['Authorization']}\r\n\r\n".encode()
            )
            answer = b"".join(iter(lambda: caller.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 40"), answer[:200]
        assert answer.split()[1] in (b"404", b"405")


def test_names_cannot_leave_their_header(service: Service, headers: dict[str, str], url: str) -> None:
    file_id = upload(service, name='../../etc/pass"wd\r\nx: y.jsonl')
    name = service.sdk().files.retrieve(file_id).filename
    assert not re.search(r'[/\\"\r\n]', name)
    response = httpx.get(f"{url}/{file_id}/content", headers=headers)
    assert "x" not in response.headers
    assert response.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")


def test_uploads_side_by_side_respect_the_bounds_together(service: Service) -> None:
    outcomes: list[bool] = []

    def one() -> None:
        try:
            upload(service, b"x" * 1_900_000)
            outcomes.append(True)
        except openai.BadRequestError:
            outcomes.append(False)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (outcomes.count(True), outcomes.count(False)) == (5, 3)
    assert len(on_the_store(service)) == 5
