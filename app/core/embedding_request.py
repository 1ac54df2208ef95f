"""The rules of an embedding request: four input forms, their bounds, and what the model accepts."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from app.core.errors import InvalidRequest
from app.core.model_card import ModelCard
from app.core.packing import TokenIds
from app.core.tiers import Tier

MAX_ITEMS = 2048


class EncodingFormat(StrEnum):
    """How vectors are written in the response."""

    FLOAT = "float"
    BASE64 = "base64"


class InputType(StrEnum):
    """What the text is for; mapped to the model's own prompts where it has them."""

    QUERY = "query"
    DOCUMENT = "document"


class Truncate(StrEnum):
    """Which side of an over-long input is cut off; "none" refuses it."""

    NONE = "none"
    END = "end"
    START = "start"


@dataclass(frozen=True, slots=True)
class Texts:
    """One or more texts, in order; none is empty."""

    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class TokenArrays:
    """One or more arrays of token ids, in order; none is empty."""

    items: Sequence[Sequence[int]]


EmbeddingInput = Texts | TokenArrays


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """A parsed body. ``tier`` is None when the request names none."""

    model: str
    input: EmbeddingInput
    encoding_format: EncodingFormat = EncodingFormat.FLOAT
    dimensions: int | None = None
    user: str | None = None
    tier: Tier | None = None
    input_type: InputType | None = None
    truncate: Truncate = Truncate.NONE


def parse_input(value: object) -> EmbeddingInput:
    """Tell the four forms of ``input`` apart and check their bounds.

    Raises:
        InvalidRequest: the value has none of the forms, is empty, or has over 2,048 items.
    """
    if isinstance(value, str):
        if not value:
            raise _invalid("Invalid 'input': input cannot be an empty string.")
        return Texts([value])
    if not isinstance(value, list):
        raise _invalid(
            "Invalid 'input': send a string, an array of strings, an array of token ids, "
            "or an array of arrays of token ids."
        )
    if not value:
        raise _invalid("Invalid 'input': input cannot be an empty array.")
    kinds = set(map(type, value))
    if kinds == {int}:
        return TokenArrays([value])
    if len(value) > MAX_ITEMS:
        raise _invalid(f"Invalid 'input': array length must be {MAX_ITEMS} or less, got {len(value)}.")
    if kinds == {str}:
        for index, item in enumerate(value):
            if not item:
                raise _invalid(f"Invalid 'input[{index}]': input cannot be an empty string.")
        return Texts(value)
    if kinds == {list}:
        for index, item in enumerate(value):
            _check_token_array(index, item)
        return TokenArrays(value)
    raise _invalid("Invalid 'input': all items must be strings, or all token ids, or all arrays of token ids.")


def token_arrays(arrays: TokenArrays, card: ModelCard) -> list[TokenIds]:
    """Token ids as int32, each inside the model's vocabulary.

    Raises:
        InvalidRequest: an id lies outside; most likely another model's tokenizer made it.
    """
    ids = []
    for index, array in enumerate(arrays.items):
        if min(array) < 0 or max(array) >= card.vocabulary_size:
            raise _invalid(
                f"Invalid 'input[{index}]': a token id lies outside the vocabulary of {card.model_id} "
                f"(0 to {card.vocabulary_size - 1}). These ids come from another tokenizer: send text instead "
                "(in LangChain, set check_embedding_ctx_length=False)."
            )
        ids.append(np.asarray(array, dtype=np.int32))
    return ids


def fit(
    items: Sequence[TokenIds], card: ModelCard, truncate: Truncate, *, special: tuple[int, int]
) -> tuple[list[TokenIds], int]:
    """Cut items to the model's length, or refuse.

    Args:
        items: token ids, special tokens included.
        card: the model.
        truncate: which side goes.
        special: how many special tokens lead and trail each item; they are kept.

    Returns:
        The items, and how many of them were cut.

    Raises:
        InvalidRequest: an item is too long and ``truncate`` is "none"; names the item.
    """
    limit = card.max_input_tokens
    cut_count = 0
    fitted: list[TokenIds] = []
    head, tail = special
    for index, item in enumerate(items):
        excess = len(item) - limit
        if excess <= 0:
            fitted.append(item)
            continue
        if truncate is Truncate.NONE:
            raise _invalid(
                f"Invalid 'input[{index}]': maximum input length is {limit} tokens, got {len(item)}. "
                'Send shorter text, or set \'truncate\' to "end" or "start".'
            )
        cut_count += 1
        if truncate is Truncate.END:
            keep = len(item) - tail
            fitted.append(np.concatenate([item[: keep - excess], item[keep:]]))
        else:
            fitted.append(np.concatenate([item[:head], item[head + excess :]]))
    return fitted, cut_count


def check_total(items: Sequence[TokenIds], *, max_tokens: int) -> int:
    """The request's tokens.

    Raises:
        InvalidRequest: more than ``max_tokens``.
    """
    total = sum(map(len, items))
    if total > max_tokens:
        raise _invalid(
            f"Invalid 'input': maximum request size is {max_tokens} tokens per request, got {total}. "
            "Split the input over several requests."
        )
    return total


def _check_token_array(index: int, item: list[object]) -> None:
    if not item:
        raise _invalid(f"Invalid 'input[{index}]': an array of token ids cannot be empty.")
    if set(map(type, item)) != {int}:
        raise _invalid(f"Invalid 'input[{index}]': an array of token ids holds integers only.")


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="input")
