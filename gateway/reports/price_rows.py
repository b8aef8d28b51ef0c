"""Prices out of `ledger.price`: what the operator set, for the price book; all rows, for people."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from gateway.postgres.connection import Connection, DedicatedConnection
from gateway.postgres.sql import load_queries
from gateway.pricing.overrides import PriceOverride

_QUERIES = load_queries(Path(__file__).parent / "queries")
_TIMEOUT_S = 5.0


class PriceRows:
    """The operator's prices for a running gateway.

    Read them again when channel `gateway_price` says that one was set, and now and then, since a
    notification can be lost.
    """

    def __init__(self, connection: DedicatedConnection) -> None:
        self._connection = connection

    async def load(self) -> list[PriceOverride]:
        """All prices that were ever set, in order of time.

        Raises:
            INFRASTRUCTURE_ERRORS: the database cannot be read now.
        """
        async with self._connection.use(timeout_s=_TIMEOUT_S) as connection:
            return await set_prices(connection)


async def set_prices(connection: Connection) -> list[PriceOverride]:
    """All prices that the operator ever set; the price book picks by date."""
    return [
        PriceOverride(
            provider=row["provider"],
            model=row["model"],
            starts_at=row["effective_from"],
            input_usd=row["input_usd_per_mtok"],
            output_usd=row["output_usd_per_mtok"],
            cache_read_usd=row["cache_read_usd_per_mtok"],
            cache_write_5m_usd=row["cache_write_5m_usd_per_mtok"],
            cache_write_1h_usd=row["cache_write_1h_usd_per_mtok"],
            request_usd=row["request_usd"],
            web_search_usd=row["web_search_usd"],
        )
        for row in await connection.fetch(_QUERIES["set_prices"])
    ]


async def prices_in_force(
    connection: Connection, *, at: datetime, provider: str | None, only_set: bool
) -> list[Mapping[str, object]]:
    """One row a provider, model and tier; USD per million tokens."""
    rows = await connection.fetch(_QUERIES["prices_in_force"], at, provider, only_set)
    return [dict(row) for row in rows]


async def price_history(
    connection: Connection, *, model: str, provider: str | None
) -> list[Mapping[str, object]]:
    """Every row of a model's own name, published and set, the newest first."""
    rows = await connection.fetch(_QUERIES["price_history"], model, provider)
    return [dict(row) for row in rows]
