"""The overlays as `kubectl kustomize` builds them, and what stands in their pods."""

import copy
import functools
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
OVERLAYS = ("dev", "prod", "prod-multi-model")
EXAMPLES = ("external-secrets.yaml", "gateway-tls.yaml")
RAY_SERVICE = "RayService"

Object = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A template of pods: who makes them, their labels and their specification."""

    owner: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]

    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for one in self.spec["containers"] for port in one.get("ports", ())}


def load(text: str) -> list[Object]:
    return [document for document in YAML(typ="safe").load_all(text) if document]


@functools.cache
def _built(overlay: str) -> list[Object]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: manifests are not built")
    command = [kubectl, "kustomize", str(K8S / "overlays" / overlay)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert not result.stderr, result.stderr
    return load(result.stdout)


def build(overlay: str) -> list[Object]:
    """An overlay's objects, anew for each caller."""
    return copy.deepcopy(_built(overlay))


def example(name: str) -> list[Object]:
    return load((K8S / "examples" / name).read_text())


def of_kind(objects: Sequence[Object], kind: str) -> list[Object]:
    return [one for one in objects if one["kind"] == kind]


def named(objects: Sequence[Object], kind: str, name: str) -> Object:
    (found,) = (one for one in of_kind(objects, kind) if one["metadata"]["name"] == name)
    return found


def cluster(objects: Sequence[Object]) -> dict[str, Any]:
    """The RayService's cluster."""
    (service,) = of_kind(objects, RAY_SERVICE)
    spec: dict[str, Any] = service["spec"]["rayClusterConfig"]
    return spec


def groups(objects: Sequence[Object]) -> list[tuple[str, dict[str, Any]]]:
    """The head and each group of workers."""
    ray = cluster(objects)
    return [("head", ray["headGroupSpec"]), *((group["groupName"], group) for group in ray["workerGroupSpecs"])]


def ray_pods(objects: Sequence[Object]) -> list[Pod]:
    return [_pod(name, group["template"]) for name, group in groups(objects)]


def pods(objects: Sequence[Object]) -> list[Pod]:
    """Every template of pods in a build."""
    return [*ray_pods(objects), *_other_pods(objects)]


def _other_pods(objects: Sequence[Object]) -> Iterator[Pod]:
    for one in objects:
        if one["kind"] in ("StatefulSet", "Deployment"):
            yield _pod(one["metadata"]["name"], one["spec"]["template"])
        if one["kind"] == "CronJob":
            yield _pod(one["metadata"]["name"], one["spec"]["jobTemplate"]["spec"]["template"])


def _pod(owner: str, template: Mapping[str, Any]) -> Pod:
    return Pod(owner, template.get("metadata", {}).get("labels", {}), template["spec"])


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects a pod; one that is empty selects all."""
    if any(labels.get(name) != value for name, value in selector.get("matchLabels", {}).items()):
        return False
    for expression in selector.get("matchExpressions", ()):
        assert expression["operator"] == "In", "only In is in use"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True
