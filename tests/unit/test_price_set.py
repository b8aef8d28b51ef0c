"""Prices that the operator set hold for every name that the call's model goes by, and for no other."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from gateway.domain.request import RequestFacts
from gateway.domain.usage import Measurement, Usage, UsagePart, UsageSource
from gateway.pricing.book import PriceBook
from gateway.pricing.overrides import PriceOverride

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MILLION = Usage(output_tokens=1_000_000)


def priced(provider, model, output_usd, *, starts_at=NOW - timedelta(days=1)):
    return PriceOverride(
        provider=provider,
        model=model,
        starts_at=starts_at,
        input_usd=Decimal(1),
        output_usd=Decimal(output_usd),
    )


def charge(book, provider, asked, answered=None, *, at=NOW, parts=(None,)):
    measured = Measurement(
        parts=tuple(UsagePart(model=model, usage=MILLION) for model in parts),
        source=UsageSource.EXACT,
        response_model=answered,
    )
    facts = RequestFacts(model=asked, is_streaming=True, body_bytes=100)
    return book.charge(
        provider=provider, request_model=asked, measurement=measured, facts=facts, at=at
    )


def usd(*args, **fields):
    return Decimal(charge(*args, **fields).amounts.total_pico_usd) / 10**12


@pytest.mark.parametrize(
    ("provider", "set_for", "asked", "answered"),
    [
        ("openai", "gpt-5.4", "gpt-5.4", "gpt-5.4-2026-03-05"),
        ("openai", "gpt-5.4", "gpt-5.4-2026-03-05", "gpt-5.4-2026-03-05"),
        ("openai", "gpt-5.4", "gpt-5.4-20260305", None),
        ("openai", "gpt-5.4", "GPT-5.4", None),
        ("openai", "gpt-5.4", "our-alias", "gpt-5.4-2026-03-05"),
        ("openai", "gpt-5.6", "gpt-5.6", "gpt-5.6-sol"),
        ("openai", "gpt-99", "gpt-99-2027-01-01", None),
        ("anthropic", "claude-opus-5", "claude-opus-5", "claude-opus-5-20261001"),
        ("anthropic", "claude-opus-5", "claude-opus-5-20261001", "claude-opus-5-20261001"),
        ("anthropic", "claude-opus-4", "claude-opus-4-20250514", "claude-opus-4-20250514"),
        ("azure_openai", "our-deployment", "our-deployment", "gpt-4.1-2025-04-14"),
        ("azure_openai", "gpt-4.1", "our-deployment", "gpt-4.1-2025-04-14"),
        ("azure_openai", "gpt-4.1-2025-04-14", "our-deployment", "gpt-4.1-2025-04-14"),
        ("openrouter", "anthropic/claude-opus-5", "anthropic/claude-opus-5", None),
        ("our-vllm", "llama", "llama", "/models/llama.gguf"),
        (
            "bedrock",
            "us.anthropic.claude-opus-4-6-v1",
            "us.anthropic.claude-opus-4-6-v1",
            "claude-opus-4-6",
        ),
        ("bedrock", "claude-opus-4-6", "us.anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
    ],
)
def test_a_set_price_holds_for_all_names_of_its_model(provider, set_for, asked, answered):
    book = PriceBook.load(NOW, [priced(provider, set_for, 7)])
    charged = charge(book, provider, asked, answered)
    assert Decimal(charged.amounts.total_pico_usd) / 10**12 == 7
    assert charged.price_version == "set-from-2026-11-22"
    assert not charged.is_ceiling


@pytest.mark.parametrize(
    ("provider", "set_for", "asked", "answered", "dollars"),
    [
        ("openai", "gpt-5.4", "gpt-5.4-mini", "gpt-5.4-mini-2026-03-17", "4.5"),
        ("openai", "gpt-5.4", "gpt-5.4", "gpt-5.4-mini-2026-03-17", "4.5"),
        ("openai", "gpt-4o", "gpt-4o-2024-05-13", None, "15"),
        ("anthropic", "claude-opus-5", "claude-opus-5", "claude-haiku-4-5-20251001", "5"),
        ("azure_openai", "gpt-4", "gpt-4", "gpt-4.1-2025-04-14", "8"),
        (
            "openrouter",
            "anthropic/claude-opus-4.5",
            "anthropic/claude-opus-4.5",
            "openai/gpt-4.1",
            "8",
        ),
        (
            "bedrock",
            "us.anthropic.claude-opus-4-6-v1",
            "global.anthropic.claude-opus-4-6-v1",
            None,
            "25",
        ),
    ],
)
def test_a_set_price_holds_for_no_other_model(provider, set_for, asked, answered, dollars):
    book = PriceBook.load(NOW, [priced(provider, set_for, 7)])
    charged = charge(book, provider, asked, answered)
    assert Decimal(charged.amounts.total_pico_usd) / 10**12 == Decimal(dollars)
    assert charged.price_version.startswith("genai-prices-")


@pytest.mark.parametrize("asked", ["gpt-5.4", "gpt-5.4-2026-03-05"])
def test_a_price_of_the_exact_name_is_above_one_of_the_plain_name(asked):
    prices = [priced("openai", "gpt-5.4", 7), priced("openai", "gpt-5.4-2026-03-05", 8)]
    book = PriceBook.load(NOW, prices)
    assert usd(book, "openai", asked, "gpt-5.4-2026-03-05") == 8
    assert usd(book, "openai", "gpt-5.4", "gpt-5.4") == 7


def test_a_deployments_price_is_above_that_of_the_model_that_it_is_of():
    deployed = priced("azure_openai", "our-deployment", 7)
    prices = [deployed, priced("azure_openai", "gpt-4.1-2025-04-14", 8)]
    book = PriceBook.load(NOW, prices)
    assert usd(book, "azure_openai", "our-deployment", "gpt-4.1-2025-04-14") == 7
    assert usd(book, "azure_openai", "other-deployment", "gpt-4.1-2025-04-14") == 8


def test_of_two_names_each_price_holds_from_its_own_date():
    later = NOW + timedelta(hours=1)
    prices = [
        priced("openai", "gpt-5.4", 7, starts_at=NOW),
        priced("openai", "gpt-5.4-2026-03-05", 8, starts_at=later),
    ]
    book = PriceBook.load(NOW, prices)
    call = (book, "openai", "gpt-5.4", "gpt-5.4-2026-03-05")
    before = NOW - timedelta(seconds=1)
    for _ in range(2):
        assert usd(*call, at=before) == 15
        assert usd(*call, at=NOW) == 7
        assert usd(*call, at=later) == 8


def test_a_part_of_the_model_that_answered_has_the_set_price_too():
    book = PriceBook.load(NOW, [priced("azure_openai", "our-deployment", 7)])
    answered = "gpt-4.1-2025-04-14"
    helped = usd(book, "azure_openai", "other", answered, parts=(answered, "gpt-4.1-mini"))
    assert helped == 8 + Decimal("1.6")
    call = (book, "azure_openai", "our-deployment", answered)
    assert usd(*call, parts=(answered, "gpt-4.1-mini")) == 7 + Decimal("1.6")


def test_the_price_of_a_dated_part_is_that_set_for_its_model():
    book = PriceBook.load(NOW, [priced("anthropic", "claude-haiku-4-5", 3)])
    parts = (None, "claude-haiku-4-5-20251001")
    assert usd(book, "anthropic", "claude-opus-5", parts=parts) == 25 + 3


def test_an_upstream_that_is_free_but_has_a_price_set_is_not_free_under_another_name():
    prices = [priced("our-vllm", "llama", 7)]
    book = PriceBook.load(NOW, prices, free_providers=["our-vllm"])
    assert usd(book, "our-vllm", "llama", "/models/llama.gguf") == 7
    assert usd(book, "our-vllm", "other", "/models/other.gguf") == 0


def bounds(book, provider, model):
    facts = RequestFacts(model=model, is_streaming=True, body_bytes=400, max_output_tokens=1000)
    return book.bounds(provider=provider, facts=facts, at=NOW)


@pytest.mark.parametrize("model", ["gpt-5.4", "gpt-5.4-2026-03-05"])
def test_a_hold_is_made_at_the_set_price(model):
    dear = bounds(PriceBook.load(NOW, [priced("openai", "gpt-5.4", 1000)]), "openai", model)
    plain = bounds(PriceBook.load(NOW), "openai", model)
    assert dear.worst_pico_usd >= 1000 * 1000 * 10**6 > plain.worst_pico_usd
    assert dear.expected_pico_usd > plain.expected_pico_usd


def test_a_hold_is_made_for_a_dearer_price_of_a_dated_name_that_may_answer():
    prices = [priced("openai", "gpt-5.4-2026-03-05", 1000)]
    held = bounds(PriceBook.load(NOW, prices), "openai", "gpt-5.4")
    assert held.worst_pico_usd >= 1000 * 1000 * 10**6
    plain = PriceBook.load(NOW)
    assert bounds(PriceBook.load(NOW, prices), "openai", "gpt-5.4-mini") == bounds(
        plain, "openai", "gpt-5.4-mini"
    )


def test_a_model_is_known_by_the_names_of_its_set_price():
    book = PriceBook.load(NOW, [priced("openai", "gpt-99", 7)])
    assert book.knows("openai", "gpt-99-2027-01-01")
    assert not book.knows("openai", "gpt-99-mini")
    assert book.rates("openai", "gpt-99-2027-01-01", NOW)["output"] == "7"
