"""A team's spend of a month by model, for the key that asks about itself."""

from datetime import date
from pathlib import Path

from gateway.domain.errors import LedgerUnavailableError
from gateway.domain.ids import TeamId
from gateway.postgres.connection import DedicatedConnection
from gateway.postgres.errors import INFRASTRUCTURE_ERRORS
from gateway.postgres.sql import load_queries

_QUERIES = load_queries(Path(__file__).parent / "queries")
_TIMEOUT_S = 5.0


class UsageReport:
    """Reads over a connection of its own, so that a slow report holds up nothing else."""

    def __init__(self, connection: DedicatedConnection) -> None:
        self._connection = connection

    async def by_model(self, team_id: TeamId, month: date) -> list[dict[str, object]]:
        """One line a model, the dearest first.

        Raises:
            LedgerUnavailableError: the database cannot be read now.
        """
        try:
            async with self._connection.use(timeout_s=_TIMEOUT_S) as connection:
                rows = await connection.fetch(
                    _QUERIES["team_month_by_model"], team_id, month, timeout=_TIMEOUT_S
                )
        except INFRASTRUCTURE_ERRORS as exc:
            raise LedgerUnavailableError("The ledger cannot be read right now.") from exc
        return [
            {
                "model": row["model"],
                "requests": row["requests"],
                "input_tokens": int(row["input_tokens"]),
                "output_tokens": int(row["output_tokens"]),
                "spend_usd": f"{row['spend_usd']:f}",
            }
            for row in rows
        ]
