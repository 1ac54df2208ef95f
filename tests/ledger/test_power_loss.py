"""Power goes: the append-only file ends at any byte of the last transactions."""

import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.ledger.lab import Lab
from tests.ledger.servers import Server, binary_of

SEED = 20_261_121


def incremental_file(folder: Path) -> Path:
    (found,) = (folder / "appendonlydir").glob("*.incr.aof")
    return found


def history(server: Server) -> tuple[int, int]:
    """Some work, then the last transactions; the file's length before and after those."""
    with Lab(server.url, edit=str) as lab:
        lab.grant(1000)
        for n in range(5):
            lab.admit(f"h{n}", 100, 3)
        lab.capture("h0", 100)
        lab.release("h1", 100)
        before = incremental_file(server.folder).stat().st_size
        lab.admit("last", 100, 3)
        lab.capture("last", 100)
        lab.grant(50, "g2")
        return before, incremental_file(server.folder).stat().st_size


def balance_after_cut(binary: str, source: Path, folder: Path, length: int) -> tuple[int, ...]:
    shutil.copytree(source, folder)
    with incremental_file(folder).open("rb+") as file:
        file.truncate(length)
    with Server(binary, folder) as server:
        lab = Lab(server.url, edit=str)
        lab.check()
        balance = lab.state().balance
        lab.close()
    shutil.rmtree(folder)
    return (balance.granted, balance.available, balance.held, balance.captured)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["valkey", "redis-server"])
def test_every_cut_leaves_whole_transactions(tmp_path: Path, name: str) -> None:
    binary = binary_of(name)
    with Server(binary, tmp_path / "server") as server:
        before, after = history(server)
        server.kill()
        lengths = list(range(before, after + 1))
        if name != "valkey":  # the format is the same; one server is cut at every byte
            print(f"seed {SEED}")
            lengths = sorted(random.Random(SEED).sample(lengths, 40))
        seen: list[tuple[int, ...]] = []
        with ThreadPoolExecutor(4) as pool:
            cuts = pool.map(lambda n: balance_after_cut(binary, server.folder, tmp_path / f"cut{n}", n), lengths)
            for balance in cuts:
                if not seen or seen[-1] != balance:
                    seen.append(balance)
        server.start()
    whole = [(1000, 600, 300, 100), (1000, 500, 400, 100), (1000, 500, 300, 200), (1050, 550, 300, 200)]
    if name == "valkey":
        assert seen == whole
    else:
        assert [state for state in whole if state in seen] == seen


@pytest.mark.parametrize("name", ["valkey", "redis-server"])
def test_random_cuts_of_a_long_history(tmp_path: Path, name: str) -> None:
    binary = binary_of(name)
    source = random.Random(SEED)
    print(f"seed {SEED}")
    with Server(binary, tmp_path / "server") as server:
        with Lab(server.url, edit=str) as lab:
            lab.grant(10**6)
            start = incremental_file(server.folder).stat().st_size
            for n in range(100):
                lab.admit(f"h{n}", source.randrange(0, 1000), source.randrange(0, 50))
                chosen = f"h{source.randrange(n + 1)}"
                record = lab.raw.hget(lab.key("holds"), chosen)
                amount = int((record or b"|||0").split(b"|")[3])
                source.choice((lab.capture, lab.release, lab.undelivered))(chosen, amount)
        server.kill()
        end = incremental_file(server.folder).stat().st_size
        for _ in range(25):
            balance_after_cut(binary, server.folder, tmp_path / "cut", source.randrange(start, end))
        server.start()
