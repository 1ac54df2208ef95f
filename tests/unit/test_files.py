"""Names, ids and fields of uploads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import InvalidRequest
from app.core.files import Utf8Check, check_terms, clean_name
from app.core.timed_id import FILE_IDS


@given(st.text())
def test_a_clean_name_can_stand_in_a_header_and_names_no_folder(name: str) -> None:
    clean = clean_name(name)
    assert 1 <= len(clean) <= 255
    assert not set(clean) & set('/\\"\r\n\0')
    assert clean not in (".", "..")


@given(st.integers(0, 2**47), st.binary(min_size=12, max_size=12))
def test_ids_sort_by_time(now_ms: int, random: bytes) -> None:
    first = FILE_IDS.new(now_ms=now_ms, random=random)
    assert FILE_IDS.could_be(first)
    assert first < FILE_IDS.new(now_ms=now_ms + 1, random=bytes(12))
    assert not FILE_IDS.could_be(first + "\n")
    assert not FILE_IDS.could_be(first.upper())


@given(st.text(), st.lists(st.integers(1, 5), max_size=30), st.binary(max_size=3))
def test_utf8_is_seen_however_it_is_cut(text: str, cuts: list[int], tail: bytes) -> None:
    content = text.encode("utf-8", "replace") + tail
    check = Utf8Check()
    rest = content
    for cut in cuts:
        check.feed(rest[:cut])
        rest = rest[cut:]
    check.feed(rest, last=True)
    try:
        content.decode()
        valid = True
    except UnicodeDecodeError:
        valid = False
    assert check.is_valid is valid


@pytest.mark.parametrize(("seconds", "life_s"), [(None, 2_592_000), ("3600", 3600), ("2592000", 2_592_000)])
def test_a_life_may_be_named(seconds: str | None, life_s: int) -> None:
    terms = check_terms(purpose="batch", filename="A.JSONL", anchor="created_at", expires_after_s=seconds)
    assert (terms.life_s, terms.filename) == (life_s, "A.JSONL")


@pytest.mark.parametrize("seconds", ["", "-1", "3599", "2592001", "3600.0", "1" * 30, "٣٦٠٠"])
def test_a_life_is_bounded(seconds: str) -> None:
    with pytest.raises(InvalidRequest):
        check_terms(purpose="batch", filename="a.jsonl", expires_after_s=seconds)
