"""The price book: what a measured generation costs, and what a call may cost before it is made."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from gateway.domain.entry import Amounts, Charge
from gateway.domain.request import RequestFacts
from gateway.domain.usage import Measurement, UsageSource
from gateway.pricing import bounds as bounding
from gateway.pricing import charge as charging
from gateway.pricing.bounds import BoundCard, HoldBounds
from gateway.pricing.cards import CardMaker, RawSelectors, Terms
from gateway.pricing.charge import Parts
from gateway.pricing.compile import RateCard
from gateway.pricing.expectation import Expectations
from gateway.pricing.multipliers import is_discounted
from gateway.pricing.overrides import PriceOverride
from gateway.pricing.resolve import NAME_CHARS_MAX, BoundedCache
from gateway.pricing.surcharges import host_region

_CARDS_MAX = 4096
UNBILLED = "unbilled"
PROVIDER_REPORTED = "provider-reported"

_CardKey = tuple[str, tuple[str, ...], RawSelectors]
_PartKey = tuple[str, str, RawSelectors]


@dataclass(frozen=True, slots=True)
class _Call:
    provider: str
    measurement: Measurement
    selectors: RawSelectors
    at: datetime


class PriceBook:
    """All prices, compiled on first use. Not for use from several threads at once."""

    def __init__(self, maker: CardMaker) -> None:
        self._maker = maker
        self._cards: BoundedCache[_CardKey, RateCard] = BoundedCache(_CARDS_MAX)
        self._part_cards: BoundedCache[_PartKey, RateCard] = BoundedCache(_CARDS_MAX)
        self._bound_cards: BoundedCache[_PartKey, BoundCard] = BoundedCache(_CARDS_MAX)
        self._expectations = Expectations()

    @classmethod
    def load(
        cls,
        now: datetime,
        overrides: Iterable[PriceOverride] = (),
        *,
        free_providers: Iterable[str] = (),
        base_urls: Mapping[str, str] | None = None,
    ) -> "PriceBook":
        """The pinned price data as of `now`, under the operator's own prices. No network.

        `free_providers` run on hardware of one's own: all of theirs that has no price set is an
        explicit zero. `base_urls` are those of the providers, since some hosts have a surcharge.
        """
        terms = Terms(
            free_providers=frozenset(free_providers),
            regions={name: host_region(url) for name, url in (base_urls or {}).items()},
        )
        return cls(CardMaker(now, overrides, terms))

    def set_overrides(self, overrides: Iterable[PriceOverride]) -> None:
        """Replace the operator's prices at once, as after `gateway price set`."""
        self._maker.set_overrides(overrides)
        self._cards.clear()
        self._part_cards.clear()
        self._bound_cards.clear()

    def charge(
        self,
        *,
        provider: str,
        request_model: str,
        measurement: Measurement,
        facts: RequestFacts,
        at: datetime,
    ) -> Charge:
        """Price a measurement at the time the request began.

        A model or a selector that is not known is charged at its ceiling and flagged. Where the
        provider reported what it charges, that is the amount, and the table's price stands beside.
        """
        if measurement.is_unbilled:
            return Charge(amounts=Amounts(), price_version=UNBILLED)
        if measurement.response_model is None and facts.also_models:
            # Any of them may have answered, and a free one may be among them.
            alone = replace(facts, also_models=())
            charges = [
                self.charge(
                    provider=provider,
                    request_model=model,
                    measurement=measurement,
                    facts=alone,
                    at=at,
                )
                for model in (request_model, *facts.also_models)
            ]
            return max(charges, key=lambda each: each.amounts.total_pico_usd)
        names = _by_trust(provider, measurement.response_model, request_model)
        selectors = _selectors(measurement, facts)
        card = self._card(provider, names, selectors, at)
        measured = measurement.parts
        if len(measured) == 1 and measured[0].model is None:
            priced = charging.price_part(card, measured[0].usage)
            parts, rates, is_ceiling = priced.parts, dict(priced.rates), priced.is_ceiling
        else:
            parts, rates, is_ceiling = self._priced_parts(
                card, names, _Call(provider, measurement, selectors, at)
            )
        table = charging.amounts(parts)
        if measurement.provider_cost_pico_usd is None or measurement.provider_cost_pico_usd < 0:
            return Charge(
                amounts=table,
                price_version=card.price_version,
                is_ceiling=is_ceiling,
                rates=rates,
            )
        return Charge(
            amounts=charging.fitted_to(table, measurement.provider_cost_pico_usd),
            price_version=f"{PROVIDER_REPORTED}/{card.price_version}",
            rates=rates,
            list_pico_usd=None if is_ceiling else table.total_pico_usd,
        )

    def bounds(self, *, provider: str, facts: RequestFacts, at: datetime) -> HoldBounds:
        """What to hold for a call: its expected and its worst cost. Takes no tokenizer.

        Where the provider may answer with another model of a list, the worst is the dearest's.
        """
        bounds = self._bounds_of(provider, facts, at)
        for model in facts.also_models:
            also = self._bounds_of(provider, replace(facts, model=model), at)
            if also.worst_pico_usd > bounds.worst_pico_usd:
                bounds = replace(bounds, worst_pico_usd=also.worst_pico_usd)
        return bounds

    def _bounds_of(self, provider: str, facts: RequestFacts, at: datetime) -> HoldBounds:
        return bounding.hold_bounds(
            self._bound_card(provider, facts, at),
            facts,
            self._expectations.of(provider, facts.model),
        )

    def observed(
        self,
        *,
        provider: str,
        facts: RequestFacts,
        measurement: Measurement,
        charge: Charge,
        at: datetime,
    ) -> None:
        """Learn from a settled call what such calls usually cost; estimates teach nothing."""
        if measurement.source is UsageSource.ESTIMATED or measurement.is_unbilled:
            return
        card = self._bound_card(provider, facts, at).plain
        if card.is_unknown_model:
            return
        amounts = charge.amounts
        input_pico_usd = (
            amounts.input_pico_usd + amounts.cache_read_pico_usd + amounts.cache_write_pico_usd
        )
        output_tokens = sum(part.usage.all_output_tokens for part in measurement.parts)
        self._expectations.observe(
            provider,
            facts.model,
            input_ratio=bounding.input_ratio(card, facts.body_bytes, input_pico_usd),
            output_tokens=output_tokens // max(facts.choice_count, 1),
        )

    def knows(self, provider: str, model: str) -> bool:
        """Whether this model has a price of its own, free included; if not, a ceiling holds."""
        return self._maker.knows(provider, model)

    def models(self, provider: str) -> list[str]:
        """Names of the models that this provider sells by the token, in order."""
        return self._maker.models(provider)

    def rates(self, provider: str, model: str, at: datetime) -> dict[str, str] | None:
        """Plain USD rates per million tokens of a short prompt, or None where none is known."""
        card = self._maker.own_card(provider, model, at)
        return None if card is None else dict(card.rows[0].shown)

    def _card(
        self, provider: str, names: tuple[str, ...], selectors: RawSelectors, at: datetime
    ) -> RateCard:
        key = (provider, names, selectors)
        card = self._cards.get(key)
        if card is None or not card.valid_from <= at < card.valid_until:
            card = self._maker.card(provider, names, selectors, at)
            if _is_short(*names, *selectors):
                self._cards.put(key, card)
        return card

    def _part_card(
        self, provider: str, name: str, selectors: RawSelectors, at: datetime, main: RateCard | None
    ) -> RateCard:
        key = (provider, name, selectors)
        card = self._part_cards.get(key)
        if card is None or not card.valid_from <= at < card.valid_until:
            card = self._maker.part_card(provider, name, selectors, at, main=main)
            if card is not main and _is_short(name, *selectors):
                self._part_cards.put(key, card)
        return card

    def _priced_parts(
        self, card: RateCard, names: tuple[str, ...], call: _Call
    ) -> tuple[Parts, dict[str, str], bool]:
        """Each part by its own model's rates and its own prompt length; request fees once."""
        total: Parts = (0, 0, 0, 0, -(-card.rows[0].request // card.scale), 0)
        rates: dict[str, str] = {}
        is_ceiling = False
        for part in call.measurement.parts:
            own, prefix = card, ""
            if part.model is not None and part.model not in card.set_for:
                main = card if part.model in names else None
                own = self._part_card(call.provider, part.model, call.selectors, call.at, main)
                if own.model_id == card.model_id:
                    own = card
                else:
                    prefix = f"{part.model}/"
            priced = charging.price_part(own, part.usage, requests=0)
            total = charging.add(total, priced.parts)
            is_ceiling = is_ceiling or priced.is_ceiling
            rates.update((prefix + kind, rate) for kind, rate in priced.rates.items())
        return total, rates, is_ceiling

    def _bound_card(self, provider: str, facts: RequestFacts, at: datetime) -> BoundCard:
        name, tier = facts.model, facts.service_tier
        selectors = (tier, facts.speed, facts.inference_geo)
        key = (provider, name, selectors)
        card = self._bound_cards.get(key)
        if card is None or not card.valid_from <= at < card.valid_until:
            plain_tier = None if is_discounted(tier) else tier
            wanted = (plain_tier, facts.speed, facts.inference_geo)
            own, *also = self._maker.hold_cards(provider, name, wanted, at)
            if plain_tier is not None or facts.speed is not None:
                plain = (None, None, facts.inference_geo)
                also += self._maker.hold_cards(provider, name, plain, at)
            card = bounding.bound_card(own, also, name)
            if _is_short(name, *selectors):
                self._bound_cards.put(key, card)
        return card


def _selectors(measurement: Measurement, facts: RequestFacts) -> RawSelectors:
    """What the response says, else what the request asked for, discounts apart."""
    said = measurement.selectors
    tier, speed, geo = said.service_tier, said.speed, said.inference_geo
    if tier is None and facts.service_tier is not None and not is_discounted(facts.service_tier):
        tier = facts.service_tier
    return (
        tier,
        facts.speed if speed is None else speed,
        facts.inference_geo if geo is None else geo,
    )


def _by_trust(provider: str, response_model: str | None, request_model: str) -> tuple[str, ...]:
    """The model that answered is the one that is billed.

    On Bedrock the request names an inference profile, whose region is part of the price and never
    comes back.
    """
    if response_model is None or response_model == request_model:
        return (request_model,)
    if provider == "bedrock":
        return (request_model, response_model)
    return (response_model, request_model)


def _is_short(*names: str | None) -> bool:
    return all(name is None or len(name) <= NAME_CHARS_MAX for name in names)
