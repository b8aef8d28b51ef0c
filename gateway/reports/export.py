"""A month's ledger as rows that stream: memory stays the same however long the month is."""

from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import date
from pathlib import Path
from typing import Any, Literal, LiteralString

import asyncpg

from gateway.postgres.connection import Connection
from gateway.postgres.sql import load_queries

ExportView = Literal["entries", "focus"]
_QUERIES = load_queries(Path(__file__).parent / "queries")
_STATEMENTS: dict[ExportView, LiteralString] = {
    "entries": _QUERIES["export_entries"],
    "focus": _QUERIES["export_focus"],
}
ROWS_A_BATCH = 5000


async def entry_count(connection: Connection, *, month: date) -> int:
    """How many entries the month's totals say there are: enough for a progress bar."""
    return int(await connection.fetchval(_QUERIES["month_entry_count"], month))


async def entry_columns(connection: Connection) -> list[str]:
    """Names of an entry's columns, in their order; a month without entries has them too."""
    statement = await connection.prepare(_STATEMENTS["entries"])
    return [attribute.name for attribute in statement.get_attributes()]


async def copy_csv(
    connection: Connection,
    view: ExportView,
    *,
    month: date,
    write: Callable[[bytes], Coroutine[Any, Any, None]],
) -> int:
    """Send the rows as CSV with a header line, as the server itself writes it; returns how many.

    An error of `write` is raised and ends the connection: what is on its way is of no use.
    """
    failed: list[Exception] = []

    async def output(data: bytes) -> None:
        # Raised in here, an error would leave the driver waiting for ever.
        try:
            if not failed:
                await write(data)
        except Exception as exc:  # noqa: BLE001 - raised again below.
            failed.append(exc)
            connection.terminate()

    status = ""
    try:
        status = await connection.copy_from_query(
            _STATEMENTS[view], month, output=output, format="csv", header=True
        )
    except Exception:
        # Of a connection that we have ended ourselves the driver says one thing or another.
        if not failed:
            raise
    if failed:
        raise failed[0]
    return int(status.rpartition(" ")[2])


async def row_batches(
    connection: Connection, view: ExportView, *, month: date
) -> AsyncIterator[list[asyncpg.Record]]:
    """The rows in batches out of a cursor of the server, all of the snapshot it opened with."""
    async with connection.transaction(readonly=True):
        cursor = await connection.cursor(_STATEMENTS[view], month)
        while rows := await cursor.fetch(ROWS_A_BATCH):
            yield rows
