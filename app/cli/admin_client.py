"""The command line's side of ``/admin/v1``."""

import getpass
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import httpx
import typer

DEV_FILE = Path(".embedgate/dev.json")


class CallRefused(Exception):
    """A call did not succeed."""


class AdminClient:
    """Calls the administration of a running service.

    Changes are journalled with the name of the user who runs the command, and with a reason.
    The service is the one of EMBEDGATE_URL and EMBEDGATE_ADMIN_TOKEN, else the one that ``make serve``
    runs in this folder.
    """

    def __init__(self, *, reason: str = "") -> None:
        url, token = self.service_url(), os.environ.get("EMBEDGATE_ADMIN_TOKEN") or _dev().get("admin_token")
        if not url or not token:
            fail("set EMBEDGATE_URL and EMBEDGATE_ADMIN_TOKEN, or run this where 'make serve' runs")
        headers = {"Authorization": f"Bearer {token}", "x-actor": quote(getpass.getuser()), "x-reason": quote(reason)}
        self._http = httpx.Client(base_url=f"{url}/admin/v1", headers=headers, timeout=10)

    @staticmethod
    def service_url() -> str | None:
        """Where the service is; None when nobody says."""
        if url := os.environ.get("EMBEDGATE_URL"):
            return url
        dev = _dev()
        return dev["base_url"].removesuffix(f"/{dev['project_id']}/{dev['endpoint']}/v1") if dev else None

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """One call; ends the command with the service's own sentence when it is refused."""
        try:
            return self.ask(method, path, body)
        except CallRefused as error:
            fail(str(error))

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """One call.

        Raises:
            CallRefused: with the service's own sentence, or what kept it from saying one.
        """
        try:
            response = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise CallRefused(f"{self._http.base_url} does not answer: {error}") from error
        if not response.is_success:
            try:
                sentence = str(response.json()["error"]["message"])
            except (ValueError, KeyError, TypeError):
                sentence = f"{self._http.base_url} answered {response.status_code}"
            raise CallRefused(sentence)
        answer: dict[str, Any] = response.json()
        return answer

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """All items of a paged list."""
        after = ""
        while True:
            page = self.call("GET", f"{path}?limit=1000{after}")
            yield from page["data"]
            if not page["next_cursor"]:
                return
            after = f"&after={page['next_cursor']}"

    def find_project(self, slug_or_id: str) -> dict[str, Any] | None:
        """A project with its endpoints, by slug or id; None when there is none of that slug."""
        if slug_or_id.startswith("proj_"):
            return self.call("GET", f"/projects/{slug_or_id}")
        found = self.call("GET", f"/projects?slug={slug_or_id}")["data"]
        return self.call("GET", f"/projects/{found[0]['project_id']}") if found else None

    def project(self, slug_or_id: str) -> dict[str, Any]:
        """As :meth:`find_project`; ends the command when there is none."""
        found = self.find_project(slug_or_id)
        if found is None:
            fail(f"there is no project '{slug_or_id}'")
        return found


def _dev() -> dict[str, str]:
    return dict(json.loads(DEV_FILE.read_text())) if DEV_FILE.is_file() else {}


def fail(sentence: str) -> NoReturn:
    """End the command with one sentence."""
    typer.echo(f"embedgate: {sentence}", err=True)
    raise typer.Exit(1)
