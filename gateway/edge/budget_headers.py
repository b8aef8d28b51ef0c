"""The budget headers of an answer."""

from decimal import Decimal
from functools import lru_cache

from gateway.domain.budget import BudgetStatus, BudgetView
from gateway.domain.clock import rfc3339
from gateway.domain.money import cents

# The only status that the header calls otherwise than the guard.
_NAMES = {BudgetStatus.BLOCKED: "exceeded"}


# Views change with a posting or a change of terms, and requests come between.
_VIEWS_MAX = 1024


def has_cap(view: BudgetView) -> bool:
    """NULL, zero and negative caps are no cap, and no headers."""
    return view.cap_usd is not None and view.cap_usd > 0


def remaining_usd(view: BudgetView) -> Decimal:
    """Cap less posted spend, never below zero; the whole cap while spend is unresolved."""
    cap = view.cap_usd or Decimal(0)
    return max(cap - (view.spend_usd or Decimal(0)), Decimal(0))


@lru_cache(_VIEWS_MAX)
def budget_headers(view: BudgetView | None) -> tuple[tuple[str, str], ...]:
    """Amounts have two decimals, rounded down; an unresolved spend is left out, never made up."""
    if view is None or not has_cap(view):
        return ()
    headers = [
        ("x-posthog-budget", _NAMES.get(view.status, view.status.value)),
        ("x-posthog-budget-cap-usd", cents(view.cap_usd or Decimal(0))),
        ("x-posthog-budget-resets-at", rfc3339(view.resets_at)),
    ]
    if view.spend_usd is not None:
        headers.append(("x-posthog-budget-spend-usd", cents(view.spend_usd)))
        headers.append(("x-posthog-budget-remaining-usd", cents(remaining_usd(view))))
    return tuple(headers)
