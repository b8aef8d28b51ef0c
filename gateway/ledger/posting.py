"""Posts entries into the ledger; the few that it will never take become dead letters."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import structlog

from gateway.domain.budget import PostedTotal
from gateway.domain.entry import Entry
from gateway.domain.ids import TeamId
from gateway.ledger.journal_codec import encode_entry, storable, storable_json
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
    try:
        columns = _columns(entries)
    except Exception as exc:
        # Nothing but these rows was looked at: whatever it is, it will be the same next time.
        raise ValueError(f"{type(exc).__name__}: {exc}") from exc
    async with connection.use(timeout_s=timeout_s) as lent:
        return await lent.fetch(QUERIES["post_entries"], writer_id, *columns)


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


def _text(value: str | None) -> str | None:
    return None if value is None else storable(value)


def _columns(entries: Sequence[Entry]) -> list[list[Any]]:
    """One list a column, in the order of `ledger.post_entries`.

    The ledger has no columns for audio and images: their tokens go with the text that is read,
    cached or written beside them, as their amounts do; `detail` has them apart. So it has the
    seconds of sound, and the calls of tools other than searches.
    """
    usages = [entry.usage for entry in entries]
    amounts = [entry.amounts for entry in entries]
    return [
        [entry.entry_id for entry in entries],
        [entry.month for entry in entries],
        [entry.team_id for entry in entries],
        [entry.api_key_id for entry in entries],
        [storable(entry.product) for entry in entries],
        [storable(entry.provider) for entry in entries],
        [storable(entry.dialect) for entry in entries],
        [storable(entry.request_model) for entry in entries],
        [_text(entry.response_model) for entry in entries],
        [u.input_uncached_tokens + u.input_audio_tokens + u.input_image_tokens for u in usages],
        [u.cache_read_tokens + u.cache_read_audio_tokens for u in usages],
        [u.cache_write_5m_tokens + u.cache_write_unsplit_tokens for u in usages],
        [usage.cache_write_1h_tokens for usage in usages],
        [usage.all_output_tokens for usage in usages],
        [usage.reasoning_tokens for usage in usages],
        [u.web_search_requests + u.web_search_preview_requests for u in usages],
        [amount.input_pico_usd for amount in amounts],
        [amount.cache_read_pico_usd for amount in amounts],
        [amount.cache_write_pico_usd for amount in amounts],
        [amount.output_pico_usd for amount in amounts],
        [amount.request_pico_usd for amount in amounts],
        [amount.web_search_pico_usd for amount in amounts],
        [storable(entry.price_version) for entry in entries],
        [str(entry.usage_source) for entry in entries],
        [storable(entry.budget_status) for entry in entries],
        [entry.http_status for entry in entries],
        [entry.client_aborted for entry in entries],
        [_text(entry.provider_response_id) for entry in entries],
        [entry.occurred_at for entry in entries],
        [entry.hold_pico_usd for entry in entries],
        [entry.is_leased for entry in entries],
        [entry.is_ceiling for entry in entries],
        [entry.cache_ttl_upgraded for entry in entries],
        [storable_json(entry.detail) for entry in entries],
    ]
