"""`gateway migrate` and `gateway database`."""

import sys

import click

from gateway import config
from gateway.cli.session import database as open_database
from gateway.cli.session import json_option, print_json
from gateway.postgres.embedded import EmbeddedPostgres
from gateway.postgres.migrate import upgrade


@click.command()
@json_option
def migrate(as_json: bool) -> None:
    """Bring the schema up to date, the site's own migrations included."""
    settings = config.database_from_env()
    if settings.url is not None:
        upgrade(settings.url.value)
    else:
        with EmbeddedPostgres(settings.data_dir, pg_bin=settings.pg_bin) as server:
            upgrade(server.url())
    if as_json:
        print_json({"migrated": True})
    else:
        click.echo("The schema is current.")


@click.group()
def database() -> None:
    """The ledger's database."""


@database.command("url")
@json_option
def url(as_json: bool) -> None:
    """Print what psql and BI tools take, as the owner; triggers protect the ledger from it too.

    The embedded database answers while a gateway runs.
    """
    with open_database() as address:
        if as_json:
            print_json({"url": address})
        else:
            sys.stdout.write(f"{address}\n")
