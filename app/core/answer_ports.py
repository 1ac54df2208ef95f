"""What answers that are kept for a day need of the stores: who answers, and the answer."""

from dataclasses import dataclass
from typing import Protocol

ANSWERS_KEPT_MS = 24 * 3600 * 1000
"""How long an answer to an idempotency key is kept, and the ended hold that paid for it."""


@dataclass(frozen=True, slots=True)
class AnswerClaim:
    """An attempt to answer: for which body, with which hold, on which day, and for how long."""

    fingerprint: str
    hold_id: str
    day: str
    lease_ms: int


@dataclass(frozen=True, slots=True)
class AnswerState:
    """What became of a claim.

    Attributes:
        state: "claimed", "answered", "busy", or "conflict" when the body is another.
        day: of the attempt that answered.
        lost_hold_ids: of attempts before, whose holds are to be undone.
    """

    state: str
    day: str = ""
    lost_hold_ids: tuple[str, ...] = ()


class AnswerRecords(Protocol):
    """Who answers a request with an idempotency key. Every method may raise ``DependencyDown``."""

    async def claim(self, project_id: str, key: str, claim: "AnswerClaim") -> "AnswerState":
        """Become the one who answers, unless somebody is or has."""

    async def undone(self, project_id: str, key: str, hold_id: str) -> None:
        """Say that the holds of lost attempts are undone."""

    async def finish(self, project_id: str, key: str, hold_id: str) -> None:
        """Say that the answer is kept, if the attempt with that hold is still the one that answers."""

    async def forget(self, project_id: str, key: str, hold_id: str) -> None:
        """Let others try, if the attempt with that hold is still the one that answers."""


class Answers(Protocol):
    """Answers that are kept for a day. Every method may raise ``DependencyDown``."""

    async def put(self, name: str, answer: bytes, *, day: str) -> None:
        """Keep an answer."""

    async def get(self, name: str, *, day: str) -> bytes | None:
        """An answer that was kept; None when there is none."""

    async def forget_before(self, day: str) -> int:
        """Delete answers of earlier days; how many."""
