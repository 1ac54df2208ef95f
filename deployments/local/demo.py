"""The demo project: made once through the service's own administration, and shown in the banner."""

import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from app.core.settings.serve_file import ServeFile

SLUG = "demo"
ENDPOINT = "embed"
PRICE_NANO_USD_PER_MTOK = 20_000_000
CREDIT_NANO_USD = 100_000_000_000


class DemoError(Exception):
    """One sentence that says why the first vector did not come."""


class Demo:
    """``dev.json``, mode 0600: where the service is and what opens it. Keys are random, made once."""

    def __init__(self, home: Path, port: int) -> None:
        self.path = home / "dev.json"
        self.root_url = f"http://127.0.0.1:{port}"
        self.saved: dict[str, str] = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.admin_token = self.saved.get("admin_token") or f"admin_{secrets.token_urlsafe(32)}"

    def save(self, **fields: str) -> None:
        """Write the file whole or not at all."""
        self.saved = {**fields, "admin_token": self.admin_token}
        draft = self.path.with_suffix(".tmp")
        draft.touch(mode=0o600)
        draft.chmod(0o600)
        draft.write_text(json.dumps(self.saved, indent=2) + "\n")
        draft.replace(self.path)


@dataclass(frozen=True)
class ReadyDemo:
    """A demo that answered."""

    demo: Demo
    dimensions: int

    def banner(self) -> str:
        """What to paste."""
        d = self.demo.saved
        return f"""
[bold]Embedgate is serving[/bold] {d["model"]} ({self.dimensions} dimensions)

  URL       {d["base_url"]}
  project   {d["project_id"]} (slug {SLUG})
  endpoint  {d["endpoint"]}
  docs      {self.demo.root_url}/docs
  keys      {self.demo.path}

[bold]curl[/bold]
curl -s {d["base_url"]}/embeddings -H "Authorization: Bearer {d["api_key"]}" \\
  -H "Content-Type: application/json" -d '{{"model": "{d["model"]}", "input": "The capital of France is Paris."}}'

[bold]Python[/bold] (.venv/bin/python has the SDK)
from openai import OpenAI
client = OpenAI(base_url="{d["base_url"]}", api_key="{d["api_key"]}")
vector = client.embeddings.create(model="{d["model"]}", input="The capital of France is Paris.").data[0].embedding
print(len(vector), vector[:3])

Ctrl-C stops everything.
"""


def open_demo(demo: Demo, file: ServeFile, *, deadline_s: float) -> ReadyDemo:
    """Make the project, its endpoint and its key where they are missing, and ask for a vector.

    Raises:
        DemoError: the service did not answer in time, or refused.
    """
    model = file.applications[0].args.models[0].id
    with httpx.Client(base_url=demo.root_url, timeout=10) as client:
        _wait_until_ready(client, deadline_s)
        project_id = _ensure_project(client, demo, model)
        key = demo.saved.get("api_key", "")
        vector = _first_vector(client, key, model) if key else None
        if vector is None:
            key = _expect(_admin(client, demo, "POST", f"/projects/{project_id}/keys", {"name": "demo"}))["api_key"]
            vector = _first_vector(client, key, model)
        if vector is None:
            raise DemoError("the service refused the key that it just made.")
    demo.save(
        base_url=f"{demo.root_url}/{project_id}/{ENDPOINT}/v1",
        project_id=project_id,
        endpoint=ENDPOINT,
        model=model,
        api_key=key,
    )
    return ReadyDemo(demo, len(vector))


def _wait_until_ready(client: httpx.Client, deadline_s: float) -> None:
    answer = "nothing answered"
    while time.monotonic() < deadline_s:
        try:
            response = client.get("/readyz")
            if response.status_code == 200:
                return
            answer = response.text
        except httpx.HTTPError as error:
            answer = str(error)
        time.sleep(0.2)
    raise DemoError(f"the service did not become ready: {answer}")


def _ensure_project(client: httpx.Client, demo: Demo, model: str) -> str:
    found = _expect(_admin(client, demo, "GET", f"/projects?slug={SLUG}"))["data"]
    project = found[0] if found else _expect(_admin(client, demo, "POST", "/projects", {"name": "Demo", "slug": SLUG}))
    project_id = str(project["project_id"])
    endpoint = {
        "slug": ENDPOINT,
        "model": model,
        "aliases": ["text-embedding-3-small"],
        "price_nano_usd_per_mtok": PRICE_NANO_USD_PER_MTOK,
    }
    response = _admin(client, demo, "POST", f"/projects/{project_id}/endpoints", endpoint)
    if response.status_code == 409:
        change = {"model": model, "status": "active"}
        response = _admin(client, demo, "PATCH", f"/projects/{project_id}/endpoints/{ENDPOINT}", change)
    _expect(response)
    grant = {"grant_id": "demo", "amount_nano_usd": CREDIT_NANO_USD, "reason": "credit of the demo project"}
    _expect(_admin(client, demo, "POST", f"/projects/{project_id}/grants", grant))
    return project_id


def _first_vector(client: httpx.Client, key: str, model: str) -> list[float] | None:
    response = client.post(
        "/v1/embeddings",
        json={"model": model, "input": f"First vector, {secrets.token_hex(4)}"},
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
    )
    if response.status_code == 401:
        return None
    vector: list[float] = _expect(response)["data"][0]["embedding"]
    return vector


def _admin(client: httpx.Client, demo: Demo, method: str, path: str, body: object = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {demo.admin_token}"}
    return client.request(method, f"/admin/v1{path}", json=body, headers=headers)


def _expect(response: httpx.Response) -> dict[str, Any]:
    if not response.is_success:
        raise DemoError(f"{response.request.url.path} answered {response.status_code}: {response.text}")
    document: dict[str, Any] = response.json()
    return document
