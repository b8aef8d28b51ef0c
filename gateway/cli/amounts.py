"""Amounts of dollars, shares and months as command-line arguments."""

from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

import click
from typing_extensions import override


class _Amount(click.ParamType):
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


class _Cap(_Amount):
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


class _Month(click.ParamType):
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


AMOUNT = _Amount()
CAP = _Cap()
CAP_OR_NONE = _CapOrNone()
MONTH = _Month()
