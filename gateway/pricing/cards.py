"""Makes rate cards: a model's set or published prices under selectors, or a ceiling."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from gateway.pricing import source
from gateway.pricing.ceiling import Ceilings
from gateway.pricing.compile import PriceRow, RateCard, compile_rows, costless_row
from gateway.pricing.fees import with_fees
from gateway.pricing.multipliers import (
    Selectors,
    plainer_selectors,
    select,
    select_set,
    selectors_of,
)
from gateway.pricing.overrides import PriceOverride
from gateway.pricing.resolve import Resolved, Resolver, window
from gateway.pricing.set_prices import SetPrices

RawSelectors = tuple[str | None, str | None, str | None]
"""Service tier, speed, geography, as a response or a request said them."""


COSTLESS = "self-hosted-free"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the operator's configuration says of the providers: which are free, and where."""

    free_providers: frozenset[str] = frozenset()
    regions: Mapping[str, str | None] = field(default_factory=dict)
    """The region of a provider's host, where its name tells one."""


class CardMaker:
    """Published prices, the operator's over them, ceilings under them."""

    def __init__(self, now: datetime, overrides: Iterable[PriceOverride], terms: Terms) -> None:
        self._now = now
        self._terms = terms
        self._resolver = Resolver()
        self._ceilings = Ceilings(now)
        self._set_prices = SetPrices(overrides, self._resolver)

    def set_overrides(self, overrides: Iterable[PriceOverride]) -> None:
        self._set_prices = SetPrices(overrides, self._resolver)

    def card(
        self, provider: str, names: tuple[str, ...], raw: RawSelectors, at: datetime
    ) -> RateCard:
        """The set price of any of the names, else the first published one, else the ceiling."""
        selectors = self._selectors(provider, raw)
        card = self._priced(provider, names, selectors, at)
        if card is not None:
            return card
        # Where a price was set for later, the ceiling ends there.
        until = self._set_prices.find(provider, names, at).valid_until
        return replace(self._ceilings.card(provider, selectors), valid_until=until)

    def hold_cards(
        self, provider: str, name: str, raw: RawSelectors, at: datetime
    ) -> list[RateCard]:
        """The card of a requested name, then those of names with a date that may answer it."""
        dated = self._set_prices.dated(provider, name, at)
        names = [(name,), *((each, name) for each in dated)]
        return [self.card(provider, each, raw, at) for each in names]

    def part_card(
        self,
        provider: str,
        name: str,
        raw: RawSelectors,
        at: datetime,
        *,
        main: RateCard | None,
    ) -> RateCard:
        """The card of a model that worked on a part of an answer; `main` where it has no price.

        Tier and speed are the main model's: a part whose model has no such one ran at its plain
        one. A value that nobody has is unknown to the part as well.
        """
        selectors = self._selectors(provider, raw)
        card = self._priced(provider, (name,), selectors, at)
        for plainer in plainer_selectors(selectors) if main is None else ():
            if card is None or not card.is_ceiling:
                break
            card = self._priced(provider, (name,), plainer, at)
        if card is not None:
            return card
        return main if main is not None else self._ceilings.card(provider, selectors)

    def own_card(self, provider: str, name: str, at: datetime) -> RateCard | None:
        """The plain card of a model, None where it has no price of its own."""
        return self._priced(provider, (name,), self._selectors(provider, (None, None, None)), at)

    def knows(self, provider: str, name: str) -> bool:
        found = self._set_prices.find(provider, (name,), self._now)
        if found.override is not None or provider in self._terms.free_providers:
            return True
        return self._resolver.resolve(provider, name, self._now) is not None

    def models(self, provider: str) -> list[str]:
        return sorted(
            {
                model.id
                for model in source.models_of(provider)
                if self._resolver.resolve(provider, model.id, self._now) is not None
            }
        )

    def _selectors(self, provider: str, raw: RawSelectors) -> Selectors:
        return selectors_of(provider, *raw, self._terms.regions.get(provider))

    def _priced(
        self, provider: str, names: tuple[str, ...], selectors: Selectors, at: datetime
    ) -> RateCard | None:
        found = self._set_prices.find(provider, names, at)
        if found.override is not None:
            own = _set(found.override, selectors, at, (found.valid_from, found.valid_until))
            return replace(own, set_for=self._set_prices.same_model(provider, names, at))
        if provider in self._terms.free_providers:
            return _compiled(
                [costless_row()],
                model_id=names[0],
                price_version=COSTLESS,
                valid=(found.valid_from, found.valid_until),
                is_ceiling=False,
            )
        for name in names:
            resolved = self._resolver.resolve(provider, name, at)
            if resolved is None:
                continue
            day_from, day_until = window(resolved.model, at)
            valid = (max(found.valid_from, day_from), min(found.valid_until, day_until))
            card = _published(resolved, selectors, at, valid)
            if card is not None:
                return card
        return None


def _set(
    override: PriceOverride,
    selectors: Selectors,
    at: datetime,
    valid: tuple[datetime, datetime],
) -> RateCard:
    # By the day, since fees of tools may change on one.
    midnight = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    selection = select_set(override.model, selectors)
    rows = with_fees(override.rows(), override.provider, override.model, midnight.date())
    return _compiled(
        selection.applied_to(rows),
        model_id=override.model,
        price_version=override.price_version,
        valid=(max(valid[0], midnight), min(valid[1], midnight + timedelta(days=1))),
        is_ceiling=selection.is_ceiling,
    )


def _published(
    resolved: Resolved, selectors: Selectors, at: datetime, valid: tuple[datetime, datetime]
) -> RateCard | None:
    selection = select(resolved.model, selectors, at)
    rows = resolved.rows(at, selection.context)
    if not rows:
        return None
    day = at.astimezone(UTC).date()
    return _compiled(
        selection.applied_to(with_fees(rows, selectors.provider, resolved.model.id, day)),
        model_id=resolved.model.id,
        price_version=resolved.price_version(at, selection.context),
        valid=valid,
        is_ceiling=selection.is_ceiling and not resolved.is_free,
        context_tokens=resolved.model.context_window,
        has_video_rate=resolved.has_video_rate(at, selection.context),
    )


def _compiled(
    rows: Iterable[PriceRow],
    *,
    model_id: str,
    price_version: str,
    valid: tuple[datetime, datetime],
    is_ceiling: bool,
    context_tokens: int | None = None,
    has_video_rate: bool = True,
) -> RateCard:
    rate_rows, scale = compile_rows(rows)
    return RateCard(
        model_id=model_id,
        price_version=price_version,
        rows=rate_rows,
        scale=scale,
        valid_from=valid[0],
        valid_until=valid[1],
        is_ceiling=is_ceiling,
        context_tokens=context_tokens,
        has_video_rate=has_video_rate,
    )
