"""Which price that the operator set holds for a call, whose names may be several for one model."""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime

from gateway.pricing.overrides import (
    FAR_FUTURE,
    FAR_PAST,
    Overrides,
    OverrideWindow,
    PriceOverride,
)
from gateway.pricing.resolve import Resolver

_DATE = re.compile(r"[-@]20\d{2}(?:-\d{2}-\d{2}|\d{4})$")
# A request names the customer's own deployment there, the answer the model that it is of.
_WITH_DEPLOYMENTS = frozenset({"azure_openai"})
# An answer is always of the profile that was asked for; its name only leaves out the region.
_WITH_PROFILES = frozenset({"bedrock"})


class SetPrices:
    """The operator's prices by all names that mean a model: exact, without its date, published."""

    def __init__(self, overrides: Iterable[PriceOverride], resolver: Resolver) -> None:
        overrides = tuple(overrides)
        self._overrides = Overrides(overrides)
        self._resolver = resolver
        self._dated: dict[tuple[str, str], set[str]] = {}
        for each in overrides:
            if (plain := _undated(each.model)) != each.model:
                self._dated.setdefault((each.provider, plain), set()).add(each.model)

    def find(self, provider: str, names: tuple[str, ...], at: datetime) -> OverrideWindow:
        """The first set price in force for these names, and between which changes that stays so."""
        valid_from, valid_until = FAR_PAST, FAR_FUTURE
        for name in self._candidates(provider, names, at):
            found = self._overrides.find(provider, name, at)
            if found is None:
                continue
            valid_from = max(valid_from, found.valid_from)
            valid_until = min(valid_until, found.valid_until)
            if found.override is not None:
                return OverrideWindow(
                    override=found.override, valid_from=valid_from, valid_until=valid_until
                )
        return OverrideWindow(override=None, valid_from=valid_from, valid_until=valid_until)

    def same_model(self, provider: str, names: tuple[str, ...], at: datetime) -> tuple[str, ...]:
        """The names without those of another published model than the one that is billed.

        A name that is not published (a deployment, an alias) means the model that answered.
        """
        if len(names) == 1 or provider in _WITH_PROFILES:
            return names
        billed = self._billed(provider, names, at)
        return tuple(
            name for name in names if self._published_id(provider, name, at) in {None, billed}
        )

    def dated(self, provider: str, name: str, at: datetime) -> list[str]:
        """Names with a date that an answer to this one may give and that have a price set."""
        plain = {name, self._published_id(provider, name, at) or name}
        dated = {each for known in plain for each in self._dated.get((provider, known), ())}
        return sorted(dated - {name})

    def _candidates(self, provider: str, names: tuple[str, ...], at: datetime) -> Iterator[str]:
        """Exact names before those that follow from them, each in the order of trust."""
        billed = self._billed(provider, names, at)
        names = self.same_model(provider, names, at)
        if provider in _WITH_DEPLOYMENTS and billed is not None:
            # A deployment's price is the more particular one.
            yield from (n for n in names if self._published_id(provider, n, at) is None)
        yield from names
        for name in names:
            own = self._published_id(provider, name, at)
            plain = _undated(name)
            if own in {None, billed} and own == self._published_id(provider, plain, at):
                yield plain
        if billed is not None:
            yield billed

    def _billed(self, provider: str, names: tuple[str, ...], at: datetime) -> str | None:
        published = (self._published_id(provider, name, at) for name in names)
        return next((each for each in published if each is not None), None)

    def _published_id(self, provider: str, name: str, at: datetime) -> str | None:
        resolved = self._resolver.resolve(provider, name, at)
        return None if resolved is None else resolved.model.id


def _undated(name: str) -> str:
    return _DATE.sub("", name)
