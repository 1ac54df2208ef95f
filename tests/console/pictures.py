"""Takes the pictures of the README: ``python -m tests.console.pictures``.

A real service under mixed traffic, Debian's Chromium, the main pages in light and dark.
"""

import json
import random
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import openai
from playwright.sync_api import Browser, Page, sync_playwright

from tests.stack import ROOT, Stack

FOLDER = ROOT / "app/console/pictures"
LASTS_S = 120
_WORDS = Path(__file__).read_text().split()


def project(stack: Stack, name: str, slug: str) -> tuple[str, str]:
    """A project with credit, limits and budgets; its id and a key."""
    own = str(stack.admin("POST", "/projects", {"name": name, "slug": slug}).json()["project_id"])
    endpoint = {"slug": "search", "model": stack.dev["model"], "price_nano_usd_per_mtok": 20_000_000}
    stack.admin("POST", f"/projects/{own}/endpoints", endpoint)
    stack.admin("POST", f"/projects/{own}/grants", {"amount_nano_usd": 25 * 10**9, "reason": "contract 2026"})
    bounds = {"limits": {"requests_per_minute": 3000}, "budgets": {"monthly_nano_usd": 5_000_000}}
    stack.admin("PATCH", f"/projects/{own}", bounds)
    return own, str(stack.admin("POST", f"/projects/{own}/keys", {"name": "backend"}).json()["api_key"])


def call(stack: Stack, api_key: str, tier: str, ending: threading.Event) -> None:
    """Texts of some words, one in five of them known already."""
    client = openai.OpenAI(base_url=stack.bare_url, api_key=api_key, max_retries=0)
    while not ending.wait(random.uniform(0.02, 0.3)):
        texts = [" ".join(random.choices(_WORDS, k=8)) for _ in range(random.randint(1, 4))]
        texts += ["asked again and again"] * (random.random() < 0.2)
        user = random.choice(("ann", "bob", "import"))
        try:
            client.embeddings.create(
                model=stack.dev["model"], input=texts, user=user, extra_body={"service_tier": tier}
            )
        except openai.APIStatusError:
            ending.wait(1)


def line(number: int, model: str) -> dict[str, object]:
    """Of a batch."""
    body = {"model": model, "input": f"text {number}"}
    return {"custom_id": str(number), "method": "POST", "url": "/v1/embeddings", "body": body}


def take(browser: Browser, stack: Stack, own: str, api_key: str, scheme: str) -> None:
    """The main pages in one colour scheme."""
    page = browser.new_page(color_scheme=scheme, viewport={"width": 1280, "height": 1000})  # type: ignore[arg-type]
    page.goto(f"{stack.root_url}/console/")
    page.get_by_label("Admin token", exact=True).fill(stack.dev["admin_token"])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Models now").wait_for()
    _keep(page, f"overview-{scheme}")
    page.goto(f"{stack.root_url}/console/#/projects/{own}/usage")
    page.get_by_role("checkbox", name="tier").check()
    page.get_by_role("checkbox", name="user").check()
    page.get_by_text("In all:").wait_for()
    _keep(page, f"usage-{scheme}")
    page.goto(f"{stack.root_url}/console/#/playground")
    page.get_by_label("API key").fill(api_key)
    page.get_by_role("button", name="Use this key").click()
    page.get_by_role("button", name="Embed").click()
    page.get_by_role("heading", name="A map of the texts").wait_for()
    _keep(page, f"playground-{scheme}", whole=True)
    page.goto(f"{stack.root_url}/console/#/batches")
    page.get_by_role("region", name="Batches").wait_for()
    _keep(page, f"batches-{scheme}")
    page.close()


def _keep(page: Page, name: str, *, whole: bool = False) -> None:
    page.wait_for_timeout(1500)
    page.screenshot(path=FOLDER / f"{name}.png", full_page=whole)


def main() -> int:
    """Serve, call, look."""
    binary = shutil.which("chromium")
    if binary is None:
        raise SystemExit("Chromium is not installed (Debian: apt-get install chromium)")
    FOLDER.mkdir(exist_ok=True)
    stack = Stack(Path(tempfile.mkdtemp(prefix="embedgate-pictures-")) / "home")
    stack.start()
    ending = threading.Event()
    try:
        own, api_key = project(stack, "Search team", "search-team")
        project(stack, "Support bot", "support-bot")
        tiers = ("priority", "default", "flex")
        callers = [threading.Thread(target=call, args=(stack, api_key, tier, ending)) for tier in tiers]
        for caller in callers:
            caller.start()
        client = openai.OpenAI(base_url=stack.bare_url, api_key=api_key)
        time.sleep(LASTS_S)
        for count in (120, 4000):
            lines = "\n".join(json.dumps(line(number, stack.dev["model"])) for number in range(count))
            file = client.files.create(file=("texts.jsonl", lines.encode()), purpose="batch")
            client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
        time.sleep(10)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
            for scheme in ("light", "dark"):
                take(browser, stack, own, api_key, scheme)
            browser.close()
        ending.set()
        for caller in callers:
            caller.join(30)
    finally:
        ending.set()
        stack.interrupt()
    return 0


if __name__ == "__main__":
    sys.exit(main())
