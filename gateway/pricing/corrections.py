"""Where the pinned price data is known to be wrong or to leave something out, and who says so."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

from genai_prices.types import ModelPrice

from gateway.pricing.compile import PriceRow, price_rows

# To be raised with every change here: it is part of the price version of what it changes.
VERSION = "corrected-1"


class Correction(NamedTuple):
    """Prices that replace the data's, and one for prompts longer than it has prices for."""

    source: str
    usd: Mapping[str, Decimal]
    above_tokens: int | None = None
    factors_above: Mapping[str, Decimal] = {}
    """Multiples of the plain prices above that length, where they are not doubled."""


def _audio(input_usd: int, output_usd: int) -> Correction:
    sound = Decimal(input_usd)
    return Correction(
        "OpenAI's model pages: sound has a price of its own, which the data leaves out",
        {"input_audio": sound, "cache_read_audio": sound, "output_audio": Decimal(output_usd)},
    )


CORRECTIONS = {
    "gpt-4o-audio-preview": _audio(40, 80),
    "gpt-4o-mini-audio-preview": _audio(10, 20),
    "gpt-5.6-cyber": Correction(
        "LiteLLM 1.110.2, which cites OpenAI's price page: dearer above 272,000 tokens",
        {},
        above_tokens=272_000,
        factors_above=dict.fromkeys(
            ("output", "reasoning", "output_audio", "output_image", "output_video"), Decimal("1.5")
        ),
    ),
}
# Names that mean another model by now than the data says.
# Sources: Mistral's model card of Mistral Medium 3.5; xAI's list of models, on its successors.
ALIASES = {
    **{
        ("xai", name): "grok-build-0.1"
        for name in ("grok-code-fast", "grok-code-fast-1", "grok-code-fast-1-0825")
    },
    ("mistral", "mistral-medium"): "mistral-medium-3-5",
    ("mistral", "magistral-medium-latest"): "mistral-medium-3-5",
}
# Mistral's cached tokens cost a tenth with all models, of which the data names some.
# Source: ratio of all of its prices in LiteLLM 1.110.2.
_MISTRAL_CACHED_FACTOR = Decimal("0.1")
_ABOVE_FACTOR = Decimal(2)


def has_corrections(provider: str, model: str) -> bool:
    """Whether prices of this model may be others than the data's."""
    return provider == "mistral" or model in CORRECTIONS


def corrected_rows(provider: str, model: str, prices: ModelPrice) -> tuple[PriceRow, ...] | None:
    """Rows of a published price with what is known better, None where it is not by the token."""
    rows = price_rows(prices)
    if rows is None or not has_corrections(provider, model):
        return rows
    if provider == "mistral" and vars(prices).get("cache_read_mtok") is None:
        rows = tuple(_with_cached(row) for row in rows)
    correction = CORRECTIONS.get(model)
    if correction is None:
        return rows
    rows = tuple(replace(row, usd={**row.usd, **correction.usd}) for row in rows)
    if correction.above_tokens is None or len(rows) > 1:
        return rows
    above = rows[0].times(_ABOVE_FACTOR).usd
    less = {kind: rows[0].usd[kind] * factor for kind, factor in correction.factors_above.items()}
    return (*rows, PriceRow(start_tokens=correction.above_tokens, usd={**above, **less}))


def _with_cached(row: PriceRow) -> PriceRow:
    cached = row.usd["input"] * _MISTRAL_CACHED_FACTOR
    return replace(row, usd={**row.usd, "cache_read": cached, "cache_read_audio": cached})
