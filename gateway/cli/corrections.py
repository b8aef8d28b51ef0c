"""Corrections: new rows by `ledger.post_adjustment`, its refusals in words for the command line."""

import uuid
from datetime import date
from decimal import Decimal
from typing import Literal

import asyncpg

from gateway.cli.session import CommandError
from gateway.domain.clock import SystemClock, month_of
from gateway.postgres.connection import Connection

Correction = Literal["adjustment", "credit", "reversal"]
_POST = "SELECT ledger.post_adjustment($1, $2, $3, $4, $5, $6, $7)"
_STATUS = "SELECT status FROM ledger.accounting_period WHERE month = $1"
# What was said is not right, against what is right but cannot be done now.
_WRONG_ARGUMENT_ERRORS = (
    asyncpg.InvalidParameterValueError,
    asyncpg.ForeignKeyViolationError,
    asyncpg.CheckViolationError,
    asyncpg.UniqueViolationError,
)
_SAID_BY_CONSTRAINT = {
    "ledger_entry_correction_is_signed": "a correction needs a reason: --reason TEXT",
    "ledger_entry_credit_is_not_a_charge": "a credit is an amount below 0",
    "ledger_entry_reversal_is_related": "a reversal says which entry it takes back: --entry ID",
}


async def post_correction(
    connection: Connection,
    *,
    entry_id: uuid.UUID,
    entry_type: Correction,
    month: date,
    team_id: int,
    amount_usd: Decimal,
    reason: str,
    related_entry_id: uuid.UUID | None,
) -> bool:
    """Book a correction; False where this id was booked before.

    Raises:
        CommandError: the ledger refuses it, and says why.
    """
    try:
        return bool(
            await connection.fetchval(
                _POST, entry_id, entry_type, month, team_id, amount_usd, reason, related_entry_id
            )
        )
    except _WRONG_ARGUMENT_ERRORS as exc:
        raise CommandError(_said(exc), status=2) from exc
    except asyncpg.ObjectNotInPrerequisiteStateError as exc:
        raise CommandError(str(exc)) from exc


def _said(error: asyncpg.PostgresError) -> str:
    """A constraint's name says nothing to whoever typed the command."""
    name = error.constraint_name if isinstance(error, asyncpg.CheckViolationError) else None
    return _SAID_BY_CONSTRAINT.get(name or "", str(error))


async def open_month_for(connection: Connection, month: date) -> date:
    """The month itself while it is open, else the current one: where a late correction goes."""
    if await connection.fetchval(_STATUS, month) != "closed":
        return month
    return month_of(SystemClock().now())
