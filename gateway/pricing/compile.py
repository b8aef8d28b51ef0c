"""Compiles published prices into cards of integer rates, a row for each prompt-length tier."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal, Inexact
from math import lcm

from genai_prices.types import ModelPrice, TieredPrices

# Raises rather than rounds: a rate is exact or it is a bug.
_EXACT = Context(prec=80, traps=[Inexact])
_PICO_PER_TOKEN_EXPONENT = 6  # 1 USD per million tokens = 10^6 pico-USD a token
_PICO_PER_UNIT_EXPONENT = 9  # 1 USD per thousand units = 10^9 pico-USD a unit
_WEB_SEARCH_USD_PER_KCOUNT = Decimal(10)

# Each kind of token with the price keys that hold for it, the most specific first: a token whose
# own price is not published is billed as the kind that contains it.
TOKEN_KEYS: dict[str, tuple[str, ...]] = {
    "input": ("input_mtok",),
    "cache_read": ("cache_read_mtok", "input_mtok"),
    "cache_write": ("cache_write_mtok", "input_mtok"),
    "cache_write_5m": ("cache_write_5m_mtok", "cache_write_mtok", "input_mtok"),
    "cache_write_1h": ("cache_write_1h_mtok", "cache_write_mtok", "input_mtok"),
    "input_audio": ("input_audio_mtok", "input_mtok"),
    "cache_read_audio": (
        "cache_audio_read_mtok",
        "cache_read_mtok",
        "input_audio_mtok",
        "input_mtok",
    ),
    "input_image": ("input_image_mtok", "input_mtok"),
    # Embeddings publish no output price; should one answer in tokens, they are not free.
    "output": ("output_mtok", "input_mtok"),
    "reasoning": ("output_reasoning_mtok", "output_mtok", "input_mtok"),
    "output_audio": ("output_audio_mtok", "output_mtok", "input_mtok"),
}
_UNIT_KEYS = ("web_search", "request")
_ALWAYS_SHOWN = frozenset({"input", "cache_read", "cache_write_5m", "cache_write_1h", "output"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRow:
    """Published prices of one tier: USD per million tokens by kind, USD per thousand of units.

    The row holds for a prompt of more than `start_tokens` tokens, cached ones included.
    """

    start_tokens: int
    usd: Mapping[str, Decimal]

    def times(self, factor: Decimal) -> "PriceRow":
        """The row with every token price multiplied; fees stay as they are."""
        if factor == 1:
            return self
        scaled = {
            kind: price if kind in _UNIT_KEYS else _EXACT.multiply(price, factor)
            for kind, price in self.usd.items()
        }
        return PriceRow(start_tokens=self.start_tokens, usd=scaled)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRow:
    """Integer rates of one tier, in `1 / card.scale` pico-USD a token or unit."""

    start_tokens: int
    input: int
    cache_read: int
    cache_write: int
    cache_write_5m: int
    cache_write_1h: int
    input_audio: int
    cache_read_audio: int
    input_image: int
    output: int
    reasoning: int
    output_audio: int
    web_search: int
    request: int
    shown: dict[str, str]
    """The same rates as decimal strings, USD per million tokens, for the ledger row."""
    web_search_usd: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RateCard:
    """All rates of one model under one set of selectors, and for which time they hold."""

    model_id: str
    price_version: str
    rows: tuple[RateRow, ...]
    scale: int
    valid_from: datetime
    valid_until: datetime
    is_ceiling: bool = False
    is_unknown_model: bool = False
    context_tokens: int | None = None

    def row_for(self, input_tokens: int) -> RateRow:
        """The tier that a whole prompt of this length is billed at."""
        row = self.rows[0]
        for candidate in self.rows[1:]:
            if input_tokens > candidate.start_tokens:
                row = candidate
        return row


def price_rows(prices: ModelPrice) -> tuple[PriceRow, ...] | None:
    """Rows of a published price, or None where it does not price by the token."""
    published: dict[str, Decimal | TieredPrices] = {
        key: price for key, price in vars(prices).items() if price is not None
    }
    if "input_mtok" not in published:
        return None
    starts = {0}
    for price in published.values():
        if isinstance(price, TieredPrices):
            starts.update(tier.start for tier in price.tiers)
    return tuple(
        PriceRow(start_tokens=start, usd=_row_at(published, start)) for start in sorted(starts)
    )


def free_rows() -> tuple[PriceRow, ...]:
    """One row of zeros, for a model that its provider names free."""
    usd = dict.fromkeys((*TOKEN_KEYS, *_UNIT_KEYS), Decimal(0))
    return (PriceRow(start_tokens=0, usd={**usd, "web_search": _WEB_SEARCH_USD_PER_KCOUNT}),)


def _row_at(published: Mapping[str, Decimal | TieredPrices], start: int) -> dict[str, Decimal]:
    usd = {
        kind: _price_at(next(published[key] for key in keys if key in published), start)
        for kind, keys in TOKEN_KEYS.items()
    }
    usd["web_search"] = _price_at(
        published.get("web_searches_kcount", _WEB_SEARCH_USD_PER_KCOUNT), start
    )
    usd["request"] = _price_at(published.get("requests_kcount", Decimal(0)), start)
    return usd


def _price_at(price: Decimal | TieredPrices, start: int) -> Decimal:
    if not isinstance(price, TieredPrices):
        return price
    applicable = price.base
    for tier in price.tiers:
        if start >= tier.start:
            applicable = tier.price
    return applicable


def dearest(rows: Iterable[PriceRow]) -> PriceRow:
    """One row that holds the highest price of each kind."""
    usd: dict[str, Decimal] = {}
    for row in rows:
        for kind, price in row.usd.items():
            if price > usd.get(kind, Decimal(0)):
                usd[kind] = price
    return PriceRow(
        start_tokens=0,
        usd={kind: usd.get(kind, Decimal(0)) for kind in (*TOKEN_KEYS, *_UNIT_KEYS)},
    )


def compile_rows(rows: Iterable[PriceRow]) -> tuple[tuple[RateRow, ...], int]:
    """Integer rates of the rows, and the scale under which all of them are exact."""
    pico = [(row, {kind: _pico(kind, price) for kind, price in row.usd.items()}) for row in rows]
    scale = lcm(*(_denominator(rate) for _, rates in pico for rate in rates.values()))
    return tuple(_rate_row(row, rates, scale) for row, rates in pico), scale


def _pico(kind: str, price: Decimal) -> Decimal:
    exponent = _PICO_PER_UNIT_EXPONENT if kind in _UNIT_KEYS else _PICO_PER_TOKEN_EXPONENT
    return _EXACT.scaleb(price, exponent)


def _denominator(rate: Decimal) -> int:
    return rate.as_integer_ratio()[1]


def _rate_row(row: PriceRow, rates: Mapping[str, Decimal], scale: int) -> RateRow:
    integers = {
        kind: int(_EXACT.multiply(rate, Decimal(scale)).to_integral_exact(context=_EXACT))
        for kind, rate in rates.items()
    }
    usd = row.usd
    shown = {
        kind: plain_decimal(price)
        for kind, price in usd.items()
        if kind in _ALWAYS_SHOWN or (kind not in _UNIT_KEYS and price != _parent_price(kind, usd))
    }
    return RateRow(
        start_tokens=row.start_tokens,
        shown=shown,
        web_search_usd=plain_decimal(_EXACT.scaleb(usd["web_search"], -3)),
        **integers,
    )


def _parent_price(kind: str, usd: Mapping[str, Decimal]) -> Decimal:
    if kind in {"reasoning", "output_audio"}:
        return usd["output"]
    if kind == "cache_write":
        return usd["cache_write_5m"]
    return usd["cache_read"] if kind == "cache_read_audio" else usd["input"]


def plain_decimal(price: Decimal) -> str:
    """A price without exponent or trailing zeros."""
    text = f"{price:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
