"""Starting and stopping as a person does it, with a service of this module's own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.stack import ROOT, Stack

pytestmark = pytest.mark.own_stack


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("own"))
    yield stack
    if stack.process is not None and stack.process.poll() is None:
        stack.interrupt()


def works(stack: Stack) -> bool:
    response = httpx.post(
        f"{stack.dev['base_url']}/embeddings",
        json={"model": stack.dev["model"], "input": f"life {time.time()}"},
        headers={"Authorization": f"Bearer {stack.dev['api_key']}"},
    )
    return response.status_code == 200 and len(response.json()["data"][0]["embedding"]) == 384


def launch(stack: Stack, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deployments.local.serve", "--home", str(stack.home), "--port", str(stack.port)]
    return subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_start_use_and_ctrl_c(own: Stack) -> None:
    own.start()
    assert works(own)
    second = launch(own)
    assert second.returncode == 1
    assert second.stderr == f"embedgate: a service with data in {own.home} is running already; stop it first.\n"
    began_s = time.monotonic()
    assert own.interrupt() == 0
    print(f"Ctrl-C took {time.monotonic() - began_s:.1f} s")
    assert not own.processes()
    assert not [p for p in psutil.process_iter(["name"]) if p.info["name"] == "haproxy"]


def test_start_again_with_the_same_key(own: Stack) -> None:
    before = own.dev
    own.start()
    assert own.dev == before
    assert works(own)


def test_kill_every_process_and_start_again(own: Stack) -> None:
    before = own.dev
    own.kill_everything()
    own.start()
    assert own.dev == before
    assert works(own)


def test_kill_the_supervisor_alone_and_start_again(own: Stack) -> None:
    assert own.process is not None
    own.process.kill()
    own.process.wait()
    own.start()
    assert works(own)


def test_a_second_ctrl_c_ends_it_at_once(own: Stack) -> None:
    assert own.process is not None
    own.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    own.process.send_signal(signal.SIGINT)
    own.process.wait(25)
    assert not own.processes()


@pytest.mark.parametrize(
    ("config", "says"),
    [("models: []\n", "is not valid"), (None, "there is no configuration file"), ("a: [\n", "not valid YAML")],
)
def test_a_bad_configuration_is_one_clear_sentence(own: Stack, tmp_path: Path, config: str | None, says: str) -> None:
    path = tmp_path / "serve.yaml"
    if config is not None:
        path.write_text(config)
    result = launch(own, "--config", str(path))
    assert result.returncode == 1
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_a_taken_port_is_one_clear_sentence(own: Stack) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", own.port))
        squatter.listen()
        result = launch(own)
    assert result.returncode == 1
    assert result.stderr.startswith(f"embedgate: port {own.port} is taken")
    assert len(result.stderr.splitlines()) == 1
    nowhere = launch(own, "--port", "99999")
    assert (nowhere.returncode, nowhere.stderr.split(";")[0]) == (1, "embedgate: there is no port 99999")


def test_a_full_disk_is_one_clear_sentence(own: Stack, tmp_path: Path) -> None:
    code = (
        "import shutil, sys, runpy; from collections import namedtuple;"
        "shutil.disk_usage = lambda path: namedtuple('U', 'total used free')(10, 10, 1 << 20);"
        "sys.argv = sys.argv[1:]; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    )
    for module, arguments in (
        ("deployments.local.serve", ["--home", str(own.home)]),
        ("deployments.local.install", []),
    ):
        target = tmp_path / "copy"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        if module.endswith("install"):
            environment["PYTHONPATH"] = str(_copy_of_installer(target))
        result = subprocess.run(
            [sys.executable, "-c", code, module, *arguments],
            capture_output=True, text=True, cwd=ROOT if module.endswith("serve") else target, env=environment,
            timeout=60, check=False,
        )  # fmt: skip
        assert result.returncode == 1, result.stderr
        assert "disk" in result.stderr
        assert "Traceback" not in result.stderr


def test_an_old_python_is_one_clear_sentence(tmp_path: Path) -> None:
    folder = _copy_of_installer(tmp_path / "copy")
    code = (
        "import sys, runpy; sys.version_info = (3, 9, 1); sys.version = '3.9.1 (old)'; sys.argv = ['install'];"
        "runpy.run_path('deployments/local/install.py', run_name='__main__')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, timeout=60, check=False
    )
    assert result.returncode == 1
    assert result.stderr.strip() == (
        "embedgate: Python 3.11 or later is needed, this is 3.9.1: make PYTHON=python3.11 serve"
    )


def _copy_of_installer(target: Path) -> Path:
    (target / "deployments/local").mkdir(parents=True)
    for name in ("deployments/__init__.py", "deployments/local/__init__.py", "deployments/local/install.py"):
        (target / name).write_text((ROOT / name).read_text())
    for name in ("requirements.lock", "requirements-dev.lock", "pyproject.toml"):
        (target / name).write_text((ROOT / name).read_text())
    return target
