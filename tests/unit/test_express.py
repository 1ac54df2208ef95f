"""Which requests go the short way."""

import pytest

from app.api.express import embeddings_path


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/embeddings", (True, None)),
        ("POST", "/proj_1/main/v1/embeddings", (True, ("proj_1", "main"))),
        ("GET", "/v1/embeddings", (False, None)),
        ("POST", "/v1/embeddings/", (False, None)),
        ("POST", "/main/v1/embeddings", (False, None)),
        ("POST", "/a/b/c/v1/embeddings", (False, None)),
        ("POST", "//main/v1/embeddings", (False, None)),
        ("POST", "/proj_1//v1/embeddings", (False, None)),
        ("POST", "x/y/v1/embeddings", (False, None)),
    ],
)
def test_only_the_two_routes_do(method: str, path: str, expected: object) -> None:
    assert embeddings_path({"type": "http", "method": method, "path": path}) == expected


def test_other_protocols_do_not() -> None:
    assert embeddings_path({"type": "lifespan"}) == (False, None)
