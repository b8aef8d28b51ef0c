"""`gateway ledger export`: a month's entries as CSV, Parquet, FOCUS or JSON."""

from datetime import date
from pathlib import Path
from typing import Literal

import asyncpg
import click
import orjson

from gateway.cli.amounts import MONTH
from gateway.cli.outputs import Advance, Sink, opened, output_option, progress
from gateway.cli.parquet import ENTRY_TYPES, ParquetFile
from gateway.cli.printing import plain, print_json, say
from gateway.cli.session import json_option, query
from gateway.postgres.connection import Connection
from gateway.reports.export import ExportView, copy_csv, entry_columns, entry_count, row_batches

_Format = Literal["csv", "parquet", "focus"]


@click.command("export")
@click.option("--month", type=MONTH, required=True, help="YYYY-MM.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["csv", "parquet", "focus"]),
    required=True,
    help="focus: CSV in the columns of FOCUS 1.2.",
)
@output_option
@json_option
def export(month: date, output_format: _Format, output: Path | None, as_json: bool) -> None:
    """Stream a month's rows; memory does not grow with them.

    With --json, what was written as JSON; without --output, the rows themselves as JSON, those of
    focus in its columns.
    """
    is_json = as_json and output is None
    view: ExportView = "focus" if output_format == "focus" else "entries"

    async def work(connection: asyncpg.Connection) -> int:
        total = await entry_count(connection, month=month)
        with (
            opened(output, is_binary=output_format == "parquet" and not is_json) as stream,
            progress(f"{month:%Y-%m}", total) as advance,
        ):
            if is_json:
                return await _write_json(connection, view, stream, advance, month)
            if output_format == "parquet":
                return await _write_parquet(connection, stream, advance, month)
            return await _write_csv(connection, view, stream, advance, month)

    rows = query(work)
    if output is None:
        return
    if as_json:
        print_json(
            {
                "month": f"{month:%Y-%m}",
                "format": output_format,
                "rows": rows,
                "output": str(output),
            }
        )
    else:
        say(f"{rows} rows of {month:%Y-%m} in {output}")


async def _write_csv(
    connection: Connection, view: ExportView, stream: Sink, advance: Advance, month: date
) -> int:
    async def write(data: bytes) -> None:
        stream.write(data)
        advance.by(data.count(b"\n"))

    return await copy_csv(connection, view, month=month, write=write)


async def _write_parquet(
    connection: Connection, stream: Sink, advance: Advance, month: date
) -> int:
    with ParquetFile(stream, await entry_columns(connection), ENTRY_TYPES) as file:
        return await _write_csv(connection, "entries", file, advance, month)


async def _write_json(
    connection: Connection, view: ExportView, stream: Sink, advance: Advance, month: date
) -> int:
    count = 0
    stream.write(b"[")
    async for rows in row_batches(connection, view, month=month):
        for row in rows:
            stream.write(b",\n" if count else b"\n")
            stream.write(orjson.dumps(plain(dict(row))))
            count += 1
        advance.by(len(rows))
    stream.write(b"\n]\n")
    return count
