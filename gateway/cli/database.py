"""`gateway migrate` and `gateway database`."""

import sys

import click

from gateway import config
from gateway.cli.printing import print_json, say
from gateway.cli.session import database as open_database
from gateway.cli.session import json_option, server, upgrade_with_prices
from gateway.postgres.embedded import EmbeddedPostgres


@click.command()
@json_option
def migrate(as_json: bool) -> None:
    """Bring schema and published prices up to date, the site's own migrations included."""
    with server() as (url, _):
        upgrade_with_prices(url)
    if as_json:
        print_json({"migrated": True})
    else:
        say("The schema is current.")


@click.group()
def database() -> None:
    """The ledger's database."""


@database.command("url")
@json_option
def show_url(as_json: bool) -> None:
    """Print what psql and BI tools take, as the owner; triggers protect the ledger from it too.

    The embedded database answers while a gateway runs, and a note says so where none does.
    """
    with open_database() as address:
        if as_json:
            print_json({"url": address})
        else:
            say(address)
    settings = config.database_from_env()
    if settings.url is None and not EmbeddedPostgres(settings.data_dir).is_running:
        sys.stderr.write(
            "gateway: note: the server is not running; it answers while `gateway serve` does\n"
        )
