"""The command line's root: groups, exit statuses, and one line for each mistake."""

import sys
from collections.abc import Sequence
from typing import ClassVar

import asyncpg
import click

from gateway import __version__
from gateway.cli.database_words import FAILURE_STATUS, USAGE_STATUS, told
from gateway.cli.lazy_group import LazyGroup
from gateway.cli.session import CommandError
from gateway.domain.errors import ConfigError
from gateway.postgres.embedded import EmbeddedPostgresError
from gateway.postgres.errors import INFRASTRUCTURE_ERRORS
from gateway.postgres.migrate import UnknownRevisionError

_INTERRUPTED_STATUS = 130
_EXPECTED_ERRORS: tuple[type[Exception], ...] = (
    click.UsageError,
    CommandError,
    ConfigError,
    EmbeddedPostgresError,
    UnknownRevisionError,
    asyncpg.PostgresError,
    *INFRASTRUCTURE_ERRORS,
)


class _Gateway(LazyGroup):
    """Every command of the product, in the order of `gateway --help`."""

    places: ClassVar[dict[str, str]] = {
        "serve": "gateway.cli.serve:serve",
        "worker": "gateway.cli.worker:worker",
        "migrate": "gateway.cli.database:migrate",
        "database": "gateway.cli.database:database",
        "team": "gateway.cli.teams:team",
        "key": "gateway.cli.keys:key",
        "budget": "gateway.cli.budgets:budget",
        "spend": "gateway.cli.spend:spend",
        "savings": "gateway.cli.savings:savings",
        "ledger": "gateway.cli.ledger:ledger",
        "period": "gateway.cli.periods:period",
        "reconcile": "gateway.cli.reconcile:reconcile",
        "price": "gateway.cli.prices:price",
        "doctor": "gateway.cli.doctor:doctor",
    }
    unlisted: ClassVar[frozenset[str]] = frozenset({"worker"})


@click.group(cls=_Gateway, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gateway")
def cli() -> None:
    """Relay LLM calls unmodified, price them exactly, keep every team inside its cap."""


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit status (2: a wrong argument, 1: it failed)."""
    try:
        result = cli.main(list(arguments), prog_name="gateway", standalone_mode=False)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED_STATUS
    except _EXPECTED_ERRORS as exc:
        message, status = _explained(exc)
        sys.stderr.write("".join(f"gateway: {line}\n" for line in message.splitlines()))
        return status
    return result if isinstance(result, int) else 0


def _explained(error: Exception) -> tuple[str, int]:
    """What to tell the user, and the exit status."""
    match error:
        case click.UsageError():
            return _one_line(error), USAGE_STATUS
        case CommandError():
            return str(error), error.status
        case ConfigError():
            return "\n".join(error.problems), USAGE_STATUS
        case UnknownRevisionError():
            return str(error), FAILURE_STATUS
        case EmbeddedPostgresError():
            return f"the embedded PostgreSQL: {error}", FAILURE_STATUS
        case _:
            return told(error)


def _one_line(error: click.UsageError) -> str:
    """A group without a command has its whole help for a message: its commands are enough."""
    message = " ".join(error.format_message().split())
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        command = error.ctx.command
        names = command.list_commands(error.ctx) if isinstance(command, click.Group) else []
        message = f"say which command: {'|'.join(names)}."
    path = error.ctx.command_path if error.ctx is not None else "gateway"
    usage = error.ctx.command.collect_usage_pieces(error.ctx) if error.ctx is not None else []
    return f"{message} Usage: {path} {' '.join(usage)}".rstrip()
