from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from gateway.pricing.book import PriceBook
from gateway.pricing.overrides import PriceOverride
from gateway.pricing.published import PublishedPrice, published_prices

PRICES = list(published_prices(("anthropic", "openai", "gemini", "bedrock", "deepseek")))


def test_every_published_row_says_a_rate_for_both_directions() -> None:
    assert len(PRICES) > 300
    assert {price.provider for price in PRICES} == {
        "anthropic",
        "openai",
        "gemini",
        "bedrock",
        "deepseek",
    }
    assert all(price.rates.input_usd >= 0 and price.rates.output_usd >= 0 for price in PRICES)
    assert len({(p.provider, p.model, p.above_prompt_tokens, p.starts_at) for p in PRICES}) == len(
        PRICES
    )


def test_long_prompts_have_rows_of_their_own() -> None:
    rows = {p.above_prompt_tokens: p.rates for p in PRICES if p.model == "claude-sonnet-4-5"}

    assert rows[0].input_usd == Decimal(3)
    assert rows[0].cache_write_1h_usd == Decimal(6)
    assert rows[200_000].input_usd == Decimal(6)


@pytest.mark.parametrize(
    "price",
    [p for p in PRICES if p.provider in {"anthropic", "openai"} and p.above_prompt_tokens == 0][
        ::9
    ],
    ids=lambda p: p.model,
)
def test_a_row_says_what_the_price_book_charges_on_its_day(price: PublishedPrice) -> None:
    at = max(price.starts_at, datetime(2024, 1, 1, tzinfo=UTC)) + timedelta(hours=12)
    same = [
        p
        for p in PRICES
        if p.model == price.model
        and p.provider == price.provider
        and p.above_prompt_tokens == 0
        and p.starts_at <= at
    ]

    rates = PriceBook.load(at).rates(price.provider, price.model, at)

    assert rates is not None
    latest = max(same, key=lambda p: p.starts_at).rates
    assert Decimal(rates["input"]) == latest.input_usd
    assert Decimal(rates["output"]) == latest.output_usd


def test_a_set_price_leaves_the_published_rows_alone() -> None:
    at = datetime(2026, 11, 25, tzinfo=UTC)
    override = PriceOverride(
        provider="anthropic",
        model="claude-sonnet-4-5",
        starts_at=datetime(2026, 1, 1, tzinfo=UTC),
        input_usd=Decimal(1),
        output_usd=Decimal(2),
    )

    rates = PriceBook.load(at, [override]).rates("anthropic", "claude-sonnet-4-5", at)

    assert rates is not None
    assert rates["input"] == "1"
    assert next(p for p in PRICES if p.model == "claude-sonnet-4-5").rates.input_usd == Decimal(3)
