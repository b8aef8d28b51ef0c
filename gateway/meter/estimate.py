"""Estimates, where a provider's own counts are missing: never zero, never above the worst case."""

from collections.abc import Sequence

from msgspec.structs import replace

from gateway.domain.request import RequestFacts
from gateway.domain.usage import Usage, UsagePart

_BYTES_PER_TOKEN = 4
# The most that a model writes whose caller set no limit.
_OUTPUT_TOKENS_MAX = 128_000
# An answer that was whole before its first byte, and of which nothing came.
_OUTPUT_TOKENS_UNSEEN = 1_024

NOTHING: tuple[UsagePart, ...] = (UsagePart(model=None, usage=Usage()),)
"""The parts of an answer that failed before there was anything of it."""


def estimated_input_tokens(facts: RequestFacts) -> int:
    """A quarter of the request's bytes, rounded up."""
    return max(tokens_of_text(facts.body_bytes), 1)


def tokens_of_text(text_bytes: int) -> int:
    """Tokens of this much text, rounded up."""
    return -(-text_bytes // _BYTES_PER_TOKEN)


def estimated_output_tokens(facts: RequestFacts, seen_tokens: int) -> int:
    """What was seen of the output, within what the request allowed.

    A stream of which nothing was seen may have written a token; an answer that is not streamed
    has been written whole before anything is seen of it.
    """
    if seen_tokens <= 0:
        seen_tokens = 1 if facts.is_streaming else _OUTPUT_TOKENS_UNSEEN
    return min(seen_tokens, output_tokens_worst(facts))


def output_tokens_worst(facts: RequestFacts) -> int:
    """The most that the request allows its answer, all choices together; one at least."""
    limit = facts.max_output_tokens
    each = _OUTPUT_TOKENS_MAX if limit is None else limit
    return max(each, 1) * max(facts.choice_count, 1)


def completed_parts(
    parts: Sequence[UsagePart], facts: RequestFacts, seen_output_tokens: int | None
) -> tuple[UsagePart, ...]:
    """The parts as they were told, the first with what must be missing from them added.

    `seen_output_tokens` is None for calls that have no output.
    """
    told = Usage()
    for part in parts:
        told = told.plus(part.usage)
    missing_input = 0 if told.input_tokens else estimated_input_tokens(facts)
    missing_output = 0
    if seen_output_tokens is not None:
        told_output = told.all_output_tokens
        seen = max(seen_output_tokens, told_output)
        missing_output = max(estimated_output_tokens(facts, seen) - told_output, 0)
    first = parts[0] if parts else UsagePart(model=None, usage=Usage())
    missing = Usage(input_uncached_tokens=missing_input, output_tokens=missing_output)
    return (replace(first, usage=first.usage.plus(missing)), *parts[1:])
