"""What goes wrong: keys that end, a store that is away, many keys, hostile names, other tenants."""

import hashlib
import re
import time
from collections.abc import Iterator

import httpx
import orjson
import pytest
from playwright.sync_api import expect

from app.core.directory import KeyRecord
from app.stores.redis_client import PATIENT_S, connect
from app.stores.redis_directory import key_ids_key, keys_key
from tests.console.conftest import Visit, apart
from tests.contract.conftest import ADMIN_TOKEN, Service
from tests.contract.test_money import Tenant

HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script>\'"&{{7*7}}${alert(3)}'


@pytest.fixture(scope="module")
def empty(service: Service) -> Iterator[str]:
    yield service.admin("POST", "/projects", {"name": "Empty", "slug": "empty"})["project_id"]


def test_an_empty_project_says_what_is_missing(visit: Visit, empty: str) -> None:
    visit.sign_in()
    visit.heading("Overview")
    for tab, sentence in (
        ("usage", "Nothing was charged in these days."),
        ("endpoints", "No endpoint: every request gets a 404."),
        ("keys", "No key yet: nobody can call this project."),
    ):
        visit.open(f"projects/{empty}/{tab}")
        expect(visit.page.get_by_text(sentence)).to_be_visible()
        visit.must_be_accessible()
    expect(visit.page.get_by_text("No rate limit and no monthly budget is set.")).to_be_visible()
    visit.open(f"projects/{empty}/journal")
    expect(visit.page.get_by_role("region", name="Journal")).to_contain_text("change")


def test_a_wrong_token_is_refused_in_words(visit: Visit) -> None:
    visit.may_fail = True
    visit.sign_in("not the token")
    expect(visit.page.get_by_role("alert")).to_contain_text("operator's token")
    visit.sign_in("eg_nobody_0123", role="tenant")
    expect(visit.page.get_by_role("alert")).to_contain_text("Sign in again")
    visit.must_be_accessible()


def test_a_key_that_expires_while_one_looks(visit: Visit, service: Service) -> None:
    visit.may_fail = True
    tenant = Tenant(service, credit=10**6)
    visit.sign_in(tenant.key["api_key"], role="tenant")
    visit.heading(tenant.project_id)
    service.admin("DELETE", f"/projects/{tenant.project_id}/keys/{tenant.key['key_id']}")
    time.sleep(1.1)
    visit.page.get_by_role("link", name="Journal").click()
    expect(visit.page.get_by_role("alert").first).to_contain_text("Sign in again")
    visit.page.get_by_role("button", name="Sign out").click()
    expect(visit.page.get_by_role("button", name="Sign in")).to_be_visible()
    assert visit.page.evaluate("sessionStorage.length") == 0


def test_ten_thousand_keys_come_page_by_page(visit: Visit, service: Service) -> None:
    tenant = Tenant(service)
    apart(_many_keys(service, tenant.project_id, 10_000))
    visit.sign_in()
    visit.heading("Overview")
    visit.open(f"projects/{tenant.project_id}/keys")
    region = visit.page.get_by_role("region", name="Keys")
    expect(region.locator("tbody tr")).to_have_count(50)
    first = region.locator("tbody tr").first.inner_text()
    visit.page.get_by_role("button", name="Next").click()
    expect(visit.page.get_by_text("Page 2")).to_be_visible()
    expect(region.locator("tbody tr").first).not_to_have_text(first)
    visit.page.get_by_role("button", name="Previous").click()
    expect(region.locator("tbody tr").first).to_have_text(re.compile(re.escape(first.split("\t")[0])))


async def _many_keys(service: Service, project_id: str, count: int) -> None:
    redis = connect(service.redis_url, timeout_s=PATIENT_S)
    pipe = redis.pipeline(transaction=False)
    for number in range(count):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        record = KeyRecord(f"key_{number:024}", f"key number {number}", digest, 0)
        pipe.hset(keys_key(project_id), record.key_id, orjson.dumps(record))
        pipe.zadd(key_ids_key(project_id), {record.key_id: 0})
    await pipe.execute()
    await redis.aclose()


def test_while_redis_is_down_the_console_says_so_and_recovers(visit: Visit, service: Service) -> None:
    visit.may_fail = True
    visit.sign_in()
    visit.heading("Overview")
    service.store.stop()
    try:
        expect(visit.page.get_by_role("alert").first).to_contain_text("perhaps Redis", timeout=20_000)
        visit.page.get_by_role("link", name="Projects").click()
        expect(visit.page.get_by_role("alert").first).to_contain_text("nothing is charged")
        visit.must_be_accessible()
    finally:
        service.store.start()
    expect(visit.page.get_by_role("region", name="Projects")).to_be_visible(timeout=15_000)
    expect(visit.page.get_by_role("alert")).to_have_count(0)


def test_hostile_names_stay_text(visit: Visit, service: Service) -> None:
    tenant = Tenant(service, credit=10**9)
    tenant.admin("PATCH", "", {"name": HOSTILE})
    tenant.admin("POST", "/keys", {"name": HOSTILE})
    assert tenant.post("text", user=HOSTILE).status_code == 200
    authored = {"X-Actor": "<b>me</b>", "X-Reason": "<script>alert(4)</script>"}
    httpx.patch(
        f"{service.url}/admin/v1/projects/{tenant.project_id}",
        json={"fair_share_weight": 2},
        headers={"Authorization": f"Bearer {ADMIN_TOKEN}", **authored},
    )
    visit.sign_in()
    visit.heading("Overview")
    visit.open(f"projects/{tenant.project_id}")
    visit.heading(HOSTILE)
    visit.page.get_by_role("checkbox", name="user").check()
    expect(visit.page.get_by_role("region", name="Usage")).to_contain_text(HOSTILE)
    for tab, text in (("journal", HOSTILE), ("keys", HOSTILE), ("journal", "<script>alert(4)</script>")):
        visit.open(f"projects/{tenant.project_id}/{tab}")
        expect(visit.page.get_by_role("region", name=tab.capitalize())).to_contain_text(text)
    assert visit.page.locator("main img, main script, main b").count() == 0
    visit.open("playground")
    visit.give_key(tenant.key["api_key"])
    visit.page.get_by_label("Texts, one a line").fill(f"{HOSTILE}\nb\nc")
    visit.page.get_by_role("button", name="Embed").click()
    expect(visit.page.get_by_role("region", name="Vectors")).to_contain_text(HOSTILE)
    assert visit.page.locator("main img, main script").count() == 0


def test_a_key_reaches_nothing_of_another_project(service: Service) -> None:
    own, other = Tenant(service, credit=10**6), Tenant(service, credit=10**6)
    other.post("a secret text", user="their user")
    headers = {"Authorization": f"Bearer {own.key['api_key']}"}
    for path in (
        f"/admin/v1/projects/{other.project_id}",
        f"/admin/v1/projects/{other.project_id}/usage",
        f"/admin/v1/projects/{other.project_id}/journal",
        f"/admin/v1/projects/{other.project_id}/keys",
        "/admin/v1/projects",
        "/admin/v1/overview",
        "/admin/v1/totals",
    ):
        assert httpx.get(service.url + path, headers=headers).status_code == 401, path
    for path in ("/v1/usage?by=user", f"/v1/journal?user=their%20user&project_id={other.project_id}", "/v1/journal"):
        answer = httpx.get(service.url + path, headers=headers)
        assert answer.status_code == 200
        assert other.project_id not in answer.text and "their user" not in answer.text


def test_files_of_the_console_carry_a_strict_policy(service: Service) -> None:
    assert httpx.get(f"{service.url}/console").headers["location"].endswith("/console/")
    for path in ("", "main.js", "style.css", "vendor/uplot.js"):
        answer = httpx.get(f"{service.url}/console/{path}")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert httpx.get(f"{service.url}/console/nothing.js").status_code == 404
    assert httpx.get(f"{service.url}/console/..%2f..%2fpyproject.toml").status_code == 404
    url = f"{service.url}/console/main.js"
    assert httpx.get(url, headers={"if-none-match": httpx.get(url).headers["etag"]}).status_code == 304
