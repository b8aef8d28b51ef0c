"""Identifiers: time-ordered UUIDs for entries, and a type for each kind of id."""

import os
import uuid
from typing import NewType

from gateway.domain.clock import Clock

TeamId = NewType("TeamId", int)
ApiKeyId = NewType("ApiKeyId", int)
EntryId = NewType("EntryId", uuid.UUID)

_RANDOM_BYTES = 10
_LOW_62_BITS = (1 << 62) - 1


def new_entry_id(clock: Clock) -> EntryId:
    """Make a UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits.

    Time-ordered ids keep the ledger's index appends local: random ones cost twice the CPU.
    """
    unix_ms = int(clock.now().timestamp() * 1000)
    random = int.from_bytes(os.urandom(_RANDOM_BYTES))
    return EntryId(
        uuid.UUID(
            int=(unix_ms << 80)
            | (0x7 << 76)
            | ((random >> 68 & 0xFFF) << 64)
            | (0b10 << 62)
            | (random & _LOW_62_BITS)
        )
    )
