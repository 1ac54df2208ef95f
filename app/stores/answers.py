"""Answers to requests with an idempotency key: who answers, in Redis; what, on the object store.

``…:answer:<digest of the key>`` (hash) lives for a day; ``answers/date=<day>/<name>`` for a day
or two.
"""

import hashlib
from collections.abc import Sequence

from app.core.answer_ports import ANSWERS_KEPT_MS, AnswerClaim, AnswerState
from app.stores.object_place import ObjectPlace
from app.stores.redis_ledger import account_key
from app.stores.script_pipe import Script, ScriptPipe


class RedisAnswerRecords:
    """``AnswerRecords`` over one Redis."""

    def __init__(self, pipe: ScriptPipe) -> None:
        self._pipe = pipe
        self._claim = Script.of("answer_claim")
        self._end = Script.of("answer_end")

    async def claim(self, project_id: str, key: str, claim: AnswerClaim) -> AnswerState:
        """Become the one who answers, unless somebody is or has."""
        args: list[str | int] = [claim.fingerprint, claim.hold_id, claim.day, claim.lease_ms, ANSWERS_KEPT_MS]
        reply = await self._pipe.run(self._claim, _record(project_id, key), args)
        state, day, *lost = (part.decode() for part in reply)
        return AnswerState(state, day, tuple(lost))

    async def undone(self, project_id: str, key: str, hold_id: str) -> None:
        """Say that the holds of lost attempts are undone."""
        await self._pipe.run(self._end, _record(project_id, key), [hold_id, "undone", ANSWERS_KEPT_MS])

    async def finish(self, project_id: str, key: str, hold_id: str) -> None:
        """Say that the answer is kept, if the attempt with that hold is still the one that answers."""
        await self._pipe.run(self._end, _record(project_id, key), [hold_id, "kept", ANSWERS_KEPT_MS])

    async def forget(self, project_id: str, key: str, hold_id: str) -> None:
        """Let others try, if the attempt with that hold is still the one that answers."""
        await self._pipe.run(self._end, _record(project_id, key), [hold_id, "failed", ANSWERS_KEPT_MS])


class AnswerFiles:
    """``Answers`` on an object store.

    Args:
        place: where they lie.
    """

    def __init__(self, place: ObjectPlace) -> None:
        self._place = place

    async def put(self, name: str, answer: bytes, *, day: str) -> None:
        """Keep an answer."""
        await self._place.put(_path(name, day), answer)

    async def get(self, name: str, *, day: str) -> bytes | None:
        """An answer that was kept; None when there is none."""
        return await self._place.get(_path(name, day))

    async def forget_before(self, day: str) -> int:
        """Delete answers of earlier days; how many."""
        old = [path for path in await self._place.paths("answers") if path < f"answers/date={day}"]
        if old:
            await self._place.delete(old)
        return len(old)


def _record(project_id: str, key: str) -> Sequence[str]:
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    return [account_key(project_id, f"answer:{digest}")]


def _path(name: str, day: str) -> str:
    return f"answers/date={day}/{name}"
