"""The month at a glance: teams against their caps, days, models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from gateway.domain.errors import LedgerUnavailableError
from gateway.postgres.connection import DedicatedConnection
from gateway.postgres.errors import INFRASTRUCTURE_ERRORS
from gateway.postgres.sql import load_queries

_QUERIES = load_queries(Path(__file__).parent / "queries")
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Rows as the queries name them; amounts are exact dollars."""

    month: date
    teams: Sequence[Mapping[str, object]]
    days: Sequence[Mapping[str, object]]
    models: Sequence[Mapping[str, object]]


class OverviewReport:
    """Reads over a connection of its own."""

    def __init__(self, connection: DedicatedConnection) -> None:
        self._connection = connection

    async def read(self, month: date) -> Overview:
        """The month so far.

        Raises:
            LedgerUnavailableError: the database cannot be read now.
        """
        try:
            async with self._connection.use(timeout_s=_TIMEOUT_S) as connection:
                teams = await connection.fetch(_QUERIES["overview_teams"])
                days = await connection.fetch(_QUERIES["overview_days"], month)
                models = await connection.fetch(_QUERIES["overview_models"], month)
        except INFRASTRUCTURE_ERRORS as exc:
            raise LedgerUnavailableError("The ledger cannot be read right now.") from exc
        return Overview(
            month=month,
            teams=[dict(row) for row in teams],
            days=[dict(row) for row in days],
            models=[dict(row) for row in models],
        )
