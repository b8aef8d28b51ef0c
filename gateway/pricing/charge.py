"""Exact arithmetic from counts and a rate card to the parts of a charge."""

from msgspec.structs import astuple

from gateway.domain.entry import Amounts
from gateway.domain.usage import Usage
from gateway.domain.value import Value
from gateway.pricing.compile import AUDIO_TIME, FEE_KINDS, RateCard, RateRow

Parts = tuple[int, int, int, int, int, int]
"""Input, cache read, cache write, output, request, web search: the order of `Amounts`.

The request's part has the fees of all tools but searches.
"""

_OUTPUT = 3
_REQUEST = 4


class Priced(Value, frozen=True, kw_only=True):
    """The parts of one model's share, integer pico-USD, and the rates that made them."""

    parts: Parts
    rates: dict[str, str]
    is_ceiling: bool


def price_part(card: RateCard, usage: Usage, *, requests: int = 1) -> Priced:
    """Price one model's share; the prompt's length, cached tokens included, picks the tier.

    `requests` is 0 where another share of the same answer bears the fee of the request.
    """
    rows = card.rows
    row = rows[0] if len(rows) == 1 else card.row_for(usage.input_tokens)
    output = usage.output_tokens
    extra_reasoning = row.reasoning - row.output
    parts: Parts = (
        usage.input_uncached_tokens * row.input
        + usage.input_audio_tokens * row.input_audio
        + usage.input_image_tokens * row.input_image
        + usage.input_audio_ms * row.audio_time,
        usage.cache_read_tokens * row.cache_read
        + usage.cache_read_audio_tokens * row.cache_read_audio,
        usage.cache_write_5m_tokens * row.cache_write_5m
        + usage.cache_write_1h_tokens * row.cache_write_1h
        + usage.cache_write_unsplit_tokens * row.cache_write,
        output * row.output
        + usage.output_audio_tokens * row.output_audio
        + usage.output_image_tokens * row.output_image,
        requests * row.request
        + usage.file_search_calls * row.file_search
        + usage.container_gigabytes * row.container,
        usage.web_search_requests * row.web_search
        + usage.web_search_preview_requests * row.web_search_preview,
    )
    is_ceiling = card.is_ceiling
    if usage.output_video_tokens:
        is_ceiling = is_ceiling or not card.has_video_rate
        filmed = usage.output_video_tokens * row.output_video
        parts = add(parts, (0, 0, 0, filmed, 0, 0))
    if extra_reasoning:
        reasoning = min(usage.reasoning_tokens, output) * extra_reasoning
        parts = add(parts, (0, 0, 0, reasoning, 0, 0))
    return Priced(
        parts=parts if card.scale == 1 else _rounded_up_once(parts, card.scale),
        rates=_rates(row, usage),
        is_ceiling=is_ceiling,
    )


def _rates(row: RateRow, usage: Usage) -> dict[str, str]:
    """The rates of tokens, and of what else was used, which is rare."""
    if not (
        usage.input_audio_ms
        or usage.web_search_requests
        or usage.web_search_preview_requests
        or usage.file_search_calls
        or usage.container_gigabytes
    ):
        return row.shown
    counts = (
        usage.input_audio_ms,
        usage.web_search_requests,
        usage.web_search_preview_requests,
        usage.file_search_calls,
        usage.container_gigabytes,
    )
    kinds = (AUDIO_TIME, *FEE_KINDS)
    used = {kind: row.used[kind] for kind, count in zip(kinds, counts, strict=True) if count}
    return {**row.shown, **used}


def _rounded_up_once(scaled: Parts, scale: int) -> Parts:
    """Whole pico-USD whose sum is the exact sum rounded up; the largest remainders gain."""
    whole = [part // scale for part in scaled]
    missing = -(-sum(scaled) // scale) - sum(whole)
    by_remainder = sorted(range(len(scaled)), key=lambda i: scaled[i] % scale, reverse=True)
    for index in by_remainder[:missing]:
        whole[index] += 1
    return (whole[0], whole[1], whole[2], whole[3], whole[4], whole[5])


def amounts(parts: Parts) -> Amounts:
    return Amounts(
        input_pico_usd=parts[0],
        cache_read_pico_usd=parts[1],
        cache_write_pico_usd=parts[2],
        output_pico_usd=parts[3],
        request_pico_usd=parts[4],
        web_search_pico_usd=parts[5],
    )


def add(left: Parts, right: Parts) -> Parts:
    return (
        left[0] + right[0],
        left[1] + right[1],
        left[2] + right[2],
        left[3] + right[3],
        left[4] + right[4],
        left[5] + right[5],
    )


def fitted_to(table: Amounts, total_pico_usd: int) -> Amounts:
    """The table's parts made to add up to what the provider itself charged, to the last pico-USD.

    A figure above the table's is the table's parts with the difference as a fee of the request
    (searches, margins). One below it scales every part down in proportion, rounded down, and the
    output takes what rounding left.
    """
    listed_pico_usd = table.total_pico_usd
    surplus_pico_usd = total_pico_usd - listed_pico_usd
    parts: list[int] = list(astuple(table))
    if surplus_pico_usd >= 0:
        parts[_REQUEST] += surplus_pico_usd
    else:
        parts = [part * total_pico_usd // listed_pico_usd for part in parts]
        parts[_OUTPUT] += total_pico_usd - sum(parts)
    return amounts((parts[0], parts[1], parts[2], parts[3], parts[4], parts[5]))
