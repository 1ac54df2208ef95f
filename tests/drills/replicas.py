"""Drills of processes and nodes: killed, hung, drained, replaced by new ones."""

import time

from tests.drills.drill import Drill
from tests.drills.house import NODES, House, wait

_BACK_S = 10
"""Recovery after a death, besides the time that a model takes to load."""
_LOAD_S = 45


def embedder_killed(house: House) -> None:
    house.replicas("Embedder")[-1].kill()
    wait(lambda: len(house.replicas("Embedder")) == 2, "two embedders", within_s=_BACK_S + _LOAD_S)
    house.wait_until_healthy()


def gateway_killed(house: House) -> None:
    house.replicas("Gateway")[-1].kill()
    wait(lambda: len(house.replicas("Gateway")) == 2, "two gateways", within_s=_BACK_S + _LOAD_S)
    house.wait_until_healthy()


def engine_hangs(house: House) -> None:
    victim = house.replicas("Embedder")[-1]
    victim.suspend()
    wait(lambda: not victim.is_running(), "the hung one is replaced", within_s=60)
    house.wait_until_healthy()


def node_killed(house: House) -> None:
    name = house.node_of(house.replicas("Embedder")[-1])
    house.kill_node(name)
    time.sleep(5)
    house.start_node(name, NODES[name])
    house.wait_until_healthy(within_s=120)


def node_drained(house: House) -> None:
    """As Kubernetes takes a pod away: SIGTERM, and time."""
    name = house.node_of(house.replicas("Embedder")[-1])
    house.drain_node(name)
    house.start_node(name, NODES[name])
    house.wait_until_healthy(within_s=120)


def gcs_restarted(house: House) -> None:
    house.restart_gcs(away_s=3)
    house.wait_until_healthy()


def new_code(house: House) -> None:
    before = {process.pid for process in (*house.replicas("Gateway"), *house.replicas("Embedder"))}
    house.deploy(release=int(time.time()))
    after = {process.pid for process in (*house.replicas("Gateway"), *house.replicas("Embedder"))}
    assert not before & after, "an old process is still there"


def new_model(house: House) -> None:
    house.deploy(second_model=True)
    house.add_endpoint("second", "second")
    time.sleep(1)  # until then a gateway may not know of it
    vector = house.embed("second", "is the new one there?")
    assert len(vector) == 384


DRILLS = (
    Drill("an embedder is killed", embedder_killed, gap_s=5),
    Drill("a gateway is killed", gateway_killed, errors=8, gap_s=_BACK_S),
    Drill("an engine hangs", engine_hangs, errors=8, gap_s=_BACK_S + 10),
    Drill("a node with an embedder is killed", node_killed, gap_s=5),
    Drill("a node with an embedder is drained", node_drained, gap_s=5),
    Drill("Ray's control store is restarted", gcs_restarted, gap_s=5),
    Drill("new code is deployed", new_code, gap_s=5),
    Drill("a new model is deployed", new_model, gap_s=5),
)
