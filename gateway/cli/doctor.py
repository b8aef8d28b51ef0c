"""`gateway doctor`: one table of what is right and what is not, before users find out."""

import asyncio
from collections.abc import Sequence

import click

from gateway.cli.doctor_checks import Check, configured, fixed, reached
from gateway.cli.doctor_database import checked_database
from gateway.cli.printing import print_json, print_rows
from gateway.cli.session import json_option, server
from gateway.config import Config, DatabaseConfig
from gateway.domain.errors import ConfigError
from gateway.postgres.embedded import EmbeddedPostgresError


@click.command()
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check settings, database, providers, PostHog, clock and disk; exit status 1 on a failure.

    Providers and PostHog are connected to and asked nothing.
    """
    checks = _checks()
    is_healthy = all(check.state != "fail" for check in checks)
    rows = [{"check": each.name, "state": each.state, "detail": each.detail} for each in checks]
    if as_json:
        print_json({"healthy": is_healthy, "checks": rows})
    else:
        print_rows(rows, as_json=False, empty="")
    context.exit(0 if is_healthy else 1)


def _checks() -> Sequence[Check]:
    try:
        config = Config.from_env()
    except ConfigError as exc:
        return [Check(name="config", state="fail", detail=each) for each in exc.problems]
    return [
        configured(config),
        *fixed(config.database.data_dir),
        *_database_checks(config.database),
        *asyncio.run(reached(config)),
    ]


def _database_checks(database: DatabaseConfig) -> Sequence[Check]:
    if database.url is None and not database.data_dir.exists():
        # Looking at a machine must not leave a database on it.
        detail = "embedded, made at the first start"
        return [Check(name="database", state="ok", detail=detail)]
    try:
        with server() as (url, is_embedded):
            return asyncio.run(checked_database(url, is_embedded=is_embedded))
    except EmbeddedPostgresError as exc:
        return [Check(name="database", state="fail", detail=str(exc).splitlines()[0])]
