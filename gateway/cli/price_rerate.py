"""`gateway price rerate`: corrects entries that were charged at a ceiling, once each."""

from datetime import date
from decimal import Decimal

import asyncpg
import click

from gateway.cli.amounts import MONTH
from gateway.cli.corrections import open_month_for, post_correction
from gateway.cli.printing import print_json, print_rows, say
from gateway.cli.session import json_option, query
from gateway.config import providers_from_env
from gateway.domain.clock import SystemClock
from gateway.pricing.book import PriceBook
from gateway.reports.price_rows import set_prices
from gateway.reports.rerate import Rerating, reratings

_LISTED_MAX = 1000


@click.command("rerate")
@click.option("--month", type=MONTH, required=True, help="YYYY-MM.")
@click.option("--dry-run", is_flag=True, help="Show what would be corrected; book nothing.")
@json_option
def rerate(month: date, dry_run: bool, as_json: bool) -> None:
    """Book an adjustment for each entry whose model has a price by now.

    An entry of a month that is closed is corrected in the first open one.
    """

    async def work(connection: asyncpg.Connection) -> list[Rerating]:
        now = SystemClock().now()
        free, base_urls = providers_from_env()
        book = PriceBook.load(
            now, await set_prices(connection), free_providers=free, base_urls=base_urls
        )
        post_month = await open_month_for(connection, month)
        done: list[Rerating] = []
        async for rerating in reratings(connection, book, month=month):
            if not dry_run:
                await post_correction(
                    connection,
                    entry_id=rerating.correction_id,
                    entry_type="adjustment",
                    month=post_month,
                    team_id=rerating.team_id,
                    amount_usd=rerating.difference_usd,
                    reason=f"re-rated from the ceiling by {rerating.price_version}",
                    related_entry_id=rerating.entry_id,
                )
            done.append(rerating)
        return done

    _print(query(work), month=month, dry_run=dry_run, as_json=as_json)


def _print(done: list[Rerating], *, month: date, dry_run: bool, as_json: bool) -> None:
    total_usd = sum((each.difference_usd for each in done), Decimal(0))
    if as_json:
        print_json(
            {
                "month": f"{month:%Y-%m}",
                "dry_run": dry_run,
                "entries": len(done),
                "difference_usd": total_usd,
                "corrections": [
                    {
                        "entry_id": str(each.entry_id),
                        "correction_id": str(each.correction_id),
                        "team": each.team,
                        "model": each.model,
                        "charged_usd": each.charged_usd,
                        "difference_usd": each.difference_usd,
                        "price_version": each.price_version,
                    }
                    for each in done[:_LISTED_MAX]
                ],
            }
        )
        return
    by_model: dict[tuple[str, str, str], tuple[int, Decimal]] = {}
    for each in done:
        key = (each.team, each.provider, each.model)
        count, amount_usd = by_model.get(key, (0, Decimal(0)))
        by_model[key] = (count + 1, amount_usd + each.difference_usd)
    rows = [
        {"team": team, "provider": provider, "model": model, "entries": n, "difference_usd": usd}
        for (team, provider, model), (n, usd) in sorted(by_model.items())
    ]
    print_rows(rows, as_json=False, empty=f"Nothing to re-rate in {month:%Y-%m}.")
    if rows:
        verb = "would be booked" if dry_run else "booked"
        say(f"{len(done)} adjustments {verb}, {total_usd:f} USD in all")
