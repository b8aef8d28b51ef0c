"""Service tiers, speeds and geographies: known ones exact, unknown ones at a flagged ceiling."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from gateway.domain.money import usd_from_pico
from gateway.domain.request import RequestFacts
from gateway.domain.usage import Measurement, PriceSelectors, Usage, UsagePart, UsageSource
from gateway.pricing.book import PriceBook

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
OUTPUT = Usage(output_tokens=1_000_000)


@pytest.fixture(scope="module")
def book():
    return PriceBook.load(NOW)


def charged(book, provider, model, usage=OUTPUT, *, said=None, asked=None, parts=None):
    measured = Measurement(
        parts=parts or (UsagePart(model=None, usage=usage),),
        source=UsageSource.EXACT,
        response_model=model,
        selectors=PriceSelectors(**(said or {})),
    )
    facts = RequestFacts(model=model, is_streaming=True, body_bytes=1, **(asked or {}))
    charge = book.charge(
        provider=provider, request_model=model, measurement=measured, facts=facts, at=NOW
    )
    return usd_from_pico(charge.amounts.total_pico_usd), charge.is_ceiling


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"service_tier": "standard", "speed": "standard", "inference_geo": "global"},
        {"service_tier": "default", "inference_geo": "not_available"},
        {"service_tier": "auto"},
        {"service_tier": "on_demand"},
        {"service_tier": "ON_DEMAND"},
        {"service_tier": ""},
    ],
)
def test_plain_values_are_the_plain_price(book, said):
    assert charged(book, "anthropic", "claude-opus-5", said=said) == (25, False)
    assert charged(book, "groq", "openai/gpt-oss-20b", said=said)[1] is False


@pytest.mark.parametrize(
    ("model", "dollars"),
    [
        ("claude-opus-4-6", "27.5"),
        ("claude-opus-5", "27.5"),
        ("claude-opus-5-5", "22"),
        ("claude-sonnet-4-6", "16.5"),
        ("claude-haiku-5-5", "0.55"),
        ("claude-fable-5-2", "44"),
        ("claude-opus-4-5", "25"),
        ("claude-opus-4-1-20250805", "75"),
        ("claude-sonnet-4-5", "15"),
        ("claude-haiku-4-5", "5"),
    ],
)
def test_processing_inside_the_us_costs_a_tenth_more_from_opus_4_6_on(book, model, dollars):
    said = {"inference_geo": "us"}
    assert charged(book, "anthropic", model, said=said) == (Decimal(dollars), False)


def test_the_geography_multiplies_every_token_but_no_fee(book):
    used = Usage(
        input_uncached_tokens=1_000_000,
        cache_read_tokens=1_000_000,
        cache_write_5m_tokens=1_000_000,
        cache_write_1h_tokens=1_000_000,
        output_tokens=1_000_000,
        web_search_requests=1,
    )
    plain, _ = charged(book, "anthropic", "claude-opus-5", used)
    inside, _ = charged(book, "anthropic", "claude-opus-5", used, said={"inference_geo": "us"})
    fee = Decimal("0.01")
    assert inside - fee == (plain - fee) * Decimal("1.1")


def test_an_unknown_geography_is_charged_as_the_dearest_known_one_and_flagged(book):
    said = {"inference_geo": "mars"}
    assert charged(book, "anthropic", "claude-opus-5", said=said) == (Decimal("27.5"), True)
    assert charged(book, "openai", "gpt-5.4", said=said) == (Decimal("16.5"), True)


def test_fast_speed_has_its_published_price(book):
    assert charged(book, "anthropic", "claude-opus-5", said={"speed": "fast"}) == (50, False)
    both = {"speed": "fast", "inference_geo": "us"}
    assert charged(book, "anthropic", "claude-opus-5", said=both) == (55, False)


def test_fast_speed_without_a_published_price_is_six_fold_and_flagged(book):
    assert charged(book, "anthropic", "claude-opus-4-6", said={"speed": "fast"}) == (150, True)
    assert charged(book, "anthropic", "claude-opus-5", said={"speed": "warp"}) == (150, True)


@pytest.mark.parametrize(
    ("tier", "dollars", "is_ceiling"),
    [
        ("priority", "14", False),
        ("fast", "14", False),
        ("Priority", "14", False),
        ("batch", "4", False),
        ("flex", "8", True),
        ("ultrafast", "48", True),
        ("brand-new", "48", True),
    ],
)
def test_service_tiers_of_openai(book, tier, dollars, is_ceiling):
    said = {"service_tier": tier}
    assert charged(book, "openai", "gpt-4.1", said=said) == (Decimal(dollars), is_ceiling)


def test_azure_prices_a_tier_by_the_model_that_it_resells(book):
    plain, _ = charged(book, "azure_openai", "gpt-4.1")
    assert charged(book, "azure_openai", "gpt-4.1", said={"service_tier": "flex"})[0] <= plain
    openai = charged(book, "openai", "gpt-6.1-sol", said={"service_tier": "priority"})
    assert charged(book, "azure_openai", "gpt-6.1-sol", said={"service_tier": "priority"}) == openai


def test_a_discount_is_granted_by_the_response_alone(book):
    assert charged(book, "openai", "o3", said={"service_tier": "flex"}) == (4, False)
    assert charged(book, "openai", "o3", asked={"service_tier": "flex"}) == (8, False)
    assert charged(book, "openai", "o3", asked={"service_tier": "batch"}) == (8, False)


def test_a_surcharge_that_was_asked_for_counts_where_the_response_is_silent(book):
    assert charged(book, "openai", "o3", asked={"service_tier": "priority"}) == (14, False)
    assert charged(book, "anthropic", "claude-opus-5", asked={"speed": "fast"}) == (50, False)
    assert charged(book, "anthropic", "claude-opus-5", asked={"inference_geo": "us"}) == (
        Decimal("27.5"),
        False,
    )


def test_the_served_tier_counts_and_not_the_requested_one(book):
    served = charged(
        book,
        "openai",
        "o3",
        said={"service_tier": "default"},
        asked={"service_tier": "priority"},
    )
    assert served == (8, False)


def test_anthropics_priority_tier_is_committed_capacity_at_the_list_price(book):
    assert charged(book, "anthropic", "claude-opus-5", said={"service_tier": "priority"}) == (
        25,
        False,
    )


def test_an_unknown_model_under_a_surcharge_is_never_cheaper_than_a_known_one(book):
    unknown, is_ceiling = charged(
        book, "anthropic", "claude-nova-9", said={"speed": "fast", "inference_geo": "us"}
    )
    assert is_ceiling
    for model in book.models("anthropic"):
        known, is_guess = charged(
            book, "anthropic", model, said={"speed": "fast", "inference_geo": "us"}
        )
        if not is_guess:
            assert unknown >= known
    assert charged(book, "groq", "unknown", said={"service_tier": "ultra"})[0] >= (
        6 * charged(book, "groq", "unknown")[0]
    )


def test_the_speed_of_an_answer_is_not_forced_on_a_helper_model_that_has_none(book):
    parts = (
        UsagePart(model=None, usage=OUTPUT),
        UsagePart(model="claude-opus-4-7", usage=OUTPUT),
    )
    total = charged(book, "anthropic", "claude-opus-5", parts=parts, said={"speed": "fast"})
    assert total == (50 + 25, False)
