"""Sixty-four processes and one balance."""

import subprocess
import sys

from tests.ledger.lab import Lab
from tests.stack import ROOT

PROCESSES = 64
AMOUNT = 7
BALANCE = 5000

_WORKER = """
import sys
from app.core.ledger_types import Admitted
from tests.ledger.lab import Lab
lab = Lab(sys.argv[1], edit=str)
sys.stdin.readline()
print(sum(isinstance(lab.admit(f"{sys.argv[2]}.{n}", 7), Admitted) for n in range(20)))
"""


def test_exactly_what_the_balance_pays_for(redis_url: str) -> None:
    with Lab(redis_url, edit=str) as lab:
        lab.grant(BALANCE)
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", _WORKER, redis_url, str(number)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=ROOT,
                text=True,
            )
            for number in range(PROCESSES)
        ]
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        accepted = sum(int(worker.communicate(timeout=120)[0]) for worker in workers)
        assert accepted == BALANCE // AMOUNT
        assert lab.state().balance.available == BALANCE % AMOUNT
        assert lab.state().open_holds == accepted
        lab.check()
