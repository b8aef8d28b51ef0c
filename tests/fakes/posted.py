"""Entries that are on the ledger by the gateway's own posting."""

import uuid
from collections.abc import Sequence

from gateway.domain.entry import Entry
from gateway.ledger.posting import post
from gateway.postgres.connection import DedicatedConnection


async def posted(url: str, entries: Sequence[Entry]) -> None:
    connection = DedicatedConnection(url, application_name="tests-post")
    try:
        posting = await post(connection, uuid.uuid4(), entries, timeout_s=10)
        assert (posting.inserted, posting.dead_count) == (len(entries), 0)
    finally:
        await connection.close()
