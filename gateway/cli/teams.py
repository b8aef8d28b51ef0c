"""`gateway team`: make, list and archive teams."""

from decimal import Decimal
from typing import Literal

import asyncpg
import click

from gateway.cli.amounts import CAP_OR_NONE
from gateway.cli.printing import print_json, print_rows, say
from gateway.cli.session import CommandError, Row, json_option, query, team_id_of


@click.group()
def team() -> None:
    """Teams: who pays."""


@team.command("create")
@click.argument("name")
@click.option("--cap", type=CAP_OR_NONE, help="Monthly cap in USD, or none.")
@json_option
def create(name: str, cap: Decimal | Literal["none"] | None, as_json: bool) -> None:
    """Make a team."""
    cap_usd = None if cap == "none" else cap

    async def work(connection: asyncpg.Connection) -> int:
        try:
            return int(
                await connection.fetchval(
                    "INSERT INTO ledger.team (name, monthly_cap_usd) VALUES ($1, $2) "
                    "RETURNING team_id",
                    name,
                    cap_usd,
                )
            )
        except asyncpg.UniqueViolationError as exc:
            raise CommandError(f"there is a team {name!r} already") from exc
        except asyncpg.CheckViolationError as exc:
            raise CommandError(
                "a team's name has 1 to 200 characters that can be printed", status=2
            ) from exc

    team_id = query(work)
    if as_json:
        print_json({"team_id": team_id, "name": name, "monthly_cap_usd": cap_usd})
    else:
        say(f"team {name} ({team_id})")


@team.command("list")
@json_option
def list_teams(as_json: bool) -> None:
    """Every team, archived ones included."""

    async def work(connection: asyncpg.Connection) -> list[Row]:
        rows = await connection.fetch(
            "SELECT name AS team, team_id, monthly_cap_usd, enforcement, save_mode, archived_at "
            "FROM ledger.team ORDER BY name"
        )
        return [dict(row) for row in rows]

    print_rows(query(work), as_json=as_json, empty="No teams: `gateway team create NAME`.")


@team.command("archive")
@click.argument("name")
@json_option
def archive(name: str, as_json: bool) -> None:
    """Archive a team: its keys stop working, its entries stay."""

    async def work(connection: asyncpg.Connection) -> None:
        team_id = await team_id_of(connection, name)
        await connection.execute(
            "UPDATE ledger.team SET archived_at = coalesce(archived_at, now()) WHERE team_id = $1",
            team_id,
        )

    query(work)
    if as_json:
        print_json({"team": name, "archived": True})
    else:
        say(f"archived {name}")
