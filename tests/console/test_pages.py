"""Every page, signed in both ways, in light and dark, on a wide screen and on a phone."""

import re
import secrets
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.console.conftest import Visit
from tests.contract.conftest import Service
from tests.contract.test_money import Tenant

LOOKS = [
    pytest.param({"scheme": "light", "width": 1280}, id="light"),
    pytest.param({"scheme": "dark", "width": 1280}, id="dark"),
    pytest.param({"scheme": "light", "width": 375}, id="phone"),
]


@pytest.fixture(scope="module")
def tenant(service: Service) -> Tenant:
    """With some traffic, a limit and a budget."""
    found = Tenant(service, credit=10**9)
    found.change(
        limits={"requests_per_minute": 600, "tokens_per_minute": 60_000},
        budgets={"monthly_nano_usd": 10**8, "monthly_tokens": 10**6},
    )
    for number in range(6):
        answer = found.post(f"text number {number % 4}", user="ann", service_tier=("flex", "priority")[number % 2])
        assert answer.status_code == 200
    found.post("", user="ann")
    time.sleep(2.5)
    return found


@pytest.mark.parametrize("visit", LOOKS, indirect=True)
def test_an_operator_sees_every_page(visit: Visit, tenant: Tenant) -> None:
    visit.sign_in()
    visit.heading("Overview")
    visit.page.get_by_text("as gateways counted").wait_for()
    order = visit.page.locator("h1, h2").all_inner_texts()
    assert order == ["Overview", "By tier", "Models now", "Money of all projects"], "what loads later keeps its place"
    expect(visit.page.get_by_role("region", name="Activity by tier")).to_contain_text("priority")
    expect(visit.page.get_by_role("region", name="Models and their replicas")).to_contain_text("all-MiniLM-L6-v2")
    expect(visit.page.locator("canvas").first).to_be_visible()
    project = f"projects/{tenant.project_id}"
    pages: list[tuple[str, str, Callable[[Page], object]]] = [
        ("", "Overview", lambda page: page.get_by_role("heading", name="Money of all projects").wait_for()),
        ("projects", "Projects", lambda page: page.get_by_role("region", name="Projects").wait_for()),
        (project, "t-", lambda page: page.get_by_role("region", name="Usage").wait_for()),
        (f"{project}/journal", "t-", lambda page: page.get_by_role("region", name="Journal").wait_for()),
        (f"{project}/endpoints", "t-", lambda page: page.get_by_role("region", name="Endpoints").wait_for()),
        (f"{project}/keys", "t-", lambda page: page.get_by_role("region", name="Keys").wait_for()),
        (f"{project}/settings", "t-", lambda page: page.get_by_role("button", name="Grant credit").wait_for()),
        ("playground", "Playground", lambda page: page.get_by_label("API key").wait_for()),
        ("batches", "Batches", lambda page: page.get_by_label("API key").wait_for()),
    ]
    for path, heading, settle in pages:
        visit.open(path)
        visit.heading(heading)
        settle(visit.page)
        visit.must_be_accessible()
        visit.must_be_narrow()


@pytest.mark.parametrize("visit", LOOKS, indirect=True)
def test_a_tenant_sees_its_own(visit: Visit, tenant: Tenant) -> None:
    visit.sign_in(tenant.key["api_key"], role="tenant")
    visit.heading(tenant.project_id)
    for gauge in ("Month's money", "Month's tokens", "Rate of requests", "Rate of tokens"):
        expect(visit.page.get_by_role("meter", name=gauge)).to_be_visible()
    expect(visit.page.get_by_role("link", name="Projects")).to_have_count(0)
    visit.page.get_by_role("link", name="Journal").click()
    visit.page.get_by_role("region", name="Journal").wait_for()
    visit.must_be_accessible()
    visit.must_be_narrow()
    visit.page.get_by_role("link", name="Playground").click()
    visit.page.get_by_role("button", name="Embed").click()
    visit.page.get_by_role("heading", name="How alike they are").wait_for()
    visit.must_be_accessible()
    visit.must_be_narrow()
    visit.page.get_by_role("link", name="Batches").click()
    visit.page.get_by_text("No batch yet.").wait_for()
    visit.must_be_accessible()
    visit.must_be_narrow()


def test_the_playground_shows_what_it_cost_and_searches(visit: Visit, tenant: Tenant) -> None:
    visit.sign_in(tenant.key["api_key"], role="tenant")
    visit.page.get_by_role("link", name="Playground").click()
    visit.page.get_by_label("Texts, one a line").fill(f"a {secrets.token_hex(4)}\nb\nc\nd")
    visit.page.get_by_label("Tier").select_option("priority")
    visit.page.get_by_label("Dimensions").fill("64")
    visit.page.get_by_role("button", name="Embed").click()
    stages = visit.page.get_by_role("region", name="Time by stage")
    for stage in ("tokenize", "admit", "embed", "settle"):
        expect(stages).to_contain_text(stage)
    expect(visit.page.get_by_text("tier priority")).to_be_visible()
    expect(visit.page.locator("dd", has_text=re.compile(r"^64$"))).to_be_visible()
    expect(visit.page.locator("svg.scatter circle")).to_have_count(4)
    visit.page.get_by_label("Question").fill("b")
    visit.page.get_by_role("button", name="Search").click()
    expect(visit.page.get_by_role("region", name="Lines by likeness").locator("tbody tr").first).to_contain_text("b")


def test_a_key_is_made_shown_once_used_rotated_and_revoked(visit: Visit, tenant: Tenant) -> None:
    visit.sign_in()
    visit.page.get_by_role("heading", name="Overview").wait_for()
    visit.open(f"projects/{tenant.project_id}/keys")
    visit.page.get_by_role("button", name="New key").click()
    visit.page.get_by_role("dialog").get_by_label("Name").fill("from the console")
    visit.page.get_by_role("button", name="Create").click()
    api_key = visit.page.get_by_test_id("key").or_(visit.page.locator("[data-test=key]")).inner_text()
    for language in ("Node", "curl", "LangChain", "LlamaIndex", "Python"):
        visit.page.get_by_role("button", name=language, exact=True).click()
        expect(visit.page.get_by_role("dialog")).to_contain_text("EMBEDGATE_API_KEY")
    visit.must_be_accessible()
    assert tenant.service.sdk(api_key=api_key).embeddings.create(model="all-MiniLM-L6-v2", input="x").data
    visit.page.get_by_role("button", name="I have kept it").click()
    row = visit.page.get_by_role("row", name=re.compile("from the console")).first
    assert api_key not in visit.page.content()
    row.get_by_role("button", name="Rotate").click()
    expect(visit.page.get_by_role("dialog")).to_contain_text("The old one goes on working until you revoke it")
    visit.page.keyboard.press("Escape")
    row.get_by_role("button", name="Revoke").click()
    expect(visit.page.get_by_role("dialog")).to_contain_text("gets a 401")
    visit.page.get_by_label("Reason").fill("left the firm")
    visit.page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_contain_text("revoked")
    visit.page.get_by_role("link", name="Journal").click()
    expect(visit.page.get_by_role("region", name="Journal")).to_contain_text("by console: left the firm")


def test_an_operator_sets_a_project_up(visit: Visit) -> None:
    visit.sign_in()
    visit.page.get_by_role("link", name="Projects").click()
    visit.page.get_by_role("button", name="New project").click()
    slug = f"c-{secrets.token_hex(4)}"
    dialog = visit.page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("Made here")
    dialog.get_by_label("Slug").fill(slug)
    dialog.get_by_role("button", name="Create").click()
    visit.heading("Made here")
    visit.page.get_by_role("link", name="Endpoints").click()
    visit.page.get_by_role("button", name="New endpoint").click()
    dialog.get_by_label("Slug").fill("main")
    dialog.get_by_label("Model", exact=True).fill("all-MiniLM-L6-v2")
    dialog.get_by_label("Dollars for a million tokens").fill("0.02")
    dialog.get_by_role("button", name="Create").click()
    row = visit.page.get_by_role("row", name=re.compile("main"))
    expect(row).to_contain_text("$0.02")
    row.get_by_role("button", name="Pause").click()
    expect(dialog).to_contain_text("503 (endpoint_inactive)")
    dialog.get_by_role("button", name="Pause").click()
    expect(row).to_contain_text("inactive")
    visit.page.get_by_role("link", name="Settings").click()
    visit.page.get_by_role("button", name="Grant credit").click()
    dialog.get_by_label("Dollars").fill("1.000000001")
    dialog.get_by_label("Reason").fill("trial")
    dialog.get_by_role("button", name="Grant").click()
    expect(visit.page.locator("dd").first).to_have_text("$1.000000001")
    visit.page.get_by_role("button", name="Change limits").click()
    dialog.get_by_label("Requests a minute").fill("60")
    dialog.get_by_label("Dollars a month").fill("0.5")
    dialog.get_by_role("button", name="Save").click()
    expect(visit.page.get_by_role("meter", name="Month's money")).to_be_visible()
    visit.page.get_by_role("button", name="Make delinquent").click()
    dialog.get_by_role("button", name="Make delinquent").click()
    expect(visit.page.get_by_role("heading", level=1)).to_contain_text("delinquent")
    visit.open("projects")
    visit.page.get_by_label("Slug").fill(slug)
    visit.page.get_by_role("button", name="Find").click()
    expect(visit.page.get_by_role("region", name="Projects").locator("tbody tr")).to_have_count(1)


def test_a_dropped_file_becomes_a_batch(visit: Visit, tenant: Tenant) -> None:
    visit.sign_in(tenant.key["api_key"], role="tenant")
    visit.page.get_by_role("link", name="Batches").click()
    content = "first text\nsecond text\n"
    visit.page.get_by_label("Or choose one").set_input_files(
        {"name": "texts.txt", "mimeType": "text/plain", "buffer": content.encode()}
    )
    expect(visit.page.get_by_role("dialog")).to_contain_text("2 lines of texts.txt become a batch")
    visit.must_be_accessible()
    visit.page.get_by_role("button", name="Submit").click()
    expect(visit.page.get_by_text(re.compile("batch_.* was made"))).to_be_visible()
    visit.page.get_by_label("Or choose one").set_input_files(
        {"name": "texts.pdf", "mimeType": "application/pdf", "buffer": b"%PDF"}
    )
    expect(visit.page.get_by_role("alert")).to_contain_text("Only .jsonl files")
    row = visit.page.get_by_role("region", name="Batches").get_by_role("row").nth(1)
    expect(row).to_contain_text("validating")
    row.get_by_role("button").click()
    visit.must_be_accessible()
    visit.page.get_by_role("button", name="Cancel this batch").click()
    expect(visit.page.get_by_role("dialog")).to_contain_text("What is done is kept and stays charged")
    visit.page.get_by_role("button", name="Cancel the batch").click()
    expect(visit.page.get_by_role("dialog")).to_contain_text("cancel")


@pytest.mark.parametrize("visit", LOOKS, indirect=True)
def test_the_documents_are_pages_too(visit: Visit) -> None:
    visit.page.goto(f"{visit.service.url}/docs/README.md")
    names = visit.page.locator("main a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert "concepts.md" in names and "errors.md" in names
    for name in dict.fromkeys(["README.md", *names]):
        visit.page.goto(f"{visit.service.url}/docs/{name}")
        expect(visit.page.get_by_role("heading", level=1)).to_be_visible()
        visit.must_be_accessible()
        visit.must_be_narrow()
