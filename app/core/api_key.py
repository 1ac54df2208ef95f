"""API keys: ``<prefix>_<project slug>_<secret>``.

The secret is 32 random bytes followed by a 6-byte tag: an HMAC over everything before it under
the cluster's pepper. A made-up key fails its tag inside the gateway, so guessing costs Redis
nothing; a leaked pepper costs only that saving, never a key. What is stored is the SHA-256 of
the whole key, which is enough for a secret of 256 random bits.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass

SECRET_BYTES = 32
_TAG_BYTES = 6
_SECRET_CHARS = 61  # 38 bytes in base32 without padding
_SLUG = r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?"
SLUG_PATTERN = rf"^{_SLUG}$"
PREFIX_PATTERN = r"^[a-z][a-z0-9]{0,11}$"
_KEY_RE = re.compile(rf"^([a-z][a-z0-9]{{0,11}})_({_SLUG})_([a-z2-7]{{{_SECRET_CHARS}}})\Z")


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """A well-formed key as a caller sent it.

    Attributes:
        slug: the project it claims to belong to.
        key_id: public name of the key, derived from its hash.
        digest: hex SHA-256 of the whole key; what is stored and compared.
    """

    slug: str
    key_id: str
    digest: str


def mint(*, prefix: str, slug: str, secret: bytes, pepper: bytes) -> str:
    """Make a key from 32 fresh random bytes.

    Raises:
        ValueError: the secret is not 32 bytes long, or prefix or slug are not well formed.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, got {len(secret)}")
    if not re.match(PREFIX_PATTERN, prefix) or not re.match(SLUG_PATTERN, slug):
        raise ValueError("prefix and slug must be lower-case letters, digits and (slug only) inner dashes")
    tail = base64.b32encode(secret + _tag(prefix, slug, secret, pepper)).decode().rstrip("=").lower()
    return f"{prefix}_{slug}_{tail}"


def read(presented: str, *, pepper: bytes) -> PresentedKey | None:
    """Take a presented key apart; None when it cannot have been minted with this pepper."""
    match = _KEY_RE.match(presented)
    if match is None:
        return None
    prefix, slug, tail = match.groups()
    raw = base64.b32decode(tail.upper() + "=" * (-len(tail) % 8))
    secret, tag = raw[:SECRET_BYTES], raw[SECRET_BYTES:]
    if not hmac.compare_digest(tag, _tag(prefix, slug, secret, pepper)):
        return None
    return PresentedKey(slug=slug, key_id=key_id_of(presented), digest=digest_of(presented))


def digest_of(api_key: str) -> str:
    """Hex SHA-256 of a key: 64 characters."""
    return hashlib.sha256(api_key.encode()).hexdigest()


def key_id_of(api_key: str) -> str:
    """The key's public name: 96 bits of its hash, so that a key finds its own record."""
    return f"key_{digest_of(api_key)[:24]}"


def _tag(prefix: str, slug: str, secret: bytes, pepper: bytes) -> bytes:
    message = f"{prefix}_{slug}_".encode() + secret
    return hmac.digest(pepper, message, "sha256")[:_TAG_BYTES]
