"""Files in parts: the SDK's helper, and everything that does not fit together."""

import asyncio
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import redis

from app.stores.redis_client import lua
from tests.contract.conftest import Service

LINES = b'{"custom_id":"1"}\n' * 1000
NO_SUCH = "upload_" + "0" * 36


@pytest.fixture(autouse=True)
def _nothing_left(service: Service) -> Iterator[None]:
    yield
    for file in service.sdk().files.list():
        service.sdk().files.delete(file.id)
    assert parts_on_the_store(service) == []


def parts_on_the_store(service: Service) -> list[Path]:
    return [path for path in (service.files / "uploads").rglob("*") if path.is_file()]


def begin(service: Service, size: int = len(LINES), **more: Any) -> str:
    upload = service.sdk().uploads.create(
        filename="a.jsonl", bytes=size, purpose="batch", mime_type="application/jsonl", **more
    )
    assert (upload.object, upload.status, upload.file) == ("upload", "pending", None)
    assert upload.expires_at == upload.created_at + 3600
    return upload.id


def add(service: Service, upload_id: str, data: bytes) -> str:
    part = service.sdk().uploads.parts.create(upload_id, data=data)
    assert (part.object, part.upload_id) == ("upload.part", upload_id)
    return part.id


def complete(service: Service, upload_id: str, body: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {service.api_key}"}
    return httpx.post(f"{service.url}/v1/uploads/{upload_id}/complete", json=body, headers=headers)


def test_the_sdk_s_helper(service: Service) -> None:
    upload = service.sdk().uploads.upload_file_chunked(
        file=LINES, filename="a.jsonl", bytes=len(LINES), purpose="batch", mime_type="application/jsonl",
        part_size=5000, md5=hashlib.md5(LINES, usedforsecurity=False).hexdigest(),
    )  # fmt: skip
    assert upload.status == "completed"
    assert upload.file is not None
    assert (upload.file.bytes, upload.file.filename, upload.file.purpose) == (len(LINES), "a.jsonl", "batch")
    assert service.sdk().files.content(upload.file.id).read() == LINES


def test_parts_in_any_order_and_the_same_file_again(service: Service) -> None:
    upload_id = begin(service, expires_after={"anchor": "created_at", "seconds": 3600})
    last, first = add(service, upload_id, LINES[9000:]), add(service, upload_id, LINES[:9000])
    done = complete(service, upload_id, {"part_ids": [first, last]}).json()
    assert complete(service, upload_id, {"part_ids": [first, last]}).json() == done
    file = service.sdk().files.retrieve(done["file"]["id"])
    assert file.expires_at == file.created_at + 3600
    assert service.sdk().files.content(file.id).read() == LINES
    with pytest.raises(openai.ConflictError, match="completed"):
        add(service, upload_id, b"x")
    with pytest.raises(openai.ConflictError, match="completed"):
        service.sdk().uploads.cancel(upload_id)


def test_what_does_not_fit_together_can_be_mended(service: Service) -> None:
    upload_id = begin(service)
    part = add(service, upload_id, LINES)
    other = add(service, begin(service, 1), b"x")
    for body, says in (
        ({"part_ids": [part, part]}, "twice"),
        ({"part_ids": [other]}, "does not have"),
        ({"part_ids": ["../../etc/passwd"]}, "does not have"),
        ({"part_ids": []}, "at least 1"),
        ({"part_ids": [part], "md5": "0" * 32}, "md5"),
        ({"part_ids": [part], "md5": "x"}, "md5"),
        ({}, "part_ids"),
    ):
        answer = complete(service, upload_id, body)
        assert answer.status_code == 400, body
        assert says in answer.json()["error"]["message"]
    short = begin(service, len(LINES) + 1)
    wrong_size = complete(service, short, {"part_ids": [add(service, short, LINES)]})
    assert (wrong_size.status_code, wrong_size.json()["error"]["param"]) == (400, "part_ids")
    assert complete(service, upload_id, {"part_ids": [part]}).json()["status"] == "completed"
    for one in (short, other_upload(service, other)):
        service.sdk().uploads.cancel(one)


def other_upload(service: Service, part_id: str) -> str:
    return next(path.parent.name for path in parts_on_the_store(service) if path.name == part_id)


def test_cancelled_leaves_nothing(service: Service) -> None:
    upload_id = begin(service)
    add(service, upload_id, LINES)
    assert service.sdk().uploads.cancel(upload_id).status == "cancelled"
    assert parts_on_the_store(service) == []
    with pytest.raises(openai.ConflictError, match="cancelled"):
        service.sdk().uploads.cancel(upload_id)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"purpose": "fine-tune"}, 400),
        ({"filename": "a.txt"}, 400),
        ({"bytes": 0}, 400),
        ({"bytes": 2_000_001}, 413),
        ({"expires_after": {"anchor": "created_at", "seconds": 60}}, 400),
        ({"more": 1}, 400),
    ],
)
def test_what_is_wrong_is_said(service: Service, change: dict[str, object], status: int) -> None:
    good: dict[str, object] = {"filename": "a.jsonl", "purpose": "batch", "bytes": 10, "mime_type": "text/plain"}
    headers = {"Authorization": f"Bearer {service.api_key}"}
    answer = httpx.post(f"{service.url}/v1/uploads", json={**good, **change}, headers=headers)
    assert answer.status_code == status, answer.text


def test_a_part_that_is_no_text_fails_the_file_and_not_the_upload(service: Service) -> None:
    upload_id = begin(service, 2)
    part = add(service, upload_id, b"\xff\xfe")
    assert "utf-8" in complete(service, upload_id, {"part_ids": [part]}).json()["error"]["message"]
    service.sdk().uploads.cancel(upload_id)


def test_another_project_s_key_and_tricks_find_nothing(service: Service) -> None:
    upload_id = begin(service, 1)
    other = service.admin("POST", "/projects", {"name": "Other", "slug": "other-of-uploads"})
    key = service.admin("POST", f"/projects/{other['project_id']}/keys", {"name": "k"})["api_key"]
    for one, whose in ((upload_id, key), (NO_SUCH, service.api_key), ("..%2f..%2fx", service.api_key)):
        headers = {"Authorization": f"Bearer {whose}"}
        base = f"{service.url}/v1/uploads/{one}"
        files = {"data": ("x", io.BytesIO(b"x"))}
        answers = [
            httpx.post(f"{base}/parts", files=files, headers=headers),
            httpx.post(f"{base}/complete", json={"part_ids": ["x"]}, headers=headers),
            httpx.post(f"{base}/cancel", headers=headers),
        ]
        assert [answer.status_code for answer in answers] == [404] * 3
    assert parts_on_the_store(service) == []
    service.sdk().uploads.cancel(upload_id)


def test_a_part_that_does_not_come_whole_is_not_there(service: Service) -> None:
    upload_id = begin(service, 10)

    async def stop() -> None:
        async with httpx.AsyncClient() as client:

            async def body() -> Any:
                yield b'--b\r\nContent-Disposition: form-data; name="data"; filename="x"\r\n\r\nabc'
                await asyncio.sleep(0.3)
                raise RuntimeError("gone")

            headers = {
                "Authorization": f"Bearer {service.api_key}",
                "Content-Type": "multipart/form-data; boundary=b",
            }
            with pytest.raises(RuntimeError):
                await client.post(f"{service.url}/v1/uploads/{upload_id}/parts", content=body(), headers=headers)
        await asyncio.sleep(0.5)

    asyncio.run(stop())
    assert parts_on_the_store(service) == []
    service.sdk().uploads.cancel(upload_id)


def test_no_more_bytes_are_taken_than_were_announced(service: Service) -> None:
    upload_id = begin(service, 10)
    with pytest.raises(openai.APIStatusError) as refused:
        add(service, upload_id, b"x" * 11)
    assert refused.value.status_code == 413
    part = add(service, upload_id, b"x" * 10)
    with pytest.raises(openai.BadRequestError, match="all its bytes"):
        add(service, upload_id, b"x")
    assert complete(service, upload_id, {"part_ids": [part]}).status_code == 200


def test_an_answer_of_the_store_that_was_lost_loses_no_file(service: Service) -> None:
    """The client library sends a script again whose connection broke: the second answer must be the first's."""
    store = redis.Redis.from_url(service.redis_url)
    script = lua("upload_change")
    keys = ["eg:{proj_of_this_test}:uploads"]
    for _ in range(2):
        assert store.eval(script, 1, *keys, "upload_1", "", "first", 10) == b"done"
    for _ in range(2):
        assert store.eval(script, 1, *keys, "upload_1", "first", "second", 10) == b"done"
    assert store.eval(script, 1, *keys, "upload_1", "first", "third", 10) == b"changed"
    store.delete(*keys)
