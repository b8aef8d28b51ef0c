"""What a team hears when its budget refuses a request: amounts, the reset, when to come again."""

from decimal import Decimal

from gateway.domain.budget import Admission
from gateway.domain.clock import rfc3339
from gateway.domain.errors import BudgetExceededError
from gateway.domain.money import cents, cents_up, usd_from_pico
from gateway.domain.request import Dialect

# Holds of running requests end within minutes; that is when a refusal that only they cause passes.
HELD_RETRY_AFTER_S = 5
# What bounds an answer in each dialect's own words; the others' answers have no bound to lower.
_OUTPUT_BOUNDS = {
    Dialect.ANTHROPIC_MESSAGES: "max_tokens",
    Dialect.OPENAI_CHAT: "max_completion_tokens",
    Dialect.OPENAI_COMPLETIONS: "max_tokens",
    Dialect.OPENAI_RESPONSES: "max_output_tokens",
    Dialect.GEMINI: "generationConfig.maxOutputTokens",
}


def budget_exceeded(
    team: str, admission: Admission, *, dialect: Dialect, action: str | None, now_s: float
) -> BudgetExceededError:
    """The refusal that this admission is.

    It is for a spent cap, for the holds of running requests, or, where the cap is strict, for a
    worst case of this very request that is more than what is unspent.
    """
    view = admission.view
    cap = view.cap_usd or Decimal(0)
    spend = view.spend_usd or Decimal(0)
    resets_at = rfc3339(view.resets_at)
    begin = f"Team {team} has spent ${cents(spend)} of its ${cents(cap)} cap for {view.month:%Y-%m}"
    retry_after_s = max(1, -int(-(view.resets_at.timestamp() - now_s) // 1))
    if admission.is_held_back:
        message = f"{begin}; the rest is held by requests that are running. Try again shortly."
        retry_after_s = HELD_RETRY_AFTER_S
    elif spend < cap:
        worst = cents_up(usd_from_pico(admission.hold_pico_usd))
        message = (
            f"{begin}, which is strict: this request may cost up to ${worst}, and "
            f"${cents(cap - spend)} is left. {_way_out(dialect, action)} may pass; "
            f"the cap resets at {resets_at}."
        )
    else:
        message = f"{begin}; it resets at {resets_at}."
    return BudgetExceededError(message, team=team, admission=admission, retry_after_s=retry_after_s)


def _way_out(dialect: Dialect, action: str | None) -> str:
    bound = _OUTPUT_BOUNDS.get(dialect)
    if dialect is Dialect.BEDROCK:
        is_converse = action is not None and action.startswith("converse")
        bound = "inferenceConfig.maxTokens" if is_converse else "max_tokens"
    return "A shorter input" if bound is None else f"A smaller {bound} or a shorter prompt"
