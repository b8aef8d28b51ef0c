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
    "tier", ["unspecified", "SERVICE_TIER_UNSPECIFIED", "TRAFFIC_TYPE_UNSPECIFIED"]
)
def test_a_tier_that_was_not_set_is_the_plain_one(book, tier):
    plain = charged(book, "gemini", "gemini-3.8-flash")
    assert charged(book, "gemini", "gemini-3.8-flash", said={"service_tier": tier}) == plain
    assert plain[1] is False


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


@pytest.mark.parametrize(
    ("tier", "main_usd"), [("priority", 100), ("flex", 25), ("ultrafast", 300)]
)
def test_the_tier_of_an_answer_is_not_forced_on_the_model_of_a_tool_that_has_none(
    book, tier, main_usd
):
    image = Usage(output_image_tokens=1_000_000)
    parts = (UsagePart(model=None, usage=OUTPUT), UsagePart(model="gpt-image-2", usage=image))
    plain, _ = charged(book, "openai", "gpt-image-2", parts=parts[1:])
    total = charged(book, "openai", "gpt-6-astra", parts=parts, said={"service_tier": tier})
    assert total == (main_usd + plain, False)


def test_a_tier_that_nobody_has_is_unknown_to_the_model_of_a_tool_as_well(book):
    parts = (UsagePart(model=None, usage=OUTPUT), UsagePart(model="gpt-image-2", usage=OUTPUT))
    plain, _ = charged(book, "openai", "gpt-6-astra", parts=parts)
    total = charged(book, "openai", "gpt-6-astra", parts=parts, said={"service_tier": "hyper"})
    assert total == (6 * plain, True)


@pytest.mark.parametrize(
    ("model", "said", "dollars", "is_flagged"),
    [
        # usage.md 2.1, probes: LiteLLM has ultrafast at six times the plain price.
        ("gpt-6-astra", {"service_tier": "ultrafast"}, "300", False),
        ("gpt-6.1-sol", {"service_tier": "ultrafast"}, "60", False),
        ("gpt-6-luna", {"service_tier": "ultrafast"}, "6x", True),
        # usage.md 1.2: a request for `fast` is answered as `priority`.
        ("gpt-6-astra", {"service_tier": "priority"}, "100", False),
        ("gpt-6-astra", {"service_tier": "flex"}, "25", False),
    ],
)
def test_tiers_of_openais_newest_models(book, model, said, dollars, is_flagged):
    expected = 6 * charged(book, "openai", model)[0] if dollars == "6x" else Decimal(dollars)
    assert charged(book, "openai", model, said=said) == (expected, is_flagged)


def test_ultrafast_multiplies_the_tier_of_a_long_prompt_too(book):
    used = Usage(input_uncached_tokens=300_000, cache_read_tokens=10, output_tokens=100)
    plain, _ = charged(book, "openai", "gpt-6-astra", used)
    fast = charged(book, "openai", "gpt-6-astra", used, said={"service_tier": "ultrafast"})
    assert fast == (6 * plain, False)


@pytest.mark.parametrize(
    ("model", "said", "factor", "is_flagged"),
    [
        # usage.md 1.6: `serviceTier.type` and `performanceConfig.latency`.
        ("amazon.nova-pro-v1:0", {"service_tier": "priority"}, "1.75", False),
        ("us.amazon.nova-2-lite-v1:0", {"service_tier": "priority"}, "1.75", False),
        ("global.moonshotai.kimi-k3", {"service_tier": "flex"}, "0.5", False),
        ("openai.gpt-oss-120b-1:0", {"service_tier": "flex"}, "0.5", False),
        ("amazon.nova-pro-v1:0", {"service_tier": "reserved"}, "1", False),
        ("amazon.nova-pro-v1:0", {"service_tier": "default"}, "1", False),
        ("amazon.nova-pro-v1:0", {"speed": "standard"}, "1", False),
        ("amazon.nova-pro-v1:0", {"speed": "optimized"}, "1.25", True),
        ("us.anthropic.claude-3-5-haiku-20241022-v1:0", {"speed": "optimized"}, "1.25", True),
        ("global.anthropic.claude-opus-5", {"speed": "optimized"}, "6", True),
        ("global.anthropic.claude-opus-5", {"service_tier": "priority"}, "6", True),
        ("global.anthropic.claude-opus-5", {"service_tier": "flex"}, "1", True),
    ],
)
def test_tiers_and_latency_on_bedrock(book, model, said, factor, is_flagged):
    plain, is_unknown = charged(book, "bedrock", model)
    assert not is_unknown
    expected = (plain * Decimal(factor), is_flagged)
    assert charged(book, "bedrock", model, said=said) == expected


@pytest.mark.parametrize(
    ("scope", "factor"), [("global.", "1"), ("us.", "1.1"), ("eu.", "1.1"), ("jp.", "1.1")]
)
def test_a_bedrock_profile_inside_a_region_costs_a_tenth_more_usage_md_1_6(book, scope, factor):
    dollars, is_flagged = charged(book, "bedrock", f"{scope}anthropic.claude-opus-5")
    assert (dollars, is_flagged) == (25 * Decimal(factor), False)


def test_a_bedrock_discount_is_granted_by_the_response_alone(book):
    plain = charged(book, "bedrock", "amazon.nova-pro-v1:0")
    assert charged(book, "bedrock", "amazon.nova-pro-v1:0", asked={"service_tier": "flex"}) == plain


@pytest.mark.parametrize(
    ("model", "dollars"),
    [("claude-opus-5", "50"), ("claude-opus-4-8", "50"), ("claude-opus-5-5", "40")],
)
def test_fast_speed_is_twice_the_price_today_usage_md_1_1(book, model, dollars):
    assert charged(book, "anthropic", model, said={"speed": "fast"}) == (Decimal(dollars), False)


@pytest.mark.parametrize("value", ["ultrafast", "warp"])
def test_an_unknown_model_at_an_unpublished_tier_is_six_times_the_ceiling(book, value):
    plain, _ = charged(book, "openai", "unknown")
    dollars, is_flagged = charged(book, "openai", "unknown", said={"service_tier": value})
    assert is_flagged
    assert dollars >= 6 * plain


@pytest.mark.parametrize(
    ("model", "said", "factor", "cached_factor"),
    [
        # usage.md 1.5: `serviceTier`, `trafficType`.
        ("gemini-3.6-flash", {"service_tier": "flex"}, "0.5", "0.5"),
        ("gemini-3.6-flash", {"service_tier": "priority"}, "1.8", "1.8"),
        ("gemini-3-flash-preview", {"service_tier": "flex"}, "0.5", "1"),
        ("gemini-2.5-pro", {"service_tier": "flex"}, "0.5", "1"),
        ("gemini-2.5-pro", {"service_tier": "priority"}, "1.8", "1.8"),
        ("gemini-2.5-flash-image", {"service_tier": "flex"}, "0.5", "0.5"),
        ("gemini-2.5-pro", {"service_tier": "ON_DEMAND"}, "1", "1"),
        ("gemini-2.5-pro", {"service_tier": "PROVISIONED_THROUGHPUT"}, "1", "1"),
    ],
)
def test_tiers_of_gemini(book, model, said, factor, cached_factor):
    cached = Usage(cache_read_tokens=100_000)
    plain, _ = charged(book, "gemini", model)
    plain_cached, _ = charged(book, "gemini", model, cached)
    assert charged(book, "gemini", model, said=said) == (plain * Decimal(factor), False)
    assert charged(book, "gemini", model, cached, said=said) == (
        plain_cached * Decimal(cached_factor),
        False,
    )
