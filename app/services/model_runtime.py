"""A model as a gateway holds it: its card, its tokenizer, its replicas."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
from blake3 import blake3
from cachetools import LRUCache
from tokenizers import Tokenizer

from app.core.embedding_request import (
    EmbeddingInput,
    InputType,
    Texts,
    TokenArrays,
    Truncate,
    check_total,
    fit,
    token_arrays,
)
from app.core.model_card import ModelCard
from app.core.packing import TokenIds
from app.core.ports import EmbedderPool

INLINE_CHARACTERS = 1024
"""Shorter inputs are encoded on the event loop, in at most half a millisecond: where cores are busy,
waking a thread and getting the interpreter back from it takes longer than that."""

INLINE_ITEMS = 16
"""More are encoded by a thread, however short."""

_REMEMBERED_BYTES = 8 << 20
"""Of ids of short texts: what is asked again is found faster than it is encoded."""


@dataclass(frozen=True, slots=True)
class TokenizedInput:
    """Items as the model will see them. ``cut_items`` were shortened at the caller's wish."""

    items: list[TokenIds]
    total_tokens: int
    cut_items: int


class ModelTokenizer:
    """The model's own tokenizer; long inputs are encoded off the event loop (it releases the GIL).

    Args:
        tokenizer: its truncation and padding are switched off here.
        card: the model that the ids are for.
        executor: threads that encode.
    """

    def __init__(self, tokenizer: Tokenizer, card: ModelCard, executor: Executor) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._card = card
        self._executor = executor
        self._special = _special_token_counts(tokenizer)
        self._remembered: LRUCache[bytes, TokenIds] = LRUCache(_REMEMBERED_BYTES, getsizeof=_size_of)

    async def tokenize(
        self,
        given: EmbeddingInput,
        *,
        input_type: InputType | None,
        truncate: Truncate,
        max_tokens: int,
        scope: str,
    ) -> TokenizedInput:
        """Turn an input into token ids, special tokens included.

        Token arrays are taken as given and only checked. What short texts came to is remembered for those
        of the same ``scope``: nobody else can find out through response times what was asked.

        Raises:
            InvalidRequest: an id is outside the vocabulary, an item is too long, or all are too many.
        """
        if not self._is_short(given, input_type):
            work = partial(self.tokenize_now, given, input_type=input_type, truncate=truncate, max_tokens=max_tokens)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, work)
        assert isinstance(given, Texts), "token arrays are never short"
        prompt = self._prompt(input_type)
        items = self._encode_remembered([prompt + text for text in given.items], scope)
        return self._fitted(items, truncate, special=self._special, max_tokens=max_tokens)

    def _encode_remembered(self, texts: Sequence[str], scope: str) -> list[TokenIds]:
        # A hash, so that no text is kept, and each takes the same room.
        names = [blake3(f"{len(scope)}:{scope}{text}".encode("utf-8", "surrogatepass")).digest() for text in texts]
        known: dict[bytes, TokenIds] = {}
        for name in names:
            if (ids := self._remembered.get(name)) is not None:
                known[name] = ids
        new = {name: text for name, text in zip(names, texts, strict=True) if name not in known}
        if new:
            for name, ids in zip(new, self._encode(list(new.values())), strict=True):
                ids.setflags(write=False)
                self._remembered[name] = known[name] = ids
        return [known[name] for name in names]

    def _fitted(
        self, items: list[TokenIds], truncate: Truncate, *, special: tuple[int, int], max_tokens: int
    ) -> TokenizedInput:
        items, cut_items = fit(items, self._card, truncate, special=special)
        return TokenizedInput(items, check_total(items, max_tokens=max_tokens), cut_items)

    def _is_short(self, given: EmbeddingInput, input_type: InputType | None) -> bool:
        if isinstance(given, TokenArrays) or len(given.items) > INLINE_ITEMS:
            return False
        return sum(map(len, given.items)) + len(self._prompt(input_type)) * len(given.items) <= INLINE_CHARACTERS

    def _prompt(self, input_type: InputType | None) -> str:
        return self._card.prompts.get(input_type.value, "") if input_type else ""

    def tokenize_now(
        self, given: EmbeddingInput, *, input_type: InputType | None, truncate: Truncate, max_tokens: int
    ) -> TokenizedInput:
        """:meth:`tokenize` for callers that are in a thread of their own."""
        if isinstance(given, TokenArrays):
            items, special = token_arrays(given, self._card), (0, 0)
        else:
            prompt = self._prompt(input_type)
            items, special = self._encode([prompt + text for text in given.items]), self._special
        return self._fitted(items, truncate, special=special, max_tokens=max_tokens)

    def _encode(self, texts: Sequence[str]) -> list[TokenIds]:
        return [np.asarray(e.ids, dtype=np.int32) for e in self._tokenizer.encode_batch_fast(list(texts))]


@dataclass(frozen=True, slots=True)
class ModelRuntime:
    """All that a gateway needs to serve one model."""

    card: ModelCard
    tokenizer: ModelTokenizer
    pool: EmbedderPool
    may_sleep: bool = False
    """Whether having no replica is normal: the next request starts one."""


def _size_of(ids: TokenIds) -> int:
    """In the memory of ids, with what Python and the cache need for an entry."""
    return ids.nbytes + 500


def _special_token_counts(tokenizer: Tokenizer) -> tuple[int, int]:
    """How many special tokens the tokenizer puts before and after a text."""
    mask = tokenizer.encode("a").special_tokens_mask
    lead = next((i for i, special in enumerate(mask) if not special), 0)
    trail = next((i for i, special in enumerate(reversed(mask)) if not special), 0)
    return lead, trail
