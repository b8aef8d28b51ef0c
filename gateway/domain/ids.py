"""Identifiers: time-ordered UUIDs for entries, and a type for each kind of id."""

import os
import uuid
from typing import NewType

from gateway.domain.clock import Clock

TeamId = NewType("TeamId", int)
ApiKeyId = NewType("ApiKeyId", int)
EntryId = NewType("EntryId", str)
"""A UUID as text, in lower case with its hyphens: it is written far more often than computed."""

_RANDOM_BYTES = 10
_VARIANTS = "89ab"


def new_entry_id(clock: Clock) -> EntryId:
    """Make a UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits.

    Time-ordered ids keep the ledger's index appends local: random ones cost twice the CPU.
    """
    ms = f"{int(clock.now().timestamp() * 1000):012x}"
    random = os.urandom(_RANDOM_BYTES)
    digits = random.hex()
    variant = _VARIANTS[random[-1] & 3]
    return EntryId(f"{ms[:8]}-{ms[8:]}-7{digits[:3]}-{variant}{digits[3:6]}-{digits[6:18]}")


def new_uuid(clock: Clock) -> uuid.UUID:
    """The same as an object, for what is not made once a request."""
    return uuid.UUID(new_entry_id(clock))


def entry_id_from(text: str) -> EntryId:
    """The id that a text spells.

    Raises:
        ValueError: it is no UUID.
    """
    return EntryId(str(uuid.UUID(text)))
