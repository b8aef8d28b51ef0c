"""Posts entries into the ledger; the few that it will never take become dead letters."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg
import structlog

from gateway.domain.budget import PostedTotal
from gateway.domain.entry import Entry
from gateway.domain.ids import TeamId
from gateway.ledger.columns import columns_of
from gateway.ledger.journal_codec import encode_entry, storable
from gateway.postgres.connection import DedicatedConnection
from gateway.postgres.errors import DATA_ERRORS
from gateway.postgres.sql import load_queries

_log = structlog.get_logger("gateway.ledger")
QUERIES: Final = load_queries(Path(__file__).parent / "queries")
# Beyond the data itself: JSON nested so deep that the server's parser gives up.
POISON_ERRORS: Final[tuple[type[Exception], ...]] = (
    *DATA_ERRORS,
    asyncpg.ProgramLimitExceededError,
)
# Halve the batch: one row of it is poison, or wants to be alone.
_SPLIT_ERRORS: Final[tuple[type[Exception], ...]] = (*POISON_ERRORS, asyncpg.SerializationError)
_ERROR_CHARACTERS_MAX = 500
# Values written in one go: some 0.2 ms, so that no running stream waits longer for the loop.
_SLICE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """What became of a batch: `inserted` of its `entries` were new, the rest were there."""

    totals: list[PostedTotal] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    inserted: int = 0
    dead_count: int = 0


async def post(
    connection: DedicatedConnection,
    writer_id: uuid.UUID,
    entries: Sequence[Entry],
    *,
    timeout_s: float,
) -> Posting:
    """Post a batch, halving it until each row that cannot be posted is alone.

    So is one that the database wants apart from others (`SerializationError`).
    Idempotent: where an error leaves the outcome unknown, send the same entries again.

    Raises:
        Exception: whatever the driver raised; `timeout_s` is for each statement.
    """
    totals: dict[tuple[int, object], PostedTotal] = {}
    posted: list[Entry] = []
    inserted = dead_count = 0
    parts = [list(entries)]
    while parts:
        part = parts.pop()
        try:
            records = await _send(connection, writer_id, part, timeout_s=timeout_s)
        except _SPLIT_ERRORS as exc:
            if len(part) > 1:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
                continue
            if isinstance(exc, asyncpg.SerializationError):
                raise
            await _bury(connection, writer_id, part[0], exc, timeout_s=timeout_s)
            dead_count += 1
            continue
        posted += part
        for record in records:
            inserted += record["inserted"]
            _add(totals, record)
    return Posting(
        totals=list(totals.values()), entries=posted, inserted=inserted, dead_count=dead_count
    )


async def put_dead_letter(
    connection: DedicatedConnection,
    writer_id: uuid.UUID,
    *,
    entry_id: str | None,
    payload: str,
    error: str,
    timeout_s: float,
) -> None:
    """Idempotent: the same letter is kept once."""
    async with connection.use(timeout_s=timeout_s) as lent:
        await lent.execute(
            QUERIES["put_dead_letter"], writer_id, entry_id, storable(payload), storable(error)
        )


async def _send(
    connection: DedicatedConnection,
    writer_id: uuid.UUID,
    entries: Sequence[Entry],
    *,
    timeout_s: float,
) -> list[asyncpg.Record]:
    columns = await _columns_in_slices(entries)
    async with connection.use(timeout_s=timeout_s) as lent:
        return await lent.fetch(QUERIES["post_entries"], writer_id, *columns)


async def _columns_in_slices(entries: Sequence[Entry]) -> list[str]:
    """Raises ValueError where one of the entries holds what no row can hold."""
    columns: list[str] = []
    since_pause = 0
    try:
        for column in columns_of(entries):
            columns.append(column)
            since_pause += len(entries)
            if since_pause >= _SLICE:
                since_pause = 0
                await asyncio.sleep(0)
    except Exception as exc:
        # Nothing but these rows was looked at: whatever it is, it will be the same next time.
        raise ValueError(f"{type(exc).__name__}: {exc}") from exc
    return columns


async def _bury(
    connection: DedicatedConnection,
    writer_id: uuid.UUID,
    entry: Entry,
    exc: Exception,
    *,
    timeout_s: float,
) -> None:
    # The first line: a server's details have the time in them, and the same letter is kept once.
    message = str(exc).partition("\n")[0]
    error = f"{type(exc).__name__}: {message}"[:_ERROR_CHARACTERS_MAX]
    await put_dead_letter(
        connection,
        writer_id,
        entry_id=entry.entry_id,
        payload=encode_entry(entry),
        error=error,
        timeout_s=timeout_s,
    )
    _log.error("poster.dead_letter", entry_id=entry.entry_id, error=error)


def _add(totals: dict[tuple[int, object], PostedTotal], record: asyncpg.Record) -> None:
    """A later total replaces an earlier one; what was spent from leases adds up."""
    key = (record["team_id"], record["month"])
    leased_usd = record["leased_usd"]
    if key in totals:
        leased_usd += totals[key].leased_usd
    totals[key] = PostedTotal(
        team_id=TeamId(record["team_id"]),
        month=record["month"],
        spend_usd=record["spend_usd"],
        leased_usd=leased_usd,
    )
