"""Writes the Serve configuration of each overlay in ``k8s/overlays`` from a file in ``configs/``.

``python -m deployments.manifests`` (``make manifests``). A RayService carries its configuration as text, so each
overlay has a patch with it, made of the configuration that ``serve-overrides.yaml`` names and of what it changes.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.compat import StringIO
from ruamel.yaml.scalarstring import LiteralScalarString

ROOT = Path(__file__).resolve().parents[1]
OVERLAYS = ROOT / "k8s/overlays"
OVERRIDES, CONFIG = "serve-overrides.yaml", "serve-config.yaml"


def merged(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A Serve configuration with an overlay's changes: mappings are merged, all else is replaced.

    Args:
        config: as in ``configs/``.
        overrides: ``http_options`` and ``args`` of the one application, and what ``every_model`` gets.

    Raises:
        ValueError: there is something else in the overrides.
    """
    if unknown := set(overrides) - {"config", "http_options", "args", "every_model"}:
        raise ValueError(f"overrides are of http_options, args and every_model, not of {sorted(unknown)}")
    (application,) = config["applications"]
    arguments = _over(application["args"], overrides.get("args", {}))
    arguments["models"] = [_over(model, overrides.get("every_model", {})) for model in arguments["models"]]
    http_options = _over(config.get("http_options", {}), overrides.get("http_options", {}))
    return {**config, "http_options": http_options, "applications": [{**application, "args": arguments}]}


def serve_config(overlay: Path) -> dict[str, Any]:
    """What an overlay's cluster is to serve."""
    overrides = _load(overlay / OVERRIDES)
    return merged(_load(ROOT / overrides["config"]), overrides)


def patch(overlay: Path) -> str:
    """The overlay's patch, as text."""
    text = f"# Written by `make manifests` from {OVERRIDES} and what it names. Change those.\n"
    document = {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": "embedgate"},
        "spec": {"serveConfigV2": LiteralScalarString(_dump(serve_config(overlay)))},
    }
    return text + _dump(document)


def main() -> None:
    """Write every overlay's patch."""
    for overlay in sorted(OVERLAYS.iterdir()):
        (overlay / CONFIG).write_text(patch(overlay))
        sys.stdout.write(f"{(overlay / CONFIG).relative_to(ROOT)}\n")


def _over(value: Any, change: Any) -> Any:
    if not isinstance(value, Mapping) or not isinstance(change, Mapping):
        return change
    return {**value, **{name: _over(value.get(name, {}), wanted) for name, wanted in change.items()}}


def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(path.read_text())
    return loaded


def _dump(document: Mapping[str, Any]) -> str:
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 120
    stream = StringIO()
    yaml.dump(dict(document), stream)
    return str(stream.getvalue())


if __name__ == "__main__":
    main()
