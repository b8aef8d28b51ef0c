"""Caps and thresholds: where each status begins, and what is no cap."""

from decimal import Decimal

import pytest

from gateway.domain.budget import BudgetStatus, BudgetTerms
from gateway.guard.limits import limits_of, status_of

USD = 10**12


def status(spend, cap="100", **terms):
    return status_of(limits_of(BudgetTerms(cap_usd=Decimal(cap), **terms)), spend)


@pytest.mark.parametrize(
    ("spend", "expected"),
    [
        (0, BudgetStatus.OK),
        (85 * USD - 1, BudgetStatus.OK),
        (85 * USD, BudgetStatus.WARN),
        (95 * USD - 1, BudgetStatus.WARN),
        (95 * USD, BudgetStatus.ENGAGE),
        (100 * USD - 1, BudgetStatus.ENGAGE),
        (100 * USD, BudgetStatus.BLOCKED),
        (500 * USD, BudgetStatus.BLOCKED),
        (-USD, BudgetStatus.OK),
        (None, BudgetStatus.UNKNOWN),
    ],
)
def test_each_status_begins_exactly_at_its_share_of_the_cap(spend, expected):
    assert status(spend) is expected


def test_a_team_moves_its_own_thresholds():
    terms = {"warn_at": Decimal("0.5"), "engage_at": Decimal("0.6")}
    assert status(50 * USD, **terms) is BudgetStatus.WARN
    assert status(60 * USD, **terms) is BudgetStatus.ENGAGE


@pytest.mark.parametrize("cap", [None, Decimal(0), Decimal("0.00"), Decimal(-5)])
def test_null_zero_and_negative_caps_are_no_cap(cap):
    assert limits_of(BudgetTerms(cap_usd=cap)) is None
    assert status_of(None, 10**18) is BudgetStatus.DISABLED


def test_a_cap_finer_than_a_pico_dollar_is_rounded_down_and_its_thresholds_up():
    limits = limits_of(BudgetTerms(cap_usd=Decimal("1.0000000000019")))
    assert limits.cap_pico_usd == USD + 1
    assert limits.warn_pico_usd == 850_000_000_002
