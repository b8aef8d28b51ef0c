"""What an unpriced model is charged: for each kind of token its provider's dearest rate."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from genai_prices.types import ModelInfo

from gateway.pricing import source
from gateway.pricing.compile import PriceRow, RateCard, compile_rows, dearest
from gateway.pricing.corrections import corrected_rows
from gateway.pricing.fees import with_fees
from gateway.pricing.multipliers import Selectors, select_unknown
from gateway.pricing.overrides import FAR_FUTURE, FAR_PAST


class Ceilings:
    """The dearest rates of each provider, as published for the time of loading."""

    def __init__(self, at: datetime) -> None:
        self._at = at
        self._day = at.astimezone(UTC).date()
        self._rows: dict[tuple[str, bool], PriceRow] = {}
        self._cards: dict[tuple[str, bool, Decimal], RateCard] = {}

    def card(self, provider: str, selectors: Selectors) -> RateCard:
        """The ceiling of a provider under these selectors; never a rate of zero for tokens."""
        row = self._row(provider, has_surcharges=selectors.is_surcharged)
        has_surcharge = selectors.is_surcharged and row != self._row(provider, has_surcharges=False)
        factor = select_unknown(selectors, has_surcharge=has_surcharge)
        key = (provider, selectors.is_surcharged, factor)
        card = self._cards.get(key)
        if card is None:
            card = self._cards[key] = self._compiled(row.times(factor))
        return card

    def _row(self, provider: str, *, has_surcharges: bool) -> PriceRow:
        key = (provider, has_surcharges)
        row = self._rows.get(key)
        if row is None:
            models = source.models_of(provider) or [
                model for name in source.REFERENCE_PROVIDERS for model in source.models_of(name)
            ]
            row = self._rows[key] = dearest(
                row
                for model in models
                for row in with_fees(
                    self._rows_of(provider, model, has_surcharges=has_surcharges),
                    provider,
                    model.id,
                    self._day,
                )
            )
        return row

    def _rows_of(
        self, provider: str, model: ModelInfo, *, has_surcharges: bool
    ) -> Iterable[PriceRow]:
        contexts = [variant.when for variant in model.price_variants or () if has_surcharges]
        for context in ({}, *contexts):
            prices = model.get_prices(self._at, context)
            yield from corrected_rows(provider, model.id, prices) or ()

    @staticmethod
    def _compiled(row: PriceRow) -> RateCard:
        rows, scale = compile_rows([row])
        return RateCard(
            model_id="",
            price_version=source.PRICE_VERSION,
            rows=rows,
            scale=scale,
            valid_from=FAR_PAST,
            valid_until=FAR_FUTURE,
            is_ceiling=True,
            is_unknown_model=True,
        )
