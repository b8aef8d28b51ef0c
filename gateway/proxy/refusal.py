"""What a team hears when its budget refuses a request: amounts, the reset, when to come again."""

from decimal import Decimal

from gateway.domain.budget import Admission
from gateway.domain.clock import rfc3339
from gateway.domain.errors import BudgetExceededError
from gateway.domain.money import cents

# Holds of running requests end within minutes; that is when a refusal that only they cause passes.
HELD_RETRY_AFTER_S = 5


def budget_exceeded(team: str, admission: Admission, *, now_s: float) -> BudgetExceededError:
    view = admission.view
    cap = view.cap_usd or Decimal(0)
    spend = view.spend_usd or Decimal(0)
    resets_at = rfc3339(view.resets_at)
    if admission.is_held_back:
        message = (
            f"Team {team} has spent ${cents(spend)} of its ${cents(cap)} cap for "
            f"{view.month:%Y-%m}; the rest is held by requests that are running. Try again shortly."
        )
        return BudgetExceededError(
            message, team=team, admission=admission, retry_after_s=HELD_RETRY_AFTER_S
        )
    message = (
        f"Team {team} has spent ${cents(spend)} of its ${cents(cap)} cap for "
        f"{view.month:%Y-%m}; it resets at {resets_at}."
    )
    seconds = view.resets_at.timestamp() - now_s
    return BudgetExceededError(
        message, team=team, admission=admission, retry_after_s=max(1, -int(-seconds // 1))
    )
