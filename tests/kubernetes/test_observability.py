"""Alerts and panels ask for what the service exports, and every alert says what to do."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from app.core.metric_names import METRICS, Kind
from tests.kubernetes.manifests import K8S, load

_NAME = re.compile(r"\b((?:ray_)?embedgate_[a-z0-9_]+|kube_[a-z_]+)\b")
_SELECTED = re.compile(r"\b(ray_embedgate_[a-z0-9_]+)\{([^}]*)\}")
_BY = re.compile(r"\bby \(([^)]*)\)")
_OF_OTHERS = {"kube_cronjob_status_last_successful_time"}
_ADDED = {"le"}


def exported() -> dict[str, set[str]]:
    """Names as Prometheus has them, with their labels."""
    names: dict[str, set[str]] = {}
    for metric in METRICS:
        labels = set(metric.labels)
        match metric.kind:
            case Kind.COUNTER:
                names[f"ray_{metric.name}_total"] = labels
            case Kind.GAUGE:
                names[f"ray_{metric.name}"] = labels
            case Kind.HISTOGRAM:
                names |= {f"ray_{metric.name}_{part}": labels for part in ("bucket", "sum", "count")}
    return names


def rules() -> list[dict[str, object]]:
    (document,) = load((K8S / "base/alerts.yaml").read_text())
    return [rule for group in document["spec"]["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield str(rule.get("alert") or rule["record"]), str(rule["expr"])
    for file in (K8S / "base/dashboards").glob("*.json"):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield panel["title"], target["expr"]


def faults_of(expression: str) -> list[str]:
    """Names and labels in it that nobody exports."""
    known = exported()
    found = set(_NAME.findall(expression))
    faults = [f"{name} is not exported" for name in found - set(known) - _OF_OTHERS]
    for name, selected in _SELECTED.findall(expression):
        used = set(re.findall(r"([a-z_]+)\s*[=!]", selected))
        faults += [f"{name} has no label {label}" for label in used - known.get(name, set()) - _ADDED]
    labels = set().union(*(known.get(name, set()) for name in found), _ADDED)
    for listed in _BY.findall(expression):
        faults += [f"no label {label}" for label in {one.strip() for one in listed.split(",")} - labels]
    return faults


def test_every_rule_and_panel_asks_for_what_is_exported() -> None:
    asked = list(expressions())
    assert len(asked) > 40
    assert [(what, faults) for what, expression in asked if (faults := faults_of(expression))] == []


def test_recorded_names_are_those_that_alerts_use() -> None:
    recorded = {str(rule["record"]) for rule in rules() if "record" in rule}
    used = {name for rule in rules() if "alert" in rule for name in re.findall(r"embedgate:\w+:\w+", str(rule["expr"]))}
    assert used == recorded


@pytest.mark.parametrize(
    "expression",
    [
        "rate(ray_embedgate_request_total[5m])",
        'ray_embedgate_request_ms_bucket{teir="flex"}',
        "sum by (replica) (ray_embedgate_tasks)",
    ],
)
def test_a_misspelt_metric_or_label_is_found(expression: str) -> None:
    assert faults_of(expression)


def test_every_alert_has_its_section() -> None:
    text = (K8S / "README.md").read_text()
    sections = {line.removeprefix("### ").strip().lower() for line in text.splitlines() if line.startswith("### ")}
    for rule in rules():
        if "alert" in rule:
            annotations = rule["annotations"]
            assert isinstance(annotations, dict)
            assert annotations["runbook"] == f"k8s/README.md#{str(rule['alert']).lower()}"
            assert str(rule["alert"]).lower() in sections, rule["alert"]


def test_buckets_of_alerts_are_there() -> None:
    buckets = {m.name: {f"{float(bound)}" for bound in m.buckets} for m in METRICS if m.kind is Kind.HISTOGRAM}
    for _, expression in expressions():
        for name, selected in re.findall(r"ray_(embedgate_[a-z_]+)_bucket\{([^}]*le=[^}]*)\}", expression):
            assert set(re.findall(r'le="([^"]+)"', selected)) <= buckets[name]


def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (Debian's prometheus) is not installed: rules are only read, not parsed")
    (document,) = load((K8S / "base/alerts.yaml").read_text())
    file = tmp_path / "rules.yaml"
    with file.open("w") as stream:
        YAML(typ="safe").dump(document["spec"], stream)
    result = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr + result.stdout
