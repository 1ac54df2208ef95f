"""What no schema says: the operator's own rules, what Ray and the stores need, and what selects or names what."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.serve.schema import ServeDeploySchema
from ruamel.yaml import YAML

from app.core.settings.check import check_text
from app.core.settings.serve_file import ServeFile
from deployments.fast_ingress import FAST_INGRESS, HAPROXY_PROGRAM_VARIABLE
from tests.kubernetes import manifests
from tests.kubernetes.manifests import Object, Pod, cluster, groups, named, of_kind, pods, ray_pods, selects

DRAIN_S, GRACE_S = 90, 120
_GROUP = "embedgate.io/group"
_OF_OTHERS = ({"app.kubernetes.io/name": "kuberay-operator"}, {"ray.io/node-type": "redis-cleanup"})
_PASSWORD = re.compile(r"://[^/\s]*:[^/\s@]+@")

Rule = Callable[[Sequence[Object]], Iterator[str]]


def faults(objects: Sequence[Object]) -> list[str]:
    """Everything that is wrong with a build."""
    return [fault for rule in _RULES for fault in rule(objects)]


def _operator(objects: Sequence[Object]) -> Iterator[str]:
    """What KubeRay refuses, or silently does otherwise."""
    (service,) = of_kind(objects, manifests.RAY_SERVICE)
    ray_cluster = cluster(objects)
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", service["metadata"]["name"]):
        yield "the RayService's name is no DNS label of at most 47 characters"
    if "ray.io/initializing-timeout" in service["metadata"].get("annotations", {}):
        yield "an initializing-timeout ends the service for good"
    if not service["spec"].get("excludeHeadPodFromServeSvc"):
        yield "the head would get traffic"
    if service["spec"].get("rayClusterDeletionDelaySeconds", 0) < 60 + DRAIN_S:
        yield "an old cluster goes before its requests are done"
    if ray_cluster.get("rayVersion") != ray.__version__:
        yield f"rayVersion is not the image's ({ray.__version__})"
    if not ray_cluster.get("enableInTreeAutoscaling") or ray_cluster["autoscalerOptions"].get("version") != "v2":
        yield "the autoscaler is not Ray's second"
    if "gcsFaultToleranceOptions" not in ray_cluster:
        yield "the head forgets everything when it restarts"
    if ray_cluster["headGroupSpec"]["rayStartParams"].get("num-cpus") != "0":
        yield "replicas could run on the head"
    names = [name for name, _ in groups(objects)]
    if len(set(names)) != len(names):
        yield "two groups have one name"
    for name, group in groups(objects):
        if {"num-cpus", "num-gpus", "memory", "resources"} & set(group["rayStartParams"]) and group.get("resources"):
            yield f"{name}: resources stand in rayStartParams and in resources"
        if "labels" in group["rayStartParams"]:
            yield f"{name}: labels stand in rayStartParams"
        if group["template"]["spec"].get("restartPolicy", "Never") != "Never":
            yield f"{name}: the autoscaler needs restartPolicy Never"
        if name != "head" and not group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
            yield f"{name}: replicas are not between their bounds"


def _ray_pods(objects: Sequence[Object]) -> Iterator[str]:
    """Environment, ports, drain: of the head and of each group of workers."""
    for pod in ray_pods(objects):
        container = pod.spec["containers"][0]
        environment = _environment(objects, container)
        for name, value in FAST_INGRESS.items():
            if environment.get(name) != value:
                yield f"{pod.owner}: {name} is not {value}"
        for name in (HAPROXY_PROGRAM_VARIABLE, "REDIS_URL", "EMBEDGATE_ADMIN_TOKEN", "EMBEDGATE_JOURNAL_URL"):
            if not environment.get(name):
                yield f"{pod.owner}: {name} is not set"
        if {"REDIS_PASSWORD", "RAY_REDIS_ADDRESS", "RAY_enable_autoscaler_v2"} & set(environment):
            yield f"{pod.owner}: the operator sets REDIS_PASSWORD and the like by itself"
        if environment.get("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S") != str(DRAIN_S):
            yield f"{pod.owner}: it is not drained for {DRAIN_S} s"
        if pod.spec.get("terminationGracePeriodSeconds", 30) < GRACE_S:
            yield f"{pod.owner}: it is killed while it drains"
        if "preStop" in container.get("lifecycle", {}):
            yield f"{pod.owner}: a preStop hook ends Ray before it drains"
        if {"readinessProbe", "livenessProbe"} & set(container):
            yield f"{pod.owner}: the operator's own probes are replaced"
        wanted = {"serve": 8000, "metrics": 8080}
        if pod.owner == "head":
            wanted |= {"gcs-server": 6379, "dashboard": 8265, "as-metrics": 44217, "dash-metrics": 44227}
        if pod.ports() != wanted:
            yield f"{pod.owner}: ports are {pod.ports()}, not {wanted}"
        if pod.labels.get("embedgate.io/ray") != "true" or pod.labels.get(_GROUP) != pod.owner:
            yield f"{pod.owner}: labels of our own are missing"
        if "/tmp" not in {mount["mountPath"] for mount in container.get("volumeMounts", ())}:
            yield f"{pod.owner}: Ray has nowhere to write"


def _environment(objects: Sequence[Object], container: Mapping[str, Any]) -> dict[str, str]:
    """A container's, with secrets that lie outside taken to be whole."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        if reference := source.get("configMapRef"):
            for one in of_kind(objects, "ConfigMap"):
                if one["metadata"]["name"] == reference["name"]:
                    found |= one["data"]
        elif reference := source.get("secretRef"):
            secrets = [o for o in of_kind(objects, "Secret") if o["metadata"]["name"] == reference["name"]]
            if secrets:
                found |= dict.fromkeys(secrets[0].get("data", {}), "set")
            elif reference["name"] == "embedgate":
                found |= dict.fromkeys(("REDIS_URL", "EMBEDGATE_ADMIN_TOKEN", "EMBEDGATE_CACHE_URL"), "set")
    for variable in container.get("env", ()):
        found[variable["name"]] = variable.get("value", "set")
    return found


def _selectors(objects: Sequence[Object]) -> Iterator[str]:
    """Each selects something."""
    templates = pods(objects)
    for where, selector in _all_selectors(objects):
        is_ours = selector and selector.get("matchLabels") not in _OF_OTHERS
        if is_ours and not any(selects(selector, pod.labels) for pod in templates):
            yield f"{where} selects nothing: {selector}"


def _all_selectors(objects: Sequence[Object]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for one in objects:
        name, spec = f"{one['kind']} {one['metadata']['name']}", one.get("spec", {})
        match one["kind"]:
            case "Service":
                yield name, {"matchLabels": spec["selector"]}
            case "PodDisruptionBudget" | "PodMonitor" | "StatefulSet" | "Deployment":
                yield name, spec["selector"]
            case "NetworkPolicy":
                yield name, spec["podSelector"]
                for direction, peers in (("ingress", "from"), ("egress", "to")):
                    for rule in spec.get(direction, ()):
                        for peer in rule.get(peers, ()):
                            if "podSelector" in peer:
                                yield f"{name} {direction}", peer["podSelector"]
    for pod in pods(objects):
        for constraint in pod.spec.get("topologySpreadConstraints", ()):
            yield f"topology spread of {pod.owner}", constraint["labelSelector"]
        for term in pod.spec.get("affinity", {}).get("podAntiAffinity", {}).get(
            "requiredDuringSchedulingIgnoredDuringExecution", ()
        ):  # fmt: skip
            yield f"affinity of {pod.owner}", term["labelSelector"]


def _ports(objects: Sequence[Object]) -> Iterator[str]:
    """Services, policies and monitors name ports that the pods behind them have."""
    templates = pods(objects)
    for service in of_kind(objects, "Service"):
        for pod in _selected(templates, {"matchLabels": service["spec"]["selector"]}):
            for port in service["spec"]["ports"]:
                if pod.ports().get(port["targetPort"]) != port["port"]:
                    yield f"Service {service['metadata']['name']}: {pod.owner} has no port {port}"
    for monitor in of_kind(objects, "PodMonitor"):
        for pod in _selected(templates, monitor["spec"]["selector"]):
            for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                if endpoint["port"] not in pod.ports():
                    yield f"PodMonitor {monitor['metadata']['name']}: {pod.owner} has no port {endpoint['port']}"
    for policy in of_kind(objects, "NetworkPolicy"):
        name, spec = policy["metadata"]["name"], policy["spec"]
        for rule in spec.get("ingress", ()):
            yield from _open_ports(f"NetworkPolicy {name}", rule, _selected(templates, spec["podSelector"]))
        for rule in spec.get("egress", ()):
            for peer in rule.get("to", ()):
                if set(peer) == {"podSelector"}:
                    behind = _selected(templates, peer["podSelector"])
                    yield from _open_ports(f"NetworkPolicy {name}", rule, behind)


def _open_ports(where: str, rule: Mapping[str, Any], behind: Sequence[Pod]) -> Iterator[str]:
    for port in rule.get("ports", ()):
        if not any(port["port"] in pod.ports().values() for pod in behind):
            yield f"{where}: nobody behind it has port {port['port']}"


def _selected(templates: Sequence[Pod], selector: Mapping[str, Any]) -> list[Pod]:
    return [pod for pod in templates if selects(selector, pod.labels)]


def _network(objects: Sequence[Object]) -> Iterator[str]:
    """Everything is closed, and what the service needs is open."""
    policies = of_kind(objects, "NetworkPolicy")
    denied = [p for p in policies if not p["spec"]["podSelector"] and set(p["spec"]) == {"podSelector", "policyTypes"}]
    if not denied or set(denied[0]["spec"]["policyTypes"]) != {"Ingress", "Egress"}:
        yield "nothing denies by default"
    needed = [("gateway", "redis-ledger", 6379), ("gateway", "redis-ledger", 26379), ("gateway", "redis-cache", 6379),
              ("gateway", "embedder", None), ("embedder", "gateway", None), ("head", "redis-gcs", 6379),
              ("embedgate-ledger-verify", "redis-ledger", 6379), ("redis-ledger", "redis-ledger", 26379)]  # fmt: skip
    for policy in policies:
        for rule in policy["spec"].get("ingress", ()):
            if not rule.get("from") or any(not any(peer.values()) for peer in rule["from"]):
                yield f"NetworkPolicy {policy['metadata']['name']} lets everybody in"
    by_owner = {pod.owner: pod for pod in pods(objects)}
    for source, target, port in needed:
        if not _may(policies, by_owner[source], by_owner[target], port):
            yield f"{source} cannot reach {target} at port {port}"
    refused = [
        ("head", "redis-ledger", 6379),
        ("embedder", "redis-ledger", 6379),
        ("redis-cache", "redis-ledger", 6379),
        ("redis-gcs", "redis-ledger", 6379),
        ("embedgate-ledger-verify", "gateway", 8000),
        ("gateway", "redis-gcs", 6379),
    ]
    for source, target, port in refused:
        if _may(policies, by_owner[source], by_owner[target], port):
            yield f"{source} can reach {target} at port {port}"


def _may(policies: Sequence[Object], source: Pod, target: Pod, port: int | None) -> bool:
    """Whether policies let one pod reach another, both of them in this namespace."""

    def lets(direction: str, peers: str, own: Pod, other: Pod) -> bool:
        for policy in policies:
            if not selects(policy["spec"]["podSelector"], own.labels):
                continue
            for rule in policy["spec"].get(direction, ()):
                numbers = [open_port["port"] for open_port in rule.get("ports", ())]
                here = [p for p in rule.get(peers, ()) if "podSelector" in p and "namespaceSelector" not in p]
                if (not numbers or port in numbers) and any(selects(p["podSelector"], other.labels) for p in here):
                    return True
        return False

    return lets("egress", "to", source, target) and lets("ingress", "from", target, source)


def _budgets(objects: Sequence[Object]) -> Iterator[str]:
    """Whole numbers that leave room for a drain."""
    sizes = {name: group.get("minReplicas", 1) for name, group in groups(objects)}
    sizes |= {one["metadata"]["name"]: one["spec"]["replicas"] for one in of_kind(objects, "StatefulSet")}
    for budget in of_kind(objects, "PodDisruptionBudget"):
        name, spec = budget["metadata"]["name"], budget["spec"]
        least = spec.get("minAvailable")
        if not isinstance(least, int) or "maxUnavailable" in spec:
            yield f"{name}: a RayCluster has no scale, so only a whole minAvailable is legal"
            continue
        for pod in _selected(pods(objects), spec["selector"]):
            if pod.owner == "head":
                yield f"{name}: a budget on the single head only blocks drains"
            elif least >= sizes[pod.owner]:
                yield f"{name}: no pod of {pod.owner} could ever be moved"


def _stores(objects: Sequence[Object]) -> Iterator[str]:
    """The ledger forgets nothing, the cache everything in time."""
    settings = _redis_settings(named(objects, "ConfigMap", _ledger_files(objects))["data"]["ledger.conf"])
    wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction",
              "min-replicas-to-write": "1", "min-replicas-max-lag": "5"}  # fmt: skip
    for name, value in wanted.items():
        if settings.get(name) != value:
            yield f"the ledger's {name} is {settings.get(name)}, not {value}"
    ledger = named(objects, "StatefulSet", "redis-ledger")
    if ledger["spec"]["replicas"] != 3 or not ledger["spec"].get("volumeClaimTemplates"):
        yield "the ledger has not three servers with a disk each"
    cache = " ".join(named(objects, "Deployment", "redis-cache")["spec"]["template"]["spec"]["containers"][0]["args"])
    if "--maxmemory-policy allkeys-lru" not in cache or "--appendonly no" not in cache:
        yield "the cache would fill up, or keep what it may forget"
    gcs = " ".join(named(objects, "StatefulSet", "redis-gcs")["spec"]["template"]["spec"]["containers"][0]["args"])
    if "--appendonly yes" not in gcs or "noeviction" not in gcs:
        yield "the head's store forgets"
    for owner, text in (("redis-cache", cache), ("redis-gcs", gcs)):
        if "--requirepass" not in text:
            yield f"{owner} has no password"


def _ledger_files(objects: Sequence[Object]) -> str:
    volumes = named(objects, "StatefulSet", "redis-ledger")["spec"]["template"]["spec"]["volumes"]
    return str(next(volume["configMap"]["name"] for volume in volumes if "configMap" in volume))


def _redis_settings(text: str) -> dict[str, str]:
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {name: value.strip() for name, value in lines}


def _confined(objects: Sequence[Object]) -> Iterator[str]:
    """Nobody is root, nothing is written outside of volumes, memory is bounded, images have a version."""
    for pod in pods(objects):
        if not pod.spec.get("securityContext", {}).get("runAsNonRoot"):
            yield f"{pod.owner}: it may run as root"
        if pod.spec.get("securityContext", {}).get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{pod.owner}: no seccomp profile"
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield f"{pod.owner}: it gets a token for the API server"
        for one in pod.spec["containers"]:
            context = one.get("securityContext", {})
            if context.get("allowPrivilegeEscalation") is not False or not context.get("readOnlyRootFilesystem"):
                yield f"{pod.owner}/{one['name']}: it may change its image or its rights"
            if context.get("capabilities", {}).get("drop") != ["ALL"]:
                yield f"{pod.owner}/{one['name']}: it keeps capabilities"
            if "memory" not in one.get("resources", {}).get("limits", {}):
                yield f"{pod.owner}/{one['name']}: its memory is not bounded"
            if ":" not in one["image"] or one["image"].endswith(":latest"):
                yield f"{pod.owner}/{one['name']}: its image has no version"


def _serve(objects: Sequence[Object]) -> Iterator[str]:
    """The Serve configuration: Ray's schema, ours, no secret, and groups that have what replicas ask for."""
    (service,) = of_kind(objects, manifests.RAY_SERVICE)
    text = service["spec"].get("serveConfigV2")
    if not text:
        yield "there is no Serve configuration"
        return
    document = YAML(typ="safe").load(text)
    yield from _unknown_to_ray(document)
    file, problems = check_text(text, ServeFile)
    yield from (f"serveConfigV2: {problem}" for problem in problems)
    if _PASSWORD.search(text):
        yield "serveConfigV2 holds a password, for all to read"
    if file is None:
        return
    if file.http_options.host != "0.0.0.0" or file.http_options.port != 8000 or file.proxy_location != "EveryNode":
        yield "HAProxy does not listen where the Service leads"
    settings = file.applications[0].args
    labels = {name: group.get("labels", {}) for name, group in groups(objects)}
    for what, placed in (("gateway", settings.gateway), ("batches", settings.batches),
                         *((model.id, model) for model in settings.models)):  # fmt: skip
        fitting = [name for name, own in labels.items() if placed.node_labels.items() <= own.items()]
        if fitting != (["gateway"] if what in ("gateway", "batches") else ["embedder"]):
            yield f"replicas of {what} could run on {fitting}"


def _unknown_to_ray(document: Mapping[str, Any]) -> Iterator[str]:
    try:
        ServeDeploySchema.model_validate(document)
    except ValueError as error:
        yield f"Serve refuses the configuration: {error}"
    known = {"proxy_location", "http_options", "applications"}
    yield from (f"Serve would drop {name}" for name in set(document) - known)


def _secrets(objects: Sequence[Object]) -> Iterator[str]:
    """What names a secret names one that is there, or one of the four that an operator brings."""
    brought = {"embedgate", "redis-ledger", "redis-cache", "redis-gcs"}
    known = {one["metadata"]["name"] for one in of_kind(objects, "Secret")} or brought
    gcs = cluster(objects).get("gcsFaultToleranceOptions", {}).get("redisPassword", {})
    references = [gcs["valueFrom"]["secretKeyRef"]["name"]] if gcs else []
    for pod in pods(objects):
        for one in pod.spec["containers"]:
            references += [s["secretRef"]["name"] for s in one.get("envFrom", ()) if "secretRef" in s]
            for variable in one.get("env", ()):
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    references.append(reference["name"])
                elif _PASSWORD.search(variable.get("value", "")):
                    yield f"{pod.owner}: {variable['name']} holds a password"
    yield from (f"there is no secret {name}" for name in set(references) - known)
    for one in of_kind(objects, "ConfigMap"):
        for name, value in one.get("data", {}).items():
            if _PASSWORD.search(value) and Path(name).suffix != ".sh":
                yield f"ConfigMap {one['metadata']['name']}: {name} holds a password"


_RULES: Sequence[Rule] = (
    _operator, _ray_pods, _selectors, _ports, _network, _budgets, _stores, _confined, _serve, _secrets,
)  # fmt: skip
