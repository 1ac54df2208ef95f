"""A batch goes its way whatever is said in whatever order, and however often."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.batch.state import (
    ENDED,
    Batch,
    BatchStatus,
    ChunkDone,
    Closed,
    Event,
    Finalizing,
    Finished,
    LineError,
    Refused,
    Validated,
    apply,
    check_cancel,
)
from app.core.errors import Conflict

S = BatchStatus
NEW = Batch("batch_1", "key_1", "/v1/embeddings", "file-1", 0, 86_400_000, 2_592_000)
VALIDATED = Validated(
    10,
    "m",
    "embed",
    lines=6,
    chunks=3,
    price_nano_usd_per_mtok=7,
    multiplier_thousandths=500,
    model_id="m",
    dimensions=None,
)
FINISHED = Finished(99, "file-o", "file-e")
WAYS = {
    S.VALIDATING: {S.IN_PROGRESS, S.FAILED, S.CANCELLING, S.FINALIZING},
    S.IN_PROGRESS: {S.FINALIZING, S.CANCELLING},
    S.FINALIZING: {S.COMPLETED, S.EXPIRED},
    S.CANCELLING: {S.CANCELLED},
}


def chunk(number: int, completed: int = 2, failed: int = 0) -> ChunkDone:
    return ChunkDone(20 + number, number, completed, failed, tokens=10 * completed, cached_tokens=completed)


def after(*events: Event) -> Batch:
    batch = NEW
    for event in events:
        batch = apply(batch, event)
    return batch


def test_all_the_way() -> None:
    done = after(VALIDATED, chunk(2), chunk(0, 1, 1), chunk(1), Finalizing(50), FINISHED)
    assert (done.status, done.completed, done.failed, done.tokens, done.cached_tokens) == (S.COMPLETED, 5, 1, 50, 5)
    assert (done.output_file_id, done.error_file_id) == ("file-o", "file-e")
    assert done.moments_ms == {"in_progress": 10, "finalizing": 50, "completed": 99}


def test_a_bad_input_fails_the_batch() -> None:
    errors = (LineError("invalid_json_line", "No JSON.", line=3),)
    failed = after(Refused(5, errors), VALIDATED, chunk(0), Closed(6, "cancelled"))
    assert (failed.status, failed.errors, failed.moments_ms) == (S.FAILED, errors, {"failed": 5})


@pytest.mark.parametrize("before", [(), (VALIDATED,), (VALIDATED, chunk(1))])
def test_cancelled_keeps_what_is_done(before: tuple[Event, ...]) -> None:
    asked = after(*before, Closed(30, "cancelled"))
    assert (asked.status, asked.takes_work) == (S.CANCELLING, False)
    check_cancel(asked)
    in_flight = apply(asked, chunk(0))
    assert apply(in_flight, FINISHED) == in_flight, "its chunks are not fixed yet"
    sealed = apply(in_flight, Finalizing(40))
    assert sealed.status is S.CANCELLING
    assert apply(sealed, chunk(2)) == sealed, "it would be missing in the file"
    ended = apply(sealed, FINISHED)
    assert ended.status is S.CANCELLED
    assert ended.completed + ended.failed == ended.lines
    check_cancel(ended)
    assert apply(ended, Closed(100, "expired")) == ended


@pytest.mark.parametrize(("reason", "status"), [("expired", S.EXPIRED), ("unpaid", S.COMPLETED)])
def test_closed_keeps_what_is_done_and_counts_the_rest_as_failed(reason: str, status: BatchStatus) -> None:
    closed = after(VALIDATED, chunk(0), Closed(30, reason))  # type: ignore[arg-type]
    assert (closed.status, closed.takes_work) == (S.IN_PROGRESS, False)
    ended = after(VALIDATED, chunk(0), Closed(30, reason), Finalizing(40), FINISHED)  # type: ignore[arg-type]
    assert (ended.status, ended.completed, ended.failed) == (status, 2, 4)


def test_a_window_that_closes_during_validation_expires_the_batch() -> None:
    ended = after(Closed(30, "expired"), Finalizing(40), VALIDATED, Finished(50, None, None))
    assert (ended.status, ended.lines) == (S.EXPIRED, 0)


def test_nothing_is_final_while_chunks_are_left() -> None:
    assert after(VALIDATED, chunk(0), Finalizing(40)).status is S.IN_PROGRESS
    assert after(VALIDATED, chunk(0), FINISHED).status is S.IN_PROGRESS


@pytest.mark.parametrize(
    "events",
    [
        (Refused(5, ()),),
        (VALIDATED, chunk(0), chunk(1), chunk(2), Finalizing(50)),
        (VALIDATED, chunk(0), chunk(1), chunk(2), Finalizing(50), FINISHED),
        (VALIDATED, Closed(30, "expired"), Finalizing(40), FINISHED),
    ],
)
def test_too_late_to_cancel(events: tuple[Event, ...]) -> None:
    batch = after(*events)
    with pytest.raises(Conflict, match="Cannot cancel a batch"):
        check_cancel(batch)
    assert apply(batch, Closed(100, "cancelled")) == batch


EVENTS: list[Event] = [
    VALIDATED,
    Refused(5, ()),
    *(chunk(n, n % 3, 2 - n % 3) for n in range(3)),
    chunk(7),
    Closed(30, "cancelled"),
    Closed(31, "expired"),
    Closed(32, "unpaid"),
    Finalizing(50),
    FINISHED,
]


@given(st.lists(st.sampled_from(EVENTS), max_size=40))
def test_whatever_is_said_in_whatever_order(events: list[Event]) -> None:
    states = [NEW]
    for event in events:
        states.append(apply(states[-1], event))
        assert apply(states[-1], event) == states[-1], "said twice is said once"
    for old, new in pairwise(states):
        if new.status is not old.status:
            assert new.status in WAYS[old.status]
        if old.status in ENDED:
            assert new == old
        assert new.completed >= old.completed
        assert new.completed + new.failed <= max(new.lines, 0)
        assert set(old.done_chunks) <= set(new.done_chunks)
    last = states[-1]
    if last.status in (S.COMPLETED, S.EXPIRED, S.CANCELLED):
        assert last.completed + last.failed == last.lines
        assert last.status.value in last.moments_ms


def test_workers_that_repeat_themselves_change_nothing() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    source = random.Random(seed)
    said = [chunk(n) for n in range(3)] * 4
    source.shuffle(said)
    batch = after(VALIDATED, *said)
    assert (batch.completed, batch.is_worked_off) == (6, True)
