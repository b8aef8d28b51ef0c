"""Anthropic Messages: usage objects in our counts, and the pieces of content in events."""

from collections.abc import Mapping, Sequence

from gateway.domain.usage import PriceSelectors, Usage, UsagePart
from gateway.wire.counts import CountReader
from gateway.wire.json_values import member, text

# Source: Anthropic API reference, streaming deltas. Signatures are no text of the model's.
_TEXTS = ("text", "thinking", "partial_json")


def merged_usage(start: Mapping[str, object], delta: Mapping[str, object]) -> dict[str, object]:
    """A delta's counts are cumulative: those that it has replace the start's."""
    return {**start, **{name: value for name, value in delta.items() if value is not None}}


def passes_in(usage: Mapping[str, object]) -> Sequence[object]:
    """Every pass of the generation, and the usage itself where it lists none.

    With `iterations` the top level leaves out compactions and advisors, so that the iterations are
    what is billed.
    """
    iterations = usage.get("iterations")
    return iterations if isinstance(iterations, list) and iterations else [usage]


def usage_parts(
    usage: Mapping[str, object],
    passes: Sequence[object],
    model: str | None,
    cache_ttls: Sequence[str],
    reader: CountReader,
) -> tuple[UsagePart, ...]:
    """These passes of a usage, each under the model that did it.

    They stay apart, because each one's own prompt picks its price.
    """
    searches = reader.count(member(usage, "server_tool_use"), "web_search_requests")
    parts: list[UsagePart] = []
    for each in passes:
        if not isinstance(each, dict):
            reader.is_doubtful = True
            continue
        named = text(each, "model") if each is not usage else None
        parts.append(
            UsagePart(
                model=None if named == model else named,
                usage=_usage_of(each, cache_ttls, reader, searches),
            )
        )
        # They are counted for the whole answer.
        searches = 0
    return tuple(parts)


def _usage_of(
    fields: Mapping[str, object], cache_ttls: Sequence[str], reader: CountReader, searches: int
) -> Usage:
    split = member(fields, "cache_creation")
    writes_5m = reader.count(split, "ephemeral_5m_input_tokens")
    writes_1h = reader.count(split, "ephemeral_1h_input_tokens")
    unsplit = max(reader.count(fields, "cache_creation_input_tokens") - writes_5m - writes_1h, 0)
    if unsplit and cache_ttls:
        # The request says what the answer leaves out; where it says two things, the dearer.
        if len(set(cache_ttls)) > 1:
            reader.is_doubtful = True
        if "1h" in cache_ttls:
            writes_1h += unsplit
        else:
            writes_5m += unsplit
        unsplit = 0
    output = reader.count(fields, "output_tokens")
    thinking = reader.count(member(fields, "output_tokens_details"), "thinking_tokens")
    return Usage(
        input_uncached_tokens=reader.count(fields, "input_tokens"),
        cache_read_tokens=reader.count(fields, "cache_read_input_tokens"),
        cache_write_5m_tokens=writes_5m,
        cache_write_1h_tokens=writes_1h,
        cache_write_unsplit_tokens=unsplit,
        output_tokens=output,
        reasoning_tokens=min(thinking, output),
        web_search_requests=searches,
    )


def selectors(usage: Mapping[str, object]) -> PriceSelectors:
    return PriceSelectors(
        service_tier=text(usage, "service_tier"),
        speed=text(usage, "speed"),
        inference_geo=text(usage, "inference_geo"),
    )


def is_redeemed(usage: Mapping[str, object]) -> bool:
    """Some cache writes are billed as reads, and the usage does not say how many.

    Source: Anthropic's SDK, `BetaFallbackCreditUsage`: the status is an object with a type; it was
    a name at first.
    """
    if "fallback_credit" not in usage:
        return False
    credit = member(usage, "fallback_credit")
    return "redeemed" in {text(credit, "status"), text(member(credit, "status"), "type")}


def delta_text_bytes(event: Mapping[str, object]) -> int:
    """Bytes of text, thinking or tool input in a `content_block_delta`."""
    return _text_bytes_of(member(event, "delta"))


def content_text_bytes(message: Mapping[str, object]) -> int:
    """Bytes of text, thinking and tool input in a whole message."""
    content = message.get("content")
    blocks = content if isinstance(content, list) else []
    return sum(
        _text_bytes_of(block)
        + len(str(dict(tool_input)) if (tool_input := member(block, "input")) else "")
        for block in blocks
    )


def _text_bytes_of(holder: object) -> int:
    if not isinstance(holder, dict):
        return 0
    return sum(
        len(value.encode(errors="replace"))
        for name in _TEXTS
        if isinstance(value := holder.get(name), str)
    )
