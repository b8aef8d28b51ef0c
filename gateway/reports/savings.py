"""What Save Mode cost and saved, from the ledger's own rows; docs/finance.md has the rule."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

from gateway.postgres.connection import Connection
from gateway.postgres.sql import load_queries

_QUERIES = load_queries(Path(__file__).parent / "queries")


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """One team and product: what one-hour writes cost over five-minute ones, and what they spared.

    `without_rates` counts calls whose row does not say at which rates: they are in neither amount.
    """

    team: str
    product: str
    upgraded_requests: int
    written_1h_tokens: int
    rewrites_avoided: int
    avoided_tokens: int
    cost_usd: Decimal
    saving_usd: Decimal
    without_rates: int

    @property
    def net_usd(self) -> Decimal:
        return self.saving_usd - self.cost_usd


async def savings_of(connection: Connection, *, month: date) -> list[Saving]:
    """Only teams and products with a call that was upgraded."""
    return [Saving(**dict(row)) for row in await connection.fetch(_QUERIES["savings"], month)]
