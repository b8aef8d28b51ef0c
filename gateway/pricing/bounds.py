"""What a call can cost before it is made: the most that its body allows, and what is likely."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from math import lcm

from gateway.domain.request import RequestFacts
from gateway.domain.value import Value
from gateway.pricing.compile import RateCard, RateRow
from gateway.pricing.expectation import ONE, Expectation

# What a body's bytes do not show: prompts that the provider adds for tools, and images or documents
# that the body only names (one large image is below 5,000 tokens).
UNSEEN_INPUT_TOKENS = 8_192
# No model reads or writes more than this in one pass; larger windows are in the data.
_CONTEXT_TOKENS_MAX = 1_050_000
_BYTES_PER_TOKEN = 4
# Expected costs are held a little high, so that many at once do not cross a cap together.
_MARGIN_TENTHS = 13
# The longest answer of a model whose caller set no limit, by the start of its name.
_OUTPUT_TOKENS_MAX = (
    ("gpt-3.5", 4_096),
    ("gpt-4-turbo", 4_096),
    ("gpt-4.1", 32_768),
    ("gpt-4o", 16_384),
    ("gpt-4.5", 16_384),
    ("gpt-4", 8_192),
    ("o1", 100_000),
    ("o3", 100_000),
    ("o4", 100_000),
    ("gemini", 65_536),
    ("", 128_000),
)


class HoldBounds(Value, frozen=True, kw_only=True):
    """What to hold for a call: the expected cost and the most it can be, integer pico-USD."""

    expected_pico_usd: int
    worst_pico_usd: int


@dataclass(frozen=True, slots=True)
class BoundRow:
    """The dearest rates of all tiers that a prompt of this length can end in."""

    start_tokens: int
    input: int
    input_cached_5m: int
    input_cached_1h: int
    output: int
    request: int
    tool_call: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundCard:
    """Rates for bounds of one model under one set of requested selectors, and their time."""

    rows: tuple[BoundRow, ...]
    scale: int
    plain: RateCard
    input_tokens_max: int
    output_tokens_default: int
    valid_from: datetime
    valid_until: datetime


def bound_card(card: RateCard, also: Iterable[RateCard], model: str) -> BoundCard:
    """Combine the card of the requested selectors with others that the answer may be priced by."""
    cards = [card, *also]
    scale = lcm(*(each.scale for each in cards))
    starts = sorted({row.start_tokens for each in cards for row in each.rows})
    context_tokens = card.context_tokens or 0
    return BoundCard(
        rows=tuple(_dearest_until(start, cards, scale) for start in starts),
        scale=scale,
        plain=card,
        input_tokens_max=max(context_tokens, _CONTEXT_TOKENS_MAX),
        output_tokens_default=_output_tokens_default(model, card.context_tokens),
        valid_from=max(each.valid_from for each in cards),
        valid_until=min(each.valid_until for each in cards),
    )


def _dearest_until(start: int, cards: list[RateCard], scale: int) -> BoundRow:
    rows = [
        (row, scale // card.scale)
        for card in cards
        for row in card.rows
        if row.start_tokens <= start
    ]
    return BoundRow(
        start,
        max(_uncached_rate(row) * factor for row, factor in rows),
        max(_written_rate(row) * factor for row, factor in rows),
        max(max(_written_rate(row), row.cache_write_1h) * factor for row, factor in rows),
        max(_output_rate(row) * factor for row, factor in rows),
        max(row.request * factor for row, factor in rows),
        max(_fee(row) * factor for row, factor in rows),
    )


def _fee(row: RateRow) -> int:
    return max(row.web_search, row.web_search_preview, row.file_search, row.container)


def _output_rate(row: RateRow) -> int:
    spoken_or_shown = max(row.output_audio, row.output_image, row.output_video)
    return max(row.output, row.reasoning, spoken_or_shown)


def _written_rate(row: RateRow) -> int:
    return max(row.input, row.cache_read, row.cache_write, row.cache_write_5m)


def _uncached_rate(row: RateRow) -> int:
    """Without a breakpoint in the body: providers with a one-hour rate cache only when told to."""
    caches_only_when_told = row.cache_write_1h > row.cache_write_5m
    return max(row.input, row.cache_read) if caches_only_when_told else _written_rate(row)


def _output_tokens_default(model: str, context_tokens: int | None) -> int:
    name = model.rsplit("/", 1)[-1].lower()
    longest = next(tokens for prefix, tokens in _OUTPUT_TOKENS_MAX if name.startswith(prefix))
    return min(longest, context_tokens) if context_tokens else longest


def hold_bounds(card: BoundCard, facts: RequestFacts, usual: Expectation) -> HoldBounds:
    """Bounds of one call; the worst is a token a byte at the dearest rate it can trigger."""
    body_bytes = facts.body_bytes
    input_tokens = card.input_tokens_max
    if not facts.has_unseen_input:
        input_tokens = min(body_bytes + UNSEEN_INPUT_TOKENS, input_tokens)
    output_tokens = facts.max_output_tokens
    if output_tokens is None:
        output_tokens = card.output_tokens_default
    elif output_tokens > _CONTEXT_TOKENS_MAX:
        output_tokens = _CONTEXT_TOKENS_MAX
    row = card.rows[0]
    for candidate in card.rows[1:]:
        if input_tokens > candidate.start_tokens:
            row = candidate
    choices = max(facts.choice_count, 1)
    worst = (
        input_tokens * _input_rate(row, facts.cache_ttls)
        + output_tokens * choices * row.output
        + row.request
        + facts.tool_calls_max * row.tool_call
    )
    worst_pico_usd = -(-worst // card.scale)
    expected = expected_pico_usd(card.plain, body_bytes, output_tokens, choices, usual)
    return HoldBounds(
        expected_pico_usd=max(min(expected, worst_pico_usd), 1 if worst_pico_usd else 0),
        worst_pico_usd=worst_pico_usd,
    )


def _input_rate(row: BoundRow, cache_ttls: tuple[str, ...]) -> int:
    if not cache_ttls:
        return row.input
    return row.input_cached_5m if all(ttl == "5m" for ttl in cache_ttls) else row.input_cached_1h


def expected_pico_usd(
    card: RateCard, body_bytes: int, output_tokens_max: int, choices: int, usual: Expectation
) -> int:
    """The usual cost of a body of this size, with the margin, rounded up."""
    input_tokens = body_bytes // _BYTES_PER_TOKEN + 1
    row = card.rows[0] if len(card.rows) == 1 else card.row_for(input_tokens)
    output = min(output_tokens_max * ONE, usual.output_tokens) * choices * row.output
    scaled = (input_tokens * row.input * usual.input_ratio + output) * _MARGIN_TENTHS
    return -(-(scaled + row.request * ONE * 10) // (card.scale * ONE * 10))


def input_ratio(card: RateCard, body_bytes: int, input_pico_usd: int) -> int:
    """A prompt's real cost over the heuristic one, in units of 1/1024; 1/1024 each way at least."""
    input_tokens = body_bytes // _BYTES_PER_TOKEN + 1
    heuristic = input_tokens * card.row_for(input_tokens).input
    return input_pico_usd * card.scale * ONE // heuristic if heuristic else ONE
