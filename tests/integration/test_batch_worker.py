"""Batches from their making to their end: on a real store and a folder, with a pool that is told to fail."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from app.core.batch.state import Batch, BatchStatus
from app.core.errors import (
    CapacityExceeded,
    Conflict,
    DependencyDown,
    EngineError,
    EngineFault,
    ModelProvisioning,
)
from app.core.ledger_types import Budgets
from app.core.packing import TokenIds
from app.services.batches.service import WINDOW_MS
from app.stores.object_place import ObjectPlace
from tests.batch_house import AUTHOR, PROJECT, BatchHouse, line_of, lines_of
from tests.fakes import FakePool

S = BatchStatus


@pytest.fixture
async def house(redis_url: str, tmp_path: Path) -> AsyncIterator[BatchHouse]:
    made = BatchHouse(redis_url, tmp_path)
    made.raw.flushall()
    yield made
    await made.close()


async def check_money(house: BatchHouse, batch: Batch) -> None:
    """Every line of the output file is charged, once, and nothing else is."""
    output = await house.lines(batch.output_file_id)
    assert sorted(house.captured_lines()) == sorted(int(line["custom_id"][1:]) for line in output)
    account = await house.account()
    assert account.balance.captured == batch.tokens * 10
    assert (account.balance.held, account.open_holds) == (0, 0)


async def check_files(house: BatchHouse, batch: Batch) -> None:
    """Every line stands in one of the files, once, and the counts say so."""
    output, errors = await house.lines(batch.output_file_id), await house.lines(batch.error_file_id)
    assert (len(output), len(errors)) == (batch.completed, batch.failed)
    ids = [line["custom_id"] for line in output + errors]
    assert sorted(ids, key=lambda name: int(name[1:])) == [f"c{n}" for n in range(1, batch.lines + 1)]
    assert house.left_over() == []
    assert await house.batches.active() == []
    assert not house.raw.keys("*batch_chunks*")


async def test_all_the_way(house: BatchHouse) -> None:
    await house.open_tenant()
    house.worker()
    ref = await house.submit(lines_of([f"text {n}" for n in range(700)]))
    batch = await house.until_ended(ref)
    assert sum(lines.completed for lines in house.lines_told) == 700
    assert sum(lines.nano_usd for lines in house.lines_told) == batch.tokens * 10
    assert (batch.status, batch.completed, batch.failed, batch.chunks) == (S.COMPLETED, 700, 0, 3)
    output = await house.lines(batch.output_file_id)
    assert [line["custom_id"] for line in output] == [f"c{n}" for n in range(1, 701)]
    body = output[0]["response"]["body"]
    assert (output[0]["error"], output[0]["response"]["status_code"]) == (None, 200)
    assert (body["model"], len(body["data"][0]["embedding"])) == ("all-MiniLM-L6-v2", 384)
    assert batch.error_file_id is None
    await check_money(house, batch)
    await check_files(house, batch)


BAD_BODIES: list[dict[str, object]] = [
    {"input": ""},
    {"input": {"x": 1}},
    {"input": "long " * 600},
    {"input": "x", "dimensions": 7},
]


async def test_a_line_fails_alone(house: BatchHouse) -> None:
    await house.open_tenant()
    house.worker()
    given = [{"input": "a"}, {"input": ["b", "c"]}, *BAD_BODIES]
    batch = await house.until_ended(
        await house.submit(b"\n".join(line_of(n, **body) for n, body in enumerate(given, 1)))
    )
    assert (batch.status, batch.completed, batch.failed) == (S.COMPLETED, 2, 4)
    output, errors = await house.lines(batch.output_file_id), await house.lines(batch.error_file_id)
    assert [len(line["response"]["body"]["data"]) for line in output] == [1, 2]
    assert [line["response"]["status_code"] for line in errors] == [400] * 4
    assert all(line["response"]["body"]["error"]["message"] and line["error"] is None for line in errors)
    await check_money(house, batch)
    await check_files(house, batch)


async def test_all_lines_may_fail_and_the_batch_is_completed(house: BatchHouse) -> None:
    await house.open_tenant()
    house.worker()
    batch = await house.until_ended(await house.submit(lines_of(["", ""])))
    assert (batch.status, batch.completed, batch.failed) == (S.COMPLETED, 0, 2)
    assert batch.output_file_id is None
    await check_files(house, batch)


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (b"", "empty_file", None),
        (b"\n\n", "empty_file", None),
        (lines_of(["a"]) + b"{\n", "invalid_json_line", 2),
        (lines_of(["a"]).replace(b'"POST"', b'"GET"'), "invalid_method", 1),
        (lines_of(["a"]) * 2, "duplicate_custom_id", 2),
        (lines_of(["a"], model="other"), "model_not_found", 1),
        (lines_of(["a"] * 5), "too_many_tasks", None),
        (lines_of([["a"] * 9]), "too_many_inputs", None),
        (lines_of(["a" * 20_000_000]), "invalid_request", 1),
    ],
)
async def test_a_bad_input_fails_the_batch(
    redis_url: str, tmp_path: Path, content: bytes, code: str, line: int | None
) -> None:
    house = BatchHouse(redis_url, tmp_path, max_lines=4, max_inputs=8)
    house.raw.flushall()
    await house.open_tenant()
    house.worker()
    try:
        batch = await house.until_ended(await house.submit(content))
        assert batch.status is S.FAILED
        assert (batch.errors[0].code, batch.errors[0].line) == (code, line)
        assert house.left_over() == []
        assert (await house.account()).balance.captured == 0
    finally:
        await house.close()


async def test_an_input_that_is_not_there_fails_the_batch(house: BatchHouse) -> None:
    await house.open_tenant()
    ref = await house.submit(lines_of(["a"]))
    await house.files.delete(PROJECT, (await house.batch(ref)).input_file_id)
    house.worker()
    batch = await house.until_ended(ref)
    assert (batch.status, batch.errors[0].code, batch.errors[0].param) == (S.FAILED, "invalid_request", "file_id")


async def test_the_input_may_go_once_it_was_looked_at(house: BatchHouse) -> None:
    await house.open_tenant()
    gate = asyncio.Event()
    house.pool.gate = gate.wait
    house.worker()
    ref = await house.submit(lines_of([f"text {n}" for n in range(600)]))
    batch = await house.until(ref, lambda batch: batch.status is S.IN_PROGRESS)
    await house.files.delete(PROJECT, batch.input_file_id)
    gate.set()
    batch = await house.until_ended(ref)
    assert (batch.status, batch.completed) == (S.COMPLETED, 600)


class _Gated(FakePool):
    """Computes the first call of so many items, and no other."""

    wanted = 0

    def submit(self, items: Sequence[TokenIds], **options: object) -> "list[asyncio.Future[object]]":  # type: ignore[override]
        self.gate = None if len(items) == self.wanted else asyncio.Event().wait
        self.wanted = 0 if self.gate is None else self.wanted
        return super().submit(items, **options)  # type: ignore[arg-type,return-value]


async def begin(house: BatchHouse, *, lines: int = 600, done: int = 256) -> "object":
    """A batch of which a chunk is done and the others are being computed, without end."""
    house.pool = _Gated()
    house.pool.wanted = done
    house.worker()
    ref = await house.submit(lines_of([f"text {n}" for n in range(lines)]))
    await house.until(ref, lambda batch: batch.completed == done)
    return ref


async def test_cancelled_before_anybody_looked_at_it(house: BatchHouse) -> None:
    await house.open_tenant()
    ref = await house.submit(lines_of(["a"]))
    assert (await house.service.cancel(PROJECT, ref.batch_id)).status is S.CANCELLING
    house.worker()
    batch = await house.until_ended(ref)
    assert (batch.status, batch.lines, batch.output_file_id, batch.error_file_id) == (S.CANCELLED, 0, None, None)
    assert (await house.service.cancel(PROJECT, ref.batch_id)).status is S.CANCELLED
    await check_files(house, batch)


async def test_cancelled_in_the_middle_keeps_what_is_done(house: BatchHouse) -> None:
    await house.open_tenant()
    ref = await begin(house)
    await house.service.cancel(PROJECT, ref.batch_id)  # type: ignore[attr-defined]
    batch = await house.until_ended(ref)  # type: ignore[arg-type]
    assert (batch.status, batch.completed, batch.failed) == (S.CANCELLED, 256, 344)
    errors = await house.lines(batch.error_file_id)
    assert {(line["response"], line["error"]["code"]) for line in errors} == {(None, "batch_cancelled")}
    await check_money(house, batch)
    await check_files(house, batch)


async def test_too_late_to_cancel(house: BatchHouse) -> None:
    await house.open_tenant()
    house.worker()
    ref = await house.submit(lines_of(["a"]))
    await house.until_ended(ref)
    with pytest.raises(Conflict, match="Cannot cancel a batch with status 'completed'"):
        await house.service.cancel(PROJECT, ref.batch_id)


async def test_the_window_closes_in_the_middle(house: BatchHouse) -> None:
    await house.open_tenant()
    ref = await begin(house)
    house.clock.advance(WINDOW_MS / 1000)
    batch = await house.until_ended(ref)  # type: ignore[arg-type]
    assert (batch.status, batch.completed, batch.failed) == (S.EXPIRED, 256, 344)
    errors = await house.lines(batch.error_file_id)
    assert {line["error"]["code"] for line in errors} == {"batch_expired"}
    await check_money(house, batch)
    await check_files(house, batch)


async def test_the_window_closes_before_anybody_looked_at_it(house: BatchHouse) -> None:
    await house.open_tenant()
    ref = await house.submit(lines_of(["a"]))
    house.clock.advance(WINDOW_MS / 1000)
    house.worker()
    assert (await house.until_ended(ref)).status is S.EXPIRED


@pytest.mark.parametrize("why", ["credit", "budget"])
async def test_credit_that_ends_in_the_middle_keeps_what_is_done(house: BatchHouse, why: str) -> None:
    one = 4 * 10
    if why == "credit":
        await house.open_tenant(credit=300 * one)
    else:
        await house.open_tenant(budgets=Budgets(monthly_nano_usd=300 * one))
    house.worker()
    ref = await house.submit(lines_of(["one two"] * 2000))
    batch = await house.until_ended(ref)
    assert (batch.status, batch.completed, batch.failed) == (S.COMPLETED, 300, 1700)
    errors = await house.lines(batch.error_file_id)
    codes = {(line["response"] or {}).get("status_code") or line["error"]["code"] for line in errors}
    assert codes <= {402, "insufficient_quota"}
    await check_money(house, batch)
    await check_files(house, batch)


async def test_a_delinquent_project_s_batch_stops(house: BatchHouse) -> None:
    await house.open_tenant()
    await house.directory.update_project(PROJECT, {"status": "delinquent"}, AUTHOR)
    house.worker()
    batch = await house.until_ended(await house.submit(lines_of(["a", "b"])))
    assert (batch.status, batch.completed, batch.failed) == (S.COMPLETED, 0, 2)
    await check_money(house, batch)


async def test_an_endpoint_that_is_switched_off_makes_its_batches_wait(house: BatchHouse) -> None:
    await house.open_tenant()
    ref = await begin(house)
    await house.workers[0].close()
    await house.directory.update_endpoint(PROJECT, "e", {"status": "inactive"}, AUTHOR)
    house.pool = FakePool()
    house.worker()
    await asyncio.sleep(1)
    assert (await house.batch(ref)).completed == 256  # type: ignore[arg-type]
    await house.directory.update_endpoint(PROJECT, "e", {"status": "active"}, AUTHOR)
    batch = await house.until_ended(ref)  # type: ignore[arg-type]
    assert (batch.status, batch.completed) == (S.COMPLETED, 600)
    await check_money(house, batch)


@pytest.mark.parametrize(
    "error",
    [
        ModelProvisioning("starting", retry_after_s=5),
        CapacityExceeded("busy", retry_after_s=1),
        EngineError("dead", fault=EngineFault.DEAD),
    ],
)
async def test_engines_that_are_away_are_waited_for(house: BatchHouse, error: Exception) -> None:
    await house.open_tenant()
    house.pool.error = error
    house.worker()
    ref = await house.submit(lines_of(["a", "b"]))
    await asyncio.sleep(2)
    assert (await house.batch(ref)).status is S.IN_PROGRESS
    house.pool.error = None
    batch = await house.until_ended(ref)
    assert (batch.status, batch.completed) == (S.COMPLETED, 2)
    await check_money(house, batch)


@pytest.mark.parametrize(("fault", "status"), [(EngineFault.BAD_INPUT, 400), (EngineFault.OTHER, 500)])
async def test_what_the_engine_refuses_fails_its_line_and_costs_nothing(
    house: BatchHouse, fault: EngineFault, status: int
) -> None:
    await house.open_tenant()
    house.pool.error = EngineError("no", fault=fault)
    house.worker()
    batch = await house.until_ended(await house.submit(lines_of(["a", "b"])))
    assert (batch.status, batch.completed, batch.failed) == (S.COMPLETED, 0, 2)
    assert {line["response"]["status_code"] for line in await house.lines(batch.error_file_id)} == {status}
    await check_money(house, batch)


@pytest.mark.parametrize("method", ["put", "create", "get", "writing", "paths", "delete"])
async def test_an_object_store_that_fails_for_a_while_is_waited_for(
    house: BatchHouse, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """A full disk is one of these: every write fails until there is room again."""
    await house.open_tenant()
    ref = await house.submit(lines_of([f"text {n}" for n in range(600)]))
    house.worker()

    def fails(*_: object, **__: object) -> object:
        raise DependencyDown("away")

    with monkeypatch.context() as away:
        away.setattr(ObjectPlace, method, fails)
        await asyncio.sleep(2)
        assert house.metrics.counts.get("embedgate_batch_lines,outcome=failed", 0) == 0
    batch = await house.until_ended(ref)
    assert (batch.status, batch.completed, batch.failed) == (S.COMPLETED, 600, 0)
    await check_money(house, batch)
    await check_files(house, batch)


async def test_a_project_has_so_many_open_batches(redis_url: str, tmp_path: Path) -> None:
    house = BatchHouse(redis_url, tmp_path, max_open_per_project=2)
    house.raw.flushall()
    await house.open_tenant()
    try:
        refs = [await house.submit(lines_of(["a"])) for _ in range(2)]
        with pytest.raises(CapacityExceeded, match="2 open batches"):
            await house.submit(lines_of(["a"]))
        house.worker()
        for ref in refs:
            await house.until_ended(ref)
        await house.submit(lines_of(["a"]))
    finally:
        await house.close()


async def test_an_ended_batch_is_forgotten_after_thirty_days(house: BatchHouse) -> None:
    await house.open_tenant()
    worker = house.worker()
    ref = await house.submit(lines_of(["a"]))
    await house.until_ended(ref)
    house.clock.advance(30 * 86_400 + 1)
    await worker._steward.forget_due()
    assert await house.batches.get(PROJECT, ref.batch_id) is None
    assert not house.raw.keys(f"*{ref.batch_id}*")


async def test_what_is_announced_and_never_made_is_looked_at_no_more(house: BatchHouse) -> None:
    house.raw.zadd("eg:batches_open", {f"{PROJECT}/batch_{'0' * 36}": int(house.clock() * 1000)})
    house.worker()
    await asyncio.sleep(1)
    assert await house.batches.active()
    house.clock.advance(61)
    async with asyncio.timeout(5):
        while await house.batches.active():
            await asyncio.sleep(0.05)


async def test_an_input_that_a_line_repeats_is_computed_and_charged_once(house: BatchHouse) -> None:
    await house.open_tenant()
    house.worker()
    batch = await house.until_ended(await house.submit(lines_of([["a", "b", "a", "a"]])))
    body = (await house.lines(batch.output_file_id))[0]["response"]["body"]
    vectors = [item["embedding"] for item in body["data"]]
    assert vectors[0] == vectors[2] == vectors[3] != vectors[1]
    assert (batch.tokens, batch.cached_tokens) == (12, 6)
    assert body["usage"]["prompt_tokens_details"] == {"cached_tokens": 6}
    assert (await house.account()).balance.captured == 6 * 10


async def test_a_disabled_project_s_batches_wait(house: BatchHouse) -> None:
    await house.open_tenant()
    ref = await house.submit(lines_of(["a"]))
    await house.directory.update_project(PROJECT, {"status": "disabled"}, AUTHOR)
    house.worker()
    await asyncio.sleep(1)
    assert (await house.batch(ref)).status is S.VALIDATING
    await house.directory.update_project(PROJECT, {"status": "active"}, AUTHOR)
    assert (await house.until_ended(ref)).completed == 1


async def test_a_batch_keeps_to_the_model_it_was_validated_with(house: BatchHouse) -> None:
    await house.open_tenant()
    ref = await begin(house)
    await house.directory.update_endpoint(PROJECT, "e", {"model": "another", "dimensions": 3}, AUTHOR)
    await house.workers[0].close()
    house.pool = FakePool()
    house.worker()
    batch = await house.until_ended(ref)  # type: ignore[arg-type]
    assert batch.completed == 600
    output = await house.lines(batch.output_file_id)
    assert {len(line["response"]["body"]["data"][0]["embedding"]) for line in output} == {384}


async def test_so_many_batches_are_kept(redis_url: str, tmp_path: Path) -> None:
    house = BatchHouse(redis_url, tmp_path, max_kept_per_project=2)
    house.raw.flushall()
    await house.open_tenant()
    try:
        for _ in range(2):
            await house.submit(lines_of(["a"]))
        with pytest.raises(CapacityExceeded, match="last 30 days"):
            await house.submit(lines_of(["a"]))
        assert len(await house.batches.active()) == 2
    finally:
        await house.close()


async def test_a_batch_whose_maker_was_not_told_is_cancelled(
    house: BatchHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store makes it, and its answer does not come in time; the SDKs ask again."""
    await house.open_tenant()
    create = house.batches.create

    async def loses_its_answer(*arguments: object, **options: object) -> None:
        await create(*arguments, **options)  # type: ignore[arg-type]
        raise DependencyDown("no answer")

    with monkeypatch.context() as lossy:
        lossy.setattr(house.batches, "create", loses_its_answer)
        with pytest.raises(DependencyDown):
            await house.submit(lines_of(["a"]))
    await asyncio.sleep(0.2)
    found, _ = await house.service.list_page(PROJECT, after=None, limit=10)
    assert [batch.status for batch in found] == [S.CANCELLING]
