"""What every command shares: a database to talk to, and one way to print a result."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from importlib import import_module
from typing import TypeVar

import asyncpg
import click
import orjson
from rich.console import Console
from rich.table import Table

from gateway import config
from gateway.postgres.connection import connect
from gateway.postgres.embedded import EmbeddedPostgres
from gateway.postgres.migrate import schema_is_current, upgrade

_Result = TypeVar("_Result")
Row = Mapping[str, object]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class CommandError(Exception):
    """A command that could not do its work; the message says what to do."""

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def server() -> Iterator[tuple[str, bool]]:
    """The URL of the database, whatever its schema, and whether it is the embedded one.

    Joins the embedded server of a running gateway, or starts it for the command.
    """
    settings = config.database_from_env()
    if settings.url is not None:
        yield settings.url.value, False
        return
    embedded = EmbeddedPostgres(settings.data_dir, pg_bin=settings.pg_bin)
    embedded.attach_or_start()
    try:
        yield embedded.url(), True
    finally:
        embedded.stop()


@contextmanager
def database() -> Iterator[str]:
    """The URL of the ledger's database, for as long as the block runs.

    Raises:
        CommandError: the operator's own database has an outdated schema.
    """
    with server() as (url, is_embedded):
        if not asyncio.run(schema_is_current(url)):
            if not is_embedded:
                raise CommandError("the database's schema is not current: run `gateway migrate`")
            upgrade_with_prices(url)
        yield url


def upgrade_with_prices(url: str) -> None:
    """Bring the schema and the published prices in it up to what this release has, blocking."""
    upgrade(url)
    # Imported here: the price data is large, and most commands never need it.
    import_module("gateway.cli.price_publishing").publish_prices(url)


def query(work: "Callable[[asyncpg.Connection], Awaitable[_Result]]") -> _Result:
    """Run `work` on a connection of its own and return what it returns."""

    async def run(url: str) -> _Result:
        connection = await connect(url, application_name="gateway-cli")
        try:
            return await work(connection)
        finally:
            await connection.close()

    with database() as url:
        return asyncio.run(run(url))


def plain(value: object) -> object:
    """A value as JSON has it: exact dollars as decimal strings, times in RFC 3339."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [plain(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def json_document(result: object) -> bytes:
    """One JSON document, for people and programs."""
    return orjson.dumps(plain(result), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def print_json(result: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json_document(result).decode())


def print_rows(rows: Sequence[Row], *, as_json: bool, empty: str) -> None:
    """Rows as a table for people, or as JSON; `empty` is what people read where there are none."""
    if as_json:
        print_json([dict(row) for row in rows])
        return
    if not rows:
        sys.stderr.write(f"{empty}\n")
        return
    table = Table(show_edge=False, header_style="bold")
    for name, value in rows[0].items():
        is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
        table.add_column(name, justify="right" if is_number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    width = None if sys.stdout.isatty() else 10_000
    Console(file=sys.stdout, width=width).print(table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(plain(value))


async def team_id_of(connection: asyncpg.Connection, name: str) -> int:
    """Raises CommandError where there is no such team."""
    team_id = await connection.fetchval("SELECT team_id FROM ledger.team WHERE name = $1", name)
    if team_id is None:
        raise CommandError(f"there is no team {name!r}: `gateway team list` shows them", status=2)
    return int(team_id)
