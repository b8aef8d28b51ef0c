"""Bedrock: Converse usage, every model family's own counts, and AWS's metrics over them."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gateway.domain.usage import Usage
from gateway.wire import anthropic_declines
from gateway.wire.counts import CountReader, output_left
from gateway.wire.json_values import count_or_none, member, members, text

_Json = Mapping[str, object]

METRICS = "amazon-bedrock-invocationMetrics"
# Counts that families without a usage object write at the top of a body or of a chunk.
_FLAT_NAMES = (
    "prompt_token_count",
    "generation_token_count",
    "inputTextTokenCount",
    "totalOutputTextTokenCount",
)
_INPUT = (
    *("inputTokens", "input_tokens", "prompt_tokens"),
    *("prompt_token_count", "inputTextTokenCount"),
)
_OUTPUT = (
    *("outputTokens", "output_tokens", "completion_tokens"),
    *("generation_token_count", "totalOutputTextTokenCount"),
)
_CACHE_READ = ("cacheReadInputTokens", "cacheReadInputTokenCount", "cache_read_input_tokens")
_CACHE_WRITE = ("cacheWriteInputTokens", "cacheWriteInputTokenCount", "cache_creation_input_tokens")
_HEADERS = {
    "x-amzn-bedrock-input-token-count": "inputTokenCount",
    "x-amzn-bedrock-output-token-count": "outputTokenCount",
    "x-amzn-bedrock-cache-read-input-token-count": "cacheReadInputTokenCount",
    "x-amzn-bedrock-cache-write-input-token-count": "cacheWriteInputTokenCount",
}
_COUNT_DIGITS_MAX = 15


class Counts(NamedTuple):
    """Billed counts of a call; the input leaves out what was read from or written to the cache."""

    input: int
    output: int
    cache_read: int = 0
    cache_write: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    inside: int = 0
    """What the OpenAI family counts inside its prompt of cached and written tokens."""

    def has_unknown_ttl(self, ttls: Iterable[str]) -> bool:
        """Some writes have no TTL, and the request asked for more than one."""
        return self.cache_write > self.cache_write_5m + self.cache_write_1h and len(set(ttls)) > 1

    def usage(self, ttls: Iterable[str] = ()) -> Usage:
        """As the ledger counts; writes without a TTL get the one that the request asked for."""
        write_5m, write_1h = self.cache_write_5m, self.cache_write_1h
        unsplit = max(self.cache_write - write_5m - write_1h, 0)
        asked = set(ttls)
        if "1h" in asked:
            write_1h, unsplit = write_1h + unsplit, 0
        elif "5m" in asked:
            write_5m, unsplit = write_5m + unsplit, 0
        return Usage(
            input_uncached_tokens=self.input,
            cache_read_tokens=self.cache_read,
            cache_write_5m_tokens=write_5m,
            cache_write_1h_tokens=write_1h,
            cache_write_unsplit_tokens=unsplit,
            output_tokens=self.output,
            reasoning_tokens=min(self.reasoning, self.output),
        )


def raw_usage(document: _Json) -> _Json:
    """A body's or an event's own usage, in whatever shape its model family has."""
    for holder in (document, member(document, "metadata"), member(document, "message")):
        if usage := member(holder, "usage"):
            return usage
    found = {name: document[name] for name in _FLAT_NAMES if document.get(name) is not None}
    results = [count_or_none(result, "tokenCount") for result in members(document, "results")]
    if any(result is not None for result in results):
        found["totalOutputTextTokenCount"] = sum(result or 0 for result in results)
    return found


def is_final_usage(document: _Json) -> bool:
    """Converse's metadata, alone or as Nova's own event, and the last delta of an Anthropic one."""
    return bool(member(document, "usage") or member(member(document, "metadata"), "usage"))


def is_end(document: _Json) -> bool:
    """The event that nothing follows: metadata comes after the stop."""
    is_converse = "usage" in document and "type" not in document and "choices" not in document
    return is_converse or document.get("type") == "message_stop"


def has_counts(usage: _Json) -> bool:
    return has_input(usage) or has_output(usage)


def has_input(usage: _Json) -> bool:
    return any(usage.get(name) is not None for name in _INPUT)


def has_output(usage: _Json) -> bool:
    return any(usage.get(name) is not None for name in _OUTPUT)


def counts_from(usage: _Json, reader: CountReader) -> Counts:
    """Counts of a usage object of any family."""
    write_5m, write_1h = _split(usage, reader)
    details = member(usage, "prompt_tokens_details")
    cached_inside = reader.count(details, "cached_tokens")
    written_inside = reader.count(details, "cache_write_tokens")
    return Counts(
        # The OpenAI family counts what was cached inside the prompt, all others beside it.
        input=reader.rest(reader.count(usage, *_INPUT), cached_inside, written_inside),
        output=reader.count(usage, *_OUTPUT),
        cache_read=reader.count(usage, *_CACHE_READ) + cached_inside,
        cache_write=max(reader.count(usage, *_CACHE_WRITE), write_5m + write_1h) + written_inside,
        cache_write_5m=write_5m,
        cache_write_1h=write_1h,
        reasoning=reader.count(member(usage, "output_tokens_details"), "thinking_tokens")
        + reader.count(member(usage, "completion_tokens_details"), "reasoning_tokens"),
        inside=cached_inside + written_inside,
    )


def output_by_total(usage: _Json) -> int:
    """The output by the total, where its own count cannot be read: Converse and OpenAI's family."""
    return output_left(
        usage,
        totals=("totalTokens", "total_tokens"),
        inputs=("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens", "prompt_tokens"),
        outputs=("outputTokens", "completion_tokens"),
    )


def _split(usage: _Json, reader: CountReader) -> tuple[int, int]:
    """Cache writes by TTL: Converse lists them, Anthropic's own bodies name each."""
    created = member(usage, "cache_creation")
    write_5m = reader.count(created, "ephemeral_5m_input_tokens")
    write_1h = reader.count(created, "ephemeral_1h_input_tokens")
    for item in members(usage, "cacheDetails"):
        if item.get("ttl") == "1h":
            write_1h += reader.count(item, "inputTokens")
        else:
            write_5m += reader.count(item, "inputTokens")
    return write_5m, write_1h


def metrics_from_headers(headers: Iterable[tuple[str, str]]) -> _Json:
    """The metrics of a call without a stream, which come as response headers."""
    metrics: dict[str, object] = {}
    for name, value in headers:
        field = _HEADERS.get(name.lower())
        is_count = value.isascii() and value.isdigit() and len(value) <= _COUNT_DIGITS_MAX
        if field is not None and is_count:
            metrics[field] = int(value)
    return metrics


def has_metrics(metrics: _Json) -> bool:
    return count_or_none(metrics, "inputTokenCount") is not None


def with_metrics(model: Counts, metrics: _Json, reader: CountReader) -> Counts:
    """The metrics are what AWS bills by; only the split of cache writes is the model's to say.

    An input that is the OpenAI family's whole prompt has in it what was cached. One that is neither
    that nor the rest of it may have, and is doubted.
    """
    fresh = reader.count(metrics, "inputTokenCount")
    cache_read = _billed(metrics, "cacheReadInputTokenCount", model.cache_read, reader)
    cache_write = _billed(metrics, "cacheWriteInputTokenCount", model.cache_write, reader)
    if model.inside and fresh == model.input + model.inside:
        fresh = reader.rest(fresh, cache_read, cache_write)
    elif model.inside and fresh != model.input:
        reader.is_doubtful = True
    has_split = model.cache_write_5m + model.cache_write_1h <= cache_write
    return model._replace(
        input=fresh,
        output=_billed(metrics, "outputTokenCount", model.output, reader),
        cache_read=cache_read,
        cache_write=cache_write,
        cache_write_5m=model.cache_write_5m if has_split else 0,
        cache_write_1h=model.cache_write_1h if has_split else 0,
    )


def _billed(metrics: _Json, name: str, model: int, reader: CountReader) -> int:
    return model if metrics.get(name) is None else reader.count(metrics, name)


def disagree(model: Counts, billed: Counts) -> bool:
    """The model's own usage says something else than the metrics."""
    return (model.input, model.output, model.cache_read, model.cache_write) != (
        (billed.input, billed.output, billed.cache_read, billed.cache_write)
    )


def service_tier(document: _Json) -> str | None:
    """Converse says `serviceTier.type`; Anthropic's bodies name it in their usage."""
    return (
        text(member(document, "serviceTier"), "type")
        or text(member(member(document, "metadata"), "serviceTier"), "type")
        or text(raw_usage(document), "service_tier")
    )


def latency(document: _Json) -> str | None:
    """Converse's `performanceConfig.latency`: `optimized` has prices of its own."""
    holder = member(document, "performanceConfig") or member(
        member(document, "metadata"), "performanceConfig"
    )
    return text(holder, "latency")


def stop_reason(document: _Json) -> str | None:
    """Why the answer ended, wherever the family says so."""
    holders = (document, member(document, "delta"), member(document, "messageStop"))
    for holder in (*holders, *members(document, "results"), *members(document, "choices")):
        for name in ("stopReason", "stop_reason", "completionReason", "finish_reason"):
            if (reason := text(holder, name)) is not None:
                return reason
    return None


def stop_details(document: _Json) -> _Json:
    """Why a model refused: Anthropic's own, which Converse passes on among additional fields."""
    fields = member(document, "messageStop") or document
    holders = (document, member(document, "delta"), member(fields, "additionalModelResponseFields"))
    return next((found for each in holders if (found := member(each, "stop_details"))), {})


def has_content(body: _Json) -> bool:
    """A whole message of Anthropic's or of Converse's has something that a model wrote."""
    message = member(member(body, "output"), "message")
    return anthropic_declines.has_content(message or body)


def error_from_headers(headers: Mapping[str, str]) -> str | None:
    """The type of a frame that is a failure after a 200; None for an ordinary event.

    Source: Smithy event stream specification: message types `exception` and `error`.
    """
    kind = headers.get(":message-type")
    if kind == "exception":
        return headers.get(":exception-type") or kind
    if kind == "error":
        return headers.get(":error-code") or kind
    return None
