"""`gateway savings`: what Save Mode cost and saved, by team and product."""

from datetime import date

import asyncpg
import click

from gateway.cli.amounts import MONTH
from gateway.cli.printing import print_rows
from gateway.cli.session import json_option, query
from gateway.domain.clock import SystemClock, month_of
from gateway.reports.savings import Saving, savings_of


@click.command()
@click.option("--month", type=MONTH, help="YYYY-MM; default: this month, UTC.")
@json_option
def savings(month: date | None, as_json: bool) -> None:
    """Cost of one-hour cache writes, re-writes that they made unnecessary, and the net."""
    chosen = month or month_of(SystemClock().now())

    async def work(connection: asyncpg.Connection) -> list[Saving]:
        return await savings_of(connection, month=chosen)

    rows = [
        {
            "team": each.team,
            "product": each.product,
            "upgraded_requests": each.upgraded_requests,
            "written_1h_tokens": each.written_1h_tokens,
            "rewrites_avoided": each.rewrites_avoided,
            "avoided_tokens": each.avoided_tokens,
            "cost_usd": each.cost_usd,
            "saving_usd": each.saving_usd,
            "net_usd": each.net_usd,
            "without_rates": each.without_rates,
        }
        for each in query(work)
    ]
    print_rows(rows, as_json=as_json, empty=f"Save Mode upgraded nothing in {chosen:%Y-%m}.")
