"""How the ledger's pods decide who is the primary, with programs that only say what they were told."""

import subprocess
import time
from pathlib import Path

import pytest

from tests.kubernetes.manifests import K8S
from tests.ledger.servers import binary_of
from tests.stack import free_port

SCRIPTS = K8S / "base/redis"
DOMAIN = "redis-ledger"
FIRST, SECOND = f"redis-ledger-0.{DOMAIN}", f"redis-ledger-1.{DOMAIN}"


class Pod:
    """A pod's disk and environment; its client answers what it is told to."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder, self._number = folder, number
        self.data = folder / "data"
        self.data.mkdir()
        self.says("exit 1")
        self._program("server", 'printf "%s\\n" "$@"')

    def says(self, script: str) -> None:
        """What asking a Sentinel comes to."""
        self._program("cli", script)

    def _program(self, name: str, script: str) -> None:
        program = self._folder / f"stub-{name}"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def start(self, script: str, *, password: str = "secret") -> list[str]:
        """Arguments of the server that is started."""
        environment = {
            "PATH": "/usr/bin:/bin",
            "POD_NAME": f"redis-ledger-{self._number}",
            "DOMAIN": DOMAIN,
            "GROUP": "ledger",
            "PASSWORD": password,
            "DATA": str(self.data),
            "PROGRAMS": str(self._folder / "stub"),
        }
        command = ["sh", str(SCRIPTS / script)]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return result.stdout.splitlines()

    def primary(self) -> str:
        """Whom it follows; its own name when nobody."""
        arguments = self.start("start-server.sh")
        if "--replicaof" not in arguments:
            return f"redis-ledger-{self._number}.{DOMAIN}"
        return arguments[arguments.index("--replicaof") + 1]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_at_the_very_first_start_the_first_pod_is_the_primary(tmp_path: Path, number: int) -> None:
    assert Pod(tmp_path, number).primary() == FIRST


def test_what_sentinels_know_is_followed(tmp_path: Path) -> None:
    pod = Pod(tmp_path, 0)
    pod.says(f"echo {SECOND}; echo 6379")
    assert pod.primary() == SECOND
    pod.says(f"echo {FIRST}; echo 6379")
    assert pod.primary() == FIRST


@pytest.mark.parametrize(
    "says", ["echo '(error) NOAUTH Authentication required.'", "echo", "echo elsewhere; echo 6379"]
)
def test_what_is_no_pod_of_the_group_is_not_followed(tmp_path: Path, says: str) -> None:
    pod = Pod(tmp_path, 1)
    pod.says(says)
    assert pod.primary() == FIRST


def test_when_all_start_at_once_what_was_known_last_counts(tmp_path: Path) -> None:
    """Else the first pod would be the primary with the data of long ago."""
    pod = Pod(tmp_path, 0)
    pod.start("start-sentinel.sh")
    conf = pod.data / "sentinel/sentinel.conf"
    conf.write_text(conf.read_text().replace(f"monitor ledger {FIRST} ", f"monitor ledger {SECOND} "))
    assert pod.primary() == SECOND


def test_a_sentinel_keeps_what_it_learned_and_takes_a_new_password(tmp_path: Path) -> None:
    pod = Pod(tmp_path, 2)
    pod.start("start-sentinel.sh", password="old")
    conf = pod.data / "sentinel/sentinel.conf"
    learned = "sentinel config-epoch ledger 7\nsentinel current-epoch 7\nsentinel myid " + "a" * 40 + "\n"
    conf.write_text(conf.read_text() + learned)
    pod.start("start-sentinel.sh", password="new")
    text = conf.read_text()
    assert learned in text
    assert "old" not in text
    assert text.count("new") == 3
    assert conf.stat().st_mode & 0o077 == 0


def test_a_real_sentinel_takes_the_file(tmp_path: Path) -> None:
    pod = Pod(tmp_path, 0)
    pod.start("start-sentinel.sh")
    conf = pod.data / "sentinel/sentinel.conf"
    port = free_port()
    # A name that resolves here stands for the pod's.
    conf.write_text(conf.read_text().replace(FIRST, "localhost").replace("port 26379", f"port {port}"))
    process = subprocess.Popen(
        [binary_of("valkey"), str(conf), "--sentinel"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    time.sleep(1)
    is_alive = process.poll() is None
    process.kill()
    output, _ = process.communicate()
    assert is_alive, output
