"""What a provider itself says that a call costs, read from the exact text of its number."""

import json
from decimal import Decimal
from typing import Any

from gateway.domain.money import pico_from_usd
from gateway.wire.json_values import member

# xAI counts in ticks of 1e-10 USD.
_PICO_USD_PER_TICK = 100
_TICKS_MAX = 10**16
_PADDING = b" \t\r\n\0"
_COST_USD_MAX = Decimal(1_000_000)
REPORTING_PROVIDERS = frozenset({"openrouter", "perplexity", "xai"})
"""Those that charge what they report."""


def reported_cost_pico_usd(provider: str, document_text: bytes) -> int | None:
    """The cost in a document's `usage`; None where there is none, or none that can be believed.

    The text is decoded again, slowly, since a float would not hold its number.
    """
    if provider not in REPORTING_PROVIDERS:
        return None
    try:
        # What is no number stays a text, which is no cost.
        document = json.loads(
            document_text.strip(_PADDING), parse_float=Decimal, parse_constant=str
        )
    # Arithmetic: an exponent beyond what Decimal takes.
    except (ValueError, ArithmeticError, RecursionError):
        return None
    usage = member(document, "usage") or member(member(document, "message"), "usage")
    return _cost_of(provider, dict(usage))


def _cost_of(provider: str, usage: dict[str, Any]) -> int | None:
    if provider == "xai":
        ticks = usage.get("cost_in_usd_ticks")
        if isinstance(ticks, int) and 0 <= ticks <= _TICKS_MAX:
            return ticks * _PICO_USD_PER_TICK
        return None
    if provider == "perplexity":
        return _pico_of(member(usage, "cost").get("total_cost"))
    # With the customer's own key the model is paid for elsewhere, and this is only the fee.
    return None if usage.get("is_byok") is True else _pico_of(usage.get("cost"))


def _pico_of(cost: object) -> int | None:
    if type(cost) is int:
        cost = Decimal(cost)
    if isinstance(cost, Decimal) and 0 <= cost <= _COST_USD_MAX:
        return pico_from_usd(cost)
    return None
