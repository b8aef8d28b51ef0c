"""`gateway budget`: set and show caps."""

from decimal import Decimal
from typing import Literal

import asyncpg
import click

from gateway.cli.amounts import CAP_OR_NONE, SHARE
from gateway.cli.printing import print_json, print_rows, say
from gateway.cli.session import CommandError, Row, json_option, query, team_id_of
from gateway.domain.budget import Enforcement

_SET = """
UPDATE ledger.team SET monthly_cap_usd = $2,
    warn_at = coalesce($3, warn_at), engage_at = coalesce($4, engage_at),
    enforcement = coalesce($5, enforcement)
WHERE team_id = $1
"""
# The forecast goes on as the month has gone so far; it says nothing on the first minutes of it.
_SHOW = """
SELECT b.team, b.cap_usd, b.spend_usd, b.held_usd, b.remaining_usd, b.status,
       to_char((b.month + interval '1 month'), 'YYYY-MM-DD"T"00:00:00"Z"') AS resets_at,
       round(b.spend_usd * extract(epoch FROM (b.month + interval '1 month') - b.month)
             / greatest(extract(epoch FROM (now() AT TIME ZONE 'UTC') - b.month), 3600), 2)
           AS forecast_usd
FROM ledger.budget_status b WHERE $1::text IS NULL OR b.team = $1 ORDER BY b.team
"""


@click.group()
def budget() -> None:
    """Budgets: how much a team may spend in a month."""


@budget.command("set")
@click.option("--team", "team_name", required=True)
@click.option("--cap", type=CAP_OR_NONE, required=True, help="USD a month, or none.")
@click.option("--warn-at", type=SHARE, help="Share of the cap at which the status is warn.")
@click.option("--engage-at", type=SHARE, help="Share at which Save Mode engages.")
@click.option("--enforcement", type=click.Choice([choice.value for choice in Enforcement]))
@click.option("--reason", help="Stands in the audit of caps.")
@json_option
def set_budget(
    *,
    team_name: str,
    cap: Decimal | Literal["none"],
    warn_at: Decimal | None,
    engage_at: Decimal | None,
    enforcement: str | None,
    reason: str | None,
    as_json: bool,
) -> None:
    """Set a cap; it binds on every worker within a second."""
    cap_usd = None if cap == "none" else cap

    async def work(connection: asyncpg.Connection) -> None:
        team_id = await team_id_of(connection, team_name)
        async with connection.transaction():
            await connection.execute("SELECT set_config('ledger.reason', $1, true)", reason or "")
            try:
                await connection.execute(_SET, team_id, cap_usd, warn_at, engage_at, enforcement)
            except asyncpg.CheckViolationError as exc:
                raise CommandError(
                    "thresholds are shares of the cap, above 0 and at most 1, warn before engage",
                    status=2,
                ) from exc

    query(work)
    if as_json:
        print_json({"team": team_name, "cap_usd": cap_usd})
    else:
        shown = "no cap" if cap_usd is None else f"a cap of ${cap_usd:f} a month"
        say(f"{team_name}: {shown}")


@budget.command("show")
@click.option("--team", "team_name")
@json_option
def show(team_name: str | None, as_json: bool) -> None:
    """Cap, spend, held, remaining, status, reset and forecast."""

    async def work(connection: asyncpg.Connection) -> list[Row]:
        if team_name is not None:
            await team_id_of(connection, team_name)
        return [dict(row) for row in await connection.fetch(_SHOW, team_name)]

    print_rows(query(work), as_json=as_json, empty="No teams: `gateway team create NAME`.")
