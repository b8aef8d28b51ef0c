"""`gateway spend`: a month's spend by team, model, key, product or day."""

import csv
import io
from datetime import date
from pathlib import Path

import asyncpg
import click

from gateway.cli.amounts import MONTH
from gateway.cli.outputs import Sink, opened, output_option
from gateway.cli.parquet import SPEND_TYPES, ParquetFile
from gateway.cli.printing import json_document, plain, print_rows
from gateway.cli.session import CommandError, Row, json_option, query
from gateway.domain.clock import SystemClock, month_of
from gateway.reports.spend import SPEND_BY, SpendBy, spend_by

_COUNTS = ("entries", "input_tokens", "output_tokens", "spend_usd")


@click.command()
@click.option("--month", type=MONTH, help="YYYY-MM; default: this month, UTC.")
@click.option("--by", type=click.Choice(SPEND_BY), default="team", show_default=True)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
)
@output_option
@json_option
def spend(
    month: date | None, by: SpendBy, output_format: str, output: Path | None, as_json: bool
) -> None:
    """What was spent, straight from the ledger's rows."""
    chosen = month or month_of(SystemClock().now())

    async def work(connection: asyncpg.Connection) -> list[Row]:
        return await spend_by(connection, month=chosen, by=by)

    rows = query(work)
    chosen_format = "json" if as_json else output_format
    if chosen_format == "table":
        if output is not None:
            raise CommandError("--output takes csv, json or parquet: add --format", status=2)
        print_rows(rows, as_json=False, empty=f"Nothing was spent in {chosen:%Y-%m}.")
        return
    with opened(output, is_binary=chosen_format == "parquet") as stream:
        _write(rows, stream, by=by, chosen_format=chosen_format)


def _write(rows: list[Row], stream: Sink, *, by: SpendBy, chosen_format: str) -> None:
    columns = [by, *_COUNTS]
    if chosen_format == "json":
        stream.write(json_document([dict(row) for row in rows]))
    elif chosen_format == "parquet":
        with ParquetFile(stream, columns, SPEND_TYPES) as file:
            file.write(_csv(rows, columns))
    else:
        stream.write(_csv(rows, columns))


def _csv(rows: list[Row], columns: list[str]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: plain(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode()
