"""The command line's side of the API that tenants use."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from app.cli.admin_client import DEV_FILE, fail

_TIMEOUT = httpx.Timeout(30, write=120)


class TenantClient:
    """Files and batches of one project.

    The service is the one of OPENAI_BASE_URL and OPENAI_API_KEY, as the SDKs read them, else the demo that
    ``make serve`` runs in this folder.
    """

    def __init__(self) -> None:
        url, key = os.environ.get("OPENAI_BASE_URL"), os.environ.get("OPENAI_API_KEY")
        self.model: str | None = None
        if DEV_FILE.is_file() and not (url and key):
            dev = json.loads(DEV_FILE.read_text())
            url, key, self.model = url or dev["base_url"], key or dev["api_key"], dev["model"]
        if not url or not key:
            fail("set OPENAI_BASE_URL and OPENAI_API_KEY, or run this where 'make serve' runs")
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=_TIMEOUT)

    def call(self, method: str, path: str, body: object = None, *, patience_s: float = 0) -> dict[str, Any]:
        """One call; ends the command with the service's own sentence when it is refused.

        Args:
            method: of HTTP.
            path: below the base URL.
            body: JSON.
            patience_s: how long a service that is away is asked again; for calls that change nothing.
        """
        until_s = time.monotonic() + patience_s
        while time.monotonic() < until_s:
            try:
                response = self._http.request(method, path, json=body)
            except httpx.HTTPError:
                time.sleep(1)
                continue
            if response.status_code < 500:
                return _answer(response)
            time.sleep(1)
        return _answer(self._request(method, path, json=body))

    def upload(self, path: Path) -> str:
        """Upload a request file; its id."""
        with path.open("rb") as content:
            files = {"file": ("requests.jsonl", content, "application/jsonl")}
            answer = _answer(self._request("POST", "/files", data={"purpose": "batch"}, files=files))
        return str(answer["id"])

    @contextmanager
    def lines(self, file_id: str) -> Iterator[Iterator[str]]:
        """A file's lines while they come."""
        try:
            with self._http.stream("GET", f"/files/{file_id}/content") as response:
                if not response.is_success:
                    response.read()
                    _answer(response)
                yield response.iter_lines()
        except httpx.HTTPError as error:
            fail(f"the download ended early: {error}")

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            fail(f"{self._http.base_url} does not answer: {error}")


def _answer(response: httpx.Response) -> dict[str, Any]:
    if not response.is_success:
        try:
            fail(response.json()["error"]["message"])
        except (ValueError, KeyError, TypeError):
            fail(f"{response.request.url} answered {response.status_code}")
    answer: dict[str, Any] = response.json()
    return answer
