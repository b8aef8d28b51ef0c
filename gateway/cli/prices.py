"""`gateway price`: what models cost, and the prices that the operator sets."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg
import click

from gateway.cli.amounts import INSTANT
from gateway.cli.price_rerate import rerate
from gateway.cli.price_set import set_price
from gateway.cli.printing import print_json, print_rows, say
from gateway.cli.session import CommandError, Row, json_option, query
from gateway.config import providers_from_env, upstreams_from_env
from gateway.config_settings import PROVIDERS
from gateway.domain.clock import SystemClock
from gateway.pricing.book import PriceBook
from gateway.pricing.overrides import PriceOverride
from gateway.reports.price_rows import price_history, prices_in_force, set_prices

_SHOWN_RATES = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")


@click.group()
def price() -> None:
    """Prices in USD per million tokens: published ones, and the operator's own above them."""


@price.command("show")
@click.argument("model")
@click.option("--provider", help="This provider alone.")
@click.option("--at", type=INSTANT, help="Day or RFC 3339 instant; default: now.")
@json_option
def show(model: str, provider: str | None, at: datetime | None, as_json: bool) -> None:
    """What a model costs with each provider that has a price for it, and its dated rows."""
    moment = at or SystemClock().now()

    async def work(connection: asyncpg.Connection) -> tuple[list[Row], list[Row]]:
        overrides = await set_prices(connection)
        _check_provider(provider, overrides)
        history = await price_history(connection, model=model, provider=provider)
        named = {each.provider for each in overrides if each.model == model}
        providers = [provider] if provider else sorted({*PROVIDERS, "bedrock", *named})
        free, base_urls = providers_from_env()
        book = PriceBook.load(moment, overrides, free_providers=free, base_urls=base_urls)
        return _in_force(book, model, providers, moment), list(history)

    in_force, history = query(work)
    if not in_force and not history:
        raise CommandError(
            f"{model!r} has no price: a call is charged at its provider's dearest rates, flagged; "
            "`gateway price set` gives it one and `gateway price rerate` corrects what was charged"
        )
    if as_json:
        print_json({"model": model, "at": moment, "in_force": in_force, "rows": history})
        return
    print_rows(in_force, as_json=False, empty=f"No price of {model} is in force.")
    if history:
        say("\nrows of ledger.price, the newest first")
        shown = [
            {name: value for name, value in row.items() if not name.startswith("created_")}
            for row in history
        ]
        print_rows(shown, as_json=False, empty="")


def _check_provider(provider: str | None, overrides: Sequence[PriceOverride]) -> None:
    known = {*PROVIDERS, "bedrock", *upstreams_from_env(), *(each.provider for each in overrides)}
    if provider is not None and provider not in known:
        raise CommandError(
            f"there is no provider {provider!r}: one of {', '.join(sorted(known))}", status=2
        )


def _in_force(book: PriceBook, model: str, providers: list[str], moment: datetime) -> list[Row]:
    found: list[Row] = []
    for provider in providers:
        rates = book.rates(provider, model, moment)
        if rates is not None:
            shown = {kind: rates.get(kind) for kind in _SHOWN_RATES}
            found.append({"provider": provider, "model": model, **shown})
    return found


@price.command("list")
@click.option("--provider", help="This provider alone.")
@click.option("--set", "only_set", is_flag=True, help="Only what the operator set.")
@click.option("--at", type=INSTANT, help="Day or RFC 3339 instant; default: now.")
@json_option
def list_prices(provider: str | None, only_set: bool, at: datetime | None, as_json: bool) -> None:
    """The rows of `ledger.price` that are in force."""

    async def work(connection: asyncpg.Connection) -> list[Row]:
        _check_provider(provider, await set_prices(connection))
        rows = await prices_in_force(
            connection, at=at or SystemClock().now(), provider=provider, only_set=only_set
        )
        return list(rows)

    empty = "No prices were set." if only_set else "No prices: `gateway migrate` fills them in."
    print_rows(query(work), as_json=as_json, empty=empty)


price.add_command(set_price)
price.add_command(rerate)
