"""The pinned price data as dated rows that people can read, one for each tier of prompt length."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal

from genai_prices.types import ModelInfo, ModelPrice, StartDateConstraint

from gateway.pricing import source
from gateway.pricing.compile import PriceRow
from gateway.pricing.corrections import corrected_rows
from gateway.pricing.fees import with_fees

PUBLISHED_SOURCE = source.PRICE_VERSION
# Prices without a date of their own were always so, as far as the data knows.
_EVER = date(2000, 1, 1)
# Some providers are cheaper at night; a row shows their price by day.
_NOON = time(12, tzinfo=UTC)
_KCOUNT = Decimal(1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRates:
    """USD per million tokens, per request and per search."""

    input_usd: Decimal
    output_usd: Decimal
    cache_read_usd: Decimal
    cache_write_5m_usd: Decimal
    cache_write_1h_usd: Decimal
    request_usd: Decimal
    web_search_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPrice:
    """Rates of a model from a day on, for prompts of more than `above_prompt_tokens` tokens."""

    provider: str
    model: str
    above_prompt_tokens: int
    starts_at: datetime
    rates: PublishedRates


def published_prices(providers: Iterable[str]) -> Iterator[PublishedPrice]:
    """Every dated price of every model that these providers sell by the token, in order of time."""
    for name in providers:
        provider = source.published_provider(name)
        for model in provider.models if provider is not None else ():
            yield from _prices_of(name, model)


def _prices_of(provider: str, model: ModelInfo) -> Iterator[PublishedPrice]:
    for day in _days(model):
        prices = model.get_prices(datetime.combine(day, _NOON))
        rows = corrected_rows(provider, model.id, prices) or ()
        for row in with_fees(rows, provider, model.id, day):
            yield PublishedPrice(
                provider=provider,
                model=model.id,
                above_prompt_tokens=row.start_tokens,
                starts_at=datetime.combine(day, time(tzinfo=UTC)),
                rates=_rates(row),
            )


def _days(model: ModelInfo) -> list[date]:
    if isinstance(model.prices, ModelPrice):
        return [_EVER]
    dated = {
        each.constraint.start_date
        for each in model.prices
        if isinstance(each.constraint, StartDateConstraint)
    }
    return sorted({_EVER, *dated})


def _rates(row: PriceRow) -> PublishedRates:
    usd = row.usd
    return PublishedRates(
        input_usd=usd["input"],
        output_usd=usd["output"],
        cache_read_usd=usd["cache_read"],
        cache_write_5m_usd=usd["cache_write_5m"],
        cache_write_1h_usd=usd["cache_write_1h"],
        request_usd=usd["request"] / _KCOUNT,
        web_search_usd=usd["web_search"] / _KCOUNT,
    )
