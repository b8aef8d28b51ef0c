"""Money: integer pico-USD in the process, exact NUMERIC dollars in SQL, one conversion each way."""

from decimal import ROUND_CEILING, ROUND_DOWN, Context, Decimal

PICO_PER_USD = 10**12
# Wide enough for the product of any 64-bit token count and any published rate.
_EXACT = Context(prec=60)
_CENT = Decimal("0.01")
_DIGITS_MAX = 30
_SHORT = Context(prec=3, rounding=ROUND_DOWN)


def usd_from_pico(amount_pico_usd: int) -> Decimal:
    """Exact dollars of an integer of pico-USD (1 USD = 10^12); never rounds."""
    return _EXACT.scaleb(Decimal(amount_pico_usd), -12)


def usd_text(amount_pico_usd: int) -> str:
    """Exact dollars with all their twelve decimals."""
    dollars, rest = divmod(abs(amount_pico_usd), PICO_PER_USD)
    return f"{'-' if amount_pico_usd < 0 else ''}{dollars}.{rest:012d}"


def pico_from_usd(amount_usd: Decimal) -> int:
    """Integer pico-USD of a dollar amount, rounded up where it is finer than one pico-USD.

    Raises:
        ValueError: the amount is not finite.
    """
    if not amount_usd.is_finite():
        message = f"not an amount of money: {amount_usd!r}"
        raise ValueError(message)
    return int(_EXACT.scaleb(amount_usd, 12).to_integral_value(ROUND_CEILING, _EXACT))


def cents(amount_usd: Decimal) -> str:
    """Two decimals, rounded towards zero, for headers and messages.

    An amount beyond all money, which SQL can put there, has three digits and an exponent.
    """
    if amount_usd.adjusted() > _DIGITS_MAX:
        return f"{_SHORT.plus(amount_usd):.2E}"
    return str(amount_usd.quantize(_CENT, ROUND_DOWN, _EXACT))


def cents_up(amount_usd: Decimal) -> str:
    """Two decimals, rounded up, for what something may cost."""
    return str(amount_usd.quantize(_CENT, ROUND_CEILING, _EXACT))
