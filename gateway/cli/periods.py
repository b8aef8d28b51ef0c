"""`gateway period`: close a month, and see which months are closed."""

from datetime import date

import asyncpg
import click

from gateway.cli.amounts import MONTH
from gateway.cli.printing import print_json, print_rows
from gateway.cli.session import CommandError, Row, json_option, query

_CLOSE = """
SELECT to_char(month, 'YYYY-MM') AS month, status, entry_count, total_usd,
       encode(digest, 'hex') AS digest, closed_at, closed_by
FROM ledger.close_month($1)
"""
_LIST = """
SELECT to_char(month, 'YYYY-MM') AS month, status, entry_count, total_usd,
       encode(digest, 'hex') AS digest, closed_at, closed_by
FROM ledger.accounting_period ORDER BY month
"""


@click.group()
def period() -> None:
    """Accounting periods: UTC calendar months."""


@period.command("close")
@click.argument("month", type=MONTH)
@json_option
def close(month: date, as_json: bool) -> None:
    """Freeze a month that is over: totals and a digest; late entries post as corrections."""

    async def work(connection: asyncpg.Connection) -> Row:
        try:
            row = await connection.fetchrow(_CLOSE, month)
        except asyncpg.InvalidParameterValueError as exc:
            raise CommandError(str(exc), status=2) from exc
        except asyncpg.ObjectNotInPrerequisiteStateError as exc:
            raise CommandError(str(exc)) from exc
        assert row is not None
        return dict(row)

    closed = query(work)
    if as_json:
        print_json(closed)
    else:
        print_rows([closed], as_json=False, empty="")


@period.command("list")
@json_option
def list_periods(as_json: bool) -> None:
    """Every month that the ledger knows, open or closed."""

    async def work(connection: asyncpg.Connection) -> list[Row]:
        return [dict(row) for row in await connection.fetch(_LIST)]

    print_rows(query(work), as_json=as_json, empty="No months yet.")
