"""What a response's service tier, speed and geography do to a price, unknown values included."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from genai_prices.types import ModelInfo

from gateway.pricing.compile import PriceRow
from gateway.pricing.surcharges import SURCHARGES, regional, surcharge

_PLAIN = frozenset(
    {
        None,
        "",
        "standard",
        "standard_only",
        "default",
        "auto",
        "on_demand",
        "not_available",
        "global",
        "scale",
        "provisioned",
        "provisioned_throughput",
        # What a protocol buffer's enum says where nothing was set.
        "unspecified",
        "service_tier_unspecified",
        "traffic_type_unspecified",
    }
)
_DISCOUNTED_TIERS = frozenset({"flex", "batch"})
# What price data has variants of; a ceiling holds the dearest of them, and nothing of others.
_PUBLISHED_VALUES = frozenset({"priority", "fast"})
_KNOWN_TIERS = _DISCOUNTED_TIERS | _PUBLISHED_VALUES | {row.value for row in SURCHARGES}
# Committed capacity, as OpenAI's `scale`: a contract pays for it, and it is shown at list price.
_COMMITTED = frozenset({("anthropic", "priority"), ("bedrock", "reserved")})
_ONE = Decimal(1)
# The dearest multiple of a list price that a provider is known to have asked for a tier or a speed
# (OpenAI's `ultrafast`, fast mode of Claude Opus 4.6): what an unknown one is charged at.
_UNKNOWN_FACTOR = Decimal(6)
# Anthropic's and every hosted cloud's premium for processing inside one geography.
_GEOGRAPHY_FACTOR = Decimal("1.1")
_GEOGRAPHIES = frozenset({"us"})
# Claude models before Opus 4.6 cost the same everywhere; all newer ones carry the premium.
_CLAUDE_WITHOUT_GEOGRAPHY = (
    "claude-v1",
    "claude-2",
    "claude-instant",
    "claude-3-",
    "claude-opus-4-0",
    "claude-opus-4-1",
    "claude-opus-4-5",
    "claude-sonnet-4-0",
    "claude-sonnet-4-5",
    "claude-haiku-4-5",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selectors:
    """The selectors of a call in lower case, None where one means the plain price."""

    provider: str = ""
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    host_region: str | None = None
    """The region of the provider's host, where that changes the price."""

    @property
    def is_surcharged(self) -> bool:
        """Tier or speed may cost more than the plain price."""
        return self.speed is not None or (
            self.service_tier is not None and self.service_tier not in _DISCOUNTED_TIERS
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The variant of the price data to take, its multipliers, and whether they are certain.

    `place` multiplies every token, `factor` all kinds but the `untouched`.
    """

    context: dict[str, str]
    factor: Decimal
    place: Decimal
    is_ceiling: bool
    untouched: tuple[str, ...] = ()

    def applied_to(self, rows: Iterable[PriceRow]) -> list[PriceRow]:
        return [row.times(self.place).times(self.factor, self.untouched) for row in rows]


def selectors_of(
    provider: str,
    service_tier: str | None,
    speed: str | None,
    inference_geo: str | None,
    host_region: str | None = None,
) -> Selectors:
    tier = _named(service_tier)
    return Selectors(
        provider=provider,
        service_tier=None if (provider, tier) in _COMMITTED else tier,
        speed=_named(speed),
        inference_geo=_named(inference_geo),
        host_region=host_region,
    )


def _named(value: str | None) -> str | None:
    if value in _PLAIN:
        return None
    lowered = value.lower() if value else None
    return None if lowered in _PLAIN else lowered


def plainer_selectors(selectors: Selectors) -> Iterator[Selectors]:
    """The selectors without a speed, without a tier that is known, and without both."""
    if selectors.speed is not None:
        yield replace(selectors, speed=None)
    if selectors.service_tier in _KNOWN_TIERS:
        yield replace(selectors, service_tier=None)
        if selectors.speed is not None:
            yield replace(selectors, speed=None, service_tier=None)


def is_discounted(service_tier: str | None) -> bool:
    """Whether this tier can only lower a price: a request's word alone does not grant it."""
    return service_tier is not None and service_tier.lower() in _DISCOUNTED_TIERS


def select(model: ModelInfo, selectors: Selectors, at: datetime) -> Selection:
    """How to price this model under these selectors."""
    context: dict[str, str] = {}
    factor, is_ceiling = _ONE, False
    untouched: tuple[str, ...] = ()
    for key, value in (("service_tier", selectors.service_tier), ("speed", selectors.speed)):
        if value is None:
            continue
        variant = ("processing", "batch") if value == "batch" else (key, value)
        if _has_variant(model, variant, at):
            context[variant[0]] = variant[1]
            continue
        known = surcharge(selectors.provider, model.id, key, value)
        if known is not None:
            factor *= known.factor
            untouched = known.untouched
            is_ceiling = is_ceiling or not known.is_certain
            continue
        is_ceiling = True
        if value not in _DISCOUNTED_TIERS:
            factor = max(factor, _UNKNOWN_FACTOR)
    place, is_known = _place(model.id, selectors)
    return Selection(
        context=context,
        factor=factor,
        place=place,
        is_ceiling=is_ceiling or not is_known,
        untouched=untouched,
    )


def select_set(model_id: str, selectors: Selectors) -> Selection:
    """How to apply selectors to a price that the operator set, which has no variants.

    It was set for the host that is used, so that the host's region is in it.
    """
    tier, speed = selectors.service_tier, selectors.speed
    is_ceiling = tier is not None or speed is not None
    geography_factor, is_known = geography(model_id, selectors.inference_geo)
    return Selection(
        context={},
        factor=_UNKNOWN_FACTOR if selectors.is_surcharged else _ONE,
        place=geography_factor,
        is_ceiling=is_ceiling or not is_known,
    )


def select_unknown(selectors: Selectors, *, has_surcharge: bool) -> Decimal:
    """What to multiply the ceiling by, which already holds the surcharges that are published."""
    factor, _ = _place("", selectors)
    named = {selectors.service_tier, selectors.speed} - {None}
    is_in_data = has_surcharge and named <= _PUBLISHED_VALUES
    return factor if is_in_data or not selectors.is_surcharged else factor * _UNKNOWN_FACTOR


def _place(model_id: str, selectors: Selectors) -> tuple[Decimal, bool]:
    """The factor of where the work is done, and whether that is certain."""
    geography_factor, is_known = geography(model_id, selectors.inference_geo)
    host_factor, is_certain = regional(model_id, selectors.host_region)
    return geography_factor * host_factor, is_known and is_certain


def geography(model_id: str, inference_geo: str | None) -> tuple[Decimal, bool]:
    """The factor of a geography, and whether both it and the model's answer to it are known."""
    if inference_geo is None:
        return _ONE, True
    if inference_geo in _GEOGRAPHIES and model_id.startswith(_CLAUDE_WITHOUT_GEOGRAPHY):
        return _ONE, True
    is_known = inference_geo in _GEOGRAPHIES and model_id.startswith("claude")
    return _GEOGRAPHY_FACTOR, is_known


def _has_variant(model: ModelInfo, wanted: tuple[str, str], at: datetime) -> bool:
    return any(
        variant.when == dict([wanted])
        and (variant.constraint is None or variant.constraint.active(at))
        for variant in model.price_variants or ()
    )
