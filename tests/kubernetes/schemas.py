"""Objects against the schema of their kind; what a schema does not know is a fault, as a server would only drop it.

``schemas/`` holds the structural schemas, without their texts, of KubeRay 1.7.0's RayService, prometheus-operator's
PodMonitor and PrometheusRule, Gateway API's Gateway and HTTPRoute, and External Secrets' ExternalSecret, all under
Apache 2.0.
"""

import functools
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).with_name("schemas")
VERSION = "1.34"
_WHOLE = ("properties", "definitions")


@functools.cache
def _own() -> Mapping[tuple[str, str], Draft202012Validator]:
    found = {}
    for file in SCHEMAS.glob("*.json.gz"):
        document = json.loads(gzip.decompress(file.read_bytes()))
        schema = _strict(document["schema"])
        schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {}}
        found[f"{document['group']}/{document['version']}", document["kind"]] = Draft202012Validator(schema)
    return found


def _strict(schema: Any) -> Any:
    """As the API server reads it: defaults are not required, int-or-string is both, and nothing else may be there."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    strict = {}
    for name, value in schema.items():
        strict[name] = {n: _strict(v) for n, v in value.items()} if name in _WHOLE else _strict(value)
    properties = schema.get("properties")
    if properties and not schema.get("x-kubernetes-preserve-unknown-fields"):
        strict.setdefault("additionalProperties", False)
    if properties and "required" in schema:
        strict["required"] = [name for name in schema["required"] if "default" not in properties.get(name, {})]
    if schema.get("x-kubernetes-int-or-string"):
        strict.pop("type", None)
        strict["type"] = ["integer", "string"]
        strict.pop("anyOf", None)
    return strict


def schema_faults(objects: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with objects by their schemas, kinds without one included."""
    return [fault for one in objects for fault in _faults(json.dumps(one, sort_keys=True))]


@functools.cache
def _faults(text: str) -> Sequence[str]:
    one = json.loads(text)
    name = f"{one.get('kind')} {one.get('metadata', {}).get('name')}"
    own = _own().get((one["apiVersion"], one["kind"]))
    if own is not None:
        return [_fault(name, error.absolute_path, error.message) for error in own.iter_errors(one)]
    try:
        kubernetes_validate.validate(one, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [_fault(name, error.path, error.message)]
    except (kubernetes_validate.SchemaNotFoundError, kubernetes_validate.InvalidSchemaError) as error:
        return [f"{name}: no schema covers it ({error})"]
    return []


def _fault(name: str, path: Iterable[object], message: object) -> str:
    return f"{name}: {'.'.join(map(str, path))}: {str(message)[:200]}"
