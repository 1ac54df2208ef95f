"""Callers with the OpenAI SDK, who check each vector and note what they saw and what they paid."""

import itertools
import secrets
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import openai

from tests.golden.texts import golden_texts

GOLDEN = np.load(Path(__file__).parents[1] / "golden/minilm.npz")
MIN_COSINE = 0.999
_LONGEST_CHARACTERS = 200
_PAUSE_S = 0.05
"""Between a caller's requests: what is asked is how failures are met, not what a full machine does."""


class Traffic:
    """Runs from its beginning to its end; no request is tried again.

    Args:
        url: of the API.
        api_key: of a project.
        model: name or alias.
        callers: at a time.
    """

    def __init__(self, url: str, api_key: str, model: str, *, callers: int = 4) -> None:
        self._url, self._api_key, self._model = url, api_key, model
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self.outcomes: Counter[str] = Counter()
        self.paid_nano_usd = 0
        self.wrong = 0
        self.took_s: list[float] = []
        self.successes_s: list[float] = []
        self.unheard: int = 0
        """Requests whose connection broke: whether they were charged, their callers do not know."""
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(callers)]

    def __enter__(self) -> "Traffic":
        self._began_s = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(90)
        self._ended_s = time.monotonic()

    @property
    def requests(self) -> int:
        return self.outcomes.total()

    @property
    def errors(self) -> dict[str, int]:
        return {name: count for name, count in self.outcomes.items() if name != "200"}

    def longest_gap_s(self) -> float:
        """Between two answers, whoever got them."""
        moments = [self._began_s, *sorted(self.successes_s), self._ended_s]
        return max(later - earlier for earlier, later in itertools.pairwise(moments))

    def p99_ms(self) -> float:
        return float(np.percentile(self.took_s, 99) * 1000) if self.took_s else 0.0

    def succeeds_after(self, moment_s: float) -> bool:
        return any(success_s > moment_s for success_s in self.successes_s[-50:])

    def _call(self, number: int) -> None:
        texts = golden_texts()
        short = [index for index, text in enumerate(texts) if len(text) <= _LONGEST_CHARACTERS]
        source = np.random.default_rng(number)
        client = openai.OpenAI(base_url=self._url, api_key=self._api_key, max_retries=0, timeout=60)
        while not self._ending.is_set():
            index = int(source.choice(short))
            given = [texts[index], f"salt {secrets.token_hex(5)}"]  # never cached: each request costs something
            self._ending.wait(_PAUSE_S)
            began_s = time.monotonic()
            try:
                raw = client.embeddings.with_raw_response.create(model=self._model, input=given)
            except openai.APIStatusError as error:
                self._note(f"{error.status_code} {error.code}")
            except openai.APIConnectionError as error:
                self._note(f"{type(error).__name__}")
                with self._lock:
                    self.unheard += 1
            else:
                vector = np.asarray(raw.parse().data[0].embedding)
                is_right = float(np.dot(vector, GOLDEN["vectors"][index])) >= MIN_COSINE
                with self._lock:
                    self.paid_nano_usd += int(raw.headers["x-cost-nano-usd"])
                    self.wrong += not is_right
                    self.took_s.append(time.monotonic() - began_s)
                    self.successes_s.append(time.monotonic())
                self._note("200")
                continue
            self._ending.wait(0.2)

    def _note(self, outcome: str) -> None:
        with self._lock:
            self.outcomes[outcome] += 1
