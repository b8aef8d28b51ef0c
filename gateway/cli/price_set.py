"""`gateway price set`: a price of the operator's own, from an instant on."""

import re
import sys
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import asyncpg
import click

from gateway.cli.amounts import INSTANT, RATE
from gateway.cli.printing import print_json, say
from gateway.cli.session import CommandError, json_option, query
from gateway.config_settings import PROVIDERS
from gateway.upstream.provider_table import SPECS

_KNOWN_PROVIDERS = (*PROVIDERS, "bedrock")
_INSERT = """
INSERT INTO ledger.price (
    provider, model, effective_from, input_usd_per_mtok, output_usd_per_mtok,
    cache_read_usd_per_mtok, cache_write_5m_usd_per_mtok, cache_write_1h_usd_per_mtok, request_usd,
    web_search_usd, source)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, coalesce($9, 0), $10, $11)
"""


@click.command("set")
@click.argument("model")
@click.option("--input", "input_usd", type=RATE, required=True, help="USD per million tokens.")
@click.option("--output", "output_usd", type=RATE, required=True, help="USD per million tokens.")
@click.option("--cache-read", type=RATE, help="Default: the input rate.")
@click.option("--cache-write-5m", type=RATE, help="Default: 1.25 times the input rate.")
@click.option("--cache-write-1h", type=RATE, help="Default: twice the input rate.")
@click.option("--request", type=RATE, help="USD for each request; default: none.")
@click.option(
    "--web-search", type=RATE, help="USD for each search; default: the provider's own fee."
)
@click.option("--from", "starts_at", type=INSTANT, required=True, help="Day (UTC) or instant.")
@click.option("--provider", help="Default: the one that the model's name goes to.")
@click.option("--source", default="set by an operator", help="Contract, invoice, page.")
@click.option("--free", is_flag=True, help="A rate of 0 is meant: a model that you host.")
@json_option
def set_price(
    *,
    model: str,
    starts_at: datetime,
    provider: str | None,
    source: str,
    free: bool,
    as_json: bool,
    **rates: Decimal | None,
) -> None:
    """Add a price; running gateways charge by it within seconds, past entries stay as they are."""
    _check_zero(rates, is_free=free)
    provider = provider or _provider_of(model)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", provider):
        raise CommandError(
            f"{provider!r} is not a provider's name: one of {', '.join(_KNOWN_PROVIDERS)}, "
            "or one of GATEWAY_PROVIDERS_FILE",
            status=2,
        )
    if provider not in _KNOWN_PROVIDERS:
        sys.stderr.write(
            f"gateway: note: {provider} is not built in; GATEWAY_PROVIDERS_FILE has to name it so\n"
        )
    if not model.strip() or not source.strip():
        raise CommandError("a price names its model and its source: neither may be empty", status=2)

    async def work(connection: asyncpg.Connection) -> None:
        await connection.execute(
            _INSERT,
            provider,
            model,
            starts_at,
            rates["input_usd"],
            rates["output_usd"],
            rates["cache_read"],
            rates["cache_write_5m"],
            rates["cache_write_1h"],
            rates["request"],
            rates["web_search"],
            source,
        )

    query(work)
    if as_json:
        print_json(
            {
                "provider": provider,
                "model": model,
                "effective_from": starts_at,
                "source": source,
                **{name: rate for name, rate in rates.items() if rate is not None},
            }
        )
    else:
        say(
            f"{provider} {model}: ${rates['input_usd']:f} in, ${rates['output_usd']:f} out per "
            f"million tokens from {starts_at:%Y-%m-%dT%H:%M:%SZ}"
        )


def _check_zero(rates: Mapping[str, Decimal | None], *, is_free: bool) -> None:
    has_zero = any(rates[name] == 0 for name in ("input_usd", "output_usd"))
    if has_zero and not is_free:
        raise CommandError("a rate of 0 charges nothing: add --free where that is meant", status=2)


def _provider_of(model: str) -> str:
    for spec in SPECS:
        if spec.model_prefixes and model.startswith(spec.model_prefixes):
            return spec.name
    raise CommandError(
        f"say which provider sells {model!r}: --provider, one of {', '.join(_KNOWN_PROVIDERS)}",
        status=2,
    )
