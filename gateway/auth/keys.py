"""Virtual keys: how one is made, what is stored of it, and what may be one at all."""

import hashlib
import re
import secrets

# 256 random bits: far more than anyone can guess, so that one round of SHA-256 is enough.
_RANDOM_BYTES = 32
_PREFIX_LENGTH = 11
_KEY_LENGTH_MAX = 256
# Visible ASCII alone: what a header can carry without two readings.
_key = re.compile(rf"gw_[\x21-\x7e]{{1,{_KEY_LENGTH_MAX - 3}}}").fullmatch


def new_key() -> str:
    """A key as clients send it; whoever makes it shows it once and stores its hash."""
    return f"gw_{secrets.token_urlsafe(_RANDOM_BYTES)}"


def hash_key(text: str) -> bytes:
    """SHA-256 of the whole key: 32 bytes, the only form in which a key is stored."""
    return hashlib.sha256(text.encode()).digest()


def prefix_of(text: str) -> str:
    """The part of a key that may be shown, in lists and in logs."""
    return text[:_PREFIX_LENGTH]


def is_well_formed(text: str) -> bool:
    """Whether this may be a key; anything else is refused without asking the database."""
    return _key(text) is not None
