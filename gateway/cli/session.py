"""What every command shares: a database to talk to, and an error that says what to do."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TypeVar

import asyncpg
import click

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


async def team_id_of(connection: asyncpg.Connection, name: str) -> int:
    """Raises CommandError where there is no such team."""
    team_id = await connection.fetchval("SELECT team_id FROM ledger.team WHERE name = $1", name)
    if team_id is None:
        raise CommandError(f"there is no team {name!r}: `gateway team list` shows them", status=2)
    return int(team_id)
