"""`gateway ledger`: export and correct it; is every row in its total, did any fail to post."""

from datetime import date

import asyncpg
import click

from gateway.cli.amounts import MONTH
from gateway.cli.ledger_adjust import adjust
from gateway.cli.ledger_export import export
from gateway.cli.session import json_option, print_json, print_rows, query
from gateway.reports.verify import Verification
from gateway.reports.verify import verify as verify_ledger


@click.group()
def ledger() -> None:
    """The ledger of entries."""


@ledger.command("verify")
@click.option("--month", type=MONTH, help="YYYY-MM; default: every month.")
@json_option
@click.pass_context
def verify(context: click.Context, month: date | None, as_json: bool) -> None:
    """Compare rows with totals; exit status 1 where they differ or a row is in the dead letters."""

    async def work(connection: asyncpg.Connection) -> Verification:
        return await verify_ledger(connection, month=month)

    result = query(work)
    if as_json:
        print_json(
            {
                "balanced": result.is_balanced,
                "accounts": result.accounts,
                "entries": result.entries,
                "differences": result.differences,
                "dead_letters": result.dead_letters,
            }
        )
    else:
        print_rows(result.differences, as_json=False, empty="Rows and totals agree.")
        print_rows(result.dead_letters, as_json=False, empty="No dead letters.")
        click.echo(f"{result.entries} entries in {result.accounts} accounts of team and month")
    context.exit(0 if result.is_balanced else 1)


ledger.add_command(export)
ledger.add_command(adjust)
