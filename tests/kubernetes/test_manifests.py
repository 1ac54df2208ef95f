"""The overlays are right, as far as that can be told without a cluster."""

import re
import secrets

import pytest
from ruamel.yaml import YAML

from deployments.manifests import CONFIG, patch, serve_config
from tests.kubernetes.manifests import EXAMPLES, K8S, OVERLAYS, RAY_SERVICE, build, example, of_kind
from tests.kubernetes.rules import faults
from tests.kubernetes.schemas import schema_faults


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_of_its_schema(overlay: str) -> None:
    assert schema_faults(build(overlay)) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_rule_is_broken(overlay: str) -> None:
    assert faults(build(overlay)) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_of_their_schemas(name: str) -> None:
    assert schema_faults(example(name)) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_served_is_what_the_configuration_says(overlay: str) -> None:
    folder = K8S / "overlays" / overlay
    assert (folder / CONFIG).read_text() == patch(folder), "run `make manifests`"
    (service,) = of_kind(build(overlay), RAY_SERVICE)
    assert YAML(typ="safe").load(service["spec"]["serveConfigV2"]) == serve_config(folder)


@pytest.mark.parametrize("overlay", [overlay for overlay in OVERLAYS if overlay.startswith("prod")])
def test_production_holds_no_secret(overlay: str) -> None:
    assert of_kind(build(overlay), "Secret") == []


def test_external_secrets_bring_all_that_production_names() -> None:
    brought = {one["spec"]["target"]["name"] for one in example("external-secrets.yaml")}
    assert brought == {"embedgate", "redis-ledger", "redis-cache", "redis-gcs"}


def test_the_administration_has_no_route_from_outside() -> None:
    (route,) = of_kind(example("gateway-tls.yaml"), "HTTPRoute")
    paths = [match["path"]["value"] for rule in route["spec"]["rules"] for match in rule["matches"]]
    assert paths
    assert not any("/admin/v1/projects".startswith(path) for path in paths)


def test_tenants_paths_have_a_route() -> None:
    (route,) = of_kind(example("gateway-tls.yaml"), "HTTPRoute")
    matches = [match["path"] for rule in route["spec"]["rules"] for match in rule["matches"]]
    expressions = [match["value"] for match in matches if match["type"] == "RegularExpression"]
    prefixes = tuple(match["value"] for match in matches if match["type"] == "PathPrefix")
    for path in (
        "/v1/embeddings",
        "/v1/files",
        "/console/main.js",
        "/docs/errors.md",
        f"/proj_{secrets.token_hex(12)}/embed/v1/embeddings",
    ):
        assert path.startswith(prefixes) or any(re.fullmatch(one, path) for one in expressions), path
    assert not any(re.fullmatch(one, "/admin/v1/projects") for one in expressions)
