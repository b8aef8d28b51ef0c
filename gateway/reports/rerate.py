"""Entries that were charged at a ceiling, and what they cost by the prices of today."""

import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import asyncpg
import orjson
from msgspec.structs import replace

from gateway.domain.money import usd_from_pico
from gateway.domain.request import RequestFacts
from gateway.domain.usage import (
    FOLDED_COUNTS,
    Measurement,
    PriceSelectors,
    Usage,
    UsagePart,
    UsageSource,
)
from gateway.postgres.connection import Connection
from gateway.postgres.sql import load_queries
from gateway.pricing.book import PriceBook
from gateway.pricing.compile import plain_decimal

_QUERIES = load_queries(Path(__file__).parent / "queries")
_ROWS_A_READ = 1000
_VERSION_7 = 7
# An arbitrary namespace of ours: a correction's id follows from its entry's, so that it posts once.
_NAMESPACE = uuid.UUID("67617465-7761-7920-8e72-657261746564")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerating:
    """One entry's correction: `difference_usd` is to be booked under `correction_id`."""

    correction_id: uuid.UUID
    entry_id: uuid.UUID
    team_id: int
    team: str
    provider: str
    model: str
    charged_usd: Decimal
    difference_usd: Decimal
    price_version: str


async def reratings(
    connection: Connection, book: PriceBook, *, month: date
) -> AsyncIterator[Rerating]:
    """Corrections that a month still needs; an entry that has one, or has no price yet, is passed.

    The work of several models counts as the answer's own: the ledger's row has it so.
    """
    last = uuid.UUID(int=0)
    while True:
        rows = await connection.fetch(_QUERIES["ceiling_entries"], month, last, _ROWS_A_READ)
        for row in rows:
            found = _rerated(row, book)
            if found is not None and not await _is_corrected(connection, found):
                yield found
        if len(rows) < _ROWS_A_READ:
            return
        last = rows[-1]["entry_id"]


def correction_id(entry_id: uuid.UUID) -> uuid.UUID:
    return uuid.uuid5(_NAMESPACE, str(entry_id))


async def _is_corrected(connection: Connection, rerating: Rerating) -> bool:
    return bool(await connection.fetchval(_QUERIES["entry_exists"], rerating.correction_id))


def _rerated(row: asyncpg.Record, book: PriceBook) -> Rerating | None:
    detail = orjson.loads(row["detail"] or "{}")
    measurement = Measurement(
        parts=(UsagePart(model=None, usage=_usage(row, detail.get("counts") or {})),),
        source=UsageSource(row["usage_source"]),
        response_model=row["response_model"],
        selectors=PriceSelectors(
            service_tier=detail.get("service_tier"),
            speed=detail.get("speed"),
            inference_geo=detail.get("inference_geo"),
        ),
    )
    charge = book.charge(
        provider=row["provider"],
        request_model=row["request_model"],
        measurement=measurement,
        facts=RequestFacts(model=row["request_model"], is_streaming=False, body_bytes=0),
        at=admitted_at(row["entry_id"]) or row["occurred_at"],
    )
    exact_usd = usd_from_pico(charge.amounts.total_pico_usd) - row["amount_usd"]
    difference_usd = Decimal(plain_decimal(exact_usd))
    if charge.is_ceiling or difference_usd == 0:
        return None
    return Rerating(
        correction_id=correction_id(row["entry_id"]),
        entry_id=row["entry_id"],
        team_id=row["team_id"],
        team=row["team"],
        provider=row["provider"],
        model=row["response_model"] or row["request_model"],
        charged_usd=row["amount_usd"],
        difference_usd=difference_usd,
        price_version=charge.price_version,
    )


def _usage(row: asyncpg.Record, counts: Mapping[str, object]) -> Usage:
    """The row's counts, and out of them those that it holds together."""
    apart = {
        name: count
        for name in FOLDED_COUNTS
        if isinstance(count := counts.get(name), int) and count > 0
    }
    folded = Usage(**apart)
    return replace(
        folded,
        input_uncached_tokens=row["input_uncached_tokens"]
        - folded.input_audio_tokens
        - folded.input_image_tokens,
        cache_read_tokens=row["cache_read_tokens"] - folded.cache_read_audio_tokens,
        cache_write_5m_tokens=row["cache_write_5m_tokens"] - folded.cache_write_unsplit_tokens,
        cache_write_1h_tokens=row["cache_write_1h_tokens"],
        output_tokens=row["output_tokens"]
        - folded.output_audio_tokens
        - folded.output_image_tokens
        - folded.output_video_tokens,
        reasoning_tokens=row["reasoning_tokens"],
        web_search_requests=row["web_search_requests"] - folded.web_search_preview_requests,
    )


def admitted_at(entry_id: uuid.UUID) -> datetime | None:
    """When the request began, which is what its price is of; None where the id does not tell."""
    if entry_id.version != _VERSION_7:
        return None
    return datetime.fromtimestamp((entry_id.int >> 80) / 1000, UTC)
