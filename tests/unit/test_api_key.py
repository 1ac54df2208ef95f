import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.api_key import SLUG_PATTERN, digest_of, key_id_of, mint, read

PEPPER = b"p" * 32
SECRET = bytes(range(32))
slugs = st.from_regex(SLUG_PATTERN, fullmatch=True)


@given(slugs, st.binary(min_size=32, max_size=32), st.binary(min_size=1, max_size=64))
def test_a_minted_key_reads_back(slug: str, secret: bytes, pepper: bytes) -> None:
    key = mint(prefix="eg", slug=slug, secret=secret, pepper=pepper)
    presented = read(key, pepper=pepper)
    assert presented is not None
    assert (presented.slug, presented.digest, presented.key_id) == (slug, digest_of(key), key_id_of(key))


@given(st.data())
def test_any_changed_character_fails_the_tag(data: st.DataObject) -> None:
    key = mint(prefix="eg", slug="demo", secret=SECRET, pepper=PEPPER)
    place = data.draw(st.integers(0, len(key) - 2))  # the last character carries unused bits
    other = data.draw(st.characters(min_codepoint=32, max_codepoint=126).filter(lambda c: c != key[place]))
    assert read(key[:place] + other + key[place + 1 :], pepper=PEPPER) is None


def test_unused_bits_of_the_last_character_give_no_second_key() -> None:
    key = mint(prefix="eg", slug="demo", secret=SECRET, pepper=PEPPER)
    twins = [key[:-1] + c for c in "abcdefghijklmnopqrstuvwxyz234567" if c != key[-1]]
    assert all(twin_digest != digest_of(key) for twin_digest in map(digest_of, twins))


def test_another_clusters_key_is_refused_without_a_look_up() -> None:
    assert read(mint(prefix="eg", slug="demo", secret=SECRET, pepper=b"other"), pepper=PEPPER) is None


@pytest.mark.parametrize(
    "bad", ["", "eg_demo", "eg_demo_", "sk-123", "eg_DEMO_" + "a" * 61, "eg_demo_" + "a" * 61 + "\n"]
)
def test_malformed_keys(bad: str) -> None:
    assert read(bad, pepper=PEPPER) is None


def test_a_secret_has_256_bits() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        mint(prefix="eg", slug="demo", secret=b"short", pepper=PEPPER)
