"""`gateway ledger`: export and correct it; is every row in its total, did any fail to post."""

import sys
from datetime import date

import asyncpg
import click
from rich.console import Console
from rich.progress import Progress as RichProgress

from gateway.cli.amounts import MONTH
from gateway.cli.ledger_adjust import adjust
from gateway.cli.ledger_export import export
from gateway.cli.printing import print_json, print_rows, say
from gateway.cli.session import json_option, query
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
    """Compare rows with totals, and closed months with their digests.

    Exit status 1 where they differ or a row is in the dead letters.
    """
    result = _verified(month)
    if as_json:
        print_json(
            {
                "balanced": result.is_balanced,
                "accounts": result.accounts,
                "entries": result.entries,
                "closed_months": result.closed_months,
                "differences": result.differences,
                "altered_months": result.altered_months,
                "dead_letters": result.dead_letters,
            }
        )
    else:
        print_rows(result.differences, as_json=False, empty="Rows and totals agree.")
        print_rows(result.altered_months, as_json=False, empty="Closed months are as they were.")
        print_rows(result.dead_letters, as_json=False, empty="No dead letters.")
        say(
            f"{result.entries} entries in {result.accounts} accounts of team and month, "
            f"{result.closed_months} closed months"
        )
    context.exit(0 if result.is_balanced else 1)


def _verified(month: date | None) -> Verification:
    """Under a progress bar where somebody watches."""
    bar = RichProgress(console=Console(stderr=True), transient=True, disable=not _is_watched())
    task = bar.add_task("Reading the ledger", total=None)

    async def work(connection: asyncpg.Connection) -> Verification:
        return await verify_ledger(
            connection,
            month=month,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )

    with bar:
        return query(work)


def _is_watched() -> bool:
    return sys.stderr.isatty()


ledger.add_command(export)
ledger.add_command(adjust)
