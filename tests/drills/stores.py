"""Drills of what the service stands on: Redis, its network, clocks and disks."""

import contextlib
import time

from app.stores.redis_ledger import account_key
from tests.drills.drill import Drill
from tests.drills.house import NODES, House, environment_with_shifted_clock, wait
from tests.drills.skip import Skip


def restarted(house: House) -> None:
    """Back before anybody took its place."""
    server = house.store.current()
    server.kill()
    server.start()
    wait(house.store.is_whole, "the store is whole", within_s=30)


def frozen(house: House) -> None:
    """Long enough for its replica to be promoted; when it wakes up it is one itself."""
    server = house.store.current()
    server.pause()
    time.sleep(5)
    server.resume()
    wait(house.store.is_whole, "the store is whole", within_s=60)


def failed_over(house: House) -> None:
    old = house.store.current()
    old.kill()
    wait(lambda: house.store.current() is not old, "the replica is promoted", within_s=30)
    old.start()
    wait(house.store.is_whole, "the store is whole", within_s=60)


def out_of_memory(house: House) -> None:
    server = house.store.current().raw
    server.config_set("maxmemory", 1)
    time.sleep(3)
    server.config_set("maxmemory", 0)


def slow(house: House) -> None:
    """Twice 40 ms for every answer: far from here, but not away."""
    house.link.delay(0.04)
    time.sleep(8)
    house.link.delay(0.0)


def clock_is_wrong(house: House) -> None:
    """A gateway whose wall clock is an hour ahead takes its turn."""
    shifted = environment_with_shifted_clock(house.home, 3600)
    if shifted is None:
        raise Skip("there is no C compiler to build the shifted clock with")
    house.kill_node("gateway-b")
    house.start_node("gateway-b", NODES["gateway-b"], **shifted)
    house.wait_until_healthy(within_s=120)
    time.sleep(8)
    house.kill_node("gateway-b")
    house.start_node("gateway-b", NODES["gateway-b"])
    house.wait_until_healthy(within_s=120)


def disk_is_full(house: House) -> None:
    """For the journal and for files: answers go on, an upload is refused, and what waited is written later."""
    if not house.has_own_disk:
        raise Skip("only root can mount a disk to fill")
    filler = house.files / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"0" * 4096)
    waiting_before = _waiting(house)
    time.sleep(8)
    assert _waiting(house) > waiting_before, "the journal went somewhere"
    assert house.upload(b"x" * 100_000) >= 500, "a full disk took a file"
    filler.unlink()
    assert house.upload(b'{"custom_id": "a"}\n') == 200
    wait(lambda: _waiting(house) < 200, "the journal is written", within_s=20)


def _waiting(house: House) -> int:
    return int(house.store.current().raw.xlen(account_key(house.project_id, "journal")))


DRILLS = (
    Drill("Redis is restarted", restarted, errors=400, gap_s=6),
    Drill("Redis is frozen for 5 s", frozen, errors=400, gap_s=12, forgotten=True),
    Drill("Redis dies and its replica takes over", failed_over, errors=400, gap_s=12, forgotten=True),
    Drill("Redis is out of memory", out_of_memory, errors=400, gap_s=6),
    Drill("the network to Redis is slow", slow),
    Drill("a gateway's clock is an hour ahead", clock_is_wrong, errors=16),
    Drill("the disk of journal and files is full", disk_is_full),
)
