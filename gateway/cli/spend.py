"""`gateway spend`: a month's spend by team, model, key, product or day."""

import csv
import sys
from datetime import date

import asyncpg
import click

from gateway.cli.amounts import MONTH
from gateway.cli.session import Row, json_option, print_json, print_rows, query
from gateway.domain.clock import SystemClock, month_of
from gateway.reports.spend import SPEND_BY, SpendBy, spend_by


@click.command()
@click.option("--month", type=MONTH, help="YYYY-MM; default: this month, UTC.")
@click.option("--by", type=click.Choice(SPEND_BY), default="team", show_default=True)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
)
@json_option
def spend(month: date | None, by: SpendBy, output_format: str, as_json: bool) -> None:
    """What was spent, straight from the ledger's rows."""
    chosen = month or month_of(SystemClock().now())

    async def work(connection: asyncpg.Connection) -> list[Row]:
        return await spend_by(connection, month=chosen, by=by)

    rows = query(work)
    if as_json or output_format == "json":
        print_json([dict(row) for row in rows])
    elif output_format == "csv":
        _print_csv(rows)
    else:
        print_rows(rows, as_json=False, empty=f"Nothing was spent in {chosen:%Y-%m}.")


def _print_csv(rows: list[Row]) -> None:
    if not rows:
        return
    writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
