"""Costs of measured generations: exact, by the right model, at the right time, never by accident free."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price
from msgspec.structs import replace as replace_fields

from gateway.domain.money import usd_from_pico
from gateway.domain.request import RequestFacts
from gateway.domain.usage import Measurement, PriceSelectors, Usage, UsagePart, UsageSource
from gateway.pricing.book import PriceBook
from gateway.pricing.overrides import PriceOverride

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MILLION = 1_000_000


@pytest.fixture(scope="module")
def book():
    return PriceBook.load(NOW)


def measurement(*usages, model=None, parts=None, **fields):
    parts = parts or tuple(UsagePart(model=None, usage=usage) for usage in usages)
    return Measurement(
        parts=parts, **{"source": UsageSource.EXACT, "response_model": model, **fields}
    )


def charge(book, provider, request_model, measured, at=NOW):
    facts = RequestFacts(model=request_model, is_streaming=True, body_bytes=100)
    return book.charge(
        provider=provider, request_model=request_model, measurement=measured, facts=facts, at=at
    )


def usd(book, provider, request_model, *usages, at=NOW, **fields):
    charged = charge(book, provider, request_model, measurement(*usages, **fields), at)
    return usd_from_pico(charged.amounts.total_pico_usd)


def test_every_part_of_an_anthropic_charge_is_exact(book):
    used = Usage(
        input_uncached_tokens=1_003,
        cache_read_tokens=40_001,
        cache_write_5m_tokens=7,
        cache_write_1h_tokens=11,
        cache_write_unsplit_tokens=13,
        output_tokens=977,
        reasoning_tokens=500,
        web_search_requests=3,
    )
    charged = charge(book, "anthropic", "claude-opus-5", measurement(used))
    assert charged.amounts.input_pico_usd == 1_003 * 5_000_000
    assert charged.amounts.cache_read_pico_usd == 40_001 * 500_000
    assert charged.amounts.cache_write_pico_usd == 20 * 6_250_000 + 11 * 10_000_000
    assert charged.amounts.output_pico_usd == 977 * 25_000_000
    assert charged.amounts.web_search_pico_usd == 3 * 10**10
    assert charged.amounts.request_pico_usd == 0
    assert charged.price_version == "genai-prices-0.2.3"
    assert not charged.is_ceiling
    assert charged.list_pico_usd is None
    assert charged.rates == {
        "input": "5",
        "cache_read": "0.5",
        "cache_write_5m": "6.25",
        "cache_write_1h": "10",
        "output": "25",
        "web_search": "0.01",
    }


def test_the_smallest_call_costs_more_than_nothing(book):
    assert usd(book, "anthropic", "claude-haiku-5-5", Usage(cache_read_tokens=1)) == Decimal(
        "0.00000001"
    )


def test_audio_and_images_have_their_own_rates(book):
    used = Usage(input_uncached_tokens=10, input_audio_tokens=20, output_audio_tokens=30)
    charged = charge(book, "openai", "gpt-audio", measurement(used))
    assert charged.amounts.input_pico_usd == 10 * 2_500_000 + 20 * 32_000_000
    assert charged.amounts.output_pico_usd == 30 * 64_000_000
    assert charged.rates["input_audio"] == "32"
    images = charge(
        book, "openai", "gpt-realtime", measurement(Usage(input_image_tokens=5, output_tokens=1))
    )
    assert images.amounts.input_pico_usd == 5 * 5_000_000


def test_a_rate_finer_than_a_pico_dollar_rounds_the_charge_up_once(book):
    model = "google/gemini-2.5-flash"  # A cache write costs 0.0833333333333333 USD per million.
    one = charge(book, "openrouter", model, measurement(Usage(cache_write_unsplit_tokens=1)))
    many = charge(book, "openrouter", model, measurement(Usage(cache_write_unsplit_tokens=3_000)))
    assert one.amounts.total_pico_usd == 83_334
    assert many.amounts.total_pico_usd == 250_000_000


def test_the_model_that_answered_is_the_one_that_is_billed(book):
    used = Usage(output_tokens=MILLION)
    dated = "claude-haiku-4-5-20251001"
    assert usd(book, "anthropic", "claude-opus-5", used, model=dated) == 5
    assert usd(book, "anthropic", "some-alias", used, model=dated) == 5


def test_an_answering_model_without_a_price_is_billed_as_the_requested_one(book):
    charged = charge(
        book,
        "anthropic",
        "claude-opus-5",
        measurement(Usage(output_tokens=MILLION), model="claude-opus-99"),
    )
    assert usd_from_pico(charged.amounts.total_pico_usd) == 25
    assert not charged.is_ceiling


@pytest.mark.parametrize("asked", ["openai/gpt-oss-20b:free", "openai/gpt-4o-mini"])
def test_of_several_models_the_dearest_is_billed_where_none_says_that_it_answered(book, asked):
    used = Usage(input_uncached_tokens=1_000, output_tokens=10)

    def cost(model, *also, answered=None):
        facts = RequestFacts(model=model, is_streaming=True, body_bytes=100, also_models=also)
        measured = measurement(used, model=answered)
        charged = book.charge(
            provider="openrouter", request_model=model, measurement=measured, facts=facts, at=NOW
        )
        return charged.amounts.total_pico_usd

    dearest = cost("openai/gpt-4o")
    assert dearest > cost(asked)
    assert cost(asked, "openai/gpt-4o-mini", "openai/gpt-4o") == dearest
    assert cost(asked, "openai/gpt-4o", answered=asked) == cost(asked)


def test_on_bedrock_the_region_in_the_requested_profile_sets_the_price(book):
    used = Usage(output_tokens=MILLION)
    regional = usd(book, "bedrock", "us.anthropic.claude-opus-4-8", used, model="claude-opus-4-8")
    worldwide = usd(
        book, "bedrock", "global.anthropic.claude-opus-4-8", used, model="claude-opus-4-8"
    )
    assert regional == worldwide * Decimal("1.1") == Decimal("27.5")


@pytest.mark.parametrize(
    "name",
    [
        "claude-nova-9",
        "claude-haiku-4-5 ",
        "claude-haiku-4-5:free",
        "claude-haiku-4-5\x00",
        "claude-haiku-4-5\n",
        "claude-haiku-4-5\u200b",
        "claude-h\u0430iku-4-5",
        "claude-haiku-4-5" + "x" * 10_000,
        "",
    ],
)
def test_a_name_that_is_not_known_exactly_costs_the_providers_ceiling(book, name):
    used = Usage(
        input_uncached_tokens=MILLION,
        cache_read_tokens=MILLION,
        cache_write_5m_tokens=MILLION,
        cache_write_1h_tokens=MILLION,
        output_tokens=MILLION,
    )
    charged = charge(book, "anthropic", name, measurement(used))
    assert charged.is_ceiling
    assert not book.knows("anthropic", name)
    for model in book.models("anthropic"):
        known = charge(book, "anthropic", model, measurement(used)).amounts
        assert charged.amounts.input_pico_usd >= known.input_pico_usd
        assert charged.amounts.cache_read_pico_usd >= known.cache_read_pico_usd
        assert charged.amounts.cache_write_pico_usd >= known.cache_write_pico_usd
        assert charged.amounts.output_pico_usd >= known.output_pico_usd


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("gemini", "gemini-3.8-flash-lite"),
        ("gemini", "gemini-3.7-flash-lite"),
        ("gemini", "gemini-3.8-flash2"),
        ("deepseek", "deepseek-v4-pro-2"),
        ("deepseek", "deepseek-r1-distill-llama-8b"),
        ("openai", "gpt-4o-realtime-x"),
        ("anthropic", "claude-haiku-4-5x"),
        ("anthropic", "claude-opus-4-8-fast"),
        ("bedrock", "us.anthropic.claude-opus-4-6-mini-v1:0"),
        ("mistral", "magistral-small-pro"),
    ],
)
def test_a_name_that_only_begins_as_a_models_is_not_that_model(book, provider, name):
    used = measurement(Usage(output_tokens=MILLION))
    assert charge(book, provider, name, used).is_ceiling
    assert not book.knows(provider, name)


@pytest.mark.parametrize(
    ("provider", "name", "dollars"),
    [
        ("gemini", "gemini-3.8-flash-001", None),
        ("gemini", "gemini-3.8-flash-preview-09-2026", None),
        ("gemini", "gemini-3.8-flash-preview", None),
        ("gemini", "claude-opus-4-5@20251101", "25"),
        ("openai", "gpt-4o-realtime-preview-2025-06-03", "20"),
        ("openai", "gpt-5-nano-20250807", "0.4"),
        ("openai", "ft:gpt-4o-2024-08-06:org::id", "15"),
        ("azure_openai", "gpt-4o-mini-2024-07-18.ft-0123abcd", "1.2"),
        # The deep research model is not o4-mini, as which it begins.
        ("azure_openai", "o4-mini-deep-research", "8"),
        ("anthropic", "claude-3-5-sonnet-v2@20241022", "15"),
        ("anthropic", "claude-2.1", "24"),
        ("bedrock", "us.anthropic.claude-opus-4-5-20251101-v1:0", "27.5"),
        ("mistral", "magistral-small-latest", None),
    ],
)
def test_dates_versions_and_moving_names_are_of_the_model_before_them(
    book, provider, name, dollars
):
    charged = charge(book, provider, name, measurement(Usage(output_tokens=MILLION)))
    assert not charged.is_ceiling
    if dollars is not None:
        assert usd_from_pico(charged.amounts.total_pico_usd) == Decimal(dollars)


def test_every_published_id_means_its_own_model(book):
    for provider in ("openai", "azure_openai", "gemini", "bedrock", "mistral", "openrouter"):
        assert all(book.knows(provider, model) for model in book.models(provider))
    assert len(book.models("openai")) > 90


def test_letter_case_and_dated_snapshots_do_not_change_the_price(book):
    used = Usage(output_tokens=MILLION)
    for name in ("claude-haiku-4-5", "CLAUDE-Haiku-4-5", "claude-haiku-4-5-20251001"):
        assert usd(book, "anthropic", name, used) == 5
        assert book.knows("anthropic", name)
    for name in ("gpt-5.4", "gpt-5.4-2026-03-05", "gpt-5.4-20260305"):
        assert usd(book, "openai", name, used) == 15


def test_an_upstream_that_the_price_data_does_not_know_is_never_free(book):
    charged = charge(book, "our-vllm", "llama", measurement(Usage(output_tokens=1)))
    assert charged.is_ceiling
    assert charged.amounts.total_pico_usd > 0
    assert not book.knows("our-vllm", "llama")
    assert book.models("our-vllm") == []


def test_only_a_model_that_is_named_free_is_free(book):
    used = Usage(input_uncached_tokens=9, output_tokens=9)
    free = charge(book, "openrouter", "openai/gpt-oss-20b:free", measurement(used))
    assert free.amounts.total_pico_usd == 0
    assert not free.is_ceiling
    assert book.knows("openrouter", "openai/gpt-oss-20b:free")
    for provider, model in [
        ("openrouter", "stealth/crouton-alpha"),
        ("openai", "tts-1"),
        ("openai", "omni-moderation-latest"),
    ]:
        unpriced = charge(book, provider, model, measurement(used))
        assert unpriced.is_ceiling
        assert unpriced.amounts.total_pico_usd > 0


def test_a_long_prompt_moves_the_whole_request_to_the_dearer_tier(book):
    below = Usage(input_uncached_tokens=1_000, cache_read_tokens=99_000, output_tokens=1_000)
    above = Usage(input_uncached_tokens=1_001, cache_read_tokens=99_000, output_tokens=1_000)
    assert usd(book, "anthropic", "claude-haiku-5-5", below) == (
        Decimal("0.0001") + Decimal("0.00099") + Decimal("0.0005")
    )
    assert usd(book, "anthropic", "claude-haiku-5-5", above) == (
        Decimal("0.0005005") + Decimal("0.00495") + Decimal("0.0025")
    )


def test_the_tier_is_chosen_for_each_pass_and_not_for_their_sum(book):
    passes = [Usage(input_uncached_tokens=90_000, output_tokens=10)] * 5
    together = usd(book, "anthropic", "claude-sonnet-4-5", *passes)
    assert together == 5 * usd(book, "anthropic", "claude-sonnet-4-5", passes[0])
    cumulative = Usage(input_uncached_tokens=450_000, output_tokens=50)
    assert usd(book, "anthropic", "claude-sonnet-4-5", cumulative) > together


def test_each_part_is_priced_by_its_own_model(book):
    parts = (
        UsagePart(model=None, usage=Usage(input_uncached_tokens=1051, output_tokens=35)),
        UsagePart(
            model="claude-opus-4-7", usage=Usage(input_uncached_tokens=2728, output_tokens=874)
        ),
        UsagePart(
            model="claude-sonnet-4-6", usage=Usage(input_uncached_tokens=1363, output_tokens=3165)
        ),
    )
    charged = charge(
        book, "anthropic", "claude-sonnet-4-6", measurement(parts=parts, model="claude-sonnet-4-6")
    )
    assert usd_from_pico(charged.amounts.total_pico_usd) == Decimal("0.090732")
    assert charged.rates["output"] == "15"
    assert charged.rates["claude-opus-4-7/output"] == "25"


def test_a_part_whose_model_has_no_price_costs_the_ceiling(book):
    parts = (
        UsagePart(model=None, usage=Usage(output_tokens=1)),
        UsagePart(model="claude-hidden-1", usage=Usage(output_tokens=MILLION)),
    )
    charged = charge(book, "anthropic", "claude-haiku-4-5", measurement(parts=parts))
    assert charged.is_ceiling
    assert charged.amounts.output_pico_usd == 5_000_000 + 75 * 10**12


def test_an_unbilled_answer_costs_nothing_and_says_so(book):
    charged = charge(
        book,
        "anthropic",
        "claude-opus-5",
        measurement(Usage(input_uncached_tokens=500), is_unbilled=True),
    )
    assert charged.amounts.total_pico_usd == 0
    assert charged.price_version == "unbilled"


@pytest.mark.parametrize("reported_pico_usd", [0, 1, 999, 7_000_001, 30_000_000_000, 10**15])
def test_the_providers_own_figure_is_the_charge_to_the_last_digit(book, reported_pico_usd):
    used = Usage(input_uncached_tokens=1_001, cache_read_tokens=333, output_tokens=77)
    reported = measurement(
        used,
        source=UsageSource.PROVIDER_REPORTED,
        provider_cost_pico_usd=reported_pico_usd,
    )
    table = charge(book, "openrouter", "anthropic/claude-sonnet-4.5", measurement(used)).amounts
    charged = charge(book, "openrouter", "anthropic/claude-sonnet-4.5", reported)
    parts = charged.amounts
    assert parts.total_pico_usd == reported_pico_usd
    assert charged.list_pico_usd == table.total_pico_usd
    assert charged.price_version == "provider-reported/genai-prices-0.2.3"
    if reported_pico_usd >= table.total_pico_usd:
        assert parts.input_pico_usd == table.input_pico_usd
        assert parts.output_pico_usd == table.output_pico_usd
        assert parts.request_pico_usd == reported_pico_usd - table.total_pico_usd
    else:
        assert 0 <= parts.input_pico_usd <= table.input_pico_usd
        assert 0 <= parts.cache_read_pico_usd <= table.cache_read_pico_usd
        assert parts.output_pico_usd >= 0


def test_the_providers_figure_settles_the_price_of_a_model_that_is_not_known(book):
    charged = charge(
        book,
        "openrouter",
        "new/model",
        measurement(Usage(output_tokens=10), provider_cost_pico_usd=123_457),
    )
    assert charged.amounts.total_pico_usd == 123_457
    assert not charged.is_ceiling
    assert charged.list_pico_usd is None


def test_a_negative_figure_of_a_provider_is_not_believed(book):
    charged = charge(
        book,
        "openrouter",
        "anthropic/claude-sonnet-4.5",
        measurement(Usage(output_tokens=MILLION), provider_cost_pico_usd=-5),
    )
    assert usd_from_pico(charged.amounts.total_pico_usd) == 15


def test_a_price_holds_from_its_date_on(book):
    long_prompt = Usage(input_uncached_tokens=300_000)
    before, after = datetime(2026, 3, 12, 23, 59, tzinfo=UTC), datetime(2026, 3, 13, tzinfo=UTC)
    for _ in range(2):  # Compiled prices are kept, but never past their time.
        assert usd(book, "anthropic", "claude-opus-4-6", long_prompt, at=before) == 3
        assert usd(book, "anthropic", "claude-opus-4-6", long_prompt, at=after) == Decimal("1.5")


def test_prices_by_the_hour_of_the_day_change_on_the_hour(book):
    seen = set()
    for minute in range(0, 24 * 60, 30):
        at = datetime(2026, 11, 23, tzinfo=UTC) + timedelta(minutes=minute)
        ours = usd(book, "deepseek", "deepseek-v4-pro", Usage(output_tokens=MILLION), at=at)
        theirs = calc_price(
            TheirUsage(input_tokens=0, output_tokens=MILLION),
            "deepseek-v4-pro",
            provider_id="deepseek",
            genai_request_timestamp=at,
        )
        assert ours == theirs.total_price
        seen.add(ours)
    assert len(seen) > 1


def test_a_price_that_the_operator_set_holds_from_its_date_and_over_the_table():
    start = NOW + timedelta(hours=1)
    override = PriceOverride(
        provider="our-vllm",
        model="llama",
        starts_at=start,
        input_usd=Decimal("0.2"),
        output_usd=Decimal("0.4"),
    )
    book = PriceBook.load(NOW, [override])
    used = measurement(Usage(input_uncached_tokens=10, cache_write_1h_tokens=5, output_tokens=20))
    assert charge(book, "our-vllm", "llama", used, NOW).is_ceiling
    charged = charge(book, "our-vllm", "llama", used, start)
    assert not charged.is_ceiling
    assert charged.amounts.total_pico_usd == 10 * 200_000 + 5 * 400_000 + 20 * 400_000
    assert charged.price_version == "set-from-2026-11-23"
    book.set_overrides([])
    assert charge(book, "our-vllm", "llama", used, start).is_ceiling


def test_a_set_price_replaces_the_published_one_at_once():
    book = PriceBook.load(NOW)
    used = Usage(output_tokens=MILLION)
    assert usd(book, "anthropic", "claude-opus-5", used) == 25
    book.set_overrides(
        [
            PriceOverride(
                provider="anthropic",
                model="claude-opus-5",
                starts_at=NOW - timedelta(days=1),
                input_usd=Decimal(4),
                output_usd=Decimal(20),
            )
        ]
    )
    assert usd(book, "anthropic", "claude-opus-5", used) == 20
    assert usd(book, "anthropic", "claude-opus-5", used, at=NOW - timedelta(days=2)) == 25
    assert book.knows("anthropic", "claude-opus-5")


def dated(model, *usd_per_mtok, day=timedelta(days=1)):
    """A price from yesterday on, another from tomorrow, and so on."""
    return [
        PriceOverride(
            provider="our-vllm",
            model=model,
            starts_at=NOW + (2 * number - 1) * day,
            input_usd=Decimal(price),
            output_usd=Decimal(price),
        )
        for number, price in enumerate(usd_per_mtok)
    ]


def test_a_published_price_ends_where_one_that_was_set_begins():
    (price,) = dated("claude-opus-5", 1)
    start = NOW + timedelta(hours=1)
    book = PriceBook.load(NOW, [replace(price, provider="anthropic", starts_at=start)])
    used = Usage(output_tokens=MILLION)
    prices = [usd(book, "anthropic", "claude-opus-5", used, at=at) for at in (NOW, start, NOW)]
    assert prices == [25, 1, 25]


def test_a_price_that_ends_ends_for_holds_too():
    book = PriceBook.load(NOW, dated("llama", 1, 3))
    facts = RequestFacts(model="llama", is_streaming=True, body_bytes=100, max_output_tokens=50)
    held = [
        book.bounds(provider="our-vllm", facts=facts, at=NOW + timedelta(days=days))
        for days in (0, 2, 0)
    ]
    assert held[1].worst_pico_usd == 3 * held[0].worst_pico_usd
    assert held[1].expected_pico_usd == 3 * held[0].expected_pico_usd
    assert held[2] == held[0]
    book.set_overrides(dated("llama", 5))
    now = book.bounds(provider="our-vllm", facts=facts, at=NOW)
    assert now.worst_pico_usd == 5 * held[0].worst_pico_usd


def test_a_price_that_ends_ends_for_a_part_of_an_answer_too():
    book = PriceBook.load(NOW, [*dated("llama", 1), *dated("helper", 1, 3)])
    used = Usage(output_tokens=10)
    parts = (UsagePart(model=None, usage=used), UsagePart(model="helper", usage=used))
    measured = measurement(parts=parts)
    totals = [
        charge(book, "our-vllm", "llama", measured, NOW + timedelta(days=days))
        for days in (0, 2, 0)
    ]
    assert [total.amounts.output_pico_usd for total in totals] == [
        20_000_000,
        40_000_000,
        20_000_000,
    ]
    book.set_overrides([*dated("llama", 1), *dated("helper", 5)])
    assert charge(book, "our-vllm", "llama", measured).amounts.output_pico_usd == 60_000_000


def test_what_is_rounded_up_goes_to_the_part_with_the_largest_remainder():
    override = PriceOverride(
        provider="our-vllm",
        model="llama",
        starts_at=NOW - timedelta(days=1),
        input_usd=Decimal("0.0000001"),
        output_usd=Decimal("0.0000007"),
    )
    book = PriceBook.load(NOW, [override])
    used = Usage(input_uncached_tokens=2, output_tokens=1)
    amounts = charge(book, "our-vllm", "llama", measurement(used)).amounts
    assert (amounts.total_pico_usd, amounts.output_pico_usd) == (1, 1)


def test_more_reasoning_than_output_is_no_more_than_the_output(book):
    told = [Usage(output_tokens=10, reasoning_tokens=reasoning) for reasoning in (10, 1_000)]
    costs = [usd(book, "perplexity", "sonar-deep-research", used) for used in told]
    assert costs[0] == costs[1]
    assert costs[0] != usd(book, "perplexity", "sonar-deep-research", Usage(output_tokens=10))


def test_a_fee_of_the_request_is_charged_once_however_many_models_worked_on_it():
    prices = [replace(price, request_usd=Decimal("0.01")) for price in dated("llama", 1)]
    book = PriceBook.load(NOW, [*prices, *dated("helper", 1)])
    parts = tuple(UsagePart(model=model, usage=Usage(output_tokens=1)) for model in (None, "llama"))
    charged = charge(book, "our-vllm", "llama", measurement(parts=parts))
    assert charged.amounts.request_pico_usd == 10**10


def test_an_upstream_that_nobody_knows_is_as_dear_as_the_dearest_of_all(book):
    used = Usage(output_tokens=MILLION)
    dearest = [
        usd(book, provider, "nobody-knows-this", used)
        for provider in ("our-vllm", "anthropic", "openai")
    ]
    assert dearest[0] == max(dearest[1:])


def test_one_part_at_a_ceiling_makes_the_whole_one(book):
    used = Usage(output_tokens=1)
    names = ["nobody-knows-this", "claude-haiku-5-5"]
    for ordered in (names, names[::-1]):
        parts = tuple(UsagePart(model=name, usage=used) for name in ordered)
        assert charge(book, "anthropic", "claude-opus-5", measurement(parts=parts)).is_ceiling


def test_each_choice_is_held_for_at_its_worst():
    book = PriceBook.load(NOW, dated("llama", 1))
    facts = RequestFacts(model="llama", is_streaming=True, body_bytes=100, max_output_tokens=1_000)
    one, many = (
        book.bounds(
            provider="our-vllm", facts=replace_fields(facts, choice_count=count), at=NOW
        ).worst_pico_usd
        for count in (1, 5)
    )
    assert many - one == 4 * 1_000 * 10**6


def test_one_breakpoint_for_an_hour_makes_all_be_held_for_at_that_rate(book):
    facts = RequestFacts(model="claude-opus-5", is_streaming=True, body_bytes=100)
    worst = {
        ttls: book.bounds(
            provider="anthropic", facts=replace_fields(facts, cache_ttls=ttls), at=NOW
        ).worst_pico_usd
        for ttls in ((), ("5m",), ("5m", "1h"), ("1h", "5m"), ("1h",))
    }
    assert worst[()] < worst["5m",] < worst["1h",]
    assert worst["5m", "1h"] == worst["1h", "5m"] == worst["1h",]


def test_a_call_that_can_cost_something_holds_something_rounded_up():
    (price,) = dated("llama", "0.0000001")
    facts = RequestFacts(model="llama", is_streaming=True, body_bytes=1, max_output_tokens=0)
    book = PriceBook.load(NOW, [price])
    assert book.bounds(provider="our-vllm", facts=facts, at=NOW).worst_pico_usd == 820
    written = replace(
        price, input_usd=Decimal(0), output_usd=Decimal(0), cache_write_5m_usd=Decimal(1)
    )
    book = PriceBook.load(NOW, [written])
    bounds = book.bounds(provider="our-vllm", facts=facts, at=NOW)
    assert bounds.worst_pico_usd > 0
    assert bounds.expected_pico_usd == 1


def test_no_more_is_held_for_than_a_model_can_read():
    book = PriceBook.load(NOW, dated("llama", 1))
    facts = RequestFacts(model="llama", is_streaming=True, body_bytes=1 << 30, max_output_tokens=0)
    worst = book.bounds(provider="our-vllm", facts=facts, at=NOW).worst_pico_usd
    assert worst == 1_050_000 * 10**6


class TestExpectations:
    """What calls usually cost, learnt from what they cost."""

    FACTS = RequestFacts(model="llama", is_streaming=True, body_bytes=4_000)
    PLAIN = Usage(input_uncached_tokens=1_001, output_tokens=100)

    @pytest.fixture
    def learning(self):
        return PriceBook.load(NOW, [*dated("llama", 1), *dated("alpaca", 1)])

    def expected(self, book, facts=FACTS):
        return book.bounds(provider="our-vllm", facts=facts, at=NOW).expected_pico_usd

    def observe(self, book, used=PLAIN, facts=FACTS, times=1, **fields):
        measured = measurement(used, **fields)
        charged = charge(book, "our-vllm", facts.model, measured)
        for _ in range(times):
            book.observed(
                provider="our-vllm", facts=facts, measurement=measured, charge=charged, at=NOW
            )

    def test_it_comes_near_what_they_cost_and_a_margin(self, learning):
        before = self.expected(learning)
        self.observe(learning, times=200)
        after = self.expected(learning)
        assert after == pytest.approx(1_101 * 10**6 * 1.3, rel=0.02)
        assert after < before

    @pytest.mark.parametrize(
        "fields", [{"source": UsageSource.ESTIMATED}, {"is_unbilled": True}], ids=str
    )
    def test_estimates_and_what_is_free_teach_nothing(self, learning, fields):
        before = self.expected(learning)
        self.observe(learning, times=200, **fields)
        assert self.expected(learning) == before

    def test_a_model_teaches_nothing_about_another(self, learning):
        other = replace_fields(self.FACTS, model="alpaca")
        before = self.expected(learning, other)
        self.observe(learning, Usage(input_uncached_tokens=9, output_tokens=9_999), times=20)
        assert self.expected(learning, other) == before
        assert self.expected(PriceBook.load(NOW, dated("llama", 1))) == before

    def test_output_is_learnt_by_the_choice(self, learning):
        single = PriceBook.load(NOW, dated("llama", 1))
        self.observe(single, times=200)
        many = replace_fields(self.FACTS, choice_count=4)
        used = Usage(input_uncached_tokens=1_001, output_tokens=400)
        self.observe(learning, used, many, times=200)
        assert self.expected(learning, many) == self.expected(single, many)

    def test_one_absurd_answer_teaches_little(self, learning):
        bare = replace_fields(self.FACTS, max_output_tokens=0)
        before = self.expected(learning, bare)
        self.observe(learning, Usage(input_uncached_tokens=10**9, output_tokens=10**9))
        assert self.expected(learning, bare) <= before * 1.5
        unbounded = replace_fields(self.FACTS, max_output_tokens=10**6)
        assert self.expected(learning, unbounded) < 100_000 * 10**6

    def test_a_discount_that_was_only_asked_for_lowers_no_hold(self, book):
        plain, flex = (
            RequestFacts(model="gpt-5", is_streaming=True, body_bytes=4_000, service_tier=tier)
            for tier in (None, "flex")
        )
        held = [book.bounds(provider="openai", facts=facts, at=NOW) for facts in (plain, flex)]
        assert held[0] == held[1]
        assert held[0].expected_pico_usd > 0


def test_memory_is_bounded_however_many_names_are_tried():
    book = PriceBook.load(NOW)
    tried = measurement(Usage(output_tokens=1))
    for number in range(4_200):
        charge(book, "fireworks", f"made-up-{number}", tried)
    charge(book, "fireworks", "y" * 100_000, tried)
    assert len(book._cards) == 4_096
    assert all(len(key[1][0]) < 201 for key in book._cards._entries)
    assert len(book._maker._resolver._unknown) == 4_096


def test_the_shown_rates_are_those_of_the_table(book):
    assert book.rates("anthropic", "claude-haiku-4-5", NOW) == {
        "input": "1",
        "cache_read": "0.1",
        "cache_write_5m": "1.25",
        "cache_write_1h": "2",
        "output": "5",
    }
    assert book.rates("anthropic", "claude-nova-9", NOW) is None
    assert "claude-haiku-4-5" in book.models("anthropic")


def test_loading_prices_starts_no_thread():
    before = threading.active_count()
    usd(PriceBook.load(NOW), "openai", "gpt-5.4", Usage(output_tokens=1))
    assert threading.active_count() == before


def test_selectors_of_the_response_are_kept_apart_in_the_cache(book):
    used = Usage(output_tokens=MILLION)
    assert usd(book, "anthropic", "claude-opus-5", used) == 25
    fast = PriceSelectors(speed="fast")
    assert usd(book, "anthropic", "claude-opus-5", used, selectors=fast) == 50
    assert usd(book, "anthropic", "claude-opus-5", used) == 25


@pytest.mark.parametrize(
    ("model", "heard_usd", "said_usd"),
    [("gpt-4o-audio-preview-2025-06-03", 40, 80), ("gpt-4o-mini-audio-preview-2024-12-17", 10, 20)],
)
def test_sound_that_the_price_data_forgets_has_its_price(book, model, heard_usd, said_usd):
    used = Usage(
        input_audio_tokens=MILLION, cache_read_audio_tokens=MILLION, output_audio_tokens=MILLION
    )
    charged = charge(book, "openai", model, measurement(used))
    assert usd_from_pico(charged.amounts.input_pico_usd) == heard_usd
    assert usd_from_pico(charged.amounts.cache_read_pico_usd) == heard_usd
    assert usd_from_pico(charged.amounts.output_pico_usd) == said_usd
    assert charged.price_version == "genai-prices-0.2.3+corrected-1"


def test_a_long_prompt_that_the_price_data_forgets_is_dearer(book):
    below = Usage(input_uncached_tokens=272_000, output_tokens=1_000)
    above = Usage(input_uncached_tokens=272_001, output_tokens=1_000)
    assert usd(book, "openai", "gpt-5.6-cyber", below) == Decimal("3.4") + Decimal("0.075")
    assert usd(book, "openai", "gpt-5.6-cyber", above) == Decimal("6.800025") + Decimal("0.1125")


def test_mistrals_cached_tokens_cost_a_tenth_with_every_model(book):
    cached = Usage(cache_read_tokens=MILLION)
    assert usd(book, "mistral", "codestral-latest", cached) == Decimal("0.03")
    assert usd(book, "mistral", "codestral-2508", cached) == Decimal("0.03")


def test_a_name_that_moved_to_another_model_has_that_models_price(book):
    used = Usage(output_tokens=MILLION)
    assert usd(book, "mistral", "magistral-medium-latest", used) == Decimal("7.5")
    assert usd(book, "xai", "grok-code-fast", used) == 2


def test_a_government_cloud_is_not_priced_as_a_region_of_the_public_one(book):
    used = measurement(Usage(output_tokens=MILLION))
    assert charge(book, "bedrock", "us-gov.anthropic.claude-sonnet-5-5", used).is_ceiling
