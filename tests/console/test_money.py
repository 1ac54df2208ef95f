"""Every page's numbers are those of ``embedgate usage`` and the ledger, to the nano-dollar."""

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.console.conftest import Visit
from tests.contract.conftest import Service
from tests.contract.test_cli_money import embedgate
from tests.contract.test_money import Tenant


def nano_of(text: str) -> int:
    """$1,234.000000042 as whole nano-USD."""
    whole, fraction = re.fullmatch(r"\$([\d,]+)\.(\d{2,9})", text.strip()).groups()  # type: ignore[union-attr]
    return int(whole.replace(",", "")) * 10**9 + int(fraction.ljust(9, "0"))


def figure(page: Page, name: str) -> Locator:
    """The value of a named figure."""
    return page.locator(".figure", has=page.locator("dt", has_text=re.compile(f"^{name}$"))).locator("dd").first


@pytest.fixture(scope="module")
def tenant(service: Service) -> Iterator[Tenant]:
    """Mixed traffic: tiers, users, keys, repeats, failures, an open hold."""
    found = Tenant(service, credit=10**12 + 7)
    found.admin("POST", "/endpoints", {"slug": "odd", "model": "all-MiniLM-L6-v2", "price_nano_usd_per_mtok": 333_333})
    for number in range(12):
        user = ("ann", 'bob, "the other"', None)[number % 3]
        tier = ("flex", "default", "priority")[number % 3]
        found.post(f"line {number % 5} of traffic", user=user, service_tier=tier)
    other = found.admin("POST", "/keys", {"name": "other"})["api_key"]
    for number in range(5):
        body = f'{{"model": "all-MiniLM-L6-v2", "input": ["a {number}", "b {number}", "a {number}"]}}'.encode()
        service.post(body, headers={"Authorization": f"Bearer {other}"})
    found.post("x", dimensions=0)
    time.sleep(2.5)
    yield found


def test_the_projects_page_is_its_account(visit: Visit, tenant: Tenant) -> None:
    visit.sign_in(tenant.key["api_key"], role="tenant")
    visit.heading(tenant.project_id)
    balance = tenant.balance
    for name in ("Available", "Held", "Captured", "Granted"):
        assert nano_of(figure(visit.page, name).inner_text()) == balance[name.lower()], name
    assert balance["captured"] > 0
    total = visit.page.get_by_text("In all:").locator("strong").inner_text()
    assert nano_of(total) == balance["captured"]
    assert " 0 projects off" in embedgate(tenant.service, "ledger", "verify")


def test_the_csv_is_that_of_the_command_line(visit: Visit, tenant: Tenant) -> None:
    visit.sign_in(tenant.key["api_key"], role="tenant")
    visit.heading(tenant.project_id)
    for group in ("endpoint", "tier", "key", "user"):
        visit.page.get_by_role("checkbox", name=group).check()
    expect(visit.page.get_by_role("region", name="Usage").locator("thead")).to_contain_text("User")
    with visit.page.expect_download() as caught:
        visit.page.get_by_role("button", name="Download CSV").click()
    downloaded = caught.value.path().read_bytes().decode()
    day = visit.page.get_by_label("From").input_value()
    by = "day,endpoint,tier,key,user"
    wanted = embedgate(tenant.service, "usage", "-p", tenant.project_id, "--from", day, "--by", by, "--format", "csv")
    assert downloaded == wanted
    assert '"bob, ""the other"""' in downloaded


def test_tables_add_up_to_their_totals(visit: Visit, tenant: Tenant) -> None:
    visit.sign_in(tenant.key["api_key"], role="tenant")
    visit.page.get_by_role("checkbox", name="tier").check()
    visit.page.get_by_role("checkbox", name="user").check()
    region = visit.page.get_by_role("region", name="Usage")
    expect(region.locator("thead")).to_contain_text("User")
    amounts = [nano_of(text) for text in region.locator("tbody tr td:last-child").all_inner_texts()]
    assert len(amounts) > 3 and sum(amounts) == tenant.balance["captured"]


def test_the_journal_leads_from_a_request_to_its_money(visit: Visit, tenant: Tenant) -> None:
    answer = tenant.post("a request to be found again", user="finance")
    visit.sign_in(tenant.key["api_key"], role="tenant")
    visit.page.get_by_role("link", name="Journal").click()
    visit.page.get_by_label("User").fill("finance")
    visit.page.get_by_role("button", name="Show").click()
    region = visit.page.get_by_role("region", name="Journal")
    request_id = answer.headers["x-request-id"]
    expect(region.locator("tbody tr").first).to_contain_text(request_id)
    region.get_by_role("button", name=request_id).first.click()
    expect(region.locator("tbody tr")).to_have_count(2)
    kinds = [row.inner_text().split("\t") for row in region.locator("tbody tr").all()]
    assert [cells[1].strip() for cells in kinds] == ["capture", "hold"]
    assert {nano_of(cells[2]) for cells in kinds} == {int(answer.headers["x-cost-nano-usd"])}


def test_the_overview_counts_what_was_charged_and_sums_all_accounts(visit: Visit, tenant: Tenant) -> None:
    time.sleep(2.5)
    visit.sign_in()
    visit.heading("Overview")
    captured = figure(visit.page, "Captured")
    charged = figure(visit.page, "Charged")
    expect(captured).not_to_have_text("$0.00")
    projects = tenant.service.admin("GET", "/projects?limit=1000")["data"]
    wanted = sum(project["balance"]["captured"] for project in projects)
    assert nano_of(captured.inner_text()) == wanted
    assert nano_of(charged.inner_text()) == wanted, "all of it was charged by this gateway, in this hour"
