"""What the application builder makes of a configuration, without a cluster."""

from pathlib import Path
from typing import Any

import pytest

from app.core.settings.check import check_text
from app.core.settings.serve_file import ServeFile
from deployments.build import ConfigurationError, build, deployment_name, engine_environment
from deployments.fast_ingress import FAST_INGRESS, HAPROXY_PROGRAM_VARIABLE, lost_without

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def arguments(name: str) -> dict[str, Any]:
    file, problems = check_text((CONFIGS / name).read_text(), ServeFile)
    assert file is not None, problems
    return file.applications[0].args.model_dump(mode="json")


def deployments_of(application: Any) -> dict[str, Any]:
    """Every deployment that an application binds, by name."""
    found = {application._bound_deployment.name: application._bound_deployment}
    for argument in application._bound_deployment.init_args:
        for value in argument.values() if isinstance(argument, dict) else [argument]:
            if hasattr(value, "_bound_deployment"):
                found.update(deployments_of(value))
    return found


def test_without_a_url_an_embedded_redis_belongs_to_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    found = deployments_of(build(arguments("serve.yaml")))
    assert set(found) == {"Gateway", "BatchWorker", "EmbeddedRedisServer", "Embedder-all-MiniLM-L6-v2"}


def test_without_workers_there_are_no_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://ledger:6379/0")
    given = arguments("serve.yaml") | {"batches": {"workers": 0}}
    assert set(deployments_of(build(given))) == {"Gateway", "Embedder-all-MiniLM-L6-v2"}


def test_with_a_url_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://ledger:6379/0")
    assert "EmbeddedRedisServer" not in deployments_of(build(arguments("serve.yaml")))


def test_gpu_replicas_get_their_share_and_no_cpu_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://ledger:6379/0")
    embedder = deployments_of(build(arguments("serve.gpu.yaml")))["Embedder-bge-base-en-v1.5"]
    options = embedder.ray_actor_options
    assert options["num_gpus"] == 0.25
    assert "OMP_NUM_THREADS" not in options["runtime_env"]["env_vars"]
    assert "LD_PRELOAD" not in options["runtime_env"]["env_vars"]
    assert embedder._deployment_config.autoscaling_config.max_replicas == 16


def test_replicas_go_where_they_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://ledger:6379/0")
    given = arguments("serve.yaml")
    given["gateway"]["node_labels"] = {"group": "gateway"}
    given["models"][0]["node_labels"] = {"group": "embedder"}
    given["batches"] = {"node_labels": {"group": "gateway"}}
    found = deployments_of(build(given))
    selectors = {name: one.ray_actor_options["label_selector"] for name, one in found.items()}
    gateway, embedder = {"group": "gateway"}, {"group": "embedder"}
    assert selectors == {"Gateway": gateway, "BatchWorker": gateway, "Embedder-all-MiniLM-L6-v2": embedder}
    anywhere = deployments_of(build(arguments("serve.yaml")))
    assert not any("label_selector" in one.ray_actor_options for one in anywhere.values())


def test_a_rollout_starts_new_replicas_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://ledger:6379/0")
    given = arguments("serve.yaml")
    given["models"][0]["replicas"] |= {"surge_percent": 0, "max_per_node": 1}
    found = deployments_of(build(given))
    assert found["Gateway"]._deployment_config.max_surge_percent == 25
    embedder = found["Embedder-all-MiniLM-L6-v2"]
    assert embedder._deployment_config.max_surge_percent == 0
    assert embedder._replica_config.max_replicas_per_node == 1
    assert found["Gateway"]._replica_config.max_replicas_per_node is None


def test_cpu_engines_get_all_cores_unless_told_otherwise() -> None:
    file, _ = check_text((CONFIGS / "serve.yaml").read_text(), ServeFile)
    assert file is not None
    model = file.applications[0].args.models[0]
    assert int(engine_environment(model)["OMP_NUM_THREADS"]) >= 1
    assert engine_environment(model)["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


def test_arguments_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="embedgate config check"):
        build({"models": []})


def test_deployment_names() -> None:
    assert deployment_name("org/name") == "Embedder-org--name"


def test_the_log_says_what_is_lost_without_the_fast_ingress() -> None:
    assert lost_without({**FAST_INGRESS, HAPROXY_PROGRAM_VARIABLE: "/bin/x"}) == []
    said = lost_without({})
    for name in (*FAST_INGRESS, HAPROXY_PROGRAM_VARIABLE):
        assert any(line.startswith(name) for line in said)
