"""Sixty-four processes and one balance."""

import multiprocessing
from multiprocessing.synchronize import Barrier

from app.core.ledger_types import Admitted
from tests.ledger.lab import Lab

PROCESSES = 64
EACH = 20
AMOUNT = 7
BALANCE = 5000


def spend(url: str, number: int, together: Barrier, accepted: "multiprocessing.Queue[int]") -> None:
    lab = Lab(url, edit=str)
    together.wait(60)
    accepted.put(sum(isinstance(lab.admit(f"{number}.{n}", AMOUNT), Admitted) for n in range(EACH)))


def test_exactly_what_the_balance_pays_for(redis_url: str) -> None:
    processes = multiprocessing.get_context("fork")  # each would import everything again otherwise
    with Lab(redis_url, edit=str) as lab:
        lab.grant(BALANCE)
        together, accepted = processes.Barrier(PROCESSES), processes.Queue()
        workers = [
            processes.Process(target=spend, args=(redis_url, number, together, accepted)) for number in range(PROCESSES)
        ]
        for worker in workers:
            worker.start()
        total = sum(accepted.get(timeout=60) for _ in workers)
        for worker in workers:
            worker.join(60)
            assert worker.exitcode == 0
        assert total == BALANCE // AMOUNT
        assert lab.state().balance.available == BALANCE % AMOUNT
        assert lab.state().open_holds == total
        lab.check()
