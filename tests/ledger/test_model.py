"""Hypothesis drives the store's scripts and the pure state machine with the same calls."""

from collections import Counter

import hypothesis.strategies as st
from hypothesis import HealthCheck, note, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from app.core.errors import HoldConflict
from app.core.ledger import Account
from app.core.ledger_types import Charge, Receipt, Refused, Settlement, Terms
from tests.ledger.lab import RETAIN_MS, START_US, Edit, Lab, details_of, limits, on_set_clock

HOLD_IDS = st.sampled_from([f"h{n}" for n in range(8)])
AMOUNTS = st.sampled_from([0, 1, 2, 3, 7, 100, 2**53 - 1])
TOKENS = st.integers(0, 12)
TERMS = st.sampled_from(
    [
        Terms(),
        Terms(project=limits(requests=(60, 3)), key=limits(tokens=(600, 20))),
        Terms(project=limits(tokens=(70, 15), requests=(6, 2)), key=limits(requests=(7, 2), tokens=(11, 12))),
        Terms(monthly_tokens=40, monthly_nano_usd=150),
    ]
)


def machine_on(url: str, edit: Edit) -> type[RuleBasedStateMachine]:
    class LedgerMachine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.lab = Lab(url, edit=edit)
            self.lab.__enter__()
            self.oracle = Account()
            self.generation: Counter[str] = Counter()

        def teardown(self) -> None:
            self.lab.close()

        @initialize(amount=st.sampled_from([10, 500, 2**53 - 1]))
        def open_account(self, amount: int) -> None:
            assert self.lab.grant(amount, "first") == self.oracle.grant("first", amount, "{}")

        @rule(
            us=st.sampled_from(
                [1, 999, 1_000_000, 9_999_999, 10_000_001, 61_000_000, 31 * 86_400_000_000, -3_600_000_000]
            )
        )
        def time_passes(self, us: int) -> None:
            self.lab.set_clock(max(START_US, self.lab.now_us + us))

        @rule(grant_id=st.sampled_from(["a", "b", "c"]), amount=st.sampled_from([-500, -1, 0, 1, 100, 2**53 - 1]))
        def grant(self, grant_id: str, amount: int) -> None:
            assert self.lab.grant(amount, grant_id) == self.oracle.grant(grant_id, amount, "{}")

        def current(self, name: str) -> str:
            """A hold's id, never one that was used and forgotten: ids are random in real life."""
            return f"{name}.{self.generation[name]}"

        @rule(name=HOLD_IDS, amount=AMOUNTS, tokens=TOKENS, terms=TERMS, key_id=st.sampled_from(["k1", "k2"]))
        def admit(self, name: str, amount: int, tokens: int, terms: Terms, key_id: str) -> None:
            hold_id = self.current(name)
            charge = Charge(hold_id, amount, tokens, key_id, details_of(hold_id))
            wanted = self.oracle.admit(charge, terms, now_us=self.lab.now_us, ttl_ms=10_000)
            answer = self.lab.admit(hold_id, amount, tokens, terms=terms, key_id=key_id)
            note(f"{answer}")
            assert (answer.refusal if isinstance(answer, Refused) else answer.receipt) == wanted

        @rule(name=HOLD_IDS, verb=st.sampled_from(list(Settlement)), other=st.sampled_from([None, None, None, 5]))
        def settle(self, name: str, verb: Settlement, other: int | None) -> None:
            hold_id = self.current(name)
            record = self.oracle.holds.get(hold_id)
            amount = other if other is not None else record.charge.amount_nano_usd if record else 1
            assert self._settled(self.lab, hold_id, verb, amount) == self._expected(hold_id, verb, amount)

        @rule(limit=st.sampled_from([1, 2, 100]))
        def reap(self, limit: int) -> None:
            before = set(self.oracle.holds)
            assert self.lab.reap(limit) == self.oracle.reap(now_us=self.lab.now_us, limit=limit, retain_ms=RETAIN_MS)
            self.generation.update(hold_id.split(".")[0] for hold_id in before - set(self.oracle.holds))

        @invariant()
        def both_agree(self) -> None:
            self.oracle.check()
            self.lab.check()
            self.lab.agrees_with(self.oracle)

        @staticmethod
        def _settled(lab: Lab, hold_id: str, verb: Settlement, amount: int) -> Receipt | str | None:
            try:
                return lab.settle(hold_id, verb, amount)
            except HoldConflict:
                return "conflict"

        def _expected(self, hold_id: str, verb: Settlement, amount: int) -> Receipt | str | None:
            try:
                return self.oracle.settle(hold_id, verb, amount, now_us=self.lab.now_us, retain_ms=RETAIN_MS)
            except ValueError:
                return "conflict"

    return LedgerMachine


def drive(url: str, edit: Edit = on_set_clock, *, examples: int = 60) -> None:
    run_state_machine_as_test(
        machine_on(url, edit),
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_scripts_are_the_state_machine(redis_url: str) -> None:
    drive(redis_url)
