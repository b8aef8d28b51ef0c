"""Amounts as text are the same as the exact dollars."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.money import cents, cents_up, usd_from_pico, usd_text


@given(st.integers(-(10**30), 10**30))
def test_an_amount_as_text_is_the_exact_one_with_twelve_decimals(amount_pico_usd):
    text = usd_text(amount_pico_usd)
    assert Decimal(text) == usd_from_pico(amount_pico_usd)
    assert len(text.partition(".")[2]) == 12


@pytest.mark.parametrize(
    ("amount_pico_usd", "text"),
    [(0, "0.000000000000"), (1, "0.000000000001"), (-1_500_000_000_000, "-1.500000000000")],
)
def test_amounts_are_written_in_full(amount_pico_usd, text):
    assert usd_text(amount_pico_usd) == text


@pytest.mark.parametrize(
    ("amount", "down", "up"),
    [("0", "0.00", "0.00"), ("9.88", "9.88", "9.88"), ("9.880000000001", "9.88", "9.89")],
)
def test_what_is_left_is_rounded_down_and_what_may_be_spent_up(
    amount: str, down: str, up: str
) -> None:
    assert (cents(Decimal(amount)), cents_up(Decimal(amount))) == (down, up)


@pytest.mark.parametrize(
    ("amount_usd", "text"),
    [
        ("25.039", "25.03"),
        ("-0.019", "-0.01"),
        ("999999999999.999999999999", "999999999999.99"),
        ("1e400", "1.00E+400"),
        ("-1e400", "-1.00E+400"),
        ("1234567" + "0" * 200, "1.23E+206"),
    ],
)
def test_cents_are_short_whatever_the_amount_is(amount_usd, text):
    assert cents(Decimal(amount_usd)) == text
