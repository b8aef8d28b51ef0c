"""Prices that the operator set: effective-dated, and stronger than the published ones."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from gateway.pricing.compile import AUDIO_TIME, TOKEN_KEYS, PriceRow, audio_time_usd

# Conventions of the providers for what was not set: a five-minute write, a one-hour write.
_WRITE_5M_FACTOR = Decimal("1.25")
_WRITE_1H_FACTOR = Decimal(2)
FAR_PAST = datetime.min.replace(tzinfo=UTC)
FAR_FUTURE = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceOverride:
    """USD per million tokens of a model from an instant on; None: the usual multiple of input."""

    provider: str
    model: str
    starts_at: datetime
    input_usd: Decimal
    output_usd: Decimal
    cache_read_usd: Decimal | None = None
    cache_write_5m_usd: Decimal | None = None
    cache_write_1h_usd: Decimal | None = None
    request_usd: Decimal = Decimal(0)
    web_search_usd: Decimal | None = None

    @property
    def price_version(self) -> str:
        return f"set-from-{self.starts_at.astimezone(UTC):%Y-%m-%d}"

    def rows(self) -> tuple[PriceRow, ...]:
        usd = dict.fromkeys(TOKEN_KEYS, self.input_usd)
        for kind in ("output", "reasoning", "output_audio", "output_image", "output_video"):
            usd[kind] = self.output_usd
        write_5m = _or(self.cache_write_5m_usd, self.input_usd * _WRITE_5M_FACTOR)
        usd["cache_read"] = usd["cache_read_audio"] = _or(self.cache_read_usd, self.input_usd)
        usd["cache_write"] = usd["cache_write_5m"] = write_5m
        usd["cache_write_1h"] = _or(self.cache_write_1h_usd, self.input_usd * _WRITE_1H_FACTOR)
        usd["request"] = self.request_usd * 1000
        usd[AUDIO_TIME] = audio_time_usd(self.input_usd)
        if self.web_search_usd is not None:
            usd["web_search"] = usd["web_search_preview"] = self.web_search_usd * 1000
        return (PriceRow(start_tokens=0, usd=usd),)


def _or(price: Decimal | None, otherwise: Decimal) -> Decimal:
    return otherwise if price is None else price


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideWindow:
    """The override in force at an instant, if any, and between which changes that stays so."""

    override: PriceOverride | None
    valid_from: datetime
    valid_until: datetime


class Overrides:
    """All overrides by provider and model, each list in order of time."""

    def __init__(self, overrides: Iterable[PriceOverride] = ()) -> None:
        self._by_model: dict[tuple[str, str], list[PriceOverride]] = {}
        for override in sorted(overrides, key=lambda each: each.starts_at):
            self._by_model.setdefault((override.provider, override.model), []).append(override)

    def find(self, provider: str, model: str, at: datetime) -> OverrideWindow | None:
        """None where this model has no override at any time."""
        dated = self._by_model.get((provider, model))
        if dated is None:
            return None
        begun = [override for override in dated if override.starts_at <= at]
        later = [override.starts_at for override in dated if override.starts_at > at]
        return OverrideWindow(
            override=begun[-1] if begun else None,
            valid_from=begun[-1].starts_at if begun else FAR_PAST,
            valid_until=later[0] if later else FAR_FUTURE,
        )
