"""Compiles published prices into cards of integer rates, a row for each prompt-length tier."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_UP, Context, Decimal, Inexact
from fractions import Fraction
from math import ceil, lcm

from genai_prices.types import ModelPrice, TieredPrices

# Raises rather than rounds: a rate is exact or it is a bug.
_EXACT = Context(prec=80, traps=[Inexact])
_PICO_PER_TOKEN = Fraction(10**6)  # of 1 USD per million tokens
_PICO_PER_UNIT = Fraction(10**9)  # of 1 USD per thousand units
_PICO_PER_MS = Fraction(10**12, 3_600_000)  # of 1 USD per hour
# Sound is a thousand tokens a minute, as OpenAI's two ways to sell a transcription compare. It
# prices what comes in the unit that a model is not sold by: unknown is not zero.
_MTOK_PER_HOUR = Decimal("0.06")
_MICRO = Decimal("0.000001")

VIDEO_KEY = "output_video_mtok"
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
    "output_image": ("output_image_mtok", "output_mtok", "input_mtok"),
    "output_video": (VIDEO_KEY, "output_mtok", "input_mtok"),
}
AUDIO_TIME = "audio_time"
"""Sound by its length: USD per hour, a rate for each millisecond."""
_DURATION_KEY = "input_audio_hours"
FEE_KINDS = ("web_search", "web_search_preview", "file_search", "container")
"""Tools that run at the provider; `container` is a gigabyte of a sandbox's session."""
_UNIT_KEYS = (*FEE_KINDS, "request")
_FEE_KEYS = {"web_search": "web_searches_kcount", "file_search": "storage_searches_kcount"}
_ALL_KINDS = (*TOKEN_KEYS, AUDIO_TIME, *_UNIT_KEYS)
_ALWAYS_SHOWN = frozenset({"input", "cache_read", "cache_write_5m", "cache_write_1h", "output"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRow:
    """Prices of one tier: USD per million tokens or hour of sound, USD per thousand of units.

    The row holds for a prompt of more than `start_tokens` tokens, cached ones included.
    """

    start_tokens: int
    usd: Mapping[str, Decimal]

    def times(self, factor: Decimal, untouched: tuple[str, ...] = ()) -> "PriceRow":
        """The row with its token prices multiplied; fees and what is untouched stay as they are."""
        if factor == 1:
            return self
        stay = (*_UNIT_KEYS, *untouched)
        scaled = {
            kind: price if kind in stay else _EXACT.multiply(price, factor)
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
    output_image: int
    output_video: int
    audio_time: int
    web_search: int
    web_search_preview: int
    file_search: int
    container: int
    request: int
    shown: dict[str, str]
    """The same rates as decimal strings, USD per million tokens, for the ledger row."""
    used: dict[str, str]
    """Rates to show where such a thing was used: USD a unit of a tool, an hour of sound."""


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
    has_video_rate: bool = True
    """Where it is False, video is charged as text, which is no price of it."""
    set_for: tuple[str, ...] = ()
    """Names of the call that a price which the operator set is for."""

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


def duration_rows(prices: ModelPrice) -> tuple[PriceRow, ...] | None:
    """The row of a model that is sold by the hour of sound, or None for any other."""
    published: dict[str, Decimal | TieredPrices] = {
        key: price for key, price in vars(prices).items() if price is not None
    }
    hour = published.get(_DURATION_KEY)
    if not isinstance(hour, Decimal) or "input_mtok" in published:
        return None
    tokens = (hour / _MTOK_PER_HOUR).quantize(_MICRO, rounding=ROUND_UP)
    usd = {**dict.fromkeys(TOKEN_KEYS, tokens), AUDIO_TIME: hour, "request": Decimal(0)}
    return (PriceRow(start_tokens=0, usd=usd),)


def free_row() -> PriceRow:
    """Zeros, for a model that its provider names free; its tools may cost all the same."""
    kinds = (*TOKEN_KEYS, AUDIO_TIME, "request")
    return PriceRow(start_tokens=0, usd=dict.fromkeys(kinds, Decimal(0)))


def costless_row() -> PriceRow:
    """Zeros for everything, for an upstream that runs on hardware of one's own."""
    return PriceRow(start_tokens=0, usd=dict.fromkeys(_ALL_KINDS, Decimal(0)))


def audio_time_usd(input_audio_usd: Decimal) -> Decimal:
    """USD per hour of sound that would be billed by these tokens, up to a pico-USD a millisecond.

    Rounded, so that a card has no fractions for it: it is never what a model is sold by.
    """
    pico_per_ms = ceil(Fraction(input_audio_usd * _MTOK_PER_HOUR) * _PICO_PER_MS)
    return _EXACT.scaleb(Decimal(pico_per_ms * 36), -7)


def _row_at(published: Mapping[str, Decimal | TieredPrices], start: int) -> dict[str, Decimal]:
    usd = {
        kind: _price_at(next(published[key] for key in keys if key in published), start)
        for kind, keys in TOKEN_KEYS.items()
    }
    hour = published.get(_DURATION_KEY)
    usd[AUDIO_TIME] = audio_time_usd(usd["input_audio"]) if hour is None else _price_at(hour, start)
    for kind, key in _FEE_KEYS.items():
        if key in published:
            usd[kind] = _price_at(published[key], start)
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
        usd={kind: usd.get(kind, Decimal(0)) for kind in _ALL_KINDS},
    )


def compile_rows(rows: Iterable[PriceRow]) -> tuple[tuple[RateRow, ...], int]:
    """Integer rates of the rows, and the scale under which all of them are exact."""
    pico = [(row, {kind: _pico(kind, price) for kind, price in row.usd.items()}) for row in rows]
    scale = lcm(*(rate.denominator for _, rates in pico for rate in rates.values()))
    return tuple(_rate_row(row, rates, scale) for row, rates in pico), scale


def _pico(kind: str, price: Decimal) -> Fraction:
    if kind in _UNIT_KEYS:
        return Fraction(price) * _PICO_PER_UNIT
    return Fraction(price) * (_PICO_PER_MS if kind == AUDIO_TIME else _PICO_PER_TOKEN)


def _rate_row(row: PriceRow, rates: Mapping[str, Fraction], scale: int) -> RateRow:
    integers = {kind: rate.numerator * (scale // rate.denominator) for kind, rate in rates.items()}
    usd = row.usd
    shown = {
        kind: plain_decimal(price)
        for kind, price in usd.items()
        if kind in _ALWAYS_SHOWN or (kind in TOKEN_KEYS and price != _parent_price(kind, usd))
    }
    return RateRow(
        start_tokens=row.start_tokens,
        shown=shown,
        used={
            AUDIO_TIME: plain_decimal(usd[AUDIO_TIME]),
            **{kind: plain_decimal(_EXACT.scaleb(usd[kind], -3)) for kind in FEE_KINDS},
        },
        **integers,
    )


def _parent_price(kind: str, usd: Mapping[str, Decimal]) -> Decimal:
    if kind in {"reasoning", "output_audio", "output_image", "output_video"}:
        return usd["output"]
    if kind == "cache_write":
        return usd["cache_write_5m"]
    return usd["cache_read"] if kind == "cache_read_audio" else usd["input"]


def plain_decimal(price: Decimal) -> str:
    """A price without exponent or trailing zeros."""
    text = f"{price:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
