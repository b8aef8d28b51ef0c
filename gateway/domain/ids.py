"""Identifiers: time-ordered UUIDs for entries, and a type for each kind of id."""

import os
import uuid
from collections.abc import Iterator
from typing import NewType

from gateway.domain.clock import Clock

TeamId = NewType("TeamId", int)
ApiKeyId = NewType("ApiKeyId", int)
EntryId = NewType("EntryId", str)
"""A UUID as text, in lower case with its hyphens: it is written far more often than computed."""

# Of an id; the kernel is asked for many at once, since asking costs more than they do.
_RANDOM_DIGITS = 20
_IDS_AT_ONCE = 256
_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class _Randomness:
    """Random hexadecimal digits of ids to come, none of which any other process has."""

    def __init__(self) -> None:
        self._digits: Iterator[str] = iter(())
        os.register_at_fork(after_in_child=self._forget)

    def next_digits(self) -> str:
        digits = next(self._digits, None)
        if digits is None:
            drawn = os.urandom(_IDS_AT_ONCE * _RANDOM_DIGITS // 2).hex()
            starts = range(0, len(drawn), _RANDOM_DIGITS)
            self._digits = iter([drawn[start : start + _RANDOM_DIGITS] for start in starts])
            digits = next(self._digits)
        return digits

    def _forget(self) -> None:
        self._digits = iter(())


_next_digits = _Randomness().next_digits


def new_entry_id(clock: Clock) -> EntryId:
    """Make a UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits.

    Time-ordered ids keep the ledger's index appends local: random ones cost twice the CPU.
    """
    ms = f"{int(clock.now().timestamp() * 1000):012x}"
    digits = _next_digits()
    return EntryId(
        f"{ms[:8]}-{ms[8:]}-7{digits[:3]}-{_VARIANTS[digits[19]]}{digits[3:6]}-{digits[6:18]}"
    )


def new_uuid(clock: Clock) -> uuid.UUID:
    """The same as an object, for what is not made once a request."""
    return uuid.UUID(new_entry_id(clock))


def entry_id_from(text: str) -> EntryId:
    """The id that a text spells.

    Raises:
        ValueError: it is no UUID.
    """
    return EntryId(str(uuid.UUID(text)))
