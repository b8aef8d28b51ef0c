"""Amounts of dollars, rates, months and instants as command-line arguments."""

from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import click
from typing_extensions import override

_DECIMALS_MAX = 12
_RATE_DECIMALS_MAX = _DECIMALS_MAX
_AMOUNT_MAX = 10**12
_PICO_USD = Decimal("1e-12")
_RATE_MAX = 1_000_000


class _Amount(click.ParamType[Any]):
    """A finite decimal; never goes through a float."""

    name = "usd"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, Decimal):
            return value
        try:
            amount = Decimal(str(value).removeprefix("$"))
        except InvalidOperation:
            self.fail(f"{value!r} is not an amount of dollars.", param, ctx)
        if not amount.is_finite():
            self.fail(f"{value!r} is not an amount of dollars.", param, ctx)
        return amount


class _Bounded(_Amount):
    """What an account can have: more would be an error of writing, and no report could show it."""

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        amount = super().convert(value, param, ctx)
        # Compared first: no arithmetic is done with numbers of any size.
        if _is_beyond(amount, _AMOUNT_MAX) or amount != amount.quantize(_PICO_USD):
            self.fail(
                f"an amount is at most {_AMOUNT_MAX} USD, with at most {_DECIMALS_MAX} decimals.",
                param,
                ctx,
            )
        return amount


def _is_beyond(amount: Decimal, most: int) -> bool:
    return amount > most or amount < -most


class _Cap(_Bounded):
    """A positive amount: zero would mean no cap to the guard, and rarely to the admin."""

    name = "usd"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        amount = super().convert(value, param, ctx)
        if amount <= 0:
            self.fail(
                "a cap is more than 0: say none to lift it, or archive the team to stop it.",
                param,
                ctx,
            )
        return amount


class _CapOrNone(_Cap):
    """A cap, or the word `none`; `none` becomes the string."""

    name = "usd|none"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value).lower() == "none":
            return "none"
        return super().convert(value, param, ctx)


class _Month(click.ParamType[Any]):
    """`YYYY-MM`, as the first day of that month."""

    name = "yyyy-mm"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(f"{value}-01")
        except ValueError:
            self.fail(f"{value!r} is not a month: write it as 2026-11.", param, ctx)


class _Rate(_Amount):
    """A rate: zero or more, and no finer than prices are published."""

    name = "usd"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        rate = super().convert(value, param, ctx)
        exponent = rate.as_tuple().exponent
        if rate < 0 or exponent < -_RATE_DECIMALS_MAX or rate > _RATE_MAX:
            self.fail(
                f"a rate is from 0 to {_RATE_MAX} USD, with at most {_RATE_DECIMALS_MAX} decimals.",
                param,
                ctx,
            )
        return rate


class _Instant(click.ParamType[Any]):
    """A day, from midnight UTC, or an RFC 3339 time."""

    name = "yyyy-mm-dd"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a day: write it as 2026-11-25.", param, ctx)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


SHARE = _Amount()
AMOUNT = _Bounded()
RATE = _Rate()
INSTANT = _Instant()
CAP_OR_NONE = _CapOrNone()
MONTH = _Month()
