"""A provider's own bill against the ledger, day by day."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from gateway.domain.clock import month_end
from gateway.postgres.connection import Connection
from gateway.postgres.sql import load_queries

_QUERIES = load_queries(Path(__file__).parent / "queries")
_NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayComparison:
    """One UTC day; `difference_usd` above 0: the provider asks for more than the ledger has."""

    day: date
    provider_usd: Decimal
    ledger_usd: Decimal

    @property
    def difference_usd(self) -> Decimal:
        return self.provider_usd - self.ledger_usd


async def ledger_days(connection: Connection, *, provider: str, month: date) -> dict[date, Decimal]:
    """What the ledger has for a provider, by the day on which a call ended.

    A correction counts on the day of the entry that it corrects; credits, which no provider knows
    of, do not count.
    """
    rows = await connection.fetch(_QUERIES["provider_days"], provider, month)
    return {row["day"]: row["spend_usd"] for row in rows}


def compared(
    provider: Mapping[date, Decimal], ledger: Mapping[date, Decimal], *, month: date
) -> list[DayComparison]:
    """One row for each day of the month on which either side has something."""
    days = (month_end(month).date() - month).days
    return [
        DayComparison(
            day=day,
            provider_usd=provider.get(day, _NOTHING),
            ledger_usd=ledger.get(day, _NOTHING),
        )
        for day in (month + timedelta(days=n) for n in range(days))
        if day in provider or day in ledger
    ]
