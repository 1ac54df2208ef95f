"""Real servers: a replica that lags is promoted, clocks differ, slots are enforced, scripts are flushed."""

import contextlib
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import redis

from app.core.errors import DependencyDown
from app.core.ledger_types import Admitted, RefusalReason, Refused, Terms
from tests.ledger.lab import Lab, limits
from tests.ledger.scenarios import SCENARIOS
from tests.ledger.servers import Server, binary_of
from tests.stack import free_port

NAMES = ["valkey", "redis-server"]
COMPILER = shutil.which("cc")


def in_sync(primary: Server, replica: Server) -> None:
    replica.raw.execute_command("REPLICAOF", "127.0.0.1", str(primary.port))
    for _ in range(400):
        # A primary with --min-replicas-to-write refuses until the replica has said how far it is.
        if replica.raw.info("replication").get("master_link_status") == "up":
            with contextlib.suppress(redis.ResponseError):
                primary.raw.set("marker", "1")
                if primary.raw.wait(1, 1000) == 1:
                    return
        time.sleep(0.02)
    raise AssertionError("the replica does not follow")


@pytest.mark.parametrize("name", NAMES)
def test_a_lagging_replica_is_promoted(tmp_path: Path, name: str) -> None:
    """What is lost was written after the replica stopped listening, and no invariant is."""
    binary = binary_of(name)
    cautious = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "1", "--repl-ping-replica-period", "1")
    with Server(binary, tmp_path / "a", *cautious) as primary, Server(binary, tmp_path / "b") as replica:
        in_sync(primary, replica)
        with Lab(primary.url, edit=str) as lab:
            in_sync(primary, replica)
            lab.grant(10_000)
            for n in range(10):
                assert isinstance(lab.admit(f"h{n}", 100), Admitted)
            for n in range(5):
                lab.capture(f"h{n}", 100)
            assert primary.raw.wait(1, 1000) == 1
            replica.raw.execute_command("REPLICAOF", "NO", "ONE")
            lost = []
            refused_at_s = None
            began_s = time.monotonic()
            while time.monotonic() - began_s < 10 and refused_at_s is None:
                try:
                    lab.admit(f"late{len(lost)}", 100)
                    lost.append(f"late{len(lost)}")
                except DependencyDown:
                    refused_at_s = time.monotonic() - began_s
                time.sleep(0.05)
            assert refused_at_s is not None, "the old primary goes on taking money that nobody will remember"
            before = primary.raw.dump(lab.key("account"))
            with pytest.raises(DependencyDown):
                lab.capture("h5", 100)
            assert primary.raw.dump(lab.key("account")) == before
        promoted = Lab(replica.url, edit=str)
        promoted.check()
        kept = promoted.state()
        assert (kept.balance.captured, kept.open_holds) == (500, 5)
        assert promoted.capture("late0", 100) is None, "a lost hold is unknown, not paid"
        for n in range(10):
            answer = promoted.capture(f"h{n}", 100)
            assert answer is not None
        assert promoted.state().balance.captured == 1000
        promoted.check()
        promoted.close()
        print(f"{len(lost)} holds lost; refused after {refused_at_s:.2f} s")


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler to build the shifted clock with")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hours", [-1, 1])
def test_the_new_primarys_clock_is_wrong(tmp_path: Path, hours: int, name: str) -> None:
    """An hour behind or ahead: buckets never drain twice, and what ends early or late is bounded by the step."""
    binary = binary_of(name)
    library = tmp_path / "shifted_clock.so"
    source = Path(__file__).with_name("shifted_clock.c")
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    skewed = {"LD_PRELOAD": str(library), "CLOCK_SHIFT_S": str(hours * 3600)}
    terms = Terms(project=limits(requests=(60, 5)))
    with Server(binary, tmp_path / "a") as primary, Server(binary, tmp_path / "b", environment=skewed) as replica:
        stated = replica.raw.time()[0] - primary.raw.time()[0]
        assert abs(stated - hours * 3600) < 5, "the clock is not the one that the test is about"
        in_sync(primary, replica)
        with Lab(primary.url, edit=str) as lab:
            in_sync(primary, replica)
            lab.grant(1000)
            for n in range(5):
                assert isinstance(lab.admit(f"h{n}", 10, terms=terms, ttl_ms=60_000), Admitted)
            moment = lab.buckets()["requests"].at_us
            assert primary.raw.wait(1, 1000) == 1
            primary.kill()
        replica.raw.execute_command("REPLICAOF", "NO", "ONE")
        promoted = Lab(replica.url, edit=str)
        answers = [promoted.admit(f"n{n}", 10, terms=terms) for n in range(8)]
        admitted = sum(isinstance(answer, Admitted) for answer in answers)
        if hours < 0:
            assert admitted == 0
            assert all(isinstance(a, Refused) and a.refusal.reason is RefusalReason.RATE_LIMITED for a in answers)
            assert promoted.reap() == (0, 0)
        else:
            assert admitted == 5, "at most one burst more than the limit"
            assert promoted.reap()[0] == 5, "holds whose deadline the new clock says is over"
        assert promoted.buckets()["requests"].at_us >= moment
        promoted.check()
        promoted.close()
        primary.start()


@pytest.mark.parametrize("name", NAMES)
def test_a_node_of_a_cluster(tmp_path: Path, name: str) -> None:
    """Slots are enforced: every scenario again."""
    bus = ("--cluster-port", str(free_port()))  # by default it is the port plus ten thousand, which may not exist
    with Server(binary_of(name), tmp_path, "--cluster-enabled", "yes", *bus) as server:
        server.raw.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        for _ in range(500):
            if b"cluster_state:ok" in server.raw.execute_command("CLUSTER", "INFO"):
                break
            time.sleep(0.01)
        for scenario in SCENARIOS:
            with Lab(server.url) as lab:
                scenario(lab)


def test_scripts_are_flushed_again_and_again(redis_url: str) -> None:
    """Each call is applied once, whether Redis still knew its script or not."""
    with Lab(redis_url) as lab:
        lab.grant(10**6)
        for n in range(100):
            lab.raw.script_flush()
            assert isinstance(lab.admit(f"h{n}", 10), Admitted)
            if n % 2:
                lab.raw.script_flush()
            lab.capture(f"h{n}", 10)
        assert lab.state().balance.captured == 1000
        assert len(lab.journal()) == 201
        lab.check()


def test_application_clocks_do_not_matter(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway whose clock is an hour off, or steps back, neither ends holds early nor bends a rate."""
    with Lab(redis_url, edit=str) as lab:
        lab.grant(1000)
        terms = Terms(project=limits(requests=(1, 3)))
        real = time.time
        for n, skew_s in enumerate((3600, -3600, 0)):
            monkeypatch.setattr(time, "time", lambda skew_s=skew_s: real() + skew_s)
            assert isinstance(lab.admit(f"h{n}", 10, terms=terms), Admitted)
            assert lab.reap() == (0, 0)
        monkeypatch.setattr(time, "time", lambda: real() + 3600)
        assert isinstance(lab.admit("h3", 10, terms=terms), Refused)
        lab.check()
