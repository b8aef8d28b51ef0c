"""`gateway ledger adjust`: a correction is a new row; no row is ever changed."""

import uuid
from datetime import date
from decimal import Decimal

import asyncpg
import click

from gateway.cli.amounts import AMOUNT, MONTH
from gateway.cli.corrections import Correction, post_correction
from gateway.cli.printing import print_json, say
from gateway.cli.session import CommandError, json_option, query, team_id_of
from gateway.domain.clock import SystemClock, month_of
from gateway.domain.ids import new_uuid

# Of which the database makes partitions.
_FIRST_MONTH = date(2000, 1, 1)


@click.command("adjust")
@click.option("--team", "team_name", required=True)
@click.option("--amount", type=AMOUNT, required=True, help="USD; below 0 gives back.")
@click.option("--reason", required=True, help="Stands on the row.")
@click.option("--month", type=MONTH, help="YYYY-MM; default: this month, UTC.")
@click.option("--entry", "related", type=click.UUID, help="The entry that this corrects.")
@click.option(
    "--type",
    "entry_type",
    type=click.Choice(["adjustment", "credit", "reversal"]),
    default="adjustment",
    show_default=True,
)
@click.option("--id", "given_id", type=click.UUID, help="Repeated with the same id: booked once.")
@json_option
def adjust(
    *,
    team_name: str,
    amount: Decimal,
    reason: str,
    month: date | None,
    related: uuid.UUID | None,
    entry_type: Correction,
    given_id: uuid.UUID | None,
    as_json: bool,
) -> None:
    """Book a correction, signed by who is logged in to the database."""
    clock = SystemClock()
    entry_id = given_id or new_uuid(clock)
    this_month = month_of(clock.now())
    posted_month = month or this_month
    if not _FIRST_MONTH <= posted_month <= this_month:
        raise CommandError(
            f"{posted_month:%Y-%m} cannot be corrected: the ledger has months from "
            f"{_FIRST_MONTH:%Y-%m} to this one, {this_month:%Y-%m}",
            status=2,
        )

    async def work(connection: asyncpg.Connection) -> bool:
        return await post_correction(
            connection,
            entry_id=entry_id,
            entry_type=entry_type,
            month=posted_month,
            team_id=await team_id_of(connection, team_name),
            amount_usd=amount,
            reason=reason,
            related_entry_id=related,
        )

    is_new = query(work)
    if as_json:
        print_json(
            {
                "entry_id": str(entry_id),
                "team": team_name,
                "month": f"{posted_month:%Y-%m}",
                "entry_type": entry_type,
                "amount_usd": amount,
                "booked": is_new,
            }
        )
    else:
        verb = "booked" if is_new else "was booked before"
        say(f"{entry_type} {entry_id} of {amount:f} USD {verb}: {team_name} {posted_month:%Y-%m}")
