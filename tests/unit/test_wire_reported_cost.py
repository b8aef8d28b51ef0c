"""Costs that providers report: exact to the last digit, or not believed."""

import pytest

from gateway.wire.reported_cost import reported_cost_pico_usd


@pytest.mark.parametrize(
    ("provider", "usage", "pico_usd"),
    [
        ("openrouter", b'{"cost":0.066407,"is_byok":false}', 66_407_000_000),
        ("openrouter", b'{"cost":3.6e-06}', 3_600_000),
        ("openrouter", b'{"cost":1}', 10**12),
        ("openrouter", b'{"cost":0}', 0),
        # A float would make it 100000000000000.01.
        ("openrouter", b'{"cost":100.000000000001}', 100 * 10**12 + 1),
        ("xai", b'{"cost_in_usd_ticks":1466250}', 146_625_000),
        ("perplexity", b'{"cost":{"total_cost":0.00501,"request_cost":0.005}}', 5_010_000_000),
    ],
)
def test_the_reported_figure_is_read_from_its_own_text(provider: str, usage: bytes, pico_usd: int):
    assert reported_cost_pico_usd(provider, b'{"usage":%b}' % usage) == pico_usd


def test_a_figure_finer_than_a_pico_dollar_is_rounded_up():
    assert reported_cost_pico_usd("openrouter", b'{"usage":{"cost":0.0000000000011}}') == 2


@pytest.mark.parametrize(
    ("provider", "usage"),
    [
        ("openrouter", b'{"cost":0.01,"is_byok":true}'),
        ("openrouter", b'{"cost":-0.01}'),
        ("openrouter", b'{"cost":NaN}'),
        ("openrouter", b'{"cost":1e999999999999999999999}'),
        ("openrouter", b'{"cost":1e300}'),
        ("openrouter", b'{"cost":true}'),
        ("openrouter", b'{"cost":"1"}'),
        ("openrouter", b'{"cost":null}'),
        ("openrouter", b"{}"),
        ("xai", b'{"cost_in_usd_ticks":-1}'),
        ("xai", b'{"cost_in_usd_ticks":1.5}'),
        ("perplexity", b'{"cost":0.1}'),
        # They do not bill by such a figure.
        ("azure_openai", b'{"cost_in_usd_ticks":100,"cost":1}'),
        ("openai", b'{"cost":1}'),
    ],
)
def test_a_figure_that_cannot_be_the_bill_is_none(provider: str, usage: bytes):
    assert reported_cost_pico_usd(provider, b'{"usage":%b}' % usage) is None


def test_nesting_without_end_is_no_cost():
    assert reported_cost_pico_usd("xai", b"[" * 100_000) is None
