"""What tests ask of a ledger: its rows, its totals, and whether they agree."""

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from gateway.domain.entry import Settlement
from gateway.postgres.connection import Connection

MONTH = date(2026, 11, 1)
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
PICO = Decimal("1e-12")


def usd(settlements: list[Settlement]) -> Decimal:
    """The exact sum of what they cost."""
    return sum((s.entry.amounts.total_pico_usd for s in settlements), 0) * PICO


async def entry_ids(connection: Connection) -> list[str]:
    rows = await connection.fetch("SELECT entry_id FROM ledger.ledger_entry ORDER BY entry_id")
    return [str(row["entry_id"]) for row in rows]


async def rows(connection: Connection, columns: str = "*", where: str = "true") -> list[Any]:
    return await connection.fetch(
        f"SELECT {columns} FROM ledger.ledger_entry WHERE {where} ORDER BY recorded_at, entry_id"
    )


async def spend(connection: Connection, team_id: int, month: date = MONTH) -> Decimal | None:
    return await connection.fetchval(
        "SELECT spend_usd FROM ledger.team_month_spend WHERE team_id = $1 AND month = $2",
        team_id,
        month,
    )


async def dead_letters(connection: Connection) -> list[Any]:
    return await connection.fetch("SELECT * FROM ledger.dead_letter ORDER BY dead_letter_id")


async def assert_balanced(connection: Connection, settlements: list[Settlement]) -> None:
    """Exactly these are in the ledger, once each, and every total is the sum of its rows."""
    assert await entry_ids(connection) == sorted(s.entry.entry_id for s in settlements)
    accounts = await connection.fetch("SELECT * FROM ledger.reconciliation")
    assert [dict(a) for a in accounts if not a["balanced"]] == []
    assert sum((a["rows_usd"] for a in accounts), Decimal(0)) == usd(settlements)


async def lease(
    connection: Connection, writer_id: UUID, team_id: int, month: date = MONTH, granted: int = 1000
) -> None:
    await connection.execute(
        "INSERT INTO ledger.budget_lease (team_id, month, writer_id, granted_usd, expires_at) "
        "VALUES ($1, $2, $3, $4, now() + interval '1 hour')",
        team_id,
        month,
        writer_id,
        granted,
    )


async def consumed(connection: Connection, writer_id: UUID) -> dict[int, Decimal]:
    found = await connection.fetch(
        "SELECT team_id, consumed_usd FROM ledger.budget_lease WHERE writer_id = $1", writer_id
    )
    return {row["team_id"]: row["consumed_usd"] for row in found}
