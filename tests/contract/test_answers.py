"""What good requests get."""

import base64
import json

import httpx
import numpy as np
import pytest

from tests.contract.conftest import Service
from tests.fakes import fake_vector

MODEL = "all-MiniLM-L6-v2"


def test_the_body_is_openais(service: Service) -> None:
    response = service.post(json.dumps({"model": "whatever", "input": ["red", "blue", "red"]}).encode(), scoped=True)
    body = response.json()
    assert set(body) == {"object", "data", "model", "usage", "service_tier"}
    assert (body["object"], body["model"], body["service_tier"]) == ("list", MODEL, None)
    assert [(d["object"], d["index"], len(d["embedding"])) for d in body["data"]] == [
        ("embedding", i, 384) for i in range(3)
    ]
    assert body["data"][0]["embedding"] == body["data"][2]["embedding"]
    assert body["usage"] == {"prompt_tokens": 9, "total_tokens": 9, "prompt_tokens_details": {"cached_tokens": 3}}
    assert response.headers["x-cache"] == "partial"
    assert response.headers["x-service-tier"] == "default"
    assert int(response.headers["openai-processing-ms"]) >= 0
    assert "x-truncated" not in response.headers


@pytest.mark.parametrize("base", ["bare", "scoped"])
def test_base64_equals_float_to_the_last_bit(service: Service, base: str) -> None:
    client = service.sdk(service.scoped_url() if base == "scoped" else None)
    texts = [f"{base} {n}" for n in range(20)]
    default = client.embeddings.create(model=MODEL, input=texts)
    numbers = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    raw = service.post(json.dumps({"model": MODEL, "input": texts, "encoding_format": "base64"}).encode())
    for one, two, three in zip(default.data, numbers.data, raw.json()["data"], strict=True):
        bits = np.frombuffer(base64.b64decode(three["embedding"]), "<f4")
        assert np.array_equal(np.array(one.embedding, np.float32), bits)
        assert np.array_equal(np.array(two.embedding, np.float32), bits)


def test_token_ids_are_embedded_as_given(service: Service) -> None:
    ids = [101, 2417, 102]
    client = service.sdk()
    flat = client.embeddings.create(model=MODEL, input=ids).data[0].embedding
    nested = client.embeddings.create(model=MODEL, input=[ids, [7]])
    text = client.embeddings.create(model=MODEL, input="red")
    assert np.array_equal(np.array(flat, np.float32), fake_vector(ids, 384))
    assert flat == nested.data[0].embedding == text.data[0].embedding
    assert nested.usage.prompt_tokens == 4


def test_dimensions_are_cut_and_renormalised(service: Service) -> None:
    client = service.sdk()
    full = np.array(client.embeddings.create(model=MODEL, input="cut me").data[0].embedding)
    short = np.array(client.embeddings.create(model=MODEL, input="cut me", dimensions=64).data[0].embedding)
    assert short.shape == (64,)
    assert np.linalg.norm(short) == pytest.approx(1, abs=1e-6)
    assert np.allclose(short, full[:64] / np.linalg.norm(full[:64]), atol=1e-6)
    native = client.embeddings.create(model=MODEL, input="cut me", dimensions=384)
    assert np.array_equal(np.array(native.data[0].embedding), full)


def test_truncation_is_reported(service: Service) -> None:
    for side in ("end", "start"):
        body = {"model": MODEL, "input": ["word " * 300, "short", "more " * 400], "truncate": side}
        response = service.post(json.dumps(body).encode())
        assert response.headers["x-truncated"] == "2"
        assert response.json()["usage"]["prompt_tokens"] == 256 + 3 + 256


@pytest.mark.parametrize(
    ("sent", "served"), [("flex", "flex"), ("priority", "priority"), ("auto", "default"), (None, "default")]
)
def test_tiers_are_carried_to_the_embedder(service: Service, sent: str | None, served: str) -> None:
    body = {"model": MODEL, "input": f"tier {sent}", "service_tier": sent}
    response = service.post(json.dumps(body).encode())
    assert response.headers["x-service-tier"] == served
    assert service.pool.calls[-1][0] == served


def test_a_callers_valid_request_id_is_kept(service: Service) -> None:
    body = json.dumps({"model": MODEL, "input": "x"}).encode()
    assert service.post(body, headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    for bad in ("has space", "x" * 200, "{}"):
        assert service.post(body, headers={"x-request-id": bad}).headers["x-request-id"].startswith("req_")


def test_models_and_aliases(service: Service) -> None:
    bare = service.sdk()
    names = [m.id for m in bare.models.list().data]
    assert {MODEL, "text-embedding-3-small", "org/alias", "idle-model"} <= set(names)
    model = bare.models.retrieve("org/alias")
    assert (model.id, model.object, model.owned_by) == ("org/alias", "model", "contract")
    scoped = service.sdk(service.scoped_url())
    assert [m.id for m in scoped.models.list().data] == [MODEL, "org/alias", "text-embedding-3-small"]
    assert scoped.models.retrieve("org/alias").id == "org/alias"
    assert bare.embeddings.create(model="text-embedding-3-small", input="x").model == MODEL


def test_health(service: Service) -> None:
    assert httpx.get(f"{service.url}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{service.url}/readyz").json() == {"status": "ready", "models": {MODEL: True}}


def test_the_docs_work_without_a_network(service: Service) -> None:
    page = httpx.get(f"{service.url}/docs").text
    assert "https://" not in page.replace("https://github.com", "")
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert httpx.get(f"{service.url}/static-offline-docs/{asset}").status_code == 200


def test_the_document_is_complete(service: Service) -> None:
    document = httpx.get(f"{service.url}/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert all(p.get("description") for p in schemas["EmbeddingBody"]["properties"].values())
    for path in ("/v1/embeddings", "/{project_id}/{endpoint_slug}/v1/embeddings"):
        operation = document["paths"][path]["post"]
        assert {"200", "400", "401", "404", "408", "413", "500", "503"} <= set(operation["responses"])
        assert "422" not in operation["responses"]
        for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
            assert service.post(json.dumps(example["value"]).encode()).status_code == 200
    for path in document["paths"].values():
        for operation in path.values():
            assert operation.get("summary")


def test_administration_over_http(service: Service) -> None:
    project = service.admin("POST", "/projects", {"name": "Admin", "slug": "admin-test"})
    path = f"/projects/{project['project_id']}"
    assert service.admin("GET", "/projects?slug=admin-test")["data"][0]["project_id"] == project["project_id"]
    assert service.admin("GET", "/projects?slug=none")["data"] == []
    assert service.admin("PATCH", path, {"name": "Renamed"})["name"] == "Renamed"
    endpoint = service.admin("POST", f"{path}/endpoints", {"slug": "e", "model": MODEL, "dimensions": 64})
    assert (endpoint["dimensions"], endpoint["timeout_ms"], endpoint["service_tier"]) == (64, 30_000, "default")
    assert service.admin("PATCH", f"{path}/endpoints/e", {"dimensions": None})["dimensions"] is None
    assert service.admin("GET", path)["endpoints"][0]["slug"] == "e"
    keys = [service.admin("POST", f"{path}/keys", {"name": f"k{n}"})["key_id"] for n in range(5)]
    first = service.admin("GET", f"{path}/keys?limit=3")
    second = service.admin("GET", f"{path}/keys?limit=3&after={first['next_cursor']}")
    assert sorted(keys) == [k["key_id"] for k in [*first["data"], *second["data"]]]
    assert second["next_cursor"] is None
    assert all("api_key" not in k for k in first["data"])


@pytest.mark.parametrize(
    ("method", "path", "body", "param"),
    [
        ("POST", "/projects", {"name": "x", "slug": "UPPER"}, "slug"),
        ("POST", "/projects", {"name": "x"}, "slug"),
        ("POST", "/projects", {"name": "x", "slug": "y", "colour": 1}, "colour"),
        ("GET", "/projects?limit=0", None, "limit"),
        ("GET", "/projects?limit=x", None, "limit"),
        ("PATCH", "/projects/{id}", {}, None),
        ("PATCH", "/projects/{id}", {"name": None}, None),
        ("PATCH", "/projects/{id}", {"slug": "new"}, "slug"),
        ("POST", "/projects/{id}/endpoints", {"slug": "e", "model": "../x"}, "model"),
        ("POST", "/projects/{id}/endpoints", {"slug": "e", "model": "m", "timeout_ms": 70_000}, "timeout_ms"),
        ("POST", "/projects/{id}/endpoints", {"slug": "e", "model": "m", "service_tier": "batch"}, "service_tier"),
        ("POST", "/projects/{id}/keys", {"name": "k", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ("POST", "/projects/{id}/keys", {"name": "k", "expires_at": "9999-12-31T23:59:59-01:00"}, "expires_at"),
        ("POST", "/projects/{id}/keys", {"name": "k", "expires_at": "2027-01-01T00:00:00"}, "expires_at"),
    ],
    ids=str,
)
def test_administration_refuses_in_one_sentence(
    service: Service, method: str, path: str, body: object, param: str | None
) -> None:
    response = service.raw_admin(method, path.replace("{id}", service.project_id), body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "validation_error", param)
