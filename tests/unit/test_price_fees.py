"""Fees of tools that run at the provider: dated, by model and provider, in the part that is theirs."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from gateway.domain.request import RequestFacts
from gateway.domain.usage import Measurement, Usage, UsagePart, UsageSource
from gateway.pricing.book import PriceBook
from gateway.pricing.compile import FEE_KINDS
from gateway.pricing.fees import FEES, fee
from gateway.pricing.overrides import PriceOverride

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TODAY = NOW.date()


@pytest.fixture(scope="module")
def book():
    return PriceBook.load(NOW)


def charge(book, provider, model, *usages):
    measured = Measurement(
        parts=tuple(UsagePart(model=None, usage=usage) for usage in usages),
        source=UsageSource.EXACT,
        response_model=model,
    )
    facts = RequestFacts(model=model, is_streaming=True, body_bytes=100)
    return book.charge(
        provider=provider, request_model=model, measurement=measured, facts=facts, at=NOW
    )


@pytest.mark.parametrize(
    ("provider", "model", "used", "dollars"),
    [
        # usage.md 1.1: Anthropic's searches, $10 per 1,000.
        ("anthropic", "claude-opus-5", Usage(web_search_requests=3), "0.03"),
        # usage.md 1.2: the older search tool, $10 with reasoning models and $25 with others.
        ("openai", "gpt-5.4", Usage(web_search_preview_requests=1), "0.01"),
        ("openai", "gpt-4.1", Usage(web_search_preview_requests=1), "0.025"),
        ("openai", "gpt-4o-search-preview", Usage(web_search_preview_requests=1), "0.025"),
        ("openai", "gpt-5-search-api", Usage(web_search_preview_requests=1), "0.01"),
        ("openai", "gpt-4.1", Usage(web_search_requests=1), "0.01"),
        # usage.md 2.1 names what the price data lacks: Azure's own fees.
        ("azure_openai", "gpt-4.1", Usage(web_search_requests=1), "0.014"),
        # usage.md 1.3: file search, $2.50 per 1,000; a container's session, $0.03.
        ("openai", "gpt-5.4", Usage(file_search_calls=4), "0.01"),
        ("openai", "gpt-5.4", Usage(container_gigabytes=1), "0.03"),
        ("openai", "gpt-5.4", Usage(container_gigabytes=4), "0.12"),
        ("azure_openai", "gpt-5.4", Usage(container_gigabytes=1), "0.033"),
        # usage.md 1.5: grounding, $14 per 1,000 queries and $35 per 1,000 prompts.
        ("gemini", "gemini-3.5-flash", Usage(web_search_requests=2), "0.028"),
        ("gemini", "gemini-2.5-pro", Usage(web_search_requests=1), "0.035"),
        # usage.md 2.1: xAI's reported costs have $0.005 for each search.
        ("xai", "grok-4", Usage(web_search_requests=2), "0.01"),
        # The data publishes none for these two.
        ("gemini", "gemini-2.5-flash-image", Usage(web_search_requests=1), "0.035"),
        ("gemini", "gemini-3.1-flash-lite-image", Usage(web_search_requests=1), "0.014"),
    ],
)
def test_a_tools_work_has_its_fee(book, provider, model, used, dollars):
    charged = charge(book, provider, model, used)
    assert charged.amounts.total_pico_usd == int(Decimal(dollars) * 10**12)
    assert not charged.is_ceiling


def test_searches_have_a_part_of_their_own_and_other_tools_are_with_the_request(book):
    used = Usage(
        output_tokens=1,
        web_search_requests=1,
        web_search_preview_requests=1,
        file_search_calls=1,
        container_gigabytes=1,
    )
    charged = charge(book, "openai", "gpt-5.4", used)
    assert charged.amounts.web_search_pico_usd == 20_000_000_000
    assert charged.amounts.request_pico_usd == 32_500_000_000
    fees = {kind: charged.rates[kind] for kind in FEE_KINDS}
    assert fees == {
        "web_search": "0.01",
        "web_search_preview": "0.01",
        "file_search": "0.0025",
        "container": "0.03",
    }


def test_a_tool_that_did_not_run_is_not_among_the_rates(book):
    assert set(charge(book, "openai", "gpt-5.4", Usage(output_tokens=1)).rates).isdisjoint(
        FEE_KINDS
    )


def test_fees_of_several_passes_add_up(book):
    one = Usage(output_tokens=7, file_search_calls=1)
    two = charge(book, "openai", "gpt-5.4", one, one).amounts
    assert two.request_pico_usd == 2 * 2_500_000_000
    assert two.total_pico_usd == 2 * charge(book, "openai", "gpt-5.4", one).amounts.total_pico_usd


def test_no_tier_and_no_place_multiplies_a_fee():
    # usage.md 1.1: multipliers are on tokens only.
    plain = PriceBook.load(NOW)
    regional = PriceBook.load(NOW, base_urls={"openai": "https://eu.api.openai.com/v1"})
    used = Usage(web_search_requests=1, file_search_calls=1, container_gigabytes=1)
    assert (
        charge(regional, "openai", "gpt-5.4", used).amounts
        == charge(plain, "openai", "gpt-5.4", used).amounts
    )


def test_a_model_without_a_price_pays_for_its_tools(book):
    used = Usage(web_search_requests=1, file_search_calls=1, container_gigabytes=1)
    for provider in ("openai", "our-vllm"):
        charged = charge(book, provider, "made-up", used)
        assert charged.is_ceiling
        assert charged.amounts.web_search_pico_usd >= 10_000_000_000
        assert charged.amounts.request_pico_usd >= 32_500_000_000


def test_a_model_that_is_named_free_pays_for_its_searches(book):
    charged = charge(book, "openrouter", "openai/gpt-oss-20b:free", Usage(web_search_requests=1))
    assert charged.amounts.total_pico_usd == 10_000_000_000


def test_a_set_price_says_what_searches_cost_and_leaves_other_tools():
    override = PriceOverride(
        provider="openai",
        model="gpt-5.4",
        starts_at=NOW,
        input_usd=Decimal(1),
        output_usd=Decimal(1),
        web_search_usd=Decimal("0.004"),
    )
    used = Usage(web_search_requests=1, web_search_preview_requests=1, file_search_calls=1)
    amounts = charge(PriceBook.load(NOW, [override]), "openai", "gpt-5.4", used).amounts
    assert amounts.web_search_pico_usd == 8_000_000_000
    assert amounts.request_pico_usd == 2_500_000_000


def test_a_fee_holds_from_its_day_on_and_before_that_at_its_first():
    assert fee("web_search", "gemini", "gemini-3-x", date(2025, 11, 18)) == 14
    assert fee("web_search", "gemini", "gemini-3-x", date(2025, 11, 17)) == 10
    assert fee("file_search", "openai", "gpt-5", date(2001, 1, 1)) == Decimal("2.5")


def test_what_the_price_data_publishes_is_stronger_than_a_default_and_weaker_than_an_exception():
    published = Decimal(7)
    assert fee("web_search", "openai", "gpt-5", TODAY, published) == 7
    assert fee("web_search", "azure_openai", "gpt-5", TODAY, published) == 14
    assert fee("web_search", "azure_openai", "gpt-5", date(2020, 1, 1), published) == 7


def test_every_kind_of_tool_has_a_fee_for_all_and_every_fee_a_source():
    for kind in FEE_KINDS:
        first = next(row for row in FEES if row.kind == kind)
        assert not first.providers
        assert not first.models
    for row in FEES:
        assert row.usd_per_kcount > 0
        assert row.source
        assert row.since <= TODAY
