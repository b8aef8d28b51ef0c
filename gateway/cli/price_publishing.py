"""Fills `ledger.price` from the pinned price data: what is new becomes a row, nothing is edited."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import astuple
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from gateway.config_settings import PROVIDERS
from gateway.domain.clock import SystemClock
from gateway.postgres.connection import Connection, connect
from gateway.postgres.sql import load_queries
from gateway.pricing.published import PUBLISHED_SOURCE, PublishedPrice, published_prices

_REPORT_QUERIES = load_queries(Path(__file__).parents[1] / "reports" / "queries")
# Of the ledger's advisory locks the next free one: two commands at once fill in once.
_LOCK_KEY = 8171005
_PUBLISHING_PROVIDERS = (*PROVIDERS, "bedrock")
_COLUMNS = (
    "provider",
    "model",
    "above_prompt_tokens",
    "effective_from",
    "input_usd_per_mtok",
    "output_usd_per_mtok",
    "cache_read_usd_per_mtok",
    "cache_write_5m_usd_per_mtok",
    "cache_write_1h_usd_per_mtok",
    "request_usd",
    "web_search_usd",
)


class _Key(NamedTuple):
    provider: str
    model: str
    above_prompt_tokens: int


_Rates = tuple[object, ...]
_Timeline = list[tuple[datetime, _Rates]]


def publish_prices(url: str) -> int:
    """Bring the published rows up to the pinned data, blocking; returns how many are new."""

    async def run() -> int:
        connection = await connect(url, application_name="gateway-prices")
        try:
            return await publish_prices_on(connection, now=SystemClock().now())
        finally:
            await connection.close()

    return asyncio.run(run())


async def publish_prices_on(connection: Connection, *, now: datetime) -> int:
    """The same on a connection.

    A model that is new gets its whole history. Where the data says another price than the rows for
    what is in force, the new one holds from `now` on: the past was charged at the old.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1, 0)", _LOCK_KEY)
        known = await _known(connection)
        new = list(_new_rows(published_prices(_PUBLISHING_PROVIDERS), known, now))
        if new:
            await connection.copy_records_to_table(
                "price",
                schema_name="ledger",
                columns=[*_COLUMNS, "source", "is_published"],
                records=[(*key, at, *rates, PUBLISHED_SOURCE, True) for key, at, rates in new],
            )
    return len(new)


async def _known(connection: Connection) -> dict[_Key, _Timeline]:
    known: dict[_Key, _Timeline] = {}
    for row in await connection.fetch(_REPORT_QUERIES["published_prices"]):
        key = _Key(row["provider"], row["model"], row["above_prompt_tokens"])
        known.setdefault(key, []).append((row["effective_from"], tuple(row.values())[4:]))
    return known


def _new_rows(
    prices: Iterable[PublishedPrice], known: dict[_Key, _Timeline], now: datetime
) -> Iterator[tuple[_Key, datetime, _Rates]]:
    by_key: dict[_Key, _Timeline] = {}
    for price in prices:
        key = _Key(price.provider, price.model, price.above_prompt_tokens)
        by_key.setdefault(key, []).append((price.starts_at, astuple(price.rates)))
    for key, wanted in by_key.items():
        had = known.get(key)
        for at, rates in wanted if had is None else _from_now_on(wanted, now):
            timeline = known.setdefault(key, [])
            if _in_force(timeline, at) != rates:
                timeline.append((at, rates))
                yield key, at, rates


def _from_now_on(timeline: _Timeline, now: datetime) -> _Timeline:
    current = _in_force(timeline, now)
    later = [(at, rates) for at, rates in timeline if at > now]
    return later if current is None else [(now, current), *later]


def _in_force(timeline: _Timeline, at: datetime) -> _Rates | None:
    """The last row that began; later rows of the same instant win."""
    begun = [(each, position) for position, (each, _) in enumerate(timeline) if each <= at]
    return timeline[max(begun)[1]][1] if begun else None
