"""`gateway reconcile`: the provider's own cost report against the ledger, day by day."""

import asyncio
from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import asyncpg
import click

from gateway.cli.amounts import MONTH, RATE
from gateway.cli.printing import print_json, print_rows, say
from gateway.cli.session import CommandError, json_option, query
from gateway.config import Config
from gateway.config_settings import ADMIN_PROVIDERS
from gateway.reports.reconcile import DayComparison, compared, ledger_days
from gateway.upstream.cost_report import CostReportError, daily_costs

_SHOWN = Decimal("0.000001")


@click.command()
@click.argument("provider", type=click.Choice(ADMIN_PROVIDERS))
@click.option("--month", type=MONTH, required=True, help="YYYY-MM.")
@click.option(
    "--tolerance",
    type=RATE,
    default=Decimal("0.01"),
    show_default=True,
    help="USD by which a day may differ.",
)
@json_option
@click.pass_context
def reconcile(
    context: click.Context, provider: str, month: date, tolerance: Decimal, as_json: bool
) -> None:
    """Compare the bill with the ledger; exit status 1 where a day differs by more than that.

    The admin key is GATEWAY_ANTHROPIC_ADMIN_KEY or GATEWAY_OPENAI_ADMIN_KEY. The report is of the
    whole organization: calls that did not go through this gateway show as a difference.
    """
    setting = Config.from_env().providers[provider]
    if setting.admin_key is None:
        raise CommandError(
            f"set GATEWAY_{provider.upper()}_ADMIN_KEY to an admin key of the organization: "
            "an ordinary API key may not read its costs",
            status=2,
        )
    try:
        bill = asyncio.run(
            daily_costs(
                provider, base_url=setting.base_url, admin_key=setting.admin_key, month=month
            )
        )
    except CostReportError as exc:
        raise CommandError(str(exc)) from exc

    async def work(connection: asyncpg.Connection) -> dict[date, Decimal]:
        return await ledger_days(connection, provider=provider, month=month)

    days = compared(bill, query(work), month=month)
    apart = [day for day in days if abs(day.difference_usd) > tolerance]
    if as_json:
        _print_json(days, provider=provider, month=month, tolerance=tolerance, apart=apart)
    else:
        _print_table(days, tolerance=tolerance, apart=apart)
    context.exit(1 if apart else 0)


def _sum(days: Sequence[DayComparison]) -> DayComparison:
    return DayComparison(
        day=date.max,
        provider_usd=sum((day.provider_usd for day in days), Decimal(0)),
        ledger_usd=sum((day.ledger_usd for day in days), Decimal(0)),
    )


def _print_json(
    days: Sequence[DayComparison],
    *,
    provider: str,
    month: date,
    tolerance: Decimal,
    apart: Sequence[DayComparison],
) -> None:
    total = _sum(days)
    print_json(
        {
            "provider": provider,
            "month": f"{month:%Y-%m}",
            "tolerance_usd": tolerance,
            "agrees": not apart,
            "provider_usd": total.provider_usd,
            "ledger_usd": total.ledger_usd,
            "difference_usd": total.difference_usd,
            "days": [
                {
                    "day": day.day,
                    "provider_usd": day.provider_usd,
                    "ledger_usd": day.ledger_usd,
                    "difference_usd": day.difference_usd,
                    "agrees": day not in apart,
                }
                for day in days
            ],
        }
    )


def _print_table(
    days: Sequence[DayComparison], *, tolerance: Decimal, apart: Sequence[DayComparison]
) -> None:
    if not days:
        say("Neither the provider nor the ledger has anything in that month.")
        return
    print_rows(
        [
            {
                "day": "total" if day.day == date.max else f"{day.day}",
                "provider_usd": day.provider_usd.quantize(_SHOWN),
                "ledger_usd": day.ledger_usd.quantize(_SHOWN),
                "difference_usd": day.difference_usd.quantize(_SHOWN),
                "agrees": day not in apart if day.day != date.max else not apart,
            }
            for day in (*days, _sum(days))
        ],
        as_json=False,
        empty="",
    )
    verdict = "agrees" if not apart else f"{len(apart)} of {len(days)} days differ"
    say(f"{verdict} (tolerance {tolerance:f} USD a day)")
