"""The console in Debian's Chromium, on a real application and a real store."""

import asyncio
import shutil
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.contract.conftest import ADMIN_TOKEN, Service, serving

EXPECTED = ("Failed to load resource",)
"""What Chromium says by itself of an answer that is an error; tests that cause one allow it."""


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory) as running:
        yield running


@pytest.fixture(scope="package")
def browser(service: Service) -> Iterator[Browser]:  # the service first: from here on this thread has a loop
    binary = shutil.which("chromium")
    if binary is None:
        pytest.skip("chromium is not installed (apt-get install chromium): the console was not driven")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield running
        running.close()


def apart(work: Coroutine[Any, Any, None]) -> None:
    """Run something asynchronous beside Playwright, whose loop has this thread."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


@dataclass
class Visit:
    """A tab, and whatever it complained of."""

    page: Page
    service: Service
    complaints: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    may_fail: bool = False

    def watch(self) -> "Visit":
        own = urlsplit(self.service.url).netloc
        self.page.on("console", lambda m: self._say(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda r: self._met(r.url, own))
        return self

    def _say(self, text: str) -> None:
        if not (self.may_fail and text.startswith(EXPECTED)):
            self.complaints.append(text)

    def _met(self, url: str, own: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.netloc != own:
            self.strangers.append(url)

    def open(self, path: str = "") -> None:
        self.page.goto(f"{self.service.url}/console/#/{path}")

    def sign_in(self, token: str = ADMIN_TOKEN, *, role: str = "operator") -> None:
        self.open()
        self.page.get_by_role("radio", name="Tenant" if role == "tenant" else "Operator").check()
        self.page.get_by_label("API key" if role == "tenant" else "Admin token", exact=True).fill(token)
        self.page.get_by_role("button", name="Sign in").click()

    def give_key(self, api_key: str) -> None:
        self.page.get_by_label("API key").fill(api_key)
        self.page.get_by_role("button", name="Use this key").click()

    def heading(self, text: str) -> None:
        expect(self.page.get_by_role("heading", level=1)).to_contain_text(text)

    def must_be_accessible(self) -> None:
        found = Axe().run(self.page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
        grave = [v for v in found.response["violations"] if v["impact"] in ("serious", "critical")]
        assert not grave, [(v["id"], v["nodes"][0]["html"], v["nodes"][0]["failureSummary"]) for v in grave]

    def must_be_narrow(self) -> None:
        """Nothing but a table's own region scrolls sideways."""
        assert self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.fixture
def visit(browser: Browser, service: Service, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A fresh tab; its parameter may name a colour scheme and a width."""
    options = getattr(request, "param", {})
    context = browser.new_context(
        color_scheme=options.get("scheme", "light"),
        viewport={"width": options.get("width", 1280), "height": 900},
        permissions=["clipboard-write", "clipboard-read"],
        accept_downloads=True,
    )
    context.set_default_timeout(15_000)
    found = Visit(context.new_page(), service).watch()
    yield found
    context.close()
    assert not found.complaints
    assert not found.strangers
