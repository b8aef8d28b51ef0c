"""A cap and its thresholds as integers, and the status that a posted spend has among them."""

from dataclasses import dataclass
from decimal import Context, Decimal

from gateway.domain.budget import BudgetStatus, BudgetTerms
from gateway.domain.money import pico_from_usd

# A cap is NUMERIC without a scale: its product with a share is exact all the same.
_EXACT = Context(prec=200)
# With less than this part of the cap left, workers ask for exact amounts and keep no surplus.
_NEAR_DIVISOR = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Integer pico-USD. The cap is rounded down and thresholds up: nothing is let through early."""

    cap_pico_usd: int
    warn_pico_usd: int
    engage_pico_usd: int
    near_pico_usd: int


def limits_of(terms: BudgetTerms) -> Limits | None:
    """None where the team has no cap: NULL, zero or negative."""
    cap_usd = terms.cap_usd
    if cap_usd is None or cap_usd <= 0:
        return None
    cap = floor_pico(cap_usd)
    return Limits(
        cap_pico_usd=cap,
        warn_pico_usd=pico_from_usd(_EXACT.multiply(cap_usd, terms.warn_at)),
        engage_pico_usd=pico_from_usd(_EXACT.multiply(cap_usd, terms.engage_at)),
        near_pico_usd=cap - cap // _NEAR_DIVISOR,
    )


def floor_pico(amount_usd: Decimal) -> int:
    """Integer pico-USD, rounded down."""
    return -pico_from_usd(-amount_usd)


def status_of(limits: Limits | None, spend_pico_usd: int | None) -> BudgetStatus:
    """The status of a posted spend; an override stands above it."""
    if limits is None:
        return BudgetStatus.DISABLED
    if spend_pico_usd is None:
        return BudgetStatus.UNKNOWN
    if spend_pico_usd >= limits.cap_pico_usd:
        return BudgetStatus.BLOCKED
    if spend_pico_usd >= limits.engage_pico_usd:
        return BudgetStatus.ENGAGE
    if spend_pico_usd >= limits.warn_pico_usd:
        return BudgetStatus.WARN
    return BudgetStatus.OK
