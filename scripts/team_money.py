"""A team's money in the database: a cap, spend as finance books it, and what is spent and held."""

import asyncio
import time
import uuid
from datetime import UTC, datetime
from decimal import Decimal

from gateway.domain.clock import month_of
from gateway.postgres.connection import Connection

HELD_NOTHING_WITHIN_S = 3.0


async def make_team(database: Connection, *, enforcement: str, cap_usd: Decimal) -> int:
    """A team that has spent 99 % of its cap, by an adjustment of finance's own making."""
    team_id = await database.fetchval(
        "INSERT INTO ledger.team (name, monthly_cap_usd, enforcement) VALUES ($1, $2, $3) "
        "RETURNING team_id",
        f"trial {uuid.uuid4()}",
        cap_usd,
        enforcement,
    )
    await spend(database, team_id, cap_usd * Decimal("0.99"))
    return int(team_id)


async def spend(
    database: Connection, team_id: int, amount_usd: Decimal, at: datetime | None = None
) -> None:
    """Book an amount as an adjustment would, rows and total together."""
    month = month_of(at or datetime.now(UTC))
    async with database.transaction():
        await database.execute("SELECT ledger.ensure_month($1)", month)
        await database.execute(
            "INSERT INTO ledger.ledger_entry (entry_id, month, team_id, occurred_at, entry_type, "
            "amount_usd, reason, recorded_by) "
            "VALUES ($1, $2, $3, now(), 'adjustment', $4, 'spent before', 'trial')",
            uuid.uuid4(),
            month,
            team_id,
            amount_usd,
        )
        await database.execute(
            "INSERT INTO ledger.team_month_spend AS t (team_id, month, spend_usd, entry_count) "
            "VALUES ($1, $2, $3, 1) ON CONFLICT (team_id, month) DO UPDATE "
            "SET spend_usd = t.spend_usd + EXCLUDED.spend_usd, entry_count = t.entry_count + 1",
            team_id,
            month,
            amount_usd,
        )


async def spent_usd(database: Connection, team_id: int) -> Decimal:
    return Decimal(
        await database.fetchval(
            "SELECT coalesce(sum(spend_usd), 0) FROM ledger.team_month_spend WHERE team_id = $1",
            team_id,
        )
    )


async def held_usd(database: Connection, team_id: int) -> Decimal:
    return Decimal(
        await database.fetchval(
            "SELECT ledger.held_usd($1, $2)", team_id, month_of(datetime.now(UTC))
        )
    )


async def wait_for_no_holds(database: Connection, team_id: int) -> float | None:
    """How long it took until nothing was held; None where it did not happen."""
    started_s = time.monotonic()
    while await held_usd(database, team_id):
        if time.monotonic() - started_s > HELD_NOTHING_WITHIN_S:
            return None
        await asyncio.sleep(0.02)
    return time.monotonic() - started_s
