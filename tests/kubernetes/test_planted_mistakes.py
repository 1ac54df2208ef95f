"""Mistakes that people make, planted one at a time; each is found."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.kubernetes.manifests import RAY_SERVICE, Object, build, cluster, groups, named, of_kind
from tests.kubernetes.rules import faults
from tests.kubernetes.schemas import schema_faults

Mistake = Callable[[list[Object]], None]


def _group(objects: list[Object], name: str) -> dict[str, Any]:
    return dict(groups(objects))[name]


def _container(objects: list[Object], name: str) -> dict[str, Any]:
    container: dict[str, Any] = _group(objects, name)["template"]["spec"]["containers"][0]
    return container


def _config_map(objects: list[Object], prefix: str) -> Object:
    return next(o for o in of_kind(objects, "ConfigMap") if o["metadata"]["name"].startswith(prefix))


def _edit(objects: list[Object], kind: str, name: str, old: str, new: str) -> None:
    """Change a text anywhere in an object."""

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {n: changed(v) for n, v in value.items()}
        if isinstance(value, list):
            return [changed(v) for v in value]
        return value.replace(old, new) if isinstance(value, str) else value

    one = named(objects, kind, name)
    before = repr(one)
    one.update(changed(dict(one)))
    assert repr(one) != before, f"{old} is not in {name}"


def _serve(objects: list[Object], old: str, new: str) -> None:
    _edit(objects, RAY_SERVICE, "embedgate", old, new)


def _in_ledger_conf(objects: list[Object], old: str, new: str) -> None:
    files = _config_map(objects, "redis-ledger")["data"]
    assert old in files["ledger.conf"]
    files["ledger.conf"] = files["ledger.conf"].replace(old, new)


def _add_password(objects: list[Object]) -> None:
    _serve(objects, "    batches:", "    redis:\n      url: redis://:hunter2@redis-ledger:6379/0\n    batches:")


MISTAKES: Mapping[str, tuple[Mistake, str]] = {
    "a misspelt field of the cluster": (
        lambda o: cluster(o).update(enableIntreeAutoscaling=True), "enableIntreeAutoscaling"),
    "a misspelt field of a pod": (lambda o: _container(o, "gateway").update(imagePullPolice="Always"), "imagePullPolice"),
    "a text for a number": (lambda o: _group(o, "embedder").update(maxReplicas="8"), "maxReplicas"),
    "a kind without a schema": (lambda o: named(o, "Deployment", "redis-cache").update(kind="Deploymint"), "no schema"),
    "a misspelt field of a rule": (
        lambda o: named(o, "PrometheusRule", "embedgate")["spec"]["groups"][0].update(intervall="1m"), "intervall"),
    "workers without the environment": (lambda o: _container(o, "embedder").pop("envFrom"), "RAY_SERVE_ENABLE_HA_PROXY"),
    "the head without the fast path": (
        lambda o: _config_map(o, "embedgate-environment")["data"].pop("RAY_SERVE_THROUGHPUT_OPTIMIZED"), "head: RAY_SERVE_THR"),
    "a generated name that is not there": (
        lambda o: _container(o, "gateway")["envFrom"][0]["configMapRef"].update(name="embedgate-environment"), "gateway: RAY_"),
    "a secret that nobody brings": (
        lambda o: _container(o, "gateway")["envFrom"][1]["secretRef"].update(name="embedgte"), "no secret embedgte"),
    "the serving port undeclared": (lambda o: _container(o, "head")["ports"].pop(2), "head: ports"),
    "another metrics port": (
        lambda o: _container(o, "gateway")["ports"][1].update(containerPort=9090), "gateway: ports"),
    "a Service to a wrong port": (
        lambda o: named(o, "Service", "redis-cache")["spec"]["ports"][0].update(port=6380), "no port"),
    "a policy for a wrong port": (
        lambda o: named(o, "NetworkPolicy", "redis-cache")["spec"]["ingress"][0]["ports"][0].update(port=6380), "port 6380"),
    "a monitor of a port that is not there": (
        lambda o: named(o, "PodMonitor", "embedgate-ray")["spec"]["podMetricsEndpoints"][0].update(port="metric"), "metric"),
    "a label of our own missing": (
        lambda o: _group(o, "gateway")["template"]["metadata"]["labels"].pop("embedgate.io/group"), "selects nothing"),
    "a budget on Ray's own label": (
        lambda o: named(o, "PodDisruptionBudget", "embedgate-embedder")["spec"].update(
            selector={"matchLabels": {"ray.io/group": "embedder"}}), "selects nothing"),
    "a budget with maxUnavailable": (
        lambda o: named(o, "PodDisruptionBudget", "embedgate-gateway").update(
            spec={"maxUnavailable": 1, "selector": {"matchLabels": {"embedgate.io/group": "gateway"}}}), "minAvailable"),
    "a budget that blocks every drain": (
        lambda o: named(o, "PodDisruptionBudget", "redis-ledger")["spec"].update(minAvailable=3), "ever be moved"),
    "a ledger that evicts": (lambda o: _in_ledger_conf(o, "noeviction", "allkeys-lru"), "maxmemory-policy"),
    "a ledger without its file": (lambda o: _in_ledger_conf(o, "appendonly yes", "appendonly no"), "appendonly"),
    "a primary that writes alone": (
        lambda o: _in_ledger_conf(o, "min-replicas-to-write 1", "min-replicas-to-write 0"), "min-replicas"),
    "a cache that fills up": (
        lambda o: _edit(o, "Deployment", "redis-cache", "allkeys-lru", "noeviction"), "fill up"),
    "a store without a password": (
        lambda o: _edit(o, "StatefulSet", "redis-gcs", "--requirepass", "--requirepas"), "no password"),
    "nothing denied by default": (
        lambda o: o.remove(named(o, "NetworkPolicy", "default-deny")), "denies by default"),
    "the ledger open to all": (
        lambda o: named(o, "NetworkPolicy", "redis-ledger")["spec"]["ingress"][0]["from"].append({"podSelector": {}}),
        "lets everybody in"),
    "gateways cut off from the ledger": (
        lambda o: named(o, "NetworkPolicy", "stores")["spec"]["egress"].pop(0), "cannot reach redis-ledger"),
    "killed while it drains": (
        lambda o: _group(o, "gateway")["template"]["spec"].update(terminationGracePeriodSeconds=30), "while it drains"),
    "a hook that ends Ray first": (
        lambda o: _container(o, "gateway").update(lifecycle={"preStop": {"exec": {"command": ["ray", "stop"]}}}), "preStop"),
    "replicas on the head": (
        lambda o: cluster(o)["headGroupSpec"]["rayStartParams"].update({"num-cpus": "4"}), "run on the head"),
    "traffic to the head": (lambda o: of_kind(o, RAY_SERVICE)[0]["spec"].pop("excludeHeadPodFromServeSvc"), "head would"),
    "another Ray than the image's": (lambda o: cluster(o).update(rayVersion="2.59.0"), "rayVersion"),
    "a timeout that is final": (
        lambda o: of_kind(o, RAY_SERVICE)[0]["metadata"].update(annotations={"ray.io/initializing-timeout": "5m"}), "timeout"),
    "no fault tolerance": (lambda o: cluster(o).pop("gcsFaultToleranceOptions"), "forgets everything"),
    "the operator's variable set by hand": (
        lambda o: _container(o, "head").update(env=[{"name": "REDIS_PASSWORD", "value": "x"}]), "by itself"),
    "the first autoscaler": (lambda o: cluster(o)["autoscalerOptions"].pop("version"), "second"),
    "bounds that cross": (lambda o: _group(o, "gateway").update(minReplicas=30), "between their bounds"),
    "a container as root": (
        lambda o: named(o, "CronJob", "embedgate-ledger-verify")["spec"]["jobTemplate"]["spec"]["template"]["spec"].pop(
            "securityContext"), "run as root"),
    "a container that writes its image": (
        lambda o: _container(o, "embedder")["securityContext"].pop("readOnlyRootFilesystem"), "change its image"),
    "an image of any version": (lambda o: _container(o, "gateway").update(image="embedgate:latest"), "no version"),
    "a misspelt key of Serve's": (lambda o: _serve(o, "proxy_location:", "proxy_locaton:"), "proxy_locaton"),
    "a misspelt knob of ours": (lambda o: _serve(o, "memory_fraction:", "memory_fracton:"), "memory_fracton"),
    "a password in the configuration": (_add_password, "holds a password"),
    "a gateway on a GPU's node": (
        lambda o: _group(o, "gateway")["labels"].update({"embedgate.io/group": "embedder"}), "could run on"),
    "HAProxy on loopback": (lambda o: _serve(o, "host: 0.0.0.0", "host: 127.0.0.1"), "does not listen"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_found(name: str) -> None:
    plant, expected = MISTAKES[name]
    objects = build("prod")
    plant(objects)
    found = schema_faults(objects)
    # What is not of its schema is not looked at further: rules may rely on schemas.
    found = found or faults(objects)
    assert any(expected in fault for fault in found), found
