"""Our prices against a second source's: a difference on a current model fails, unless it is explained."""

import json
import tomllib
from decimal import Decimal

import pytest

from scripts import check_prices
from scripts.check_prices import EXCEPTIONS, FACTS, compare, refresh


def test_no_current_price_differs_from_the_second_source_without_a_reason():
    report = compare()
    assert [str(each) for each in report.differences] == []
    assert report.stale == []
    # A comparison of nothing would find nothing.
    assert report.rates > 1_500
    assert set(report.models) == {
        *("anthropic", "bedrock", "deepseek", "gemini", "groq", "mistral", "openai", "xai")
    }


def test_every_exception_has_a_reason():
    for each in tomllib.loads(EXCEPTIONS.read_text())["exception"]:
        assert len(each["reason"]) > 30
        assert each["rates"]


def test_the_second_source_is_named_with_its_version_date_and_licence():
    kept = json.loads(FACTS.read_text())
    assert kept["source"].startswith("LiteLLM")
    assert kept["licence"].startswith("MIT")
    assert kept["version"]
    assert kept["date"] >= "2026-11-23"


@pytest.fixture
def kept_facts(tmp_path, request):
    """The comparison reads other facts while a test runs."""
    before = check_prices.FACTS, check_prices.EXCEPTIONS
    check_prices.FACTS, check_prices.EXCEPTIONS = tmp_path / "facts.json", tmp_path / "e.toml"
    check_prices.EXCEPTIONS.write_text("exception = []\n")
    yield check_prices.FACTS
    check_prices.FACTS, check_prices.EXCEPTIONS = before


def entry(**fields):
    return {"litellm_provider": "anthropic", "mode": "chat", **fields}


def refreshed(tmp_path, entries):
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(entries))
    refresh(path, "1.0", "2026-11-23")


@pytest.mark.parametrize(
    ("usd", "differs"), [(5e-06, False), (5.004e-06, False), (5.006e-06, True), (4.9e-06, True)]
)
def test_a_difference_of_more_than_a_thousandth_is_found(tmp_path, kept_facts, usd, differs):
    refreshed(tmp_path, {"claude-opus-5": entry(input_cost_per_token=usd)})
    found = compare().differences
    assert bool(found) is differs
    if differs:
        assert str(found[0]).startswith("anthropic claude-opus-5 input: ours 5, theirs ")


def test_tiers_of_length_and_of_service_are_compared(tmp_path, kept_facts):
    refreshed(
        tmp_path,
        {
            "claude-haiku-5-5": entry(
                input_cost_per_token=1e-07,
                input_cost_per_token_above_100k_tokens=6e-07,
                provider_specific_entry={"us": 1.2},
            ),
            "openai/o3": {
                "litellm_provider": "openai",
                "mode": "chat",
                "input_cost_per_token": 2e-06,
                "input_cost_per_token_priority": 9e-06,
            },
        },
    )
    whats = {each.what for each in compare().differences}
    assert whats == {"above 100000/input", "us", "priority/input"}


def test_a_model_without_a_price_of_ours_is_reported_and_no_difference(tmp_path, kept_facts):
    refreshed(tmp_path, {"claude-nova-9": entry(input_cost_per_token=1e-06)})
    report = compare()
    assert report.unpriced == ["anthropic claude-nova-9"]
    assert report.differences == []


def test_an_exception_that_explains_nothing_is_found(tmp_path, kept_facts):
    refreshed(tmp_path, {"claude-opus-5": entry(input_cost_per_token=5e-06)})
    check_prices.EXCEPTIONS.write_text(
        '[[exception]]\nprovider = "anthropic"\nmodel = "*"\nrates = ["*"]\nreason = "r"\n'
    )
    assert compare().stale == ["anthropic *"]


def test_floats_of_the_file_are_read_as_the_decimals_that_they_were_written_as(
    tmp_path, kept_facts
):
    path = tmp_path / "prices.json"
    path.write_text(
        '{"claude-opus-5": {"litellm_provider": "anthropic", "mode": "chat",'
        ' "input_cost_per_token": 0.00000500000000000000012345}}'
    )
    refresh(path, "1.0", "2026-11-23")
    rates = json.loads(kept_facts.read_text())["models"][0]["rates"]
    assert Decimal(rates["input"]) == Decimal("5.00000000000000012345")


def test_models_past_their_end_and_other_providers_are_left_out(tmp_path, kept_facts):
    refreshed(
        tmp_path,
        {
            "claude-2": entry(input_cost_per_token=1e-06, deprecation_date="2026-01-01"),
            "claude-3": entry(input_cost_per_token=1e-06, mode="image_generation"),
            "cohere/x": {
                "litellm_provider": "cohere",
                "mode": "chat",
                "input_cost_per_token": 1e-06,
            },
        },
    )
    assert json.loads(kept_facts.read_text())["models"] == []
