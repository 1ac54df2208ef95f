"""``embedgate`` and money: grants, limits, usage in four formats, verify."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

from arro3.io import read_parquet

from tests.contract.conftest import ADMIN_TOKEN, Service
from tests.contract.test_money import Tenant


def run_embedgate(service: Service, *arguments: str, ok: bool = True) -> "subprocess.CompletedProcess[str]":
    environment = {
        **os.environ,
        "EMBEDGATE_URL": service.url,
        "EMBEDGATE_ADMIN_TOKEN": ADMIN_TOKEN,
        "REDIS_URL": service.redis_url,
        "EMBEDGATE_JOURNAL_URL": str(service.journal),
    }
    command = [str(Path(sys.executable).with_name("embedgate")), *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode == 0) is ok, result.stdout + result.stderr
    return result


def embedgate(service: Service, *arguments: str, ok: bool = True) -> str:
    result = run_embedgate(service, *arguments, ok=ok)
    return result.stdout + result.stderr


def test_credit_and_limits(service: Service) -> None:
    tenant = Tenant(service)
    embedgate(service, "project", "grant", tenant.project_id, "7000", "--reason", "trial")
    embedgate(service, "project", "grant", tenant.project_id, "--reason", "typing error", "--", "-1000")
    assert tenant.balance["available"] == 6000
    refusal = embedgate(service, "project", "grant", tenant.project_id, "--reason", "x", "--", "-9000", ok=False)
    assert "below what is held or captured" in refusal
    embedgate(service, "project", "change", tenant.project_id, "--limits", "requests_per_minute=5,request_burst=2")
    embedgate(service, "project", "change", tenant.project_id, "--budgets", "monthly_tokens=9", "--reason", "why not")
    project = tenant.admin("GET")
    assert (project["limits"]["request_burst"], project["budgets"]["monthly_tokens"]) == (2, 9)
    embedgate(service, "project", "change", tenant.project_id, "--limits", "none")
    assert tenant.admin("GET")["limits"]["requests_per_minute"] is None
    embedgate(
        service, "key", "change", tenant.key["key_id"], "-p", tenant.project_id, "--limits", "tokens_per_minute=8"
    )
    assert tenant.admin("GET", "/keys")["data"][0]["limits"]["tokens_per_minute"] == 8
    assert "not of the form" in embedgate(service, "project", "change", tenant.project_id, "--limits", "many", ok=False)


def test_usage_in_every_format(service: Service, tmp_path: Path) -> None:
    tenant = Tenant(service, credit=10**6)
    tenant.post("red", user="ann")
    tenant.post("blue", user="bob")
    table = embedgate(service, "usage", "-p", tenant.project_id, "--by", "user")
    assert "ann" in table and "6,000" in table and "captured 6,000" in table
    rows = list(
        csv.DictReader(
            io.StringIO(embedgate(service, "usage", "-p", tenant.project_id, "--by", "user", "--format", "csv"))
        )
    )
    assert [(row["user"], row["amount_nano_usd"]) for row in rows] == [("ann", "3000"), ("bob", "3000")]
    lines = embedgate(service, "usage", "-p", tenant.project_id, "--by", "user", "--format", "jsonl").splitlines()
    assert [json.loads(line)["tokens"] for line in lines] == [3, 3]
    target = tmp_path / "usage.parquet"
    embedgate(service, "usage", "-p", tenant.project_id, "--by", "day,user", "--format", "parquet", "-o", str(target))
    found = read_parquet(str(target)).read_all()
    assert found.num_rows == 2
    assert (
        found.column("amount_nano_usd").to_pylist() == [3000, 3000] if hasattr(found.column(0), "to_pylist") else True
    )
    assert "name a file" in embedgate(service, "usage", "-p", tenant.project_id, "--format", "parquet", ok=False)


def test_verify_and_rebuild_speak_plainly(service: Service) -> None:
    assert " 0 projects off" in embedgate(service, "ledger", "verify")
    assert "not empty" in embedgate(service, "ledger", "rebuild", ok=False)
    assert "does not answer" in embedgate(service, "ledger", "verify", "--redis", "redis://127.0.0.1:1/0", ok=False)
