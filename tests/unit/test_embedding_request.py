import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.wire import parse_embedding_body
from app.core.embedding_request import (
    EncodingFormat,
    Texts,
    TokenArrays,
    Truncate,
    check_total,
    fit,
    parse_input,
    token_arrays,
)
from app.core.errors import InvalidRequest
from app.core.model_card import ModelCard
from app.core.tiers import Tier

CARD = ModelCard("m", "r", dimensions=8, max_input_tokens=6, vocabulary_size=100, trained_dimensions=frozenset({4}))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.text(min_size=1))
def test_one_text(text: str) -> None:
    assert parse_input(text) == Texts([text])


@given(st.lists(st.text(min_size=1), min_size=1, max_size=50))
def test_many_texts(texts: list[str]) -> None:
    assert parse_input(texts) == Texts(texts)


@given(st.lists(st.integers(), min_size=1))
def test_one_token_array_of_any_length(ids: list[int]) -> None:
    assert parse_input(ids) == TokenArrays([ids])


@given(st.lists(st.lists(st.integers(), min_size=1, max_size=5), min_size=1, max_size=50))
def test_many_token_arrays(arrays: list[list[int]]) -> None:
    assert parse_input(arrays) == TokenArrays(arrays)


@given(json_values)
def test_any_json_is_parsed_or_refused_in_one_sentence(value: object) -> None:
    try:
        parsed = parse_input(value)
    except InvalidRequest as error:
        assert error.param == "input"
        assert error.message.endswith((".", '\'truncate\' to "end" or "start".'))
    else:
        assert len(parsed.items) >= 1
        assert all(len(item) >= 1 for item in parsed.items)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "empty string"),
        ([], "empty array"),
        (["a", ""], r"input\[1\]"),
        ([[1], []], r"input\[1\]"),
        ([[1], [True]], r"input\[1\]"),
        ([True], "all items"),
        ([1, "a"], "all items"),
        ([1.0], "all items"),
        ([1, 2**70 * 1.0], "all items"),
        (None, "send a string"),
        ({"a": 1}, "send a string"),
        (["a"] * 2049, "2048 or less"),
    ],
)
def test_what_is_refused(value: object, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        parse_input(value)


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_embedding_body(body)


@given(
    st.dictionaries(
        st.sampled_from(["model", "input", "encoding_format", "dimensions", "user", "service_tier", "x"]), json_values
    )
)
def test_any_object_is_parsed_or_refused(document: dict[str, object]) -> None:
    try:
        body = orjson.dumps(document)
    except TypeError:  # numbers that JSON in 64 bits cannot carry
        return
    try:
        request = parse_embedding_body(body)
    except InvalidRequest as error:
        assert len(error.message) < 400
    else:
        assert request.model
        assert request.input.items


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"dimension": 4}, "dimension", "Did you mean 'dimensions'"),
        ({"dimensions": 4.0}, "dimensions", "integer"),
        ({"dimensions": "4"}, "dimensions", "integer"),
        ({"dimensions": 0}, "dimensions", "greater"),
        ({"encoding_format": "md5"}, "encoding_format", "'float' or 'base64'"),
        ({"service_tier": "batch"}, "service_tier", "'priority'"),
        ({"truncate": True}, "truncate", "supported values"),
        ({"user": 5}, "user", "string"),
        ({"model": ""}, "model", "at least 1"),
    ],
)
def test_fields(fields: dict[str, object], param: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        parse_embedding_body(orjson.dumps({"model": "m", "input": "x", **fields}))
    assert caught.value.param == param


def test_null_counts_as_absent() -> None:
    nulls = dict.fromkeys(["encoding_format", "dimensions", "user", "service_tier", "input_type", "truncate"])
    request = parse_embedding_body(orjson.dumps({"model": "m", "input": "x", **nulls}))
    assert request == parse_embedding_body(b'{"model":"m","input":"x"}')
    assert request.encoding_format is EncodingFormat.FLOAT
    assert parse_embedding_body(b'{"model":"m","input":"x","service_tier":"auto"}').tier is Tier.DEFAULT
    assert parse_embedding_body(b'{"model":"m","input":"x","service_tier":"flex"}').tier is Tier.FLEX


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{", b'{"model":NaN}', b'{"input":"\\ud800","model":"m"}', b"\xff\xfe", b"[" * 100_000],
)
def test_bodies_that_are_no_json_object(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="JSON"):
        parse_embedding_body(body)


def test_token_ids_outside_the_vocabulary_name_the_item_and_the_way_out() -> None:
    for bad in ([[1], [100]], [[1], [-1]], [[1], [2**63]]):
        with pytest.raises(InvalidRequest, match=r"input\[1\].*LangChain"):
            token_arrays(TokenArrays(bad), CARD)
    assert token_arrays(TokenArrays([[0, 99]]), CARD)[0].tolist() == [0, 99]


@given(st.integers(1, 30), st.sampled_from(list(Truncate)))
def test_truncation_keeps_special_tokens(length: int, truncate: Truncate) -> None:
    item = np.arange(length, dtype=np.int32)
    try:
        fitted, cut_items = fit([item], CARD, truncate, special=(1, 1))
    except InvalidRequest as error:
        assert truncate is Truncate.NONE
        assert length > CARD.max_input_tokens
        assert "input[0]" in error.message
        return
    kept = fitted[0].tolist()
    assert len(kept) == min(length, CARD.max_input_tokens)
    assert (kept[0], kept[-1]) == (0, length - 1)
    assert cut_items == int(length > CARD.max_input_tokens)
    if cut_items:
        assert kept[1:-1] == (list(range(1, 5)) if truncate is Truncate.END else list(range(length - 5, length - 1)))


def test_the_sum_of_tokens_is_bounded() -> None:
    assert check_total([np.zeros(3, np.int32)] * 2, max_tokens=6) == 6
    with pytest.raises(InvalidRequest, match="maximum request size is 5 tokens"):
        check_total([np.zeros(3, np.int32)] * 2, max_tokens=5)


def test_dimensions() -> None:
    assert [CARD.check_dimensions(n) for n in (None, 8, 4)] == [8, 8, 4]
    with pytest.raises(InvalidRequest, match=r"\[4, 8\]"):
        CARD.check_dimensions(5)
    with pytest.raises(InvalidRequest, match="cannot be cut"):
        ModelCard("m", "r", 8, 6, 100).check_dimensions(4)
